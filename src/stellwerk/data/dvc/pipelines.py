"""`dvc.yaml`: stages, templates as written. Executing them is not this module's business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stellwerk.data.dvc import yamltext
from stellwerk.data.dvc.fields import Fields
from stellwerk.data.dvc.model import Pipeline, Stage, StageOutput

_KINDS = {"outs": "out", "metrics": "metric", "plots": "plot"}


def pipeline(data: bytes, where: str) -> Pipeline:
    """Read a `dvc.yaml` file. Raises `Invalid` with file and key."""
    fields = Fields(yamltext.read(data, where) or {}, where)
    stages, artifacts = fields.below("stages"), fields.below("artifacts")
    return Pipeline(
        stages=tuple(_stage(stages.below(name), name) for name in stages),
        vars=fields.items("vars"),
        params=fields.texts("params"),
        metrics=fields.texts("metrics"),
        plots=fields.items("plots"),
        artifacts=tuple((name, artifacts.raw(name)) for name in artifacts),
        datasets=fields.raw("datasets"),
        further=fields.rest(),
    )


def _stage(outer: Fields, name: str) -> Stage:
    foreach = outer.raw("foreach")
    inner = outer.below("do") if foreach is not None else outer
    cmd = inner.texts("cmd")
    if not cmd:
        raise inner.wrong("cmd", "a command", None)
    return Stage(
        name=name,
        cmd=cmd,
        wdir=inner.text("wdir"),
        dependencies=inner.texts("deps"),
        params=inner.items("params"),
        outputs=tuple(output for key, kind in _KINDS.items() for output in _outputs(inner, key, kind)),
        frozen=inner.flag("frozen", False),
        always_changed=inner.flag("always_changed", False),
        desc=inner.text("desc"),
        meta=inner.raw("meta"),
        vars=inner.items("vars"),
        foreach=foreach,
        matrix=inner.raw("matrix"),
        further=inner.rest() if inner is outer else (*inner.rest(), *outer.rest()),
    )


def _outputs(fields: Fields, key: str, kind: str) -> list[StageOutput]:
    found: list[StageOutput] = []
    value = fields.raw(key)
    # A mapping of paths is what DVC accepts too, besides the list it writes.
    listed = [{path: said} for path, said in value.items()] if isinstance(value, Mapping) else fields.items(key)
    for index, item in enumerate(listed):
        place = f"{fields.path(key)}[{index}]"
        if isinstance(item, str):
            found.append(StageOutput(path=item, kind=kind))
            continue
        if not isinstance(item, Mapping) or len(item) != 1:
            raise fields.wrong(f"{key}[{index}]", "a path, or a path with options", item)
        ((path, said),) = item.items()
        found += [_output(path, kind, Fields(one, fields.where, f"{place}.{path}")) for one in _options(said)]
    return found


def _options(said: Any) -> list[Any]:
    """A plot may be drawn in several ways."""
    return said if isinstance(said, list) and said else [said or {}]


def _output(path: str, kind: str, fields: Fields) -> StageOutput:
    return StageOutput(
        path=path,
        kind=kind,
        cache=fields.flag("cache", True),
        persist=fields.flag("persist", False),
        push=fields.flag("push", True),
        remote=fields.text("remote"),
        options=fields.rest(),
    )
