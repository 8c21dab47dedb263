"""Merkle trees: the published vectors, all trees up to 70 leaves, and no proof of what is not so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.ledger import rules

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
# The roots of the first 0, 1, 2, … leaves, from the test vectors of Certificate Transparency.
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 7): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
MOST = 70


class Tree:
    """The stored nodes of a book, in a dictionary."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        for size, data in enumerate(leaves):
            for level, index, value in rules.new_nodes(size, rules.leaf_hash(data), self.node):
                assert (level, index) not in self.nodes
                self.nodes[level, index] = value

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


numbered = [str(number).encode() for number in range(MOST)]
TREE = Tree(numbered)
HEADS = [rules.root(size, TREE.node) for size in range(MOST + 1)]
HASHES = [rules.leaf_hash(data) for data in numbered]


@pytest.mark.parametrize("size", range(9))
def test_roots_of_certificate_transparency(size: int) -> None:
    """The roots of the first leaves are those that every other implementation computes."""
    assert ROOTS[size] == rules.root(size, Tree(LEAVES[:size]).node).hex()
    assert ROOTS[size] == rules.root(size, Tree(LEAVES).node).hex()


def test_proofs_of_certificate_transparency() -> None:
    """The proofs are those that every other implementation makes, and are accepted."""
    tree = Tree(LEAVES)
    for (index, size), expected in INCLUSION.items():
        proof = rules.inclusion_proof(index, size, tree.node)
        assert expected == [value.hex() for value in proof]
        assert rules.verify_inclusion(rules.leaf_hash(LEAVES[index]), index, size, proof, bytes.fromhex(ROOTS[size]))
    for (old, new), expected in CONSISTENCY.items():
        proof = rules.consistency_proof(old, new, tree.node)
        assert expected == [value.hex() for value in proof]
        assert rules.verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof)


def test_roots_of_all_small_trees() -> None:
    """Roots computed from stored nodes are those of the recursive definition."""
    assert [naive_root(numbered[:size]) for size in range(MOST + 1)] == HEADS


def test_inclusion_in_all_small_trees() -> None:
    """Every entry of every tree up to 70 is proven; the proof convinces of no other leaf, position or root."""
    for size in range(1, MOST + 1):
        for index in range(size):
            proof = rules.inclusion_proof(index, size, TREE.node)
            assert rules.verify_inclusion(HASHES[index], index, size, proof, HEADS[size])
            assert not rules.verify_inclusion(HASHES[index - 1], index, size, proof, HEADS[size]) or size == 1
            assert not rules.verify_inclusion(HASHES[index], index, size, proof, HEADS[size - 1])
            if size > 1:
                assert not rules.verify_inclusion(HASHES[index], (index + 1) % size, size, proof, HEADS[size])
                assert not rules.verify_inclusion(HASHES[index], index, size, proof[:-1], HEADS[size])
            assert not rules.verify_inclusion(HASHES[index], index, size, [*proof, HEADS[1]], HEADS[size])


def test_consistency_of_all_small_trees() -> None:
    """Every tree up to 70 is proven to begin every later one; the proof convinces of no other pair of roots."""
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            proof = rules.consistency_proof(old, new, TREE.node)
            assert rules.verify_consistency(old, new, HEADS[old], HEADS[new], proof)
            assert not rules.verify_consistency(old, new, HEADS[old - 1], HEADS[new], proof)
            assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new - 1], proof)
            assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new], [*proof, HEADS[1]])
            if proof:
                assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new], proof[:-1])
                assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new], proof[1:])


@given(data=st.data())
def test_a_flipped_bit_breaks_a_proof(data: st.DataObject) -> None:
    """No bit of a proof can be changed."""
    new = data.draw(st.integers(2, MOST))
    old = data.draw(st.integers(1, new - 1))
    proofs = {
        "inclusion": rules.inclusion_proof(old, new, TREE.node),
        "consistency": rules.consistency_proof(old, new, TREE.node),
    }
    for kind, proof in proofs.items():
        place, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
        value = bytearray(proof[place])
        value[bit // 8] ^= 1 << bit % 8
        wrong = [*proof[:place], bytes(value), *proof[place + 1 :]]
        if kind == "inclusion":
            assert not rules.verify_inclusion(HASHES[old], old, new, wrong, HEADS[new])
        else:
            assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new], wrong)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (0, -1)])
def test_no_inclusion_outside_the_tree(index: int, size: int) -> None:
    """There is no proof of what is not there, and none is accepted."""
    with pytest.raises(Invalid) as caught:
        rules.inclusion_proof(index, size, TREE.node)

    assert "invalid-proof" == caught.value.code
    assert not rules.verify_inclusion(HASHES[0], index, size, [], HEADS[1])


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, 5), (0, 0)])
def test_no_consistency_outside_the_tree(old: int, new: int) -> None:
    """Trees shrink never; nothing is proven from the empty tree, which begins everything."""
    with pytest.raises(Invalid):
        rules.consistency_proof(old, new, TREE.node)

    assert not rules.verify_consistency(old, new, HEADS[1], HEADS[5], [HEADS[2]])
