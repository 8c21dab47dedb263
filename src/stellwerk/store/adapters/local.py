"""Blobs as files in a folder (`docs/formats/store.md`).

Write order: temporary file in the same tree → write while hashing → fsync → link to the digest's name without
overwriting → fsync of the folder. A crash leaves at most a temporary file, which `sweep` removes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest, hex_of, of_bytes, parse
from stellwerk.core.errors import Corrupt, NotFound, Unavailable

failpoints.declare("blob.open", "blob.write", "blob.fsync", "blob.link", "blob.dirsync")

CHUNK = 1 << 20


class LocalFolder:
    """A folder of blobs: `sha256/ab/<64 hex>`, plus `incoming/` for writes under way."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "sha256"
        self._incoming = root / "incoming"
        try:
            self._objects.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
        except OSError as cause:
            raise _unavailable(cause) from cause

    def put(self, data: bytes) -> Digest:
        digest = of_bytes(data)
        # Re-hashing what is there would make every idempotent put a read; `get` and `fsck` verify.
        if self.has(digest) and self.size(digest) == len(data):
            return digest
        return self.put_stream((data,))

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        temporary = self._incoming / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            return self._write(temporary, chunks)
        except OSError as cause:
            raise _unavailable(cause) from cause
        finally:
            temporary.unlink(missing_ok=True)

    def _write(self, temporary: Path, chunks: Iterable[bytes]) -> Digest:
        hasher = hashlib.sha256()
        failpoints.hit("blob.open")
        with temporary.open("xb") as file:
            for chunk in chunks:
                hasher.update(chunk)
                failpoints.hit("blob.write")
                file.write(chunk)
            file.flush()
            failpoints.hit("blob.fsync")
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o444)
        digest = Digest("sha256:" + hasher.hexdigest())
        target = self._target(digest)
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            _sync(self._objects)
        failpoints.hit("blob.link")
        try:
            os.link(temporary, target)
        except FileExistsError:
            if target.stat().st_size != temporary.stat().st_size:
                # The copy on disk is damaged and the caller just proved what it should be: heal it.
                temporary.replace(target)
        failpoints.hit("blob.dirsync")
        _sync(target.parent)
        return digest

    def get(self, digest: Digest) -> bytes:
        try:
            data = self._target(digest).read_bytes()
        except OSError as cause:
            raise self._missing(digest, cause) from cause
        actual = of_bytes(data)
        if actual != digest:
            raise _corrupt(digest, actual)
        return data

    def stream(self, digest: Digest) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        held = b""
        try:
            with self._target(digest).open("rb") as file:
                while chunk := file.read(CHUNK):
                    hasher.update(chunk)
                    if held:
                        yield held
                    held = chunk
        except OSError as cause:
            raise self._missing(digest, cause) from cause
        actual = Digest("sha256:" + hasher.hexdigest())
        if actual != digest:
            raise _corrupt(digest, actual)
        yield held

    def has(self, digest: Digest) -> bool:
        return self._target(digest).exists()

    def size(self, digest: Digest) -> int:
        try:
            return self._target(digest).stat().st_size
        except OSError as cause:
            raise self._missing(digest, cause) from cause

    def path(self, digest: Digest) -> Path:
        for _ in self.stream(digest):
            pass
        return self._target(digest)

    def __iter__(self) -> Iterator[Digest]:
        for folder in sorted(self._objects.iterdir()):
            for file in sorted(folder.iterdir()):
                yield parse("sha256:" + file.name)

    def sweep(self) -> int:
        """Remove temporary files of processes that are gone; returns how many."""
        removed = 0
        for file in self._incoming.iterdir():
            pid = file.name.partition("-")[0]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                file.unlink(missing_ok=True)
                removed += 1
        return removed

    def _target(self, digest: Digest) -> Path:
        name = hex_of(parse(digest))
        return self._objects / name[:2] / name

    def _missing(self, digest: Digest, cause: OSError) -> NotFound | Unavailable:
        if cause.errno == errno.ENOENT:
            return NotFound(f"no blob {digest}", hint="`stellwerk fsck` lists what is missing")
        return _unavailable(cause)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _corrupt(digest: Digest, actual: Digest) -> Corrupt:
    return Corrupt(
        f"blob {digest} has other content than its name says (got {actual})",
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
