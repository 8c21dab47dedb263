"""What one pod runs: the executor and the component of a task. How tasks are connected is in `emitter`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.clock import parse_duration
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.kubeflow.model import RESERVED, Target
from stellwerk.pipelines.model import Node, parse_size

ROOM = 512 * 2**20
"""Bytes that a pod may use beyond the limit of its step: for the process that keeps the limit and moves the values."""
GROUP = "kfp-{{$.pipeline_job_uuid}}"
"""The run that holds the runs of all pods together, by the id that Kubeflow gave its own."""
STRUCT, LIST, STRING, FINAL_STATUS = "STRUCT", "LIST", "STRING", "TASK_FINAL_STATUS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a pod is to do, and which parameters go in and out.

    Args:
        words: The command line after `stellwerk`.
        inputs: Types of the parameters that go in, by name.
    """

    task: str
    words: Sequence[str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    node: Node | None = None


def executor(call: Call, target: Target) -> dict[str, Any]:
    """The container of a task."""
    image = _image(call.node, target) if call.node else target.image
    container: dict[str, Any] = {
        "image": image,
        "command": ["stellwerk"],
        "args": [*call.words, "--kubeflow", "{{$}}"],
        "env": [{"name": RESERVED, "value": target.address}],
    }
    resources = _resources(call.node) if call.node else {}
    return {"container": container | ({"resources": resources} if resources else {})}


def component(call: Call) -> dict[str, Any]:
    """The component of a task: its parameters, and which executor runs it."""
    body: dict[str, Any] = {"executorLabel": label(call.task)}
    if call.inputs:
        body["inputDefinitions"] = {"parameters": {name: _declared(kind) for name, kind in call.inputs.items()}}
    if call.outputs:
        body["outputDefinitions"] = {
            "parameters": {name: {"parameterType": kind} for name, kind in call.outputs.items()}
        }
    return body


def _declared(kind: str) -> dict[str, Any]:
    return {"parameterType": kind, "isOptional": True} if kind == FINAL_STATUS else {"parameterType": kind}


def label(task: str) -> str:
    """The name of the executor of a task."""
    return f"exec-{task}"


def words(plan: Digest, target: Target, node: Node, seed: int | None) -> list[str]:
    """The command line that executes one task of a plan."""
    said = ["step", "exec", "--plan", plan, "--node", node.id, "--group", GROUP]
    said += [] if seed is None else ["--seed", str(seed)]
    said += ["--code", target.code] if target.code else []
    said += ["--pipeline", target.pipeline] if target.pipeline else []
    return said + (["--expect", target.expected[node.function]] if node.function in target.expected else [])


def retry(node: Node) -> dict[str, Any]:
    """How often Kubeflow tries a task again, and when. It knows no jitter."""
    return {
        "maxRetryCount": node.retries,
        "backoffDuration": _seconds(node.backoff.first),
        "backoffFactor": node.backoff.factor,
        "backoffMaxDuration": _seconds(node.backoff.most),
    }


def _seconds(text: str) -> str:
    return f"{math.ceil(parse_duration(text).total_seconds())}s"


def _image(node: Node, target: Target) -> str:
    if node.id in target.images:
        return target.images[node.id]
    if node.environment is None:
        return target.image
    if not node.environment.image:
        raise Invalid(
            f"step {node.id!r} has an environment of its own without an image, which a pod cannot make",
            code="not-in-kubeflow",
            hint=f"build an image with it, and say --image-of {node.id}=IMAGE",
        )
    return node.environment.image


def _resources(node: Node) -> dict[str, Any]:
    needs = node.resources
    if needs.custom:
        raise Invalid(
            f"step {node.id!r} needs {', '.join(sorted(needs.custom))}, which a cluster does not count",
            code="not-in-kubeflow",
            hint="take it out of the step's resources, or limit the loop with at_once",
        )
    if needs.gpus != int(needs.gpus):
        raise Invalid(
            f"step {node.id!r} needs {needs.gpus:g} accelerators (expected a whole number in a cluster)",
            code="not-in-kubeflow",
        )
    found: dict[str, Any] = {"resourceCpuRequest": f"{needs.cpus:g}"} if needs.cpus != 1 else {}
    if needs.memory:
        size = parse_size(needs.memory)
        found |= {"resourceMemoryRequest": str(size), "resourceMemoryLimit": str(size + ROOM)}
    if needs.gpus:
        found["accelerator"] = {"resourceType": "nvidia.com/gpu", "resourceCount": str(int(needs.gpus))}
    return found
