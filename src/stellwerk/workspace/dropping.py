"""Folders into which others drop files: each file becomes a part of a dataset, under its contract, and is put aside.

A file is taken when it has stopped growing. One that breaks the contract, or that no table can be read from, is put
aside too, with the reason beside it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stellwerk.core.errors import Conflict, Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.core.files import replace_text
from stellwerk.core.names import name as checked_name
from stellwerk.core.names import slug
from stellwerk.workspace.nouns.data import Data
from stellwerk.workspace.ports import Caller

TAKEN, REFUSED = "taken", "refused"
SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
MOST = 100
"""Files that are taken in one round."""


@dataclass(kw_only=True)
class Drops:
    """One folder, and the dataset that its files belong to.

    Attributes:
        say: Told what became of a file: its name, and the version or the problem.
    """

    dataset: str
    folder: Path
    say: Callable[[str, str], None] = lambda _file, _said: None
    _seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def take(self, caller: Caller, *, settled: bool) -> int:
        """Take what lies there and has stopped growing; how many versions that made.

        Args:
            settled: Whoever asks once says that nobody is writing; else a file is taken at the second look at it.
        """
        made, seen = 0, dict[str, tuple[int, int]]()
        for file, size, changed in self._files():
            seen[file.name] = (size, changed)
            if settled or self._seen.get(file.name) == (size, changed):
                made += self._take(caller, file)
        self._seen = seen
        return made

    def _files(self) -> list[tuple[Path, int, int]]:
        found = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in sorted(entries, key=lambda one: one.name):
                    about = entry.stat(follow_symlinks=False)
                    plain = stat.S_ISREG(about.st_mode) and not entry.name.startswith(".")
                    if plain and Path(entry.name).suffix.lower() in SUFFIXES:
                        found.append((Path(entry.path), about.st_size, about.st_mtime_ns))
        except OSError as cause:
            raise Unavailable(
                f"the folder {self.folder.name!r} of dropped files cannot be read: {cause.strerror}",
                code="folder-unreadable",
            ) from cause
        return found[:MOST]

    def _take(self, caller: Caller, file: Path) -> int:
        try:
            version = Data(caller).add(self.dataset, file, partition=slug(file.stem))
        except (Invalid, NotFound, Conflict) as problem:
            self._refuse(file, problem)
            return 0
        except StellwerkError as problem:
            if problem.code != "contract-broken":
                raise  # the store is away, say: the file stays where it is
            self._refuse(file, problem)
            return 0
        _aside(file, TAKEN)
        self.say(file.name, f"{version.name}@{version.version}")
        return 1

    def _refuse(self, file: Path, problem: StellwerkError) -> None:
        moved = _aside(file, REFUSED)
        replace_text(moved.with_name(moved.name + ".why.txt"), f"{problem.message}\n{problem.hint}\n")
        self.say(file.name, f"refused: {problem.message.splitlines()[0]}")


def parse(text: str) -> tuple[str, Path]:
    """`DATASET=FOLDER` as typed. Raises `Invalid`, or `NotFound` where there is no such folder."""
    name, equals, folder = text.partition("=")
    if not equals or not folder:
        raise Invalid(f"{text[:80]!r} names no folder (expected DATASET=FOLDER)", code="usage")
    checked_name(name, what="dataset")
    if not Path(folder).is_dir():
        raise NotFound(f"there is no folder {folder!r}", code="no-such-folder", hint="make it first")
    return name, Path(folder)


def _aside(file: Path, where: str) -> Path:
    """Move a file into the folder beside it, under a name that is free."""
    folder = file.parent / where
    folder.mkdir(exist_ok=True)
    target, number = folder / file.name, 1
    while target.exists():
        number += 1
        target = folder / f"{file.stem}-{number}{file.suffix}"
    file.rename(target)
    return target
