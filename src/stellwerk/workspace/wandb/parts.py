"""Folders of runs of Weights & Biases: one for each process that wrote of a run, with its log and its files in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.errors import Invalid
from stellwerk.workspace.mlflow.folders import open_plain
from stellwerk.workspace.mlflow.model import Unread
from stellwerk.workspace.wandb.log import Damage, records
from stellwerk.workspace.wandb.records import Message, milliseconds, read

_FOLDER = re.compile(r"(offline-)?run-\d{8}_\d{6}-.+", re.DOTALL)
_LOG = re.compile(r"run-.+\.wandb", re.DOTALL)
_INNER = ("wandb", ".wandb")
"""How the folder is called that a client makes where a script runs."""
PROJECT = "uncategorized"
"""Where runs are that named no project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one process wrote of a run.

    Attributes:
        size: Bytes of its log.
        run: The record that says which run it is.
    """

    folder: Path
    log: Path
    size: int
    run: Message

    @property
    def start(self) -> int:
        return milliseconds(self.run.get("start", {}))

    @property
    def project(self) -> str:
        return str(self.run.get("project", "")) or PROJECT

    def records(self, damage: Damage, *kinds: str) -> Iterator[Message]:
        """What it says, as far as it can be read. Raises `Unread`."""
        try:
            with os.fdopen(open_plain(self.log), "rb") as file:
                for data in records(file, damage):
                    try:
                        said = read(data, *kinds)
                    except Invalid:
                        damage.spoilt += 1
                    else:
                        if said:
                            yield said
        except OSError as cause:
            raise Unread(f"it cannot be read ({cause.strerror})") from cause


def find(place: Path) -> list[Path]:
    """Folders of runs at a place: it is one, or holds some, or holds the folder that does. Links are not followed."""
    if _FOLDER.fullmatch(place.name) and _logs(place):
        return [place]
    for home in (place, *(place / name for name in _INNER)):
        if home != place and home.is_symlink():
            continue
        found = [one for one in _entries(home) if _FOLDER.fullmatch(one.name) and _is_folder(one)]
        if found:
            return sorted(found)
    return []


def opened(folder: Path) -> Iterator[Part | str]:
    """The parts in a folder, of which there is one; or what is wrong with it."""
    logs = _logs(folder)
    if not logs:
        yield "there is no log in it (run-*.wandb)"
    for log in logs:
        try:
            yield _part(folder, log)
        except (Invalid, Unread) as cause:
            yield f"{log.name}: {cause}"
        except OSError as cause:
            yield f"{log.name}: it cannot be read ({cause.strerror})"


def _part(folder: Path, log: Path) -> Part:
    """Raises `Invalid` where it does not say which run it is."""
    part = Part(folder=folder, log=log, size=log.lstat().st_size, run={})
    for said in part.records(Damage(), "run"):
        run = said["run"]
        if run.get("id"):
            return Part(folder=folder, log=log, size=part.size, run=run)
    raise Invalid("it does not say which run it is: nothing was written yet", code="not-wandb")


def _logs(folder: Path) -> list[Path]:
    return sorted(one for one in _entries(folder) if _LOG.fullmatch(one.name) and not one.is_symlink())


def _entries(folder: Path) -> Sequence[Path]:
    try:
        return [Path(one.path) for one in os.scandir(folder)]
    except OSError:
        return []


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()
