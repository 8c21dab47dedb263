"""Hearing of what a notebook executes and what a script is given, through IPython's own events and through argparse."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from stellwerk.tracking.model import Status
from stellwerk.workspace.recording.cells import constants
from stellwerk.workspace.recording.origin import Origin


class Notes(Protocol):
    """Who is told. Nothing of it raises."""

    def cell(self, number: int, text: str) -> None:
        """A cell begins to run."""
        ...

    def ran(self, number: int, status: Status, error: str = "", shown: int = 0) -> None:
        """It ended."""
        ...

    def parameters(self, given: Any) -> None:
        """Parameters have these values now."""
        ...


class _Cells:
    """Counts the cells that run. The one in which listening began had begun before.

    The number that a front end shows is known when a cell has ended: before, versions of IPython say different ones.
    """

    def __init__(self, shell: Any, notes: Notes) -> None:
        self._shell, self._notes = shell, notes
        self._open, self._count = False, 0

    def begins(self, info: Any) -> None:
        self._open, self._count = True, self._count + 1
        self._notes.cell(self._count, self._text(info))

    def ends(self, result: Any) -> None:
        if not self._open:
            self.begins(result.info)
        self._open = False
        error = result.error_before_exec or result.error_in_exec
        shown = int(result.execution_count or 0)
        if error is None:
            self._notes.ran(self._count, "finished", shown=shown)
        else:
            status: Status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self._notes.ran(self._count, status, f"{type(error).__name__}: {error}"[:2000], shown=shown)

    def _text(self, info: Any) -> str:
        """Of a cell as it was typed."""
        return str(getattr(info, "raw_cell", ""))


def listen(shell: Any, notes: Notes) -> Callable[[], None]:
    """Tell of every cell. Returns what ends it."""
    cells = _Cells(shell, notes)
    heard = (("pre_run_cell", cells.begins), ("post_run_cell", cells.ends))
    for event, callback in heard:
        shell.events.register(event, callback)

    def stop() -> None:
        for event, callback in heard:
            with contextlib.suppress(ValueError):
                shell.events.unregister(event, callback)

    return stop


def arguments(notes: Notes, origin: Origin) -> None:
    """Tell of the constants of a script, and of what its command line gives."""
    if origin.path is not None:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            notes.parameters(constants(origin.path.read_text("utf-8")))
    before = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self: Any, *given: Any, **more: Any) -> Any:
        answer = before(self, *given, **more)
        with contextlib.suppress(TypeError):
            notes.parameters(vars(answer[0]))
        return answer

    argparse.ArgumentParser.parse_known_args = parse_known_args  # type: ignore[method-assign]
