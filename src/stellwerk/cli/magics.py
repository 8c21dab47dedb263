"""`%stellwerk` in a notebook: the commands of the command line, and `%%stellwerk step`, which makes a step of a cell."""

from __future__ import annotations

import argparse
import ast
import runpy
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stellwerk.cli import exits
from stellwerk.cli.main import root
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid, StellwerkError
from stellwerk.pipelines import notebooks, promoting
from stellwerk.pipelines.authoring import Step
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.values import STANDARD
from stellwerk.workspace import codecs
from stellwerk.workspace.recording import cells, origin, starting

NAME = "stellwerk"
LASTING = ("up", "serve")
"""Commands that go on until they are stopped, which a cell cannot be for."""


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext stellwerk`; `import stellwerk.auto` does it as well."""
    shell.register_magic_function(lambda line, cell=None: magic(shell, line, cell), "line_cell", NAME)


def magic(shell: Any, line: str, cell: str | None = None) -> None:
    """`%stellwerk COMMAND …`, or `%%stellwerk step NAME` on top of a cell. Errors are said, and not raised."""
    try:
        words = shlex.split(line)
        with starting.paused():
            if cell is not None:
                _cell(shell, words, cell)
            else:
                _line(words)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 - the rim: every error becomes a message here
        exits.report(error, as_json=False)


def _line(words: list[str]) -> None:
    if words and words[0] in LASTING:
        raise Invalid(
            f"`stellwerk {words[0]}` goes on until it is stopped", code="usage", hint="start it in a terminal"
        )
    root().main(words or ["--help"], prog_name="%stellwerk", standalone_mode=False, obj=Session())


class _Words(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise Invalid(message, code="usage", hint="%%stellwerk step NAME [--kind KIND] [--file FILE] [--outputs A,B]")


def _cell(shell: Any, words: list[str], cell: str) -> None:
    parser = _Words(prog="%%stellwerk step", add_help=False)
    parser.add_argument("what", choices=["step"])
    parser.add_argument("name")
    parser.add_argument("--kind", default="step")
    parser.add_argument("--file", type=Path, default=Path("steps.py"))
    parser.add_argument("--outputs", default="")
    parser.add_argument("--replace", action="store_true")
    asked = parser.parse_args(words)
    promote(
        shell.user_ns,
        cell,
        name=asked.name,
        kind=asked.kind,
        file=asked.file,
        outputs=tuple(one.strip() for one in asked.outputs.split(",") if one.strip()),
        before=[text for text in shell.user_ns.get("In", ())[:-1] if text],
        replace=asked.replace,
    )


def promote(
    names: dict[str, Any],
    cell: str,
    *,
    name: str,
    kind: str,
    file: Path,
    outputs: tuple[str, ...],
    before: list[str],
    replace: bool,
) -> None:
    """Write a cell as a step into a file, show it, and run it for the notebook, whose names get what it gives.

    Raises:
        Invalid: `cell-not-traceable`, with what is in the way; `unsupported-value`: a step cannot give that on.
    """
    plain: dict[str, Any] = {}
    for text in before:
        plain |= cells.constants(text)
    known = {
        one for one in names if not one.startswith("_") and one not in ("In", "Out", "exit", "quit", "get_ipython")
    }
    outputs = outputs or _wanted(cell, names)
    made = promoting.draft(
        cell,
        name=name,
        kind=kind,
        before=before,
        known=known,
        constants={one: value for one, value in plain.items() if one in names and _same(names[one], value)},
        outputs=outputs,
    )
    accepted = STANDARD.with_first(codecs.MODEL)
    for one in made.inputs:
        accepted.encode(names[one], step=f"cell before {name}, {one}")
    old = file.read_text("utf-8") if file.is_file() else ""
    text = promoting.merged(old, made, replace=replace)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    try:
        given = _tried(file, name, made, names, accepted)
    except BaseException:
        if old:
            file.write_text(old, "utf-8")
        else:
            file.unlink(missing_ok=True)
        raise
    names.update(given)
    print(f"# {file}\n{made.text}")


def _tried(file: Path, name: str, made: promoting.Draft, names: Mapping[str, Any], accepted: Any) -> dict[str, Any]:
    """Import the file as it is now, and run the step with the values of the notebook."""
    sys.path.insert(0, str(file.parent.absolute()))
    try:
        step = runpy.run_path(str(file), run_name=file.stem)[name]
    finally:
        sys.path.pop(0)
    if not isinstance(step, Step):
        raise Invalid(f"{name} in {file} is no step", code="cell-not-traceable")
    closure(step)  # refuses what no step key could be made of
    returned = step.function(**{one: names[one] for one in made.inputs})
    given = {made.outputs[0]: returned} if len(made.outputs) == 1 else dict(returned or {})
    for one, value in given.items():
        try:
            accepted.encode(value, step=f"{name}.{one}")
        except StellwerkError as problem:
            if hasattr(value, "get_params"):
                problem.hint = "sw.fit(estimator, table, target=…) gives a model that can be passed on"
            raise
    return given


def _wanted(cell: str, names: Mapping[str, Any]) -> tuple[str, ...]:
    """What the cells behind this one read of what it makes; else what it shows at its end, or the only thing it makes."""
    found = promoting.flow(cell)
    made = [one for one in found.makes if not one.startswith("_")]
    path = origin.notebook(names, {**starting.environment_of_front_end()})
    if path is not None:
        later = _later(path, cell)
        used = [one for one in made if one in later]
        if used:
            return tuple(used)
    last = ast.parse(cell).body[-1] if cell.strip() else None
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Name) and last.value.id in made:
        return (last.value.id,)
    if len(made) > 1:
        raise Invalid(
            f"the cell makes {', '.join(made)}: which of these does the step give?",
            code="cell-not-traceable",
            hint=f"--outputs {','.join(made)}",
        )
    return tuple(made)


def _later(path: Path, cell: str) -> set[str]:
    """Names that the cells behind a cell read, as the notebook was saved."""
    read: set[str] = set()
    behind = False
    for one in notebooks.read(path.read_bytes(), path.name):
        if behind:
            try:
                read |= set(promoting.flow(one.text).reads)
            except Invalid:
                read |= set(cells.words(one.text))
        behind = behind or (cell.strip() != "" and one.text.strip().endswith(cell.strip()))
    return read


def _same(value: object, constant: object) -> bool:
    """Whether a variable still has the value that a cell wrote."""
    return type(value) is type(constant) and value == constant
