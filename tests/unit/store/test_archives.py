"""Archives become trees, or are refused whole."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stellwerk.core.errors import Invalid, NotFound, Refused
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.archives import Limits, keep_archive
from stellwerk.store.service import files, put_files

DEEP = "d/" * 70 + "x"
CONTENTS = {"a.txt": b"a", "b/Größe.csv": b"1,2\n", "b/c/big.bin": b"x" * (2 << 20)}


@pytest.fixture
def blobs(tmp_path: Path) -> LocalFolder:
    return LocalFolder(tmp_path / "blobs")


def tar(path: Path, mode: str = "w", *members: tarfile.TarInfo, contents: dict[str, bytes] | None = None) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in (CONTENTS if contents is None else contents).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def zipped(path: Path, contents: dict[str, bytes] | None = None, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in (CONTENTS if contents is None else contents).items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_is_the_tree_of_its_files(blobs: LocalFolder, tmp_path: Path, mode: str, form: int) -> None:
    """However it is packed, with a dot in front as `tar` writes it, and with folders that hold nothing."""
    path = tmp_path / "archive"
    with tarfile.open(path, mode, format=form) as archive:  # type: ignore[call-overload]
        archive.addfile(member("./", tarfile.DIRTYPE))
        for name, data in CONTENTS.items():
            info = member(f"./{name}", size=len(data))
            archive.addfile(info, io.BytesIO(data))

    tree, count, size = keep_archive(blobs, path)

    assert put_files(blobs, CONTENTS) == tree
    assert (3, sum(map(len, CONTENTS.values()))) == (count, size)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_the_tree_of_its_files(blobs: LocalFolder, tmp_path: Path, method: int) -> None:
    """Stored and deflated."""
    tree, count, _ = keep_archive(blobs, zipped(tmp_path / "a.zip", method=method))

    assert put_files(blobs, CONTENTS) == tree
    assert 3 == count


def test_executable_files_and_empty_folders_are_kept(blobs: LocalFolder, tmp_path: Path) -> None:
    """As a folder on disk would be."""
    run = member("run.sh", size=3)
    run.mode = 0o4755
    tree, _, _ = keep_archive(blobs, tar(tmp_path / "a.tar", "w", member("empty", tarfile.DIRTYPE), run, contents={}))

    assert {"run.sh"} == set(files(blobs, tree))
    assert b'"executable":true' in blobs.get(tree)
    assert b'"name":"empty"' in blobs.get(tree)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "a/./b",
        "..",
        "C:\\x",
        "a\\b",
        "x.",
        " ",
        "a\u202etxt",
        "e\u0301",
        DEEP,
    ],
)
@pytest.mark.parametrize("make", [tar, zipped])
def test_a_path_that_leads_elsewhere_is_refused(
    blobs: LocalFolder, tmp_path: Path, name: str, make: Callable[..., Path]
) -> None:
    """Before anything is a version; nothing is ever written but blobs."""
    archive = make(tmp_path / "a", contents={"ok": b"1", name: b"2"})

    with pytest.raises(Refused) as refused:
        keep_archive(blobs, archive)

    assert "ambiguous-archive" == refused.value.code
    assert {"a", "blobs"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "odd",
    [
        member("l", tarfile.SYMTYPE, "/etc/passwd"),
        member("l", tarfile.SYMTYPE, "a.txt"),
        member("l", tarfile.LNKTYPE, "a.txt"),
        member("l", tarfile.FIFOTYPE),
        member("l", tarfile.CHRTYPE),
        member("l", tarfile.BLKTYPE),
        member("l", tarfile.GNUTYPE_SPARSE),
        member("l", b"Z"),
        member("a.txt", size=1),
        member("a.txt/inner", size=1),
        member("b", size=1),
    ],
    ids=lambda info: f"{info.name}-{info.type!r}",
)
def test_anything_but_plain_files_once_is_refused(blobs: LocalFolder, tmp_path: Path, odd: tarfile.TarInfo) -> None:
    """Links whatever they point at, devices, holes, unknown kinds, a name twice, a file that is a folder."""
    with pytest.raises((Refused, Invalid)):
        keep_archive(blobs, tar(tmp_path / "a.tar", "w", odd))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_torn_tar_is_refused(blobs: LocalFolder, tmp_path: Path, mode: str) -> None:
    """Wherever it ends."""
    whole = tar(tmp_path / "a", mode).read_bytes()
    content = len(whole) if mode != "w" else len(whole) - 10240  # plain tar is padded by zeros that say nothing
    for cut in (content // 3, content // 2, content - 600 if mode == "w" else content - 9):
        (tmp_path / "b").write_bytes(whole[:cut])
        with pytest.raises((Refused, Invalid)):
            keep_archive(blobs, tmp_path / "b")


def test_a_damaged_header_is_not_the_end(blobs: LocalFolder, tmp_path: Path) -> None:
    """Some readers would stop there and take the half for the whole."""
    path = tar(tmp_path / "a.tar", contents={"a": b"1", "b": b"2"})
    data = bytearray(path.read_bytes())
    data[1024 + 10] ^= 1
    path.write_bytes(data)

    with pytest.raises((Refused, Invalid)):
        keep_archive(blobs, path)


@pytest.mark.parametrize("where", ["before", "behind", "comment"])
def test_more_than_a_zip_is_refused(blobs: LocalFolder, tmp_path: Path, where: str) -> None:
    """What two readers would read differently."""
    path = zipped(tmp_path / "a.zip")
    data = path.read_bytes()
    if where == "comment":
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = b"hello"
    else:
        path.write_bytes(b"#!/bin/sh\n" + data if where == "before" else data + b"more")

    with pytest.raises((Refused, Invalid)):
        keep_archive(blobs, path)


def test_lists_that_differ_are_refused(blobs: LocalFolder, tmp_path: Path) -> None:
    """The name in front of the content and the one in the directory."""
    path = zipped(tmp_path / "a.zip", {"good.txt": b"x"})
    path.write_bytes(path.read_bytes().replace(b"good.txt", b"evil.txt", 1))

    with pytest.raises(Refused, match="differ"):
        keep_archive(blobs, path)


def test_wrong_content_is_refused(blobs: LocalFolder, tmp_path: Path) -> None:
    """By the archive's own checksum."""
    path = zipped(tmp_path / "a.zip", {"a": b"content"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"content", b"kontent", 1))

    with pytest.raises(Refused):
        keep_archive(blobs, path)


def test_a_link_in_a_zip_is_refused(blobs: LocalFolder, tmp_path: Path) -> None:
    """It says so in its mode."""
    link = zipfile.ZipInfo("l")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")

    with pytest.raises(Refused, match="link"):
        keep_archive(blobs, tmp_path / "a.zip")


def test_an_encrypted_zip_is_refused(blobs: LocalFolder, tmp_path: Path) -> None:
    """Nobody asks for a password."""
    path = zipped(tmp_path / "a.zip", {"a": b"x"})
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(signature) + at
        struct.pack_into("<H", data, place, struct.unpack_from("<H", data, place)[0] | 1)
    path.write_bytes(data)

    with pytest.raises(Refused, match="encrypted"):
        keep_archive(blobs, path)


@pytest.mark.parametrize(
    "limits", [Limits(entries=2), Limits(bytes=1 << 20), Limits(ratio=10, ratio_free=1 << 20)], ids=repr
)
@pytest.mark.parametrize("make", [lambda path: tar(path, "w:gz"), zipped], ids=["tar", "zip"])
def test_a_bomb_is_refused(blobs: LocalFolder, tmp_path: Path, limits: Limits, make: Callable[[Path], Path]) -> None:
    """At the limits, not after."""
    with pytest.raises(Refused) as refused:
        keep_archive(blobs, make(tmp_path / "a"), limits=limits)

    assert "archive-too-large" == refused.value.code


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"PK", b"PK\x03\x04", b"\x1f\x8b", b"x" * 2000, b"\0" * 512 + b"x" * 512]
)
def test_what_is_no_archive_is_refused(blobs: LocalFolder, tmp_path: Path, data: bytes) -> None:
    """And nothing else happens."""
    (tmp_path / "a").write_bytes(data)

    with pytest.raises((Refused, Invalid)):
        keep_archive(blobs, tmp_path / "a")


def test_there_must_be_an_archive(blobs: LocalFolder, tmp_path: Path) -> None:
    """A folder is none."""
    with pytest.raises(NotFound):
        keep_archive(blobs, tmp_path / "nothing")
    with pytest.raises(Invalid):
        keep_archive(blobs, tmp_path)
