"""Garbage collection never takes what somebody refers to, or is about to, and says truly what it freed."""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stellwerk.core.digest import Digest, of_bytes, raw
from stellwerk.core.errors import Refused, Unavailable
from stellwerk.store import service as trees
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.collecting import Collection, Names, check_share, collect, decide, reachable
from stellwerk.store.fsck import Catalogue, check_blobs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEEK = timedelta(days=7)


def usage(root: Path) -> int:
    return sum(
        path.stat().st_size for path in root.rglob("*") if path.is_file() and not path.name.startswith("index.")
    )


def gather(blobs: LocalFolder, roots: list[Digest], now: datetime = NOW, **further: object) -> Collection:
    return collect(blobs, lambda: roots, now=now, sequence=0, since=lambda _: (), **further)  # type: ignore[arg-type]


def test_two_steps_and_a_time_of_grace(tmp_path: Path) -> None:
    """What nothing refers to is marked first, waits, and goes after the time of grace; what is referred to stays."""
    blobs = LocalFolder(tmp_path)
    kept, *lost = blobs.put_many([os.urandom(3000) for _ in range(40)])

    marked = gather(blobs, [kept])
    waiting = gather(blobs, [kept], NOW + WEEK / 2)
    before = usage(tmp_path)
    dry = gather(blobs, [kept], NOW + WEEK, dry_run=True)
    gone = gather(blobs, [kept], NOW + WEEK)

    assert (39, 0, 0) == (marked.marked, marked.removed, marked.freed)
    assert (0, 39, NOW + WEEK) == (waiting.marked, waiting.waiting, waiting.next_at)
    assert (39, 39 * 3000, 0) == (dry.removed, dry.bytes, dry.freed)
    assert (39, before - usage(tmp_path)) == (gone.removed, gone.freed)
    assert gone.freed > 38 * 3000
    assert [kept] == list(blobs)
    assert not any(blobs.has(digest) for digest in lost)


@pytest.mark.parametrize("how", ["put", "has", "put_many", "put_stream"])
def test_asking_for_a_blob_begins_its_grace_anew(tmp_path: Path, how: str) -> None:
    """Whoever puts a marked blob again, or is told that it is there, has the whole grace to refer to it."""
    blobs = LocalFolder(tmp_path)
    data = os.urandom(100)
    digest = blobs.put(data)
    gather(blobs, [])

    {
        "put": lambda: blobs.put(data),
        "has": lambda: blobs.has(digest),
        "put_many": lambda: blobs.put_many([data, b"other"]),
        "put_stream": lambda: blobs.put_stream([data]),
    }[how]()
    after = gather(blobs, [], NOW + WEEK)

    assert 0 == after.removed
    assert data == blobs.get(digest)


def test_what_was_referred_to_meanwhile_is_spared(tmp_path: Path) -> None:
    """References that came while roots were read are looked up again just before the removal."""
    blobs = LocalFolder(tmp_path)
    first, second = blobs.put(b"first"), blobs.put(b"second")
    gather(blobs, [])

    collect(blobs, list, now=NOW + WEEK, sequence=5, since=lambda start: [second] if start == 5 else [])

    assert [second] == list(blobs)
    assert not blobs.has(first)


def test_roots_that_cannot_be_read_remove_nothing(tmp_path: Path) -> None:
    """An error while roots are listed stops everything."""
    blobs = LocalFolder(tmp_path)
    digest = blobs.put(b"precious")
    gather(blobs, [])

    def fails() -> list[Digest]:
        raise Unavailable("the database is away")

    with pytest.raises(Unavailable):
        collect(blobs, fails, now=NOW + WEEK, sequence=0, since=lambda _: ())
    assert b"precious" == blobs.get(digest)


def test_trees_and_what_they_name_are_reachable(tmp_path: Path) -> None:
    """A root holds all files below it, however deep, and JSON documents hold what they mention."""
    blobs = LocalFolder(tmp_path)
    tree = trees.put_files(blobs, {"a/b/c.bin": b"deep", "d": b"flat"})
    note = blobs.put(b'{"about":"%s"}' % of_bytes(b"deep").encode())

    found = reachable(blobs, [tree])

    assert all(name in found for name in raw([tree, *trees.files(blobs, tree).values()]))
    assert raw([note])[0] not in found
    assert raw([of_bytes(b"deep")])[0] in reachable(blobs, [note])
    assert raw([of_bytes(b"flat")])[0] not in reachable(blobs, [note])


@given(
    st.lists(st.lists(st.sampled_from(b"\x00\x01"), min_size=32, max_size=32).map(bytes), max_size=60), st.randoms()
)
def test_a_set_of_names_is_a_set(names: list[bytes], chance: Random) -> None:
    """Also where one name is found across two others."""
    found, known = Names(), set[bytes]()
    for name in [*names, *names]:
        assert found.add(name) == (name not in known)
        known.add(name)
    across = [(one + other)[at : at + 32] for one in names[:5] for other in names[:5] for at in (1, 15, 30)]
    for name in [*across, chance.randbytes(32)]:
        assert (name in found) == (name in known)


def test_the_tree_of_a_very_large_folder_holds_its_files(tmp_path: Path) -> None:
    """A tree that is itself cut into chunks holds every file, also those whose digests lie across two portions."""
    blobs = LocalFolder(tmp_path)
    blobs.large = 100_000
    digests = blobs.put_many(b"%d" % number for number in range(9000))
    tree = trees.put_files(blobs, {f"{number:05}": digest for number, digest in enumerate(digests)})
    assert (tmp_path / "chunked").is_dir()

    found = reachable(blobs, [tree])

    assert all(name in found for name in raw([tree, *digests]))
    with closing(Catalogue(tmp_path)) as catalogue:
        assert blobs.get(tree) == catalogue.read(tree, 1 << 30)
        assert catalogue.read(tree, 1000) is None


@pytest.mark.parametrize(("at", "sequence"), [(NOW + timedelta(seconds=1), 0), (NOW, 1)])
def test_a_clock_or_ledger_that_ran_backwards_stops_it(at: datetime, sequence: int) -> None:
    """With marks from the future no grace can be trusted, so nothing goes."""
    marks = {of_bytes(b"x"): (at.isoformat().replace("+00:00", "Z"), sequence)}

    with pytest.raises(Unavailable) as caught:
        decide([of_bytes(b"x")], marks, NOW, 0, WEEK)
    assert "clock-backwards" == caught.value.code


def test_a_large_share_needs_consent() -> None:
    """More than half of many blobs go only when somebody says so."""
    check_share(100, 100, consent=False)
    check_share(500, 1000, consent=False)
    check_share(501, 1000, consent=True)
    with pytest.raises(Refused) as caught:
        check_share(501, 1000, consent=False)
    assert "too-much-garbage" == caught.value.code


class Writers(RuleBasedStateMachine):
    """Writers put blobs, find them, refer to them within the grace or let go of them, while garbage is collected."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.store = LocalFolder(self.root)
        self.store.few = 1
        self.now = NOW
        self.held: dict[Digest, bytes] = {}
        self.about: dict[Digest, tuple[bytes, datetime]] = {}

    @rule(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=6), many=st.booleans())
    def put(self, numbers: list[int], many: bool) -> None:
        items = [b"%d" % number * (number * 20 + 1) for number in numbers]
        digests = self.store.put_many(items) if many else [self.store.put(item) for item in items]
        self.about.update({d: (item, self.now) for d, item in zip(digests, items, strict=True)})

    @rule(number=st.integers(0, 30))
    def find(self, number: int) -> None:
        item = b"%d" % number * (number * 20 + 1)
        if self.store.has(of_bytes(item)):
            self.about[of_bytes(item)] = (item, self.now)

    @rule(data=st.data())
    @precondition(lambda self: self.about)
    def refer(self, data: st.DataObject) -> None:
        digest = data.draw(st.sampled_from(sorted(self.about)))
        item, since = self.about.pop(digest)
        if self.now - since < WEEK:
            self.held[digest] = item

    @rule(data=st.data())
    @precondition(lambda self: self.held)
    def let_go(self, data: st.DataObject) -> None:
        del self.held[data.draw(st.sampled_from(sorted(self.held)))]

    @rule(days=st.integers(0, 8))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(reopen=st.booleans())
    def gather(self, reopen: bool) -> None:
        if reopen:
            self.store.close()
            self.store = LocalFolder(self.root)
        before = usage(self.root)
        found = gather(self.store, list(self.held), self.now, consent=True)
        assert before - usage(self.root) == found.freed

    @invariant()
    def nothing_held_is_lost(self) -> None:
        for digest, item in getattr(self, "held", {}).items():
            assert item == self.store.get(digest)
        for digest, (item, since) in getattr(self, "about", {}).items():
            assert self.now - since >= WEEK or item == self.store.get(digest)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            assert [] == [damage for damage in check_blobs(self.root) if damage.severity == "error"]
            self.folder.cleanup()


TestWriters = Writers.TestCase
TestWriters.settings = settings(
    max_examples=int(os.environ.get("STELLWERK_GC_HISTORIES", "150")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
