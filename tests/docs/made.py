"""The parts of the documentation that are made from the code: tables between `<!-- made: NAME -->` and `<!-- end -->`.

Run `python tests/docs/made.py` after changing a command, an operation, a setting, a limit, a policy or a metric; a
test holds pages and code in step.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

import stellwerk
from stellwerk.cli.catalogue import SECTIONS
from stellwerk.cli.main import SETTINGS as CLI_SETTINGS
from stellwerk.cli.main import root
from stellwerk.evidence.metrics import METRICS, PROPER
from stellwerk.pipelines.machine import VARIABLES
from stellwerk.releases.policies import POLICIES
from stellwerk.serving.model import LIMITS, Limits
from stellwerk.web.doors import mlflow
from stellwerk.web.routing import OPEN, matrix
from stellwerk.workspace import facade, settings
from stellwerk.workspace import operations as ops
from stellwerk.workspace.nouns import data, grants, models, steps, triggers, webhooks

DOCS = Path(__file__).resolve().parents[2] / "docs"
_PART = re.compile(r"(<!-- made: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def parts(text: str) -> list[tuple[str, str]]:
    """Name and content of each made part of a page."""
    return [(match[2], match[3]) for match in _PART.finditer(text)]


def renewed(text: str) -> str:
    """A page with its made parts made anew."""
    return _PART.sub(lambda match: match[1] + MAKERS[match[2]]() + match[4], text)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    names = list(header)
    lines = [names, ["---"] * len(names), *map(list, rows)]
    return "".join(f"| {' | '.join(_cell(item) for item in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# The command line


def cli() -> str:
    """Every command with its arguments, options and examples."""
    lines: list[str] = []
    for title, section in SECTIONS.items():
        lines += [f"## {title}", ""]
        for name in section:
            command = root().get_command(click.Context(root()), name)
            if command is None:
                raise SystemExit(f"the catalogue names {name}, but there is no such command")
            lines += _command(command, f"stellwerk {name}", 3)
    return "\n".join(lines).rstrip() + "\n\n"


def _command(command: click.Command, path: str, level: int) -> Iterator[str]:
    context = click.Context(command, info_name=path, **_known(CLI_SETTINGS))
    yield from (f"{'#' * level} `{path}`", "")
    yield from _help(command)
    own = [item for item in command.get_params(context) if not _shared(item)]
    if not isinstance(command, click.Group):
        yield from ("```text", f"{path} {' '.join(command.collect_usage_pieces(context))}".rstrip(), "```", "")
    options = [item for item in own if isinstance(item, click.Option)]
    if options:
        rows = [(_names(option), _said(option), f"`{_twin(path, option)}`") for option in options]
        yield from (*table(("option", "meaning", "in the environment"), rows).splitlines(), "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _command(inner, f"{path} {name}", level + 1)


def _known(kept: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kept.items() if name == "help_option_names"}


def _shared(item: click.Parameter) -> bool:
    return bool({"--workspace", "--json", "--help", "--version"} & set(item.opts))


def _help(command: click.Command) -> Iterator[str]:
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            title, *examples = paragraph.replace("\b\n", "").split("\n")
            yield from (title, "", "```text", *(line.removeprefix("  ") for line in examples), "```", "")
        else:
            yield from (" ".join(paragraph.split()), "")


def _names(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(click.Command('')))}"
    names = [*option.opts, *option.secondary_opts]
    return ", ".join(f"`{name}{value if name.startswith('--') else ''}`" for name in names)


def _said(option: click.Option) -> str:
    text = option.help or ""
    notes = ["required"] if option.required else []
    if option.show_default and option.default is not None:
        notes.append(f"default: `{option.default}`")
    return f"{text.rstrip('.')} ({'; '.join(notes)})." if notes else text


def _twin(path: str, option: click.Option) -> str:
    words = [*path.split(), option.name or ""]
    return "_".join(words).upper().replace("-", "_")


# Python


def facade_reference() -> str:
    """The exported names, and the methods of a workspace."""
    lines = ["## Names of the package", ""]
    rows = [(f"`sw.{name}`", _first(getattr(stellwerk, name))) for name in stellwerk.__all__ if name[0] != "_"]
    lines += table(("name", "what it is"), rows).splitlines()
    for title, kind, prefix in (
        ("Workspace", facade.Workspace, "workspace"),
        ("Datasets", data.Data, "workspace.data"),
        ("Models", models.Models, "workspace.models"),
        ("Steps", steps.Steps, "workspace.steps"),
        ("Triggers", triggers.Triggers, "workspace.triggers"),
        ("Webhooks", webhooks.Webhooks, "workspace.webhooks"),
        ("Grants", grants.Grants, "workspace.grants"),
    ):
        lines += ["", f"## {title}", "", _first(kind), ""]
        for name, function in vars(kind).items():
            if not name.startswith("_") and inspect.isfunction(function):
                lines += _function(f"{prefix}.{name}", function)
    lines += ["", "## Frameworks", "", _first(stellwerk.integrations), ""]
    for name in stellwerk.integrations.__all__:
        lines += _function(f"sw.integrations.{name}", getattr(stellwerk.integrations, name))
    return _bulleted("\n".join(lines)).rstrip() + "\n\n"


def _function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    yield from (f"### `{name}`", "", "```text", f"{name}{_signature(function)}", "```", "")
    yield from (inspect.cleandoc(function.__doc__ or "").replace("\n\nRaises:\n", "\n\nRaises:\n\n"), "")


def _bulleted(text: str) -> str:
    """Indented lines of docstrings as lists."""
    return re.sub(r"^    (?=\S)", "- ", text, flags=re.MULTILINE)


def _first(thing: object) -> str:
    text = inspect.getdoc(thing) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _signature(function: Callable[..., Any]) -> str:
    parts: list[str] = []
    found = inspect.signature(function)
    for name, item in found.parameters.items():
        if name == "self":
            continue
        if item.kind is item.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        shown = item.default.__name__ if inspect.isfunction(item.default) else repr(item.default)
        default = "" if item.default is item.empty else f" = {shown}"
        parts.append(f"{name}: {item.annotation}{default}")
    return f"({', '.join(parts)}) -> {found.return_annotation}"


# The control plane


def operations() -> str:
    """Every operation of the control plane."""
    rows = [
        (
            f"`{name}`",
            f"`{found.permission}`",
            "yes" if found.changes else "",
            ", ".join(_argument(argument, kind, default) for argument, (kind, default) in found.arguments.items()),
            f"`{_type(found.answer)}`",
            found.summary,
        )
        for name, found in sorted(ops.table().items())
    ]
    return table(("operation", "permission", "changes", "arguments", "answer", "what it does"), rows)


def _argument(name: str, kind: Any, default: Any) -> str:
    text = f"`{name}`: `{_type(kind)}`"
    return text if default is inspect.Parameter.empty else f"{text} = `{default!r}`"


def _type(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(repr(item) for item in inner)
    if origin is None:
        return "null" if kind is type(None) else str(getattr(kind, "__name__", kind))
    if origin in (dict, tuple, list):
        shown = [_type(item) for item in inner if item is not Ellipsis]
        return f"{origin.__name__}[{', '.join(shown)}]"
    return " or ".join(_type(item) for item in inner)


# Settings, limits, policies, metrics


def settings_table() -> str:
    """The settings of a process, from the one place that reads the environment."""
    tree = ast.parse(Path(settings.__file__).read_text("utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    told = _field_docs(body)
    rows = [
        (
            f"`STELLWERK_{field.name.upper()}{'_<NAME>' if _many(field) else ''}`",
            _shown(field.default),
            told[field.name],
        )
        for field in dataclasses.fields(settings.Settings)
    ]
    return table(("variable", "default", "meaning"), rows)


def _many(field: dataclasses.Field[Any]) -> bool:
    """Whether each variable that begins so is one entry of the setting."""
    return field.default_factory is dict


def _field_docs(body: Sequence[ast.stmt]) -> dict[str, str]:
    """The texts that stand below the fields of a class."""
    return {
        field.target.id: str(ast.literal_eval(text.value))
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }


def _shown(default: Any) -> str:
    return {"": "empty", "()": "empty", "False": "off", str(dataclasses.MISSING): "none"}.get(
        str(default), f"`{default}`"
    )


def limits() -> str:
    """What one request may hold."""
    told = _field_docs(typing.cast(ast.ClassDef, ast.parse(inspect.getsource(Limits)).body[0]).body)
    rows = [
        (f"`{field.name}`", f"{getattr(LIMITS, field.name):,}", told.get(field.name, ""))
        for field in dataclasses.fields(LIMITS)
    ]
    return table(("limit", "value", "note"), rows)


def policies() -> str:
    """The policies that exist."""
    rows = [
        (
            f"`{name}{'(KIND, …)' if policy.demands('steps') else ''}`",
            ", ".join(f"{item.evidence} ({item.max_age.days} d)" for item in policy.requirements),
            ", ".join(f"{risk} {days} d" for risk, days in policy.lease_cap.items()),
        )
        for name, policy in POLICIES.items()
    ]
    return table(("policy", "evidence it demands, and how old it may be", "longest lease by risk"), rows)


def metrics() -> str:
    """The metrics that a goal may name."""
    rows = [
        (
            f"`{name}`",
            metric.title,
            "larger" if metric.larger_is_better else "smaller",
            ", ".join(metric.tasks),
            ", ".join(task for task, proper in PROPER.items() if proper == name),
        )
        for name, metric in METRICS.items()
    ]
    return table(("metric", "title", "better is", "tasks", "loss that must beat the constant baseline for"), rows)


def mlflow_calls() -> str:
    """Every call of MLflow's door, without the twins under another root."""
    routes = matrix(mlflow.routes(typing.cast(Any, None), typing.cast(Any, lambda: None)))
    rows = sorted(
        (path, " ".join(sorted(set(methods) - {"HEAD"})), permission)
        for path, methods, permission in routes
        if not path.startswith("/ajax-api") or path.endswith("upload-artifact")
    )
    return table(
        ("Method", "Path", "Permission"),
        (
            (f"`{methods}`", f"`{path}`", permission if permission == OPEN else f"`{permission}`")
            for path, methods, permission in rows
        ),
    )


def variables() -> str:
    """Variables of the environment that a run keeps."""
    return textwrap.fill(", ".join(f"`{name}`" for name in VARIABLES), 118) + "\n"


MAKERS: dict[str, Callable[[], str]] = {
    "cli": cli,
    "facade": facade_reference,
    "limits": limits,
    "metrics": metrics,
    "mlflow": mlflow_calls,
    "operations": operations,
    "policies": policies,
    "settings": settings_table,
    "variables": variables,
}


def main() -> int:
    """Make all parts of all pages anew, and say which pages changed."""
    for page in sorted(DOCS.rglob("*.md")):
        old = page.read_text("utf-8")
        new = renewed(old)
        if new != old:
            page.write_text(new, "utf-8")
            print(page.relative_to(DOCS.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
