"""Long work as lines, one per step. How they look on a terminal is in `terminal`."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from stellwerk.cli import words
from stellwerk.core.clock import monotonic

if TYPE_CHECKING:
    from stellwerk.pipelines.model import Event, Plan

State = Literal["waiting", "running", "done", "cached", "failed", "skipped", "omitted"]
BRIEF = 0.05
"""Seconds below which nobody wants to know how long it took."""
ENDED = ("done", "cached", "failed", "skipped", "omitted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line: what is done, how far it is, how long it took."""

    name: str
    state: State = "waiting"
    note: str = ""
    seconds: float = 0.0
    since: float | None = None
    """When it began, while it is running."""


class Lines(Protocol):
    """Where lines of progress are shown."""

    def put(self, line: Progress) -> None:
        """Show a line; one of the same name is replaced."""
        ...


class _Plain:
    """Writes a line when it ends, once, and what it waits for where nothing else is to come of it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def put(self, line: Progress) -> None:
        if line.state in ENDED:
            note = f", {line.note}" if line.note else ""
            time = f" in {words.took(line.seconds)}" if line.seconds >= BRIEF else ""
            self._say(f"{line.name}: {line.state}{time}{note}")
        elif line.state == "waiting" and line.note:
            self._say(f"{line.name}: {line.note}")


def plain_lines(say: Callable[[str], None]) -> Lines:
    """Lines for people who read a log."""
    return _Plain(say)


class Phases:
    """Work that says what it is doing: each phase ends when the next begins, or when its `with` statement ends."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._current: Progress | None = None

    def __enter__(self) -> Phases:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.end("done" if kind is None else "failed")

    def __call__(self, text: str) -> None:
        _stay_interruptible()
        self.end()
        self._current = Progress(name=text, state="running", since=monotonic())
        self._lines.put(self._current)

    def end(self, state: State = "done") -> None:
        """End the phase under way."""
        if self._current is not None and self._current.since is not None:
            seconds = monotonic() - self._current.since
            self._lines.put(replace(self._current, state=state, seconds=seconds, since=None))
        self._current = None


@dataclass(slots=True)
class _Step:
    tasks: int
    """How many tasks it has, as far as is known: in a loop they appear one by one."""
    looped: bool = False
    under_way: set[str] = field(default_factory=set)
    ended: list[State] = field(default_factory=list)
    seconds: float = 0.0
    since: float | None = None
    note: str = ""


class Steps:
    """A plan under way: one line per step, however many seeds it runs with. Give it to `Workspace.run` as `watch`.

    Args:
        place: The workspace as it was named on the command line, for what is to be typed elsewhere.

    Attributes:
        tracebacks: Of the steps that failed, the frames of the user's own code.
    """

    def __init__(self, plan: Plan, lines: Lines, place: str = "") -> None:
        self._lines, self._place = lines, place
        loops = {group.id for group in plan.groups if hasattr(group, "items")}
        around = {group.id: group.within for group in plan.groups}
        self._steps = {
            node.id: _Step(tasks=max(1, node.seeds), looped=_inside(node.within, around, loops))
            for node in plan.nodes
        }
        self.tracebacks: list[str] = []
        for name in self._steps:
            lines.put(Progress(name=name))

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for name, step in self._steps.items():
            if kind is not None and step.since is not None:
                seconds = step.seconds + monotonic() - step.since
                self._lines.put(Progress(name=name, state="failed", note="interrupted", seconds=seconds))

    def __call__(self, event: Event) -> None:
        _stay_interruptible()
        if event.kind == "workers-awaited":
            self._lines.put(_awaited(self._place))
        step = self._steps.get(event.node)
        if step is None:
            return
        if event.kind == "node-started":
            step.since = monotonic() if step.since is None else step.since
            step.under_way.add(event.task)
        elif event.kind == "node-waiting":
            step.note = f"waits for case {event.because}" if event.because else "waits"
        elif event.kind == "node-retried" and event.failure is not None:
            step.note = f"trying again: {event.failure.message}"
        elif event.kind in _ENDS:
            step.ended.append(_ENDS[event.kind])
            step.under_way.discard(event.task)
            if step.since is not None and event.kind != "node-cached" and not step.under_way:
                step.seconds += monotonic() - step.since
                step.since = None
            step.note = ""
            # Without frames of the user's own code it would only repeat the error.
            if event.failure is not None and event.failure.traceback.startswith("Traceback"):
                self.tracebacks.append(event.failure.traceback)
        else:
            return
        self._lines.put(_line(event.node, step))


def _stay_interruptible() -> None:
    """Let Ctrl-C end every kind of waiting. Polars, once imported, has waiting for locks go on as if nothing was."""
    signal.siginterrupt(signal.SIGINT, True)


_ENDS: dict[str, State] = {
    "input-resolved": "done",
    "node-finished": "done",
    "node-cached": "cached",
    "node-failed": "failed",
    "node-skipped": "skipped",
    "node-omitted": "omitted",
}


def _inside(group: str, around: dict[str, str], loops: set[str]) -> bool:
    """Whether a group is a loop, or stands in one."""
    while group:
        if group in loops:
            return True
        group = around[group]
    return False


def _awaited(place: str) -> Progress:
    typed = f"stellwerk -w {shlex.quote(place)} worker" if place else "stellwerk worker"
    return Progress(
        name="--on workers", note=f"no worker has taken a step so far; start one on this workspace: {typed}"
    )


def _line(name: str, step: _Step) -> Progress:
    state: State = "running"
    if len(step.ended) >= step.tasks and not step.under_way:
        state = next(one for one in ("failed", "skipped", "done", "cached", "omitted") if one in step.ended)
    note = step.note
    if not note and step.looped and len(step.ended) > 1:
        note = f"{len(step.ended)} times"
    elif not note and step.tasks > 1 and state not in ("skipped", "omitted"):
        note = f"{step.tasks} seeds" if state != "running" else f"{len(step.ended)} of {step.tasks} seeds"
    return Progress(name=name, state=state, note=note, seconds=step.seconds, since=step.since)
