"""Cases and their decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from stellwerk.core.digest import Digest

CaseKind = Literal["audit", "slice", "caution", "alarm", "approval"]
CaseStatus = Literal["open", "decided", "withdrawn", "expired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question to a person."""

    id: str
    endpoint: str
    """Of an approval, the pipeline that waits for it."""
    kind: CaseKind
    subject: str
    """What it is about: `prediction:…`, `endpoint:…`."""
    queue: str
    opened_at: datetime
    due_at: datetime
    """A promise; of a case with the fact `deadline` the end: undecided until then counts as refused."""
    status: CaseStatus = "open"
    why: str = ""
    """Why it was steered to a person."""
    probability: float = 1.0
    """With which probability it was chosen, for unbiased estimates from audits."""
    decision: str = ""
    decided_by: str = ""
    decided_at: datetime | None = None
    reason: str = ""
    asked: str = ""
    """Who alone is asked, if it was handed to a person; else whoever looks after the queue."""
    handed_by: tuple[str, ...] = ()
    """Who has handed it to another person, and so does not decide it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Digests and numbers only; the inputs stay in the prediction log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A sealed piece of the prediction log whose steered answers have become cases."""

    source: Digest
    endpoint: str
    cases: int
    taken_at: datetime
