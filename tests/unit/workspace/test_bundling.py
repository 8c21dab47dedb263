"""A ledger as one file proves itself; a witness keeps the first history it saw, and refuses another."""

from __future__ import annotations

import random
import re
import shutil
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core.errors import Corrupt, Invalid, NotFound
from stellwerk.ledger import rules
from stellwerk.testing import worlds
from stellwerk.workspace import bundling
from stellwerk.workspace.local import LocalCaller
from stellwerk.workspace.rooms import Rooms

DOCS = Path(__file__).parents[3] / "docs" / "formats" / "ledger-bundle.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two keys and some checkpoints."""
    made = tmp_path_factory.mktemp("bundled")
    with worlds.workspace(made) as house:
        house.data.add(worlds.DATASET, worlds.World().parcels(100, 1))
        house.verify()
        house.data.confirm(worlds.DATASET)
        house.ledger.rotate(why="a test")
    return made


@pytest.fixture(scope="module")
def bundle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("file") / "book.jsonl"
    with sw.connect(folder, actor=worlds.OWNER) as house:
        house.ledger.export(file)
    return file


def rooms_of(house: sw.Workspace) -> Rooms:
    caller = house._caller
    assert isinstance(caller, LocalCaller)
    return caller.rooms


def test_a_bundle_is_whole(bundle: Path, folder: Path) -> None:
    """It has all entries and checkpoints, is verified alone, and under every key of the book."""
    with sw.connect(folder, actor=worlds.OWNER) as house:
        keys, note = house.ledger.keys(), house.ledger.checkpoint().note
    report = bundling.check(bundle)

    assert () == report.findings
    assert (keys[0].key, keys[1].key, note) == (report.first_key, report.key, report.checkpoint)
    assert rules.read_checkpoint(note).size == report.entries
    for key in keys:
        assert () == bundling.check(bundle, key=bytes.fromhex(key.key), notes=(note,)).findings
    assert [bundle] == list(bundle.parent.iterdir())


def test_every_flipped_bit_of_a_bundle_is_found(bundle: Path, tmp_path: Path) -> None:
    """Header, checkpoints and entries: no byte of the file is free."""
    data, chance = bundle.read_bytes(), random.Random(1)
    missed = []
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 1 << chance.randrange(8)
        (tmp_path / "changed").write_bytes(changed)
        if not bundling.check(tmp_path / "changed").findings:
            missed.append((place, bytes(data[place - 20 : place + 20])))

    assert [] == missed


def test_lines_that_are_missing_or_too_many_are_found(bundle: Path, tmp_path: Path) -> None:
    """Each line left out, doubled or swapped with the next, and every way of cutting the file short."""
    lines = bundle.read_bytes().splitlines(keepends=True)
    variants = [lines[:place] for place in range(len(lines))]
    variants += [lines[:place] + lines[place + 1 :] for place in range(len(lines))]
    variants += [lines[: place + 1] + lines[place:] for place in range(len(lines))]
    variants += [[*lines[:p], lines[p + 1], lines[p], *lines[p + 2 :]] for p in range(len(lines) - 1)]
    variants += [[*lines[:-1], lines[-1][:-1]], [*lines, b"\n"], [*lines, b"x"]]
    missed = []
    for variant in variants:
        (tmp_path / "changed").write_bytes(b"".join(variant))
        if not bundling.check(tmp_path / "changed").findings and b"".join(variant) != b"".join(lines):
            missed.append(variant)

    # Two checkpoints may stand in any order: each is signed, and holds or not by itself.
    assert all(sorted(variant) == sorted(lines) for variant in missed)
    assert len(missed) <= 1


def test_another_key_or_another_history_is_found(bundle: Path) -> None:
    """A bundle that is whole in itself is still compared with what is known."""
    note = bundling.check(bundle).checkpoint
    forged = note.replace(rules.read_checkpoint(note).origin, "stellwerk/other", 1)

    assert 1 == len(bundling.check(bundle, key=bytes(32)).findings)
    assert 1 == len(bundling.check(bundle, notes=(forged,)).findings)
    assert () != bundling.check(DOCS).findings
    with pytest.raises(NotFound):
        bundling.check(bundle.with_name("missing"))
    with pytest.raises(Invalid):
        bundling.public_key("no key")


def test_a_witness_follows_one_history(folder: Path, bundle: Path, tmp_path: Path) -> None:
    """A longer export of what was witnessed is taken; one that branches off is refused, and both are kept."""
    shutil.copytree(folder, tmp_path / "branch")
    for place, rows in ((folder, 120), (tmp_path / "branch", 90)):
        with sw.connect(place, actor=worlds.OWNER) as house:
            house.data.add(worlds.DATASET, worlds.World().parcels(rows, 2), partition="more")
    with sw.connect(folder, actor=worlds.OWNER) as house:
        house.ledger.export(tmp_path / "longer")
    with sw.connect(tmp_path / "branch", actor=worlds.OWNER) as house:
        house.ledger.rotate(why="in the branch")
        house.ledger.export(tmp_path / "branched")

    with worlds.workspace(tmp_path / "witness") as witness:
        rooms = rooms_of(witness)
        first = bundling.witness(rooms, bundle)
        longer = bundling.witness(rooms, tmp_path / "longer")
        again = bundling.witness(rooms, tmp_path / "longer")
        with pytest.raises(Corrupt) as caught:
            bundling.witness(rooms, tmp_path / "branched")
        with pytest.raises(Corrupt):
            bundling.witness(rooms, bundle)
        told = [entry.body["size"] for entry in rooms.book.entries(kinds=["ledger.witnessed"])]
        kept = sorted(file.suffix for file in (rooms.layout.folder / "witness").iterdir())
        assert () == witness.verify().findings

    assert first.entries < longer.entries == again.entries
    assert [first.entries, longer.entries, longer.entries] == told
    assert "ledger-forked" == caught.value.code
    assert [".bundle", ".other", ".other"] == kept


def test_a_bundle_that_is_not_whole_is_not_kept(bundle: Path, tmp_path: Path) -> None:
    """What has findings leaves no trace in the witness."""
    (tmp_path / "cut").write_bytes(bundle.read_bytes()[:-100])
    with worlds.workspace(tmp_path / "witness") as witness:
        rooms = rooms_of(witness)
        with pytest.raises(Corrupt) as caught:
            bundling.witness(rooms, tmp_path / "cut")

        assert "corrupt-bundle" == caught.value.code
        assert [] == rooms.book.entries(kinds=["ledger.witnessed"])
        assert not (rooms.layout.folder / "witness").exists()


def test_a_shared_book_is_not_handed_out(tmp_path: Path) -> None:
    """Entries of another workspace in the same book are nobody's to export (law 10)."""
    with worlds.workspace(tmp_path) as house:
        rooms = rooms_of(house)
        with rooms.database.write("another", "eve") as tx:
            tx.record("thing.made", "thing:1")
        house.verify()
        with pytest.raises(sw.StellwerkError) as caught:
            house.ledger.export(tmp_path / "book")

    assert "shared-book" == caught.value.code
    assert not (tmp_path / "book").exists()


def test_the_page_verifies_a_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program on the format's page accepts what is written, and nothing that was changed."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert found is not None
    monkeypatch.chdir(bundle.parent)
    exec(found[1], {})

    data = bundle.read_bytes()
    bundle.with_name("book.jsonl").write_bytes(data.replace(b'"anna"', b'"eve!"', 1))
    with pytest.raises(AssertionError):
        exec(found[1], {})
    bundle.write_bytes(data)
