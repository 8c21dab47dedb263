"""Working copies of datasets: files on this machine, the pointers beside them, and the versions they stand for.

Works on the store of a folder or of a URL alike. What the workspace must record is done by operations, not here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, NotFound, Unavailable
from stellwerk.core.files import replace_text
from stellwerk.core.names import name as checked_name
from stellwerk.core.names import path_part, slug
from stellwerk.data import pointer as pointers
from stellwerk.data.model import DatasetVersion
from stellwerk.data.pointer import SUFFIX, Pointer
from stellwerk.store.model import Difference
from stellwerk.store.ports import Blobs
from stellwerk.store.working.ignoring import DVC_IGNORE_FILE, IGNORE_FILE, NEVER
from stellwerk.store.working.model import TEMPORARY, Built, CheckedOut, Link, Progress, Special, silent
from stellwerk.store.working.service import WorkingCopy
from stellwerk.workspace import settings
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.stores import open_store

Record = Callable[[str, Digest, str], DatasetVersion]
"""Makes a tree the next version of a dataset: name, tree, source."""

State = Literal["same", "changed", "missing", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A pointer and the place it is about."""

    path: Path
    pointer: Pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What keeping a file or folder came to.

    Attributes:
        read: Files whose bytes were read.
        fresh: Whether the dataset got a new version.
    """

    version: DatasetVersion
    pointer: str
    read: int
    fresh: bool
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file that differs; a side without it has no size."""

    path: str
    change: Literal["added", "deleted", "changed", "renamed"]
    old_size: int | None = None
    new_size: int | None = None
    old_path: str = ""
    """Where a renamed file was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyStatus:
    """How a working copy compares with its pointer.

    Attributes:
        state: `missing`: nothing is there; `unknown`: the store does not hold the pointer's version.
    """

    path: str
    dataset: str
    digest: Digest
    state: State
    files: int = 0
    added: int = 0
    deleted: int = 0
    changed: int = 0
    renamed: int = 0
    changes: tuple[FileChange, ...] = ()
    """The first of them, in order."""
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """The working copies of a project.

    Attributes:
        home: The project's folder.
        cache: The folder for what is remembered of files, of this workspace alone.
    """

    blobs: Blobs
    home: Path
    cache: Path

    def keep(
        self,
        path: Path,
        record: Record,
        *,
        name: str = "",
        source: str = "",
        special: Special = "refuse",
        adopt: bool = False,
        dvc_ignore: bool = False,
        progress: Progress = silent,
    ) -> Kept:
        """Make a file or folder the next version of its dataset, and write the pointer beside it."""
        path = _whole(path)
        path_part(path.name)
        self._may_be_tracked(path)
        known = self.tracked(path)
        if known is not None and name and known.pointer.dataset != name:
            raise Conflict(
                f"{path.name!r} belongs to the dataset {known.pointer.dataset!r}, not to {name!r}",
                code="other-dataset",
                hint=f"`stellwerk data rm {_shown(path)}` first",
            )
        dataset = name or (known.pointer.dataset if known else slug(path.stem if path.is_file() else path.name))
        checked_name(dataset, what="dataset")
        copy = replace(self._copy(path, dvc_ignore=dvc_ignore), special=special, adopt=adopt)
        built = copy.keep(self.blobs, progress=progress)
        source = source or _shown(path)
        try:
            version = record(dataset, built.tree, source)
        except NotFound:
            # What is remembered is older than the store: it was cleaned, or is another one.
            built = copy.keep(self.blobs, afresh=True, progress=progress)
            version = record(dataset, built.tree, source)
        fresh = known is None or known.pointer.digest != version.digest
        kind: Literal["folder", "file"] = "file" if copy.kind == "file" else "folder"
        file = self._point(path, Pointer(dataset=dataset, kind=kind, digest=version.digest))
        return Kept(version=version, pointer=_shown(file), read=built.read, fresh=fresh, skipped=built.skipped)

    def _may_be_tracked(self, path: Path) -> None:
        if path.name in NEVER or self.home == path or self.home.is_relative_to(path):
            raise Invalid(
                f"{path.name!r} cannot be a dataset: it holds the project itself, or what other programs keep there",
                code="invalid-path",
                hint="add the folders in it",
            )
        for above in path.parents:
            if not above.is_relative_to(self.home) or above == self.home:
                break
            if self.tracked(above) is not None:
                raise Invalid(
                    f"{path.name!r} lies in {above.name!r}, which is tracked as a whole",
                    code="inside-tracked",
                    hint=f"`stellwerk data add {_shown(above)}`",
                )

    def tracked(self, path: Path) -> Tracked | None:
        """The pointer of a file or folder, if it has one."""
        path = _whole(path)
        file = path.with_name(path.name + SUFFIX)
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as cause:
            raise Unavailable(f"{file.name!r} cannot be read: {cause.strerror}", code="unreadable-file") from cause
        with os.fdopen(descriptor, "rb") as opened:
            data = opened.read(pointers.LARGEST + 1)
        return Tracked(path=path, pointer=pointers.parse(data, name=file.name))

    def find(self, paths: Iterable[Path] = ()) -> Iterator[Tracked]:
        """The pointers of files and folders that are named, or all of the project.

        A path may be that of the data, of its pointer, or a folder in which there are pointers.
        """
        given = list(paths)
        for path in given or [self.home]:
            path = _whole(path)
            if path.name.endswith(SUFFIX) and path.is_file():
                path = path.with_name(path.name.removesuffix(SUFFIX))
            one = self.tracked(path)
            if one is not None:
                yield one
            elif path.is_dir():
                yield from self._inside(path)
            else:
                raise not_tracked(path)

    def _inside(self, folder: Path) -> Iterator[Tracked]:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        names = {name for name, _ in found}
        for name, is_folder in found:
            if name.endswith(SUFFIX) and not is_folder and name != SUFFIX:
                one = self.tracked(folder / name.removesuffix(SUFFIX))
                if one is not None:
                    yield one
            elif is_folder and name + SUFFIX not in names and name not in NEVER and not name.startswith(TEMPORARY):
                yield from self._inside(folder / name)

    def status(
        self, one: Tracked, *, most: int = 1000, dvc_ignore: bool = False, progress: Progress = silent
    ) -> CopyStatus:
        """Compare a working copy with its pointer.

        Args:
            most: How many changes are listed; all are counted.
        """
        pointer = one.pointer
        answer = CopyStatus(path=_shown(one.path), dataset=pointer.dataset, digest=pointer.digest, state="missing")
        copy = replace(self._copy(one.path, dvc_ignore=dvc_ignore), special="skip")
        if copy.kind == "missing":
            return answer
        now = copy.look(progress=progress)
        answer = replace(answer, files=now.files, skipped=now.skipped, state="same")
        if now.tree == pointer.digest:
            return answer
        if not self.blobs.has(pointer.digest):
            return replace(answer, state="unknown")
        changes = changes_of(copy.differences(self.blobs, pointer.digest, now))
        counts = {kind: sum(change.change == kind for change in changes) for kind in _KINDS}
        return replace(
            answer,
            state="changed" if changes else "same",  # equal but for empty folders
            changes=tuple(changes[:most]),
            added=counts["added"],
            deleted=counts["deleted"],
            changed=counts["changed"],
            renamed=counts["renamed"],
        )

    def checkout(
        self,
        one: Tracked,
        *,
        tree: Digest | None = None,
        link: Link = "auto",
        force: bool = False,
        dvc_ignore: bool = False,
        progress: Progress = silent,
    ) -> CheckedOut:
        """Make a working copy what its pointer says, or another version of its dataset; the pointer follows."""
        wanted = tree or one.pointer.digest
        if not self.blobs.has(wanted):
            raise NotFound(
                f"the store does not hold the version of {one.path.name!r} that its pointer names",
                code="missing-blob",
                hint="`stellwerk data pull` brings it from where it is kept",
            )
        copy = replace(self._copy(one.path, dvc_ignore=dvc_ignore), special="skip")
        make = copy.checkout_file if one.pointer.kind == "file" else copy.checkout
        done = make(self.blobs, wanted, link=link, force=force, progress=progress)
        if wanted != one.pointer.digest:
            self._point(one.path, replace(one.pointer, digest=wanted))
        return done

    def differences(self, one: Tracked, tree: Digest) -> Iterator[Difference]:
        """What is different here from a version."""
        copy = replace(self._copy(one.path), special="skip")
        return copy.differences(self.blobs, tree, copy.look())

    def look(self, path: Path) -> Built:
        """What tree a file or folder is, kept or not."""
        return replace(self._copy(_whole(path)), special="skip").look()

    def forget(self, one: Tracked) -> None:
        """Remove the pointer and what is remembered; the files stay."""
        one.path.with_name(one.path.name + SUFFIX).unlink(missing_ok=True)
        self._copy(one.path).cache.unlink(missing_ok=True)
        _unignore(one.path)

    def move(self, one: Tracked, new: Path) -> Tracked:
        """Move a file or folder, and then its pointer. Killed in between, the old pointer is left; do it again."""
        new = _whole(new)
        path_part(new.name)
        if self.tracked(new) is not None or new.exists() or new.is_symlink():
            raise Conflict(f"there is something at {_shown(new)!r} already", code="already-exists")
        try:
            if one.path.exists():
                one.path.rename(new)
        except OSError as cause:
            raise Unavailable(
                f"{one.path.name!r} cannot be moved: {cause.strerror}", code="file-unwritable"
            ) from cause
        moved = self.point(self.at(new, one.pointer))
        self.forget(one)
        return moved

    def at(self, path: Path, pointer: Pointer) -> Tracked:
        """A place that gets its pointer when the files are there."""
        path = _whole(path)
        path_part(path.name)
        return Tracked(path=path, pointer=pointer)

    def point(self, one: Tracked) -> Tracked:
        """Write the pointer of a place, unless it has one."""
        if self.tracked(one.path) is None:
            self._point(one.path, one.pointer)
        return one

    def _point(self, path: Path, pointer: Pointer) -> Path:
        file = path.with_name(path.name + SUFFIX)
        wanted = pointers.text(pointer)
        try:
            same = not file.is_symlink() and file.read_text("utf-8") == wanted
        except (OSError, UnicodeDecodeError):
            same = False
        if not same:
            replace_text(file, wanted)
        _ignore(path)
        return file

    def _copy(self, path: Path, *, dvc_ignore: bool = False) -> WorkingCopy:
        key = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        files = (DVC_IGNORE_FILE, IGNORE_FILE) if dvc_ignore else (IGNORE_FILE,)
        return WorkingCopy(path=path, cache=self.cache / f"{key}.stat", home=self.home, ignore_files=files)


def of_folder(layout: Layout) -> Copies:
    """The working copies of a workspace in a folder. Opens no database: comparing needs bytes and pointers alone."""
    return Copies(blobs=open_store(layout, settings.read()), home=layout.root, cache=layout.cache / "working")


_KINDS = ("added", "deleted", "changed", "renamed")


def changes_of(differences: Iterable[Difference]) -> list[FileChange]:
    """Differences as people think of them: a file that went and came back elsewhere was renamed."""
    found = list(differences)
    gone: dict[Digest, list[Difference]] = {}
    for one in found:
        if one.old is not None and one.new is None:
            gone.setdefault(one.old.digest, []).append(one)
    moved: dict[str, str] = {}
    for one in found:
        if one.old is None and one.new is not None and one.new.size and gone.get(one.new.digest):
            moved[one.path] = gone[one.new.digest].pop(0).path
    left = set(moved.values())
    changes: list[FileChange] = []
    for one in found:
        old_size = one.old.size if one.old else None
        new_size = one.new.size if one.new else None
        if one.path in moved:
            changes.append(
                FileChange(
                    path=one.path, change="renamed", old_path=moved[one.path], old_size=new_size, new_size=new_size
                )
            )
        elif one.path not in left:
            kind: Literal["added", "deleted", "changed"] = (
                "added" if one.old is None else "deleted" if one.new is None else "changed"
            )
            changes.append(FileChange(path=one.path, change=kind, old_size=old_size, new_size=new_size))
    return changes


def not_tracked(path: Path) -> NotFound:
    """The error for a path without a pointer."""
    return NotFound(
        f"{_shown(path)!r} is not tracked: there is no {path.name + SUFFIX!r}",
        code="not-tracked",
        hint=f"`stellwerk data add {_shown(path)}` tracks it",
    )


def _whole(path: Path) -> Path:
    """The path without `.` and `..`; links above are followed, the last name is not."""
    path = Path(os.path.normpath(Path.cwd() / path))
    if not path.name:
        raise Invalid("the root of the file system cannot be a dataset", code="invalid-path")
    return path.parent.resolve() / path.name


def _shown(path: Path) -> str:
    """A path as somebody in the current folder would type it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _repository(folder: Path) -> bool:
    return any((above / ".git").exists() for above in (folder, *folder.parents))


def _ignore(path: Path) -> None:
    """Keep the data itself out of the code repository, if it lies in one."""
    if not _repository(path.parent):
        return
    file, line = path.parent / ".gitignore", _git_line(path.name)
    text = _read(file)
    if line not in text.splitlines():
        replace_text(file, text + ("" if not text or text.endswith("\n") else "\n") + line + "\n")


def _unignore(path: Path) -> None:
    file, line = path.parent / ".gitignore", _git_line(path.name)
    text = _read(file)
    if line in text.splitlines():
        rest = "".join(kept for kept in text.splitlines(keepends=True) if kept.rstrip("\r\n") != line)
        if rest:
            replace_text(file, rest)
        else:
            file.unlink()


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as cause:
        raise Unavailable(f"{file.name} cannot be read, so it was not extended", code="unreadable-file") from cause


def _git_line(name: str) -> str:
    return "/" + "".join(f"\\{c}" if c in "*?[]!#\\ " else c for c in name)
