"""Going on with executions that waited: a decision was taken, a time or an event has come.

Each goes on in a process of its own, which plans it again from the project's file. Whether the code is that with which
it began is found out there, because no code of a pipeline runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stellwerk.pipelines.model import Due, Execution
from stellwerk.workspace import causing
from stellwerk.workspace import operations as ops
from stellwerk.workspace.adapters.child_runs import Child, problem
from stellwerk.workspace.ports import Caller

NOT_BY_ITSELF = {
    "code-changed": "it began under other code, and so does not go on by itself",
    "plan-changed": "it began with another plan, and so does not go on by itself",
}
"""By the code of an error what is said of an execution that a person has to decide about."""
ELSEWHERE = frozenset({"execution-running", "execution-over", "execution-taken"})
"""Codes of errors that say that somebody else was first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What a runner has to say of an execution that it goes on with."""

    due: Due
    status: str = ""
    """How it stands afterwards; empty while it is only begun."""
    left: str = ""
    """Why it was left to people."""
    said: str = ""
    """The end of what it said, where it failed."""


@dataclass(kw_only=True)
class Continuing:
    """The executions that one runner goes on with.

    Attributes:
        file: The file of the project's pipelines.
        project: The project's name; an execution of another project is left to its runner.
        watch: Told when one begins and ends.
    """

    caller: Caller
    place: str
    file: Path
    project: str = ""
    only: Sequence[str] = ()
    watch: Callable[[Gone], None] = lambda _gone: None
    done: int = 0
    failed: int = 0
    _tried: set[tuple[str, int, str]] = field(default_factory=set)
    _running: dict[str, tuple[Due, Child]] = field(default_factory=dict)
    _waiting: list[Due] = field(default_factory=list)

    @property
    def busy(self) -> int:
        """How many are under way."""
        return len(self._running)

    def look(self) -> None:
        """See which can go on by now."""
        found: tuple[Due, ...] = self.caller.call(ops.due_executions, {"only": tuple(self.only)})
        self._waiting = [due for due in found if self._is_new(due) and self._file_of(due.execution) is not None]

    def _is_new(self, due: Due) -> bool:
        return due.execution.id not in self._running and _attempt(due) not in self._tried

    def begin(self) -> bool:
        """Go on with one more, if there is one."""
        if not self._waiting:
            return False
        due = self._waiting.pop(0)
        file = self._file_of(due.execution)
        if file is None:
            return self.begin()
        self._tried.add(_attempt(due))
        arguments = ["--workspace", self.place, "resume", due.execution.id, "--file", str(file)]
        child = Child(arguments, self.file.parent, {causing.GOES_ON: due.cause})
        self._running[due.execution.id] = (due, child)
        self.watch(Gone(due=due))
        return True

    def _file_of(self, execution: Execution) -> Path | None:
        """The file that holds the pipeline of an execution, if it is one of this project's."""
        if str(execution.call.get("project") or self.project) != self.project:
            return None
        named = str(execution.call.get("file") or "")
        home = self.file.parent.resolve()
        found = (home / named).resolve()
        return found if named and found.is_relative_to(home) and found.is_file() else None

    def reap(self, within: float) -> None:
        """Note what has ended; wait a little for the first one."""
        for key, (due, child) in list(self._running.items()):
            code = child.ended(within)
            within = 0.0
            if code is None:
                continue
            self._settle(due, code, child.said())
            del self._running[key]
            child.close()

    def _settle(self, due: Due, code: int, said: str) -> None:
        named = _code(said) if code else ""
        if code < 0 and self.caller.local:
            self.caller.call(ops.close_runs, {})
        left = NOT_BY_ITSELF.get(named, "")
        if left:
            asked = {"execution": due.execution.id, "epoch": due.execution.epoch, "why": left, "cause": due.cause}
            self.caller.call(ops.pass_over_execution, asked)
            self.watch(Gone(due=due, status="waiting", left=left))
            return
        if named in ELSEWHERE:
            return
        now: Execution = self.caller.call(ops.get_execution, {"execution": due.execution.id})[0]
        self.done += 1
        self.failed += code != 0
        self.watch(Gone(due=due, status=now.status, said=said or problem(code, said) if code else ""))

    def stop(self) -> None:
        """End what is under way: whoever stops a runner stops its runs."""
        for _, child in self._running.values():
            child.stop()
        self.reap(0.0)


def _attempt(due: Due) -> tuple[str, int, str]:
    return due.execution.id, due.execution.epoch, due.cause


def _code(said: str) -> str:
    """The code of the error with which a command ended."""
    codes = [line.removeprefix("code: ").strip() for line in said.splitlines() if line.startswith("code: ")]
    return codes[-1] if codes else ""
