"""Adding up what spans used: in any order, in any pieces, and however often they are sent."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import MemoryBlobs, StandingClock
from stellwerk.tracking import spans
from stellwerk.tracking.adapters.counts import SqlCounts
from stellwerk.tracking.collector import Collector
from stellwerk.tracking.counting import COST, USAGE, Count, Loose, Totals, added, total
from stellwerk.tracking.spans import Span
from stellwerk.tracking.traced import TRACES

AMOUNTS = st.dictionaries(st.sampled_from("ab"), st.sampled_from([0, 1, 3, 0.1, 0.2, 1e14]), max_size=2)


@st.composite
def forests(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Spans, some without the one that they are within, some within themselves."""
    names = [str(number) for number in range(1, draw(st.integers(1, 7)) + 1)]
    return [
        {"span": name, "parent": draw(st.sampled_from(["", "9", *names])), "usage": draw(AMOUNTS),
         "cost": draw(AMOUNTS)}
        for name in names
    ]  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Spans, and how they are sent."""
    known = draw(forests())
    sent = draw(st.permutations(known + draw(st.lists(st.sampled_from(known), max_size=5))))
    cuts = sorted(draw(st.sets(st.integers(1, len(sent)), max_size=4)) | {0, len(sent)})
    return known, [sent[start:stop] for start, stop in pairwise(cuts)]


def reference(forest: list[dict[str, Any]]) -> dict[tuple[int, str], Fraction]:
    """What spans used, written down a second time: each one looks upwards for another one that counts."""
    by_name = {one["span"]: one for one in forest}
    sums: dict[tuple[int, str], Fraction] = {}
    for kind, field in ((USAGE, "usage"), (COST, "cost")):
        for one in forest:
            above, seen = by_name.get(one["parent"]), set()
            while above is not None and not above[field] and above["span"] not in seen:
                seen.add(above["span"])
                above = by_name.get(above["parent"])
            if above is None or not above[field]:
                for name, number in one[field].items():
                    sums[kind, name] = sums.get((kind, name), Fraction(0)) + Fraction(number)
    return sums


def exact(totals: Totals) -> dict[tuple[int, str], Fraction]:
    """Sums by kind and name."""
    of_kinds = ((USAGE, totals.usage), (COST, totals.cost))
    return {(kind, name): one.exact for kind, sums in of_kinds for name, one in sums.items()}


@settings(max_examples=300, deadline=None)
@given(streams())
def test_pieces_add_up_to_the_whole(given_: tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]) -> None:
    known, pieces = given_
    tree, totals = Loose(), Totals()
    for piece in pieces:
        totals = added(tree, [Count(**one) for one in piece], totals)

    assert reference(known) == exact(totals) == exact(total([Count(**one) for one in known]))


@settings(max_examples=200, deadline=None)
@given(forests(), st.lists(forests(), min_size=1, max_size=3))
def test_what_comes_later_replaces(first: list[dict[str, Any]], later: list[list[dict[str, Any]]]) -> None:
    """Also where a span says of itself that it is elsewhere, or counts no more."""
    tree, totals = Loose(), Totals()
    standing: dict[str, dict[str, Any]] = {}
    for piece in (first, *later):
        standing |= {one["span"]: one for one in piece}
        totals = added(tree, [Count(**one) for one in piece], totals)

    assert reference(list(standing.values())) == exact(totals)


def test_integers_stay_integers() -> None:
    """Tokens are no fractions; a sum with one is one, and none of it depends on the order."""
    found = total([Count(span="1", usage={"n": 1, "x": 1}), Count(span="2", usage={"n": 2, "x": 0.5})]).usage

    assert ["3", "1.5"] == [json.dumps(found[name].value) for name in ("n", "x")]


def sent(one: dict[str, Any]) -> Span:
    keys = {"usage": spans.USAGE, "cost": spans.COST}
    said = [
        {"key": key, "value": {"string_value": json.dumps(one[field])}} for field, key in keys.items() if one[field]
    ]
    made: Span = {"trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==", "span_id": one["span"], "attributes": said}
    return {**made, "parent_span_id": one["parent"]} if one["parent"] else made


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(streams())
def test_exports_add_up_to_the_whole(
    database: Database,
    clock: StandingClock,
    given_: tuple[list[dict[str, Any]], list[list[dict[str, Any]]]],
) -> None:
    """The metadata of a trace after many exports is that after one, on every database."""
    known, pieces = given_
    book, told = WorkspaceBook(database, "default", "anna"), []
    number = len(book.entries(kinds=["trace."]))
    for way, exports in (("a", pieces), ("b", [known])):
        trace = f"tr-{number}{way}"
        collector = Collector(book, MemoryBlobs(), SqlCounts())
        for export in exports:
            collector.log("0", {trace: [sent(one) for one in export]}, {})
        with book.read() as reader:
            told.append(TRACES.get(reader, trace).metadata)

    assert told[0] == told[1]
