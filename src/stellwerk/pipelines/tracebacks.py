"""Tracebacks for users: the frames of their own code and the exception. Other frames are left out."""

from __future__ import annotations

import traceback
from pathlib import Path

from stellwerk.pipelines import source

MAX_CHARACTERS = 20_000


def user_traceback(error: BaseException) -> str:
    """The exception and what caused it, with the frames of the project's files under their short names."""
    shown = traceback.TracebackException.from_exception(error)
    _keep_own(shown)
    text = "".join(shown.format()).rstrip()
    return text if len(text) <= MAX_CHARACTERS else text[-MAX_CHARACTERS:]


def place(error: BaseException) -> str:
    """Where in the project's files it was raised, `flow.py, line 7`; empty if in none of them."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if source.own(frame.filename)]
    return f"{_name(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""


def only_ours(error: BaseException) -> bool:
    """Whether all code that it passed is Stellwerk's, and nothing of the project caused it."""
    if not all(source.ours(frame.filename) for frame in traceback.extract_tb(error.__traceback__)):
        return False
    cause, seen = error.__cause__ or error.__context__, set[int]()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if place(cause):
            return False
        cause = cause.__cause__ or cause.__context__
    return True


def one_line(error: BaseException) -> str:
    """`ValueError: what it says`, without line breaks."""
    text = " ".join("".join(traceback.format_exception_only(error)).split())
    return text[:500]


def _keep_own(shown: traceback.TracebackException | None) -> None:
    seen: set[int] = set()
    waiting = [shown]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        own = [frame for frame in current.stack if source.own(frame.filename)]
        # Pipelines that are installed as a package have no file of a project.
        own = own or [frame for frame in current.stack if not source.ours(frame.filename)]
        current.stack = traceback.StackSummary.from_list([_short(frame) for frame in own])
        if getattr(current, "filename", None):  # of a SyntaxError
            current.filename = _name(current.filename)
        waiting += [current.__cause__, current.__context__, *(current.exceptions or ())]


def _short(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    return traceback.FrameSummary(_name(frame.filename), frame.lineno, frame.name, line=frame.line)


def _name(file: str) -> str:
    """The path as seen from the current folder, or just the name of a file that lies elsewhere."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except ValueError:
        return Path(file).name
