"""What the text of a notebook's cells or of a script says: parameters, and the history of what was executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_TEXT = 250
MAX_ITEMS = 20
_SECRET = re.compile(r"passw|secret|token|credential|api_?key|private|auth", re.IGNORECASE)
"""In the name of a constant whose value is nobody's business."""
_LOGIN = re.compile(r"//[^/@\s]+:[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell that was executed.

    Attributes:
        number: Counts the cells that were executed.
        shown: The number that a front end shows; 0 where none does, or not yet.
        status: `running` until it ended as `finished`, `failed` or `interrupted`.
    """

    number: int
    text: str
    status: str = "running"
    error: str = ""
    shown: int = 0


def constants(text: str) -> dict[str, Any]:
    """Names that the top level of a program gives plain values, the last one where it gives several.

    Numbers, short texts, booleans, None and short flat lists of these count. Names that begin with an underscore do
    not, nor do names and texts that look as if they held a secret. What is no Python says nothing.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, Any] = {}
    for statement in body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        plain = _plain(value)
        for target in targets:
            if isinstance(target, ast.Name):
                found.pop(target.id, None)
                if plain is not None and not target.id.startswith("_") and not _SECRET.search(target.id):
                    found[target.id] = plain[0]
    return found


def presentable(name: str, value: object) -> bool:
    """Whether a value may be shown under a name: nothing that looks like a secret."""
    return not _SECRET.search(name) and not (isinstance(value, str) and _LOGIN.search(value))


def _plain(node: ast.expr) -> tuple[Any] | None:
    """The value of an expression that is one, in a tuple, so that None is a value too."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    if isinstance(value, (list, tuple)):
        good = len(value) <= MAX_ITEMS and all(_simple(item) for item in value)
        return ([*value],) if good else None
    return (value,) if _simple(value) else None


def _simple(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT and value.isprintable() and not _LOGIN.search(value)
    return value is None or isinstance(value, (bool, int, float))


def words(text: str) -> list[str]:
    """Everything in a text that could be a name."""
    return re.findall(r"[^\W\d]\w*", text)


def history(cells: Iterable[Cell]) -> str:
    """Executed cells in their order, as a Python file whose parts editors know as cells."""
    parts = []
    for cell in cells:
        mark = "" if cell.status == "finished" else f" {cell.status}" + (f": {cell.error}" if cell.error else "")
        parts.append(f"# %% [{cell.shown or cell.number}]{mark}\n{cell.text.rstrip()}\n")
    return "\n".join(parts)
