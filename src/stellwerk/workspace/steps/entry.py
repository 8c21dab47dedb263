"""What `stellwerk step exec`, `register` and `close` do, whoever calls them: a pod, a job, a test."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import parse as parse_digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.models.model import ModelVersion
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.kubeflow.model import descriptor, read_descriptor
from stellwerk.pipelines.model import SINGLE, Node, Plan, Stored
from stellwerk.tracking.model import StepMemory
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.steps import performing, plans, pods, recording, registering, upstream
from stellwerk.workspace.steps.past import CODE
from stellwerk.workspace.steps.performing import Order, Performed

RESULT = "stellwerk-step-result/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be executed, as it was said.

    Args:
        plan: A file, or the digest of a plan in the store.
        node: A step of the plan; in a pod also a branch or a loop.
        inputs: `ARG=FROM`, where no pod hands them over; what is not named is found by the keys of the steps before.
        code: The digest of a source tree in the store; empty for the folder.
        expect: The digest that the code of the step must have.
        pipeline: `module:name` of what plans again if a pod has other parameters.
        stored: The descriptor of a value that is simply handed on.
        kubeflow: What Kubeflow handed over; empty outside of pods.
    """

    plan: str
    node: str
    seed: int | None = None
    inputs: tuple[str, ...] = ()
    group: str = ""
    code: str = ""
    expect: str = ""
    pipeline: str = ""
    stored: str = ""
    kubeflow: str = ""
    folder: Path = field(default_factory=Path.cwd)


def execute(caller: Caller, request: Request) -> Performed:
    """Execute one step of a plan, or answer what a pod asks of a branch, a loop or a file."""
    envelope = pods.read(request.kubeflow) if request.kubeflow else None
    if caller.local:
        caller.call(ops.close_runs, {})
    plan = plans.read(caller.blobs, request.plan)
    with _code(caller, request) as folder:
        others = plans.changed(plan, envelope.params) if envelope is not None else {}
        if others:
            plan = plans.replanned(plan, request.pipeline, others, folder)
        if envelope is None:
            return performing.perform(caller, _order(caller, plan, request, folder, None))
        if request.stored:
            given = _handed_on(plan, request)
        else:
            given = pods.Pod(caller, plan, envelope).settle(request.node) or {}
        if given:
            envelope.give(given)
            return Performed(task=request.node, key="", cached=True, outputs={})
        order = _order(caller, plan, request, folder, envelope)
        performed = performing.perform(caller, order)
        envelope.give(pods.Pod(caller, plan, envelope).outputs(order.node, performed))
        return performed


def register(caller: Caller, plan_said: str, name: str, group: str, kubeflow: str) -> ModelVersion:
    """Register the model that an evaluation chose, in a pod."""
    envelope = pods.read(kubeflow)
    plan = plans.read(caller.blobs, plan_said)
    node = plans.node(plan, name)
    pod = pods.Pod(caller, plan, envelope)
    models = [
        one for argument in ("model", "baseline") if argument in node.inputs for one in pod.several(node, argument)
    ]
    parent = recording.gather(caller, plan, group)
    _, version = registering.register(
        caller,
        plan.name,
        pod.made(node).digest,
        [one.digest for one in models],
        parent=parent,
        environment=caller.blobs.put(current().document),
    )
    envelope.give({"model": {"name": version.name, "version": version.version, "digest": version.bytes()}})
    return version


def close(caller: Caller, group: str, *, failed: str = "", kubeflow: str = "") -> str:
    """End the run of a group; the status it has then, empty if no step began it."""
    why = pods.why_failed(pods.read(kubeflow)) if kubeflow and not failed else failed
    return recording.close(caller, group, failed=why)


def result(performed: Performed) -> bytes:
    """What came of a step, as a file that another step takes as its input."""
    outputs = {name: descriptor(stored, performed.key) for name, stored in performed.outputs.items()}
    return canonical.dumps(
        {
            "format": RESULT,
            "task": performed.task,
            "key": performed.key,
            "cached": performed.cached,
            "outputs": outputs,
        }
    )


@contextlib.contextmanager
def _code(caller: Caller, request: Request) -> Iterator[Path]:
    """The folder of the code."""
    if not request.code:
        yield request.folder
        return
    with tempfile.TemporaryDirectory(prefix="stellwerk-code-") as name:
        plans.unpack(caller.blobs, request.code, Path(name))
        yield Path(name)


def _handed_on(plan: Plan, request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.stored)
    except ValueError as cause:
        raise Invalid("--stored is no JSON", code="invalid-descriptor") from cause
    if read_descriptor(body) is None:
        raise Invalid("--stored names no kept value", code="invalid-descriptor")
    return {plans.node(plan, request.node).outputs[0]: body}


def _order(
    caller: Caller, plan: Plan, request: Request, folder: Path, envelope: pods.Envelope | None
) -> performing.Order:
    node = plans.located(plans.node(plan, request.node), folder)
    if bool(node.seeds) != (request.seed is not None) or (request.seed or 0) >= max(node.seeds, 1):
        raise Invalid(
            f"{node.id!r} has {node.seeds or 'no'} seeds, and {'none' if request.seed is None else request.seed} "
            "was named",
            code="usage",
            hint="--seed 0" if node.seeds else "leave out --seed",
        )
    given = (
        _inputs(caller, node, request.inputs) if envelope is None else pods.Pod(caller, plan, envelope).inputs(node)
    )
    order = Order(
        plan=plan,
        node=node,
        task=node.id if request.seed is None else f"{node.id}#{request.seed}",
        inputs=given,
        seed=request.seed,
        expected=request.expect,
        code=request.code,
        folder=folder,
    )
    inputs = upstream.inputs(caller, plan, order)
    parent = recording.gather(caller, plan, request.group, {CODE: request.code} if request.code else {})
    return replace(order, inputs=inputs, parent=parent)


# Inputs as they are said on a command line


def _inputs(caller: Caller, node: Node, said: Sequence[str]) -> dict[str, Stored | tuple[Stored, ...]]:
    given: dict[str, list[Stored]] = {}
    for text in said:
        argument, equals, source = text.partition("=")
        if not equals or argument not in node.inputs:
            known = ", ".join(node.inputs) or "none"
            raise Invalid(
                f"{text[:80]!r} is no input of {node.id!r} (expected ARG=FROM; its inputs are {known})", code="usage"
            )
        given.setdefault(argument, []).append(_input(caller, source))
    return {name: found[0] if len(found) == 1 else tuple(found) for name, found in given.items()}


def _input(caller: Caller, source: str) -> Stored:
    where, _, output = source.partition("#")
    if not where.startswith("sha256:"):
        return _from_file(Path(where), output)
    digest, _, media = where.partition(";")
    if media:
        return Stored(digest=parse_digest(digest), media=media)
    known: StepMemory | None = caller.call(ops.remembered_step, {"step_key": parse_digest(digest)})
    if known is None:
        raise NotFound(f"nobody has computed the step key {digest}", code="unknown-key")
    return _chosen({n: Stored(digest=d, media=known.media[n]) for n, d in known.outputs.items()}, output, digest)


def _from_file(file: Path, output: str) -> Stored:
    try:
        body = json.loads(file.read_bytes())
        if body["format"] != RESULT:
            raise Invalid(
                f"{file.name!r} has the format {body['format']!r} (expected {RESULT})", code="invalid-result"
            )
        found = {name: read_descriptor(one) for name, one in body["outputs"].items()}
    except OSError as cause:
        raise NotFound(f"there is no file {file.name!r}", code="no-such-file") from cause
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise Invalid(
            f"{file.name!r} is not what `stellwerk step exec --out` writes", code="invalid-result"
        ) from cause
    return _chosen({name: one for name, one in found.items() if one is not None}, output, file.name)


def _chosen(outputs: Mapping[str, Stored], output: str, where: str) -> Stored:
    wanted = output or (next(iter(outputs)) if len(outputs) == 1 else SINGLE)
    if wanted not in outputs:
        raise Invalid(
            f"{where} has no output {wanted!r} (it has {', '.join(outputs)})",
            code="unknown-output",
            hint=f"name one: {where}#{next(iter(outputs), 'value')}",
        )
    return outputs[wanted]
