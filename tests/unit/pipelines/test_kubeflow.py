"""Pipelines for Kubeflow: every edge leads from an output to an input of its type, and what has no form is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.kubeflow.emitter import emit
from stellwerk.pipelines.kubeflow.model import Secret, Target, within_reach
from stellwerk.pipelines.kubeflow.naming import Names
from stellwerk.pipelines.model import (
    EITHER,
    FILE,
    WAIT,
    Backoff,
    Branch,
    Environment,
    Plan,
    Resources,
    Stored,
)
from stellwerk.testing.flows import BOTH, PLANS, either, node, plan, ref

TARGET = Target(image="ghcr.io/team/steps:1", address="http://stellwerk.svc:8000")


def spec_of(made: Plan, target: Target = TARGET, **facts: Any) -> dict[str, Any]:
    return emit(made, target, **facts)[0]


def dag_of(spec: dict[str, Any], *path: str) -> dict[str, Any]:
    """The DAG behind a path of tasks below `steps`."""
    return spec["components"][f"comp-{('steps', *path)[-1]}"]["dag"]


def tasks_of(spec: dict[str, Any], *path: str) -> dict[str, Any]:
    return dag_of(spec, *path)["tasks"]


def problems(spec: dict[str, Any]) -> Iterator[str]:
    """Whatever would lead nowhere: edges without an end, ends of different types, names nobody has."""
    for name, component in [("root", spec["root"]), *spec["components"].items()]:
        if "dag" in component:
            yield from _problems(spec, name, component)
        elif component["executorLabel"] not in spec["deploymentSpec"]["executors"]:
            yield f"{name} has no executor"


def _problems(spec: dict[str, Any], where: str, component: dict[str, Any]) -> Iterator[str]:
    tasks, given = component["dag"]["tasks"], _types(component, "input")
    for name, task in tasks.items():
        of = spec["components"][task["componentRef"]["name"]]
        wanted, item = _types(of, "input"), task.get("parameterIterator", {}).get("itemInput")
        inputs = task.get("inputs", {}).get("parameters", {})
        if set(inputs) | ({item} if item else set()) != set(wanted):
            yield f"{where}/{name} takes {sorted(wanted)} and gets {sorted(inputs)}"
        for key, source in inputs.items():
            kind, producer = _kind(spec, tasks, given, source)
            if kind != wanted.get(key):
                yield f"{where}/{name} takes {key} as {wanted.get(key)} and gets {kind}"
            if producer and producer not in task.get("dependentTasks", ()):
                yield f"{where}/{name} does not wait for {producer}"
        for other in task.get("dependentTasks", ()):
            if other not in tasks:
                yield f"{where}/{name} waits for {other}, which is elsewhere"
    for key, output in component["dag"].get("outputs", {}).get("parameters", {}).items():
        chosen = output.get("valueFromOneof", {}).get("parameterSelectors") or [output["valueFromParameter"]]
        for one in chosen:
            kind = _output(spec, tasks, one["producerSubtask"], one["outputParameterKey"])
            if kind != _types(component, "output")[key]:
                yield f"{where} gives {key} as {_types(component, 'output')[key]}, made as {kind}"


def _kind(
    spec: dict[str, Any], tasks: dict[str, Any], given: dict[str, str], source: dict[str, Any]
) -> tuple[str | None, str]:
    if "componentInputParameter" in source:
        return given.get(source["componentInputParameter"]), ""
    if "taskFinalStatus" in source:
        return "TASK_FINAL_STATUS", source["taskFinalStatus"]["producerTask"]
    made = source["taskOutputParameter"]
    return _output(spec, tasks, made["producerTask"], made["outputParameterKey"]), made["producerTask"]


def _output(spec: dict[str, Any], tasks: dict[str, Any], task: str, key: str) -> str | None:
    if task not in tasks:
        return None
    kind = _types(spec["components"][tasks[task]["componentRef"]["name"]], "output").get(key)
    return "LIST" if "parameterIterator" in tasks[task] else kind


def _types(component: dict[str, Any], which: str) -> dict[str, str]:
    found = component.get(f"{which}Definitions", {}).get("parameters", {})
    return {name: one["parameterType"] for name, one in found.items()}


@pytest.mark.parametrize("name", PLANS)
def test_every_edge_leads_from_an_output_to_an_input_of_its_type(name: str) -> None:
    """What a task takes, somebody gives: in its own DAG, or handed in from DAG to DAG."""
    spec = spec_of(PLANS[name])

    assert [] == list(problems(spec))
    assert spec["components"]


@pytest.mark.parametrize("name", PLANS)
def test_every_step_has_a_pod_for_each_seed(name: str) -> None:
    """No node of a plan is lost on the way."""
    made = PLANS[name]
    names = Names(made)

    said = {
        (args[args.index("--node") + 1], args[args.index("--seed") + 1] if "--seed" in args else None)
        for args in (one["container"]["args"] for one in spec_of(made)["deploymentSpec"]["executors"].values())
        if args[:2] == ["step", "exec"]
    }
    wanted = {
        (one.id, None if seed is None else str(seed))
        for one in made.nodes
        if one.function != EITHER
        for seed in (range(one.seeds) if one.seeds else (None,))
    }

    assert wanted <= said
    assert len(made.nodes) == len({names.of(one.id) for one in made.nodes})


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_always_written_in_the_same_way(name: str) -> None:
    """Equal plans have equal files, so that a file in a repository changes only when the pipeline does."""
    assert json.dumps(emit(PLANS[name], TARGET)) == json.dumps(emit(PLANS[name], TARGET))


@pytest.mark.parametrize("name", PLANS)
def test_pipelines_inside_the_pipeline_are_executed_in_place(name: str) -> None:
    """Which calls steps come from changes nothing but the plan that the pods are given."""
    made = PLANS[name]
    called = replace(
        made,
        nodes=tuple(replace(one, calls=("inner", "most")) for one in made.nodes),
        groups=tuple(replace(one, calls=("inner",)) for one in made.groups),
    )

    assert made.digest != called.digest
    assert json.dumps(emit(made, TARGET)) == json.dumps(emit(called, TARGET)).replace(called.digest, made.digest)


def test_a_condition_compares_what_the_step_before_it_found() -> None:
    """The comparison itself is ours; Kubeflow only looks for true or false."""
    spec = spec_of(PLANS["branches that meet"])
    branches = tasks_of(spec, "either-of-otherwise")

    assert {"condition": "inputs.parameter_values['score--value-test-0'] == 'true'"} == branches["when"][
        "triggerPolicy"
    ]
    assert {"condition": "inputs.parameter_values['score--value-test-0'] == 'false'"} == (
        branches["otherwise"]["triggerPolicy"]
    )
    assert "STRING" == _types(spec["components"]["comp-score"], "output")["value-test-0"]


def test_a_condition_on_an_item_is_looked_at_by_a_task_of_its_own() -> None:
    """No step has made the item, so nobody else can."""
    spec = spec_of(PLANS["a branch on an item"])

    assert "judge-of-when" in tasks_of(spec, "each", "each-each")
    assert "judge-of-when--taken" in tasks_of(spec, "each", "each-each")["when"]["triggerPolicy"]["condition"]


def test_a_loop_goes_over_what_the_step_before_it_listed() -> None:
    """Items pass as descriptors; those written in the plan as themselves."""
    dynamic = tasks_of(spec_of(PLANS["a loop"]), "each")["each-each"]
    written = tasks_of(spec_of(PLANS["a loop over what is written"]), "each")["each-each"]

    assert {"items": {"inputParameter": "items--value-items"}, "itemInput": "each--item"} == dynamic[
        "parameterIterator"
    ]
    assert {"parallelismLimit": 2} == dynamic["iteratorPolicy"]
    assert [{"json": 1}, {"json": "zwei"}, {"json": {"drei": 3.5}}] == json.loads(
        written["parameterIterator"]["items"]["raw"]
    )


def test_what_is_declared_of_a_step_is_said() -> None:
    """Retries, caching, processors, memory, accelerators, images."""
    first = node(
        "first",
        retries=3,
        cache=False,
        backoff=Backoff(first="90s", factor=3, most="10m"),
        resources=Resources(cpus=2.5, memory="1GB", gpus=2),
        environment=Environment(image="ghcr.io/team/gpu@sha256:0123"),
    )
    spec = spec_of(plan(first, node("second")))
    task, container = tasks_of(spec)["first"], spec["deploymentSpec"]["executors"]["exec-first"]["container"]

    assert {
        "maxRetryCount": 3,
        "backoffDuration": "90s",
        "backoffFactor": 3,
        "backoffMaxDuration": "600s",
    } == task["retryPolicy"]
    assert "cachingOptions" not in task
    assert {"enableCache": True} == tasks_of(spec)["second"]["cachingOptions"]
    assert "ghcr.io/team/gpu@sha256:0123" == container["image"]
    assert {
        "resourceCpuRequest": "2.5",
        "resourceMemoryRequest": "1000000000",
        "resourceMemoryLimit": str(10**9 + 512 * 2**20),
        "accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "2"},
    } == container["resources"]


def test_parameters_are_inputs_with_defaults() -> None:
    """What a run in Kubeflow may change; there is no type for a parameter that is nothing."""
    declared = spec_of(PLANS["parameters"])["root"]["inputDefinitions"]["parameters"]

    assert {
        "count": "NUMBER_INTEGER",
        "share": "NUMBER_DOUBLE",
        "name": "STRING",
        "flag": "BOOLEAN",
        "many": "LIST",
        "more": "STRUCT",
    } == {name: one["parameterType"] for name, one in declared.items()}
    assert 0.5 == declared["share"]["defaultValue"]


def test_no_shell_and_no_secret() -> None:
    """Pods are started from an argument list; of a secret only its name is known."""
    target = replace(TARGET, secrets=(Secret(variable="API_TOKEN", secret="stellwerk", key="token"),))
    spec, platform = emit(PLANS["a chain"], target)

    for one in spec["deploymentSpec"]["executors"].values():
        assert ["stellwerk"] == one["container"]["command"]
        assert [{"name": "STELLWERK_ROOT", "value": TARGET.address}] == one["container"]["env"]
    found = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(spec["deploymentSpec"]["executors"]) == set(found)
    assert {
        "secretAsEnv": [{"secretName": "stellwerk", "keyToEnv": [{"secretKey": "token", "envVar": "API_TOKEN"}]}]
    } == found["exec-first"]


def test_a_file_is_what_it_was_when_the_pipeline_was_written() -> None:
    """A pod does not have the project's folder."""
    stored = Stored(digest=of_bytes(b"x"), media="application/vnd.stellwerk.file; name=x")
    made = plan(node("file:x", function=FILE, kind="input", params={"path": "x"}), node("user", ref("file:x")))
    args = spec_of(made, files={"file:x": stored})["deploymentSpec"]["executors"]["exec-file-x"]["container"]["args"]

    assert {"digest": stored.digest, "media": stored.media} == json.loads(args[args.index("--stored") + 1])


REFUSED = {
    "a wait": plan(node("wait", function=WAIT, params={"for": "person"})),
    "a branch that is used outside": plan(
        node("score"), node("inner", within="when"), node("user", ref("inner")), groups=BOTH[:1]
    ),
    "a choice among unlike branches": plan(
        node("score"),
        node("one", within="when"),
        node("two", within="when-2"),
        either("choice", ref("one"), ref("two")),
        groups=(BOTH[0], Branch(id="when-2", subject=ref("score"), test="below", value=1)),
    ),
    "something a cluster does not count": plan(node("first", resources=Resources(custom={"licence": 1}))),
    "half an accelerator": plan(node("first", resources=Resources(gpus=0.5))),
    "an environment without an image": plan(node("first", environment=Environment(lock="gpu.lock"))),
    "coming after a branch": plan(
        node("score"), node("inner", within="when"), node("last", after=("inner",)), groups=BOTH[:1]
    ),
    "a file that nobody kept": plan(node("file:x", function=FILE, params={"path": "x"})),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_kubeflow_cannot_express_is_refused(name: str) -> None:
    """Nothing is left out in silence."""
    with pytest.raises(Invalid) as caught:
        emit(REFUSED[name], TARGET)

    assert "not-in-kubeflow" == caught.value.code


def test_an_image_for_one_step_replaces_its_environment() -> None:
    """The way out for an environment that only names a lock file."""
    target = replace(TARGET, images={"first": "ghcr.io/team/gpu:2"})
    spec = spec_of(REFUSED["an environment without an image"], target)

    assert "ghcr.io/team/gpu:2" == spec["deploymentSpec"]["executors"]["exec-first"]["container"]["image"]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"image": ""}, "invalid-image"),
        ({"image": "a b"}, "invalid-image"),
        ({"images": {"x": "$(rm)"}}, "invalid-image"),
        ({"address": ""}, "no-address"),
        ({"address": "https://anna:secret@stellwerk.team"}, "secret-in-address"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(facts: dict[str, Any], code: str) -> None:
    """Before anything is written."""
    with pytest.raises(Invalid) as caught:
        replace(TARGET, **facts)

    assert code == caught.value.code
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "fits"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://localhost:8000/w/a", False),
        ("http://[::1]:8000", False),
        ("http://0.0.0.0:8000", False),
        ("http://stellwerk.team.svc:8000", True),
        ("http://10.0.0.4", True),
        ("/mnt/stellwerk", True),
    ],
)
def test_an_address_of_the_own_machine_is_out_of_reach(address: str, fits: bool) -> None:
    """For a pod it means the pod."""
    assert fits is within_reach(address)


@pytest.mark.parametrize(
    "facts", [("1x", "a", "b"), ("A", "Big", "b"), ("A", "a", "b/c"), ("STELLWERK_ROOT", "a", "b")]
)
def test_a_secret_is_named_as_kubernetes_names_it(facts: tuple[str, str, str]) -> None:
    """A typing error is told here, and not by a pod that does not start."""
    with pytest.raises(Invalid):
        Secret(variable=facts[0], secret=facts[1], key=facts[2])
