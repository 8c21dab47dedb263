"""The steps that come with Stellwerk: data, contracts, splits, gates, evaluation, files and commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from stellwerk.core import names
from stellwerk.core.arguments import bound
from stellwerk.core.clock import format_instant
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.authoring.building import builtin
from stellwerk.pipelines.authoring.steps import step_options, whole
from stellwerk.pipelines.commands import PLACE
from stellwerk.pipelines.model import SINGLE, Ref
from stellwerk.pipelines.parameters import mapping, texts


@bound
def dataset(name: str, *, version: int | None = None, as_of: datetime | None = None) -> Any:
    """A version of a registered dataset: this one, or the newest at a time, or the newest at the time of execution."""
    names.name(name, what="dataset name")
    if version is not None:
        whole("version", version, 2**53 - 1)
    if version is not None and as_of is not None:
        raise Invalid("give a version or a time, not both", code="version-and-time")
    at = {} if as_of is None else {"as_of": format_instant(as_of)}
    return builtin("dataset", f"dataset:{name}", "input", {"name": name, "version": version, **at}, {})


def contract(name: str, **options: Any) -> Callable[[Any], Any]:
    """A step that checks a table against the data contract of this name and passes on what fulfils it."""
    names.name(name, what="contract name")
    params = {"name": name, **options}
    return lambda table: builtin("contract", f"contract:{name}", "validate", params, {"table": table})


@bound
def evaluate(model: Any, table: Any, *, baseline: Any = None) -> Any:
    """A step that measures a model (one, or one per seed) on a selection table and chooses the best.

    Args:
        baseline: A simpler model, chosen where the others are not better.
    """
    inputs = {"model": model, "table": table} | ({} if baseline is None else {"baseline": baseline})
    return builtin("evaluate", "evaluate", "evaluate", {}, inputs)


@bound
def split(table: Any, *, target: str, time: str = "", entity: Sequence[str] = (), exclude: Sequence[str] = ()) -> Any:
    """A step that cuts a table into `train`, `select` and `gate` without leaks, and reports what it looked for.

    With `time` the gate lies strictly after training; otherwise rows go by a hash of the entity, or of the whole row,
    and never move when others come.

    Args:
        entity: Columns that name what a row is about; one entity is never on both sides.
        exclude: Columns that are no inputs of a model and so cannot leak.
    """
    params = {
        "target": target,
        "time": time,
        "entity": list(texts("entity", entity)),
        "exclude": list(texts("exclude", exclude)),
    }
    return builtin("split", "split", "split", params, {"table": table}, ("train", "select", "gate", "report"))


@bound
def gate(table: Any, *, name: str, target: str, task: str = "") -> Any:
    """A step that seals a table as the gate set of this name: the labels in `target` open only to a proof.

    Args:
        task: binary, multiclass or regression; found from the labels by default.
    """
    names.name(name, what="gate set name")
    params = {"name": name, "target": target} | ({"task": task} if task else {})
    return builtin("gate", f"gate:{name}", "gate", params, {"table": table})


@bound
def file(path: str) -> Any:
    """A file of the project, as it is when the plan is executed: its content, not its name, is part of step keys.

    Args:
        path: Relative to the folder of the workspace, with slashes.
    """
    return builtin("file", f"file:{_inside(path)}", "input", {"path": path}, {})


@bound
def command(
    name: str,
    *argv: str,
    files: Sequence[str] = (),
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    kind: str = "step",
    retries: int = 0,
    timeout: str = "",
    **options: Any,
) -> Any:
    """A step that runs an executable in a folder of its own.

    In the arguments `{name}` stands for a parameter given in `options`, or for the path of an input or output of this
    name. The folder holds the `files` under their paths. What the command prints is the log of the step; a status other
    than 0 fails it.

    Args:
        argv: The executable and its arguments; no shell reads them.
        files: Files of the project that the command needs, such as `train.py`.
        inputs: Outputs of steps by name; the command finds each as a file (tables as Parquet, data as JSON).
        outputs: By name the paths, relative to its folder, of files that the command writes. Without any, the step
            gives what it prints as text.
        environ: Variables of its environment, besides the ones that a program needs to start.
        options: Further options of `@step` (`resources`, `backoff`, `cache`, `priority`, `environment`); anything else
            is a parameter for the arguments.
    """
    names.name(name, what="step name")
    if not argv:
        raise Invalid(f"command {name!r} has no executable", code="missing-argument")
    step, params = step_options({"kind": kind, "retries": retries, "timeout": timeout}, options)
    written = {_argument(key): _inside(path) for key, path in mapping("outputs", outputs).items()}
    given: dict[str, Any] = {_argument(key): ref for key, ref in mapping("inputs", inputs).items()}
    for text in argv:
        _check_argument(name, text, {*given, *written, *params})
    paths = [_inside(path) for path in texts("files", files)]
    given |= {f"files[{number}]": file(path) for number, path in enumerate(paths)}
    variables = _variables(environ)
    body = {"argv": list(argv), "params": params, "outputs": written, "environ": variables, "paths": paths}
    return builtin("command", name, step.pop("kind"), body, given, tuple(written) or (SINGLE,), **step)


def _variables(environ: object) -> dict[str, str]:
    variables = mapping("environ", environ)
    for key, value in variables.items():
        if not isinstance(value, str):
            raise Invalid(f"environ has {key!r} as {value!r} (expected text)", code="wrong-type")
    return variables


def _check_argument(name: str, text: object, known: set[str]) -> None:
    if not isinstance(text, str):
        raise Invalid(f"command {name!r} has the argument {text!r} (expected text)", code="wrong-type")
    for used in PLACE.findall(text):
        if used not in known:
            raise Invalid(
                f"command {name!r} uses {{{used}}} in {text!r} (it has {', '.join(sorted(known)) or 'nothing'})",
                code="unknown-argument",
                hint="give it as a parameter, an input or an output",
            )


def _argument(name: str) -> str:
    if not name.isidentifier() or name in _OWN:
        raise Invalid(
            f"{name!r} is no name for an input or output (expected an identifier, and none of {', '.join(_OWN)})",
            code="wrong-arguments",
        )
    return name


_OWN = ("argv", "params", "outputs", "environ", "paths", "files")


def _inside(path: object) -> str:
    pure = PurePosixPath(path) if isinstance(path, str) else None
    if pure is None or not path or pure.is_absolute() or ".." in pure.parts or "\\" in str(path):
        raise Invalid(
            f"{path!r} is no path inside the project (expected such as 'scripts/train.py')", code="invalid-path"
        )
    return str(pure)


def either(*values: Any) -> Any:
    """Whichever of these was computed, the first if several were: the end of branches that exclude each other."""
    if len(values) < 2 or not all(isinstance(value, Ref) for value in values):
        raise Invalid(f"either got {values!r} (expected two or more outputs of steps)", code="wrong-arguments")
    return builtin("either", "either", "either", {}, {f"values[{n}]": ref for n, ref in enumerate(values)})
