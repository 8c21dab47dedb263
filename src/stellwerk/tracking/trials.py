"""Studies and their trials: a trial is a run with a number and a claim, and its ending is committed once.

What to try is decided elsewhere; here it is only kept. A claim has a lease, because its holder may die: then the trial is
begun again, in a run of its own, under the next epoch, and whoever had the one before can no longer end it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.tracking import rules
from stellwerk.tracking.model import (
    OPEN,
    PRUNED_TAG,
    REPORTED,
    STUDY,
    TRIAL,
    Claim,
    Cost,
    Point,
    Run,
    Status,
    StepMemory,
    Study,
    TrialLine,
)
from stellwerk.tracking.ports import Points
from stellwerk.tracking.service import Runs
from stellwerk.tracking.shelves import CLAIMS, RUNS, STEPS, STUDIES

LEASE = timedelta(minutes=5)
"""How long a holder that says nothing has a trial, where nobody can see whether it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What a trial came to.

    Args:
        reports: Values by step, as the trial told them.
        pruned: It was ended early.
    """

    status: Status
    reports: Sequence[tuple[int, float]] = ()
    pruned: bool = False
    cached: bool = False
    outputs: Mapping[str, Digest] | None = None
    metrics: Mapping[str, float] | None = None
    cost: Cost | None = None
    error: str = ""
    log: Digest | None = None
    memory: StepMemory | None = None


class Trials:
    """Use cases of studies for one workspace and actor.

    Args:
        alive: Whether a holder exists, as far as this machine can tell.
    """

    def __init__(self, book: Book, clock: Clock, runs: Runs, points: Points, alive: Callable[[str], bool]) -> None:
        self._book, self._clock, self._runs, self._points, self._alive = book, clock, runs, points, alive

    def find(self, study: Digest) -> Study | None:
        """A study, if somebody has begun it."""
        with self._book.read() as reader:
            return STUDIES.find(reader, study)

    def of_run(self, run: str) -> Study | None:
        """The study whose trials are parts of a run."""
        with self._book.read() as reader:
            found = STUDIES.mentioning(reader, run)
        return next((study for study in found if run in study.runs), None)

    def open(
        self, study: Digest, *, experiment: str, name: str, setup: Mapping[str, Any], again: bool, **facts: Any
    ) -> Study:
        """Begin a study, or go on with it.

        Args:
            again: Whether trials are to come: if its run has ended, it then gets another one.
            facts: Of its run: parent, params, inputs, code, environment.
        """
        with self._book.write() as tx:
            known = STUDIES.find(tx, study)
            if known is not None and (not again or RUNS.get(tx, known.runs[-1]).status in OPEN):
                tx.record("study.opened", f"study:{study}", {"run": known.runs[-1]})
                return known
            now = self._clock.now()
            run = rules.begun(now, tx.actor, experiment=experiment, name=name, kind=STUDY, **facts)
            run = self._runs.enter(tx, run)
            if known is None:
                known = Study(
                    id=study, experiment=experiment, name=name, runs=(run.id,), setup=dict(setup), created_at=now
                )
            else:
                known = evolve(known, runs=(*known.runs, run.id))
            STUDIES.put(tx, known)
            tx.record("study.opened", f"study:{study}", {"run": run.id, "name": name})
            return known

    def claim(self, study: Digest, number: int, *, holder: str, **facts: Any) -> TrialLine:
        """Begin the trial of a number. Raises `Conflict` (`already-exists`) where somebody has begun it."""
        with self._book.write() as tx:
            known = STUDIES.get(tx, study)
            run = self._begin(tx, known, number, **facts)
            claim = Claim(
                study=study, number=number, epoch=1, run=run.id, holder=holder, until=self._clock.now() + LEASE
            )
            CLAIMS.insert(tx, claim)
            return TrialLine(number=number, epoch=1, run=run, held=True)

    def retake(self, study: Digest, number: int, *, epoch: int, holder: str, process: str | None) -> TrialLine | None:
        """Begin a trial again whose holder of this epoch is gone; None where it is not, or somebody else did."""
        with self._book.write() as tx:
            known, claim = STUDIES.get(tx, study), CLAIMS.get(tx, study, number)
            lost = RUNS.get(tx, claim.run)
            if claim.epoch != epoch or not self._open(lost) or self._held(claim, lost):
                tx.record("trial.kept", f"run:{claim.run}", {"number": number, "epoch": claim.epoch})
                return None
            if lost.status in OPEN:
                why = "its holder ended without ending the trial"
                self._runs.end(tx, lost, status="interrupted", error=why)
            facts = {
                field: getattr(lost, field)
                for field in ("params", "tags", "inputs", "code", "environment", "step_key")
            }
            run = self._begin(tx, known, number, process=process, **facts)
            until = self._clock.now() + LEASE
            CLAIMS.put(tx, evolve(claim, epoch=epoch + 1, run=run.id, holder=holder, until=until))
            return TrialLine(number=number, epoch=epoch + 1, run=run, held=True)

    def finish(self, study: Digest, number: int, *, epoch: int, came: Came) -> Run | None:
        """End a trial, once; None where it is not this epoch's any more, or has ended."""
        with self._book.write() as tx:
            claim = CLAIMS.get(tx, study, number)
            run = RUNS.get(tx, claim.run)
            if claim.epoch != epoch or run.status not in OPEN:
                tx.record("trial.late", f"run:{claim.run}", {"number": number, "epoch": epoch})
                return None
            at = rules.milliseconds(self._clock.now())
            points = [Point(REPORTED, value, at, step) for step, value in came.reports]
            memory = came.memory and evolve(came.memory, run=run.id)
            if memory is not None and STEPS.find(tx, memory.step_key) is not None:
                memory = None
            return self._runs.end(
                tx,
                run,
                points=points,
                memory=memory,
                status=came.status,
                outputs=dict(came.outputs or {}),
                metrics=dict(came.metrics or {}),
                tags={**run.tags, PRUNED_TAG: str(max((s for s, _ in came.reports), default=0))}
                if came.pruned
                else run.tags,
                cached=came.cached,
                cost=came.cost or run.cost,
                error=came.error,
                log=came.log,
            )

    def release(self, study: Digest, *, holder: str) -> int:
        """Give back what a holder has, for anybody to begin again; answers how many trials."""
        with self._book.read() as reader:
            held = [claim for claim in CLAIMS.select(reader, study=study) if claim.holder == holder]
        given = 0
        for claim in held:
            with self._book.write() as tx:
                run = RUNS.get(tx, claim.run)
                now = CLAIMS.get(tx, study, claim.number)
                if run.status in OPEN and now == claim:
                    self._runs.end(tx, run, status="interrupted", error="it was given back")
                    given += 1
                else:
                    tx.record("trial.kept", f"run:{claim.run}", {"number": claim.number, "epoch": now.epoch})
        return given

    def renew(self, study: Digest, *, holder: str) -> int:
        """Extend the leases of a holder; answers how many trials it has."""
        with self._book.write() as tx:
            held = [claim for claim in CLAIMS.select(tx, study=study) if claim.holder == holder]
            until = self._clock.now() + LEASE
            ours = [claim for claim in held if RUNS.get(tx, claim.run).status in OPEN]
            for claim in ours:
                CLAIMS.put(tx, evolve(claim, until=until))
            tx.record("trial.renewed", f"study:{study}", {"numbers": [claim.number for claim in ours]})
        return len(ours)

    def lines(self, study: Digest, *, reports: bool = False) -> list[TrialLine]:
        """All trials by number, each as its newest epoch stands; with `reports` also what they reported."""
        with self._book.read() as reader:
            if STUDIES.find(reader, study) is None:
                raise NotFound(f"there is no study {study}", code="not-found")
            claims = CLAIMS.select(reader, study=study)
            runs = {run.id: run for run in RUNS.among(reader, "id", [claim.run for claim in claims])}
            return [
                TrialLine(
                    number=claim.number,
                    epoch=claim.epoch,
                    run=runs[claim.run],
                    held=self._open(runs[claim.run]) and self._held(claim, runs[claim.run]),
                    reports=self._reports(reader, claim.run) if reports else (),
                )
                for claim in claims
            ]

    def _reports(self, reader: Reader, run: str) -> tuple[tuple[int, float], ...]:
        found = self._points.history(reader, run, REPORTED, limit=None, offset=0)
        return tuple((point.step, point.value) for point in found)

    def _begin(self, tx: Transaction, study: Study, number: int, **facts: Any) -> Run:
        now, name, parent = self._clock.now(), f"{study.name} #{number}", study.runs[-1]
        run = rules.begun(now, tx.actor, experiment=study.experiment, name=name, kind=TRIAL, parent=parent, **facts)
        return self._runs.enter(tx, run)

    @staticmethod
    def _open(run: Run) -> bool:
        """Whether a trial has not come to anything yet; one that was interrupted has not."""
        return run.status in OPEN or run.status == "interrupted"

    def _held(self, claim: Claim, run: Run) -> bool:
        process, _, _ = claim.holder.partition("/")
        return run.status in OPEN and self._clock.now() < claim.until and self._alive(process)
