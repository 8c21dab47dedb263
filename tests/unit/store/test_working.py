"""Working copies: a folder becomes a tree and a tree becomes the folder again, reading and writing only what differs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.service import files, put_files
from stellwerk.store.working import scanning
from stellwerk.store.working.cache import RACY, Cache, Stat, settled
from stellwerk.store.working.model import SMALL, TEMPORARY
from stellwerk.store.working.service import WorkingCopy

NAMES = st.sampled_from(["a", "b.txt", "Größe.csv", "read me.txt", ".hidden", "z"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FOLDERS = st.dictionaries(PATHS, st.binary(max_size=40), max_size=8).filter(
    lambda found: not any(other.startswith(path + "/") for path in found for other in found)
)


@pytest.fixture
def blobs(tmp_path: Path) -> LocalFolder:
    return LocalFolder(tmp_path / "blobs")


@pytest.fixture
def copy(tmp_path: Path) -> WorkingCopy:
    return at(tmp_path / "images", tmp_path)


def at(path: Path, home: Path) -> WorkingCopy:
    return WorkingCopy(path=path, cache=home / "cache" / f"{path.name}.stat", home=home)


def fill(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def held(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Counting:
    """A store that counts what it is given."""

    def __init__(self, blobs: LocalFolder) -> None:
        self.blobs, self.given = blobs, 0

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        found = self.blobs.put_many(items)
        self.given += len(found)
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self.blobs, name)


def test_a_folder_is_the_tree_that_its_files_make(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """The quick way of reading a folder and the plain way of making a tree agree."""
    contents = {"a.txt": b"a", "b/c.txt": b"c", "b/d/Größe.csv": b"", "b.txt": b"later in order than b/"}
    fill(copy.path, contents)

    built = copy.keep(blobs)

    assert put_files(blobs, contents) == built.tree
    assert (4, sum(map(len, contents.values())), 4) == (built.files, built.bytes, built.read)


@settings(max_examples=25, deadline=None)
@given(contents=FOLDERS, later=FOLDERS)
def test_any_folder_comes_back(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes], later: dict[str, bytes]
) -> None:
    """Kept, checked out elsewhere, changed into another and back: always exactly the files of the version."""
    home = tmp_path_factory.mktemp("home")
    blobs = LocalFolder(home / "blobs")
    here, there = at(home / "here", home), at(home / "there", home)
    fill(here.path, contents)
    fill(home / "later", later)
    first, second = here.keep(blobs), at(home / "later", home).keep(blobs)

    for tree, expected in ((first.tree, contents), (second.tree, later), (first.tree, contents)):
        there.checkout(blobs, tree)

        assert expected == held(there.path)
        assert tree == there.look().tree
        assert [] == list(there.differences(blobs, tree, there.look()))


def test_an_unchanged_folder_is_not_read(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """The second look costs names and times only."""
    fill(copy.path, {f"{number}.txt": b"x" * number for number in range(20)})
    age(copy.path)
    first = copy.keep(blobs)
    counting = Counting(blobs)

    second = copy.keep(counting)  # type: ignore[arg-type]

    assert first.tree == second.tree
    assert (20, 0, 0) == (first.read, second.read, counting.given)


def test_only_what_changed_is_read(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """One file of many, in a folder of many."""
    fill(copy.path, {f"{folder}/{number}.txt": b"x" for folder in "abc" for number in range(5)})
    age(copy.path)
    copy.keep(blobs)
    (copy.path / "b" / "3.txt").write_bytes(b"y")

    again = copy.keep(blobs)

    assert 1 == again.read
    assert blobs.get(files(blobs, again.tree)["b/3.txt"]) == b"y"


def test_what_was_only_looked_at_is_still_kept(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """Looking remembers digests of files that no store was given; keeping must give them."""
    fill(copy.path, {"a.txt": b"a", "b/c.txt": b"c"})
    age(copy.path)
    seen = copy.look()

    kept = copy.keep(blobs)

    assert seen.tree == kept.tree
    assert {"a.txt": b"a", "b/c.txt": b"c"} == {p: blobs.get(d) for p, d in files(blobs, kept.tree).items()}


def test_a_file_changed_in_the_same_tick_is_seen(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """Same size, same times, other bytes: what was read in the tick in which it was written is read again."""
    fill(copy.path, {"a.txt": b"old"})
    copy.keep(blobs)
    cache = Cache(copy.cache)
    (section,) = list(cache)
    ((_, known, _),) = section.files()

    assert known.mtime == RACY or known.mtime < (copy.cache.stat().st_mtime_ns)
    assert RACY == settled(Stat(3, 1_000_000_001, 0, 1, 0o100644), 1_000_000_001).mtime
    assert RACY == settled(Stat(3, 5_000_000_000, 0, 1, 0o100644), 6_000_000_000).mtime  # a clock of whole seconds
    assert 1_000_000_001 == settled(Stat(3, 1_000_000_001, 0, 1, 0o100644), 1_000_000_002).mtime


@pytest.mark.parametrize("damage", ["gone", "torn", "flipped", "empty", "other"])
def test_a_lost_cache_loses_nothing(blobs: LocalFolder, copy: WorkingCopy, damage: str) -> None:
    """It is read again, whatever became of the cache."""
    fill(copy.path, {"a.txt": b"a", "b/c.txt": b"c"})
    age(copy.path)
    first = copy.keep(blobs)
    data = bytearray(copy.cache.read_bytes())
    if damage == "gone":
        copy.cache.unlink()
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        copy.cache.write_bytes(data)
    else:
        copy.cache.write_bytes({"torn": data[:-20], "empty": b"", "other": b"PK" * 100}[damage])

    again = copy.keep(blobs)

    assert (first.tree, 2) == (again.tree, again.read)


def test_executable_files_stay_so(blobs: LocalFolder, copy: WorkingCopy, tmp_path: Path) -> None:
    """The one mode that a tree knows."""
    fill(copy.path, {"run.sh": b"#!/bin/sh\n", "data": b"x"})
    (copy.path / "run.sh").chmod(0o755)
    built = copy.keep(blobs)

    at(tmp_path / "out", tmp_path).checkout(blobs, built.tree)

    assert (tmp_path / "out" / "run.sh").stat().st_mode & stat.S_IXUSR
    assert not (tmp_path / "out" / "data").stat().st_mode & stat.S_IXUSR


def test_empty_folders_come_back(blobs: LocalFolder, copy: WorkingCopy, tmp_path: Path) -> None:
    """And go when a version has none."""
    (copy.path / "empty" / "inner").mkdir(parents=True)
    (copy.path / "a").write_bytes(b"a")
    with_empty = copy.keep(blobs)
    (copy.path / "empty" / "inner").rmdir()
    (copy.path / "empty").rmdir()
    without = copy.keep(blobs)
    out = at(tmp_path / "out", tmp_path)

    out.checkout(blobs, with_empty.tree)
    assert (out.path / "empty" / "inner").is_dir()
    out.checkout(blobs, without.tree)
    assert not (out.path / "empty").exists()


@pytest.mark.parametrize("make", ["link", "dangling", "folder-link", "pipe"])
def test_links_and_pipes_are_named_and_refused(
    blobs: LocalFolder, copy: WorkingCopy, tmp_path: Path, make: str
) -> None:
    """Nothing is followed, nothing blocks; skipping them is a choice."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "canary").write_bytes(b"canary")
    fill(copy.path, {"deep/a.txt": b"a"})
    odd = copy.path / "deep" / "odd"
    match make:
        case "pipe":
            os.mkfifo(odd)
        case "folder-link":
            odd.symlink_to(tmp_path / "secret")
        case _:
            odd.symlink_to(tmp_path / "secret" / ("canary" if make == "link" else "nothing"))

    with pytest.raises(Invalid, match="deep/odd") as refused:
        copy.keep(blobs)
    skipping = WorkingCopy(path=copy.path, cache=copy.cache, home=copy.home, special="skip")
    built = skipping.keep(blobs)

    assert "not-a-regular-file" == refused.value.code
    assert ("deep/odd",) == built.skipped
    assert {"deep/a.txt"} == set(files(blobs, built.tree))


@pytest.mark.parametrize(
    "name", ["bad\\name", "trailing.", " space", "e\u0301", "zero\u200bwidth", "rtl\u202etxt", "nl\n"]
)
def test_a_name_that_no_tree_can_hold_is_named(blobs: LocalFolder, copy: WorkingCopy, name: str) -> None:
    """The error says which file, and what to do."""
    fill(copy.path, {"ok/a": b"a", f"ok/{name}": b"b"})

    with pytest.raises(Invalid, match="ok/") as refused:
        copy.keep(blobs)

    assert "invalid-path" == refused.value.code


def test_a_name_that_is_no_text_is_named(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """Bytes that are not UTF-8."""
    copy.path.mkdir()
    (copy.path / os.fsdecode(b"caf\xe9")).write_bytes(b"x")

    with pytest.raises(Invalid, match="caf") as refused:
        copy.keep(blobs)

    assert "invalid-path" == refused.value.code


def test_ignore_files_hold_as_in_git(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """Patterns, negation, folders, the nearest rules first; ignored files are neither kept nor deleted."""
    fill(
        copy.path,
        {
            ".stellwerkignore": b"*.tmp\n!keep.tmp\nscratch/\n",
            "a.tmp": b"1",
            "keep.tmp": b"2",
            "scratch/x": b"3",
            "sub/.stellwerkignore": b"!b.tmp\nonly-here\n",
            "sub/b.tmp": b"4",
            "sub/c.tmp": b"5",
            "sub/only-here": b"6",
            "only-here": b"7",
            ".git/config": b"never",
        },
    )
    (copy.home / ".stellwerkignore").write_text("images/only-here\n")

    built = copy.keep(blobs)

    assert {".stellwerkignore", "keep.tmp", "sub/.stellwerkignore", "sub/b.tmp"} == set(files(blobs, built.tree))
    copy.checkout(blobs, put_files(blobs, {"new": b"n", ".stellwerkignore": b"*.tmp\nscratch/\n"}), force=True)
    assert {"a.tmp", "scratch/x", "new"} <= set(held(copy.path))


def test_dvcignore_counts_when_asked(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """For those who come from there."""
    fill(copy.path, {".dvcignore": b"*.log\n", "a.log": b"1", "b": b"2"})
    asked = WorkingCopy(
        path=copy.path, cache=copy.cache, home=copy.home, ignore_files=(".dvcignore", ".stellwerkignore")
    )

    assert {".dvcignore", "a.log", "b"} == set(files(blobs, copy.keep(blobs).tree))
    assert {".dvcignore", "b"} == set(files(blobs, asked.keep(blobs).tree))


def test_local_changes_are_not_overwritten(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """The error says which; --force means it; what the store holds is no loss."""
    fill(copy.path, {"a.txt": b"one", "b.txt": b"b"})
    first = copy.keep(blobs)
    (copy.path / "a.txt").write_bytes(b"two")
    second = copy.keep(blobs)
    (copy.path / "a.txt").write_bytes(b"mine alone")
    (copy.path / "new.txt").write_bytes(b"mine too")

    with pytest.raises(Refused, match=r"a\.txt.*new\.txt|new\.txt.*a\.txt") as refused:
        copy.checkout(blobs, first.tree)
    untouched = held(copy.path)
    copy.checkout(blobs, second.tree, force=True)
    copy.checkout(blobs, first.tree)

    assert "local-changes" == refused.value.code
    assert (b"mine alone", b"mine too") == (untouched["a.txt"], untouched["new.txt"])
    assert {"a.txt": b"one", "b.txt": b"b"} == held(copy.path)


def test_only_what_differs_is_written(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """Files that are as they should be keep their inode."""
    fill(copy.path, {f"{number}.txt": b"x%d" % number for number in range(10)})
    first = copy.keep(blobs)
    (copy.path / "3.txt").write_bytes(b"other")
    copy.keep(blobs)
    inodes = {path.name: path.stat().st_ino for path in copy.path.iterdir()}

    done = copy.checkout(blobs, first.tree)

    assert (1, 0, 9) == (done.written, done.deleted, done.kept)
    assert {"3.txt"} == {path.name for path in copy.path.iterdir() if path.stat().st_ino != inodes[path.name]}


def test_files_and_folders_change_places(blobs: LocalFolder, copy: WorkingCopy, tmp_path: Path) -> None:
    """What was a file is a folder, and the other way round."""
    one = put_files(blobs, {"x": b"file", "y/deep/z": b"in"})
    two = put_files(blobs, {"x/deep/z": b"in", "y": b"file"})

    for tree in (one, two, one):
        copy.checkout(blobs, tree)
        assert tree == copy.look().tree


def test_a_link_where_a_folder_should_go_is_not_followed(
    blobs: LocalFolder, copy: WorkingCopy, tmp_path: Path
) -> None:
    """Nothing is written outside of the working copy."""
    outside = tmp_path / "outside"
    outside.mkdir()
    copy.path.mkdir()
    (copy.path / "sub").symlink_to(outside)
    skipping = WorkingCopy(path=copy.path, cache=copy.cache, home=copy.home, special="skip")

    with pytest.raises(Refused) as refused:
        skipping.checkout(blobs, put_files(blobs, {"sub/a": b"a"}), force=True)

    assert "local-changes" == refused.value.code
    assert [] == list(outside.iterdir())


def test_hard_links_are_read_only_and_the_stores_own(blobs: LocalFolder, copy: WorkingCopy, tmp_path: Path) -> None:
    """Small files are copies, as they have no file in the store, but read-only too."""
    data = os.urandom(SMALL + 1)
    tree = put_files(blobs, {"large": data, "small": b"s"})

    copy.checkout(blobs, tree, link="hardlink")

    assert {"large": data, "small": b"s"} == held(copy.path)
    assert 0 == (copy.path / "large").stat().st_mode & 0o222
    assert 0 == (copy.path / "small").stat().st_mode & 0o222
    assert tree == copy.look().tree


@pytest.mark.parametrize("link", ["auto", "reflink", "hardlink", "copy"])
def test_every_way_gives_the_same_files(blobs: LocalFolder, copy: WorkingCopy, link: str) -> None:
    """Whatever the file system can do."""
    contents = {"a/large": os.urandom(3 * SMALL), "a/small": b"s"}

    copy.checkout(blobs, put_files(blobs, contents), link=link)  # type: ignore[arg-type]

    assert contents == held(copy.path)


def test_one_file_is_a_working_copy_too(blobs: LocalFolder, tmp_path: Path) -> None:
    """The tree holds it under its name."""
    model = at(tmp_path / "model.bin", tmp_path)
    model.path.write_bytes(b"one")
    first = model.keep(blobs)
    model.path.write_bytes(b"two")

    with pytest.raises(Refused):
        model.checkout_file(blobs, first.tree)
    model.keep(blobs)
    model.checkout_file(blobs, first.tree)

    assert put_files(blobs, {"model.bin": b"one"}) == first.tree
    assert b"one" == model.path.read_bytes()


def test_a_file_that_does_not_hold_still_is_refused(tmp_path: Path) -> None:
    """What was read is what was there at one moment, or nothing."""
    (tmp_path / "log").write_bytes(b"x" * 10)
    root = scanning.open_root(tmp_path)
    known = scanning.stat_file(root, "log")
    read = scanning.stream(root, "log", known)
    next(read)
    (tmp_path / "log").write_bytes(b"y" * 10)
    os.utime(tmp_path / "log", ns=(1, 1))

    with pytest.raises(Conflict) as refused:
        list(read)
    os.close(root)

    assert "file-changing" == refused.value.code


def test_a_file_replaced_before_it_is_read_is_read_as_it_is(tmp_path: Path) -> None:
    """The stat that is remembered belongs to the bytes that were read."""
    (tmp_path / "log").write_bytes(b"old")
    root = scanning.open_root(tmp_path)
    known = scanning.stat_file(root, "log")
    (tmp_path / "log").write_bytes(b"newer")

    data, after = scanning.read_small(root, "log", known)
    os.close(root)

    assert (b"newer", 5) == (data, after.size)


def test_what_a_killed_checkout_left_is_swept(blobs: LocalFolder, copy: WorkingCopy, tmp_path: Path) -> None:
    """And is never taken for data."""
    left = tmp_path / f"{TEMPORARY}4194303-abcd"
    fill(left, {"half": b"x"})

    copy.checkout(blobs, put_files(blobs, {"a": b"a"}))
    fill(copy.path, {f"{TEMPORARY}4194303-ef": b"half"})

    assert not left.exists()
    assert put_files(blobs, {"a": b"a"}) == copy.look().tree


def test_look_alike_names_are_refused_where_they_are_one(
    blobs: LocalFolder, copy: WorkingCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that tells them apart they are two files."""
    tree = put_files(blobs, {"Read.me": b"1", "read.me": b"2"})
    copy.checkout(blobs, tree)
    two = held(copy.path)
    monkeypatch.setattr("stellwerk.store.working.checkout._takes_for_the_same", lambda _folder: True)
    other = at(copy.home / "other", copy.home)

    with pytest.raises(Refused) as refused:
        other.checkout(blobs, tree)

    assert {"Read.me": b"1", "read.me": b"2"} == two
    assert "look-alike-names" == refused.value.code
    assert not other.path.exists()


def test_there_must_be_something(blobs: LocalFolder, copy: WorkingCopy) -> None:
    """A path that is not there is not an empty folder."""
    with pytest.raises(NotFound):
        copy.keep(blobs)


def age(folder: Path) -> None:
    """Make files older than the tick in which they are read."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(1_600_000_000_000_000_001, 1_600_000_000_000_000_001))
