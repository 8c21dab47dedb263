"""The text of a step that does what a cell does, and the file that it is written to."""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import textwrap
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stellwerk.core.errors import Conflict, Invalid
from stellwerk.pipelines import source
from stellwerk.pipelines.promoting.flow import flow

HEAD = '"""Steps that were cells of notebooks."""\n'
OURS = "import stellwerk as sw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A step that was a cell.

    Attributes:
        imports: Statements that its names need.
        helpers: Functions and classes of the notebook that it calls, by name.
        inputs: Its arguments; `defaults` of those whose value is plain and written in the notebook.
    """

    name: str
    text: str
    imports: tuple[str, ...]
    helpers: dict[str, str]
    inputs: tuple[str, ...]
    defaults: dict[str, Any]
    outputs: tuple[str, ...]


def draft(
    cell: str,
    *,
    name: str,
    kind: str,
    before: Sequence[str],
    known: Iterable[str],
    constants: Mapping[str, Any],
    outputs: Sequence[str],
) -> Draft:
    """Make a step of a cell.

    Args:
        before: The cells that ran before, the oldest first.
        known: Names that have a value.
        constants: Plain values that stand in cells, by name; they become defaults.
        outputs: Names of what it gives.

    Raises:
        Invalid: `cell-not-traceable`, with what is in the way; `invalid-name`.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise Invalid(f"{name!r} is no name for a step (expected one of a function)", code="invalid-name")
    found = flow(cell)
    missing = [one for one in outputs if one not in found.makes and one not in found.changes]
    if missing:
        raise Invalid(
            f"the cell makes no {', '.join(missing)} (it makes {', '.join(found.makes) or 'nothing'})",
            code="cell-not-traceable",
            hint="name what it makes: --outputs A,B",
        )
    silent = [one for one in found.changes if one not in outputs]
    parts = _Parts(before, set(known))
    parts.follow(found.reads)
    silent = [one for one in silent if one in parts.inputs]
    if silent:
        raise Invalid(
            f"this cell cannot become a step: it changes {', '.join(silent)} in place, which other cells see",
            code="cell-not-traceable",
            hint=f"work on a copy, or give it on: --outputs {','.join([*outputs, *silent])}",
        )
    inputs = tuple(sorted(parts.inputs, key=lambda one: (one in constants, one)))
    defaults = {one: constants[one] for one in inputs if one in constants}
    return Draft(
        name=name,
        text=_function(cell, name, kind, inputs, defaults, tuple(outputs)),
        imports=tuple(sorted({*parts.imports, OURS})),
        helpers=dict(reversed(parts.helpers.items())),
        inputs=inputs,
        defaults=defaults,
        outputs=tuple(outputs),
    )


class _Parts:
    """Where the names of a cell come from: imports, helpers, and values, which are inputs."""

    def __init__(self, before: Sequence[str], known: set[str]) -> None:
        self._known = known
        self.imports: set[str] = set()
        self.helpers: dict[str, str] = {}
        self.inputs: set[str] = set()
        self._made: dict[str, ast.stmt] = {}
        for text in before:
            for node in _body(text):
                for one in _bound(node):
                    self._made[one] = node

    def follow(self, names: Iterable[str], *, helper: str = "") -> None:
        """Find where names come from, and where the names of helpers do."""
        for name in names:
            node = self._made.get(name)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self.imports.add(_import(node, name))
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                if name not in self.helpers:
                    self.helpers[name] = ast.unparse(node)
                    self.follow(sorted(source.free_names(self.helpers[name])), helper=name)
            elif name in self._known:
                if helper:
                    raise Invalid(
                        f"this cell cannot become a step: {helper} reads the variable {name} of the notebook",
                        code="cell-not-traceable",
                        hint=f"give it to {helper} as an argument",
                    )
                self.inputs.add(name)
            elif name not in _BUILTIN:
                raise Invalid(
                    f"this cell cannot become a step: nothing defines {name}",
                    code="cell-not-traceable",
                    hint="run the cells before it first",
                )


_BUILTIN = frozenset(dir(builtins))


def _body(text: str) -> list[ast.stmt]:
    """The statements of a cell, of which lines for IPython are left out."""
    lines = ["pass" if line.lstrip()[:1] in ("%", "!", "?") else line for line in text.splitlines()]
    try:
        return ast.parse("\n".join(lines)).body
    except SyntaxError:
        return []


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]


def _import(node: ast.Import | ast.ImportFrom, name: str) -> str:
    """The part of an import that gives a name."""
    alias = next(one for one in node.names if (one.asname or one.name).partition(".")[0] == name)
    if isinstance(node, ast.Import):
        return ast.unparse(ast.Import(names=[alias]))
    return ast.unparse(ast.ImportFrom(module=node.module, names=[alias], level=node.level))


def _function(
    cell: str, name: str, kind: str, inputs: Sequence[str], defaults: Mapping[str, Any], outputs: tuple[str, ...]
) -> str:
    options = ([f'kind="{kind}"'] if kind != "step" else []) + (
        [f"outputs={outputs!r}".replace("'", '"')] if len(outputs) > 1 else []
    )
    mark = f"@sw.step({', '.join(options)})" if options else "@sw.step"
    arguments = ", ".join(_argument(one, defaults) for one in inputs)
    lines = [mark, f"def {name}({arguments}):", _indented(cell.rstrip())]
    if len(outputs) == 1:
        lines.append(f"    return {outputs[0]}")
    elif outputs:
        lines.append("    return {" + ", ".join(f'"{one}": {one}' for one in outputs) + "}")
    return "\n".join(lines) + "\n"


def _argument(name: str, defaults: Mapping[str, Any]) -> str:
    if name not in defaults:
        return name
    value = defaults[name]
    kind = type(value).__name__
    return f"{name}: {kind} = {value!r}" if kind in ("int", "float", "str", "bool") else f"{name}={value!r}"


def _indented(cell: str) -> str:
    """A cell as the body of a function, as it was typed where that says the same."""
    inside: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(cell + "\n").readline):
        if token.type == tokenize.STRING or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
    lines = [
        f"    {line}" if line.strip() and number not in inside else line
        for number, line in enumerate(cell.splitlines(), 1)
    ]
    typed = "\n".join(lines)
    wanted = ast.dump(ast.parse(cell))
    body = ast.parse(f"def f():\n{typed}\n    pass").body[0]
    same = isinstance(body, ast.FunctionDef) and ast.dump(ast.Module(body=body.body[:-1], type_ignores=[])) == wanted
    return typed if same else textwrap.indent(ast.unparse(ast.parse(cell)), "    ")


def merged(existing: str, step: Draft, *, replace: bool = False) -> str:
    """The text of a file with the step. What else stands there stays as it is.

    Raises:
        Conflict: `step-exists`, where the file defines something else under a name that is needed.
    """
    text = existing or HEAD
    tree = ast.parse(text)
    defined = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    if step.name in defined and not replace:
        raise Conflict(f"the file defines {step.name} already", code="step-exists", hint="--replace, or another name")
    fresh = {}
    for name, helper in step.helpers.items():
        if name in defined and ast.dump(defined[name]) != ast.dump(ast.parse(helper).body[0]) and not replace:
            raise Conflict(
                f"the file defines another {name}", code="step-exists", hint="--replace, or rename one of them"
            )
        if name not in defined or replace:
            fresh[name] = helper
    for name in [one for one in (step.name, *fresh) if one in defined]:
        text = _without(text, name)
    lines, place = text.splitlines(), _behind_imports(ast.parse(text))
    there = {ast.unparse(node) for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))}
    imports = [one for one in step.imports if one not in there]
    blank = [""] if imports and place and not there else []
    lines[place:place] = [*blank, *imports]
    parts = ["\n".join(lines).rstrip(), *fresh.values(), step.text.rstrip()]
    return "\n\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"


def _behind_imports(tree: ast.Module) -> int:
    """The line behind the last import, or behind what stands at the top of a file."""
    imports = [node.end_lineno or 0 for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    first = tree.body[0] if tree.body else None
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return max(imports) if imports else (first.end_lineno or 0) if first is not None and told else 0


def _without(text: str, name: str) -> str:
    """A file without a definition, its decorators, and the empty lines behind it."""
    lines = text.splitlines()
    node = next(one for one in ast.parse(text).body if getattr(one, "name", None) == name)
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    last = node.end_lineno or node.lineno
    while last < len(lines) and not lines[last].strip():
        last += 1
    return "\n".join([*lines[: first - 1], *lines[last:]]) + "\n"
