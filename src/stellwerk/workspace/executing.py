"""Executors by the names that people give: `in-process`, `pool`, `pool:4`."""

from __future__ import annotations

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.pool import Pool
from stellwerk.pipelines.ports import Executor
from stellwerk.workspace import codecs


def executor(name: str, here: InProcess) -> Executor:
    """The executor of a name. `Invalid` for one that nobody knows.

    Args:
        here: The one of this process, which built-in steps run in.
    """
    kind, _, rest = name.partition(":")
    if name == "in-process":
        return here
    if kind == "pool" and (not rest or (rest.isdigit() and int(rest) > 0)):
        return Pool(workers=int(rest) if rest else None, codecs=(codecs.REFERENCE,))
    raise Invalid(
        f"there is no executor {name!r} (expected in-process, pool, or pool:4 for four at a time)",
        code="unknown-executor",
    )
