"""What steps wait for: cases that persons decide, times, and entries of the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stellwerk.workspace import operations as ops

if TYPE_CHECKING:
    from stellwerk.core.digest import Digest
    from stellwerk.pipelines.model import Stored, Verdict
    from stellwerk.workspace.ports import Caller


@dataclass
class Watched:
    """The waits of one execution, on the operations of a workspace."""

    caller: Caller
    execution: str
    pipeline: str

    def open(self, key: Digest, task: str, params: Mapping[str, Any], about: Sequence[Stored]) -> str:
        arguments = {
            "execution": self.execution,
            "pipeline": self.pipeline,
            "task": task,
            "key": key,
            "params": dict(params),
            "about": tuple(stored.digest for stored in about),
        }
        return str(self.caller.call(ops.open_wait, arguments))

    def verdict(self, key: Digest, params: Mapping[str, Any]) -> Verdict | None:
        found: Verdict | None = self.caller.call(ops.look_at_wait, {"key": key, "execution": self.execution})
        return found
