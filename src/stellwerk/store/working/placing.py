"""Bytes of the store as files on disk: copied, cloned or linked. Where files go is the caller's affair."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stellwerk.core import failpoints
from stellwerk.core.errors import Refused, StellwerkError, Unavailable
from stellwerk.store.many import get_many
from stellwerk.store.model import TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.store.working.cache import Stat, stat_of
from stellwerk.store.working.model import SMALL, TEMPORARY, Link

failpoints.declare("checkout.create", "checkout.write", "checkout.rename")

_CLONE = 0x40049409  # FICLONE
_CANNOT = {errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EMLINK}
"""How a file system says that it does not clone or link, or not from there."""
_BATCH_BYTES, _BATCH_FILES = 16 << 20, 5_000
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Placer:
    """Puts files of a store into open folders.

    Files up to `SMALL` bytes are always copied: they have no file of their own in the store.
    """

    def __init__(self, blobs: Blobs, link: Link) -> None:
        self._blobs, self._link = blobs, link
        self._path: Any = getattr(blobs, "path", None)
        self._clones: bool | None = None if link in ("auto", "reflink") and self._path is not None else False
        """Whether files can be cloned here; None until it was tried."""
        self.copied = 0
        """Large files that were to be linked or cloned, and could not."""

    def place_all(self, folder: int, entries: Iterable[tuple[str, TreeEntry]]) -> Iterator[tuple[TreeEntry, Stat]]:
        """Make new files in an open folder, by their names, in order; small ones are read many at a time."""
        batch: list[tuple[str, TreeEntry]] = []
        waiting = 0
        for name, entry in entries:
            batch.append((name, entry))
            waiting += min(entry.size, SMALL)
            if waiting >= _BATCH_BYTES or len(batch) >= _BATCH_FILES:
                yield from self._place_batch(folder, batch)
                batch, waiting = [], 0
        yield from self._place_batch(folder, batch)

    def _place_batch(self, folder: int, batch: list[tuple[str, TreeEntry]]) -> Iterator[tuple[TreeEntry, Stat]]:
        contents = get_many(self._blobs, [entry.digest for _, entry in batch if entry.size <= SMALL])
        for name, entry in batch:
            yield entry, self.place(folder, name, entry, next(contents) if entry.size <= SMALL else None)

    def place(self, folder: int, name: str, entry: TreeEntry, data: bytes | None = None) -> Stat:
        """Make a new file in an open folder; it must not exist.

        Args:
            data: Its content, if it was read already.
        """
        try:
            return self._placed(folder, name, entry, data)
        except OSError as cause:
            raise unwritable(name, cause) from cause

    def _placed(self, folder: int, name: str, entry: TreeEntry, data: bytes | None) -> Stat:
        hard = self._link == "hardlink"
        if hard and self._linked(folder, name, entry):
            return stat_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
        failpoints.hit("checkout.create")
        descriptor = os.open(name, _NEW, 0o777 if entry.executable else 0o666, dir_fd=folder)
        try:
            self._fill(folder, descriptor, entry, data)
            if hard:
                os.fchmod(descriptor, 0o555 if entry.executable else 0o444)
            return stat_of(os.fstat(descriptor))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)

    def _fill(self, folder: int, descriptor: int, entry: TreeEntry, data: bytes | None) -> None:
        if entry.size <= SMALL:
            content = self._blobs.get(entry.digest) if data is None else data
            failpoints.hit("checkout.write")
            _write(descriptor, content)
            return
        if self._clones is None:
            # Tried on a file of nothing: asking the store for a file to clone may make it write one.
            self._clones = _can_clone(folder)
        if self._clones and self._cloned(descriptor, self._path(entry.digest)):
            return
        self.copied += self._link == "reflink"
        for chunk in self._blobs.stream(entry.digest):
            failpoints.hit("checkout.write")
            _write(descriptor, chunk)

    def _cloned(self, descriptor: int, source: Path) -> bool:
        with source.open("rb") as file:
            try:
                fcntl.ioctl(descriptor, _CLONE, file.fileno())
            except OSError as cause:
                if cause.errno not in _CANNOT:
                    raise
                self._clones = False  # nor will it clone the next
                return False
        return True

    def _linked(self, folder: int, name: str, entry: TreeEntry) -> bool:
        # The store's file is shared by all who have its bytes, so it cannot be executable for one of them.
        if entry.size <= SMALL or entry.executable or self._path is None:
            return False
        source = self._path(entry.digest)
        try:
            os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as cause:
            if cause.errno not in _CANNOT:
                raise
            self.copied += 1
            return False
        return True


def _can_clone(folder: int) -> bool:
    names = [f"{TEMPORARY}{os.getpid()}-{side}-{secrets.token_hex(4)}" for side in ("from", "to")]
    opened: list[int] = []
    try:
        for name in names:
            opened.append(os.open(name, _NEW & ~os.O_WRONLY | os.O_RDWR, 0o600, dir_fd=folder))
            os.unlink(name, dir_fd=folder)
        _write(opened[0], bytes(4096))
        fcntl.ioctl(opened[1], _CLONE, opened[0])
    except OSError as cause:
        if cause.errno not in _CANNOT:
            raise
        return False
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return True


def _write(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, memoryview(data)[written:])


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Errors of the file system as ours."""
    try:
        yield
    except OSError as cause:
        raise unwritable(name, cause) from cause


def unwritable(name: str, cause: OSError) -> StellwerkError:
    """The error for a file that cannot be made."""
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("the disk is full; nothing was lost", code="disk-full", hint="free some space, try again")
    if cause.errno in (errno.EEXIST, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY):
        return Refused(
            f"something stands where {name[:200]!r} should go",
            code="local-changes",
            hint="move it away and try again",
        )
    reason = os.strerror(cause.errno) if cause.errno else "unknown reason"
    return Unavailable(f"{name[:200]!r} cannot be written: {reason}", code="file-unwritable")
