"""How every method of the Python API asks: an operation by name, here or over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from stellwerk.workspace.calls import Operation
    from stellwerk.workspace.ports import Caller

R = TypeVar("R")


def call(caller: Caller, operation: Operation[..., R], **arguments: Any) -> R:
    """The answer of an operation, of the type that it declares."""
    answer: R = caller.call(operation, arguments)
    return answer
