"""What writing a pipeline promises: calls become plans, and mistakes are told before anything runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import TypeAdapter

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.authoring import (
    Step,
    command,
    contract,
    dataset,
    each,
    evaluate,
    pipeline,
    split,
    step,
    wait_for_event,
    wait_for_person,
    wait_until,
    when,
)
from stellwerk.pipelines.authoring.notebooks import marimo, notebook
from stellwerk.pipelines.model import Backoff, Environment, Node, Plan, Ref, Resources, document, flat, parse
from stellwerk.pipelines.rules import describe, order
from stellwerk.pipelines.tuning.authoring import tune
from stellwerk.pipelines.tuning.model import Budget, Pruning
from stellwerk.pipelines.tuning.space import whole


@step(kind="data")
def months(first: int, last: int = 3) -> list[int]:
    return list(range(first, last))


@step(kind="train", seeds=5, retries=2, timeout="10m", resources=Resources(cpus=2, memory="2GB"))
def train(table: Any, seed: int = 0, depth: int = 6, rate: float = 0.1, name: str | None = None) -> int:
    return depth + seed


@step(outputs=("train", "gate"))
def parts(table: Any) -> dict[str, Any]:
    return {"train": table, "gate": table}


@step
def join(tables: list[Any]) -> list[Any]:
    return tables


@step
def switch(on: bool, share: "float | None" = None) -> bool:  # noqa: UP037
    return on


@pipeline
def delay(first: int = 1, last: int = 3, depth: int = 6) -> Any:
    raw = dataset("flights", version=3)
    table = contract("flights", changes={"arr_delay": "late"})(raw)
    some = months(first, last=last)
    model = train(join([table, some]), depth)
    return evaluate(model, table)


def test_outside_a_pipeline_a_step_is_its_function() -> None:
    """Calling a step just calls it, so that it can be tried and tested."""
    assert [1, 2] == months(1)
    assert 8 == train([], 2)
    assert isinstance(months, Step)
    assert "months" == months.__name__


def test_a_pipeline_gives_a_plan() -> None:
    """Nodes, parameters with their defaults, inputs and results, as one value."""
    plan = delay(first=2)

    assert ["dataset:flights", "contract:flights", "months", "join", "train", "evaluate"] == [
        n.id for n in plan.nodes
    ]
    assert {"first": 2, "last": 3, "depth": 6} == plan.params
    assert {"result": Ref(node="evaluate")} == plan.results
    nodes = {node.id: node for node in plan.nodes}
    assert "builtin:contract" == nodes["contract:flights"].function
    assert {"name": "flights", "changes": {"arr_delay": "late"}} == nodes["contract:flights"].params
    assert {"name": "flights", "version": 3} == nodes["dataset:flights"].params
    assert {"first": 2, "last": 3} == nodes["months"].params
    assert {"tables[0]": Ref(node="contract:flights"), "tables[1]": Ref(node="months")} == nodes["join"].inputs
    assert {"depth": 6, "rate": 0.1, "name": None} == nodes["train"].params
    assert ("train", 5, 2, "10m", "2GB") == (
        nodes["train"].kind,
        nodes["train"].seeds,
        nodes["train"].retries,
        nodes["train"].timeout,
        nodes["train"].resources.memory,
    )
    assert nodes["train"].function.endswith(":train")
    assert {"model": Ref(node="train"), "table": Ref(node="contract:flights")} == nodes["evaluate"].inputs


def test_planning_is_a_pure_function() -> None:
    """Same parameters, same plan and digest; other parameters, another digest."""
    assert delay(first=2) == delay.plan(2)
    assert delay(first=2).digest == delay.plan(2).digest
    assert delay(first=2).digest != delay(first=1).digest


def test_the_digest_knows_no_paths() -> None:
    """Where the file lies on this machine is no part of a plan's identity."""
    plan = delay()
    moved = dataclasses.replace(plan, nodes=tuple(dataclasses.replace(n, file="/elsewhere.py") for n in plan.nodes))

    assert plan.digest == moved.digest


def test_a_plan_passes_through_json() -> None:
    """A plan can be stored and read back."""
    adapter = TypeAdapter(Plan)
    plan = delay()

    assert plan == adapter.validate_json(adapter.dump_json(plan))


def test_repeated_steps_get_numbers() -> None:
    """Node ids are the step's name, then the name with a number."""

    @pipeline
    def twice() -> Any:
        return [months(1), months(1), months(2)]

    plan = twice()

    assert ["months", "months-2", "months-3"] == [node.id for node in plan.nodes]
    assert ["result-1", "result-2", "result-3"] == list(plan.results)


def test_several_outputs_are_picked_by_name() -> None:
    """A step with named outputs gives one reference for each."""

    @pipeline
    def split() -> Any:
        made = parts(months(1))
        return {"fitted": train(made["train"]), "gate": made["gate"]}

    plan = split()

    assert Ref(node="parts", output="train") == plan.nodes[2].inputs["table"]
    assert Ref(node="parts", output="gate") == plan.results["gate"]


def test_a_pipeline_inside_a_pipeline_adds_its_nodes() -> None:
    """Pipelines are composed by calling them."""

    @pipeline
    def inner(first: int) -> Any:
        return months(first)

    @pipeline
    def outer() -> Any:
        return train(inner(4))

    assert ["months", "train"] == [node.id for node in outer().nodes]


@pipeline
def tidy(first: int = 1) -> Any:
    return join([months(first)])


@pipeline(name="tidy-2")
def tidier(first: int = 1) -> Any:
    return tidy(first)


@pipeline
def twice() -> Any:
    months(1)
    return [train(tidier()), tidy(), tidy(2), train(tidier(3))]


def test_a_step_knows_the_calls_of_pipelines_that_it_comes_from() -> None:
    """From the outermost on; each call has a name of its own, and those of steps are what they are without."""
    plan = twice()

    assert [
        ("months", ()),
        ("months-2", ("tidy-2", "tidy")),
        ("join", ("tidy-2", "tidy")),
        ("train", ()),
        ("months-3", ("tidy-3",)),
        ("join-2", ("tidy-3",)),
        ("months-4", ("tidy-4",)),
        ("join-3", ("tidy-4",)),
        ("months-5", ("tidy-2-2", "tidy-5")),
        ("join-4", ("tidy-2-2", "tidy-5")),
        ("train-2", ()),
    ] == [(node.id, node.calls) for node in plan.nodes]
    assert document(plan) == document(parse(document(plan)))


def test_a_plan_says_of_calls_only_where_there_are_some() -> None:
    """So plans without any have the digests they had, and those of former days are read."""
    bare = document(flat(twice()))

    assert all("calls" not in node for node in (*document(delay())["nodes"], *bare["nodes"]))
    assert ["tidy-2", "tidy"] == canonical.loads(canonical.dumps(document(twice())))["nodes"][1]["calls"]
    assert {()} == {node.calls for node in parse(bare).nodes}
    assert flat(twice()).digest == parse(bare).digest


def test_a_failed_plan_leaves_nothing_open() -> None:
    """After an error while planning, steps are functions again."""

    @pipeline
    def broken() -> Any:
        months(1)
        raise LookupError("no")

    with pytest.raises(LookupError):
        broken()

    assert [1, 2] == months(1)


def _in_pipeline(body: Any) -> Invalid:
    with pytest.raises(Invalid) as refused:
        pipeline(name="p")(body)()
    return refused.value


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (lambda: months(frist=1), "unknown-argument", "did you mean 'first'"),
        (lambda: months(), "missing-argument", "'first'"),
        (lambda: months(1, 2, 3), "wrong-arguments", "2 positional"),
        (lambda: months(1, first=2), "wrong-arguments", "twice"),
        (lambda: months("one"), "wrong-type", "expected int"),
        (lambda: months(True), "wrong-type", "expected int"),
        (lambda: months(1.0), "wrong-type", "expected int"),
        (lambda: train(months(1), rate="fast"), "wrong-type", "expected float"),
        (lambda: train(months(1), name=7), "wrong-type", "expected None or str"),
        (lambda: switch(1), "wrong-type", "expected bool"),
        (lambda: switch(True, share="all"), "wrong-type", "expected None or float"),
        (lambda: train(months(1), seed=7), "unknown-argument", "supplied by Stellwerk"),
        (lambda: train(object()), "not-json", "object"),
        (lambda: train(float("nan")), "not-json", "float"),
        (lambda: join([months(1), 2]), "wrong-type", "mixes"),
        (lambda: train(parts(months(1))), "wrong-type", "train, gate"),
        (lambda: parts(months(1))["tarin"], "unknown-output", "did you mean 'train'"),
        (lambda: train(Ref(node="other")), "foreign-reference", "'other'"),
        (lambda: Ref(node="other"), "foreign-reference", "'other'"),
        (lambda: 7, "wrong-result", "int"),
        (lambda: [months(1), 7], "wrong-result", "int"),
        (lambda: months(1)[0], "unknown-value", "indexed"),
        (lambda: list(months(1)), "unknown-value", "iterated"),
        (lambda: months(1) or 1, "unknown-value", "tested"),
        (lambda: evaluate(7, months(1)), "wrong-type", "'model'"),
        (lambda: dataset("../flights"), "invalid-name", "dataset name"),
    ],
)
def test_mistakes_are_told_while_planning(body: Any, code: str, words: str) -> None:
    """Each with a code, what was got and what was expected."""
    error = _in_pipeline(body)

    assert code == error.code
    assert words in error.message + error.hint


WRONG: list[tuple[Any, str, str]] = [
    (lambda: step(kind=5), "invalid-name", "kind"),
    (lambda: step(outputs=5), "invalid-outputs", "outputs"),
    (lambda: step(timeout="10 m"), "invalid-duration", "timeout"),
    (lambda: Resources(memory=2), "invalid-resources", "memory"),
    (lambda: Resources(custom=["a"]), "invalid-resources", "custom"),
    (lambda: Backoff(first=1), "invalid-duration", "first"),
    (lambda: Backoff(frist="1s"), "unknown-argument", "did you mean 'first'"),
    (lambda: Resources(cpu=2), "unknown-argument", "did you mean 'cpus'"),
    (lambda: Resources(2), "wrong-arguments", "Resources takes 0"),
    (lambda: Environment(lokc="a.lock"), "unknown-argument", "did you mean 'lock'"),
    (lambda: Budget(trails=3), "unknown-argument", "did you mean 'trials'"),
    (lambda: Pruning(frist=3), "unknown-argument", "did you mean 'first'"),
    (lambda: whole(1, 3, stp=2), "unknown-argument", "did you mean 'step'"),
    (lambda: notebook("a.ipynb", name="a", path="b"), "wrong-arguments", "'path' of notebook is given twice"),
    (lambda: marimo("a.py", prams={}), "unknown-argument", "did you mean 'params'"),
    (lambda: marimo(), "missing-argument", "marimo needs 'path'"),
    (lambda: command(["ls"], name="c"), "wrong-arguments", "'name' of command is given twice"),
    (lambda: pipeline(nam="p"), "unknown-argument", "did you mean 'name'"),
    (lambda: pipeline("p"), "wrong-type", "pipeline is given 'p'"),
    (lambda: step("train"), "wrong-type", "step is given 'train'"),
    (lambda: Backoff(most="soon"), "invalid-duration", "most"),
    (lambda: Environment(python=3.12), "wrong-type", "python"),
    (lambda: when(months(1), over=1), "unknown-argument", "'over'"),
    (lambda: each(), "missing-argument", "'items'"),
    (lambda: command("c", "ls", outputs=("o",)), "wrong-type", "outputs"),
    (lambda: command("c", "ls", inputs=["i"]), "wrong-type", "inputs"),
    (lambda: command("c", "ls", environ=["E"]), "wrong-type", "environ"),
    (lambda: command("c", "ls", environ={"E": 1}), "wrong-type", "environ"),
    (lambda: command("c", "ls", files="train.py"), "wrong-type", "files"),
    (lambda: split(months(1), target="y", entity="id"), "wrong-type", "entity"),
    (lambda: notebook("a.ipynb", params=[1]), "wrong-type", "params"),
    (lambda: marimo("a.py", inputs=[1]), "wrong-type", "inputs"),
    (lambda: tune(months, DEPTHS, 3, metric=5), "wrong-type", "metric"),
    (lambda: tune(months, DEPTHS, 3, goal=5), "wrong-type", "goal"),
    (lambda: tune(months, DEPTHS, 3, given=[1]), "wrong-type", "given"),
    (lambda: tune(months, DEPTHS, 3, sampler=1), "unknown-argument", "'sampler'"),
    (lambda: tune(months, DEPTHS, 3, search=1), "invalid-tuning", "search"),
    (lambda: months(1) + 1, "unknown-value", "'months' cannot be computed with"),
    (lambda: 1 - months(1), "unknown-value", "'months' cannot be computed with"),
    (lambda: -months(1), "unknown-value", "'months' cannot be computed with"),
    (lambda: round(months(1)), "unknown-value", "'months' cannot be computed with"),
    (lambda: months(1) > 2, "unknown-value", "'months' cannot be compared"),
    (lambda: 2 >= months(1), "unknown-value", "'months' cannot be compared"),
    (lambda: len(months(1)), "unknown-value", "'months' cannot be counted"),
    (lambda: delay(y=1), "unknown-argument", "'y' of delay is unknown (expected first, last, depth)"),
    (lambda: wait_for_person("ok?", options="yes"), "wrong-type", "options"),
    (lambda: wait_for_person("ok?", about=5), "wrong-type", "about"),
    (lambda: wait_for_person("ok?", queue=5), "invalid-name", "queue"),
    (lambda: wait_for_person("ok?", deadline=5), "invalid-duration", "deadline"),
    (lambda: wait_until(5), "invalid-duration", "moment"),
    (lambda: wait_for_event("nonsense kind!!"), "invalid-event", "kind of event"),
    (lambda: wait_for_event("dataset*"), "invalid-event", "kind of event"),
    (lambda: wait_for_event("dataset.added", subject=5), "wrong-type", "subject"),
    (lambda: None, "empty-pipeline", "'p' has no step"),
]
DEPTHS = {"first": whole(1, 3)}


@pytest.mark.parametrize(("body", "code", "words"), WRONG)
def test_arguments_of_another_type_are_told_by_name(body: Any, code: str, words: str) -> None:
    """Where they are given: nothing of Python's own errors, and nothing passes that fails later."""
    error = _in_pipeline(body)

    assert code == error.code
    assert words in error.message


def test_a_workspace_to_tune_in_is_an_open_one() -> None:
    """The path of one is told so, and how to open it."""
    with pytest.raises(Invalid) as refused:
        tune(months, DEPTHS, 3, given={"last": 2}, workspace="flights")

    assert "wrong-type" == refused.value.code
    assert "sw.connect" in refused.value.hint


def test_a_pipeline_inside_a_pipeline_has_its_defaults() -> None:
    """Binding its arguments changes nothing of them: outputs pass, and what is not given has its default."""

    @pipeline
    def inner(table: Any, depth: int = 4) -> Any:
        return train(table, depth)

    @pipeline
    def outer() -> Any:
        return inner(months(1))

    assert 4 == outer().nodes[1].params["depth"]


def test_parameters_of_pipelines_are_checked() -> None:
    """As those of steps are."""
    with pytest.raises(Invalid) as unknown:
        delay(frist=1)
    with pytest.raises(Invalid) as wrong:
        delay(first="one")

    assert "did you mean 'first'" in unknown.value.message
    assert "wrong-type" == wrong.value.code


def test_builtin_steps_need_a_pipeline() -> None:
    """Outside they mean nothing."""
    with pytest.raises(Invalid) as refused:
        dataset("flights")

    assert "outside-pipeline" == refused.value.code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"kind": "a b"}, "invalid-name"),
        ({"sedes": 5}, "unknown-argument"),
        ({"seeds": -1}, "wrong-type"),
        ({"seeds": True}, "wrong-type"),
        ({"retries": 101}, "wrong-type"),
        ({"timeout": "soon"}, "invalid-duration"),
        ({"timeout": "0s"}, "invalid-duration"),
        ({"timeout": 10}, "invalid-duration"),
        ({"resources": {"cpus": 2}}, "wrong-type"),
        ({"outputs": "train"}, "invalid-outputs"),
        ({"outputs": ()}, "invalid-outputs"),
        ({"outputs": ("a", "a")}, "invalid-outputs"),
        ({"outputs": ("not a name",)}, "invalid-outputs"),
    ],
)
def test_options_of_steps_are_checked(options: dict[str, Any], code: str) -> None:
    """When the file is loaded, not when the step runs."""
    with pytest.raises(Invalid) as refused:
        step(**options)

    assert code == refused.value.code


def test_functions_that_cannot_be_called_from_elsewhere_are_no_steps() -> None:
    """A step can be found by name, has named arguments, and returns."""

    def local() -> None: ...

    with pytest.raises(Invalid) as hidden:
        step(local)
    with pytest.raises(Invalid) as anonymous:
        step(lambda: 1)
    with pytest.raises(Invalid) as stars:
        step(_stars)
    with pytest.raises(Invalid) as later:
        step(_later)

    assert "step-not-importable" == hidden.value.code == anonymous.value.code
    assert "wrong-signature" == stars.value.code == later.value.code


def _stars(*tables: Any) -> None: ...


async def _later() -> None: ...


@pytest.mark.parametrize(
    ("text", "size"), [("512MB", 512_000_000), ("2GB", 2_000_000_000), ("1.5GiB", 1_610_612_736)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    """GB are powers of ten, GiB of two."""
    from stellwerk.pipelines.model import parse_size

    assert size == parse_size(text)


@pytest.mark.parametrize(
    "facts", [{"memory": "much"}, {"memory": "0GB"}, {"memory": "-1GB"}, {"cpus": 0}, {"cpus": True}]
)
def test_resources_are_checked(facts: dict[str, Any]) -> None:
    """Nonsense is refused where it is written."""
    with pytest.raises(Invalid):
        Resources(**facts)


def test_a_plan_is_described_for_people() -> None:
    """One line a node, with what goes into it."""
    lines = describe(delay(first=2))

    assert [
        "delay(first=2, last=3, depth=6)",
        "  dataset:flights   input     name='flights', version=3",
        "  contract:flights  validate  table <- dataset:flights, name='flights', changes={'arr_delay': 'late'}",
        "  months            data      first=2, last=3",
        "  join              step      tables[0] <- contract:flights, tables[1] <- months",
        "  train             train     table <- join, depth=6, rate=0.1, name=None, seeds 5, retries 2, timeout 10m,"
        " memory 2GB, cpus 2",
        "  evaluate          evaluate  model <- train, table <- contract:flights",
        "  result = evaluate",
    ] == lines


def _node(name: str, *needs: str) -> Node:
    return Node(id=name, step=name, kind="step", function="m:f", inputs={n: Ref(node=n) for n in needs})


def test_order_puts_inputs_first() -> None:
    """Whatever order a stored plan has; what fits already stays as it is."""
    plan = Plan(name="p", nodes=(_node("c", "b"), _node("b", "a"), _node("a"), _node("d", "a", "c")))

    assert ["a", "b", "c", "d"] == [node.id for node in order(plan)]
    assert delay().nodes == order(delay())


@pytest.mark.parametrize(
    ("nodes", "code"),
    [
        ((_node("a", "b"), _node("b", "a")), "cyclic-plan"),
        ((_node("a", "a"),), "cyclic-plan"),
        ((_node("x"), _node("a", "c"), _node("b", "a"), _node("c", "b", "x")), "cyclic-plan"),
        ((_node("a", "gone"),), "invalid-plan"),
        ((_node("a"), _node("a")), "invalid-plan"),
        ((_node("a#1"),), "invalid-plan"),
        ((dataclasses.replace(_node("a"), calls=(1,)),), "invalid-plan"),
        ((_node("a"), dataclasses.replace(_node("b", "a"), aside={"a": ""})), "invalid-plan"),
        (tuple(_node(f"n{i}") for i in range(10_001)), "plan-too-large"),
    ],
)
def test_impossible_plans_are_refused(nodes: tuple[Node, ...], code: str) -> None:
    """Plans made by hand can be wrong in ways that written ones cannot."""
    with pytest.raises(Invalid) as refused:
        order(Plan(name="p", nodes=nodes))

    assert code == refused.value.code
