"""This process as an executor: it calls steps, and searches where a node of the plan says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.model import TUNE
from stellwerk.pipelines.values import STANDARD
from stellwerk.workspace import codecs

if TYPE_CHECKING:
    from stellwerk.pipelines.model import Attempt, Failure, Outcome, Plan
    from stellwerk.pipelines.stock import Stock

CODECS = STANDARD.with_first(codecs.MODEL)


class Searches(Protocol):
    """Executes nodes that tune."""

    def run(self, attempt: Attempt) -> Outcome | Failure:
        """Search, and give what the node gives."""
        ...


class Here(InProcess):
    """Calls steps in this process.

    Args:
        nodes: Makes what executes the nodes that tune.
        stock: What was declared of this machine.
    """

    def __init__(
        self,
        nodes: Callable[[], Searches],
        *,
        builtins: Mapping[str, Callable[..., Any]],
        stock: Stock | None = None,
    ) -> None:
        super().__init__(builtins=builtins, codecs=CODECS, stock=stock)
        self._nodes = nodes

    def _call(self, attempt: Attempt) -> Outcome | Failure:
        return self._nodes().run(attempt) if attempt.function == TUNE else super()._call(attempt)


def tuned(plan: Plan) -> dict[str, str]:
    """Where the functions were loaded from that the nodes of a plan tune."""
    return {node.params["step"]["function"]: node.file for node in plan.nodes if node.function == TUNE}


def pinned(params: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of a tuning node with the code that it tunes, which is so part of its step key."""
    from stellwerk.pipelines.tuning.trial import digest_of

    function = params["step"]["function"]
    return {**params, "code": digest_of(function, files[function])}
