"""Proofs of books whose sizes are at the edges of the tree; whatever is done to one, it convinces nobody (L8)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from stellwerk.core.errors import Invalid
from stellwerk.ledger import rules

SIZES = sorted({1, *(2**k + d for k in range(1, 11) for d in (-1, 0, 1))})
LEAVES = [rules.leaf_hash(b"entry %d" % number) for number in range(SIZES[-1])]


@pytest.fixture(scope="module")
def nodes() -> dict[tuple[int, int], bytes]:
    """The stored nodes of the largest book; those of every smaller one are among them."""
    found: dict[tuple[int, int], bytes] = {}
    for size, leaf in enumerate(LEAVES):
        for level, index, value in rules.new_nodes(size, leaf, lambda *place: found[place]):
            found[level, index] = value
    return found


def mutations(proof: list[bytes], chance: random.Random) -> Iterator[list[bytes]]:
    """The same proof with something wrong in it."""
    for place, value in enumerate(proof):
        flipped = bytearray(value)
        flipped[chance.randrange(32)] ^= 1 << chance.randrange(8)
        yield [*proof[:place], bytes(flipped), *proof[place + 1 :]]
        yield [*proof[:place], *proof[place + 1 :]]
        yield [*proof[:place], value, *proof[place:]]
        yield [*proof[:place], value[:-1], *proof[place + 1 :]]
        yield [*proof[:place], b"", *proof[place + 1 :]]
    for place in range(len(proof) - 1):
        yield [*proof[:place], proof[place + 1], proof[place], *proof[place + 2 :]]
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]
    if proof:
        yield [proof[0] + proof[-1]]
        yield []


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_at_the_edges(nodes: dict[tuple[int, int], bytes], size: int) -> None:
    """The first, the last and the middle entries are proven; no mutated proof, other place or node convinces."""
    head = rules.root(size, lambda *place: nodes[place])
    chance = random.Random(size)
    for index in sorted({0, 1, size // 2, size - 2, size - 1} & set(range(size))):
        proof = rules.inclusion_proof(index, size, lambda *place: nodes[place])

        assert rules.verify_inclusion(LEAVES[index], index, size, proof, head)

        for mutated in mutations(proof, chance):
            assert not rules.verify_inclusion(LEAVES[index], index, size, mutated, head)
        for place in {index - 1, index + 1, index + size, size}:
            assert not rules.verify_inclusion(LEAVES[index], place, size, proof, head)


@pytest.mark.parametrize("new", SIZES)
def test_consistency_at_the_edges(nodes: dict[tuple[int, int], bytes], new: int) -> None:
    """Every earlier size at an edge is proven to begin the later one; no mutated proof, root or size convinces."""
    chance = random.Random(new)
    heads = {size: rules.root(size, lambda *place: nodes[place]) for size in SIZES}
    for old in [size for size in SIZES if size < new]:
        proof = rules.consistency_proof(old, new, lambda *place: nodes[place])

        assert rules.verify_consistency(old, new, heads[old], heads[new], proof)

        for mutated in mutations(proof, chance):
            assert not rules.verify_consistency(old, new, heads[old], heads[new], mutated)
        assert not rules.verify_consistency(old, new, heads[new], heads[old], proof)
        assert not rules.verify_consistency(new, old, heads[new], heads[old], proof)
        assert not rules.verify_consistency(old, new, bytes(32), heads[new], proof)


def test_the_empty_book(nodes: dict[tuple[int, int], bytes]) -> None:
    """It has the root of nothing, holds no entry, and proves nothing."""
    assert rules.EMPTY_ROOT == rules.root(0, lambda *place: nodes[place])
    assert not rules.verify_inclusion(LEAVES[0], 0, 0, [], rules.EMPTY_ROOT)
    assert not rules.verify_consistency(0, 5, rules.EMPTY_ROOT, bytes(32), [])
    assert rules.verify_consistency(0, 0, rules.EMPTY_ROOT, rules.EMPTY_ROOT, [])
    with pytest.raises(Invalid):
        rules.inclusion_proof(0, 0, lambda *place: nodes[place])
    with pytest.raises(Invalid):
        rules.consistency_proof(0, 5, lambda *place: nodes[place])


def test_an_inner_node_is_no_entry(nodes: dict[tuple[int, int], bytes]) -> None:
    """The prefixes keep entries and nodes apart: no bytes of an entry hash to what two leaves make (RFC 6962, 2.1)."""
    head = rules.root(4, lambda *place: nodes[place])
    forged = rules.leaf_hash(nodes[0, 0] + nodes[0, 1])

    assert not rules.verify_inclusion(forged, 0, 2, [nodes[1, 1]], head)
