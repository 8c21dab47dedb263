"""Plans in processes that did not make them: read from a file or the store, with code from a folder or the store."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import parse as parse_digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.pipelines import sources
from stellwerk.pipelines.authoring import Pipeline
from stellwerk.pipelines.loading import load
from stellwerk.pipelines.model import BUILTIN, Branch, Node, Plan, document, flat, parse
from stellwerk.store import service as trees
from stellwerk.store.ports import Blobs

_TASK = re.compile(r"(?P<node>[^#\[\]]+)(?P<at>(?:\[\d+\])*)(?:#(?P<seed>\d+))?")


def read(blobs: Blobs, said: str) -> Plan:
    """The plan of a digest in the store, or of a file on this machine."""
    if said.startswith("sha256:"):
        return parse(canonical.loads(blobs.get(parse_digest(said))))
    file = Path(said)
    if not file.is_file():
        raise NotFound(f"there is no plan {said[:80]!r}", code="no-such-file", hint="name a file, or sha256:…")
    return parse(canonical.loads(file.read_bytes()))


def node(plan: Plan, name: str) -> Node:
    """A node of a plan. `NotFound` names those there are."""
    found = next((one for one in plan.nodes if one.id == name), None)
    if found is None:
        known = ", ".join(one.id for one in plan.nodes[:10])
        raise NotFound(f"the plan of {plan.name!r} has no step {name[:60]!r} (it has {known})", code="unknown-step")
    return found


def task_parts(task: str) -> tuple[str, int | None]:
    """The node and the seed of a task: `train[3]#0` is seed 0 of `train`."""
    match = _TASK.fullmatch(task)
    if match is None:
        raise NotFound(f"{task[:60]!r} names no task (expected such as train or train#0)", code="unknown-step")
    return match["node"], int(match["seed"]) if match["seed"] else None


def unpack(blobs: Blobs, tree: str, folder: Path) -> None:
    """Write a source tree of the store into an empty folder."""
    for path, digest in trees.files(blobs, parse_digest(tree)).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(blobs.get(digest))


def located(one: Node, folder: Path | None) -> Node:
    """A node whose function is looked for below a folder, and nowhere else if it is there."""
    if folder is None or one.function.startswith(BUILTIN):
        return one
    file = sources.module_file(folder, one.function.partition(":")[0])
    return one if file is None else replace(one, file=str(file))


def changed(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given parameters that differ from the plan's. JSON of elsewhere knows no whole numbers."""
    found = {}
    for name, value in given.items():
        if name not in plan.params:
            raise Invalid(f"the plan of {plan.name!r} has no parameter {name[:60]!r}", code="unknown-argument")
        plain = _whole(value) if isinstance(plan.params[name], (int, list, dict)) else value
        if plain != plan.params[name]:
            found[name] = plain
    return found


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {key: _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def replanned(plan: Plan, pipeline: str, given: Mapping[str, Any], folder: Path | None) -> Plan:
    """The plan with other parameters, made by its pipeline again; it must be the same graph.

    Args:
        pipeline: `module:name` of the pipeline.
    """
    module, _, name = pipeline.partition(":")
    file = sources.module_file(folder or Path.cwd(), module)
    if file is None:
        raise NotFound(
            f"the parameters differ from the plan's, and there is no module {module!r} to plan again with",
            code="step-not-importable",
        )
    with contextlib.redirect_stdout(sys.stderr):
        found = getattr(load(file), name, None)
        if not isinstance(found, Pipeline):
            raise NotFound(f"module {module!r} has no pipeline {name!r}", code="unknown-pipeline")
        fresh = found.plan(**{**plan.params, **given})
    if _graph(fresh) != _graph(plan):
        said = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise Invalid(
            f"with {said} the pipeline {plan.name!r} is another graph than the one that was exported",
            code="other-graph",
            hint="export it again with these parameters",
        )
    return fresh


def _graph(plan: Plan) -> bytes:
    """All of a plan but the values that parameters may change."""
    plan = flat(plan)
    body = document(
        replace(
            plan,
            params={},
            nodes=tuple(replace(one, params={}) for one in plan.nodes),
            groups=tuple(replace(one, value=None) if isinstance(one, Branch) else one for one in plan.groups),
        )
    )
    return canonical.dumps(body)
