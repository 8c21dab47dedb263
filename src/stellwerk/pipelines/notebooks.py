"""Notebooks as code: the cells of a file, their normal form, and the modules and files of the project that they name.

What counts for step keys is the normal form: code without comments, formatting, outputs and numbers. Cells
with lines for IPython (`%matplotlib inline`, `!ls`) count by their text. How a notebook is executed is elsewhere.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.pipelines import source

MAX_BYTES = 256 << 20
MAX_FILE = 64 << 20
"""Bytes of a file that a notebook names and that is taken along. Larger data are datasets."""
NAMED = 50
"""Files that are taken along because cells name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeCell:
    """A cell of code.

    Attributes:
        place: Counts all cells of the notebook, from 1.
    """

    place: int
    text: str
    tags: frozenset[str] = frozenset()


def read(data: bytes, name: str) -> tuple[CodeCell, ...]:
    """The code of a notebook in Jupyter's format 4. Raises `Invalid` for everything else."""
    try:
        document = json.loads(data)
        if document["nbformat"] != 4:
            raise Invalid(
                f"{name} is a notebook of format {document['nbformat']!r} (expected 4)",
                code="invalid-notebook",
                hint=f"`jupyter nbconvert --to notebook --nbformat 4 --inplace {name}`",
            )
        language = document.get("metadata", {}).get("kernelspec", {}).get("language", "python")
        if language != "python":
            raise Invalid(f"{name} is a notebook in {language!r} (expected Python)", code="invalid-notebook")
        cells = tuple(
            CodeCell(
                place=place, text=joined(cell["source"]), tags=frozenset(cell.get("metadata", {}).get("tags", ()))
            )
            for place, cell in enumerate(document["cells"], 1)
            if cell["cell_type"] == "code"
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise Invalid(f"{name} is no notebook", code="invalid-notebook") from cause
    return tuple(cell for cell in cells if cell.text.strip())


def joined(said: object) -> str:
    """A text of a notebook, which may be a list of lines."""
    if isinstance(said, list):
        return "".join(map(str, said))
    if not isinstance(said, str):
        raise TypeError
    return said


def normal(text: str) -> str:
    """A cell, or a module, in its normal form."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        lines = [line.rstrip() for line in text.splitlines()]
        return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
    return ast.unparse(tree)


def code(cells: Iterable[CodeCell]) -> list[str]:
    """What stands for a notebook in step keys."""
    return [found for cell in cells if (found := normal(cell.text))]


def modules(texts: Iterable[str], folder: Path) -> dict[str, str]:
    """The project's modules that code may import, from its own folder, by path, in their normal form."""
    found: dict[str, str] = {}
    waiting = [(text, "") for text in texts]
    while waiting:
        text, package = waiting.pop()
        tree = _tree(text)
        for module in sorted(source.imports(tree, package)) if tree else ():
            place = _module(module, folder)
            path = place.relative_to(folder).as_posix() if place else ""
            if place is not None and path not in found:
                found[path] = normal(place.read_text("utf-8", "replace"))
                waiting.append((found[path], module if place.name == "__init__.py" else module.rpartition(".")[0]))
    return dict(sorted(found.items()))


def _module(name: str, folder: Path) -> Path | None:
    base = folder.joinpath(*name.split("."))
    places = (base / "__init__.py", base.with_name(base.name + ".py"))
    return next((place for place in places if place.is_file()), None)


def named_files(texts: Iterable[str], folder: Path) -> list[str]:
    """Files below a folder whose relative paths stand in the code as texts. Raises `Invalid` for a large one."""
    found: dict[str, None] = {}
    for text in texts:
        for said in _texts(text):
            pure = PurePosixPath(said)
            if not pure.is_absolute() and ".." not in pure.parts and len(said) < 500 and _is_file(folder / said):
                found[pure.as_posix()] = None
    for path in found:
        size = (folder / path).stat().st_size
        if size > MAX_FILE:
            raise Invalid(
                f"the notebook names {path!r}, which has {size:,} bytes (expected at most {MAX_FILE:,})",
                code="file-too-large",
                hint="keep it as a dataset (`stellwerk data add`), and give it to the notebook as an input",
            )
    return sorted(found)[:NAMED]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file() and path.suffix != ".py"
    except (OSError, ValueError):
        return False


def _texts(text: str) -> Iterator[str]:
    tree = _tree(text)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value and node.value:
            yield node.value


def _tree(text: str) -> ast.Module | None:
    """A cell as Python, without its lines for IPython."""
    lines = ["pass" if line.lstrip()[:1] in ("%", "!", "?") else line for line in text.splitlines()]
    try:
        return ast.parse("\n".join(lines))
    except (SyntaxError, ValueError):
        return None


def load(path: Path) -> bytes:
    """The bytes of a notebook file. Raises `NotFound`, and `Invalid` for one that is too large."""
    if not path.is_file():
        raise NotFound(f"there is no notebook {path.name!r}", code="no-such-file", hint="name it by its path")
    if path.stat().st_size > MAX_BYTES:
        raise Invalid(f"{path.name} is larger than {MAX_BYTES:,} bytes", code="invalid-notebook")
    return path.read_bytes()


def original(cells: list[str], data: bytes, name: str) -> bytes | None:
    """The notebook as it is in a file, if its code is this code; None if it is another by now."""
    try:
        return data if code(read(data, name)) == cells else None
    except Invalid:
        return None


def document(cells: Iterable[str]) -> dict[str, Any]:
    """A notebook of these cells, in Jupyter's format 4."""
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [_cell(text, f"cell-{number}") for number, text in enumerate(cells, 1)],
    }


def _cell(text: str, name: str, *tags: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": name,
        "source": text,
        "metadata": {"tags": list(tags)} if tags else {},
        "outputs": [],
        "execution_count": None,
    }


def prepared(document: Mapping[str, Any], first: str, last: str) -> dict[str, Any]:
    """A notebook without outputs, with a cell before and one behind that are not its own."""
    cells = [_bare(cell) for cell in document["cells"]]
    return {**document, "cells": [_cell(first, "stellwerk-first", OURS), *cells, _cell(last, "stellwerk-last", OURS)]}


def _bare(cell: dict[str, Any]) -> dict[str, Any]:
    return {**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell


def executed(document: Mapping[str, Any]) -> bytes:
    """An executed notebook as it is kept: without cells of ours, and without times and paths of this machine."""
    cells = []
    for cell in document["cells"]:
        metadata = dict(cell.get("metadata", {}))
        if OURS not in metadata.get("tags", ()):
            for name in ("papermill", "execution"):
                metadata.pop(name, None)
            cells.append({**cell, "metadata": metadata})
    metadata = {name: value for name, value in document.get("metadata", {}).items() if name != "papermill"}
    kept = {**document, "cells": cells, "metadata": metadata}
    return json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")


OURS = "stellwerk"
"""Tag of cells that are not the notebook's own."""
