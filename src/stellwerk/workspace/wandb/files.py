"""Files of a run of Weights & Biases: those that it saved, those of the artifacts it logged, and what its log says.

A log may come from anybody. It and the links beside it name files of the machine that reads them; of those only such
are read as lie in folders that whoever imports allows, or whose content the log knows already.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import md5
from pathlib import Path

from stellwerk.workspace.mlflow.folders import chunks_of, open_plain, walk
from stellwerk.workspace.mlflow.model import FoundFile, Problem, Unread
from stellwerk.workspace.wandb.records import Message, value_of
from stellwerk.workspace.wandb.replay import document

OURS = "wandb"
"""The folder among a run's artifacts that holds what its log says."""
STAGING = ("~/.local/share/wandb/artifacts/staging", "~/Library/Application Support/wandb/artifacts/staging")
"""Where clients put files of artifacts until they are sent."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Folders outside of a run's own from which files may be read.

    Attributes:
        folders: What whoever imports names.
        staging: Where files are read whose digest a log says.
    """

    folders: Sequence[Path]
    staging: Sequence[Path]

    @classmethod
    def named(cls, folders: Sequence[Path]) -> Allowed:
        """With the folders in which clients stage artifacts on this machine."""
        staging = [Path(one).expanduser() for one in STAGING]
        return cls(_real(folders), _real([*staging, *folders]))

    def linked(self, place: Path) -> Path | None:
        """What a link leads to, if it may be read."""
        return _within(place, self.folders)

    def staged(self, place: str) -> Path | None:
        """A file of an artifact, if it may be read."""
        return None if "\x00" in place else _within(Path(place), self.staging)


def saved(folder: Path, allowed: Allowed, above: str = "") -> Iterator[FoundFile | Problem]:
    """What a run saved: the files in a folder, and what links in it lead to where that is allowed."""
    if folder.is_symlink():
        yield Problem(kind="artifact", where="", name=folder.name, reason="its folder is a link to another one")
        return
    for one in walk(folder) if folder.is_dir() else ():
        if isinstance(one, FoundFile):
            yield FoundFile(path=above + one.path, size=one.size, chunks=one.chunks)
            continue
        link = folder / one.name
        target = allowed.linked(link) if link.is_symlink() else None
        if target is None:
            yield Problem(kind="artifact", where="", name=above + one.name, reason=_reason(one.reason, link))
        elif target.is_dir():
            yield from saved(target, Allowed((), ()), f"{above}{one.name}/")
        else:
            yield from _read(target, f"{above}{one.name}")


def logged(artifact: Message, allowed: Allowed) -> Iterator[FoundFile | Problem]:
    """An artifact as a run logged it: a description of it all, and those of its files that are on this machine."""
    name, digest = artifact.get("name", ""), artifact.get("digest", "")
    home = f"{OURS}/artifacts/{name}-{digest[:8]}"
    manifest = artifact.get("manifest", {})
    contents = manifest.get("contents", [])
    yield made(f"{home}.json", document(_described(artifact, contents)))
    if manifest.get("elsewhere"):
        yield Problem(kind="artifact", where="", name=name, reason="the list of its files is in a file of its own")
    for entry in contents:
        path = f"{home}/{entry.get('path', '')}"
        if entry.get("ref"):
            continue  # an address, which its description keeps
        place = allowed.staged(entry.get("local_path", ""))
        if place is None:
            reason = "its bytes are not where clients stage artifacts: --allow FOLDER reads them elsewhere"
            yield Problem(kind="artifact", where="", name=path, reason=reason)
        else:
            yield from _read(place, path, entry.get("digest", ""))


def made(path: str, data: bytes) -> FoundFile:
    """A file that is made here."""
    return FoundFile(path=path, size=len(data), chunks=lambda: iter([data]))


def _described(artifact: Message, contents: Sequence[Message]) -> Message:
    metadata = artifact.get("metadata", "")
    try:
        said = value_of(metadata) if metadata else {}
    except ValueError:
        said = metadata
    files = [{key: value for key, value in entry.items() if key != "local_path"} for entry in contents]
    kept = {key: artifact.get(key, "") for key in ("name", "type", "digest", "description")}
    return {**kept, "aliases": artifact.get("aliases", []), "metadata": said, "files": files}


def _read(place: Path, path: str, digest: str | None = None) -> Iterator[FoundFile | Problem]:
    try:
        opened = open_plain(place)
    except OSError as cause:
        reason = f"it cannot be read ({cause.strerror})"
        yield Problem(kind="artifact", where="", name=path, reason=reason)
        return
    try:
        chunks = partial(chunks_of, opened) if digest is None else partial(_same, opened, digest)
        yield FoundFile(path=path, size=os.fstat(opened).st_size, chunks=chunks)
    finally:
        os.close(opened)


def _same(opened: int, digest: str) -> Iterator[bytes]:
    """The bytes of a file that has the digest by which a log names it. Raises `Unread` at the end of another one."""
    found = md5(usedforsecurity=False)
    for chunk in chunks_of(opened):
        found.update(chunk)
        yield chunk
    if base64.b64encode(found.digest()).decode() != digest:
        raise Unread("its bytes are others than those that were logged")


def _reason(reason: str, link: Path) -> str:
    if not link.is_symlink():
        return reason
    return f"it is a link to {str(link.readlink())[:200]!r}: --allow FOLDER reads what lies below that folder"


def _real(folders: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(one.resolve() for one in folders if one.is_dir())


def _within(place: Path, folders: Sequence[Path]) -> Path | None:
    try:
        real = place.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return real if any(real.is_relative_to(one) for one in folders) else None
