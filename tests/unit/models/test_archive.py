"""Archives have one reading or none."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Refused
from stellwerk.models import archive


def packed(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, data in members:
            target.writestr(name, data)
    return buffer.getvalue()


GOOD = packed([("a.npy", b"one"), ("b/c.npy", b"two" * 10)])


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z0-9_]{1,8}(/[a-z]{1,4})?\.npy", fullmatch=True), st.binary(max_size=50)))
def test_what_is_written_is_read(members: dict[str, bytes]) -> None:
    """Writing and reading are inverse, and the bytes depend on the members only."""
    data = archive.write(members)

    assert members == archive.read(data)
    assert data == archive.write(dict(reversed(members.items())))


def test_deflated_members_are_read() -> None:
    """Archives of other writers may be packed."""
    assert {"a": b"x" * 5000} == archive.read(packed([("a", b"x" * 5000)], zipfile.ZIP_DEFLATED))


def central_flag(data: bytes) -> bytes:
    at = data.index(b"PK\x01\x02") + 8
    return data[:at] + b"\x01\x00" + data[at + 2 :]


def other_name_inside(data: bytes) -> bytes:
    return data.replace(b"a.npy", b"z.npy", 1)


def wrong_checksum(data: bytes) -> bytes:
    return data.replace(b"one", b"eno", 1)


def overlapping(data: bytes) -> bytes:
    """Both members claim the first one's bytes (the trick of overlapping zip bombs)."""
    at = data.rindex(b"PK\x01\x02") + 42
    return data[:at] + struct.pack("<L", 0) + data[at + 4 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data + b"x",
        lambda data: b"x" + data,
        lambda data: data[:-1],
        lambda data: data[:-22],
        central_flag,
        other_name_inside,
        wrong_checksum,
        overlapping,
        lambda data: b"",
    ],
)
def test_a_damaged_or_ambiguous_archive_is_refused(damage: Callable[[bytes], bytes]) -> None:
    """Prefix, suffix, cut, flags, differing headers, wrong checksums and overlaps are never repaired."""
    with pytest.raises(Refused) as caught:
        archive.read(damage(GOOD))

    assert "ambiguous-archive" == caught.value.code


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../b", "C:\\x", "a\\b", "a//b", "./a", "d/", "ü", "a b", "a\n", "x" * 300]
)
def test_member_names_are_plain_relative_paths(name: str) -> None:
    """A name that could mean another place is refused before anything is unpacked."""
    with pytest.raises(Refused, match="plain relative path"):
        archive.read(packed([(name, b"")]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "A")])
def test_a_name_appears_once(names: tuple[str, str]) -> None:
    """Readers disagree about which of two members counts; nor may they differ by case only."""
    with pytest.raises(Refused, match="repeats the name"):
        archive.read(packed([(names[0], b"1"), (names[1], b"2")]))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """A thousandfold ratio is refused by what the directory says; a lying directory by what comes out."""
    bomb = packed([("a", b"\0" * 20_000_000)], zipfile.ZIP_DEFLATED)
    lying = bomb.replace(struct.pack("<L", 20_000_000), struct.pack("<L", 1_000_000))

    for data in (bomb, lying):
        with pytest.raises(Refused, match=r"too many bytes|packed inconsistently"):
            archive.read(data)


def test_links_are_refused() -> None:
    """A member that is a symbolic link is no file."""
    info = zipfile.ZipInfo("link")
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        target.writestr(info, "/etc/passwd")

    with pytest.raises(Refused, match="not a regular file"):
        archive.read(buffer.getvalue())


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_packing_is_refused(method: int) -> None:
    """Only stored and deflated members are accepted."""
    with pytest.raises(Refused, match="unusual way"):
        archive.read(packed([("a", b"x")], method))
