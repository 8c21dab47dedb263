"""Which outputs a pointer file tells of, and by which path from the repository's root."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from stellwerk.core.errors import Invalid
from stellwerk.data.dvc import pointers
from stellwerk.data.dvc.model import LEGACY, MD5, Lock, Output, Pipeline, Pointer, Stage
from stellwerk.data.dvc.naming import output_path
from stellwerk.data.dvc.pipelines import pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An output that DVC keeps in its cache."""

    path: str
    file: str
    stage: str
    output: Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """An output or a file that nothing can be taken from, and why."""

    kind: str
    path: str
    message: str


def told(file: str, data: bytes, yaml: bytes | None) -> Iterator[Found | Unusable]:
    """The outputs that a `.dvc` or `dvc.lock` file tells of.

    Args:
        yaml: The `dvc.yaml` beside a `dvc.lock`, which knows working folders and what is not cached.
    """
    try:
        if posixpath.basename(file) == "dvc.lock":
            beside = pipeline(yaml, posixpath.join(posixpath.dirname(file), "dvc.yaml")) if yaml else Pipeline()
            yield from of_lock(file, pointers.lock(data, file), beside)
        else:
            yield from of_pointer(file, pointers.pointer(data, file))
    except Invalid as refused:
        yield Unusable(kind="unreadable", path=file, message=refused.message)


def of_pointer(file: str, found: Pointer) -> Iterator[Found | Unusable]:
    """The outputs of a `.dvc` file."""
    for output in found.outputs:
        if output.cache:
            yield _usable(file, "", found.wdir, output)


def of_lock(file: str, found: Lock, beside: Pipeline) -> Iterator[Found | Unusable]:
    """The cached outputs of all stages of a `dvc.lock` file."""
    stages = {stage.name: stage for stage in beside.stages}
    for locked in found.stages:
        # `name@key` is one of the stages that a loop makes.
        stage = stages.get(locked.name) or stages.get(locked.name.partition("@")[0])
        wdir = stage.wdir if stage else ""
        for output in locked.outputs:
            if "${" in wdir:
                message = f"{file}: the stage {locked.name!r} works in {wdir!r}, and templates are not computed"
                yield Unusable(kind="template", path=output.path, message=message)
            elif not _uncached(stage, output.path):
                yield _usable(file, locked.name, wdir, output)


def _uncached(stage: Stage | None, path: str) -> bool:
    """Whether the pipeline says that DVC does not keep it: it lies in git, or nowhere."""
    return stage is not None and any(output.path == path and not output.cache for output in stage.outputs)


def _usable(file: str, stage: str, wdir: str, output: Output) -> Found | Unusable:
    try:
        path = output_path(posixpath.dirname(file), wdir, output.path)
    except Invalid as refused:
        return Unusable(kind="foreign-path", path=output.path, message=f"{file}: {refused.message}")
    if output.manifest is not None and all(entry.value for entry in output.manifest):
        return Found(path=path, file=file, stage=stage, output=output)
    if output.algorithm not in (MD5, LEGACY) or not output.value:
        said = (
            "only a cloud knows its bytes" if output.cloud or output.algorithm or output.manifest else "no hash yet"
        )
        return Unusable(kind="not-hashed", path=path, message=f"{file}: {path} has no MD5: {said}")
    return Found(path=path, file=file, stage=stage, output=output)
