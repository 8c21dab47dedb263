"""Puts records into outboxes (`docs/formats/outbox.md`), in order, in a thread of its own: who says something goes on."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stellwerk.core.clock import milliseconds
from stellwerk.core.errors import StellwerkError
from stellwerk.tracking import segments
from stellwerk.tracking.adapters.outbox import Outbox

GATHER_SECONDS = 0.2
"""What is said within this time is written together."""
MOST = 200_000
"""Waiting records; what is said beyond them is lost, for memory is the user's."""


class _Said(NamedTuple):
    run: str
    says: dict[str, Any]
    data: bytes


class Pen:
    """Writes the records of the runs of one process.

    Args:
        folder: The outbox.
        told: Called in the thread with a run of which something was written, and whether it is the first.
    """

    def __init__(self, folder: Path, told: Callable[[str, bool], None]) -> None:
        self._folder, self._told = folder, told
        self._waiting: deque[_Said] = deque()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._boxes: dict[str, Outbox] = {}
        self.problem: StellwerkError | None = None
        self._thread = threading.Thread(target=self._work, name="stellwerk auto", daemon=True)
        self._thread.start()

    def write(self, run: str, says: dict[str, Any], data: bytes = b"") -> None:
        """Say something of a run."""
        if len(self._waiting) < MOST:
            self._waiting.append(_Said(run, says, data))
            self._wake.set()

    def point(self, run: str, key: str, value: float, step: int) -> None:
        """One value of a metric."""
        self.write(run, {"kind": "point", "key": key, "value": value, "at": milliseconds(), "step": step})

    def close(self, seconds: float) -> bool:
        """Write what waits; False where that takes longer."""
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            if not self._closing.is_set():
                time.sleep(GATHER_SECONDS)
            closing = self._closing.is_set()
            self._wake.clear()
            for said in self._gathered():
                try:
                    self._put(said)
                except StellwerkError as problem:
                    self.problem = problem  # a full disk, say: what is recorded is worth less than the user's work
            if closing:
                for box in self._boxes.values():
                    box.close()
                return

    def _put(self, said: _Said) -> None:
        first = said.run not in self._boxes
        if first:
            self._boxes[said.run] = Outbox(self._folder, said.run)
        box = self._boxes[said.run]
        box.append(said.says, said.data)
        if said.says["kind"] == "end":
            self._boxes.pop(said.run).close()
        self._told(said.run, first)

    def _gathered(self) -> Iterator[_Said]:
        """What waits, points of a run that follow each other as one segment."""
        rows: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
        of = ""
        while self._waiting:
            said = self._waiting.popleft()
            if rows and (said.run != of or said.says["kind"] != "point"):
                yield _segment(of, rows)
            if said.says["kind"] == "point":
                of, one = said.run, said.says
                rows[one["key"]].append((one["at"], one["step"], one["value"]))
            else:
                yield said
        if rows:
            yield _segment(of, rows)


def _segment(run: str, rows: dict[str, list[tuple[int, int, float]]]) -> _Said:
    data = segments.encode({key: segments.series(found) for key, found in rows.items()})
    rows.clear()
    return _Said(run, {"kind": "points"}, data)
