"""The log of predictions that are not sealed yet: a folder per endpoint (`docs/formats/predictions.md`).

A record is durable before `append` returns; one fdatasync serves all threads that wait. What a crash leaves
half-written at the end of `current.log` is cut off when the next writer opens it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stellwerk.core import failpoints
from stellwerk.core.errors import Bug, NotFound, Unavailable
from stellwerk.core.files import sync_folder
from stellwerk.core.frames import frame, payloads, repair, write
from stellwerk.serving import codec
from stellwerk.serving.model import LIMITS, PredictionBatch

failpoints.declare("spool.write", "spool.sync", "spool.synced", "segment.rotate", "segment.rotated")

ENDED = ".sealed-candidate"


class _Group:
    """Records that become durable together."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.done = False
        self.error: Unavailable | None = None


class Spool:
    """One endpoint's spool. Safe for many threads; the first process to write holds the lock until `close`."""

    def __init__(self, folder: Path, *, rotate_at: int = LIMITS.segment_bytes) -> None:
        self._folder, self._rotate_at = folder, rotate_at
        self._current = folder / "current.log"
        self._turn = threading.Condition()
        self._group = _Group()
        self._busy = False  # held by whoever works on the file; everything below it is theirs alone
        self._lock: int | None = None
        self._file: int | None = None
        self._size = 0

    def append(self, record: PredictionBatch) -> None:
        """Keep a record durably."""
        framed = frame(codec.pack(record))
        with self._turn:
            group = self._group
            group.frames.append(framed)
            while not group.done and self._busy:
                self._turn.wait()
            if not group.done:
                self._busy, self._group = True, _Group()
        if not group.done:
            self._lead(group)
        if (error := group.error) is not None:
            raise Unavailable(error.message, code=error.code, hint=error.hint) from error

    def check(self) -> None:
        """Raise `Unavailable` if nothing could be appended."""
        with self._exclusive():
            self._opened()

    def rotate(self) -> str | None:
        """End `current.log` and name the file it becomes; None when it has no records."""
        with self._exclusive():
            writer = self._lock is not None
            if not writer and not self._current.exists():
                return None
            try:
                self._opened()
                return self._end_file()
            finally:
                # Whoever only seals must not keep the next writer out.
                if not writer:
                    self._release()

    def close(self) -> None:
        """Let go of the folder; the next writer may be another process."""
        with self._exclusive():
            self._release()

    def pending(self) -> tuple[str, ...]:
        """Files that have ended, oldest first."""
        try:
            return tuple(sorted(path.name for path in self._folder.glob(f"*{ENDED}")))
        except OSError as cause:
            raise _unavailable(cause) from cause

    def read(self, name: str) -> Iterator[bytes]:
        """The payloads of an ended file; all of them must be whole."""
        file = self._open_to_read(name)
        if file is None:
            raise NotFound(f"the prediction log has no file {name!r}")
        return payloads(file, _size(file), whole=True)

    def discard(self, name: str) -> None:
        """Remove an ended file."""
        if not name.endswith(ENDED) or "/" in name:
            raise Bug(f"{name!r} is not a file that may be removed")
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as cause:
            raise _unavailable(cause) from cause

    def unsealed(self) -> Iterator[bytes]:
        """All payloads at this moment. Open files stay readable when they are renamed or removed."""
        # The current file first: if it ends in between, it is found a second time and not lost.
        current = self._open_to_read(self._current.name)
        ended = [file for name in self.pending() if (file := self._open_to_read(name))]
        known = {_identity(file) for file in ended}
        result = [payload for file in ended for payload in payloads(file, _size(file), whole=True)]
        if current is not None:
            # Its end may be half-written at this moment.
            fresh = _size(current) if _identity(current) not in known else 0
            result += payloads(current, fresh, whole=False)
        return iter(result)

    def _open_to_read(self, name: str) -> BinaryIO | None:
        try:
            return (self._folder / name).open("rb")
        except FileNotFoundError:
            return None
        except OSError as cause:
            raise _unavailable(cause) from cause

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._turn:
            while self._busy:
                self._turn.wait()
            self._busy = True
        try:
            yield
        except OSError as cause:
            self._abandon()
            raise _unavailable(cause) from cause
        finally:
            with self._turn:
                self._busy = False
                self._turn.notify_all()

    def _lead(self, group: _Group) -> None:
        """Write one group for all who wait for it."""
        try:
            self._commit(b"".join(group.frames))
        except Unavailable as cause:
            group.error = cause
        except OSError as cause:
            self._abandon()
            group.error = _unavailable(cause)
        except BaseException:
            self._abandon()
            group.error = Unavailable("the writer of the prediction log was interrupted", code="spool-interrupted")
            raise
        finally:
            with self._turn:
                group.done, self._busy = True, False
                self._turn.notify_all()

    def _commit(self, data: bytes) -> None:
        descriptor = self._opened()
        failpoints.hit("spool.write")
        write(descriptor, data)
        failpoints.hit("spool.sync")
        os.fdatasync(descriptor)
        failpoints.hit("spool.synced")
        self._size += len(data)
        if self._size >= self._rotate_at:
            # The records are safe; if the file cannot end now, the next append tries again.
            try:
                self._end_file()
            except OSError:
                self._abandon(cut=False)

    def _opened(self) -> int:
        """The current file, locked, repaired and at its end."""
        if self._lock is None:
            self._lock = _lock(self._folder)
        if self._file is None:
            descriptor = os.open(self._current, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                self._size = repair(descriptor, self._folder)
                sync_folder(self._folder)
            except BaseException:
                os.close(descriptor)
                raise
            self._file = descriptor
        return self._file

    def _end_file(self) -> str | None:
        if self._size == 0 or self._file is None:
            return None
        numbers = [int(name.partition("-")[0]) for name in self.pending()]
        # The random part keeps names from being used twice: a slow sealer must never remove a newer file.
        name = f"{max(numbers, default=0) + 1:08d}-{secrets.token_hex(8)}{ENDED}"
        failpoints.hit("segment.rotate")
        self._current.rename(self._folder / name)
        descriptor, self._file, self._size = self._file, None, 0
        os.close(descriptor)
        failpoints.hit("segment.rotated")
        sync_folder(self._folder)
        return name

    def _release(self) -> None:
        file, lock = self._file, self._lock
        self._file = self._lock = None
        for descriptor in (file, lock):
            if descriptor is not None:
                os.close(descriptor)

    def _abandon(self, *, cut: bool = True) -> None:
        """After an error a descriptor is never used again; what was not acknowledged is cut off if possible."""
        descriptor, self._file = self._file, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                if cut:
                    os.ftruncate(descriptor, self._size)
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _identity(file: BinaryIO) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise _unavailable(cause) from cause
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as cause:
        os.close(descriptor)
        raise Unavailable(
            "another process writes this endpoint's prediction log",
            code="spool-busy",
            hint="one process serves an endpoint; stop the other one first",
        ) from cause
    return descriptor


def _unavailable(cause: OSError) -> Unavailable:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            "the disk is full; no prediction was lost", code="disk-full", hint="free some space and try again"
        )
    reason = os.strerror(cause.errno) if cause.errno else "unknown reason"
    return Unavailable(f"the prediction log cannot be used: {reason}", code="spool-unavailable")
