"""Pipelines as named on a command line: finding the file and the pipeline, reading `-p name=value`, planning."""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stellwerk.cli import scripts
from stellwerk.core import canonical
from stellwerk.core.errors import Invalid, NotFound, StellwerkError

if TYPE_CHECKING:
    from stellwerk.cli.session import Session
    from stellwerk.pipelines.authoring import Pipeline
    from stellwerk.pipelines.model import Plan
    from stellwerk.releases.declaration import Project
    from stellwerk.workspace.facade import Workspace

C = TypeVar("C", bound=Callable[..., Any])

_WORDS = {"True": True, "False": False, "None": None}
_SIMPLE = {"int", "float", "str", "bool", "None"}

option = click.option(
    "-p", "--param", multiple=True, metavar="NAME=VALUE", help="A parameter of the pipeline; may be repeated."
)
"""Parameters, as they were typed."""


def pipeline(command: C) -> C:
    """What names a pipeline and its parameters: an argument, `--param` and `--file`."""
    file = click.option(
        "--file", type=click.Path(path_type=Path), help="The pipeline file, instead of the project's."
    )
    return click.argument("pipeline", required=False, default="")(option(file(command)))


def place(session: Session, project: Project | None, file: Path | None) -> Path:
    """The file in which the pipeline is: this one, or the project's."""
    return file or session.home() / (project.pipeline if project else "pipeline.py")


def find(file: Path, name: str) -> Pipeline:
    """The pipeline of a name in a file, or its only one. Raises `NotFound`, or `Invalid` where a name is needed."""
    from stellwerk.pipelines.loading import find_pipelines, load

    if not file.is_file():
        raise NotFound(
            f"there is no pipeline file {file.name!r}",
            code="no-such-file",
            hint="write one, or name it: --file FILE, or `pipeline` in stellwerk.toml",
        )
    if file.suffix == ".ipynb" or (file.suffix == ".py" and scripts.kind_of(file) == "marimo"):
        return scripts.pipeline(file)
    # What a file prints while it is imported is talk; stdout is for data.
    with contextlib.redirect_stdout(sys.stderr):
        found = find_pipelines(load(file))
    if not found:
        raise NotFound(
            f"{file.name} defines no pipeline", code="no-pipeline", hint="write a function with @sw.pipeline"
        )
    if name and name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        raise NotFound(
            f"{file.name} defines no pipeline {name!r} (it defines {', '.join(found)})",
            code="unknown-pipeline",
            hint=f"did you mean {near[0]!r}?" if near else "name one of these",
        )
    if not name and len(found) > 1:
        raise Invalid(
            f"{file.name} defines {len(found)} pipelines: {', '.join(found)}",
            code="which-pipeline",
            hint=f"`stellwerk run {next(iter(found))}`",
        )
    return found[name or next(iter(found))]


def there(file: Path, name: str) -> bool:
    """Whether a file defines a pipeline; nobody can tell where there is no such file yet, or it cannot be imported here.

    Raises:
        NotFound: `unknown-pipeline`, with what the file defines.
    """
    try:
        return file.is_file() and bool(find(file, name))
    except Invalid:
        return False


def known(session: Session, workspace: Workspace, names: Iterable[str]) -> None:
    """Refuse pipelines that the project's file does not define and that never ran here: another project may have them."""
    file = place(session, session.project(), None)
    for name in names:
        if not workspace.executions(pipeline=name, limit=1):
            there(file, name)


def plan(pipeline: Pipeline, given: Iterable[str]) -> Plan:
    """Plan a pipeline with parameters as they were typed. What its own code raises becomes `Invalid`."""
    from stellwerk.pipelines.tracebacks import user_traceback

    values = read(pipeline, given)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return pipeline.plan(**values)
    except StellwerkError:
        raise
    except Exception as cause:  # planning runs the user's code, which may raise anything
        raise Invalid(
            f"pipeline {pipeline.name!r} cannot be planned:\n{user_traceback(cause)}", code="pipeline-not-plannable"
        ) from cause


def read(pipeline: Pipeline, given: Iterable[str]) -> dict[str, Any]:
    """Parameters by name, each read as its annotation says."""
    declared = pipeline.signature.parameters
    return {
        # An unknown name is left to the pipeline, which knows the nearest one.
        name: value(pipeline.name, name, text, _kinds(declared, name)) if name in declared else text
        for name, text in texts(given).items()
    }


def texts(given: Iterable[str]) -> dict[str, str]:
    """Parameters by name, as they were typed."""
    found: dict[str, str] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise Invalid(f"{item!r} is no parameter (expected NAME=VALUE)", code="usage", hint="-p depth=6")
        if name in found:
            raise Invalid(f"parameter {name!r} is given twice", code="usage", hint="give it once")
        found[name] = text
    return found


def value(pipeline: str, name: str, text: str, kinds: set[str]) -> Any:
    """One value. Without annotation JSON is tried first, and what is no JSON is text."""
    if kinds == {"str"}:
        return text
    if text in _WORDS:
        return _WORDS[text]
    try:
        return canonical.loads(text)
    except Invalid as cause:
        if not kinds or "str" in kinds:
            return text
        expected = " or ".join(sorted(kinds))
        raise Invalid(
            f"parameter {name!r} of {pipeline} is {text!r} (expected {expected})",
            code="wrong-type",
            hint=f"-p {name}={_EXAMPLES[min(kinds - {'None'}, default='None')]}",
        ) from cause


_EXAMPLES = {"bool": "true", "float": "0.5", "int": "6", "None": "null"}


def _kinds(declared: Mapping[str, Any], name: str) -> set[str]:
    """The simple types that a parameter is declared with; nothing where it says more than that, or nothing."""
    parameter = declared[name]
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return {"str"} if isinstance(parameter.default, str) else set()
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") or str(annotation)
    if not isinstance(annotation, (str, type)):
        text = str(annotation)
    found = {part.strip() for part in text.strip("'\"").split("|")}
    return found if found <= _SIMPLE else set()
