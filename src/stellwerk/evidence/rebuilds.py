"""The report of a rebuild as the ledger keeps it (`docs/formats/rebuild.md`). Its level is computed, never read."""

from __future__ import annotations

from dataclasses import dataclass

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.evidence.reproduction import Grade, Measured, Probes, StepPair, grade
from stellwerk.ledger import documents

FORMAT = "stellwerk-rebuild/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the level of a rebuild follows from; the level itself is computed from it.

    Attributes:
        given: Digests of what no step made.
        notes: What differs around the rebuild: packages, machine, code; a sentence each.
        fresh: Whether it ran in an environment made for it.
        metric: The metric of every seed; None where nothing was evaluated.
        margin: By how much means of seeds may differ to count as the same procedure.
    """

    run: str
    plan: Digest
    before: Digest
    now: Digest | None
    steps: tuple[StepPair, ...]
    given: tuple[Digest, ...]
    probes: Probes | None
    metric: Measured | None
    margin: float | None
    fresh: bool
    environment: Digest
    machine: Digest
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def grade(self) -> Grade:
        return grade(
            model=(self.before, self.now),
            steps=self.steps,
            given=frozenset(self.given),
            probes=self.probes,
            measured=self.metric,
            margin=self.margin,
        )

    @property
    def document(self) -> bytes:
        """The report as the ledger keeps it."""
        return canonical.dumps({"format": FORMAT, **documents.dump(self)})


def read(data: bytes) -> Facts:
    """The facts of a report. `Invalid` for anything else."""
    body = canonical.loads(data)
    if not isinstance(body, dict) or body.pop("format", "") != FORMAT:
        raise Invalid(f"not the report of a rebuild (expected {FORMAT})", code="invalid-report")
    found: Facts = documents.load_exactly(Facts, body)
    return found
