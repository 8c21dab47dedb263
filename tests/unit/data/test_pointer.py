"""Pointers: small, strict, one line of change."""

from __future__ import annotations

import difflib
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.data.pointer import LARGEST, Pointer, parse, text

POINTER = Pointer(dataset="images", kind="folder", digest=of_bytes(b"one"))
TEXT = text(POINTER)


def test_a_pointer_reads_back() -> None:
    """What is written is read."""
    assert POINTER == parse(TEXT.encode(), name="images.stw")


def test_one_line_changes_between_versions() -> None:
    """So that a merge has one line to ask about."""
    later = text(replace(POINTER, digest=of_bytes(b"two")))

    changed = [line for line in difflib.ndiff(TEXT.splitlines(), later.splitlines()) if line[:1] in "+-"]

    assert 2 == len(changed)
    assert all(line[2:].startswith("digest") for line in changed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("images", "../images"),
        ("images", ".."),
        ("images", ""),
        ("images", "a/b"),
        ("images", "%2e%2e%2f"),
        ("images", "C:\\\\x"),
        ("images", "/etc/passwd"),
        ("images", "file:///etc/passwd"),
        ("images", "a\\u0000b"),
        ("images", "a\\u202Etxt.exe"),
        ("images", "．．／"),
        ("images", "a."),
        ("images", "x" * 129),
        ("folder", "link"),
        ("stellwerk-pointer/1", "stellwerk-pointer/2"),
        ("sha256:", "sha1:"),
        ("sha256:", "SHA256:"),
        ("sha256:", "../"),
        ('kind = "folder"', "kind = 1"),
        ('kind = "folder"\n', ""),
        ('kind = "folder"', 'kind = "folder"\npath = "../x"'),
        ('kind = "folder"', 'kind = "folder"\nkind = "file"'),
        ("digest = ", "[digest]\nx = "),
        ("dataset", "<<<<<<< HEAD\ndataset"),
        ("images", "\x00"),
    ],
)
def test_anything_else_is_refused(old: str, new: str) -> None:
    """Never repaired, never guessed."""
    with pytest.raises(Invalid):
        parse(TEXT.replace(old, new, 1).encode(), name="images.stw")


def test_a_conflict_of_a_merge_says_so() -> None:
    """The one thing that happens to people."""
    line = TEXT.splitlines()[-1]
    torn = TEXT.replace(line, f"<<<<<<< ours\n{line}\n=======\n{line}\n>>>>>>> theirs")

    with pytest.raises(Invalid) as refused:
        parse(torn.encode(), name="images.stw")

    assert "pointer-conflict" == refused.value.code


def test_a_large_file_is_no_pointer() -> None:
    """Whatever it holds."""
    with pytest.raises(Invalid):
        parse(TEXT.encode() + b"#" * LARGEST, name="images.stw")


@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """And nothing else happens."""
    with suppress(Invalid):
        assert "sha256:" in parse(data, name="images.stw").digest
