"""Places where a test may make the program die or fail, one before and after each durable step.

Off unless `STELLWERK_FAIL` is set when the process starts: `name:action:nth`, several separated by commas.
Actions: `kill` (SIGKILL to this process), `full` (no space left), `eio` (input/output error).
"""

from __future__ import annotations

import errno
import os
import signal

NAMES: set[str] = set()
"""Every failpoint compiled into the code, so that a test can demand that each was hit."""


def _parse(text: str) -> dict[str, list[tuple[str, int]]]:
    plan: dict[str, list[tuple[str, int]]] = {}
    for part in filter(None, text.split(",")):
        name, action, nth = part.split(":")
        plan.setdefault(name, []).append((action, int(nth)))
    return plan


_PLAN = _parse(os.environ.get("STELLWERK_FAIL", ""))
_HITS: dict[str, int] = {}


def declare(*names: str) -> None:
    """Name the failpoints of a module at import."""
    NAMES.update(names)


def hit(name: str) -> None:
    """Pass a failpoint. Costs one look at an empty dict in production."""
    if not _PLAN:
        return
    _HITS[name] = _HITS.get(name, 0) + 1
    for action, nth in _PLAN.get(name, ()):
        if _HITS[name] != nth:
            continue
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC if action == "full" else errno.EIO, f"failpoint {name}")
