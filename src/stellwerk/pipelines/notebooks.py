"""Notebooks as code: the cells of a file, their normal form, and the modules and files of the project that they name.

What counts for step keys is the normal form: code without comments, formatting, outputs and numbers. Lines for IPython
(`%matplotlib inline`, `!ls`) count by their text, and so do whole cells that are no Python (`%%bash`). How
a notebook is executed is elsewhere.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.pipelines import source

MAX_BYTES = 256 << 20
MAX_FILE = 64 << 20
"""Bytes of a file that a notebook names and that is taken along. Larger data are datasets."""
_MAGIC = re.compile(r"^([ \t]*)([%!].*)$", re.MULTILINE)
_STAND_IN = re.compile(r"^([ \t]*)__ipython__\((.*)\)$", re.MULTILINE)
"""A line for IPython, and what stands for it while the rest is read as Python."""
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
        version = document["nbformat"]
        language = document.get("metadata", {}).get("kernelspec", {}).get("language", "python")
        cells = tuple(_code_cells(document["cells"] if version == 4 else ()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise Invalid(f"{name} is no notebook", code="invalid-notebook") from cause
    if version != 4:
        raise Invalid(
            f"{name} is a notebook of format {version!r} (expected 4)",
            code="invalid-notebook",
            hint=f"`jupyter nbconvert --to notebook --nbformat 4 --inplace {name}`",
        )
    if language != "python":
        raise Invalid(f"{name} is a notebook in {language!r} (expected Python)", code="invalid-notebook")
    return tuple(cell for cell in cells if cell.text.strip())


def _code_cells(said: Iterable[Any]) -> Iterator[CodeCell]:
    for place, cell in enumerate(said, 1):
        if cell["cell_type"] == "code":
            tags = frozenset(cell.get("metadata", {}).get("tags", ()))
            yield CodeCell(place=place, text=joined(cell["source"]), tags=tags)


def joined(said: object) -> str:
    """A text of a notebook, which may be a list of lines."""
    if isinstance(said, list):
        return "".join(map(str, said))
    if not isinstance(said, str):
        raise TypeError
    return said


def normal(text: str) -> str:
    """A cell, or a module, in its normal form."""
    if not text.lstrip().startswith("%%"):  # what stands below that is no Python
        for form in (text, _MAGIC.sub(lambda found: f"{found[1]}__ipython__({found[2]!r})", text)):
            with contextlib.suppress(SyntaxError, ValueError):
                return _STAND_IN.sub(_told, ast.unparse(ast.parse(form)))
    return "\n".join(text.splitlines()).strip()


def _told(line: re.Match[str]) -> str:
    return line[1] + str(ast.literal_eval(line[2]))


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


def settable(cells: Iterable[CodeCell]) -> dict[str, int]:
    """Names that a notebook sets to plain values, and so may be given other ones, by the place of their cell.

    These are all of the cell that is tagged `parameters`. Without one, those of cells that do nothing else, and that no
    other cell sets: what is given is put behind that cell, and must not come too late.
    """
    listed = list(cells)
    tagged = next((cell for cell in listed if "parameters" in cell.tags), None)
    if tagged is not None:
        return dict.fromkeys(_assigned(tagged.text), tagged.place)
    found: dict[str, int] = {}
    for cell in listed:
        if _is_plain(cell.text):
            found |= dict.fromkeys(_assigned(cell.text), cell.place)
    counted = Counter(name for cell in listed for name in set(_assigned(cell.text)))
    return {name: place for name, place in found.items() if counted[name] == 1}


def _assigned(text: str) -> list[str]:
    tree = _tree(text)
    nodes = ast.walk(tree) if tree else ()
    return [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _is_plain(text: str) -> bool:
    """Whether a cell only gives names plain values."""
    tree = _tree(text)
    return (
        tree is not None
        and any(isinstance(node, ast.Assign | ast.AnnAssign) for node in tree.body)
        and all(
            isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass))
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or (isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and _is_literal(node.value))
            for node in tree.body
        )
    )


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


def given_outputs(texts: Iterable[str]) -> list[str]:
    """Names that code gives by `sw.output("name", …)`."""
    found: dict[str, None] = {}
    for text in texts:
        tree = _tree(text)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Call) and _is_output(node.func) and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str) and first.value.isidentifier():
                    found[first.value] = None
    return list(found)


def _is_output(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "output"
        and isinstance(node.value, ast.Name)
        and node.value.id in ("sw", "stellwerk")
    )


def prepared(document: Mapping[str, Any], params: Mapping[str, Any], first: str, last: str) -> dict[str, Any]:
    """A notebook without outputs, with a cell before and one behind that are not its own, and its parameters set.

    Cells with parameters are followed by one with the values that are given instead.
    """
    places = settable(read(json.dumps(document).encode(), "notebook"))
    behind: dict[int, list[str]] = {}
    for name, value in params.items():
        behind.setdefault(places[name], []).append(f"{name} = {_spelled(value)}")
    cells: list[dict[str, Any]] = []
    for place, cell in enumerate(document["cells"], 1):
        cells.append(_bare(cell))
        if place in behind:
            cells.append(_cell("\n".join(behind[place]), f"stellwerk-params-{place}", INJECTED))
    return {**document, "cells": [_cell(first, "stellwerk-first", OURS), *cells, _cell(last, "stellwerk-last", OURS)]}


def _spelled(value: Any) -> str:
    """A plain value as Python, infinities and NaN too."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f"float({str(value)!r})"
    return repr(value)


def _bare(cell: dict[str, Any]) -> dict[str, Any]:
    return {**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell


def own(cell: Mapping[str, Any]) -> bool:
    """Whether a cell is the notebook's own, or has its parameters: neither ours nor what papermill says of errors."""
    return not {OURS, "papermill-error-cell-tag"} & set(cell.get("metadata", {}).get("tags", ()))


def executed(document: Mapping[str, Any]) -> bytes:
    """An executed notebook as it is kept: without cells of ours, and without times and paths of this machine."""
    cells = []
    for cell in document["cells"]:
        metadata = dict(cell.get("metadata", {}))
        if own(cell):
            for name in ("papermill", "execution"):
                metadata.pop(name, None)
            cells.append({**cell, "metadata": metadata})
    metadata = {name: value for name, value in document.get("metadata", {}).items() if name != "papermill"}
    kept = {**document, "cells": cells, "metadata": metadata}
    return json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")


OURS, INJECTED = "stellwerk", "injected-parameters"
"""Tags of cells that are not the notebook's own; those with parameters stay in the executed copy."""
