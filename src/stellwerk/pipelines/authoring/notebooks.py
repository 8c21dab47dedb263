"""`sw.notebook` and `sw.marimo`: notebooks as steps of a pipeline. What of a file counts is in `pipelines.notebooks`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

from stellwerk.core import names
from stellwerk.core.arguments import bound, nearest
from stellwerk.core.clock import parse_duration
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.pipelines import notebooks, source
from stellwerk.pipelines.authoring.building import builtin
from stellwerk.pipelines.authoring.shipped import file
from stellwerk.pipelines.authoring.steps import step_options
from stellwerk.pipelines.model import SINGLE
from stellwerk.pipelines.parameters import mapping, texts

NOTEBOOK = "notebook"
"""The output of every notebook step: the executed copy."""
_ARGUMENTS = (
    "params", "inputs", "outputs", "files", "name", "kind", "retries", "timeout", "resources", "backoff", "cache",
    "priority", "environment",
)  # fmt: skip
_OWN = ("path", "cells", "modules", "params", "outputs", "cell_timeout", "paths", "files", "file", NOTEBOOK, SINGLE)


@bound
def notebook(
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = (),
    files: Sequence[str] = (),
    name: str = "",
    kind: str = "step",
    retries: int = 0,
    timeout: str = "",
    cell_timeout: str = "",
    folder: Path | None = None,
    **options: Any,
) -> Any:
    """A step that executes a Jupyter notebook, in a kernel and a folder of its own.

    Its code counts for the step key, without comments, formatting, texts and outputs, and so do the modules of its folder
    that it imports, and the files that it names. The outputs are a dict; `notebook` is the executed copy.

    Args:
        path: Relative to the folder of the pipeline file, with slashes.
        params: Values for variables that a cell of the notebook sets; they replace those.
        inputs: Outputs of steps; the notebook finds each as a variable of this name.
        outputs: Names that the notebook gives, by `sw.output(name, value)` or as variables.
        files: Files that it reads, relative as `path` is, besides those whose paths stand in its code as texts.
        timeout: Of the whole, such as `2h`; `cell_timeout` of each cell.
        folder: What `path` is relative to, where that is not the folder of the file that calls this.
        options: Further options of `@step`: `resources`, `backoff`, `cache`, `priority`, `environment`.
    """
    given = mapping("params", params)
    home = folder or _home()
    cells = notebooks.read(notebooks.load(home / _inside(path)), path)
    place = home.joinpath(*PurePosixPath(path).parent.parts)
    code = notebooks.code(cells)
    modules = notebooks.modules(code, place)
    below = PurePosixPath(path).parent
    named = [str(below / one) for one in notebooks.named_files([*code, *modules.values()], place)]
    _check_params(path, given, cells)
    step, body, refs = _parts(path, given, inputs, outputs, options, kind=kind, retries=retries, timeout=timeout)
    paths = sorted({*map(_inside, texts("files", files)), *named})
    refs |= {f"files[{number}]": file(one) for number, one in enumerate(paths)}
    seconds = parse_duration(cell_timeout, what="cell_timeout").total_seconds() if cell_timeout else None
    body |= {"cells": code, "modules": modules, "paths": paths, "cell_timeout": seconds}
    called = names.name(name or names.slug(PurePosixPath(path).stem), what="step name")
    return builtin("notebook", called, step.pop("kind"), body, refs, (*outputs, NOTEBOOK), **step)


@bound
def marimo(
    path: str,
    *,
    params: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] = (),
    name: str = "",
    kind: str = "step",
    retries: int = 0,
    timeout: str = "",
    **options: Any,
) -> Any:
    """A step that runs a marimo notebook: some of its variables are given, others are its outputs.

    Args:
        path: Relative to the folder of the pipeline file, with slashes. The whole file counts for the step key.
        params: Plain values by variable; the cells that set these are not run.
        inputs: Outputs of steps by variable.
        outputs: Names of variables; the outputs are a dict. Without any, the output is a dict of all plain values.
        timeout: Of the whole, such as `2h`.
        options: Further options of `@step`: `resources`, `backoff`, `cache`, `priority`, `environment`.
    """
    step, body, refs = _parts(
        path, mapping("params", params), inputs, outputs, options, kind=kind, retries=retries, timeout=timeout
    )
    refs["file"] = file(path)
    called = names.name(name or names.slug(PurePosixPath(path).stem), what="step name")
    return builtin("marimo", called, step.pop("kind"), body, refs, tuple(outputs) or (SINGLE,), **step)


def _parts(
    path: str,
    params: dict[str, Any],
    inputs: Mapping[str, Any] | None,
    outputs: Sequence[str],
    options: Mapping[str, Any],
    **said: Any,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options of the step, what the built-in step is told, and its inputs."""
    if not isinstance(outputs, (list, tuple)):
        raise Invalid(f"outputs are {outputs!r} (expected names such as ('score',))", code="invalid-outputs")
    refs = mapping("inputs", inputs)
    for one in (*refs, *outputs):
        if not isinstance(one, str) or not one.isidentifier() or one in _OWN:
            raise Invalid(
                f"{one!r} is no name for an input or output (expected an identifier, and none of {', '.join(_OWN)})",
                code="wrong-arguments",
            )
    step, others = step_options(said, options)
    if others:
        unknown = next(iter(others))
        raise Invalid(
            f"argument {unknown!r} of {path} is unknown{nearest(unknown, _ARGUMENTS)}",
            code="unknown-argument",
            hint=f"variables of the notebook are given in params={{{unknown!r}: …}}",
        )
    return step, {"path": path, "params": params, "outputs": list(outputs)}, refs


def _check_params(path: str, params: Mapping[str, Any], cells: Sequence[notebooks.CodeCell]) -> None:
    settable = notebooks.settable(cells)
    for one in params:
        if one not in settable:
            raise Invalid(
                f"{path} sets no {one!r} (it sets {', '.join(settable) or 'nothing'}){nearest(one, settable)}",
                code="unknown-argument",
                hint="a parameter is a name to which a cell of its own gives a plain value, such as: depth = 4",
            )


def _home() -> Path:
    """The folder of the file that makes the plan."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        found = str(frame.f_globals.get("__file__") or "")
        if found and not source.ours(found):
            return Path(found).absolute().parent
        frame = frame.f_back
    return Path.cwd()


def _inside(path: object) -> str:
    pure = PurePosixPath(path) if isinstance(path, str) else None
    if pure is None or not path or pure.is_absolute() or ".." in pure.parts:
        raise NotFound(
            f"{path!r} is no path inside the project (expected such as 'notebooks/train.ipynb')", code="invalid-path"
        )
    return str(pure)
