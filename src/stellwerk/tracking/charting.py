"""What pages draw of many runs at once: their metrics, thinned, and the data that they used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stellwerk.core.errors import NotFound
from stellwerk.ledger.ports import Book
from stellwerk.tracking.logbook import Logbook
from stellwerk.tracking.model import CONTEXT_TAG, Point
from stellwerk.tracking.shelves import RUNS

T = TypeVar("T")
MOST_SUMMARIES = 1000
MOST_RUNS = 20_000
"""Of an experiment are looked through for data."""
_PAGE = 1000
_CROWDED = 10
"""Points at one step, on average, beyond which they are thinned too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedData:
    """That runs of an experiment used data."""

    experiment: str
    name: str
    digest: str
    context: str | None = None


class Charting:
    """Of one workspace. What does not exist has nothing to draw."""

    def __init__(self, book: Book, logbook: Logbook) -> None:
        self._book, self._logbook = book, logbook

    def histories(self, runs: Sequence[str], key: str, *, limit: int) -> list[tuple[str, Point]]:
        """Points of a metric of several runs, ordered by run, time, step and value."""
        found: list[tuple[str, Point]] = []
        for run in sorted(set(runs)):
            found += [(run, point) for point in self._history(run, key, limit - len(found))]
            if len(found) >= limit:
                break
        return found

    def sampled(
        self, runs: Sequence[str], key: str, *, limit: int, between: tuple[int, int] | None = None
    ) -> Iterator[tuple[str, Point]]:
        """Points at about so many steps, the same of all runs and evenly spread, with the first and last of each."""
        steps: set[int] = set()
        ends: set[int] = set()
        for run in runs:
            there = {point.step for point in self._history(run, key) if _within(point, between)}
            steps |= there
            ends |= {min(there), max(there)} if there else set()
        wanted = {*spread(sorted(steps), limit), *ends}
        for run in runs:
            points = sorted(
                (point for point in self._history(run, key) if point.step in wanted),
                key=lambda point: (point.step, point.at, point.value),
            )
            yield from ((run, point) for point in spread(points, _CROWDED * limit))

    def used(self, experiments: Sequence[str]) -> list[UsedData]:
        """The data that runs of some experiments used, each once."""
        found: dict[UsedData, None] = {}
        with self._book.read() as reader:
            for experiment in dict.fromkeys(experiments):
                for offset in range(0, MOST_RUNS, _PAGE):
                    runs = RUNS.select(reader, experiment=experiment, limit=_PAGE, offset=offset)
                    for one in (data for run in runs for data in run.datasets):
                        context = one.tags.get(CONTEXT_TAG)
                        found[UsedData(experiment=experiment, name=one.name, digest=one.digest, context=context)] = (
                            None
                        )
                    if len(runs) < _PAGE or len(found) >= MOST_SUMMARIES:
                        break
        return list(found)[:MOST_SUMMARIES]

    def _history(self, run: str, key: str, limit: int | None = None) -> list[Point]:
        try:
            return self._logbook.history(run, key, limit=limit)
        except NotFound:
            return []


def spread(things: Sequence[T], most: int) -> list[T]:
    """About so many of a sequence, evenly spread, and the last one."""
    if len(things) <= most:
        return list(things)
    apart = len(things) / most
    places = {int(place * apart) for place in range(most)} | {len(things) - 1}
    return [things[place] for place in sorted(places)]


def _within(point: Point, between: tuple[int, int] | None) -> bool:
    return between is None or between[0] <= point.step <= between[1]
