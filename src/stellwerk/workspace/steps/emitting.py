"""Exporting a plan to Kubeflow: what its pods need is put into the workspace, and the export itself is a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.pipelines import sources
from stellwerk.pipelines.authoring import Pipeline, reference
from stellwerk.pipelines.kubeflow.emitter import emit
from stellwerk.pipelines.kubeflow.model import Secret, Target
from stellwerk.pipelines.model import FILE, Plan, Stored, document
from stellwerk.pipelines.service import closures, must_have
from stellwerk.store import service as trees
from stellwerk.tracking.model import Run
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.resolving import Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants of an export.

    Args:
        images: Images of single nodes by their id.
        carries: Whether the code goes into the workspace; otherwise it is expected in the images.
    """

    image: str
    address: str
    images: Mapping[str, str]
    secrets: Sequence[Secret] = ()
    carries: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A pipeline for Kubeflow, as the text of its file."""

    text: str
    plan: Digest
    code: str
    run: str
    tasks: int


def export(caller: Caller, plan: Plan, pipeline: Pipeline, wish: Wish) -> Export:
    """Export a plan. The plan and its code are kept in the workspace, where the pods find them by their digests."""
    must_have(plan, wish.images)
    found = closures(plan)
    kept = caller.blobs.put(canonical.dumps(document(plan)))
    code = _keep_code(caller, plan, pipeline, list(found.values())) if wish.carries else ""
    target = Target(
        image=wish.image,
        address=wish.address,
        code=code,
        pipeline=reference(pipeline.function)[0],
        expected={function: one.digest for function, one in found.items()},
        images=wish.images,
        secrets=tuple(wish.secrets),
    )
    documents = emit(plan, target, files=_files(caller, plan, pipeline))
    text = _yaml(documents)
    run = _record(caller, plan, {"plan": kept, "pipeline": caller.blobs.put(text.encode())}, code)
    return Export(text=text, plan=kept, code=code, run=run, tasks=len(_executors(documents)))


def _yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    import yaml

    return str(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=118))


def _executors(documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = documents[0]["deploymentSpec"]["executors"]
    return found


def _keep_code(caller: Caller, plan: Plan, pipeline: Pipeline, found: Sequence[Any]) -> str:
    """The source tree of the plan's steps and of the pipeline itself, so that it can be planned again in a pod."""
    function, file = reference(pipeline.function)
    asking = [replace(node, function=function, file=file) for node in plan.nodes[:1]]
    files = sources.files(replace(plan, nodes=(*plan.nodes, *asking)), found)
    return trees.put_files(caller.blobs, {name: path.read_bytes() for name, path in files.items()})


def _files(caller: Caller, plan: Plan, pipeline: Pipeline) -> dict[str, Stored]:
    """The file nodes of a plan, read and kept now."""
    file = reference(pipeline.function)[1]
    names = Names(caller, Path(file).parent if file else caller.home)
    return {node.id: names.file(node.params["path"]) for node in plan.nodes if node.function == FILE}


def _record(caller: Caller, plan: Plan, outputs: dict[str, Digest], code: str) -> str:
    now = caller.clock.now()
    made = {**outputs, "code": Digest(code)} if code else outputs
    run = Run(
        id="",
        experiment=plan.name,
        name="kubeflow",
        kind="export",
        status="finished",
        started_at=now,
        started_by="",
        params=plan.params,
        outputs=made,
    )
    recorded: Run = caller.call(ops.record_run, {"run": run})
    return recorded.id
