"""What runs on this machine logged and the workspace has not acknowledged: a file per run (`docs/formats/outbox.md`).

A record is durable when `append` returns. Records are numbered as they lie; how many were acknowledged stands beside
them, so that whoever goes on after a crash sends the rest, and at most one of them again.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from stellwerk.core import canonical, failpoints
from stellwerk.core.errors import Conflict, Corrupt, Invalid, Unavailable
from stellwerk.core.files import replace_text, sync_folder
from stellwerk.core.frames import HEADER, frame, payloads, repair, write

failpoints.declare("outbox.write", "outbox.synced", "outbox.acknowledged")

Record = tuple[dict[str, object], bytes]
"""What it says, and the bytes that belong to it."""


class Outbox:
    """One run's file. The process that opened it holds it until `close`.

    Args:
        begun: Only where there is one already, which somebody left behind.

    Raises:
        Conflict: `outbox-busy`: another process writes it at this moment; `outbox-gone`: what was `begun` was sent.
        Unavailable: the disk is full or failing.
    """

    def __init__(self, folder: Path, run: str, *, begun: bool = False) -> None:
        self._ends: deque[int] = deque()
        self._path, self._mark = folder / f"{run}.log", folder / f"{run}.sent"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._held(begun)
        except OSError as cause:
            raise _unavailable(cause) from cause
        try:
            self._size = repair(self._file, folder)
            sync_folder(folder)
        except OSError as cause:
            os.close(self._file)
            raise _unavailable(cause) from cause
        self.acknowledged, self._at = 0, 0
        self._skip(self._read_mark())

    def _held(self, begun: bool) -> int:
        """The file, which nobody else holds and which has its name. A new one is held before it has."""
        flags, fresh = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, self._path.with_suffix(".new")
        while True:
            try:
                file = os.open(self._path, flags)
                new = False
            except FileNotFoundError as cause:
                if begun:
                    raise Conflict("what was kept of this run has been sent", code="outbox-gone") from cause
                file = os.open(fresh, flags | os.O_CREAT, 0o600)
                new = True
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if new:
                    fresh.rename(self._path)
                if self._names(file):
                    return file
            except BlockingIOError as cause:
                os.close(file)
                raise Conflict("another process logs this run at this moment", code="outbox-busy") from cause
            except OSError:
                os.close(file)
                raise
            os.close(file)  # whoever held it before was done with it

    def _names(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False

    def append(self, says: dict[str, object], data: bytes = b"") -> None:
        """Keep a record durably."""
        framed = frame(canonical.dumps(says) + b"\n" + data)
        try:
            failpoints.hit("outbox.write")
            write(self._file, framed)
            os.fdatasync(self._file)
        except OSError as cause:
            os.ftruncate(self._file, self._size)
            raise _unavailable(cause) from cause
        self._size += len(framed)
        failpoints.hit("outbox.synced")

    def waiting(self, limit: int | None = None) -> Iterator[Record]:
        """Records that were not acknowledged, in order."""
        self._ends.clear()
        end = self._at
        for payload in islice(payloads(self._path.open("rb"), self._size, whole=True, start=self._at), limit):
            end += HEADER.size + len(payload)
            self._ends.append(end)
            yield _read(payload)

    def all(self) -> Iterator[Record]:
        """All records, in order."""
        return map(_read, payloads(self._path.open("rb"), self._size, whole=True))

    def acknowledge(self) -> None:
        """The next of the records that `waiting` gave has arrived.

        Not durable by itself: what arrives twice is there once.
        """
        self._at = self._ends.popleft()
        self.acknowledged += 1
        replace_text(self._mark, str(self.acknowledged), mode=0o600)
        failpoints.hit("outbox.acknowledged")

    def discard(self, *, rejected: bool = False) -> None:
        """Nothing more will come. Where the workspace refused something, the file is kept for people to look at."""
        if rejected:
            self._path.rename(self._path.with_suffix(".rejected"))
        self._path.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _skip(self, records: int) -> None:
        for payload in islice(payloads(self._path.open("rb"), self._size, whole=True), records):
            self._at += HEADER.size + len(payload)
            self.acknowledged += 1

    def _read_mark(self) -> int:
        try:
            found = self._mark.read_text("ascii")
        except FileNotFoundError:
            return 0
        except (OSError, ValueError):
            return 0  # then everything is sent again, which changes nothing
        return int(found) if found.isascii() and found.isdecimal() else 0


def held(folder: Path) -> list[str]:
    """Runs that have something in a folder, oldest first."""
    return sorted(path.stem for path in folder.glob("*.log"))


def _read(payload: bytes) -> Record:
    head, _, data = payload.partition(b"\n")
    try:
        says = canonical.loads(head)
    except Invalid as cause:
        raise Corrupt("a record of the outbox cannot be read", code="corrupt-spool") from cause
    return says, data


def _unavailable(cause: OSError) -> Unavailable:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("the disk is full: what is logged cannot be kept", code="disk-full")
    return Unavailable(f"what is logged cannot be kept: {os.strerror(cause.errno or 0)}", code="outbox-unavailable")
