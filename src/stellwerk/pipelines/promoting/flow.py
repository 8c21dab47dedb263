"""What a cell takes from the cells before it, and what it leaves to those behind it, by its text alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stellwerk.core.errors import Invalid
from stellwerk.pipelines import source

_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Names that go in and out of a cell.

    Attributes:
        reads: Names that are read before the cell gives them a value, sorted.
        makes: Names that it gives a value, in order.
        changes: Names from outside whose value it changes in place: `table["x"] = 1`.
    """

    reads: tuple[str, ...]
    makes: tuple[str, ...]
    changes: tuple[str, ...]


def parse(text: str) -> ast.Module:
    """A cell as Python. Raises `Invalid` for what no function can hold."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip()[:1] in ("%", "!", "?") or line.rstrip().endswith("?"):
            raise _untraceable(f"line {number} is for IPython and not Python: {line.strip()[:60]!r}")
    try:
        tree = ast.parse(text)
    except SyntaxError as cause:
        raise _untraceable(f"line {cause.lineno} is no Python: {cause.msg}") from cause
    for node in ast.walk(tree):
        if isinstance(node, (ast.Await, ast.AsyncFor, ast.AsyncWith)):
            raise _untraceable(f"line {node.lineno} waits for something asynchronous")
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            raise _untraceable(f"line {node.lineno} changes what {', '.join(node.names)} means for everybody")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            raise _untraceable(f"line {node.lineno} imports everything, so that names cannot be told apart")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DYNAMIC:
            raise _untraceable(
                f"line {node.lineno} calls {node.func.id}, which names and values cannot be followed through"
            )
    return tree


_DYNAMIC = {"exec", "eval", "globals", "locals", "vars", "get_ipython", "input", "__import__"}


def _untraceable(why: str) -> Invalid:
    return Invalid(
        f"this cell cannot become a step: {why}", code="cell-not-traceable", hint="move that into a cell of its own"
    )


def flow(text: str) -> Flow:
    """What a cell reads, makes and changes. Raises `Invalid` (`cell-not-traceable`)."""
    tree = parse(text)
    made: dict[str, None] = {}
    read: set[str] = set()
    later: set[str] = set()
    for name, when in _events(tree.body):
        if when == MADE:
            made.setdefault(name)
        elif when == LATER:
            later.add(name)
        elif name not in made:
            read.add(name)
    read |= later - made.keys()
    changed = [name for name in _changed(tree) if name in read]
    return Flow(reads=tuple(sorted(read)), makes=tuple(made), changes=tuple(dict.fromkeys(changed)))


READ, MADE, LATER = "read", "made", "later"
"""What happens to a name: `later` is when a function that is defined now is called."""


def _events(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Names in the order in which something happens to them."""
    for node in nodes:
        yield from _of(node)


def _of(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, _SCOPES):
        when = LATER if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) else READ
        yield from ((name, when) for name in sorted(source.free_names(ast.unparse(node))))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name, MADE
    elif isinstance(node, ast.Name):
        yield node.id, MADE if isinstance(node.ctx, ast.Store) else READ
    elif isinstance(node, ast.Assign):
        yield from _events([node.value, *node.targets])
    elif isinstance(node, ast.AugAssign):
        if isinstance(node.target, ast.Name):
            yield node.target.id, READ
        yield from _events([node.value, node.target])
    elif isinstance(node, ast.AnnAssign):
        yield from _events([node.annotation, *([node.value] if node.value else []), node.target])
    elif isinstance(node, ast.NamedExpr):
        yield from _events([node.value, node.target])
    elif isinstance(node, ast.For):
        yield from _events([node.iter, node.target, *node.body, *node.orelse])
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (((alias.asname or alias.name).partition(".")[0], MADE) for alias in node.names)
    elif isinstance(node, ast.ExceptHandler):
        yield from _events([*([node.type] if node.type else [])])
        if node.name:
            yield node.name, MADE
        yield from _events(node.body)
    else:
        yield from _events(ast.iter_child_nodes(node))


def _changed(tree: ast.AST) -> Iterator[str]:
    """Names of values that are changed in place, as far as it can be seen."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, (ast.Assign, ast.Delete)):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATORS:
            targets = [node.func]
        for target in targets:
            root: ast.expr = target
            while isinstance(root, (ast.Attribute, ast.Subscript, ast.Starred)):
                root = root.value
            if isinstance(root, ast.Name) and (root is not target or isinstance(node, ast.Delete)):
                yield root.id


_MUTATORS = {
    "append", "extend", "insert", "remove", "clear", "sort", "reverse", "update", "setdefault", "popitem", "add",
    "discard", "pop", "fit", "partial_fit",
}  # fmt: skip
"""Methods that change what they are called on, in Python and scikit-learn."""
