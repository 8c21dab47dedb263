"""Arguments by name, refused with the nearest name where they do not fit: instead of Python's own `TypeError`."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from typing import Any, ParamSpec, TypeVar

from stellwerk.core.errors import Invalid

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that names the likely intention, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def bind(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, without: str = ""
) -> dict[str, Any]:
    """Arguments by name, defaults included. `Invalid` with the nearest name for what does not fit.

    Args:
        without: An argument that Stellwerk supplies itself.
    """
    kinds = {value.kind for value in signature.parameters.values()}
    known = {
        key: value
        for key, value in signature.parameters.items()
        if key != without and value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)
    }
    named = [key for key, value in known.items() if value.kind is not value.POSITIONAL_ONLY]
    positional = [key for key, value in known.items() if value.kind is not value.KEYWORD_ONLY]
    if len(args) > len(positional) and Parameter.VAR_POSITIONAL not in kinds:
        raise Invalid(f"{name} takes {len(positional)} positional arguments, got {len(args)}", code="wrong-arguments")
    given = dict(zip(positional, args, strict=False))
    for key, value in kwargs.items():
        if key not in named:
            if Parameter.VAR_KEYWORD in kinds:
                continue
            reason = "is supplied by Stellwerk, because the step declares seeds" if key == without else "is unknown"
            raise Invalid(
                f"argument {key!r} of {name} {reason} (expected {', '.join(named) or 'none'}){nearest(key, named)}",
                code="unknown-argument",
            )
        if key in given:
            raise Invalid(f"argument {key!r} of {name} is given twice", code="wrong-arguments")
        given[key] = value
    missing = [key for key, value in known.items() if key not in given and value.default is value.empty]
    if missing:
        raise Invalid(f"{name} needs {', '.join(map(repr, missing))}", code="missing-argument")
    return {key: given.get(key, value.default) for key, value in known.items()}


def bound(function: Callable[P, R]) -> Callable[P, R]:
    """The function, refusing arguments that it does not have with the names of those that it has."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bind(function.__name__, signature, args, kwargs)
        return function(*args, **kwargs)

    return call


def named(kind: type[C]) -> type[C]:
    """The class, refusing arguments that it does not have with the names of those that it has."""
    begin = kind.__init__

    @functools.wraps(begin)
    def init(self: C, *args: Any, **kwargs: Any) -> None:
        try:
            begin(self, *args, **kwargs)
        except TypeError:  # looked into only now: a plan of thousands of nodes makes thousands of these
            bind(kind.__name__, inspect.signature(kind), args, kwargs)
            raise

    kind.__init__ = init  # type: ignore[assignment]
    return kind
