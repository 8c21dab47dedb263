"""Datasets of files, in Python: keeping, comparing, checking out, reading. Mixed into `Workspace.data`."""

from __future__ import annotations

import io
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from stellwerk.core.errors import Conflict, Invalid, Refused
from stellwerk.core.files import replace_bytes
from stellwerk.core.names import name as checked_name
from stellwerk.data.model import DatasetVersion
from stellwerk.data.pointer import Pointer
from stellwerk.store.archives import Limits, keep_archive
from stellwerk.store.comparing import differences, of_store
from stellwerk.store.model import TreeEntry
from stellwerk.store.rules import parse_tree
from stellwerk.store.service import walk
from stellwerk.store.working.model import CheckedOut, Link, Progress, Special, silent
from stellwerk.store.working.service import WorkingCopy
from stellwerk.workspace import operations as ops
from stellwerk.workspace.browsing import FileEntry, find_entry, opened, parse_reference, shown, tree_of
from stellwerk.workspace.copies import Copies, CopyStatus, Kept, Tracked, changes_of, not_tracked
from stellwerk.workspace.file_changes import FilesDiff, tables_of

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.core.digest import Digest
    from stellwerk.workspace.ports import Caller

WRITTEN = (".parquet", ".csv")
"""What a table can be written as."""


def write_table(target: Path, table: pl.DataFrame) -> CheckedOut:
    """Write a table as one file that was not there."""
    from stellwerk.data.reading import frame_to_parquet

    ending = target.suffix.lower()
    if ending not in WRITTEN:
        raise Invalid(
            f"{target.name!r} does not say what to write (expected a name ending in {' or '.join(WRITTEN)})",
            code="unknown-format",
        )
    if target.is_symlink() or target.exists():
        raise _something_there(target)
    data = table.write_csv().encode() if ending == ".csv" else frame_to_parquet(table)
    replace_bytes(target, data)
    return CheckedOut(written=1, bytes=len(data))


class FileData:
    """Files of datasets. What it needs of the machine's disk it does itself; the rest are operations."""

    _caller: Caller

    @property
    def copies(self) -> Copies:
        """The working copies of the project on this machine."""
        return Copies(blobs=self._caller.blobs, home=self._caller.home, cache=self._caller.memory / "working")

    def add_files(
        self,
        path: str | Path,
        *,
        name: str = "",
        source: str = "",
        special: Special = "refuse",
        adopt: bool = False,
        dvc_ignore: bool = False,
        progress: Progress = silent,
    ) -> Kept:
        """Make a file or folder the next version of a dataset, and write the pointer beside it.

        Only files that changed since they were last read are read.

        Args:
            name: The dataset; by default that of the pointer, or after the path's last name.
            source: Where it comes from, for people; by default the path.
            special: Whether links, pipes and devices are refused or skipped.
            adopt: Keep files of more than 1 MiB by linking them into the store instead of copying them, where both lie
                on one disk. They become read-only, and must not be written in place.
            dvc_ignore: Obey `.dvcignore` too.

        Raises:
            Invalid: a name that cannot be in a tree, or a link; the error names the file.
            Conflict: `file-changing`: something is being written to.
        """
        return self.copies.keep(
            Path(path),
            self._record,
            name=name,
            source=source,
            special=special,
            adopt=adopt,
            dvc_ignore=dvc_ignore,
            progress=progress,
        )

    def unpack(
        self, archive: str | Path, name: str, *, source: str = "", limits: Limits | None = None
    ) -> DatasetVersion:
        """Make the files in a tar or zip archive the next version of a dataset, without unpacking them on disk.

        Raises:
            Refused: `ambiguous-archive` or `archive-too-large`; nothing was kept.
        """
        checked_name(name, what="dataset")
        tree, _, _ = keep_archive(self._caller.blobs, Path(archive), limits=limits)
        return self._record(name, tree, source or Path(archive).name)

    def export(self, dataset: str, to: str | Path, *, progress: Progress = silent) -> CheckedOut:
        """Write `name` or `name@version` as a plain folder, or, for a table, as one Parquet or CSV file."""
        name, version = parse_reference(dataset)
        found = self._version(name, version)
        target = Path(to)
        if found.kind != "table" or target.suffix.lower() not in WRITTEN:
            return self.fetch(dataset, "", target, progress=progress)
        if target.is_symlink() or target.exists():
            raise _something_there(target)
        digest: Digest = self._do(ops.table_of_data, name=name, version=found.version)
        data = self._caller.blobs.get(digest)
        if target.suffix.lower() == ".csv":
            import polars as pl

            data = pl.read_parquet(io.BytesIO(data)).write_csv().encode()
        replace_bytes(target, data)
        return CheckedOut(written=1, bytes=len(data))

    def status(self, *paths: str | Path, most: int = 1000, progress: Progress = silent) -> tuple[CopyStatus, ...]:
        """How working copies compare with their pointers; all of the project by default.

        Args:
            most: How many changes of each are listed; all are counted.
        """
        copies = self.copies
        found = copies.find(map(Path, paths))
        return tuple(copies.status(one, most=most, progress=progress) for one in found)

    def checkout(
        self,
        *paths: str | Path,
        version: int | None = None,
        link: Link = "auto",
        force: bool = False,
        progress: Progress = silent,
    ) -> dict[str, CheckedOut]:
        """Make working copies what their pointers say; all of the project by default.

        Args:
            version: Of the dataset; the pointer follows. The pointer's by default.
            link: How files come out of the store: `auto`, `reflink`, `hardlink` (read-only) or `copy`.
            force: Overwrite changes that are kept nowhere else.

        Raises:
            Refused: `local-changes`, with the files whose bytes the store does not hold.
        """
        copies = self.copies
        done: dict[str, CheckedOut] = {}
        for one in list(copies.find(map(Path, paths))):
            tree = tree_of(self._version(one.pointer.dataset, version)) if version is not None else None
            done[str(one.path)] = copies.checkout(one, tree=tree, link=link, force=force, progress=progress)
        return done

    def checkout_version(
        self,
        dataset: str,
        path: str | Path | None = None,
        *,
        link: Link = "auto",
        force: bool = False,
        progress: Progress = silent,
    ) -> tuple[Path, CheckedOut]:
        """Bring `name` or `name@version` to its place, or to a new one, with a pointer.

        Args:
            path: Where it goes; by default where the project has a pointer of this dataset, else its name here.
        """
        name, version = parse_reference(dataset)
        found = self._version(name, version)
        tree = tree_of(found)
        one = self._place(found, Path(path) if path is not None else None)
        done = self.copies.checkout(one, tree=tree, link=link, force=force, progress=progress)
        return self.copies.point(one).path, done

    def _place(self, found: DatasetVersion, path: Path | None) -> Tracked:
        copies = self.copies
        if path is None:
            known = [one for one in copies.find() if one.pointer.dataset == found.name]
            if len(known) > 1:
                raise Conflict(
                    f"{found.name!r} has {len(known)} places here",
                    code="ambiguous-place",
                    hint=f"say which: {', '.join(one.path.name for one in known[:5])}",
                )
            if known:
                return known[0]
            path = Path(found.name)
        one = copies.tracked(path)
        if one is not None and one.pointer.dataset != found.name:
            raise Conflict(f"{path.name!r} belongs to the dataset {one.pointer.dataset!r}", code="other-dataset")
        return one or copies.at(path, Pointer(dataset=found.name, kind="folder", digest=found.digest))

    def untrack(self, path: str | Path) -> Tracked:
        """Stop following a dataset at a place: its pointer goes, files and versions stay."""
        copies = self.copies
        one = copies.tracked(Path(path))
        if one is None:
            raise not_tracked(Path(path))
        place = str(one.path.relative_to(copies.home)) if one.path.is_relative_to(copies.home) else one.path.name
        pointer = one.pointer
        self._do(ops.untrack_data, name=pointer.dataset, digest=pointer.digest, place=place)
        copies.forget(one)
        return one

    def move(self, old: str | Path, new: str | Path) -> Path:
        """Move a tracked file or folder together with its pointer."""
        copies = self.copies
        one = copies.tracked(Path(old))
        if one is None:
            raise not_tracked(Path(old))
        return copies.move(one, Path(new)).path

    def log(self, name: str) -> tuple[DatasetVersion, ...]:
        """All versions of a dataset, oldest first."""
        versions: tuple[DatasetVersion, ...] = self._do(ops.log_of_data, name=name)
        return versions

    def files(self, dataset: str, path: str = "") -> Iterator[FileEntry]:
        """All files of `name` or `name@version`, in order; or those below one folder."""
        entry = self._entry(dataset, path)
        if entry.kind == "file":
            yield shown(path, entry)
            return
        for below, found in walk(self._caller.blobs, entry.digest, f"{path.rstrip('/')}/" if path else ""):
            yield shown(below, found)

    def folder(self, dataset: str, path: str = "") -> tuple[FileEntry, ...]:
        """Files and folders directly in a folder of `name` or `name@version`."""
        entry = self._entry(dataset, path)
        if entry.kind == "file":
            return (shown(path, entry),)
        prefix = f"{path.rstrip('/')}/" if path else ""
        entries = parse_tree(self._caller.blobs.get(entry.digest)).entries
        return tuple(shown(prefix + found.name, found) for found in entries)

    def open(self, dataset: str, path: str) -> IO[bytes]:
        """A file of `name` or `name@version`, to be read and sought in; only what is read is fetched."""
        entry = self._entry(dataset, path)
        if entry.kind != "file":
            raise Invalid(f"{path[:200]!r} is a folder (expected a file)", code="not-a-file")
        return opened(self._caller.blobs, entry)

    def fetch(
        self,
        dataset: str,
        path: str,
        to: str | Path,
        *,
        force: bool = False,
        progress: Progress = silent,
    ) -> CheckedOut:
        """Bring one file or folder of a version to a place, without a pointer; the empty path is the whole version.

        Raises:
            Refused: `local-changes`: something is there already, and `force` was not said.
        """
        entry = self._entry(dataset, path)
        target = Path(to)
        if target.is_symlink() or target.exists():
            if not force:
                raise _something_there(target)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink()
        with _forgotten(self._caller.memory) as cache:
            copy = WorkingCopy(path=target.absolute(), cache=cache, home=target.absolute())
            if entry.kind == "tree":
                return copy.checkout(self._caller.blobs, entry.digest, progress=progress)
            return copy.place(self._caller.blobs, entry, progress=progress)

    def changes(self, old: str, new: str, *, rows: bool = True) -> FilesDiff:
        """What differs between two versions of files, `name@1` and `name@2`, down to rows and columns of tables.

        Args:
            rows: Whether tables are compared row by row.
        """
        first, second = (self._entry(dataset, "") for dataset in (old, new))
        side = of_store(self._caller.blobs)
        found = changes_of(differences(side, first.digest, side, second.digest))
        blobs = self._caller.blobs
        tables, unread = tables_of(
            found if rows else (),
            lambda path: blobs.get(find_entry(blobs, first.digest, path).digest),
            lambda path: blobs.get(find_entry(blobs, second.digest, path).digest),
        )
        return FilesDiff(old=old, new=new, changes=tuple(found), tables=tables, unread=unread)

    def local_changes(self, path: str | Path, dataset: str = "", *, rows: bool = True) -> FilesDiff:
        """What differs here from the pointer, or from `name@version`, down to rows and columns of tables."""
        one = self.copies.tracked(Path(path))
        if one is None:
            raise not_tracked(Path(path))
        tree = self._entry(dataset, "").digest if dataset else one.pointer.digest
        found = changes_of(self.copies.differences(one, tree))
        named = dataset or one.pointer.dataset
        blobs, folder = self._caller.blobs, one.path
        tables, unread = tables_of(
            found if rows else (),
            lambda inner: blobs.get(find_entry(blobs, tree, inner).digest),
            lambda inner: (folder if one.pointer.kind == "file" else folder / inner).read_bytes(),
        )
        return FilesDiff(old=named, new=str(path), changes=tuple(found), tables=tables, unread=unread)

    def _record(self, name: str, tree: Digest, source: str) -> DatasetVersion:
        version: DatasetVersion = self._do(ops.record_data, name=name, tree=tree, source=source)
        return version

    def _version(self, name: str, version: int | None) -> DatasetVersion:
        found: DatasetVersion = self._do(ops.get_data, name=name, version=version)
        return found

    def _entry(self, dataset: str, path: str) -> TreeEntry:
        found = self._version(*parse_reference(dataset))
        return find_entry(self._caller.blobs, tree_of(found), path)

    def _do(self, operation: Any, **arguments: Any) -> Any:
        return self._caller.call(operation, arguments)


@contextmanager
def _forgotten(memory: Path) -> Iterator[Path]:
    """The name of a cache that nobody will use again."""
    file = memory / "working" / f"once-{secrets.token_hex(8)}"
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _something_there(target: Path) -> Refused:
    return Refused(
        f"there is something at {target.name!r} already", code="local-changes", hint="name another place, or --force"
    )
