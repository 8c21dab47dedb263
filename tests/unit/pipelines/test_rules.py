"""Laws of the state machine, for any plan, any outcome and any order of events."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import EITHER, Backoff, Branch, Loop, Node, Plan, Ref, Resources
from stellwerk.pipelines.rules import (
    MAX_LOST,
    OVER,
    Commit,
    Counted,
    Delay,
    Due,
    Event,
    Fail,
    Failed,
    Finished,
    Found,
    Judged,
    Lookup,
    Missed,
    Omit,
    Paused,
    Resumed,
    Run,
    Shape,
    Skip,
    begin,
    decide,
    isolated,
    limits,
)
from stellwerk.testing.schedules import Faults, Simulation, random_plan

SCHEDULES = int(os.environ.get("STELLWERK_SCHEDULES", "300"))


def node(name: str, *needs: str | Ref, within: str = "", **facts: object) -> Node:
    inputs = {f"a{n}": Ref(node=need) if isinstance(need, str) else need for n, need in enumerate(needs)}
    whole = {"id": name, "step": name, "kind": "step", "function": "m:f", "inputs": inputs, "within": within, **facts}
    return Node(**whole)  # type: ignore[arg-type]


def plan(*nodes: Node, groups: tuple[Branch | Loop, ...] = ()) -> Plan:
    return Plan(name="p", nodes=nodes, groups=groups)


class Played:
    """A state machine, and what it asked for."""

    def __init__(self, plan: Plan, capacity: Resources | None = None) -> None:
        self.state, first = begin(Shape(plan), capacity)
        self.state.apply(first.changes)
        self.said = [str(one) for one in map(_short, first.commands)]

    def hear(self, *events: Event) -> list[str]:
        said: list[str] = []
        for event in events:
            decision = decide(self.state, event)
            self.state.apply(decision.changes)
            said += map(_short, decision.commands)
        return said

    def status(self) -> dict[str, str]:
        return {name: task.status for name, task in self.state.tasks.items()}


def _short(command: object) -> str:
    attempt = getattr(command, "attempt", None)
    return f"{type(command).__name__} {command.task}" + (f" {attempt}" if attempt else "")  # type: ignore[attr-defined]


def done(task: str, attempt: int = 1) -> tuple[Event, Event]:
    return Missed(task=task), Finished(task=task, attempt=attempt)


def test_any_schedule_of_any_plan_ends_well() -> None:
    """With late, repeated and lost answers, lost engines, pauses and cancels: the laws of the simulator hold."""
    ends: set[str] = set()
    for seed in range(SCHEDULES):
        state = Simulation(random_plan(seed % 500), seed).run()
        ends |= {task.status for task in state.tasks.values()}

    assert OVER == ends  # the schedules reach everything that can happen to a task


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_a_schedule_is_the_same_for_the_same_seed(seed: int) -> None:
    """So that a broken law is found again by its number."""
    one, two = (Simulation(random_plan(seed % 50), seed) for _ in range(2))

    assert one.run().tasks == two.run().tasks
    assert one.engines == two.engines


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), lost=st.integers(0, 4))
def test_faults_change_no_result(seed: int, lost: int) -> None:
    """Without failures of the steps themselves, the same tasks are done whatever is lost and in whatever order."""
    calm = Faults(fails=0, lost=0, repeats=0, engine=0, pauses=0, cancels=0)
    wild = Faults(fails=0, lost=0.02 * lost, repeats=0.2, engine=0.02, pauses=0.05, cancels=0)
    shape = random_plan(seed % 50)
    plain = Plan(name="p", nodes=tuple(one for one in shape.nodes if one.function == "m:f" and not one.within))
    known = {one.id for one in plain.nodes}
    kept = tuple(one for one in plain.nodes if all(ref.node in known for ref in one.inputs.values()))
    names = {one.id for one in kept}
    plain = Plan(name="p", nodes=tuple(one for one in kept if all(r.node in names for r in one.inputs.values())))
    try:
        Shape(plain)
    except Invalid:
        return

    assert {task.id for task in Simulation(plain, seed, calm).run().tasks.values()} == {
        task.id
        for task in Simulation(plain, seed + 1, wild).run().tasks.values()
        if task.status in {"done", "cached"} or task.lost > MAX_LOST or task.status == "skipped"
    }


def test_inputs_come_first_and_results_before_what_uses_them() -> None:
    """A result is committed before anything else starts."""
    played = Played(plan(node("a"), node("b", "a")))

    assert ["Lookup a"] == played.said
    assert ["Run a 1"] == played.hear(Missed(task="a"))
    assert ["Commit a 1", "Lookup b"] == played.hear(Finished(task="a", attempt=1))
    assert [] == played.hear(Finished(task="a", attempt=1), Found(task="a"), Failed(task="a", attempt=1))
    assert [] == played.hear(Found(task="b"))
    assert played.state.over
    assert {"a": "done", "b": "cached"} == played.status()


def test_a_failed_step_is_tried_again_after_growing_waits() -> None:
    """As often as it declares, with jitter below the wait; then it fails, and so does what waits for it."""
    played = Played(
        plan(node("a", retries=2, backoff=Backoff(first="2s", factor=3, most="5s", jitter=0.5)), node("b", "a"))
    )
    played.hear(Missed(task="a"))
    waits = []
    for attempt, chance in ((1, 0.0), (2, 0.5)):
        decision = decide(played.state, Failed(task="a", attempt=attempt, chance=chance))
        played.state.apply(decision.changes)
        waits += [command.seconds for command in decision.commands if isinstance(command, Delay)]
        assert [f"Run a {attempt + 1}"] == played.hear(Due(task="a"))

    assert [2.0, 5.0 * 0.75] == waits
    assert ["Fail a 3", "Skip b"] == played.hear(Failed(task="a", attempt=3))
    assert "a" == played.state.tasks["b"].because


def test_a_lost_worker_is_no_fault_of_the_step() -> None:
    """It is run elsewhere at once, without counting as a retry; not for ever."""
    played = Played(plan(node("a")))
    played.hear(Missed(task="a"))

    for attempt in range(1, MAX_LOST + 1):
        assert [f"Run a {attempt + 1}"] == played.hear(Failed(task="a", attempt=attempt, lost=True))
    assert [f"Fail a {MAX_LOST + 1}"] == played.hear(Failed(task="a", attempt=MAX_LOST + 1, lost=True))


def test_a_branch_that_is_not_taken_is_omitted_with_what_uses_it() -> None:
    """`either` goes on with what there is."""
    shape = plan(
        node("a"),
        node("yes", "a", within="if"),
        node("no", "a", within="else"),
        node("after", "no"),
        node("end", "yes", "no", function=EITHER),
        groups=(Branch(id="if", subject=Ref(node="a")), Branch(id="else", subject=Ref(node="a"), negated=True)),
    )
    played = Played(shape)
    played.hear(*done("a"))

    assert ["Omit no", "Omit after"] == sorted(played.hear(Judged(task="else", taken=False)), reverse=True)
    assert ["Lookup yes"] == played.hear(Judged(task="if", taken=True))
    assert ["Run yes 1", "Commit yes 1", "Lookup end"] == played.hear(*done("yes"))
    played.hear(Found(task="end"))
    assert played.state.over


def test_either_of_branches_of_which_none_is_taken_is_omitted() -> None:
    """There is nothing to go on with."""
    played = Played(
        plan(
            node("a"),
            node("x", within="one"),
            node("y", within="two"),
            node("end", "x", "y", function=EITHER),
            groups=(Branch(id="one", subject=Ref(node="a")), Branch(id="two", subject=Ref(node="a"))),
        )
    )
    played.hear(*done("a"), Judged(task="one", taken=False), Judged(task="two", taken=False))

    assert "omitted" == played.status()["end"]
    assert played.state.over


def test_a_loop_unfolds_when_its_items_are_known() -> None:
    """Inside, each item has its own tasks; outside, who uses them waits for all of them."""
    inner = Ref(node="in", output="item")
    shape = plan(
        node("a"),
        node("x", Ref(node="out", output="item"), within="out"),
        node("y", inner, "x", within="in"),
        node("sum", "y"),
        groups=(Loop(id="out", items=Ref(node="a")), Loop(id="in", within="out", items=Ref(node="x"))),
    )
    played = Played(shape, Resources(cpus=9))
    played.hear(*done("a"))
    assert ["Lookup x[0]", "Lookup x[1]"] == played.hear(Counted(task="out", count=2))
    assert ["Run x[0] 1", "Commit x[0] 1", "Count in[0]"] == played.hear(*done("x[0]"))
    played.hear(*done("x[1]"))
    assert ["Lookup y[0][0]"] == played.hear(Counted(task="in[0]", count=1))
    assert [] == played.hear(Counted(task="in[1]", count=0))
    assert "pending" == played.status()["sum"]
    assert ["Run y[0][0] 1", "Commit y[0][0] 1", "Lookup sum"] == played.hear(*done("y[0][0]"))
    names, listed = played.state.instances("y", "sum", ())
    assert (["y[0][0]"], True) == (names, listed)


def test_a_loop_without_items_gives_empty_lists() -> None:
    """What uses it goes on."""
    loop = Loop(id="each", items=Ref(node="a"))
    played = Played(plan(node("a"), node("x", within="each"), node("sum", "x"), groups=(loop,)))
    played.hear(*done("a"))

    assert ["Lookup sum"] == played.hear(Counted(task="each", count=0))


def test_a_loop_may_limit_how_many_of_its_tasks_run() -> None:
    """However much room there is, and others are not held back."""
    loop = Loop(id="each", values=(1, 2, 3), at_once=2)
    played = Played(plan(node("x", within="each"), node("free"), groups=(loop,)), Resources(cpus=9))
    played.hear(Counted(task="each", count=3))

    assert ["Run x[0] 1", "Run x[1] 1", "Run free 1"] == played.hear(
        *(Missed(task=name) for name in ("x[0]", "x[1]", "x[2]", "free"))
    )
    assert ["Commit x[0] 1", "Run x[2] 1"] == played.hear(Finished(task="x[0]", attempt=1))


def test_resources_are_shared_out_by_priority() -> None:
    """Never more than there is; what does not fit does not hold back what does."""
    played = Played(
        plan(
            node("low"),
            node("gpu", resources=Resources(gpus=1)),
            node("gpu2", resources=Resources(gpus=1)),
            node("high", priority=5),
            node("wide", resources=Resources(cpus=64), priority=-1),
        ),
        Resources(cpus=3, gpus=1),
    )
    said = played.hear(Paused(), *(Missed(task=name) for name in ("low", "gpu", "gpu2", "high", "wide")))
    assert [] == said  # nothing starts while it is paused
    assert ["Run high 1", "Run low 1", "Run gpu 1"] == played.hear(Resumed())
    assert ["Commit gpu 1", "Run gpu2 1"] == played.hear(Finished(task="gpu", attempt=1))
    played.hear(*(Finished(task=name, attempt=1) for name in ("low", "high")))
    assert ["Commit gpu2 1", "Run wide 1"] == played.hear(Finished(task="gpu2", attempt=1))


def test_what_is_nowhere_is_not_waited_for() -> None:
    """A step that needs a thing that no machine has is refused before anything runs."""
    with pytest.raises(Invalid) as refused:
        begin(Shape(plan(node("a", resources=Resources(custom={"licence": 1})))), Resources())

    assert "resources-not-there" == refused.value.code


OF_A = Ref(node="a")
ITEM = Ref(node="g", output="item")


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (plan(node("a", within="gone")), "invalid-plan"),
        (plan(node("a"), groups=(Branch(id="a", subject=OF_A),)), "invalid-plan"),
        (plan(node("a", within="g"), groups=(Branch(id="g", subject=OF_A),)), "cyclic-plan"),
        (plan(node("a[0]")), "invalid-plan"),
        (plan(node("a"), node("b", ITEM), groups=(Loop(id="g", items=OF_A),)), "invalid-plan"),
        (plan(node("a", seeds=2), node("b", within="g"), groups=(Branch(id="g", subject=OF_A),)), "invalid-plan"),
        (plan(node("a", after=("gone",))), "invalid-plan"),
    ],
)
def test_impossible_groups_are_refused(made: Plan, code: str) -> None:
    """Before anything runs."""
    with pytest.raises(Invalid) as refused:
        begin(Shape(made))

    assert code == refused.value.code


def test_limits_are_read() -> None:
    """Seconds and bytes; what declares them runs in a process of its own."""
    limited = node("a", timeout="10m", resources=Resources(memory="2GB"))

    assert (600.0, 2 * 10**9) == limits(limited)
    assert (None, None) == limits(node("a"))
    assert (True, False) == (isolated(limited), isolated(node("a")))


@pytest.mark.parametrize("order", [0, -1])
def test_work_grows_with_the_plan_and_not_faster(order: int) -> None:
    """Ten times the tasks are ten times the changes, in a chain and in a fan."""

    def changes(count: int, fan: bool) -> int:
        nodes = [node(f"n{n}", *([] if fan or not n else [f"n{n - 1}"])) for n in range(count)]
        state, first = begin(Shape(plan(*nodes, node("end", *[f"n{n}" for n in range(count)]))))
        seen = [len(first.changes.tasks)]
        state.apply(first.changes)
        commands: list[object] = list(first.commands)
        while commands:
            command = commands.pop(order)
            event: Event
            if isinstance(command, Lookup):
                event = Missed(task=command.task)
            elif isinstance(command, Run):
                event = Finished(task=command.task, attempt=command.attempt)
            else:
                continue
            decision = decide(state, event)
            seen.append(len(decision.changes.tasks) + len(decision.commands))
            state.apply(decision.changes)
            commands += decision.commands
        assert state.over
        return sum(seen)

    for fan in (True, False):
        assert changes(1000, fan) <= 10.5 * changes(100, fan)


def test_commands_name_what_they_are_about() -> None:
    """Fail, skip and omit say the reason, for whoever reads the report."""
    branch = Branch(id="if", subject=Ref(node="a"))
    played = Played(plan(node("a"), node("b", within="if"), node("c", "b"), groups=(branch,)))
    played.hear(Missed(task="a"))
    decision = decide(played.state, Failed(task="a", attempt=1))

    assert (
        Fail(task="a", attempt=1),
        Skip(task="if", because="a"),
        Skip(task="b", because="a"),
        Skip(task="c", because="a"),
    ) == decision.commands
    played.hear(Finished(task="a", attempt=1))
    judged = decide(played.state, Judged(task="if", taken=False))
    assert (Omit(task="b", because="if"), Omit(task="c", because="if")) == tuple(
        command for command in judged.commands if not isinstance(command, Commit)
    )
