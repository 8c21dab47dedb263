"""What of a notebook is shown to people: code, texts, and outputs that are text or a picture. Nothing is executed.

HTML, JavaScript, SVG and widgets are named and not shown. Markdown is shown as it was typed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stellwerk.tracking import pictures

MAX_CELLS, MAX_OUTPUTS = 500, 50
MAX_SOURCE, MAX_OUTPUT = 50_000, 20_000
"""Characters of a cell and of one of its outputs."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_PICTURES = ("image/png", "image/jpeg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An output of a cell."""

    shows: Literal["text", "error", "picture", "nothing"]
    text: str = ""
    """What it says; of what is not shown, what that is."""
    picture: str = ""
    """A picture as `data:` address, made of bytes that were looked at."""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell as it is shown."""

    kind: Literal["code", "text"]
    text: str
    number: int | None = None
    """The number of its execution."""
    outputs: tuple[Given, ...] = ()


def read(text: str) -> tuple[Cell, ...] | None:
    """The cells of a notebook in Jupyter's format 4; None for everything else."""
    try:
        document: Any = json.loads(text)
        if document["nbformat"] != 4:
            return None
        return tuple(_cell(one) for one in document["cells"][:MAX_CELLS])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _cell(said: Mapping[str, Any]) -> Cell:
    text = _clipped(_joined(said["source"]), MAX_SOURCE)
    if said["cell_type"] != "code":
        return Cell(kind="text", text=text)
    number = said.get("execution_count")
    outputs = said.get("outputs") or ()
    return Cell(
        kind="code",
        text=text,
        number=number if isinstance(number, int) and not isinstance(number, bool) else None,
        outputs=tuple(_merged(_output(one) for one in outputs[:MAX_OUTPUTS])),
    )


def _output(said: Mapping[str, Any]) -> Given:
    kind = said["output_type"]
    if kind == "stream":
        return Given(shows="text", text=_plain(said.get("text", "")))
    if kind == "error":
        trace = "\n".join(str(line) for line in said.get("traceback") or ())
        return Given(shows="error", text=_plain(trace or f"{said.get('ename')}: {said.get('evalue')}"))
    data: Mapping[str, Any] = said.get("data") or {}
    for media in _PICTURES:
        found = _picture(data.get(media))
        if found is not None:
            return found
    if "text/plain" in data:
        return Given(shows="text", text=_plain(data["text/plain"]))
    return Given(shows="nothing", text=", ".join(str(media)[:60] for media in list(data)[:5]) or "nothing")


def _picture(said: object) -> Given | None:
    """A picture by its bytes, whatever it is called."""
    if said is None:
        return None
    try:
        data = base64.b64decode("".join(_joined(said).split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    found = pictures.read(data[: pictures.HEAD])
    if found is None:
        return None
    address = f"data:{found.media};base64,{base64.b64encode(data).decode()}"
    return Given(shows="picture", picture=address, width=found.width, height=found.height)


def _merged(outputs: Iterable[Given]) -> Iterator[Given]:
    """Texts that follow each other as one."""
    last: Given | None = None
    for one in outputs:
        if last is not None and last.shows == one.shows == "text":
            last = Given(shows="text", text=_clipped(f"{last.text.rstrip()}\n{one.text}", MAX_OUTPUT))
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


def _joined(said: object) -> str:
    return "".join(map(str, said)) if isinstance(said, list) else str(said)


def _plain(said: object) -> str:
    return _clipped(_ANSI.sub("", _joined(said)), MAX_OUTPUT)


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}\n… {len(text) - most:,} more characters"
