"""Where gate sets, openings, plans and evidence are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from stellwerk.core.digest import Digest
from stellwerk.evidence.model import Evidence, GateSet, Opening
from stellwerk.ledger.shelf import Shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPlan:
    """A plan in the book; the plan itself is the blob."""

    digest: Digest
    endpoint: str
    model: Digest
    frozen_at: datetime
    sequence: int
    """The ledger entry that froze it."""


GATES = Shelf("gate_sets", GateSet, key=("name", "version"))
OPENINGS = Shelf("gate_openings", Opening, key=("gate", "gate_version", "plan"), index=("attempt",))
PLANS = Shelf("plans", FrozenPlan, key=("digest",), index=("endpoint", "model"))
EVIDENCE = Shelf("evidence", Evidence, key=("id",), index=("subject", "kind", "plan", "observed_at"))
