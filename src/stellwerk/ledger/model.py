"""Entries and checkpoints of the book. How they are proven is in `rules`, where they are kept in `database`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened."""

    sequence: int
    """Position in the book, from 0, without gaps. Order comes from here, not from the time."""
    at: datetime
    workspace: str
    actor: str
    kind: str
    """Dotted past tense: `run.finished`, `release.granted`."""
    subject: str
    """What it happened to, as `noun:id`."""
    body: dict[str, Any] = field(default_factory=dict)
    """Canonical JSON. Never personal data: only digests and salted commitments of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed statement that the book had `size` entries with this Merkle root."""

    origin: str
    size: int
    root: bytes
    note: str
    """The signed note in C2SP tlog-checkpoint form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a verifier found wrong with the book."""

    sequence: int | None
    """The first entry that it concerns, as far as that can be told."""
    problem: str
