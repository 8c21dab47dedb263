"""Finding what stands behind a model version: its run, plan, steps, data, code and environment. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound, Refused
from stellwerk.ledger import documents
from stellwerk.models.model import ModelVersion
from stellwerk.pipelines import machine as machines
from stellwerk.pipelines.keys import step_key
from stellwerk.pipelines.model import BUILTIN, DATASET, FILE, RESOLVED, SINGLE, WAIT, Node, Plan, Stored, parse
from stellwerk.pipelines.values import FILE_MEDIA, PARQUET
from stellwerk.tracking.model import Run
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.rebuilding.model import Original
from stellwerk.workspace.rebuilding.tags import LOCKS, MACHINE, SOURCES

PAGE = 1000


def find(caller: Caller, model: str) -> Original:
    """The run behind a model version.

    Raises:
        NotFound: There is no such model.
        Refused: `not-rebuildable`: no pipeline made it, or the run kept too little, with what is missing.
    """
    version: ModelVersion = caller.call(ops.get_model, {"model": model})
    said = f"{version.name}@{version.version}"
    registered = _run(caller, version.run_id, said)
    run = _run(caller, registered.parent, said) if registered.parent else registered
    if "plan" not in run.tags or "model" not in registered.inputs or "evaluation" not in registered.inputs:
        raise _impossible(f"{said} was not made by a pipeline that evaluates it, so there is no plan to repeat")
    if SOURCES not in run.tags:
        raise _impossible(
            f"the run of {said} kept no sources: it is of an earlier version, or its steps were written in a session",
            hint="run the pipeline again; runs keep their sources since 0.2",
        )
    plan = parse(canonical.loads(caller.blobs.get(Digest(run.tags["plan"]))))
    steps = {one.name: one for one in _children(caller, run.id) if one.status == "finished"}
    evaluated = _last(plan, steps, BUILTIN + "evaluate", said)
    contracts, notes = _contracts(caller, plan, steps)
    return Original(
        version=version,
        run=run,
        plan=plan,
        steps={name: one for name, one in steps.items() if one.id != registered.id},
        inputs=_inputs(plan, steps, said),
        sources=Digest(run.tags[SOURCES]),
        locks=Digest(run.tags[LOCKS]) if LOCKS in run.tags else None,
        environment=_environment(caller, run, said),
        machine=machines.read(caller.blobs.get(Digest(run.tags[MACHINE]))) if MACHINE in run.tags else None,
        contracts=contracts,
        gates=_gates(caller, plan, steps),
        decided=_decided(caller, plan, steps),
        archive=registered.inputs["model"],
        evaluation=canonical.loads(caller.blobs.get(registered.inputs["evaluation"])),
        judged=evaluated.inputs["table"],
        codes=_codes(plan, steps),
        notes=notes,
    )


def _run(caller: Caller, run: str | None, said: str) -> Run:
    try:
        found: Run = caller.call(ops.get_run, {"run": run or ""})
    except NotFound as cause:
        raise _impossible(f"the run that made {said} is not in this workspace") from cause
    return found


def _impossible(message: str, *, hint: str = "") -> Refused:
    return Refused(message, code="not-rebuildable", hint=hint)


def _children(caller: Caller, run: str) -> Iterator[Run]:
    """All steps of a run, oldest first."""
    found: list[Run] = []
    while True:
        page = caller.call(ops.search_runs, {"parent": run, "limit": PAGE, "offset": len(found)})
        found += page
        if len(page) < PAGE:
            break
    yield from reversed(found)


def _tasks(node: Node, steps: Mapping[str, Run]) -> list[Run]:
    """What ran for a node: once, or once for each of its seeds and of the items of the loops around it."""
    return [run for name, run in steps.items() if name == node.id or name.startswith((f"{node.id}#", f"{node.id}["))]


def _last(plan: Plan, steps: Mapping[str, Run], function: str, said: str) -> Run:
    found = [run for node in plan.nodes if node.function == function for run in _tasks(node, steps)]
    if not found or "table" not in found[-1].inputs:
        raise _impossible(f"the run of {said} does not say on what it was evaluated")
    return found[-1]


def _inputs(plan: Plan, steps: Mapping[str, Run], said: str) -> dict[str, Stored]:
    """What input nodes stood for, out of what the steps that used them were given."""
    found: dict[str, Stored] = {}
    for node in plan.nodes:
        for argument, ref in node.inputs.items():
            source = next((one for one in plan.nodes if one.id == ref.node), None)
            if source is None or source.function not in RESOLVED or source.id in found:
                continue
            given = [run.inputs[argument] for run in _tasks(node, steps) if argument in run.inputs]
            if given:
                found[source.id] = Stored(digest=given[0], media=_media(source))
    missing = [one.id for one in plan.nodes if one.function in RESOLVED and one.id not in found and _used(plan, one)]
    if missing:
        raise _impossible(f"the run of {said} does not say which bytes {', '.join(missing)} stood for")
    return found


def _used(plan: Plan, node: Node) -> bool:
    return any(ref.node == node.id for one in plan.nodes for ref in one.inputs.values())


def _media(node: Node) -> str:
    if node.function == FILE:
        return f"{FILE_MEDIA}; name={PurePosixPath(str(node.params.get('path', 'file'))).name}"
    return PARQUET


def _environment(caller: Caller, run: Run, said: str) -> Mapping[str, Any]:
    if run.environment is None:
        raise _impossible(f"the run of {said} kept no environment lock")
    found: Mapping[str, Any] = canonical.loads(caller.blobs.get(run.environment))
    return found


def _contracts(
    caller: Caller, plan: Plan, steps: Mapping[str, Run]
) -> tuple[dict[str, Mapping[str, Any]], tuple[str, ...]]:
    """The contracts that were checked by. Which version it was is told by the step key, which covers it."""
    found: dict[str, Mapping[str, Any]] = {}
    notes: list[str] = []
    for node in plan.nodes:
        name = str(node.params.get("name", ""))
        if node.function != BUILTIN + "contract" or name in found:
            continue
        run = next(iter(_tasks(node, steps)), None)
        newest = caller.call(ops.get_contract, {"name": name})
        if newest is None or run is None:
            raise _impossible(f"there is no contract {name!r} any more")
        chosen = newest
        if newest.version == 1 or _key(node, run, newest.version) == run.step_key:
            found[name] = documents.dump(newest)
            continue
        for version in range(newest.version - 1, 0, -1):
            if _key(node, run, version) == run.step_key:
                chosen = caller.call(ops.get_contract, {"name": name, "version": version})
                break
        else:
            notes.append(f"which version of the contract {name!r} was checked by is not known; this is the newest")
        found[name] = documents.dump(chosen)
    return found, tuple(notes)


def _key(node: Node, run: Run, version: int) -> Digest | None:
    if run.code is None or run.environment is None:
        return None
    return step_key(
        code=run.code,
        params={**node.params, "version": version},
        inputs={name: Stored(digest=digest, media=PARQUET) for name, digest in run.inputs.items()},
        environment=run.environment,
        kind=node.kind,
        outputs=node.outputs,
    )


def _gates(caller: Caller, plan: Plan, steps: Mapping[str, Run]) -> dict[str, Mapping[str, Any]]:
    """What each gate step answered, by the name of its gate set."""
    answers = (
        canonical.loads(caller.blobs.get(run.outputs["value"]))
        for node in plan.nodes
        if node.function == BUILTIN + "gate"
        for run in _tasks(node, steps)
        if "value" in run.outputs
    )
    return {str(answer["gate"]): answer for answer in answers}


def _decided(caller: Caller, plan: Plan, steps: Mapping[str, Run]) -> dict[str, Any]:
    return {
        run.name: canonical.loads(caller.blobs.get(run.outputs[SINGLE]))
        for node in plan.nodes
        if node.function == WAIT
        for run in _tasks(node, steps)
        if SINGLE in run.outputs
    }


def _codes(plan: Plan, steps: Mapping[str, Run]) -> dict[str, Digest]:
    return {
        node.function: run.code
        for node in plan.nodes
        for run in _tasks(node, steps)
        if run.code is not None and node.function != DATASET
    }
