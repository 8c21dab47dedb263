"""Blobs as files in a folder (`docs/formats/store.md`).

Write order: temporary file in the same tree → write while hashing → fsync → link to the digest's name without
overwriting → fsync of the folder. A crash leaves at most a temporary file, which `sweep` removes.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest, hex_of, of_bytes, parse
from stellwerk.core.errors import Corrupt, NotFound, StellwerkError, Unavailable
from stellwerk.store.rules import checked_range

failpoints.declare("blob.open", "blob.write", "blob.fsync", "blob.link", "blob.dirsync")

CHUNK = 1 << 20


class LocalFolder:
    """A folder of blobs: `sha256/ab/<64 hex>`, plus `incoming/` for writes under way."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._objects = root / "sha256"
        self._incoming = root / "incoming"
        self._durable: set[str] = set()
        """Names of the sub-folders that this process knows to survive a power cut."""
        with _disk():
            _make(self._objects)
            _make(self._incoming)

    def put(self, data: bytes) -> Digest:
        digest = of_bytes(data)
        target = self._target(digest)
        # Compared, not trusted: the caller may drop its own copy once this returns.
        if _holds(target, io.BytesIO(data)):
            # Whoever wrote it may have been stopped before the folder was synced.
            with _disk():
                self._make_durable(target.parent)
                _sync(target.parent)
            return digest
        return self.put_stream((data,))

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        temporary = self._incoming / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            digest = self._write(temporary, chunks)
            with _disk():
                self._publish(temporary, self._target(digest))
        finally:
            with _disk():
                temporary.unlink(missing_ok=True)
        return digest

    def _write(self, temporary: Path, chunks: Iterable[bytes]) -> Digest:
        hasher = hashlib.sha256()
        with _disk():
            failpoints.hit("blob.open")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            for chunk in chunks:  # not inside `_disk`: a source that cannot be read is no fault of the store
                hasher.update(chunk)
                with _disk():
                    failpoints.hit("blob.write")
                    _write_all(descriptor, chunk)
            with _disk():
                failpoints.hit("blob.fsync")
                os.fchmod(descriptor, 0o444)
                os.fsync(descriptor)
        finally:
            with _disk():
                os.close(descriptor)
        return Digest("sha256:" + hasher.hexdigest())

    def _publish(self, temporary: Path, target: Path) -> None:
        self._make_durable(target.parent)
        failpoints.hit("blob.link")
        try:
            os.link(temporary, target)
        except FileExistsError:
            with temporary.open("rb") as file:
                intact = _holds(target, file)
            if not intact:
                # The copy on disk is damaged and the caller just proved what it should be: heal it.
                temporary.replace(target)
        failpoints.hit("blob.dirsync")
        _sync(target.parent)

    def _make_durable(self, folder: Path) -> None:
        if folder.name in self._durable:
            return
        folder.mkdir(exist_ok=True)
        present = {entry.name for entry in self._objects.iterdir()}
        if not self._durable:
            _sync(self._root)
        _sync(self._objects)
        self._durable = present

    def get(self, digest: Digest) -> bytes:
        with self._reading(digest) as file:
            data = file.read()
        actual = of_bytes(data)
        if actual != digest:
            raise _corrupt(digest, f"got {actual}")
        return data

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        return [self.put(item) for item in items]

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        wanted = checked_range(start, stop)
        if wanted != slice(0, None):
            yield self.get(digest)[wanted]
            return
        hasher = hashlib.sha256()
        held = b""
        with self._reading(digest) as file:
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
                if held:
                    yield held
                held = chunk
        actual = Digest("sha256:" + hasher.hexdigest())
        if actual != digest:
            raise _corrupt(digest, f"got {actual}")
        yield held

    def has(self, digest: Digest) -> bool:
        with _disk():
            return self._target(digest).is_file()

    def size(self, digest: Digest) -> int:
        try:
            return self._target(digest).lstat().st_size
        except OSError as cause:
            raise _unreadable(digest, cause) from cause

    def path(self, digest: Digest) -> Path:
        for _ in self.stream(digest):
            pass
        return self._target(digest)

    def __iter__(self) -> Iterator[Digest]:
        with _disk():
            for folder in sorted(self._objects.iterdir()):
                for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                    # What is no blob is for `fsck` to report.
                    if re.fullmatch(r"[0-9a-f]{64}", file.name):
                        yield parse("sha256:" + file.name)

    def remove(self, digests: Iterable[Digest]) -> int:
        freed = 0
        with _disk():
            for digest in digests:
                target = self._target(digest)
                try:
                    size = target.lstat().st_size
                    target.unlink()
                except FileNotFoundError:
                    continue
                freed += size
        return freed

    def sweep(self) -> int:
        """Remove temporary files of processes that are gone; returns how many."""
        removed = 0
        with _disk():
            for file in self._incoming.iterdir():
                if not _alive(file.name.partition("-")[0]):
                    file.unlink(missing_ok=True)
                    removed += 1
        return removed

    def _target(self, digest: Digest) -> Path:
        name = hex_of(parse(digest))
        return self._objects / name[:2] / name

    @contextmanager
    def _reading(self, digest: Digest) -> Iterator[BinaryIO]:
        try:
            with _open(self._target(digest)) as file:
                yield file
        except OSError as cause:
            raise _unreadable(digest, cause) from cause


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _open(path: Path) -> BinaryIO:
    # A link or a pipe planted among the blobs is not followed and does not block.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")


def _holds(path: Path, wanted: BinaryIO) -> bool:
    """Whether a file exists, can be read and has exactly this content."""
    try:
        with _open(path) as file:
            while chunk := file.read(CHUNK):
                if chunk != wanted.read(len(chunk)):
                    return False
    except OSError:
        return False
    return not wanted.read(1)


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, OverflowError):
        return True  # somebody else's process, or a file that no process of ours made
    return True


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise _unavailable(cause) from cause


def _unreadable(digest: Digest, cause: OSError) -> StellwerkError:
    if cause.errno == errno.ENOENT:
        return NotFound(f"no blob {digest}", hint="`stellwerk fsck` lists what is missing")
    if cause.errno in (errno.ELOOP, errno.EISDIR):
        return _corrupt(digest, "got no regular file")
    return _unavailable(cause)


def _corrupt(digest: Digest, got: str) -> Corrupt:
    return Corrupt(
        f"blob {digest} has other content than its name says ({got})",
        code="corrupt-blob",
        hint="`stellwerk fsck` lists all damage; the copy on disk was not changed",
    )


def _unavailable(cause: OSError) -> Unavailable:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            "the disk is full; nothing was lost", code="disk-full", hint="free some space and try again"
        )
    reason = os.strerror(cause.errno) if cause.errno else "unknown reason"
    return Unavailable(f"the store cannot be used: {reason}", code="store-unavailable")
