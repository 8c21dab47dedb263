"""What is built when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar, overload

T = TypeVar("T")


class built(cached_property[T]):  # noqa: N801 - reads like the decorator that it is
    """A `cached_property` that is built once, whichever thread asks first. Its owner has a lock named `building`.

    Code that a command does not need is not even loaded: import what is built inside of the function.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> built[T]: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> built[T] | T:
        if instance is None:
            return self
        with instance.building:
            made: T = super().__get__(instance, owner)
            return made
