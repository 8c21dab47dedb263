"""Running a step again with the inputs it had: to see whether it ends the same way. Nothing is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Refused
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.loading import resolve
from stellwerk.pipelines.model import BUILTIN, Failure, Outcome
from stellwerk.workspace import builtins
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.resolving import Names
from stellwerk.workspace.steps import performing
from stellwerk.workspace.steps.past import Account, function_here

HARMLESS = ("contract", "evaluate", "split", "command")
"""Built-in steps that change nothing in the workspace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """How a step ended this time, beside how it ended before.

    Args:
        same: Whether it ended the same way: with equal outputs, or with the same failure.
        before: The error of the newest run that failed; empty if the key has a result.
        outputs: Digests by name, if it did not fail.
        differing: The outputs whose bytes are different from the remembered ones.
    """

    same: bool
    before: str
    error: str = ""
    hint: str = ""
    traceback: str = ""
    log: str = ""
    seconds: float = 0.0
    outputs: dict[str, Digest] = field(default_factory=dict)
    differing: tuple[str, ...] = ()


def again(caller: Caller, found: Account, folder: Path) -> Again:
    """Execute the step of a key once more, with the code in a folder, within the limits that it declares."""
    node = function_here(found, folder)
    builtin = node.function.removeprefix(BUILTIN) if node.function.startswith(BUILTIN) else ""
    if builtin and builtin not in HARMLESS:
        raise Refused(
            f"the built-in step {builtin!r} changes the workspace, so it is not run again just to look",
            code="not-repeatable",
            hint="`stellwerk run` runs the pipeline",
        )
    code = None if builtin else closure(resolve(node.function, node.file))
    one = performing.attempt(found.task or node.id, node, found.said, code, caller)
    names = Names(caller, folder)
    ended = performing.execute(one, builtins.table(names.contract, _never))
    return _judged(found, ended)


def _judged(found: Account, ended: Outcome | Failure) -> Again:
    failed = found.failed if found.done is None else None
    before = failed.error if failed is not None else ""
    if isinstance(ended, Failure):
        return Again(
            same=ended.message == before,
            before=before,
            error=ended.message,
            hint=ended.hint,
            traceback=ended.traceback,
            log=ended.log,
            seconds=ended.seconds,
        )
    outputs = {name: of_bytes(value.data) for name, value in ended.outputs.items()}
    known = found.done.outputs if found.done is not None else {}
    differing = tuple(name for name, digest in outputs.items() if known and known.get(name) != digest)
    return Again(
        same=bool(known) and not differing,
        before=before,
        log=ended.log,
        seconds=ended.seconds,
        outputs=outputs,
        differing=differing,
    )


def _never(**_: object) -> Any:
    raise Refused("a step that is run again seals nothing", code="not-repeatable")
