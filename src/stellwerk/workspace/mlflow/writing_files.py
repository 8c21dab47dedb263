"""Writing a folder as MLflow's file store reads it (`mlruns`): what is made stands there whole or not at all.

Folders are made aside, in `.trash`, and put into place by one change of name each. What is there already is never
changed, whoever made it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stellwerk.core.errors import Conflict, Invalid, Unavailable
from stellwerk.data.dvc import yamltext
from stellwerk.tracking import rules
from stellwerk.workspace.mlflow.reading_files import META, TRASH, holds_experiments

ASIDE = ".stellwerk-export"
_KEYS = (FileExistsError, NotADirectoryError, IsADirectoryError)
_TOO_LONG = (errno.ENAMETOOLONG, errno.EILSEQ)


class Unwritable(Exception):
    """Something cannot be a file in such a folder, while the rest can."""


@dataclass
class Batch:
    """Folders that are put into place together.

    Attributes:
        aside: Where they are made.
        waiting: By the place of a folder, where it is now.
    """

    root: Path
    aside: Path
    waiting: dict[Path, Path] = field(default_factory=dict)

    def folder(self, place: str) -> Path:
        """A new folder that will be at a place below the root."""
        made = self.aside / str(len(self.waiting))
        made.mkdir(parents=True)
        self.waiting[self.root / place] = made
        return made

    def add(self, place: Path, data: bytes) -> None:
        """One small file in a folder that is in place; one that is there stays."""
        made = self.aside / "file"
        made.parent.mkdir(parents=True, exist_ok=True)
        made.unlink(missing_ok=True)
        place.parent.mkdir(exist_ok=True)
        with made.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(made, place)
        made.unlink()

    def settle(self) -> None:
        """Put all of them into place, after all their bytes are on the disk."""
        if not self.waiting:
            return
        os.sync()  # once for all files, of which there may be thousands
        for place, made in self.waiting.items():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                made.rename(place)
            except OSError as cause:
                if cause.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    raise
                shutil.rmtree(made)  # somebody else made it meanwhile, and it stays
        os.sync()
        self.waiting.clear()


@contextmanager
def opened(root: Path) -> Iterator[Batch]:
    """A folder to write to, made if need be; nobody else writes to it by this command meanwhile.

    Raises:
        Invalid: `not-mlflow`: it holds something else.
        Conflict: `export-running`: another export goes on.
        Unavailable: `folder-unwritable`.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        if any(one.name != TRASH for one in root.iterdir()) and not holds_experiments(root):
            raise Invalid(
                f"{str(root)!r} holds something else than experiments of MLflow",
                code="not-mlflow",
                hint="a folder that is empty or not there yet, or one that MLflow or an export made",
            )
        if (root / TRASH).is_symlink():
            raise Invalid(
                f"the bin of {str(root)!r} is a link to another folder",
                code="not-mlflow",
                hint="an export writes only below its own folder",
            )
        number = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _lock(number, root)
            aside = root.resolve() / TRASH / ASIDE
            shutil.rmtree(aside, ignore_errors=True)
            yield Batch(root.resolve(), aside)
            shutil.rmtree(aside, ignore_errors=True)
        finally:
            os.close(number)
    except OSError as cause:
        raise Unavailable(
            f"{str(root)!r} cannot be written to: {cause.strerror}", code="folder-unwritable", hint="check the path"
        ) from cause


def _lock(number: int, root: Path) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        raise Conflict(
            f"another export to {str(root)!r} goes on", code="export-running", hint="wait until it is done"
        ) from cause


def meta(folder: Path, said: Mapping[str, Any]) -> None:
    """What a folder says of itself."""
    lines = [f"{key}: {_scalar(value)}\n" for key, value in sorted(said.items())]
    (folder / META).write_text("".join(lines), "utf-8")


def keyed(folder: Path, key: str, chunks: Iterable[bytes]) -> None:
    """A file by the name of a parameter, a tag or a metric. Raises `Unwritable`."""
    try:
        rules.check_key(key, "key")
    except Invalid as cause:
        raise Unwritable(cause.message) from cause
    if not key:
        raise Unwritable("it has no name")
    write(folder, key, chunks)


def write(folder: Path, path: str, chunks: Iterable[bytes]) -> int:
    """A new file below a folder; answers its length. Raises `Unwritable`."""
    place = folder / path
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            return sum(map(file.write, chunks))
    except _KEYS as cause:
        raise Unwritable("something of this name, or of a part of it, is there as a file already") from cause
    except OSError as cause:
        if cause.errno in _TOO_LONG:
            raise Unwritable("its name cannot be that of a file") from cause
        raise


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return yamltext.text(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yamltext.text(key)}: {yamltext.text(one)}" for key, one in value.items()) + "}"
    return str(value)
