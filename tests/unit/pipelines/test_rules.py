"""Laws of the state machine, for any graph, any outcome and any order of events."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import Node, Plan, Ref, Resources
from stellwerk.pipelines.rules import (
    Command,
    Commit,
    Event,
    Fail,
    Failed,
    Finished,
    Found,
    Lookup,
    Missed,
    Run,
    Skip,
    State,
    Task,
    backoff,
    begin,
    decide,
    isolated,
    limits,
    tasks_of,
)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Task, ...]:
    """Tasks that need only earlier ones."""
    count = draw(st.integers(0, 8))
    return tuple(
        Task(
            id=f"t{n}",
            needs=tuple(f"t{m}" for m in sorted(draw(st.sets(st.integers(0, n - 1))) if n else ())),
            retries=draw(st.integers(0, 2)),
        )
        for n in range(count)
    )


@dataclass
class World:
    """Performs commands in any order, answers as it is told, and repeats or delays answers."""

    data: st.DataObject
    commits: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    cached: set[str] = field(default_factory=set)
    looked_up: list[str] = field(default_factory=list)

    def answer(self, command: Command) -> list[Event]:
        match command:
            case Lookup():
                self.looked_up.append(command.task)
                if self.data.draw(st.booleans(), label="cached"):
                    self.cached.add(command.task)
                    return [Found(task=command.task)]
                return [Missed(task=command.task)]
            case Run():
                assert self.attempts.get(command.task, 0) + 1 == command.attempt
                self.attempts[command.task] = command.attempt
                if self.data.draw(st.booleans(), label="finishes"):
                    return [Finished(task=command.task, attempt=command.attempt)]
                retryable = self.data.draw(st.booleans(), label="retryable")
                return [Failed(task=command.task, attempt=command.attempt, retryable=retryable)]
            case Commit():
                self.commits.append(command.task)
            case Fail():
                self.failed.append(command.task)
            case Skip():
                self.skipped[command.task] = command.because
        return []


def simulate(tasks: tuple[Task, ...], data: st.DataObject) -> tuple[World, State]:
    world = World(data=data)
    state, commands = begin(tasks)
    waiting, past = list(commands), []
    for _ in range(1000):
        if not waiting:
            break
        command = waiting.pop(data.draw(st.integers(0, len(waiting) - 1), label="next"))
        if isinstance(command, (Lookup, Run)):
            done = {name for name, status in state.status.items() if status in {"cached", "done"}}
            assert set(state.tasks[command.task].needs) <= done, "it runs before its inputs are there"
        events = world.answer(command)
        if past and data.draw(st.booleans(), label="repeat an old event"):
            events.append(data.draw(st.sampled_from(past)))
        for event in events:
            past.append(event)
            state, more = decide(state, event)
            waiting.extend(more)
    assert not waiting, "it does not end"
    return world, state


@given(tasks=graphs(), data=st.data())
def test_it_ends_and_every_task_has_one_end(tasks: tuple[Task, ...], data: st.DataObject) -> None:
    """Whatever fails, repeats or comes late; never before the inputs are there; committed at most once."""
    world, state = simulate(tasks, data)

    assert state.over
    assert len(world.commits) == len(set(world.commits))
    assert len(world.failed) == len(set(world.failed))
    assert len(world.looked_up) == len(set(world.looked_up))
    by_status = {status: {n for n, s in state.status.items() if s == status} for status in set(state.status.values())}
    assert set(world.commits) == by_status.get("done", set())
    assert set(world.failed) == by_status.get("failed", set())
    assert world.cached == by_status.get("cached", set())
    assert world.skipped.keys() == by_status.get("skipped", set())


@given(tasks=graphs(), data=st.data())
def test_failure_skips_dependents_only(tasks: tuple[Task, ...], data: st.DataObject) -> None:
    """A task is skipped if and only if something it needs, directly or not, failed; and it is told what."""
    world, state = simulate(tasks, data)

    above: dict[str, set[str]] = {}
    for task in tasks:
        above[task.id] = set(task.needs).union(*(above[need] for need in task.needs))
    for task in tasks:
        broken = above[task.id] & set(world.failed)
        assert ("skipped" == state.status[task.id]) == bool(broken)
        if broken:
            assert world.skipped[task.id] in broken


@given(tasks=graphs(), data=st.data())
def test_retries_are_counted(tasks: tuple[Task, ...], data: st.DataObject) -> None:
    """No task is tried more often than once and its retries."""
    world, _ = simulate(tasks, data)

    assert all(count <= 1 + {task.id: task.retries for task in tasks}[name] for name, count in world.attempts.items())


@given(tasks=graphs(), event=st.sampled_from(["found", "missed", "finished", "failed"]), attempt=st.integers(0, 3))
def test_events_that_do_not_fit_change_nothing(tasks: tuple[Task, ...], event: str, attempt: int) -> None:
    """Before anything runs, completions are lies; unknown tasks are nobody's."""
    state, _ = begin(tasks)
    lies: dict[str, Event] = {
        "found": Found(task="unknown"),
        "missed": Missed(task="unknown"),
        "finished": Finished(task="t0", attempt=attempt),
        "failed": Failed(task="t0", attempt=attempt),
    }

    assert (state, ()) == decide(state, lies[event])


def test_a_late_completion_of_an_earlier_attempt_is_ignored() -> None:
    """A zombie's result does not count once another attempt has begun."""
    state, _ = begin([Task(id="a", retries=1)])
    state, _ = decide(state, Missed(task="a"))
    state, again = decide(state, Failed(task="a", attempt=1))

    assert (Run(task="a", attempt=2, delay=1.0),) == again
    assert (state, ()) == decide(state, Finished(task="a", attempt=1))
    assert (Commit(task="a", attempt=2),) == decide(state, Finished(task="a", attempt=2))[1]


def test_waiting_grows_and_ends() -> None:
    """Seconds before the attempts that follow; never more than a minute."""
    assert [1, 2, 4, 8, 16, 32, 60, 60] == [backoff(n) for n in range(1, 9)]
    assert 60 == backoff(10**6)


def test_unknown_needs_are_refused() -> None:
    """A task cannot wait for nobody."""
    with pytest.raises(Invalid):
        begin([Task(id="a", needs=("b",))])


def test_seeds_are_tasks() -> None:
    """What needs a node with seeds needs all of them; datasets are nobody's task."""
    data = Node(id="d", step="d", kind="input", function="builtin:dataset", params={"name": "d", "version": None})
    train = Node(id="t", step="t", kind="train", function="m:t", seeds=2, retries=1, inputs={"x": Ref(node="d")})
    judge = Node(id="e", step="e", kind="e", function="m:e", inputs={"a": Ref(node="t"), "b": Ref(node="t")})

    assert (
        Task(id="t#0", retries=1),
        Task(id="t#1", retries=1),
        Task(id="e", needs=("t#0", "t#1")),
    ) == tasks_of(Plan(name="p", nodes=(data, train, judge)))


def test_limits_need_isolation() -> None:
    """A step with a timeout or a memory limit runs where it can be stopped; cpus alone are no limit."""

    def node(**facts: object) -> Node:
        return Node(id="n", step="n", kind="n", function="m:n", **facts)  # type: ignore[arg-type]

    assert not isolated(node())
    assert not isolated(node(resources=Resources(cpus=4)))
    assert isolated(node(timeout="10m"))
    assert isolated(node(resources=Resources(memory="2GB")))
    assert (600.0, 2_000_000_000) == limits(node(timeout="10m", resources=Resources(memory="2GB")))
    assert (None, None) == limits(node())
