"""Many entries at once make the same bytes and the same tree as one after another."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.clock import format_instant
from stellwerk.ledger import rules
from stellwerk.ledger.growing import Edge, grown
from stellwerk.ledger.model import Entry
from stellwerk.ledger.spelling import Spelling
from stellwerk.testing.fakes import StandingClock

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20)
bodies = st.dictionaries(
    texts, st.recursive(st.none() | texts | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e9, 1e9), st.lists)
)


@given(parts=st.lists(st.integers(0, 40), max_size=12))
def test_any_way_of_cutting_makes_one_tree(parts: list[int]) -> None:
    """However leaves are cut into transactions, the nodes are those of appending each leaf alone."""
    leaves = [hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(sum(parts))]
    alone: dict[tuple[int, int], bytes] = {}
    for size, leaf in enumerate(leaves):
        for level, index, value in rules.new_nodes(size, leaf, lambda level, index: alone[level, index]):
            alone[level, index] = value

    together: dict[tuple[int, int], bytes] = {}
    looked_up: list[tuple[int, int]] = []

    def look_up(level: int, index: int) -> bytes:
        looked_up.append((level, index))
        return together[level, index]

    edge, size = Edge(look_up), 0
    for number, part in enumerate(parts):
        rows = list(grown(size, leaves[size : size + part], edge))
        assert not {(level, index) for level, index, _ in rows} & set(together), "a node is written once"
        together.update({(level, index): value for level, index, value in rows})
        edge.learn(rows)
        if number % 3 == 2:
            edge.forget()
        size += part

    assert alone == together
    assert len(looked_up) <= (len(parts) // 3 + 1) * 12, "the edge is in memory, and looked up only when forgotten"


@given(sequence=st.integers(0, 2**53 - 1), names=st.lists(texts, min_size=4, max_size=4), body=bodies)
def test_the_fast_spelling_is_the_canonical_one(sequence: int, names: list[str], body: dict[str, Any]) -> None:
    """Byte for byte what `rules.entry_bytes` writes, for every text and body."""
    now = StandingClock().now()
    workspace, actor, kind, subject = names
    spelling = Spelling(workspace, actor, now)
    expected = rules.entry_bytes(
        Entry(sequence=sequence, at=now, workspace=workspace, actor=actor, kind=kind, subject=subject, body=body)
    )

    data, inner = spelling.entry(sequence, kind, subject, body)

    assert expected == data
    assert format_instant(now) == spelling.at
    assert rules.parse_entry(data).body == rules.canonical.loads(inner)
