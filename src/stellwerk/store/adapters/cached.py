"""A far store with a near folder: what was read once is read from here, verified each time, within a bound.

The folder is only a cache: whether a blob exists is always asked of the store, and deleting the folder loses nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from stellwerk.core.digest import Digest, hex_of, of_chunks, parse
from stellwerk.core.errors import Unavailable
from stellwerk.store.adapters.s3 import S3Blobs
from stellwerk.store.rules import checked_range

PORTION = 1 << 20
SPARED_SECONDS = 600.0
"""A file that was used so lately is not evicted: a worker may be about to open it."""
LEFT_BEHIND_SECONDS = 86_400.0
"""An unfinished file of this age was left by a process that is gone."""


class Cache:
    """Files by digest, at most so many bytes together; the least recently used go first. Safe for many processes.

    Files in use a moment ago stay even where that exceeds the bound. Errors of the disk are never errors of a reader.

    Attributes:
        now: Seconds, as the file system counts them.
    """

    def __init__(self, root: Path, *, limit: int, now: Callable[[], float] = time.time) -> None:
        self._root, self._limit, self.now = root, limit, now
        self._lock = Lock()
        self._grown = 0

    def open(self, digest: Digest) -> BinaryIO | None:
        """The file of a blob, verified now through what is handed out; a damaged one is removed."""
        file = self._file(digest)
        try:
            content = file.open("rb")
        except OSError:
            return None
        try:
            if of_chunks(iter(lambda: content.read(PORTION), b"")) == digest:
                content.seek(0)
                os.utime(file, (self.now(), self.now()))
                return content
            file.unlink(missing_ok=True)
        except OSError:
            pass
        content.close()
        return None

    def path(self, digest: Digest) -> Path | None:
        """The name of a blob's file, verified now."""
        content = self.open(digest)
        if content is None:
            return None
        content.close()
        return self._file(digest)

    def keep(self, digest: Digest, chunks: Iterable[bytes]) -> bool:
        """Make a file of a blob; returns whether the disk took it. Errors of the source are raised."""
        file = self._file(digest)
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        hasher, size = hashlib.sha256(), 0
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.parent.mkdir(exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as content:
                    for chunk in chunks:
                        hasher.update(chunk)
                        size += len(chunk)
                        content.write(chunk)
                if hasher.hexdigest() == hex_of(digest):
                    temporary.chmod(0o400)
                    os.utime(temporary, (self.now(), self.now()))
                    temporary.replace(file)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError:
            return False
        self._grow(size)
        return True

    def takes(self, size: int) -> bool:
        """Whether a blob is short enough to be kept beside others."""
        return size <= self._limit // 4

    def forget(self, digest: Digest) -> None:
        """Remove the file of a blob."""
        self._file(digest).unlink(missing_ok=True)

    def trim(self) -> int:
        """Remove files until the bound holds again; returns the bytes that are left."""
        found = []
        for folder in self._folders():
            for file in folder.iterdir():
                try:
                    stat = file.stat()
                except OSError:
                    continue
                if file.name.startswith("."):
                    if self.now() - stat.st_mtime > LEFT_BEHIND_SECONDS:
                        file.unlink(missing_ok=True)
                    continue
                found.append((stat.st_mtime, stat.st_size, file))
        total = sum(size for _, size, _ in found)
        for used, size, file in sorted(found):
            if total <= self._limit or self.now() - used < SPARED_SECONDS:
                break
            file.unlink(missing_ok=True)
            total -= size
        return total

    def _grow(self, size: int) -> None:
        with self._lock:
            self._grown += size
            due = self._grown > self._limit // 8
            if due:
                self._grown = 0
        if due:
            self.trim()

    def _folders(self) -> list[Path]:
        try:
            return [folder for folder in self._root.iterdir() if re.fullmatch(r"[0-9a-f]{2}", folder.name)]
        except OSError:
            return []

    def _file(self, digest: Digest) -> Path:
        name = hex_of(parse(digest))
        return self._root / name[:2] / name


class CachedBlobs:
    """Blobs of a bucket, read through a folder. Writes are acknowledged when the bucket has them."""

    def __init__(self, far: S3Blobs, cache: Cache) -> None:
        self.far, self._cache = far, cache

    def put(self, data: bytes) -> Digest:
        digest = self.far.put(data)
        if self._cache.takes(len(data)):
            self._cache.keep(digest, (data,))
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        return self.far.put_stream(chunks)

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        return self.far.put_many(items)

    def get(self, digest: Digest) -> bytes:
        return b"".join(self.stream(digest))

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        wanted = checked_range(start, stop)
        near = self._cache.open(digest)
        if near is None and wanted == slice(0, None) and self._cache.takes(self.far.size(digest)):
            self._cache.keep(digest, self.far.stream(digest))
            near = self._cache.open(digest)
        if near is None:
            yield from self.far.stream(digest, start=start, stop=stop)
            return
        with near:
            first, last, _ = wanted.indices(os.fstat(near.fileno()).st_size)
            near.seek(first)
            left = max(0, last - first)
            yield near.read(min(left, PORTION))
            while (left := left - PORTION) > 0:
                yield near.read(min(left, PORTION))

    def path(self, digest: Digest) -> Path:
        found = self._cache.path(digest)
        if found is None and self._cache.keep(digest, self.far.stream(digest)):
            found = self._cache.path(digest)
        if found is None:
            raise Unavailable(
                "the cache of this workspace cannot be written", code="cache-unwritable", hint="free some space"
            )
        return found

    def has(self, digest: Digest) -> bool:
        return self.far.has(digest)

    def size(self, digest: Digest) -> int:
        return self.far.size(digest)

    def lengths(self, digests: Collection[Digest]) -> dict[Digest, int]:
        return self.far.lengths(digests)

    def get_many(self, digests: Collection[Digest]) -> Iterator[bytes]:
        return self.far.get_many(digests)

    def __iter__(self) -> Iterator[Digest]:
        return iter(self.far)

    def quarantine(self, digest: Digest) -> bool:
        self._cache.forget(digest)
        return self.far.quarantine(digest)

    def close(self) -> None:
        """Release connections."""
        self.far.close()
