"""The code closure of a step: a digest of all project code that the step can reach. Keys are made of it in `keys`.

The rule:

- The closure starts at the step's function and follows every name that it, its decorators, defaults, annotations and
  inner functions take from outside: functions, classes and modules of the project, and constants.
- *The project* is every Python file that is neither in the standard library nor in an installed distribution, and
  the top-level package of the step itself even if that is installed. Everything else is outside: it counts by its
  name, and its version by the environment lock.
- Functions and classes count by their syntax tree. Comments, docstrings, formatting and positions do not count, nor
  do the decorators `@step` and `@pipeline`, whose arguments are in the step key where they matter. What was set on them
  after they were made (`Config.depth = 7`, a method that was replaced) counts by value if it is plain data or code.
- Constants count by value if that is plain data (numbers, text, paths, enums, containers, arrays, frames, instances
  of project classes made of these), otherwise by the statements of their module that make them, and what these reach.
  A mutable global counts by its value at the moment the plan is executed, before the first step runs.
- Modules that are imported inside a function, or used other than by `module.name`, count as a whole, by their source.
- A function whose source is gone or no longer what runs (edited since it was imported, rewritten by a tool) counts by
  its byte code. Where source and what runs cannot be compared, an edited file is refused until it is loaded anew.

Not seen: names that are computed (`globals()[...]`, `__subclasses__()`, modules imported by them), compiled extensions
in the project, what a function changes in an object of a library that is a global, what a statement that makes a
constant reads from files, unless the constant is plain data, and what a step reads by itself: files that are no input,
the environment, the network, the time. A value that can be followed in none of these ways is
refused, never ignored.
"""

from __future__ import annotations

import ast
import builtins
import copy
import enum
import sys
from collections import deque
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.pipelines import authoring, source
from stellwerk.pipelines.describing import Describer, Untraceable
from stellwerk.pipelines.model import Closure

_NOISE = {"__doc__", "__firstlineno__", "__static_attributes__"}


def closure(function: Callable[..., Any]) -> Closure:
    """The code closure of a function, or of the function of a step."""
    inner = getattr(function, "function", function)
    if not isinstance(inner, FunctionType):
        raise Invalid(f"{function!r} is not a function written in Python", code="no-source")
    parts = _Walk(inner).parts()
    return Closure(digest=canonical.digest([list(part) for part in parts]), parts=parts)


def difference(before: Closure, after: Closure) -> tuple[str, ...]:
    """Which parts made two closures different: `pipeline:clean changed`, `... added`, `... removed`."""
    old, new = dict(before.parts), dict(after.parts)
    said = {name: "added" if name not in old else "removed" if name not in new else "changed" for name in old | new}
    return tuple(f"{name} {what}" for name, what in sorted(said.items()) if old.get(name) != new.get(name))


class _Walk:
    """One closure in the making. Every part is described once; what it reaches is put on the queue."""

    def __init__(self, root: FunctionType) -> None:
        self._home = str(root.__globals__.get("__name__", "")).partition(".")[0]
        self._names: dict[object, str] = {}
        self._taken: dict[str, int] = {}
        self._kept: list[object] = []  # so that no id is given twice
        self._queue: deque[tuple[str, Callable[[], Any]]] = deque()
        self._digests: dict[str, Digest] = {}
        self._describer = Describer(self._refer)
        self._refer(root)

    def parts(self) -> tuple[tuple[str, Digest], ...]:
        while self._queue:
            name, describe = self._queue.popleft()
            self._digests[name] = canonical.digest(describe())
        return tuple(sorted(self._digests.items()))

    def _inside(self, module: str, file: str | None) -> bool:
        if module.partition(".")[0] == self._home:
            return True
        return bool(file) and source.own(str(file)) and module.partition(".")[0] != "stellwerk"

    def _refer(self, value: object) -> str | None:
        """The name of the part for a function, class or module of the project; None for one from outside."""
        if isinstance(value, FunctionType):
            space, file = value.__globals__, value.__code__.co_filename
            if not self._inside(str(space.get("__name__", "")), file):
                return None
            name = f"{authoring.label(space)}:{value.__code__.co_qualname}"
            return self._part(id(value), name, value, lambda: self._function(value))
        if isinstance(value, type):
            module = sys.modules.get(value.__module__)
            if module is None or not self._inside(value.__module__, getattr(module, "__file__", None)):
                return None
            name = f"{authoring.label(vars(module))}:{value.__qualname__}"
            return self._part(id(value), name, value, lambda: self._class(value, vars(module)))
        if isinstance(value, ModuleType) and self._inside(value.__name__, getattr(value, "__file__", None)):
            return self._module(authoring.label(vars(value)), str(value.__file__))
        return None

    def _part(self, key: object, name: str, kept: object, describe: Callable[[], Any]) -> str:
        if key not in self._names:
            number = self._taken[name] = self._taken.get(name, 0) + 1
            free = name if number == 1 else f"{name}~{number}"
            self._names[key] = free
            self._kept.append(kept)
            self._queue.append((free, describe))
        return self._names[key]

    # What a part is

    def _function(self, function: FunctionType) -> Any:
        code, space = function.__code__, function.__globals__
        cells = _cells(function)
        text = self._text(code, space)
        if text is None:
            body: Any = {"code": source.shape(code)}
            reached: dict[str, set[tuple[str, ...]]] = {name: {()} for name in source.code_names(code)}
        else:
            body = {"text": text, **self._which(code)}
            reached = _reached(text)
        return {
            **body,
            "names": self._names_of(reached, space, cells),
            "imports": self._imports(text, space),
            "defaults": self._defaults(function),
            **self._added(function),
        }

    def _which(self, code: CodeType) -> dict[str, Any]:
        """Which one it is of several lambdas of a line, that have one text."""
        file = source.read(code.co_filename)
        return {"which": source.shape(code)} if file and len(file.function(code)) > 1 else {}

    def _added(self, function: FunctionType) -> dict[str, Any]:
        """What was set on a function after it was made: `function.limit = 3`."""
        added = {name: said for name, value in vars(function).items() if (said := self._plain(name, value))}
        return {"attributes": added} if added else {}

    def _plain(self, name: str, value: object) -> Any:
        """The description of an attribute; None for what is Python's own, or can only be told by its text."""
        if name.startswith("__") and name.endswith("__"):
            return None
        try:
            return self._describer.describe(value)
        except Untraceable:
            return None

    def _text(self, code: CodeType, space: Mapping[str, Any]) -> str | None:
        file = source.read(code.co_filename)
        definitions = file.function(code) if file else []
        return "\n".join(self._normal(node, space) for node in definitions) if definitions else None

    def _normal(self, node: source.Definition, space: Mapping[str, Any]) -> str:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            node = copy.copy(node)
            node.decorator_list = [item for item in node.decorator_list if not _ours(item, space)]
        return ast.unparse(node)

    def _defaults(self, function: FunctionType) -> Any:
        values = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        return [self._cell(function, value, optional=True) for value in values]

    def _class(self, klass: type, space: Mapping[str, Any]) -> Any:
        self._as_loaded(space)
        file = source.read(str(space.get("__file__")))
        nodes = file.classes(klass.__qualname__) if file else []
        methods = {
            name: inner
            for name, member in vars(klass).items()
            if isinstance(inner := getattr(member, "__func__", getattr(member, "fget", member)), FunctionType)
            and inner.__code__.co_filename == space.get("__file__")
        }
        cells = {name: value for method in methods.values() for name, value in _cells(method).items()}
        cells.pop("__class__", None)
        if file and nodes and all(file.compiled(method.__code__) for method in methods.values()):
            text = "\n".join(ast.unparse(node) for node in nodes)
            return {
                "text": text,
                "names": self._names_of(_reached(text), space, cells),
                "imports": self._imports(text, space),
                **self._filled(klass, nodes),
            }
        return {
            "members": [
                [name, self._member(value)] for name, value in sorted(vars(klass).items()) if name not in _NOISE
            ],
            "methods": {name: self._refer(method) for name, method in sorted(methods.items())},
            "bases": [self._describer.describe(base) for base in klass.__bases__],
        }

    def _filled(self, klass: type, nodes: list[ast.ClassDef]) -> dict[str, Any]:
        """The attributes of a class that its text does not say, because they were set or filled after it was made."""
        if issubclass(klass, enum.Enum):
            return {}
        said = source.attributes(nodes)
        filled: dict[str, Any] = {}
        for name, value in sorted(vars(klass).items(), key=lambda item: item[0]):
            inner = getattr(value, "__func__", value)
            if isinstance(inner, FunctionType):
                if not source.own(inner.__code__.co_filename) or name in said.decorated:
                    continue
                if inner.__code__.co_qualname.startswith(f"{klass.__qualname__}."):
                    continue
                filled[name] = self._describer.describe(inner)
                continue
            if name in said.defined:
                continue
            found = self._plain(name, value)
            if found is not None and not (name in said.literals and found == self._plain(name, said.literals[name])):
                filled[name] = found
        return {"filled": filled} if filled else {}

    def _member(self, value: object) -> Any:
        try:
            return self._describer.describe(value)
        except Untraceable:
            return ["type", type(value).__qualname__]

    def _module(self, name: str, file: str) -> str:
        def describe() -> Any:
            self._as_loaded(vars(sys.modules[name]) if name in sys.modules else {})
            found = source.read(file)
            if found is None:
                raise Invalid(f"the source of module {name!r} cannot be read", code="no-source")
            package = name if file.endswith("__init__.py") else name.rpartition(".")[0]
            return {"text": ast.unparse(found.tree), "imports": self._static(source.imports(found.tree, package))}

        return self._part(("module", file), name, None, describe)

    def _imports(self, text: str | None, space: Mapping[str, Any]) -> Any:
        if text is None or "import" not in text:
            return []
        return self._static(source.imports(ast.parse(text), str(space.get("__package__") or "")))

    def _static(self, modules: set[str]) -> list[str]:
        """Modules by their source, whether they are imported yet or not: a key must not depend on that."""
        found = {name: source.locate(name) for name in sorted(modules)}
        return [self._module(name, file) for name, file in found.items() if file and self._inside(name, file)]

    def _as_loaded(self, space: Mapping[str, Any]) -> None:
        """Refuse source that is newer than what runs, where comparing it with the byte code is impossible."""
        module = sys.modules.get(str(space.get("__name__")))
        if module is not None and vars(module) is space and source.edited(module):
            raise Invalid(
                f"the file of module {authoring.label(space)!r} was changed after it was loaded",
                code="source-changed",
                hint="start again, so that what is recorded is what runs",
            )

    # What a name means

    def _names_of(
        self, reached: Mapping[str, set[tuple[str, ...]]], space: Mapping[str, Any], cells: Mapping[str, Any]
    ) -> dict[str, Any]:
        meanings: dict[str, Any] = {}
        for name in sorted(reached):
            if name in cells:
                meanings[name] = self._cell(name, cells[name])
            elif name in space:
                for path in sorted(reached[name]):
                    self._follow(name, path, space, meanings)
            elif not hasattr(builtins, name):
                meanings[name] = ["unbound"]
        return meanings

    def _follow(self, name: str, path: tuple[str, ...], space: Mapping[str, Any], meanings: dict[str, Any]) -> None:
        """Note what `name`, or `name.attribute` of a module of the project, means."""
        value, where, said = space[name], space, name
        for attribute in path:
            if not isinstance(value, ModuleType) or self._refer_not(value) or not hasattr(value, attribute):
                break
            where, name, said, value = vars(value), attribute, f"{said}.{attribute}", getattr(value, attribute)
        if said not in meanings:
            meanings[said] = self._global(name, where, value)

    def _refer_not(self, module: ModuleType) -> bool:
        return not self._inside(module.__name__, getattr(module, "__file__", None))

    def _global(self, name: str, space: Mapping[str, Any], value: object) -> Any:
        try:
            said = self._describer.describe(value)
        except Untraceable as cause:
            return self._made(name, space, cause)
        if said[0] in {"part", "external", "wrapped"}:
            return said
        return [
            "part",
            self._part(("value", id(space), name), f"{authoring.label(space)}:{name}", value, lambda: said),
        ]

    def _made(self, name: str, space: Mapping[str, Any], cause: Untraceable) -> Any:
        """A global that is no plain data, by the statements that make it."""
        self._as_loaded(space)
        module, file = authoring.label(space), str(space.get("__file__") or "")
        found = source.read(file) if self._inside(str(space.get("__name__")), file) else None
        statements = found.bindings(name) if found else []
        if not statements:
            raise Invalid(
                f"cannot tell what {module}:{name} is made of: {cause}",
                code="untraceable-value",
                hint="pass it to the step as a parameter or an input, or make it at the top level of its module",
            ) from cause
        if len(statements) == 1 and isinstance(statements[0], (ast.Import, ast.ImportFrom)):
            return self._imported(name, statements[0], space, cause)

        def describe() -> Any:
            text = "\n".join(ast.unparse(statement) for statement in statements)
            reached = {other: paths for other, paths in _reached(text).items() if other != name}
            return {"text": text, "names": self._names_of(reached, space, {}), "imports": self._imports(text, space)}

        return ["part", self._part(("value", id(space), name), f"{module}:{name}", None, describe)]

    def _imported(
        self, name: str, statement: ast.Import | ast.ImportFrom, space: Mapping[str, Any], cause: Untraceable
    ) -> Any:
        original = next((alias.name for alias in statement.names if (alias.asname or alias.name) == name), name)
        package = str(space.get("__package__") or "")
        target = next(iter(source.imports(ast.Module(body=[statement], type_ignores=[]), package)), "")
        if isinstance(statement, ast.ImportFrom):
            level = package.split(".")[: len(package.split(".")) - statement.level + 1] if statement.level else []
            target = ".".join([*level, *([statement.module] if statement.module else [])])
        module = sys.modules.get(target)
        if module is not None and not self._refer_not(module) and original in vars(module):
            return self._made(original, vars(module), cause)
        return ["external", f"{target}:{original}"]

    def _cell(self, where: object, value: object, *, optional: bool = False) -> Any:
        try:
            return self._describer.describe(value)
        except Untraceable as cause:
            if optional:  # the expression of the default is part of the text
                return ["expression"]
            raise Invalid(
                f"cannot tell what the captured variable {where!r} is made of: {cause}",
                code="untraceable-value",
                hint="pass it to the step as a parameter or an input",
            ) from cause


def _cells(function: FunctionType) -> dict[str, Any]:
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return found


def _reached(text: str) -> dict[str, set[tuple[str, ...]]]:
    paths = source.chains(text)
    return {name: paths.get(name, {()}) for name in source.free_names(text)}


def _ours(decorator: ast.expr, space: Mapping[str, Any]) -> bool:
    """Whether a decorator is `step` or `pipeline`, under whatever name."""
    inner = decorator.func if isinstance(decorator, ast.Call) else decorator
    path: list[str] = []
    while isinstance(inner, ast.Attribute):
        path.append(inner.attr)
        inner = inner.value
    value = space.get(inner.id) if isinstance(inner, ast.Name) else None
    for attribute in reversed(path):
        value = getattr(value, attribute, None)
    return value is authoring.step or value is authoring.pipeline
