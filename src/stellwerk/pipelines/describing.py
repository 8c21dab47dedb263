"""What a value in reach of a step is, as JSON that can be hashed; part of the code closure.

Functions, classes and modules of the project are handed to the walk of `closure`, which looks into them.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import re
import types
import uuid
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from stellwerk.core import canonical
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.pipelines import authoring
from stellwerk.pipelines.values import STANDARD, type_name

MAX_DEPTH = 48
_BY_TEXT = (
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    *(decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PurePath, complex, range, slice),
    *(types.GenericAlias, types.UnionType, types.EllipsisType, types.NotImplementedType, TypeVar),
)
_SEQUENCES = (list, tuple, deque)
_PLAIN = {list, tuple, deque, set, frozenset, dict, OrderedDict, defaultdict, types.MappingProxyType}
_MADE_BY_PYTHON = 1 << 9
"""The flag of classes that a `class` statement has made."""
_BUILTIN = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)


class Untraceable(Exception):  # a signal between two modules, never seen outside
    """The value is neither plain data nor code that can be followed."""


def _hides(kind: type) -> bool:
    """Whether instances of a class keep something where attributes do not tell of it, as those of compiled ones do."""
    return any(base is not object and not base.__flags__ & _MADE_BY_PYTHON for base in kind.__mro__)


def _slots(value: object) -> dict[str, Any]:
    """What an instance keeps in slots."""
    members = (member for kind in type(value).__mro__ for member in vars(kind).values())
    names = [one.__name__ for one in members if isinstance(one, types.MemberDescriptorType)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


class Describer:
    """Describes values.

    Args:
        refer: Gives the part name of a function, class or module of the project; None for one from outside.
    """

    def __init__(self, refer: Callable[[object], str | None]) -> None:
        self._refer = refer
        self._open: set[int] = set()

    def describe(self, value: Any) -> Any:
        """The description: a list that starts with the kind. Raises `Untraceable`."""
        if value is None or (isinstance(value, (bool, int, float, str)) and type(value).__module__ == "builtins"):
            return [type(value).__name__, ascii(value)]
        if id(value) in self._open or len(self._open) > MAX_DEPTH:
            raise Untraceable("it contains itself or is nested too deeply")
        self._open.add(id(value))
        try:
            for attempt in (self._code, self._data, self._state, self._encoded):
                said = attempt(value)
                if said is not None:
                    return said
        finally:
            self._open.discard(id(value))
        raise Untraceable(f"a {type_name(value)} is neither plain data nor code of the project")

    def _code(self, value: Any) -> Any:
        if isinstance(value, (authoring.Step, authoring.Pipeline)):
            return self.describe(value.function)
        if isinstance(value, (types.FunctionType, type, types.ModuleType)):
            return self._named(value)
        if isinstance(value, _BUILTIN):
            return self._builtin(value)
        if isinstance(value, functools.partial):
            return ["partial", *map(self.describe, (value.func, value.args, value.keywords))]
        if isinstance(value, types.MethodType):
            return ["method", self.describe(value.__func__), self.describe(value.__self__)]
        if callable(value) and hasattr(value, "__wrapped__"):  # lru_cache, singledispatch, ...
            return ["wrapped", type_name(value), self.describe(value.__wrapped__)]
        return None

    def _named(self, value: Any) -> Any:
        part = self._refer(value)
        if part is not None:
            return ["part", part]
        if isinstance(value, types.ModuleType):
            return ["external", value.__name__]
        registry = getattr(value, "registry", None) if isinstance(value, types.FunctionType) else None
        if isinstance(registry, types.MappingProxyType):  # of `singledispatch`
            return ["dispatch", [[self.describe(key), self.describe(one)] for key, one in registry.items()]]
        if not isinstance(value, types.FunctionType) or "<locals>" not in value.__code__.co_qualname:
            return ["external", f"{value.__module__}:{value.__qualname__}"]
        # A wrapper made by a library, perhaps around a function of the project.
        file = value.__globals__.get("__name__", "?")
        try:
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
        except ValueError as cause:
            raise Untraceable("it captures a variable that has no value yet") from cause
        return ["wrapper", f"{file}:{value.__code__.co_qualname}", self._all(cells)]

    def _builtin(self, value: Any) -> Any:
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, (types.ModuleType, type)):
            return ["bound", value.__name__, self.describe(owner)]
        return ["external", f"{getattr(value, '__module__', None) or 'builtins'}:{value.__qualname__}"]

    def _data(self, value: Any) -> Any:
        name = type_name(value)
        if isinstance(value, enum.Enum):
            return ["enum", self.describe(type(value)), value.name, ascii(value.value)]
        if isinstance(value, (bytes, bytearray)):
            return [name, of_bytes(value)]
        if isinstance(value, (int, float, str)):  # of a class derived from these
            return [name, self._type(value), ascii(value)]
        if isinstance(value, re.Pattern):
            return ["pattern", ascii(value.pattern), value.flags]
        if isinstance(value, _BY_TEXT):
            return [name, ascii(value)]
        if isinstance(value, _SEQUENCES):
            return [name, self._type(value), self._all(value)]
        if isinstance(value, (set, frozenset)):
            return [name, self._type(value), sorted(self._all(value), key=canonical.dumps)]
        if isinstance(value, (dict, types.MappingProxyType)):
            pairs = [[self.describe(key), self.describe(item)] for key, item in value.items()]
            extra = self.describe(value.default_factory) if isinstance(value, defaultdict) else None
            return [name, self._type(value), pairs, extra]
        if isinstance(value, types.SimpleNamespace):
            return [name, self.describe(vars(value))]
        return None

    def _all(self, values: Iterable[Any]) -> list[Any]:
        return [self.describe(value) for value in values]

    def _type(self, value: object) -> Any:
        """The class and attributes of a value whose class is derived from a plain one, such as a named tuple."""
        return (
            None
            if type(value) in _PLAIN
            else [self._named(type(value)), self.describe(getattr(value, "__dict__", {}))]
        )

    def _state(self, value: Any) -> Any:
        """An instance of a class of the project, by its class and attributes."""
        part = self._refer(type(value))
        if part is None:
            return None
        if _hides(type(value)):
            return None
        if dataclasses.is_dataclass(value):
            state = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        elif hasattr(value, "__dict__"):
            state = {}
        else:
            return None
        return ["instance", part, self.describe({**_slots(value), **state, **getattr(value, "__dict__", {})})]

    def _encoded(self, value: Any) -> Any:
        """Arrays, frames and numpy's numbers by their bytes."""
        if type(value).__module__.partition(".")[0] not in {"polars", "numpy"}:
            return None
        try:
            encoded = STANDARD.encode(value)
        except Invalid:
            return None
        return [type_name(value), encoded.media, of_bytes(encoded.data)]
