"""Running what triggers fire: look for causes, take what is due, begin each run in a process of its own, say what became.

The code of a pipeline never runs in this process, nor in a server's: a child is started by an argument list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from stellwerk.core.errors import Invalid, StellwerkError
from stellwerk.tracking.model import OPEN, Run
from stellwerk.triggers.model import Firing
from stellwerk.workspace import causing
from stellwerk.workspace import operations as ops
from stellwerk.workspace.adapters.child_runs import Child, problem
from stellwerk.workspace.dropping import Drops
from stellwerk.workspace.going_on import Continuing, Gone
from stellwerk.workspace.layout import Layout, this_process
from stellwerk.workspace.ports import Caller

EVERY_SECONDS = 2.0
REAP_SECONDS = 0.2
UNAVAILABLE = 8
"""The exit code of the command line where something is missing for now."""
_GONE = "the process ended without finishing the run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a runner has to say of a firing."""

    firing: Firing
    said: str = ""
    """The end of what a failed run said."""


@dataclass(kw_only=True)
class Runner:
    """Takes firings for the pipelines of one project, and runs them.

    Attributes:
        place: The workspace as the command line names it.
        file: The file with the pipelines.
        project: The project's name; empty where it has no project file.
        workers: Runs at the same time.
        only: Pipelines that are run here; empty for all.
        drops: Folders whose files become versions of datasets.
        watch: Told when a run begins and ends.
    """

    caller: Caller
    place: str
    file: Path
    project: str = ""
    workers: int = 1
    only: Sequence[str] = ()
    drops: Sequence[Drops] = ()
    watch: Callable[[Told], None] = lambda _told: None
    trouble: Callable[[StellwerkError], None] = lambda _problem: None
    failed: int = 0
    done: int = 0
    went: Callable[[Gone], None] = lambda _gone: None
    _running: dict[str, tuple[Firing, Child]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._goes_on = Continuing(
            caller=self.caller,
            place=self.place,
            file=self.file,
            project=self.project,
            only=self.only,
            watch=self.went,
        )

    def once(self) -> int:
        """Run everything that is due by now; how many runs that were."""
        if self.workers < 1:
            raise Invalid(f"{self.workers} workers run nothing (expected at least 1)", code="usage")
        try:
            self._take_drops(settled=True)
            self._look()
            while self._claim() or self._continue() or self._busy:
                self._reap(REAP_SECONDS)
        finally:
            self._stop()
        return self.done + self._goes_on.done

    def forever(self, end: Event, every: float = EVERY_SECONDS) -> None:
        """Run what is due until told to end. A server that is away for a while is waited for."""
        try:
            while not end.is_set():
                try:
                    self._take_drops(settled=False)
                    self._look()
                    while self._claim() or self._continue():
                        pass
                    self._reap(0.0)
                except StellwerkError as problem:
                    self.trouble(problem)
                end.wait(REAP_SECONDS if self._busy else every)
        finally:
            self._stop()

    def _take_drops(self, *, settled: bool) -> None:
        for one in self.drops:
            one.take(self.caller, settled=settled)

    def _look(self) -> None:
        self._goes_on.look()
        self.caller.call(ops.look_for_causes, {})

    @property
    def _busy(self) -> int:
        return len(self._running) + self._goes_on.busy

    @property
    def continued(self) -> tuple[int, int]:
        """How many executions went on that had waited, and how many of them failed."""
        return self._goes_on.done, self._goes_on.failed

    def _continue(self) -> bool:
        """Go on with one more execution, if there is one and a worker is free."""
        return self._busy < self.workers and self._goes_on.begin()

    def _claim(self) -> bool:
        """Begin one more run, if there is one and a worker is free."""
        if self._busy >= self.workers:
            return False
        asked = {"runner": this_process(), "only": tuple(self.only)}
        firing: Firing | None = self.caller.call(ops.claim_firing, asked)
        if firing is None:
            return False
        self._running[firing.id] = (firing, Child(self._arguments(firing), self.file.parent, _named(firing)))
        self.watch(Told(firing=firing))
        return True

    def _arguments(self, firing: Firing) -> list[str]:
        params = [word for name, text in firing.params.items() for word in ("-p", f"{name}={text}")]
        return ["--workspace", self.place, "run", firing.pipeline, "--file", str(self.file), *params]

    def _reap(self, within: float, *, stopped: bool = False) -> None:
        """Settle what has ended; wait a little for the first one.

        Args:
            stopped: It was we who ended it: what had not begun its run waits for the next runner.
        """
        self._goes_on.reap(0.0 if self._running else within)
        for key, (firing, child) in list(self._running.items()):
            code = child.ended(within)
            within = 0.0
            if code is None:
                continue
            # Where the workspace is away, this is tried again: only then is the child let go of.
            self._settle(firing, code, child.said(), again=stopped or code == UNAVAILABLE)
            del self._running[key]
            child.close()

    def _settle(self, firing: Firing, code: int, said: str, *, again: bool) -> None:
        if code < 0 and self.caller.local:
            self.caller.call(ops.close_runs, {})
        why = "" if code == 0 else problem(code, said)
        asked = {"firing": firing.id, "epoch": firing.epoch, "problem": why, "again": again}
        found: Firing = self.caller.call(ops.settle_firing, asked)
        if code < 0 and found.status == "started" and found.epoch == firing.epoch:
            run: Run = self.caller.call(ops.get_run, {"run": found.run})
            if run.status in OPEN:  # of a workspace elsewhere, which cannot see our processes
                self.caller.call(ops.finish_run, {"run": run.id, "status": "interrupted", "error": _GONE})
            found = self.caller.call(ops.settle_firing, asked)
        self.done += 1
        self.failed += code != 0
        self.watch(Told(firing=found, said=said if code else ""))

    def _stop(self) -> None:
        """End what goes on: whoever stops a runner stops its runs."""
        for _, child in self._running.values():
            child.stop()
        try:
            self._goes_on.stop()
            self._reap(0.0, stopped=True)
        except StellwerkError as problem:
            self.trouble(problem)


@contextmanager
def beside(layout: Layout) -> Iterator[None]:
    """A runner in a process of its own, for as long as a server runs; what it says goes where the server's talk goes."""
    arguments = ["--workspace", str(layout.root), "triggers", "run"]
    child = Child(arguments, layout.root, {}, keeps=False)
    try:
        yield
    finally:
        child.stop()
        child.close()


def _named(firing: Firing) -> dict[str, str]:
    return {causing.FIRING: f"{firing.id}.{firing.epoch}", causing.CAUSE: firing.id}
