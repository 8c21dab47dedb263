"""Operations: functions on rooms with a name, a permission, typed arguments and a typed answer.

The Python facade, the HTTP API, its OpenAPI description and its remote client are all derived from this one table.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NewType, ParamSpec, TypeVar

from stellwerk.access.model import Permission
from stellwerk.access.rules import require
from stellwerk.core.errors import Bug, Invalid
from stellwerk.ledger import documents

if TYPE_CHECKING:
    from stellwerk.workspace.rooms import Rooms

P = ParamSpec("P")
R = TypeVar("R")


Local = NewType("Local", bool)
"""Whether the caller sits at this machine, and so could read its files without us. An operation that must know has an
argument `local` of this type; it is filled in here, and nobody can send it."""


@dataclass(frozen=True)
class Operation(Generic[P, R]):
    """One thing that can be asked of a workspace."""

    name: str
    permission: Permission
    function: Callable[Concatenate[Rooms, P], R]
    changes: bool
    asks_place: bool = False
    """Whether it must know if the caller sits at this machine."""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]

    @property
    def arguments(self) -> dict[str, tuple[Any, Any]]:
        """Argument → (type, default or `inspect.Parameter.empty`)."""
        hints = typing.get_type_hints(self.function)
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        return {
            parameter.name: (hints[parameter.name], parameter.default)
            for parameter in parameters
            if hints[parameter.name] is not Local
        }

    @property
    def answer(self) -> Any:
        """Type of the answer."""
        return typing.get_type_hints(self.function)["return"]

    def perform(self, rooms: Rooms, arguments: dict[str, Any], *, local: bool = False) -> R:
        """Check the permission, then do it."""
        require(rooms.grant, rooms.actor, self.permission)
        place = {"local": Local(local)} if self.asks_place else {}
        return self.function(rooms, **{**arguments, **place})  # type: ignore[call-arg]

    def read(self, document: Any) -> dict[str, Any]:
        """Typed arguments from JSON. Raises `Invalid` naming what is unknown, missing or wrong."""
        if not isinstance(document, dict):
            raise Invalid(f"{self.name} needs a JSON object of arguments", code="invalid-arguments")
        known = self.arguments
        unknown = [key for key in document if key not in known]
        missing = [
            key for key, (_, default) in known.items() if default is inspect.Parameter.empty and key not in document
        ]
        if unknown or missing:
            problems = [f"unknown {key!r}" for key in unknown] + [f"missing {key!r}" for key in missing]
            raise Invalid(
                f"{self.name}: {', '.join(problems)} (known: {', '.join(known) or 'none'})", code="invalid-arguments"
            )
        return {key: self._argument(key, known[key][0], value) for key, value in document.items()}

    def _argument(self, name: str, kind: Any, value: Any) -> Any:
        try:
            return documents.load_exactly(kind, value)
        except Invalid as problem:
            raise Invalid(f"{self.name}: {name} is {problem.message}", code=problem.code) from problem

    def write(self, answer: R) -> Any:
        """The answer as JSON-able data."""
        return None if answer is None else documents.dump_as(self.answer, answer)


OPERATIONS: dict[str, Operation[..., Any]] = {}


def operation(
    name: str, permission: Permission, *, changes: bool = False
) -> Callable[[Callable[Concatenate[Rooms, P], R]], Operation[P, R]]:
    """Enter a function in the table. Whoever changes something says so."""

    def enter(function: Callable[Concatenate[Rooms, P], R]) -> Operation[P, R]:
        if name in OPERATIONS:
            raise Bug(f"two operations are called {name!r}")
        place = "local" in inspect.signature(function).parameters
        made = Operation(name=name, permission=permission, function=function, changes=changes, asks_place=place)
        OPERATIONS[name] = made
        return made

    return enter
