"""Beginning, following and taking over executions: leases with epochs, so that two engines never drive one.

Everything an engine writes is conditional on its epoch. Who takes an execution over raises the epoch, and from then on
the engine that had it before is refused, however alive it feels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import Conflict, Invalid, Refused
from stellwerk.ledger.shelf import evolve
from stellwerk.pipelines.model import Execution, Standing, TaskState, Wait
from stellwerk.pipelines.shelves import EXECUTIONS, TASKS, WAITS

if TYPE_CHECKING:
    from stellwerk.core.clock import Clock
    from stellwerk.core.digest import Digest
    from stellwerk.ledger.ports import Book, Reader, Transaction
    from stellwerk.tracking.model import Run, StepMemory
    from stellwerk.tracking.service import Runs

SILENCE = timedelta(seconds=120)
"""After so long without a word an engine on another machine is taken for gone."""
OPEN: tuple[Standing, ...] = ("running", "waiting", "paused", "interrupted")
"""Executions that can go on."""


class Executions:
    """The executions of one workspace."""

    def __init__(self, book: Book, clock: Clock, runs: Runs) -> None:
        self._book, self._clock, self._runs = book, clock, runs

    def begin(
        self,
        run: Run,
        *,
        plan: Digest,
        code: Digest,
        call: dict[str, Any],
        owner: str,
        also: Callable[[Transaction, Run], None] | None = None,
    ) -> tuple[Run, Execution]:
        """Begin an execution and its run together.

        Args:
            run: Of an experiment that is called as its pipeline.
            also: Writes what belongs to its beginning, in the same transaction; what it raises undoes all.
        """
        now, pipeline = self._clock.now(), run.experiment
        with self._book.write() as tx:
            run = self._runs.enter(tx, run)
            if also is not None:
                also(tx, run)
            execution = Execution(
                id=run.id,
                pipeline=pipeline,
                plan=plan,
                code=code,
                call=call,
                owner=owner,
                begun_at=now,
                seen_at=now,
            )
            EXECUTIONS.insert(tx, execution)
        return run, execution

    def advance(
        self,
        execution: str,
        epoch: int,
        *,
        runs: Sequence[Run] = (),
        memories: Sequence[StepMemory] = (),
        tasks: Sequence[TaskState] = (),
    ) -> list[StepMemory]:
        """Write what steps did: their runs, results and states, in one transaction.

        Returns:
            The results that others had committed under the same keys before.

        Raises:
            Conflict: `execution-taken`, if another engine has it now.
        """
        with self._book.write() as tx:
            self._mine(tx, execution, epoch)
            first = self._runs.advance(tx, runs, memories)
            for task in tasks:
                TASKS.put(tx, task)
            if tasks:
                states = {task.task: f"{task.status} {task.attempts}" for task in tasks}
                tx.record("execution.tasks", f"run:{execution}", {"epoch": epoch, "tasks": states})
        return first

    def replace(self, execution: str, epoch: int, memories: Sequence[StepMemory]) -> None:
        """Let results take the place of those whose bytes are gone."""
        with self._book.write() as tx:
            self._mine(tx, execution, epoch)
            for memory in memories:
                self._runs.replace_memory(tx, memory)
            tx.record_many([("step.replaced", f"run:{one.run}", {"step_key": one.step_key}) for one in memories])

    def beat(self, execution: str, epoch: int) -> str:
        """Say that the engine is alive; what somebody wants of the execution.

        Raises:
            Conflict: `execution-taken`, if another engine has it now.
        """
        with self._book.read() as reader:
            known = self._checked(EXECUTIONS.get(reader, execution), epoch)
        if self._clock.now() - known.seen_at > SILENCE / 4:
            with self._book.write() as tx:
                known = self._mine(tx, execution, epoch)
                EXECUTIONS.put(tx, evolve(known, seen_at=self._clock.now()))
                tx.record("execution.alive", f"run:{execution}", {"epoch": epoch})
        return known.request

    def leave(
        self,
        execution: str,
        epoch: int,
        status: Standing,
        keys: Digest | None = None,
        *,
        also: Callable[[Transaction], None] | None = None,
    ) -> Execution:
        """The engine ends: the execution is over, or goes on some other time.

        Args:
            also: Writes what belongs to its end, in the same transaction.
        """
        with self._book.write() as tx:
            known = self._mine(tx, execution, epoch)
            left = evolve(
                known, status=status, owner="", request="", seen_at=self._clock.now(), keys=keys or known.keys
            )
            EXECUTIONS.put(tx, left)
            if status == "waiting" or status == "paused":
                self._runs.leave(tx, execution, status)
            if status not in (*OPEN, "failed"):
                TASKS.remove_all(tx, execution=execution)
            if also is not None:
                also(tx)
            tx.record(f"execution.{status}", f"run:{execution}", {"epoch": epoch})
        return left

    def take(
        self, execution: str, *, code: Digest | None, owner: str, alive: Callable[[str], bool], cause: str = ""
    ) -> tuple[Execution, list[TaskState]]:
        """Take an execution over, to go on with it; what its tasks were doing.

        Args:
            code: All code that the plan reaches now.
            alive: Whether a process of this machine exists.
            cause: What made it go on by itself, for the ledger; empty where somebody asked.

        Raises:
            Conflict: `execution-running` while its engine is alive, `execution-over` if there is nothing left to do.
            Refused: `code-changed`, if the code is another one than that under which it began.
        """
        with self._book.write() as tx:
            known = EXECUTIONS.get(tx, execution)
            if known.status not in (*OPEN, "failed"):  # what has failed may do better now
                raise Conflict(
                    f"execution {execution} is {known.status}: nothing is left to do", code="execution-over"
                )
            if self._goes_on(known, alive):
                raise Conflict(
                    f"execution {execution} goes on in {known.owner}",
                    code="execution-running",
                    hint="pause or cancel it there first",
                )
            if code is not None and code != known.code:
                raise Refused(
                    f"execution {execution} began under other code",
                    code="code-changed",
                    hint="check out what it began with, or execute the pipeline anew: what has not changed is not"
                    " executed again",
                )
            states = TASKS.select(tx, execution=execution)
            self._runs.reopen(tx, execution, owner)
            taken = evolve(
                known, status="running", epoch=known.epoch + 1, owner=owner, request="", passed="",
                seen_at=self._clock.now(),
            )  # fmt: skip
            EXECUTIONS.put(tx, taken)
            facts = {"epoch": taken.epoch, "was": known.status, **({"cause": cause} if cause else {})}
            tx.record("execution.taken", f"run:{execution}", facts)
        return taken, states if known.status != "failed" else []

    def pass_over(self, execution: str, epoch: int, why: str, cause: str) -> Execution:
        """Leave an execution that waits to people: it cannot go on by itself. What changed meanwhile stays."""
        with self._book.write() as tx:
            known = EXECUTIONS.get(tx, execution)
            if known.status != "waiting" or known.epoch != epoch or known.passed:
                return known
            passed = evolve(known, passed=why)
            EXECUTIONS.put(tx, passed)
            tx.record("execution.passed-over", f"run:{execution}", {"epoch": epoch, "why": why, "cause": cause})
        return passed

    def ask(
        self,
        execution: str,
        request: str,
        *,
        alive: Callable[[str], bool],
        also: Callable[[Transaction], None] | None = None,
    ) -> Execution:
        """Ask the engine of an execution to pause, to cancel, or (with "") to go on. Over ones raise `Conflict`.

        Where there is no engine any more that could hear it, what is cancelled is over at once.

        Args:
            alive: Whether a process of this machine exists.
            also: Writes what belongs to its end, in the same transaction, if it is over at once.
        """
        if request not in ("", "pause", "cancel"):
            raise Invalid(f"request is {request!r} (expected pause, cancel or nothing)", code="wrong-arguments")
        with self._book.write() as tx:
            known = EXECUTIONS.get(tx, execution)
            if known.status not in OPEN:
                raise Conflict(f"execution {execution} is {known.status} already", code="execution-over")
            asked = evolve(known, request=request)
            if request == "cancel" and not self._goes_on(known, alive):
                asked = evolve(known, status="cancelled", owner="", request="", epoch=known.epoch + 1)
                self._runs.give_up(tx, execution, "cancelled")
                TASKS.remove_all(tx, execution=execution)
            EXECUTIONS.put(tx, asked)
            if also is not None and asked.status == "cancelled":
                also(tx)
            tx.record(f"execution.{request or 'resume'}-asked", f"run:{execution}", {"epoch": known.epoch})
        return asked

    def get(self, execution: str) -> Execution:
        """One execution. Raises `NotFound`."""
        with self._book.read() as reader:
            return EXECUTIONS.get(reader, execution)

    def all(self, *, status: str | None = None, pipeline: str | None = None, limit: int = 100) -> list[Execution]:
        """Executions, the latest first."""
        asked = {"status": status, "pipeline": pipeline}
        equal: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        with self._book.read() as reader:
            return EXECUTIONS.select(reader, order="-id", limit=limit, **equal)

    def latest_keys(self, pipeline: str) -> Digest | None:
        """The step keys that the latest execution of a pipeline came to, as a document in the store."""
        with self._book.read() as reader:
            latest = EXECUTIONS.select(reader, order="-id", limit=3, pipeline=pipeline)
        return next((one.keys for one in latest if one.keys is not None), None)

    def tasks(self, execution: str) -> list[TaskState]:
        """The tasks of an execution that have not simply been done."""
        with self._book.read() as reader:
            return TASKS.select(reader, execution=execution)

    @staticmethod
    def waited_for(reader: Reader, because: str) -> bool:
        """Whether an execution that can go on waits for a case."""
        waiting = [task for task in TASKS.select(reader, status="waiting") if task.because == because]
        return any(EXECUTIONS.get(reader, task.execution).status in OPEN for task in waiting)

    def _goes_on(self, known: Execution, alive: Callable[[str], bool]) -> bool:
        """Whether there is an engine that works on an execution, as far as one can tell."""
        return bool(known.owner) and alive(known.owner) and self._clock.now() - known.seen_at < SILENCE

    def _mine(self, tx: Transaction, execution: str, epoch: int) -> Execution:
        return self._checked(EXECUTIONS.get(tx, execution), epoch)

    def _checked(self, known: Execution, epoch: int) -> Execution:
        if known.epoch != epoch:
            raise Conflict(
                f"execution {known.id} has been taken over by another engine (epoch {known.epoch}, ours is {epoch})",
                code="execution-taken",
            )
        return known


class Waits:
    """What the steps of one workspace wait for."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def open(self, wait: Wait) -> Wait:
        """Begin to wait, unless somebody waits under this key already; the wait as it is."""
        facts = {"task": wait.task, "step_key": wait.key}
        return WAITS.insert_once(
            self._book, wait, also=lambda tx: tx.record("wait.opened", f"run:{wait.execution}", facts)
        )

    def get(self, key: Digest) -> Wait:
        """The wait under a key. Raises `NotFound`."""
        with self._book.read() as reader:
            return WAITS.get(reader, key)

    def of(self, execution: str) -> list[Wait]:
        """What an execution waits for, or has waited for."""
        with self._book.read() as reader:
            return WAITS.select(reader, execution=execution)
