"""What spans say that they used and cost, added up span by span: whatever comes when, and however often, it is the same.

A span that counts something counted everything within it, so of the spans that count, those within another one are left
out. Whoever adds spans to a trace looks only at them, at the spans around them, and at those that are now within one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

Amounts = Mapping[str, float]
"""Numbers by what they count, such as `input_tokens`."""
USAGE, COST = 1, 2
KINDS = (USAGE, COST)
"""Bits, as a span can count one and not the other."""


@dataclass(slots=True, kw_only=True)
class Count:
    """What one span counts."""

    span: str
    parent: str = ""
    """Empty where there is none."""
    usage: Amounts = field(default_factory=dict)
    cost: Amounts = field(default_factory=dict)
    covered: int = field(default=0, compare=False)
    """What the spans around it count already."""

    @property
    def counted(self) -> int:
        """What it counts itself."""
        return (USAGE if self.usage else 0) | (COST if self.cost else 0)

    def of(self, kind: int) -> Amounts:
        """What it counts of one kind."""
        return self.usage if kind == USAGE else self.cost


@dataclass(frozen=True, slots=True)
class Sum:
    """Numbers added up exactly, so that their order does not matter and each can be taken away again."""

    numbers: int = 0
    fractions: int = 0
    """How many of them were written with a point."""
    exact: Fraction = Fraction(0)

    def plus(self, number: float, sign: int) -> Sum:
        """With one number more, or one less."""
        real = sign * isinstance(number, float)
        return Sum(self.numbers + sign, self.fractions + real, self.exact + sign * Fraction(number))

    @property
    def value(self) -> float:
        """An integer where all numbers were."""
        return float(self.exact) if self.fractions else int(self.exact)


Sums = dict[str, Sum]


@dataclass(slots=True)
class Totals:
    """What a trace used and cost."""

    usage: Sums = field(default_factory=dict)
    cost: Sums = field(default_factory=dict)

    def add(self, count: Count, kinds: int, sign: int = 1) -> None:
        """Add what a span counts of some kinds, or take it away."""
        for kind in KINDS:
            if kinds & kind:
                sums = self.usage if kind == USAGE else self.cost
                for name, number in count.of(kind).items():
                    sums[name] = sums.get(name, Sum()).plus(number, sign)
                    if not sums[name].numbers:
                        del sums[name]


class Tree(Protocol):
    """The spans of one trace, by what they count."""

    def find(self, spans: Collection[str]) -> Mapping[str, Count]:
        """Those of some spans that are here."""
        ...

    def within(self, spans: Collection[str]) -> Iterable[Count]:
        """The spans directly within some spans."""
        ...

    def everything(self) -> Iterable[Count]:
        """All spans."""
        ...

    def keep(self, counts: Sequence[Count]) -> None:
        """Add spans, or replace them."""
        ...


class Loose:
    """A tree in memory."""

    def __init__(self) -> None:
        self._counts: dict[str, Count] = {}
        self._within: dict[str, dict[str, Count]] = {}

    def find(self, spans: Collection[str]) -> Mapping[str, Count]:
        return {one: self._counts[one] for one in spans if one in self._counts}

    def within(self, spans: Collection[str]) -> Iterable[Count]:
        return [child for one in spans for child in self._within.get(one, {}).values()]

    def everything(self) -> Iterable[Count]:
        return list(self._counts.values())

    def keep(self, counts: Sequence[Count]) -> None:
        for one in counts:
            if one.span in self._counts:
                del self._within[self._counts[one.span].parent][one.span]
            self._within.setdefault(one.parent, {})[one.span] = one
            self._counts[one.span] = one


def total(counts: Sequence[Count]) -> Totals:
    """What spans used and cost, all together."""
    return added(Loose(), counts, Totals())


def added(tree: Tree, counts: Sequence[Count], totals: Totals) -> Totals:
    """What a trace used and cost with more spans, which the tree then holds. Those that are here already count once."""
    sent = {one.span: one for one in counts}
    known = tree.find({*sent, *(one.parent for one in sent.values() if one.parent)})
    fresh = {name: one for name, one in sent.items() if name not in known}
    changed = [one for name, one in sent.items() if name in known and one != known[name]]
    if any(_stands_otherwise(one, known[one.span]) for one in changed):
        return _anew(tree, sent)
    for one in changed:
        one.covered = known[one.span].covered
        totals.add(known[one.span], one.counted & ~one.covered, -1)
        totals.add(one, one.counted & ~one.covered)
    tree.keep(changed)
    for one in fresh.values():
        around = known.get(one.parent)
        one.covered = around.counted | around.covered if around is not None else 0
    gained = _cover(tree, fresh)
    for one, gain in gained:
        totals.add(one, one.counted & gain, -1)
    for one in fresh.values():
        totals.add(one, one.counted & ~one.covered)
    tree.keep([*(one for one, _ in gained), *fresh.values()])
    return totals


def _stands_otherwise(one: Count, known: Count) -> bool:
    return one.parent != known.parent or one.counted != known.counted


def _anew(tree: Tree, sent: Mapping[str, Count]) -> Totals:
    """A span was sent again with another place or without what it counted: everything is added up once more."""
    counts = {one.span: one for one in tree.everything()} | dict(sent)
    for one in counts.values():
        one.covered = 0
    loose = Loose()
    totals = added(loose, list(counts.values()), Totals())
    tree.keep(list(loose.everything()))
    return totals


def _cover(tree: Tree, fresh: Mapping[str, Count]) -> list[tuple[Count, int]]:
    """Say to all spans within fresh ones what is counted around them; returns the older ones that did not know it.

    What a span counts, all spans within it know already. So each span is come upon once for each kind.
    """
    inner: dict[str, list[Count]] = {}
    for one in fresh.values():
        inner.setdefault(one.parent, []).append(one)
    older: dict[str, Count] = {}
    gained: list[tuple[Count, int]] = []
    told = {one.span: one.counted | one.covered for one in fresh.values() if one.counted | one.covered}
    while told:
        further: dict[str, int] = {}
        nearby = (older.setdefault(one.span, one) for one in tree.within(told))
        for one in [*nearby, *(one for span in told for one in inner.get(span, ()))]:
            gain = told[one.parent] & ~one.covered
            if not gain:
                continue
            one.covered |= gain
            if one.span not in fresh:
                gained.append((one, gain))
            if gain & ~one.counted:
                further[one.span] = further.get(one.span, 0) | gain & ~one.counted
        told = further
    return gained
