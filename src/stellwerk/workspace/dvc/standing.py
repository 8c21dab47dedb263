"""Which pointer tells of a path, and whether the working folder has anything that is kept nowhere else."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.errors import Conflict, Invalid, Refused
from stellwerk.core.names import path_part
from stellwerk.data.dvc import hashing, manifests, pointers
from stellwerk.data.dvc.model import LEGACY, MD5, Output
from stellwerk.data.dvc.naming import output_path
from stellwerk.workspace.dvc.objects import Damaged, Key, Objects
from stellwerk.workspace.dvc.outputs import Found, told
from stellwerk.workspace.dvc.repository import FOLDER, Folder

_OWN = {".git", FOLDER, ".stellwerk"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path's content is to be told: in a new `.dvc` file, or in an output of one that exists."""

    path: str
    file: str
    data: bytes | None = None
    position: int = 0
    output: Output | None = None
    """What the file says now."""
    owner: str = ""
    """Who else says what is there, if anybody."""


def place(folder: Folder, path: str) -> Place:
    """Where to tell of a path.

    Raises:
        Invalid: `foreign-path`: it is no path inside of the repository, or a tool's own.
        Refused: `dvc-owned`: a pipeline, an import or a cloud says what is there.
        Conflict: `dvc-overlap`: another tracked path is above or below.
    """
    path = output_path("", "", path)
    for part in path.split("/"):
        path_part(part)
        if part in _OWN:
            raise Invalid(f"{path!r} lies in a tool's own folder", code="foreign-path", hint="choose another path")
    own: Place | None = None
    for other in _tracked(folder):
        if other.path == path:
            _must_be_free(other)
            own = other
        elif other.path.startswith(path + "/") or path.startswith(other.path + "/"):
            raise Conflict(
                f"{path!r} and {other.path!r}, which {other.file} tracks, lie in each other",
                code="dvc-overlap",
                hint="export to another path, or `dvc remove` the other",
            )
    _no_links_above(folder.root, path)
    if own is not None:
        return own
    file = path + ".dvc"
    if folder.find(file) is not None:
        raise Conflict(
            f"{file} exists and tells of something else", code="dvc-overlap", hint="export to another path"
        )
    return Place(path=path, file=file)


def _tracked(folder: Folder) -> Iterator[Place]:
    for file in folder.files(".dvc"):
        data = folder.read(file)
        found = pointers.pointer(data, file)
        for position, output in enumerate(found.outputs):
            try:
                path = output_path(posixpath.dirname(file), found.wdir, output.path)
            except Invalid:
                continue  # lies elsewhere, so it cannot be in the way
            owner = "an import, which `dvc update` renews," if found.dependencies or found.cmd else ""
            owner = owner or ("a cloud's versions" if output.manifest is not None or output.cloud else "")
            yield Place(path=path, file=file, data=data, position=position, output=output, owner=owner)
    for file in folder.files("dvc.lock"):
        yaml = folder.find(posixpath.join(posixpath.dirname(file), "dvc.yaml"))
        for one in told(file, folder.read(file), yaml):
            if isinstance(one, Found):
                yield Place(path=one.path, file=file, output=one.output, owner=f"the stage {one.stage!r}")


def _must_be_free(found: Place) -> None:
    if found.owner:
        raise Refused(
            f"{found.owner} of {found.file} says what {found.path!r} holds",
            code="dvc-owned",
            hint="export to another path",
        )


def _no_links_above(root: Path, path: str) -> None:
    here = root
    for part in path.split("/")[:-1]:
        here = here / part
        if here.is_symlink() or (here.exists() and not here.is_dir()):
            raise Invalid(f"{part!r} in {path!r} is no folder", code="foreign-path", hint="choose another path")


class Working:
    """What lies at a path of the working folder.

    Attributes:
        files: Relative path (empty for a single file) to hash and executable bit.
        odd: Links to folders, pipes and the like.
    """

    def __init__(self, folder: Folder, path: str, algorithm: str) -> None:
        self._caches = [place.resolve() for place in (folder.cache, folder.home / "cache")]
        self._algorithm = algorithm
        self.root = folder.root / path
        self.files: dict[str, tuple[str, str, bool]] = {}
        self.odd: list[str] = []
        if self.root.is_symlink() or self.root.is_file():
            self._look(self.root, "")
        elif self.root.is_dir():
            for home, folders, files in os.walk(self.root):
                for name in (*folders, *files):
                    one = Path(home) / name
                    if name in files or one.is_symlink():
                        self._look(one, one.relative_to(self.root).as_posix())
        elif self.root.exists():
            self.odd.append("")

    def _look(self, file: Path, relative: str) -> None:
        target = file.resolve()
        # DVC may link the working folder to its cache; other links lead who knows where.
        linked = file.is_symlink() and not any(target.is_relative_to(cache) for cache in self._caches)
        if linked or not target.is_file():
            self.odd.append(relative)
            return
        with target.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            plain = hashing.md5()
            other = plain if self._algorithm == MD5 else hashing.hasher_of(self._algorithm)
            while chunk := opened.read(hashing.CHUNK):
                plain.update(chunk)
                if other is not plain:
                    other.update(chunk)
        self.files[relative] = (plain.hexdigest(), other.hexdigest(), bool(mode & stat.S_IXUSR))

    def unsaved(self, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
        """Files whose content is neither what DVC tracks now nor what is to come."""
        changed = [
            path
            for path, (plain, other, _) in self.files.items()
            if plain != new.get(path) and other != old.get(path)
        ]
        return sorted([*changed, *self.odd])


def tracked_files(found: Place, objects: Objects) -> dict[str, str]:
    """Relative path to hash, of what a pointer says now; empty where its list is lost."""
    output = found.output
    if output is None or not output.value or output.algorithm not in (MD5, LEGACY):
        return {}
    if not output.directory:
        return {"": output.value}
    for copy in objects.copies(Key(output.algorithm, output.value + ".dir")):
        try:
            return {entry.path: entry.value for entry in manifests.read(copy.read(), found.file)}
        except (Damaged, Invalid):
            continue
    return {}
