"""Telling those who wait for spans of a trace that some have come, within one process.

Whoever waits looks first, and again when the time is up: spans that came by another process are found then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock


class Arrivals:
    """Who waits for what. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[str, list[Callable[[], object]]] = {}

    @contextmanager
    def awaited(self, trace: str, tell: Callable[[], object]) -> Iterator[None]:
        """Inside the block, `tell` is called whenever spans of a trace have come, by the thread that kept them."""
        with self._lock:
            self._waiting.setdefault(trace, []).append(tell)
        try:
            yield
        finally:
            with self._lock:
                self._waiting[trace].remove(tell)
                if not self._waiting[trace]:
                    del self._waiting[trace]

    def announce(self, traces: Iterable[str]) -> None:
        """Say that spans of traces are here."""
        with self._lock:
            told = [tell for one in traces for tell in self._waiting.get(one, ())]
        for tell in told:
            tell()
