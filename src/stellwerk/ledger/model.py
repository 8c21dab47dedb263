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
class KeyLink:
    """One key of a book, and who vouches for it."""

    number: int
    """0 for the first key, and one more with each rotation."""
    key: str
    """The raw public key in hex."""
    since: int
    """It signs checkpoints of books of this size and larger, up to the next key's."""
    at: datetime
    """When it was announced, by the clock of whoever did; a label."""
    previous: str = ""
    """The key before it."""
    signatures: dict[str, str] = field(default_factory=dict)
    """`previous` and `new`: base64 of what both keys signed of the change."""
    compromised: bool = False
    """Whether the key before it is no longer to be trusted with what it signed shortly before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a book says of itself to somebody who may remember an earlier state."""

    note: str
    """Its newest signed checkpoint."""
    keys: tuple[KeyLink, ...]
    """All its keys, oldest first."""
    consistency: tuple[str, ...]
    """Proof, in hex, that the book of the size that was asked about begins this one; empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something a verifier found wrong with the book."""

    sequence: int | None
    """The first entry that it concerns, as far as that can be told."""
    problem: str
