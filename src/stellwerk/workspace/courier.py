"""The process that brings what a recorded process notes to the workspace, while that one works and after it has gone.

Start it with `python -P -m stellwerk.workspace.courier`. It is told over standard input: a line of JSON with
the place and the outbox, then a line whenever something of a run was written. When the input ends, so has the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import StellwerkError
from stellwerk.core.files import replace_text
from stellwerk.core.frames import HEADER, payloads

RETRY_SECONDS = 5.0
LAST_SECONDS = 60.0
"""How long it goes on after the process has gone. What is left then stays in the outbox."""


class Follower:
    """Sends what another process writes of a run, while that one holds its outbox."""

    def __init__(self, folder: Path, run: str) -> None:
        self._run, self._path, self._mark = run, folder / f"{run}.log", folder / f"{run}.sent"
        self._at = self._sent = 0

    def go_on(self, line: Any) -> None:
        """Send what there is. Raises `Unavailable` where the workspace cannot be reached."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:  # somebody else has sent the rest
            return
        for payload in payloads(file, os.fstat(file.fileno()).st_size, whole=False, start=self._at):
            head, _, data = payload.partition(b"\n")
            says = json.loads(head)
            # The last record is left to whoever can see that nothing comes behind it, and what was refused stays.
            if says.get("kind") == "end" or not line.send(self._run, (says, data)):
                return
            self._at += HEADER.size + len(payload)
            self._sent += 1
            replace_text(self._mark, str(self._sent), mode=0o600)


def main() -> None:
    """Follow, then finish."""
    source = sys.stdin.fileno()
    first, rest = _first(source)
    asked = json.loads(first)
    sys.path[:] = asked["path"]
    from stellwerk.workspace import telling

    place, folder = str(asked["place"]), Path(asked["outbox"])
    runs: dict[str, Follower] = {}
    _adopt(place, folder)
    with telling._Line(place) as line:
        for said in _lines(source, rest):
            for run in said:
                runs.setdefault(run, Follower(folder, run))
            for follower in runs.values():
                try:
                    follower.go_on(line)
                except StellwerkError:
                    line.drop()
    _finish(place, folder, set(runs))


def _adopt(place: str, folder: Path) -> None:
    """Send what processes before left behind that were killed; what is being written at this moment is left alone."""
    from stellwerk.workspace import telling

    with contextlib.suppress(StellwerkError):
        telling.send(place, outbox=folder)


def _finish(place: str, folder: Path, runs: set[str]) -> None:
    """The process has gone, and its outboxes are free."""
    from stellwerk.tracking.adapters.outbox import held
    from stellwerk.workspace import telling

    until = monotonic() + LAST_SECONDS
    pause = 0.1
    while runs & set(held(folder)) and monotonic() < until:
        try:
            telling.send(place, outbox=folder, only=runs)
        except StellwerkError:
            pause = RETRY_SECONDS
        select.select([], [], [], pause)


def _first(source: int) -> tuple[bytes, bytes]:
    """The first line, and what came with it, which no buffer must swallow."""
    said = b""
    while b"\n" not in said and (data := os.read(source, 1 << 16)):
        said += data
    first, _, rest = said.partition(b"\n")
    return first, rest


def _lines(source: int, rest: bytes) -> Iterator[list[str]]:
    """What is said, as it comes; also nothing, from time to time, so that what failed is tried again. Ends with it."""
    *whole, rest = rest.split(b"\n")
    yield [one.decode() for one in dict.fromkeys(whole)]
    while True:
        ready, _, _ = select.select([source], [], [], RETRY_SECONDS)
        data = os.read(source, 1 << 16) if ready else None
        if data == b"":
            return
        *whole, rest = (rest + (data or b"")).split(b"\n")
        yield [one.decode() for one in dict.fromkeys(whole)]


if __name__ == "__main__":
    main()
