"""Tar and zip archives as trees, without unpacking them on disk. What has two readings is refused.

Plain files and folders only: no links, devices or holes, no path that leads out, no name twice, nothing before or
behind the archive, nothing encrypted, no more than the limits.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat as modes
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Invalid, NotFound, Refused, Unavailable
from stellwerk.core.names import path_part
from stellwerk.store.model import MAX_DEPTH, Tree, TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.store.rules import tree, tree_bytes

_CHUNK = 1 << 20
_BLOCK = 512
_SMALL = 1 << 20
_BATCH_BYTES, _BATCH_FILES = 32 << 20, 5_000
_LOCAL = struct.Struct("<4s5H3L2H")
_UTF8, _ENCRYPTED = 0x800, 0x1
_DESCRIPTORS = {0, 12, 16, 20, 24}
_ENDS = (22, 22 + 56 + 20)
"""Bytes of the end of a zip archive, without and with the 64-bit one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an archive may be.

    Attributes:
        ratio: Bytes unpacked to bytes packed, from `ratio_free` bytes on: what packs better is made to do harm.
    """

    entries: int = 1_000_000
    bytes: int = 1 << 40
    ratio: int = 1000
    ratio_free: int = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    path: str
    size: int
    executable: bool
    content: Iterator[bytes]


def keep_archive(blobs: Blobs, archive: Path, *, limits: Limits | None = None) -> tuple[Digest, int, int]:
    """Keep the files of an archive as a tree; returns it with the number of files and bytes. All or nothing.

    Raises:
        Invalid: `unknown-archive`: it is neither tar (plain, gzip, bzip2, xz) nor zip.
        Refused: `ambiguous-archive` or `archive-too-large`, with the reason.
    """
    limits = limits or Limits()
    try:
        with archive.open("rb") as file:
            members = _members(file, archive, limits)
            entries, folders = _keep(blobs, members, limits)
    except FileNotFoundError as cause:
        raise NotFound(f"there is no file {archive.name!r}", code="file-not-found", hint="check the path") from cause
    except IsADirectoryError as cause:
        raise Invalid(f"{archive.name!r} is a folder (expected an archive)", code="unknown-archive") from cause
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError) as cause:
        raise _ambiguous(f"it cannot be read to its end: {cause}") from cause
    # The latter two are zipfile's, for compressions that it does not know and for members under a password.
    except (UnicodeDecodeError, struct.error, NotImplementedError, RuntimeError) as cause:
        raise _ambiguous(f"it cannot be read: {cause}") from cause
    except OSError as cause:
        if cause.errno is None:  # bz2 and gzip say so of damaged data
            raise _ambiguous(f"it cannot be read to its end: {cause}") from cause
        raise Unavailable(f"{archive.name!r} cannot be read: {cause.strerror}", code="unreadable-file") from cause
    top = _put_trees(blobs, entries, folders)
    return top, len(entries), sum(entry.size for _, entry in entries)


def _members(file: IO[bytes], archive: Path, limits: Limits) -> Iterator[_Member]:
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"PK"):
        return _zip(file, archive.stat().st_size, limits)
    packed: Any = None
    if head.startswith(b"\x1f\x8b"):
        packed = gzip.GzipFile(fileobj=file)
    elif head.startswith(b"BZh"):
        packed = bz2.BZ2File(file)
    elif head.startswith(b"\xfd7zXZ\0"):
        packed = lzma.LZMAFile(file)  # noqa: SIM115
    size = archive.stat().st_size
    return _tar(_Counted(packed or file, size if packed else 0, limits))


class _Counted:
    """A stream that stops where the limits do."""

    def __init__(self, file: Any, packed: int, limits: Limits) -> None:
        self._file, self._packed, self._limits, self._read = file, packed, limits, 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._file.read(_CHUNK if size < 0 else size)
        self._read += len(data)
        if self._packed:
            _check_ratio(self._read, self._packed, self._limits)
        return data


def _check_ratio(unpacked: int, packed: int, limits: Limits) -> None:
    if unpacked > limits.ratio_free and unpacked > packed * limits.ratio:
        raise _too_large(f"it unpacks to more than {limits.ratio} times its size")


class _Strict(tarfile.TarInfo):
    """A header that is wrong is an error, not the end of the archive."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        try:
            return super().frombuf(buf, encoding, errors)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as cause:
            raise _unknown_or_torn(cause) from cause


def _unknown_or_torn(cause: Exception) -> Invalid:
    return Invalid(
        f"this is no archive that can be read (expected tar or zip): {cause}",
        code="unknown-archive",
        hint="tar may be packed by gzip, bzip2 or xz",
    )


def _tar(stream: _Counted) -> Iterator[_Member]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Strict, bufsize=_BLOCK * 20) as opened:  # type: ignore[call-overload]
        for member in opened:
            if member.isdir():
                yield _Member(path=member.name.rstrip("/") + "/", size=0, executable=False, content=iter(()))
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse() or member.size < 0:
                raise _ambiguous(f"{member.name[:200]!r} is a link, a device or a file with holes")
            content = opened.extractfile(member)
            if content is None:
                raise _ambiguous(f"{member.name[:200]!r} has no content")
            yield _Member(
                path=member.name,
                size=member.size,
                executable=bool(member.mode & 0o100),
                content=_exactly(content, member.size, member.name),
            )
        rest: Any = opened.fileobj
        while data := rest.read(_CHUNK):
            if data.strip(b"\0"):
                raise _ambiguous("something stands behind its end")
    while data := stream.read(_CHUNK):
        if data.strip(b"\0"):
            raise _ambiguous("something stands behind its end")


def _zip(file: IO[bytes], size: int, limits: Limits) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as opened:
        infos = opened.infolist()
        _check_tiles(file, opened, infos, size)
        for info in infos:
            kind = modes.S_IFMT(info.external_attr >> 16)
            name = info.orig_filename
            if kind not in (0, modes.S_IFREG, modes.S_IFDIR) or (kind == modes.S_IFDIR) > name.endswith("/"):
                raise _ambiguous(f"{name[:200]!r} is a link or a device")
            if name.endswith("/"):
                if info.file_size:
                    raise _ambiguous(f"the folder {name[:200]!r} has content")
                yield _Member(path=name, size=0, executable=False, content=iter(()))
                continue
            _check_ratio(info.file_size, max(info.compress_size, 1), limits)
            with opened.open(info) as content:
                yield _Member(
                    path=name,
                    size=info.file_size,
                    executable=bool(info.external_attr >> 16 & 0o100),
                    content=_exactly(content, info.file_size, name),
                )


def _check_tiles(file: IO[bytes], opened: zipfile.ZipFile, infos: list[zipfile.ZipInfo], size: int) -> None:
    """Every byte of the archive belongs to one thing, and both lists of its members agree."""
    at = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.header_offset not in {at + gap for gap in _DESCRIPTORS} or (at == 0 and info.header_offset):
            raise _ambiguous("its members overlap, or something stands between them")
        if info.flag_bits & _ENCRYPTED:
            raise _ambiguous(f"{info.orig_filename[:200]!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _ambiguous(f"{info.orig_filename[:200]!r} is packed in a way that few can read")
        file.seek(info.header_offset)
        head = _LOCAL.unpack(file.read(_LOCAL.size))
        name = file.read(head[9])
        wanted = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
        if head[0] != b"PK\x03\x04" or name != wanted or head[3] != info.compress_type:
            raise _ambiguous(f"its two lists differ about {info.orig_filename[:200]!r}")
        if not info.flag_bits & _UTF8 and not wanted.isascii():
            raise _ambiguous(f"the name {info.orig_filename[:200]!r} does not say in which letters it is written")
        at = info.header_offset + _LOCAL.size + head[9] + head[10] + info.compress_size
    listed = sum(46 + len(i.orig_filename.encode("utf-8" if i.flag_bits & _UTF8 else "cp437")) for i in infos)
    listed += sum(len(info.extra) + len(info.comment) for info in infos)
    start: int = opened.start_dir
    if opened.comment or start - at not in _DESCRIPTORS or size - start - listed not in _ENDS:
        raise _ambiguous("something stands before, between or behind its parts")


def _exactly(content: Any, size: int, name: str) -> Iterator[bytes]:
    length = 0
    while chunk := content.read(_CHUNK):
        length += len(chunk)
        yield chunk
    if length != size:
        raise _ambiguous(f"{name[:200]!r} has {length:,} bytes (expected {size:,})")


def _keep(blobs: Blobs, members: Iterable[_Member], limits: Limits) -> tuple[list[tuple[str, TreeEntry]], set[str]]:
    """Keep the content of all members; returns files in order, and folders."""
    files: dict[str, TreeEntry] = {}
    folders: set[str] = set()
    batch: list[tuple[str, bytes]] = []
    waiting = total = 0

    def flush() -> None:
        for (path, _), digest in zip(batch, blobs.put_many([data for _, data in batch]), strict=True):
            files[path] = files[path]._replace(digest=digest)
        batch.clear()

    for member in members:
        path = _checked(member.path)
        if member.path.endswith("/"):
            folders.add(path)
            continue
        if path in files:
            raise _ambiguous(f"it has {path[:200]!r} twice")
        total += member.size
        if len(files) + len(folders) >= limits.entries or total > limits.bytes:
            raise _too_large(f"it has more than {limits.entries:,} files or {limits.bytes:,} bytes")
        entry = TreeEntry(
            name=path.rpartition("/")[2],
            kind="file",
            size=member.size,
            digest=Digest(""),
            executable=member.executable,
        )
        files[path] = entry
        if member.size > _SMALL:
            files[path] = entry._replace(digest=blobs.put_stream(member.content))
            continue
        batch.append((path, b"".join(member.content)))
        waiting += member.size
        if waiting >= _BATCH_BYTES or len(batch) >= _BATCH_FILES:
            flush()
            waiting = 0
    flush()
    return list(files.items()), folders


def _checked(name: str) -> str:
    path = name.removeprefix("./").removesuffix("/")
    if path in ("", ".") and name.endswith("/"):
        return ""
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise Refused(f"{name[:200]!r} is deeper than {MAX_DEPTH} folders", code="ambiguous-archive")
    try:
        for part in parts:
            path_part(part)
    except Invalid as cause:
        raise _ambiguous(f"it holds {name[:200]!r}: {cause.message}") from cause
    return path


def _put_trees(blobs: Blobs, files: list[tuple[str, TreeEntry]], folders: Iterable[str]) -> Digest:
    """Keep the trees that hold the files, all at once."""
    inside: dict[str, list[TreeEntry]] = {"": []}
    for path in [*(path.rpartition("/")[0] for path, _ in files), *folders]:
        while path not in inside:
            inside[path] = []
            path = path.rpartition("/")[0]
    for path, entry in files:
        if path in inside:
            raise _ambiguous(f"{path[:200]!r} is a file and a folder")
        inside[path.rpartition("/")[0]].append(entry)
    written: list[bytes] = []
    for path in sorted(inside, key=lambda one: -one.count("/") - bool(one)):
        made: Tree = tree(inside[path])
        data = tree_bytes(made)
        written.append(data)
        if path:
            above, _, name = path.rpartition("/")
            inside[above].append(TreeEntry(name=name, kind="tree", size=made.size, digest=of_bytes(data)))
    return blobs.put_many(written)[-1]


def _ambiguous(reason: str) -> Refused:
    return Refused(
        f"the archive is refused: {reason}",
        code="ambiguous-archive",
        hint="nothing was kept; unpack it where that can do no harm, and add the folder",
    )


def _too_large(reason: str) -> Refused:
    return Refused(f"the archive is refused: {reason}", code="archive-too-large", hint="nothing was kept")
