"""An attempt that waits for a worker elsewhere: who has it, until when, and how it came out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from stellwerk.core.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One attempt of an execution, offered to workers.

    Args:
        attempt: The attempt's id in its execution.
        document: What is to be done, in the store: the attempt with the digests of its inputs, and where its code is.
        needs: What it takes while it runs, by name; memory in bytes.
        epoch: Counts how often it was claimed. What an earlier worker says is refused.
        until: When the worker's lease ends, unless it is heard of before.
        outcome: How it came out, in the store.
    """

    id: str
    execution: str
    attempt: str
    document: Digest
    status: Literal["open", "claimed", "ended", "withdrawn"] = "open"
    priority: int = 0
    needs: dict[str, float] = field(default_factory=dict)
    worker: str = ""
    epoch: int = 0
    until: datetime | None = None
    outcome: Digest | None = None
