"""Source text of the project: which files are the project's own, what they define, and its normal form.

What a step reaches through it is followed by `closure`.
"""

from __future__ import annotations

import ast
import functools
import linecache
import symtable
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def _outside() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    found = [Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (*found, Path(__file__).resolve().parents[1])


@functools.cache
def own(file: str) -> bool:
    """Whether a file belongs to a project: not the standard library, not an installed distribution, not Stellwerk.

    Cells of a notebook (`<ipython-input-…>`) are the project's; code without any file, such as `<string>`, is not.
    """
    if file.startswith("<"):
        return file.startswith("<ipython-input") and bool(linecache.getlines(file))
    path = Path(file)
    if path.suffix != ".py" or {"site-packages", "dist-packages"} & set(path.parts):
        return False
    path = path.resolve()
    return not any(path.is_relative_to(root) for root in _outside())


@functools.cache
def ours(file: str) -> bool:
    """Whether a file is Stellwerk's or an internal of Python."""
    return file.startswith("<frozen") or Path(file).resolve().is_relative_to(Path(__file__).resolve().parents[1])


class _Undocumented(ast.NodeTransformer):
    """Drops docstrings; comments, positions and formatting are dropped by parsing."""

    def _body(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        body: list[ast.stmt] = node.body  # type: ignore[attr-defined]
        first = body[0] if body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            place = ast.Pass(lineno=first.lineno, col_offset=first.col_offset)
            node.body = body[1:] or [place]  # type: ignore[attr-defined]
        return node

    visit_Module = visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _body  # noqa: N815


class Source:
    """One file: its definitions by line and name, its compiled code by line and name, its bindings by name."""

    def __init__(self, text: str, file: str) -> None:
        self.tree = _Undocumented().visit(ast.parse(text))
        self._definitions: dict[tuple[int, str], list[Definition]] = {}
        self._classes: dict[str, list[ast.ClassDef]] = {}
        self._codes: dict[tuple[int, str], list[CodeType]] = {}
        self._bindings: dict[str, list[ast.stmt]] = {}
        self._index(self.tree, "")
        self._index_code(compile(text, file, "exec", dont_inherit=True))
        self._bind(self.tree.body)

    def function(self, code: CodeType) -> list[Definition]:
        """The definitions that may have made this code: one, or all lambdas of its line; none if the file differs.

        That the text still compiles to the very code that runs is checked, so that what is hashed is what runs.
        """
        place = (code.co_firstlineno, code.co_name)
        return self._definitions.get(place, []) if self.compiled(code) else []

    def classes(self, qualname: str) -> list[ast.ClassDef]:
        """The definitions of a class: several if branches of the file define one each."""
        return self._classes.get(qualname.replace(".<locals>", ""), [])

    def compiled(self, code: CodeType) -> bool:
        """Whether this very code is in the file."""
        return any(shape(code) == shape(known) for known in self._codes.get((code.co_firstlineno, code.co_name), ()))

    def bindings(self, name: str) -> list[ast.stmt]:
        """The statements at the level of the module that give a name its value."""
        return self._bindings.get(name, [])

    def _index(self, node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (*_FUNCTION, ast.ClassDef)):
                inner = f"{prefix}{child.name}."
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                if isinstance(child, ast.ClassDef):
                    self._classes.setdefault(inner[:-1], []).append(child)
                else:
                    self._definitions.setdefault((first, child.name), []).append(child)
            elif isinstance(child, ast.Lambda):
                self._definitions.setdefault((child.lineno, "<lambda>"), []).append(child)
            self._index(child, inner)

    def _index_code(self, code: CodeType) -> None:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._codes.setdefault((constant.co_firstlineno, constant.co_name), []).append(constant)
                self._index_code(constant)

    def _bind(self, body: list[ast.stmt]) -> None:
        for statement in body:
            for name in set(_bound(statement)):
                self._bindings.setdefault(name, []).append(statement)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the text of a class says of its attributes: values that are written down, and what is defined."""

    literals: dict[str, Any]
    defined: set[str]
    decorated: set[str]


def attributes(nodes: list[ast.ClassDef]) -> Attributes:
    """What the definitions of a class say of its attributes."""
    said = Attributes({}, set(), set())
    for statement in (one for node in nodes for one in node.body):
        if isinstance(statement, (*_FUNCTION, ast.ClassDef)):
            said.defined.add(statement.name)
            if any(ast.unparse(one) not in ("staticmethod", "classmethod") for one in statement.decorator_list):
                said.decorated.add(statement.name)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            try:
                value = ast.literal_eval(statement.value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
            said.literals.update({target.id: value for target in targets if isinstance(target, ast.Name)})
    return said


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement of a module binds there, in whatever branch or loop; not those of inner scopes."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            yield node.name
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        # CONFIG["a"] = 1 and CONFIG.update(...) change what a name means, too.
        elif isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store):
            yield from (inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            root = node.value.func
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root is not node.value.func:
                yield root.id
            yield from (one.id for one in node.value.args if isinstance(one, ast.Name))  # setattr(MODEL, ...)
        stack.extend(ast.iter_child_nodes(node))


def read(file: str) -> Source | None:
    """The source of a file or notebook cell; None if there is none or it does not compile."""
    try:
        status = Path(file).stat()
        return _read(file, status.st_mtime_ns, status.st_size)
    except OSError:
        return _read_lines(file, "".join(linecache.getlines(file)))


@functools.lru_cache(maxsize=512)
def _read(file: str, _changed: int, _size: int) -> Source | None:
    try:
        return Source(_decode(Path(file).read_bytes()), file)
    except (SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=512)
def _read_lines(file: str, text: str) -> Source | None:
    try:
        return Source(text, file) if text else None
    except (SyntaxError, ValueError):
        return None


_STAMPS: WeakKeyDictionary[ModuleType, tuple[int, int]] = WeakKeyDictionary()


def note(module: ModuleType) -> None:
    """Remember which state of its file a module was loaded from; the earlier after loading, the better."""
    stamp = _stamp(module)
    if stamp is not None:
        _STAMPS.setdefault(module, stamp)


def edited(module: ModuleType) -> bool:
    """Whether the file of a loaded module was changed since it was noted."""
    note(module)
    return module in _STAMPS and _stamp(module) != _STAMPS[module]


def _stamp(module: ModuleType) -> tuple[int, int] | None:
    try:
        status = Path(str(module.__file__)).stat()
    except (OSError, AttributeError):
        return None
    return status.st_mtime_ns, status.st_size


def _decode(data: bytes) -> str:
    import io
    import tokenize

    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding)


def shape(code: CodeType) -> list[object]:
    """What code does, as JSON, without where it stands: the fallback for code whose source is not at hand."""
    return [
        code.co_code.hex(),
        list(code.co_names),
        list(code.co_varnames),
        list(code.co_freevars),
        list(code.co_cellvars),
        [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags],
        code.co_exceptiontable.hex(),
        [_constant(value) for value in code.co_consts],
    ]


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return shape(value)
    if isinstance(value, (tuple, frozenset)):
        items = [_constant(item) for item in value]
        return [type(value).__name__, sorted(items, key=repr) if isinstance(value, frozenset) else items]
    return [type(value).__name__, ascii(value)]


def code_names(code: CodeType) -> set[str]:
    """Every global name and attribute that code mentions."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*(code_names(constant) for constant in inner))


def free_names(text: str) -> set[str]:
    """The names that a normalised piece of code takes from outside."""
    if "nonlocal" in text:
        text = _globalised(text)
    return set(_outer(symtable.symtable(text, "<closure>", "exec"), top=True))


def _globalised(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list) and any(isinstance(item, ast.Nonlocal) for item in block):
                # Outside its function a `nonlocal` has nothing to refer to; for names used it equals `global`.
                block[:] = [ast.Global(item.names) if isinstance(item, ast.Nonlocal) else item for item in block]
    return ast.unparse(tree)


def _outer(table: symtable.SymbolTable, *, top: bool) -> Iterator[str]:
    for symbol in table.get_symbols():
        # `depth = depth` in the body of a class reads the global.
        if symbol.is_referenced() and (
            not symbol.is_assigned() if top else symbol.is_global() or table.get_type() == "class"
        ):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _outer(child, top=False)


def chains(text: str) -> dict[str, set[tuple[str, ...]]]:
    """For each name the attribute paths taken from it: `a.b.c` gives `a: {(b, c)}`, a bare `a` gives `()`."""
    found: dict[str, set[tuple[str, ...]]] = {}
    inner: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if id(node) in inner:
            continue
        path: list[str] = []
        root: ast.AST = node
        while isinstance(root, ast.Attribute):
            path.append(root.attr)
            root = root.value
            inner.add(id(root))
        if isinstance(root, ast.Name):
            found.setdefault(root.id, set()).add(tuple(reversed(path)))
    return found


def locate(module: str) -> str | None:
    """The source file of a module, found without importing anything; None if it has none."""
    where: list[str] | None = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or ())
    return spec.origin if spec is not None and spec.origin else None


def imports(tree: ast.AST, package: str) -> set[str]:
    """Every module that code may import anywhere, absolute; for `from a import b` both `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".") if package else []
            base = ".".join([*above[: len(above) - node.level + 1], *([node.module] if node.module else [])])
            base = base if node.level else node.module or ""
            found.update({base, *(f"{base}.{alias.name}" for alias in node.names)} - {""})
    # Importing a.b.c executes a and a.b first.
    return {".".join(name.split(".")[:n]) for name in found for n in range(1, name.count(".") + 2)}
