"""A tree of the store as a folder on disk, changing only what differs.

A folder that is not there yet is made under a hidden name and shown whole. In one that is, each file is replaced by
renaming, so that whoever reads it meanwhile sees the old file or the new. Killed anywhere, it can be done again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat as modes
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Corrupt, Refused, Unavailable
from stellwerk.store.model import MAX_DEPTH, TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.store.rules import parse_tree
from stellwerk.store.working import scanning
from stellwerk.store.working.cache import Cache, Section, Stat, Writer, alive, pack_stats, settled, stat_of
from stellwerk.store.working.model import TEMPORARY, CheckedOut, Link, Progress, silent
from stellwerk.store.working.placing import Placer, unwritable, writing

failpoints.declare("checkout.show", "checkout.delete", "checkout.remember")

_NAMED = 10
"""Files that an error names; it counts the others."""
_WAIT_FROM = 100
"""Files written into one folder from which it pays to wait for the clock's next tick."""
_REPORT = 200


class Checkout:
    """One checkout of one tree.

    Args:
        force: Whether changes that are kept nowhere else may be overwritten.
    """

    def __init__(
        self, blobs: Blobs, writer: Writer, *, link: Link = "auto", force: bool = False, progress: Progress = silent
    ) -> None:
        self._blobs, self._writer, self._force, self._progress = blobs, writer, force, progress
        self._placer = Placer(blobs, link)
        self._written = self._deleted = self._kept = self._bytes = 0
        self._last = 0
        self._touched: set[str] = set()

    def make(self, tree: Digest, target: Path) -> CheckedOut:
        """Make a folder that does not exist."""
        with writing(target.name):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target.parent)
            hidden = target.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
            hidden.mkdir()
        try:
            descriptor = scanning.open_root(hidden)
            try:
                self._fill(descriptor, "", tree, 0)
            finally:
                os.close(descriptor)
            sure = self._writer.later_than(self._last)
            with writing(target.name):
                failpoints.hit("checkout.show")
                hidden.rename(target)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        if sure:
            failpoints.hit("checkout.remember")
            self._writer.finish()
        return self._done()

    def make_file(self, entry: TreeEntry, target: Path, tree: Digest) -> CheckedOut:
        """Make a file, or put it in place of one."""
        with writing(target.name):
            target.parent.mkdir(parents=True, exist_ok=True)
            sweep(target.parent)
        folder = scanning.open_root(target.parent)
        try:
            began = self._writer.now()
            stat = self._replace(folder, target.name, entry._replace(name=target.name))
        finally:
            os.close(folder)
        self._remember("", [(target.name, settled(stat, began), entry.digest)], [], tree, 1, entry.size)
        self._writer.finish()
        return self._done()

    def update(self, tree: Digest, target: Path, now: Cache) -> CheckedOut:
        """Change a folder into what a tree says.

        Args:
            now: What is remembered of the folder, just brought up to date.

        Raises:
            Refused: `local-changes`: files would be overwritten or deleted whose bytes the store does not hold.
        """
        if not self._force:
            self._protect(now, tree)
        descriptor = scanning.open_root(target)
        try:
            self._change(now, descriptor, "", tree, 0)
        finally:
            os.close(descriptor)
        for section in now:
            if section.path not in self._touched:
                self._writer.add(section)
        failpoints.hit("checkout.remember")
        self._writer.finish()
        return self._done()

    def _done(self) -> CheckedOut:
        self._progress(self._written + self._kept, self._bytes)
        return CheckedOut(
            written=self._written,
            deleted=self._deleted,
            kept=self._kept,
            bytes=self._bytes,
            copied=self._placer.copied,
        )

    def _fill(self, folder: int, path: str, tree: Digest, depth: int) -> tuple[int, int]:
        """Write a tree into an open, empty folder; returns the files and bytes below."""
        entries = self._entries(tree, depth)
        check_look_alikes(folder, path, (entry.name for entry in entries))
        prefix = f"{path}/" if path else ""
        files: list[tuple[str, Stat, Digest]] = []
        folders: list[str] = []
        below_files = below_bytes = 0
        # Files before folders, as they were read: so packs are read from beginning to end.
        wanted = ((entry.name, entry) for entry in entries if entry.kind == "file")
        for entry, stat in self._placer.place_all(folder, wanted):
            files.append((entry.name, stat, entry.digest))
            self._last = max(self._last, stat.mtime)
            self._count(entry)
            below_files, below_bytes = below_files + 1, below_bytes + entry.size
        for entry in entries:
            if entry.kind == "tree":
                with writing(entry.name):
                    os.mkdir(entry.name, dir_fd=folder)
                with _opened(folder, entry.name, prefix + entry.name) as inner:
                    found = self._fill(inner, prefix + entry.name, entry.digest, depth + 1)
                folders.append(entry.name)
                below_files, below_bytes = below_files + found[0], below_bytes + found[1]
        self._remember(path, files, folders, tree, below_files, below_bytes)
        return below_files, below_bytes

    def _change(self, now: Cache, folder: int, path: str, tree: Digest, depth: int) -> tuple[int, int]:
        """Change an open folder into what a tree says; returns the files and bytes below."""
        section = now.find(path)
        if section is not None and section.tree == tree:
            self._kept += section.below_files
            return section.below_files, section.below_bytes
        self._touched.add(path)
        entries = self._entries(tree, depth)
        check_look_alikes(folder, path, (entry.name for entry in entries))
        prefix = f"{path}/" if path else ""
        known = _files_of(section)
        wanted = {entry.name: entry for entry in entries}
        for name, (stat, _) in known.items():
            if name not in wanted or wanted[name].kind == "tree":
                self._delete(folder, name, prefix + name, stat)
        for name in () if section is None else section.folder_names():
            if name not in wanted or wanted[name].kind == "file":
                self._remove(now, folder, name, prefix + name)
        below_files = below_bytes = 0
        folders: list[str] = []
        for entry in entries:
            if entry.kind == "tree":
                inner_path = prefix + entry.name
                with suppress(FileExistsError), _not_there(inner_path):
                    os.mkdir(entry.name, dir_fd=folder)
                with _opened(folder, entry.name, inner_path) as inner:
                    found = self._change(now, inner, inner_path, entry.digest, depth + 1)
                folders.append(entry.name)
                below_files, below_bytes = below_files + found[0], below_bytes + found[1]
            else:
                below_files, below_bytes = below_files + 1, below_bytes + entry.size
        files = self._change_files(folder, prefix, [entry for entry in entries if entry.kind == "file"], known)
        self._remember(path, files, folders, tree, below_files, below_bytes)
        return below_files, below_bytes

    def _change_files(
        self, folder: int, prefix: str, entries: list[TreeEntry], known: dict[str, tuple[Stat, Digest]]
    ) -> list[tuple[str, Stat, Digest]]:
        """Replace the files of a folder that differ. Hidden until all of the folder are written."""
        began = self._writer.now()
        hidden: list[tuple[str, TreeEntry]] = []
        try:
            changed = [entry for entry in entries if not _same(entry, known.get(entry.name))]
            self._kept += len(entries) - len(changed)
            names = [f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}" for _ in changed]
            for entry, stat in self._placer.place_all(folder, zip(names, changed, strict=True)):
                hidden.append((names[len(hidden)], entry))
                self._last = max(self._last, stat.mtime)
                self._count(entry)
            if len(hidden) >= _WAIT_FROM and self._writer.later_than(self._last):
                began = self._writer.now()
            written: dict[str, Stat] = {}
            while hidden:
                waiting, entry = hidden[-1]
                before = known.get(entry.name)
                self._expect(folder, entry.name, prefix + entry.name, before[0] if before else None)
                written[entry.name] = settled(_show(folder, waiting, entry.name), began)
                hidden.pop()
        finally:
            for waiting, _ in hidden:
                with suppress(OSError):
                    os.unlink(waiting, dir_fd=folder)
        return [(entry.name, written.get(entry.name) or known[entry.name][0], entry.digest) for entry in entries]

    def _replace(self, folder: int, name: str, entry: TreeEntry) -> Stat:
        waiting = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
        self._placer.place(folder, waiting, entry)
        try:
            stat = _show(folder, waiting, name)
        except BaseException:
            with suppress(OSError):
                os.unlink(waiting, dir_fd=folder)
            raise
        self._count(entry)
        return stat

    def _delete(self, folder: int, name: str, path: str, stat: Stat) -> None:
        self._expect(folder, name, path, stat)
        with writing(path):
            failpoints.hit("checkout.delete")
            os.unlink(name, dir_fd=folder)
        self._deleted += 1

    def _remove(self, now: Cache, folder: int, name: str, path: str) -> None:
        """Remove a folder with the files that belong to the working copy; others keep it where it is."""
        section = now.find(path)
        self._touched.add(path)
        with _opened(folder, name, path) as inner:
            for file, (stat, _) in _files_of(section).items():
                self._delete(inner, file, f"{path}/{file}", stat)
            for below in () if section is None else section.folder_names():
                self._remove(now, inner, below, f"{path}/{below}")
        with suppress(OSError):
            os.rmdir(name, dir_fd=folder)

    def _expect(self, folder: int, name: str, path: str, stat: Stat | None) -> None:
        """Make sure that nobody changed a file since it was looked at."""
        if self._force:
            return
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as cause:
            raise unwritable(path, cause) from cause
        here = stat_of(found)
        if stat is None or here._replace(mtime=0) != stat._replace(mtime=0):
            raise Refused(
                f"{path[:200]!r} came or changed while the checkout was under way, and was not touched",
                code="local-changes",
                hint="look at it, then try again; --force overwrites it",
            )

    def _protect(self, now: Cache, tree: Digest) -> None:
        """Refuse if the bytes of a file that must go are nowhere else."""
        lost: list[str] = []
        more = 0
        for path, digest in self._going(now, "", tree, 0):
            if not self._blobs.has(digest):
                more += 1
                lost += [path] if len(lost) < _NAMED else []
        if lost:
            others = f" and {more - len(lost)} more" if more > len(lost) else ""
            raise Refused(
                f"local changes that the store does not hold would be lost: {', '.join(lost)}{others}",
                code="local-changes",
                hint="`stellwerk data add` keeps them as a version; --force overwrites them",
            )

    def _going(self, now: Cache, path: str, tree: Digest | None, depth: int) -> Iterator[tuple[str, Digest]]:
        """Files that will be overwritten or deleted, with what they hold."""
        section = now.find(path)
        if section is None or section.tree == tree:
            return
        wanted = {entry.name: entry for entry in self._entries(tree, depth)} if tree is not None else {}
        prefix = f"{path}/" if path else ""
        for name, (_, digest) in _files_of(section).items():
            entry = wanted.get(name)
            if entry is None or entry.kind != "file" or entry.digest != digest:
                yield prefix + name, digest
        for name in section.folder_names():
            entry = wanted.get(name)
            below = entry.digest if entry is not None and entry.kind == "tree" else None
            yield from self._going(now, prefix + name, below, depth + 1)

    def _entries(self, tree: Digest, depth: int) -> tuple[TreeEntry, ...]:
        if depth > MAX_DEPTH:
            raise Corrupt(f"a tree is deeper than {MAX_DEPTH} folders", code="corrupt-tree")
        return parse_tree(self._blobs.get(tree)).entries

    def _count(self, entry: TreeEntry) -> None:
        self._written += 1
        self._bytes += entry.size
        if self._written % _REPORT == 0:
            self._progress(self._written + self._kept, self._bytes)

    def _remember(
        self,
        path: str,
        files: list[tuple[str, Stat, Digest]],
        folders: list[str],
        tree: Digest,
        below_files: int,
        below_bytes: int,
    ) -> None:
        self._writer.add(
            Section(
                path=path,
                names="\0".join([name for name, _, _ in files]).encode(),
                stats=pack_stats([(name, stat) for name, stat, _ in files]),
                digests=bytes.fromhex("".join([digest[7:] for _, _, digest in files])),
                kept=b"\1" * len(files),
                folders="\0".join(folders).encode(),
                tree=tree,
                tree_kept=True,
                below_files=below_files,
                below_bytes=below_bytes,
            )
        )


def check_look_alikes(folder: int, path: str, names: Iterable[str]) -> None:
    """Refuse names that one file system takes for the same, where it is one of those."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(unicodedata.normalize("NFC", name.casefold()), name)
        if other != name and _takes_for_the_same(folder):
            raise Refused(
                f"{other!r} and {name!r} in {path or 'the folder'!r} are one file on this file system",
                code="look-alike-names",
                hint="check it out on a file system that tells upper and lower case apart",
            )


def _takes_for_the_same(folder: int) -> bool:
    name = f"{TEMPORARY}{os.getpid()}-case"
    with writing("a file"):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder))
        try:
            os.stat(name.upper(), dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        finally:
            os.unlink(name, dir_fd=folder)
    return True


def sweep(folder: Path) -> None:
    """Remove what checkouts that were killed left in a folder."""
    with os.scandir(folder) as entries:
        left = [entry.name for entry in entries if entry.name.startswith(TEMPORARY)]
    for name in left:
        process = name.removeprefix(TEMPORARY).partition("-")[0]
        if process.isdigit() and not alive(int(process)):
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _files_of(section: Section | None) -> dict[str, tuple[Stat, Digest]]:
    if section is None:
        return {}
    return {name: (stat, digest) for name, stat, digest in section.files()}


def _same(entry: TreeEntry, known: tuple[Stat, Digest] | None) -> bool:
    return known is not None and known[1] == entry.digest and bool(known[0].mode & 0o100) == entry.executable


def _show(folder: int, waiting: str, name: str) -> Stat:
    with writing(name):
        failpoints.hit("checkout.rename")
        os.rename(waiting, name, src_dir_fd=folder, dst_dir_fd=folder)
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not modes.S_ISREG(found.st_mode):
        raise Unavailable(f"{name!r} was replaced by something else at once", code="file-unwritable")
    return stat_of(found)


@contextmanager
def _opened(folder: int, name: str, path: str) -> Iterator[int]:
    try:
        descriptor = scanning.open_folder(folder, name, path)
    except (Conflict, Unavailable) as cause:
        raise _in_the_way(path) from cause
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _in_the_way(path: str) -> Refused:
    return Refused(
        f"something that is no folder stands where the folder {path[:200]!r} should go",
        code="local-changes",
        hint="move it away and try again",
    )


@contextmanager
def _not_there(path: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as cause:
        raise unwritable(path, cause) from cause
