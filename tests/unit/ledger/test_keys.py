"""A book's keys follow from each other; what a replaced key signs afterwards counts for nobody (L9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.clock import parse_instant
from stellwerk.core.errors import Corrupt
from stellwerk.ledger import keys, rules
from stellwerk.ledger.adapters.ed25519 import CurrentSigner, Ed25519Verifier, FileSigner, create_key, next_key
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.model import KeyLink
from stellwerk.ledger.verify import verify_book
from stellwerk.testing.fakes import StandingClock

ORIGIN = "example.com/book"
VERIFIER = Ed25519Verifier()


class House:
    """A book with three keys in turn, two entries and a checkpoint under each."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.clock = StandingClock()
        self.database = Database(self.path, self.clock)
        self.database.create(ORIGIN)
        self.book = WorkspaceBook(self.database, "default", "anna")
        self.ring = keys.KeyRing(self.book, ORIGIN, VERIFIER)
        self.signers = [self._signer(folder / f"key-{number}") for number in range(3)]
        with self.book.write() as tx:
            tx.record("workspace.created", "workspace:default", {"key": self.signers[0].public_key.hex()})
        self.work(self.signers[0])
        for old, new in zip(self.signers, self.signers[1:], strict=False):
            self.clock.advance(timedelta(days=30))
            self.rotate(old, new)
            self.work(new)

    @staticmethod
    def _signer(path: Path) -> FileSigner:
        create_key(path)
        return FileSigner(path)

    def rotate(self, old: FileSigner, new: FileSigner, **changes: Any) -> None:
        body = keys.announce(ORIGIN, self.ring.links(), old, new, why="a test", compromised=False)
        with self.book.write() as tx:
            tx.record("key.rotated", "workspace:default", body | changes)

    def work(self, signer: FileSigner) -> str:
        with self.book.write() as tx:
            tx.record("thing.made", "thing:1")
        return self.database.checkpoint(ORIGIN, signer).note

    def problems(self, *notes: str, key: bytes | None = None) -> list[str]:
        known = self.signers[-1].public_key if key is None else key
        return [
            finding.problem for finding in verify_book(self.path, ORIGIN, VERIFIER.verify, notes, public_key=known)[1]
        ]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


def test_every_key_of_the_book_leads_to_the_others(house: House) -> None:
    """Whoever knows any one of the keys can verify the whole book; no other key will do."""
    for signer in house.signers:
        assert [] == house.problems(key=signer.public_key)
    assert ["the key that was known beforehand is none of this book's"] == house.problems(key=bytes(32))
    assert [0, 3, 5] == [link.since for link in house.ring.links()]


def test_a_checkpoint_counts_under_the_key_of_its_time(house: House) -> None:
    """A replaced key signs no later book, and a new one no earlier book, though both are this workspace's."""
    size = house.database.size()
    first, second, third = house.signers
    late = rules.sign_checkpoint(ORIGIN, size, _root(house, size), first).note
    early = rules.sign_checkpoint(ORIGIN, 2, _root(house, 2), third).note

    assert [f"the checkpoint at {size} entries is not signed by this workspace"] == house.problems(late)
    assert ["the checkpoint at 2 entries is not signed by this workspace"] == house.problems(early)
    assert [] == house.problems(rules.sign_checkpoint(ORIGIN, 4, _root(house, 4), second).note)
    for note in (late, early):
        with pytest.raises(Corrupt):
            keys.open_checkpoint(note, house.ring.links(), VERIFIER)


def _root(house: House, size: int) -> bytes:
    leaves = [rules.leaf_hash(rules.entry_bytes(entry)) for entry in house.book.entries(limit=size)]
    nodes: dict[tuple[int, int], bytes] = {}
    for number, leaf in enumerate(leaves):
        for level, index, value in rules.new_nodes(number, leaf, lambda *place: nodes[place]):
            nodes[level, index] = value
    return rules.root(size, lambda *place: nodes[place])


@pytest.mark.parametrize(
    "forge",
    [
        lambda body: body | {"signatures": body["signatures"] | {"previous": body["signatures"]["new"]}},
        lambda body: body | {"signatures": body["signatures"] | {"new": body["signatures"]["previous"]}},
        lambda body: body | {"number": body["number"] + 1},
        lambda body: body | {"previous": body["key"]},
        lambda body: body | {"key": "00" * 32},
        lambda body: body | {"key": "nonsense"},
        lambda body: body | {"signatures": {}},
        lambda body: body | {"signatures": None},
        lambda body: {"why": "a test"},
    ],
)
def test_a_key_that_was_not_announced_is_none(
    house: House, forge: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """An entry that names a new key without both signatures, or another place in the chain, is found by both
    readers, and nothing that the key signs counts."""
    stranger = House._signer(house.path.with_name("stranger"))
    body = keys.announce(ORIGIN, house.ring.links(), house.signers[-1], stranger, why="a test", compromised=False)
    with house.book.write() as tx:
        entry = tx.record("key.rotated", "workspace:default", forge(body))
    note = house.work(stranger)

    problems = house.problems(note)

    assert "the change of the signing key is not signed by the old key and the new one" in problems
    assert any("is not signed by this workspace" in problem for problem in problems)
    found = verify_book(house.path, ORIGIN, VERIFIER.verify, public_key=house.signers[0].public_key)[1]
    assert entry.sequence in [finding.sequence for finding in found]
    with pytest.raises(Corrupt):
        house.ring.links()


def test_an_announcement_of_another_book_is_none(house: House) -> None:
    """What keys signed for one book moves nothing in another."""
    links = house.ring.links()

    assert links == tuple(keys.check(ORIGIN, links, VERIFIER))
    with pytest.raises(Corrupt):
        keys.check("example.com/other", links, VERIFIER)


@pytest.mark.parametrize("change", [{"key": "zz"}, {"number": 5}, {"since": 0}, {"signatures": {}}, {"previous": ""}])
def test_links_that_somebody_sent_are_checked(house: House, change: dict[str, Any]) -> None:
    """A chain with anything else in it is refused."""
    links = house.ring.links()

    with pytest.raises(Corrupt):
        keys.check(ORIGIN, [*links[:-1], replace(links[-1], **change)], VERIFIER)


def test_work_under_way_is_completed(house: House) -> None:
    """For an hour after a rotation both keys count for statements and tokens; for a compromised key, no moment."""
    at = parse_instant("2026-01-02T03:04:05.000000Z")
    first = KeyLink(number=0, key="00" * 32, since=0, at=at)
    second = KeyLink(number=1, key="11" * 32, since=7, at=at, previous=first.key)
    chain = [first, second]

    assert (bytes(32),) == keys.trusted(chain, at, 6)
    assert (b"\x11" * 32, bytes(32)) == keys.trusted(chain, at, 7)
    assert (b"\x11" * 32, bytes(32)) == keys.trusted(chain, at + keys.GRACE)
    assert (b"\x11" * 32,) == keys.trusted(chain, at + keys.GRACE + timedelta(seconds=1))
    assert (b"\x11" * 32,) == keys.trusted([first, replace(second, compromised=True)], at)
    assert () == keys.trusted([], at)


def test_the_signer_follows_the_book(tmp_path: Path) -> None:
    """It signs with the key that the book names, completes a rotation that was cut off, and refuses any other."""
    path = tmp_path / "signing.key"
    create_key(path)
    create_key(next_key(path))
    old, new = FileSigner(path), FileSigner(next_key(path))
    named = [""]
    signer = CurrentSigner(path, lambda: named[0])

    assert old.public_key == signer.public_key
    named[0] = old.public_key.hex()
    assert (old.key_id, old.sign(b"x")) == (signer.key_id, signer.sign(b"x"))
    assert next_key(path).exists()
    named[0] = new.public_key.hex()
    assert new.sign(b"x") == signer.sign(b"x")
    assert new.public_key == FileSigner(path).public_key
    assert not next_key(path).exists()
    named[0] = "00" * 32
    with pytest.raises(Corrupt) as caught:
        signer.sign(b"x")
    assert "foreign-key" == caught.value.code
