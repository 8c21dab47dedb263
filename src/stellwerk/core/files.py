"""Small files that are never half-written: keys made once, descriptions replaced whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from pathlib import Path

from stellwerk.core.errors import Unavailable


def write_secret(path: Path, data: bytes, *, what: str) -> None:
    """Make a file that only its owner can read (mode 0600), durable. An existing one is kept.

    Args:
        what: What it is called in an error: `the signing key`.
    """
    try:
        temporary = _write_beside(path, data, 0o600)
        try:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
        # What depends on it must not outlive it in a power cut.
        sync_folder(path.parent)
    except OSError as cause:
        raise Unavailable(f"{what} cannot be written: {_reason(cause)}", code="key-unwritable") from cause


def replace_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Put a text in place of a file, whole or not at all, durable. Readers see the old text or the new."""
    replace_bytes(path, text.encode(), mode)


def replace_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put bytes in place of a file as `replace_text` does."""
    try:
        temporary = _write_beside(path, data, mode)
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as cause:
        raise Unavailable(f"{path.name} cannot be written: {_reason(cause)}", code="file-unwritable") from cause


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def append_line(path: Path, line: str) -> None:
    """Add a line to a file, durable. What a crash left of a line before it is cut off; processes take turns."""
    data = f"{line}\n".encode()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            end = _whole_lines(descriptor)
            os.ftruncate(descriptor, end)
            if os.pwrite(descriptor, data, end) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if end == 0:
            sync_folder(path.parent)
    except OSError as cause:
        raise Unavailable(f"{path.name} cannot be written: {_reason(cause)}", code="file-unwritable") from cause


def _whole_lines(descriptor: int) -> int:
    """Where the last whole line of a file ends."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 4096)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(cause: OSError) -> str:
    return os.strerror(cause.errno) if cause.errno else "unknown reason"
