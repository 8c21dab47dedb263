"""Paths and names: injective, and never outside of the repository."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.core.names import name
from stellwerk.data.dvc import hashing
from stellwerk.data.dvc.model import LEGACY, MD5
from stellwerk.data.dvc.naming import dataset_name, inner_path, output_path

PARTS = st.text(st.characters(exclude_characters="/", exclude_categories=("Cs",)), min_size=1, max_size=12)
PATHS = st.lists(PARTS | st.sampled_from(["a", "a-", "-", "a.", "a--b", "b", "ä"]), min_size=1, max_size=4).map(
    "/".join
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data.csv", "data.csv"),
        ("data/raw/train.csv", "data--raw--train.csv"),
        ("daten/größe.csv", "daten--groe.csv-65bb1d4b"),
    ],
)
def test_names_say_the_path(path: str, expected: str) -> None:
    """A plain path is its own name, with `--` between folders; another one keeps what it can."""
    assert expected == dataset_name(path)


def test_a_prefix_stands_before() -> None:
    """Two repositories can live in one workspace."""
    assert "vision--data.csv" == dataset_name("data.csv", "vision")


@given(PATHS)
def test_every_path_has_a_valid_name(path: str) -> None:
    """Whatever a path holds, the name of its dataset can be one."""
    assert dataset_name(path) == name(dataset_name(path))


@given(st.lists(PATHS, unique=True, min_size=2, max_size=6))
def test_two_paths_never_share_a_name(paths: list[str]) -> None:
    """Mapping paths to names loses nothing."""
    assert len(paths) == len({dataset_name(path) for path in paths})


@pytest.mark.parametrize(
    ("folder", "wdir", "path"),
    [
        ("", "", "../x"),
        ("a", "..", "../x"),
        ("a", "", "/etc/passwd"),
        ("a", "/tmp", "x"),
        ("", "", "s3://bucket/x"),
        ("", "", "."),
        ("a", "", ".."),
        ("", "", "a\\b"),
        ("", "", "a\0b"),
    ],
)
def test_paths_outside_are_refused(folder: str, wdir: str, path: str) -> None:
    """An output is a file of the repository, whatever a pointer says."""
    with pytest.raises(Invalid) as refused:
        output_path(folder, wdir, path)

    assert "foreign-path" == refused.value.code


def test_paths_are_counted_from_the_root() -> None:
    """The folder of the pointer and its working folder count."""
    assert "data/raw" == output_path("src", "../data", "raw")
    assert "x" == output_path("", ".", "x")


@pytest.mark.parametrize("path", ["../x", "a//b", "/x", "a/./b", "a/..", "x ", "e\u0301", "a\nb", "a\\b", ""])
def test_files_that_no_tree_holds_are_refused(path: str) -> None:
    """A folder's list cannot name what lies elsewhere."""
    with pytest.raises(Invalid):
        inner_path(path)


def test_text_of_dvc_2_is_hashed_without_carriage_returns() -> None:
    """Known answers, taken from DVC's own function."""
    assert hashlib.md5(b"a\nb\n").hexdigest() == hashing.of_bytes(b"a\r\nb\r\n", LEGACY)
    assert hashlib.md5(b"a\r\nb\r\n").hexdigest() == hashing.of_bytes(b"a\r\nb\r\n", MD5)
    assert hashlib.md5(b"a\0\r\n").hexdigest() == hashing.of_bytes(b"a\0\r\n", LEGACY)
    assert hashlib.md5(b"").hexdigest() == hashing.of_bytes(b"", LEGACY)


def test_the_old_hash_judges_a_file_by_its_beginning() -> None:
    """Where a later chunk looks binary, DVC before 2.0 still took it for text."""
    text, binary = b"a\r\n" * 400_000, b"\0\r\n" * 400_000
    chunks = [(text + binary)[start : start + hashing.CHUNK] for start in range(0, 2_400_000, hashing.CHUNK)]

    kept = b"".join(chunk.replace(b"\r\n", b"\n") for chunk in chunks)
    old = hashing.OldLegacy()
    for chunk in chunks:
        old.update(chunk)
    assert hashlib.md5(kept).hexdigest() == old.hexdigest()
    assert hashing.of_bytes(text + binary, LEGACY) != old.hexdigest()
