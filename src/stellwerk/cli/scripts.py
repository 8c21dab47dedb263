"""`stellwerk run FILE`: notebooks and marimo files as pipelines of one step, other scripts recorded as they are."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stellwerk.cli.session import PROJECT, Session
from stellwerk.core import names
from stellwerk.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from stellwerk.pipelines.authoring import Pipeline

Kind = Literal["notebook", "marimo", "pipeline", "script"]
ENDINGS = (".ipynb", ".py")
_MARIMO = re.compile(r"^\s*app\s*=\s*marimo\.App\(", re.MULTILINE)


def kind_of(file: Path) -> Kind:
    """What a file holds, by its name and text: nothing of it is run. Raises `NotFound`, or `Invalid` for no Python."""
    if not file.is_file():
        raise NotFound(f"there is no file {file.name!r}", code="no-such-file", hint="name it by its path")
    if file.suffix == ".ipynb":
        return "notebook"
    text, tree = _parsed(file)
    if _MARIMO.search(text):
        return "marimo"
    marks = (mark for node in tree.body if isinstance(node, ast.FunctionDef) for mark in node.decorator_list)
    return "pipeline" if any("pipeline" in ast.unparse(mark) for mark in marks) else "script"


def pipeline(file: Path) -> Pipeline:
    """A pipeline whose only step is a notebook; its parameters are what the notebook sets to plain values."""
    from stellwerk.pipelines.authoring import Pipeline
    from stellwerk.pipelines.authoring.notebooks import marimo, notebook

    home = _home(file)
    path = file.resolve().relative_to(home).as_posix()
    if file.suffix == ".ipynb":
        defaults, outputs = _of_notebook(file)

        def plan(**given: Any) -> Any:
            return dict(notebook(path, params=_changed(given, defaults), outputs=outputs, folder=home))
    else:
        defaults = _of_marimo(_parsed(file)[1])

        def plan(**given: Any) -> Any:
            return marimo(path, params=_changed(given, defaults))

    return Pipeline(_with_signature(plan, defaults), names.slug(file.stem))


def record(session: Session, file: Path, given: Iterable[str]) -> int:
    """Run a script by itself and record it; parameters become its options: `-p depth=6` is `--depth=6`."""
    place = session.place if session.remote or not session.place else str(Path(session.place).absolute())
    environment = {**os.environ, **({"STELLWERK_ROOT": place} if place else {})}
    command = [sys.executable, "-m", "stellwerk.auto", str(file), *(f"--{item}" for item in given)]
    return subprocess.run(command, env=environment, check=False).returncode


def _of_notebook(file: Path) -> tuple[dict[str, Any], list[str]]:
    """What a notebook sets to plain values, and what it gives."""
    from stellwerk.pipelines import notebooks
    from stellwerk.workspace.recording.cells import constants

    cells = notebooks.read(notebooks.load(file), file.name)
    settable = notebooks.settable(cells)
    plain: dict[str, Any] = {}
    for cell in cells:
        found = constants(cell.text)
        plain |= {name: value for name, value in found.items() if settable.get(name) == cell.place}
    return plain, notebooks.given_outputs(cell.text for cell in cells)


def _of_marimo(tree: ast.Module) -> dict[str, Any]:
    """What cells of a marimo file set to plain values."""
    from stellwerk.workspace.recording.cells import constants

    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any("cell" in ast.unparse(mark) for mark in node.decorator_list):
            found |= constants("\n".join(ast.unparse(one) for one in node.body if not isinstance(one, ast.Return)))
    return found


def _changed(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What is given other than the notebook itself has it."""
    return {name: value for name, value in given.items() if value != defaults[name]}


def _with_signature(plan: Callable[..., Any], defaults: Mapping[str, Any]) -> Callable[..., Any]:
    """The function with these parameters, of the types that their defaults have."""
    plain = (bool, int, float, str)
    plan.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=value,
                annotation=type(value) if type(value) in plain else inspect.Parameter.empty,
            )
            for name, value in defaults.items()
        ]
    )
    return plan


def _home(file: Path) -> Path:
    """The folder of the project that a file lies in."""
    from stellwerk.workspace.layout import FOLDER

    here = file.resolve().parent
    marks = (f"{FOLDER}/format.json", PROJECT)
    return next((one for one in (here, *here.parents) if any((one / mark).is_file() for mark in marks)), here)


def _parsed(file: Path) -> tuple[str, ast.Module]:
    try:
        text = file.read_text("utf-8")
        return text, ast.parse(text)
    except (SyntaxError, ValueError) as cause:
        raise Invalid(f"{file.name} is no Python: {cause}", code="pipeline-not-loadable") from cause
