"""One folder at a time: which files and folders it has, and their bytes. No link is ever followed."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stellwerk.core.errors import Conflict, Invalid, StellwerkError, Unavailable
from stellwerk.core.names import path_part
from stellwerk.store.working.cache import Stat, stat_of
from stellwerk.store.working.ignoring import Ignoring, never

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20
_ATTEMPTS = 5


@dataclass(slots=True)
class Listing:
    """What one folder holds, each in order of its names."""

    files: list[tuple[str, Stat]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    """Names of links, pipes, sockets and devices."""
    ignore_files: list[str] = field(default_factory=list)


def open_root(path: Path) -> int:
    """A descriptor of the folder in which a scan begins."""
    try:
        return os.open(path, _OPEN | os.O_DIRECTORY)
    except OSError as cause:
        raise unreadable(path.name, cause) from cause


def open_folder(parent: int, name: str, path: str) -> int:
    """A descriptor of a folder in an open one."""
    try:
        return os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=parent)
    except OSError as cause:
        raise unreadable(path, cause) from cause


def listing(folder: int, path: str, rules: Ignoring, ignore_files: Sequence[str]) -> Listing:
    """List an open folder."""
    found = Listing()
    files, is_file, is_folder, ruled = found.files, modes.S_ISREG, modes.S_ISDIR, bool(rules)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                known = entry.stat(follow_symlinks=False)
                mode = known.st_mode
                if name[0] == ".":
                    if never(name):
                        continue
                    if name in ignore_files:
                        found.ignore_files.append(name)
                if ruled and rules.ignores(name + "/" if is_folder(mode) else name):
                    continue
                if is_file(mode):
                    files.append((name, stat_of(known)))
                elif is_folder(mode):
                    found.folders.append(name)
                else:
                    found.special.append(name)
    except FileNotFoundError as cause:
        raise changing(path, "something in it was taken away while it was listed") from cause
    except OSError as cause:
        raise unreadable(path, cause) from cause
    files.sort()
    found.folders.sort()
    found.special.sort()
    return found


def stat_file(folder: int, name: str) -> Stat:
    """The stat of one file in an open folder, which must be a regular one."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as cause:
        raise unreadable(name, cause) from cause
    if not modes.S_ISREG(found.st_mode):
        raise Invalid(f"{name!r} is a link, pipe or device (expected a file)", code="not-a-regular-file")
    return stat_of(found)


def check_name(name: str, path: str) -> None:
    """Check the name of a file or folder; the error names the whole path."""
    try:
        path_part(name)
    except ValueError as cause:
        shown = path.encode("utf-8", "backslashreplace").decode()
        reason = cause.message if isinstance(cause, StellwerkError) else str(cause)
        raise Invalid(
            f"{shown[:300]!r} cannot be kept: {reason}",
            code="invalid-path",
            hint="rename it, or name it in .stellwerkignore",
        ) from cause


def read_small(root: int, path: str, known: Stat) -> tuple[bytes, Stat]:
    """All bytes of a file, and its stat, which did not change while it was read."""
    for attempt in range(_ATTEMPTS):
        # The first is quick: what a link in between led to would have another stat. Later ones look at every step.
        try:
            descriptor = _open_below(root, path) if attempt else os.open(path, _OPEN, dir_fd=root)
        except OSError as cause:
            raise _gone_or_unreadable(path, cause) from cause
        try:
            data = os.read(descriptor, known.size + 1)
            while data and len(data) < known.size and (more := os.read(descriptor, known.size + 1 - len(data))):
                data += more
            after = stat_of(os.fstat(descriptor))
        except OSError as cause:
            raise unreadable(path, cause) from cause
        finally:
            os.close(descriptor)
        if after == known and len(data) == known.size:
            return data, after
        _same_file(path, known, after)
        known = after
    raise changing(path, "it is being written to")


def stream(root: int, path: str, known: Stat) -> Iterator[bytes]:
    """The bytes of a large file in chunks. Raises `Conflict` at the end if the file changed meanwhile."""
    try:
        descriptor = os.open(path, _OPEN, dir_fd=root)
    except OSError as cause:
        raise _gone_or_unreadable(path, cause) from cause
    try:
        length = 0
        while chunk := os.read(descriptor, _CHUNK):
            length += len(chunk)
            yield chunk
        if stat_of(os.fstat(descriptor)) != known or length != known.size:
            raise changing(path, "it is being written to")
    except OSError as cause:
        raise unreadable(path, cause) from cause
    finally:
        os.close(descriptor)


def _open_below(root: int, path: str) -> int:
    """Open a file below an open folder, following no link on the way."""
    *folders, name = path.split("/")
    here = os.dup(root)
    try:
        for folder in folders:
            inner = os.open(folder, _OPEN | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = inner
        return os.open(name, _OPEN, dir_fd=here)
    finally:
        os.close(here)


def _same_file(path: str, known: Stat, after: Stat) -> None:
    # A file put in place of another is read anew, a link to elsewhere or a pipe is not.
    if not modes.S_ISREG(after.mode):
        raise changing(path, "it is no regular file any more")


def _gone_or_unreadable(path: str, cause: OSError) -> StellwerkError:
    if isinstance(cause, (FileNotFoundError, NotADirectoryError)):
        return changing(path, "it was taken away while the folder was read")
    return unreadable(path, cause)


def changing(path: str, how: str) -> Conflict:
    """The error for a file that does not hold still."""
    return Conflict(
        f"{path[:300]!r} changed: {how}", code="file-changing", hint="wait until nothing writes there, and try again"
    )


def unreadable(path: str, cause: OSError) -> StellwerkError:
    """The error for a file or folder that the system does not let us read."""
    if isinstance(cause, (FileNotFoundError, NotADirectoryError)):
        return changing(path, "it was taken away")
    reason = os.strerror(cause.errno) if cause.errno else "unknown reason"
    return Unavailable(f"{path[:300]!r} cannot be read: {reason}", code="unreadable-file")
