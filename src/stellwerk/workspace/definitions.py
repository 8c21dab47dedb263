"""Where in the repository the functions of steps are defined, for whoever shows results beside the code."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from stellwerk.governance.change.sarif import Place
from stellwerk.workspace.adapters import git_state

MAX_SOURCE = 4 << 20


def places(home: Path, functions: Iterable[str]) -> dict[str, Place]:
    """By `module:qualname`; what is not found among the files of the project is left out."""
    home = home.resolve()
    top = (git_state.root(home) or home).resolve()
    found: dict[str, Place] = {}
    for function in dict.fromkeys(functions):
        module, _, name = function.partition(":")
        file = home.joinpath(*module.split(".")).with_suffix(".py")
        line = _line(file, name) if all(part.isidentifier() for part in module.split(".")) else 0
        if line and file.resolve().is_relative_to(top):
            found[function] = Place(path=file.resolve().relative_to(top).as_posix(), line=line)
    return found


def otherwise(home: Path, file: str) -> Place:
    """The first line of a file of the project."""
    home = home.resolve()
    top = (git_state.root(home) or home).resolve()
    place = home / file
    return Place(path=place.relative_to(top).as_posix() if place.is_relative_to(top) else file)


def _line(file: Path, name: str) -> int:
    try:
        if file.stat().st_size > MAX_SOURCE:
            return 0
        tree = ast.parse(file.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return 0
    defined = (ast.FunctionDef, ast.AsyncFunctionDef)
    return next((node.lineno for node in ast.walk(tree) if isinstance(node, defined) and node.name == name), 0)
