"""What traces used and cost so far, kept between exports, so that an export costs what it brings.

A trace that came in one piece is added up at once and needs nothing kept; from the second piece on, each of its spans has
a row by what it counts (docs/formats/spans.md). How they are added up is in `counting`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from stellwerk.ledger.ports import Reader, Transaction
from stellwerk.ledger.shelf import Shelf
from stellwerk.tracking import counting
from stellwerk.tracking.counting import Count, Sum, Sums, Totals, Tree
from stellwerk.tracking.traced import COST_KEY, USAGE_KEY

Texts = Mapping[str, str | None]
"""Metadata by its keys; None where nothing was used."""


class Counts(Protocol):
    """The spans of traces, by what they count."""

    def tree(self, tx: Transaction, trace: str) -> Tree:
        """Those of one trace."""
        ...

    def forget(self, tx: Transaction, trace: str) -> None:
        """Take those of a trace away."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a trace used and cost: by name, how many numbers, how many of them with a point, and their exact sum."""

    trace: str
    usage: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    cost: dict[str, tuple[int, int, str]] = field(default_factory=dict)


TALLIES = Shelf("trace_tallies", Tally, key=("trace",))


class Tallies:
    """Adds up what traces used."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def kept(self, reader: Reader, traces: Collection[str]) -> set[str]:
        """Those of some traces whose spans are known here one by one."""
        return {one.trace for one in TALLIES.among(reader, "trace", traces)}

    def add(self, tx: Transaction, trace: str, counts: Sequence[Count]) -> Texts:
        """What a trace used with more spans. Those that are known already count once."""
        known = TALLIES.find(tx, trace)
        before = Totals(usage=_sums(known.usage), cost=_sums(known.cost)) if known else Totals()
        totals = counting.added(self._counts.tree(tx, trace), counts, before)
        tally = Tally(trace=trace, usage=_spelled(totals.usage), cost=_spelled(totals.cost))
        if tally != known:
            TALLIES.put(tx, tally)
        return texts(totals)

    def forget(self, tx: Transaction, trace: str) -> None:
        """Take away what is kept of a trace."""
        self._counts.forget(tx, trace)
        TALLIES.remove(tx, trace)


def texts(totals: Totals) -> Texts:
    """What was used, as the metadata of a trace says it."""
    return {
        key: json.dumps({name: one.value for name, one in sums.items()}, sort_keys=True) if sums else None
        for key, sums in ((USAGE_KEY, totals.usage), (COST_KEY, totals.cost))
    }


def _sums(kept: Mapping[str, tuple[int, int, str]]) -> Sums:
    return {name: Sum(numbers, fractions, Fraction(exact)) for name, (numbers, fractions, exact) in kept.items()}


def _spelled(sums: Sums) -> dict[str, tuple[int, int, str]]:
    return {name: (one.numbers, one.fractions, str(one.exact)) for name, one in sums.items()}
