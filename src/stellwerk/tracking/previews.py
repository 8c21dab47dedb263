"""What of a file is shown to people: text, a table, a notebook, or a picture; everything else is only kept.

A preview is a value made of text. No byte of a file becomes markup, and nothing in it is followed or executed.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from stellwerk.core.digest import Digest
from stellwerk.store.ports import Blobs
from stellwerk.tracking import notebooks, pictures
from stellwerk.tracking.notebooks import Cell
from stellwerk.tracking.pictures import Picture

Shown = Literal["text", "table", "picture", "notebook", "bytes"]
MAX_TEXT = 1 << 18
"""Bytes of a text that are read; of a log its last ones."""
MAX_TABLE = 1 << 20
"""Bytes of a table that are read."""
MAX_NOTEBOOK = 8 << 20
"""Bytes of a notebook that is read."""
MAX_PICTURE = 20 << 20
"""Bytes of a picture that is shown."""
MAX_ROWS, MAX_COLUMNS, MAX_CELL = 200, 100, 300
_DEEPEST = 60
"""How far JSON is indented: beyond it lines would be spaces alone."""
_LOGS = ("log", "out", "err")
_SEPARATORS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is shown of a file."""

    shows: Shown
    size: int
    """Of the file, in bytes."""
    text: str = ""
    skipped: int = 0
    """Bytes before the text that are left out."""
    left: int = 0
    """Bytes behind what is shown that are left out."""
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    more_rows: bool = False
    more_columns: int = 0
    cells: tuple[Cell, ...] = ()
    """Of a notebook."""
    media: str = ""
    """Of a picture."""
    width: int = 0
    height: int = 0
    why: str = ""
    """Why there is no more to see."""


def preview(blobs: Blobs, digest: Digest, name: str, *, most: int | None = None) -> Preview:
    """Look at the bytes of a file called `name`, at `most` so many of a text."""
    size, ending = blobs.size(digest), name.rpartition(".")[2].casefold()
    found = picture(blobs, digest)
    if found is not None:
        return Preview(shows="picture", size=size, media=found.media, width=found.width, height=found.height)
    if ending == "ipynb" and most is None and size <= MAX_NOTEBOOK:
        cells = notebooks.read(b"".join(blobs.stream(digest)).decode("utf-8", "replace"))
        if cells is not None:
            return Preview(shows="notebook", size=size, cells=cells)
    most = most or (MAX_TABLE if ending in (*_SEPARATORS, "json") else MAX_TEXT)
    skipped = max(size - most, 0) if is_log(name) else 0
    data = part(blobs, digest, start=skipped, most=most)
    text = decoded(data, begun=skipped > 0, ends=skipped + len(data) >= size)
    if text is None:
        return Preview(shows="bytes", size=size, why="neither text nor a picture that can be shown here")
    left = size - skipped - len(data)
    if ending in _SEPARATORS:
        table = _separated(text, _SEPARATORS[ending], whole=left == 0)
    else:
        table = _split(text) if ending == "json" and left == 0 else None
    if table is not None:
        return _table(*table, size=size, left=left)
    if ending == "json" and left == 0:
        text = indented(text) or text
    if skipped:  # a line that is cut in its middle is none
        cut = text.find("\n") + 1
        skipped, text = skipped + len(text[:cut].encode()), text[cut:]
    return Preview(shows="text", size=size, text=text, skipped=skipped, left=left)


def is_log(path: str) -> bool:
    """Whether the end of a file tells more than its beginning, by its name."""
    return path.rpartition(".")[2].casefold() in _LOGS


def picture(blobs: Blobs, digest: Digest) -> Picture | None:
    """The picture that a file is, if browsers may show it."""
    if blobs.size(digest) > MAX_PICTURE:
        return None
    return pictures.read(part(blobs, digest, start=0, most=pictures.HEAD))


def part(blobs: Blobs, digest: Digest, *, start: int, most: int) -> bytes:
    """Some bytes of a blob, at most so many."""
    stop = min(start + most, blobs.size(digest))
    return b"".join(blobs.stream(digest, start=start, stop=stop)) if stop > start else b""


def decoded(data: bytes, *, begun: bool = False, ends: bool = True) -> str | None:
    """UTF-8 as text, of which the first or the last character may be cut; None for everything else."""
    if begun:
        data = data.lstrip(bytes(range(0x80, 0xC0)))
    if b"\x00" in data:
        return None
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=ends)
    except UnicodeDecodeError:
        return None
    return text.replace("\r\n", "\n")


def indented(text: str) -> str | None:
    """JSON with a line for each member, every number and text as written; None where it is no JSON, or too long."""
    if not _is_json(text):
        return None
    out: list[str] = []
    depth = size = 0
    for word in _words(text):
        if word in "]}":
            depth -= 1
            out.append(word if out[-1] in "[{" else "\n" + "  " * depth + word)
            continue
        if out and out[-1] in "[{":
            out.append("\n" + "  " * depth)
        if word in "[{":
            depth += 1
            if depth > _DEEPEST:
                return None
        out.append({",": ",\n" + "  " * depth, ":": ": "}.get(word, word))
        size += len(out[-1])
        if size > MAX_TABLE:
            return None
    made = "".join(out)
    return made if len(made) <= MAX_TABLE else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _words(text: str) -> Iterator[str]:
    """The signs, texts and words of what is known to be JSON."""
    place = 0
    while place < len(text):
        sign = text[place]
        end = place + 1
        if sign == '"':
            while text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            end += 1
        elif sign not in "[]{},: \t\r\n":
            while end < len(text) and text[end] not in "[]{},: \t\r\n":
                end += 1
        if not sign.isspace():
            yield text[place:end]
        place = end


_Cells = tuple[list[str], list[list[str]]]


def _separated(text: str, separator: str, *, whole: bool) -> _Cells | None:
    """The first rows of a table in text; None where it is none."""
    try:
        rows = list(islice(csv.reader(io.StringIO(text, newline=""), delimiter=separator), MAX_ROWS + 2))
    except csv.Error:
        return None
    if not whole and len(rows) < MAX_ROWS + 2:
        rows = rows[:-1]  # it may go on
    return (rows[0], rows[1:]) if rows and len(rows[0]) > 1 else None


def _split(text: str) -> _Cells | None:
    """A table as pandas writes it with `orient="split"`, and MLflow's `log_table` with it."""
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not {"columns", "data"} <= found.keys() <= {"columns", "data", "index"}:
        return None
    columns, data = found["columns"], found["data"]
    if not isinstance(columns, list) or not isinstance(data, list) or not all(isinstance(row, list) for row in data):
        return None
    return [_cell(one) for one in columns], [[_cell(one) for one in row] for row in data[: MAX_ROWS + 1]]


def _cell(value: Any) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "…"


def _table(header: list[str], rows: list[list[str]], *, size: int, left: int) -> Preview:
    widest = max(map(len, [header, *rows[:MAX_ROWS]]))
    return Preview(
        shows="table",
        size=size,
        left=left,
        header=_clipped(header),
        rows=tuple(_clipped(row) for row in rows[:MAX_ROWS]),
        more_rows=len(rows) > MAX_ROWS or left > 0,
        more_columns=max(widest - MAX_COLUMNS, 0),
    )


def _clipped(row: list[str]) -> tuple[str, ...]:
    return tuple(cell if len(cell) <= MAX_CELL else cell[: MAX_CELL - 1] + "…" for cell in row[:MAX_COLUMNS])
