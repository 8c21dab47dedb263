"""Trees: one canonical form, strict reading, and folders in and out of the store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Corrupt, Invalid, NotFound
from stellwerk.core.names import path_part
from stellwerk.store import service
from stellwerk.store.model import Tree, TreeEntry
from stellwerk.store.rules import parse_tree, tree, tree_bytes
from stellwerk.testing.fakes import MemoryBlobs

EMPTY = Digest("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")


def _is_part(text: str) -> bool:
    try:
        return bool(path_part(text))
    except Invalid:
        return False


parts = st.text(min_size=1, max_size=6).filter(_is_part) | st.sampled_from(["a", "b", "é", "Z", "data", "𐐷", "ﬁ"])
digests = st.binary(max_size=3).map(of_bytes)
entries = st.builds(
    TreeEntry,
    name=parts,
    kind=st.just("file"),
    size=st.integers(0, 2**53 - 1),
    digest=digests,
    executable=st.booleans(),
)
folders = st.lists(entries, max_size=6, unique_by=lambda entry: entry.name)


def document(**changes: Any) -> bytes:
    """The bytes of a tree with one entry, some of whose fields were changed."""
    item = {"digest": EMPTY, "executable": False, "kind": "file", "name": "a", "size": 0, **changes}
    text = json.dumps({"entries": [item], "format": "stellwerk-tree/1"}, sort_keys=True, separators=(",", ":"))
    return text.encode()


def test_golden_empty_tree() -> None:
    """The empty folder has this tree in version 1, for ever."""
    data = tree_bytes(tree([]))

    assert b'{"entries":[],"format":"stellwerk-tree/1"}' == data
    assert "sha256:57c46543e33f02e47e86ad7baa77c2f9597e8c82edd6fd6a619c230377019f16" == of_bytes(data)


def test_golden_tree() -> None:
    """A folder with a file, a program, a name beyond ASCII and a folder has this tree in version 1, for ever."""
    blobs = MemoryBlobs()
    inner = service.put_files(blobs, {"weights.bin": bytes(1000)})
    outer = tree(
        [
            TreeEntry(name="read me.txt", kind="file", size=5, digest=blobs.put(b"hello")),
            TreeEntry(name="train", kind="file", size=10, digest=blobs.put(b"#!/bin/sh\n"), executable=True),
            TreeEntry(name="Größe.csv", kind="file", size=0, digest=EMPTY),
            TreeEntry(name="model", kind="tree", size=1000, digest=inner),
        ]
    )

    assert ["Größe.csv", "model", "read me.txt", "train"] == [entry.name for entry in outer.entries]
    assert 1015 == outer.size
    assert "sha256:13b4990f0fffbfa50fc83c92e146ec18756cb7e2545dc1080b8a5b6ed52f9c38" == inner
    assert "sha256:9aefbaf412a9f9fd8d1777da96696124112c98c1e451321e92b878de8d3bfa0d" == of_bytes(tree_bytes(outer))


@given(found=folders, data=st.data())
def test_a_folder_has_one_tree(found: list[TreeEntry], data: st.DataObject) -> None:
    """Order does not matter; reading gives back what was written."""
    shuffled = data.draw(st.permutations(found))

    assert tree_bytes(tree(found)) == tree_bytes(tree(shuffled))
    assert tree(found) == parse_tree(tree_bytes(tree(found)))


@given(found=folders)
def test_only_the_canonical_bytes_are_read(found: list[TreeEntry]) -> None:
    """Another spelling of the same JSON is not a second name of the same folder."""
    data = tree_bytes(tree(found))
    value = json.loads(data)

    for other in (
        json.dumps(value, ensure_ascii=False, sort_keys=True).encode(),
        data + b"\n",
        b"\xef\xbb\xbf" + data,
        json.dumps({**value, "extra": 1}, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode(),
    ):
        with pytest.raises(Corrupt) as caught:
            parse_tree(other)
        assert "corrupt-tree" == caught.value.code


@given(found=folders.filter(bool), where=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_flipped_bit_never_reads_as_the_same_tree(found: list[TreeEntry], where: int, bit: int) -> None:
    """Damaged bytes are `Corrupt` or another tree with another digest; no other error escapes."""
    data = bytearray(tree_bytes(tree(found)))
    data[where % len(data)] ^= 1 << bit

    try:
        other: Tree | None = parse_tree(bytes(data))
    except Corrupt:
        other = None

    assert tree(found) != other


@settings(max_examples=200)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_anything_else_is_corrupt(data: bytes) -> None:
    """No bytes make the reader raise anything but `Corrupt`."""
    with pytest.raises(Corrupt):
        parse_tree(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": 5},
        {"name": None},
        {"name": ["a"]},
        {"name": ""},
        {"name": ".."},
        {"name": "a/b"},
        {"name": "a\\b"},
        {"name": "e\u0301"},
        {"name": "a "},
        {"name": "a."},
        {"name": "a\u202eb"},
        {"size": -1},
        {"size": True},
        {"size": 1.5},
        {"size": "1"},
        {"size": 2**53},
        {"size": None},
        {"kind": "link"},
        {"kind": ["file"]},
        {"kind": "tree", "executable": True},
        {"executable": 1},
        {"executable": None},
        {"digest": "sha256:abc"},
        {"digest": EMPTY.upper()},
        {"digest": 5},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_wrong_field_is_corrupt(changes: dict[str, Any]) -> None:
    """Each field has one type and one spelling."""
    assert 1 == len(parse_tree(document()).entries)

    with pytest.raises(Corrupt):
        parse_tree(document(**changes))


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"5",
        b"null",
        b'"x"',
        b"{}",
        b'{"entries":null,"format":"stellwerk-tree/1"}',
        b'{"entries":[5],"format":"stellwerk-tree/1"}',
        b'{"entries":{},"format":"stellwerk-tree/1"}',
        b'{"entries":[],"format":"stellwerk-tree/2"}',
        b'{"entries":[],"format":["stellwerk-tree/1"]}',
    ],
)
def test_a_wrong_shape_is_corrupt(data: bytes) -> None:
    """Whatever JSON it is, what is no tree of this format is `Corrupt`."""
    with pytest.raises(Corrupt):
        parse_tree(data)


def test_a_name_occurs_once() -> None:
    """Neither two files, nor a file and a folder, nor two halves of a written tree share a name."""
    twice = [TreeEntry(name="a", kind="file", size=size, digest=EMPTY) for size in (0, 1)]

    with pytest.raises(Invalid) as caught:
        tree(twice)
    assert "invalid-path" == caught.value.code
    with pytest.raises(Invalid):
        service.put_files(MemoryBlobs(), {"a": b"x", "a/b": b"y"})
    item = json.loads(document())["entries"][0]
    with pytest.raises(Corrupt):
        parse_tree(
            json.dumps({"entries": [item, item], "format": "stellwerk-tree/1"}, separators=(",", ":")).encode()
        )


def test_names_from_a_file_system_may_be_no_text() -> None:
    """A name that is not UTF-8 arrives from Python as lone surrogates, and is refused as any bad name is."""
    with pytest.raises(Invalid) as caught:
        tree([TreeEntry(name="\udcff", kind="file", size=0, digest=EMPTY)])

    assert "invalid-path" == caught.value.code


def test_a_newer_unicode_is_read() -> None:
    """A character that this Python does not know yet may be in a tree that a newer one wrote, but is not written."""
    unassigned = "\U0003fff0"  # in a plane without characters

    assert (
        unassigned
        == parse_tree(document(name=unassigned).replace(b"\\ud8bf\\udff0", unassigned.encode())).entries[0].name
    )
    with pytest.raises(Invalid):
        tree([TreeEntry(name=unassigned, kind="file", size=0, digest=EMPTY)])


files = st.dictionaries(st.lists(parts, min_size=1, max_size=4).map("/".join), st.binary(max_size=10), max_size=8)


def _no_file_is_a_folder(found: dict[str, bytes]) -> bool:
    return not any(other.startswith(path + "/") for path in found for other in found)


@given(found=files.filter(_no_file_is_a_folder))
def test_files_come_back(found: dict[str, bytes]) -> None:
    """What was put under a path is found under it, with its size, and nothing else is."""
    blobs = MemoryBlobs()

    digest = service.put_files(blobs, found)

    assert {path: of_bytes(data) for path, data in found.items()} == service.files(blobs, digest)
    assert sum(map(len, found.values())) == service.read_tree(blobs, digest).size
    for path, data in found.items():
        assert data == blobs.get(service.find(blobs, digest, path))
    assert digest == service.put_files(blobs, {path: of_bytes(data) for path, data in reversed(found.items())})


def test_unchanged_folders_are_shared() -> None:
    """A change in one folder leaves the digest of its neighbour as it was."""
    blobs = MemoryBlobs()
    before = service.put_files(blobs, {"a/x": b"1", "b/y": b"2"})
    after = service.put_files(blobs, {"a/x": b"1", "b/y": b"3"})

    old, new = (service.read_tree(blobs, digest).entries for digest in (before, after))
    assert old[0] == new[0]
    assert old[1] != new[1]


@pytest.mark.parametrize(
    "path",
    ["", "/", "a/", "/a", "a//b", "a/./b", "a/../b", "..", ".", "../x", "a\\b", "C:\\x", "a\x00b", "a/" * 64 + "b"],
)
def test_a_bad_path_is_refused_before_anything_is_kept(path: str) -> None:
    """No path is repaired, and a refused call leaves nothing behind."""
    blobs = MemoryBlobs()

    with pytest.raises(Invalid) as caught:
        service.put_files(blobs, {"good": b"1", path: b"2"})

    assert "invalid-path" == caught.value.code
    assert [] == list(blobs)


def test_the_deepest_path_is_readable() -> None:
    """64 names below each other can be written and read; one more can be neither."""
    blobs = MemoryBlobs()
    path = "a/" * 63 + "b"

    digest = service.put_files(blobs, {path: b"x"})

    assert {path: of_bytes(b"x")} == service.files(blobs, digest)
    deeper = blobs.put(tree_bytes(tree([TreeEntry(name="a", kind="tree", size=1, digest=digest)])))
    with pytest.raises(Corrupt) as caught:
        service.files(blobs, deeper)
    assert "corrupt-tree" == caught.value.code


@pytest.mark.parametrize("path", ["b", "a", "a/x/y", "a/y", "", "/", "a/../a/x", "A/x", "a/x/"])
def test_a_file_that_is_not_there_is_not_found(path: str) -> None:
    """Folders are no files, and paths are compared exactly."""
    blobs = MemoryBlobs()
    digest = service.put_files(blobs, {"a/x": b"1"})

    with pytest.raises(NotFound):
        service.find(blobs, digest, path)


def test_a_digest_that_was_never_kept_is_not_put_into_a_tree() -> None:
    """A tree refers only to blobs that are there."""
    with pytest.raises(NotFound):
        service.put_files(MemoryBlobs(), {"a": of_bytes(b"never kept")})
