"""What a notebook that runs as a step is given, and what it gives: files in a folder, between its kernel and the step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import SINGLE, Encoded
from stellwerk.pipelines.values import FILE_MEDIA, STANDARD, Codecs
from stellwerk.workspace import codecs

_STEP: dict[str, Any] = {}
"""The folder and the declared outputs of the step that this kernel runs, and what was given already."""


def _codecs() -> Codecs:
    return STANDARD.with_first(codecs.MODEL)


# In the step


def write_inputs(folder: Path, inputs: Mapping[str, Encoded | list[Encoded]]) -> None:
    """Lay down the inputs of a notebook."""
    listed: dict[str, Any] = {}
    for name, given in inputs.items():
        many = given if isinstance(given, list) else [given]
        for number, one in enumerate(many):
            (folder / f"in-{name}-{number}").write_bytes(one.data)
        listed[name] = {"list": isinstance(given, list), "media": [one.media for one in many]}
    (folder / "inputs.json").write_text(json.dumps(listed), "utf-8")


def read_output(folder: Path, name: str) -> Encoded:
    """What the notebook gave under a name. Raises `Invalid` where it gave nothing."""
    try:
        media = (folder / f"out-{name}.media").read_text("utf-8")
        return Encoded(media=media, data=(folder / f"out-{name}").read_bytes())
    except FileNotFoundError as cause:
        raise Invalid(
            f"the notebook gave no output {name!r}",
            code="missing-output",
            hint=f"sw.output({name!r}, value), or a variable of this name",
        ) from cause


# In the kernel


def begin(folder: str, outputs: list[str], names: dict[str, Any]) -> None:
    """Put the inputs among the names of a notebook, and remember what it has to give."""
    place = Path(folder)
    _STEP.update(folder=place, outputs=outputs, given=set())
    for name, said in json.loads((place / "inputs.json").read_text("utf-8")).items():
        values = []
        for number, media in enumerate(said["media"]):
            inner = place / f"file-{name}-{number}" if media.startswith(FILE_MEDIA) else None
            if inner is not None:
                inner.mkdir()
            data = (place / f"in-{name}-{number}").read_bytes()
            values.append(_codecs().decode(Encoded(media=media, data=data), folder=inner))
        names[name] = values if said["list"] else values[0]
    shell = names["get_ipython"]() if "get_ipython" in names else None
    if shell is not None:
        shell.execution_count -= 1  # the notebook counts its own cells


def leave() -> None:
    """This process runs no step any more."""
    _STEP.clear()


def output(name: str, value: Any) -> Any:
    """Give an output of the step that this notebook runs as; elsewhere nothing happens. Returns the value.

    Raises:
        Invalid: `unknown-output`, where the step declares none of this name; `unsupported-value`.
    """
    if not _STEP:
        return value
    declared: list[str] = _STEP["outputs"]
    if name not in declared:
        raise Invalid(
            f"the step declares no output {name!r} (it declares {', '.join(declared) or 'none'})",
            code="unknown-output",
        )
    encoded = _codecs().encode(value)
    folder: Path = _STEP["folder"]
    (folder / f"out-{name}").write_bytes(encoded.data)
    (folder / f"out-{name}.media").write_text(encoded.media, "utf-8")
    _STEP["given"].add(name)
    return value


def finish(names: Mapping[str, Any]) -> None:
    """Give variables with the names of outputs that were not given yet."""
    for name in _STEP["outputs"]:
        if name not in _STEP["given"] and name in names and name != SINGLE:
            output(name, names[name])
