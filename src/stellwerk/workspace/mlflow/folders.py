"""Folders of artifacts on this machine. Only folders that end as MLflow ends them are read, and no link is followed.

A database may come from anybody. It names folders of the machine that reads it, and must not make it read others.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stellwerk.workspace.mlflow.model import Folder, FoundFile, Problem, Unread

CHUNK = 1 << 20
_LOCAL = ("", "file")
_OPEN = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Places:
    """Where artifacts may be.

    Args:
        home: What relative paths are relative to.
        bases: Folders whose inside is laid out by experiment and run, the best first: what was moved is found there.
        given: Such a folder that somebody named, and that comes before what a location says.
    """

    def __init__(self, home: Path, bases: Sequence[Path], given: Path | None = None) -> None:
        self._home, self._bases, self._given = home, bases, given

    def folder(self, location: str, tail: tuple[str, ...]) -> Folder:
        """What `Source.folder` says."""
        scheme, path = _read(location)
        if not location:
            return Folder(state="none")
        if scheme not in (*_LOCAL, "mlflow-artifacts"):
            return Folder(state="elsewhere")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if "\x00" in path or ".." in parts or tuple(parts[-len(tail) :]) != tail:
            return Folder(state="refused", reason=f"its folder does not end in {'/'.join(tail)}")
        inner = parts if scheme == "mlflow-artifacts" else parts[-len(tail) - 1 :]
        candidates = [self._given.joinpath(*inner)] if self._given else []
        candidates += [self._home / path] if scheme in _LOCAL else []
        candidates += [base.joinpath(*inner) for base in self._bases]
        for candidate in candidates:
            try:
                real = candidate.resolve(strict=True)
            except (OSError, RuntimeError):
                continue
            if not real.is_dir():
                continue
            if real.parts[-len(tail) :] != tail:
                return Folder(state="refused", reason="its folder is a link to another one")
            return Folder(state="here", files=walk(real))
        return Folder(state="none")


def walk(top: Path) -> Iterator[FoundFile | Problem]:
    """All files below a folder, in order; a problem for links and for what is neither file nor folder."""
    failed: list[OSError] = []
    for place, folders, files, number in os.fwalk(top, follow_symlinks=False, onerror=failed.append):
        inner = Path(place).relative_to(top)
        folders.sort()
        for name in list(folders):
            if stat.S_ISLNK(os.lstat(name, dir_fd=number).st_mode):
                folders.remove(name)
                yield _problem(inner / name, "it is a link, and links are not followed")
        for name in sorted(files):
            path = (inner / name).as_posix()
            try:
                found = os.lstat(name, dir_fd=number)
                if not stat.S_ISREG(found.st_mode):
                    what = "a link, and links are not followed" if stat.S_ISLNK(found.st_mode) else "no file"
                    yield _problem(path, f"it is {what}")
                    continue
                # Opened here, where the folder is held open: nobody can put another one in its place.
                opened = os.open(name, _OPEN, dir_fd=number)
            except OSError as cause:
                yield _problem(path, f"it cannot be read ({cause.strerror})")
                continue
            try:
                if not stat.S_ISREG(os.fstat(opened).st_mode):
                    yield _problem(path, "it is no file")
                    continue
                yield FoundFile(path=path, size=os.fstat(opened).st_size, chunks=partial(chunks_of, opened))
            finally:
                os.close(opened)
    for problem in failed:
        yield _problem(Path(problem.filename or "").name, f"it cannot be read ({problem.strerror})")


def texts(top: Path, *, most: int) -> Iterator[tuple[str, str | Problem]]:
    """Small files as texts by their paths: how MLflow keeps parameters, tags and metrics in folders."""
    if top.is_symlink() or not top.is_dir():
        return
    for one in walk(top):
        if isinstance(one, Problem):
            yield one.name, one
        elif one.size > most:
            yield one.path, _problem(one.path, f"it has {one.size:,} bytes (expected at most {most:,})")
        else:
            yield one.path, b"".join(one.chunks()).decode("utf-8", "replace")


def text_of(file: Path, *, most: int) -> bytes | None:
    """The bytes of one small file that is no link; None where there is none."""
    try:
        opened = open_plain(file)
    except OSError:
        return None
    try:
        return b"".join(chunks_of(opened)) if os.fstat(opened).st_size <= most else None
    finally:
        os.close(opened)


def open_plain(file: Path) -> int:
    """Open a file that is no link, no pipe and no device; the caller closes it. Raises `OSError`."""
    opened = os.open(file, _OPEN)
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return opened
    os.close(opened)
    raise OSError(errno.EINVAL, "it is no file")


def chunks_of(opened: int) -> Iterator[bytes]:
    """The bytes of an open file, from its beginning. Raises `Unread`."""
    try:
        at = 0
        while data := os.pread(opened, CHUNK, at):
            at += len(data)
            yield data
    except OSError as cause:
        raise Unread(f"it cannot be read ({cause.strerror})") from cause


def _read(location: str) -> tuple[str, str]:
    """Scheme and path of a location. What is no URI is a path, and is not decoded."""
    scheme, mark, _ = location.partition(":")
    if not mark or "/" in scheme:
        return "", location
    try:
        found = urlsplit(location)
    except ValueError:
        return "unreadable", ""
    if found.scheme == "file" and found.netloc not in ("", "localhost"):
        return "unreadable", ""
    return found.scheme, unquote(found.path)


def _problem(path: Path | str, reason: str) -> Problem:
    return Problem(kind="artifact", where="", name=str(path), reason=reason)
