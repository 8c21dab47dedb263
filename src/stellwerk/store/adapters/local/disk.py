"""Files as this store handles them: created once, synced, never followed through links; errors in our own words."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, NotFound, StellwerkError, Unavailable

CHUNK = 1 << 20


def make(folder: Path) -> None:
    """Make a folder and those above it, durably."""
    if not folder.is_dir():
        make(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name() -> str:
    """A name in `incoming/`: the process that writes, and sixteen random digits."""
    return f"{os.getpid()}-{secrets.token_hex(8)}"


def create(path: Path) -> int:
    """A descriptor of a new file that only this user may read."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def write_all(descriptor: int, chunk: bytes | memoryview) -> None:
    """Write every byte, however few the system takes at once."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_parts(descriptor: int, parts: list[bytes]) -> None:
    """Write parts one after the other, without joining them first."""
    written = os.writev(descriptor, parts)
    if written < sum(map(len, parts)):
        write_all(descriptor, memoryview(b"".join(parts))[written:])


def finish(descriptor: int) -> None:
    """Make a file read-only and durable. An error means that the file must be thrown away, never synced again."""
    os.fchmod(descriptor, 0o444 | (os.fstat(descriptor).st_mode & 0o111))
    os.fsync(descriptor)


def publish(temporary: Path, target: Path, failpoint: str) -> bool:
    """Give a finished file its name without overwriting; says whether the name was free. The folder is synced."""
    failpoints.hit(failpoint)
    try:
        os.link(temporary, target)
        free = True
    except FileExistsError:
        free = False
    sync(target.parent)
    return free


def open_file(path: Path) -> BufferedReader:
    """A link or a pipe planted among the blobs is not followed and does not block."""
    return os.fdopen(open_descriptor(path), "rb")


def open_descriptor(path: Path) -> int:
    """As `open_file`, for reading at positions."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Exactly these bytes, or fewer at the end of the file."""
    data = os.pread(descriptor, length, offset)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def holds(path: Path, wanted: BinaryIO) -> bool:
    """Whether a file exists, can be read and has exactly this content."""
    try:
        with open_file(path) as file:
            while chunk := file.read(CHUNK):
                if chunk != wanted.read(len(chunk)):
                    return False
    except OSError:
        return False
    return not wanted.read(1)


def alive(process: str) -> bool:
    """Whether a process of this number runs here."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, OverflowError):
        return True  # somebody else's process, or a file that no process of ours made
    return True


class Gate:
    """Lets any number of writers through, or one that removes. Held by the kernel, so it ends with its process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Nothing is removed while this is held."""
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Nobody writes while this is held."""
        with self._locked(fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with disk():
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with disk():
                fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def disk() -> Iterator[None]:
    """Errors of the disk as `Unavailable`."""
    try:
        yield
    except OSError as cause:
        raise unavailable(cause) from cause


def unreadable(digest: Digest, cause: OSError) -> StellwerkError:
    """What it means that a blob's file cannot be opened."""
    if cause.errno == errno.ENOENT:
        return missing(digest)
    if cause.errno in (errno.ELOOP, errno.EISDIR):
        return corrupt(digest, "got no regular file")
    return unavailable(cause)


def missing(digest: Digest) -> NotFound:
    return NotFound(f"no blob {digest}", hint="`stellwerk fsck` lists what is missing")


def corrupt(digest: Digest, got: str) -> Corrupt:
    return Corrupt(
        f"blob {digest} has other content than its name says ({got})",
        code="corrupt-blob",
        hint="`stellwerk fsck` lists all damage; the copy on disk was not changed",
    )


def unavailable(cause: OSError) -> Unavailable:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(
            "the disk is full; nothing was lost", code="disk-full", hint="free some space and try again"
        )
    reason = os.strerror(cause.errno) if cause.errno else "unknown reason"
    return Unavailable(f"the store cannot be used: {reason}", code="store-unavailable")
