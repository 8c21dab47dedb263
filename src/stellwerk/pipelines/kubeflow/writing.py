"""The last step of the emitter: DAGs, types and platform settings as the documents that Kubeflow reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from stellwerk.pipelines.kubeflow.dags import Dag
from stellwerk.pipelines.kubeflow.model import Target


def task(dag: Dag, name: str) -> dict[str, Any]:
    """The task of a name in a DAG, made when it is first asked for."""
    return dag.tasks.setdefault(name, {"componentRef": {"name": f"comp-{name}"}, "taskInfo": {"name": name}})


def give(task: dict[str, Any], inputs: Mapping[str, dict[str, Any]]) -> None:
    """Hand parameters to a task, which then waits for whoever makes them."""
    if inputs:
        task.setdefault("inputs", {"parameters": {}})["parameters"].update(inputs)
    wait(
        task, (one["taskOutputParameter"]["producerTask"] for one in inputs.values() if "taskOutputParameter" in one)
    )


def wait(task: dict[str, Any], others: Iterable[str]) -> None:
    """Let a task wait for others of its DAG."""
    wanted = dict.fromkeys((*task.get("dependentTasks", ()), *others))
    if wanted:
        task["dependentTasks"] = sorted(wanted)


def component(dag: Dag, inputs: Mapping[str, str]) -> dict[str, Any]:
    """A DAG as a component, with the types of its inputs."""
    outputs = {"outputs": {"parameters": dict(sorted(dag.outputs.items()))}} if dag.outputs else {}
    body: dict[str, Any] = {"dag": {**outputs, "tasks": dict(sorted(dag.tasks.items()))}}
    body |= {"inputDefinitions": {"parameters": types(inputs)}} if inputs else {}
    return body | ({"outputDefinitions": {"parameters": types(dag.types)}} if dag.types else {})


def types(kinds: Mapping[str, str]) -> dict[str, Any]:
    """Parameters with their types."""
    return {name: {"parameterType": kind} for name, kind in sorted(kinds.items())}


def kind(value: Any) -> str:
    """The type of a parameter with this value."""
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "NUMBER_INTEGER"
    if isinstance(value, float):
        return "NUMBER_DOUBLE"
    return "STRING" if isinstance(value, str) else "LIST" if isinstance(value, list) else "STRUCT"


def pipeline(name: str) -> str:
    """The name of a pipeline, of which Kubeflow takes only small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:128].strip("-") or "pipeline"


def platform(executors: Iterable[str], target: Target) -> dict[str, Any] | None:
    """What is special to Kubernetes: which keys of which secrets the pods find in their environment."""
    if not target.secrets:
        return None
    wanted = [
        {"secretName": one.secret, "keyToEnv": [{"secretKey": one.key, "envVar": one.variable}]}
        for one in target.secrets
    ]
    said = {name: {"secretAsEnv": wanted} for name in sorted(executors)}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": said}}}}
