"""Typed access to what a file says. Errors name the file and the key; what nobody asked for is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stellwerk.core.errors import Invalid


class Fields:
    """One mapping of a file."""

    def __init__(self, value: Any, where: str, key: str = "") -> None:
        self.where, self.key = where, key
        if not isinstance(value, Mapping):
            raise self.wrong("", "a mapping", value)
        self._value = value
        self._asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self._value.get(name) is not None

    def __iter__(self) -> Any:
        return iter(self._value)

    def raw(self, name: str) -> Any:
        """Whatever stands there, or None."""
        self._asked.add(name)
        return self._value.get(name)

    def text(self, name: str, *, needed: bool = False) -> str:
        """A text; empty where nothing is said. Numbers that were written without quotes are taken as text."""
        value = self.raw(name)
        if value is None and not needed:
            return ""
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise self.wrong(name, "text", value)

    def whole(self, name: str) -> int | None:
        """A whole number from 0 on, or None."""
        value = self.raw(name)
        if value is not None and (type(value) is not int or not 0 <= value < 2**53):
            raise self.wrong(name, "a whole number from 0 on", value)
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Yes or no."""
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false", value)
        return default if value is None else value

    def items(self, name: str) -> tuple[Any, ...]:
        """A list; empty where nothing is said."""
        value = self.raw(name)
        if value is not None and not isinstance(value, list):
            raise self.wrong(name, "a list", value)
        return tuple(value or ())

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, or one text."""
        value = self.raw(name)
        found = [value] if isinstance(value, str) else list(self.items(name))
        for item in found:
            if not isinstance(item, str):
                raise self.wrong(name, "a list of texts", item)
        return tuple(found)

    def below(self, name: str) -> Fields:
        """A mapping below this one; an empty one where nothing is said."""
        value = self.raw(name)
        return Fields({} if value is None else value, self.where, self.path(name))

    def rest(self) -> tuple[tuple[str, Any], ...]:
        """What nobody asked for."""
        return tuple((name, value) for name, value in self._value.items() if name not in self._asked)

    def path(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key and name else self.key or name

    def wrong(self, name: str, expected: str, got: Any) -> Invalid:
        """The error for a value that is of the wrong kind."""
        place = f"{self.where}: {self.path(name)}" if self.path(name) else self.where
        return Invalid(f"{place}: expected {expected}, got {_shown(got)}", code="invalid-dvc-file")


def hexadecimal(fields: Fields, name: str) -> tuple[str, bool]:
    """The hex of an MD5 and whether it ends in `.dir`; empty where nothing is said."""
    value = fields.text(name).lower()
    plain = value.removesuffix(".dir")
    if value and not re.fullmatch(r"[0-9a-f]{32}", plain):
        raise fields.wrong(name, "32 hexadecimal digits", value)
    return plain, value != plain


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else repr(value)[:60]
