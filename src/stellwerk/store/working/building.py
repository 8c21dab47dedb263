"""A folder on disk as a tree of the store, reading only what changed.

One thread does it, and where the store can have a second process, that does half of it: opening, hashing and closing a
small file takes 10 µs, and a second thread waiting for the interpreter makes it 14 (docs/decisions/0019). Memory is
bounded by two batches of files and the widest folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from stellwerk.core import digest as digests
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.store.model import MAX_DEPTH, Tree, TreeEntry
from stellwerk.store.rules import tree_bytes
from stellwerk.store.working import scanning
from stellwerk.store.working.cache import Cache, Section, Stat, Writer, pack_stats, settled
from stellwerk.store.working.ignoring import IGNORE_FILE, Ignoring, read
from stellwerk.store.working.model import SMALL, Built, Progress, Special, silent

BATCH_BYTES = 64 << 20
BATCH_FILES = 20_000
TREE_BATCH = 8 << 20
_REPORT = 500
_NONE = Digest("")


class Keeper(Protocol):
    """Where the bytes go: a store, or nobody who keeps them."""

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        """Take small files, return their names."""
        ...

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        """Take a large file, return its name."""
        ...


@runtime_checkable
class Adopting(Protocol):
    """A further ability of a store on this disk."""

    def put_file(self, path: Path, *, adopt: bool) -> Digest:
        """Keep a file, with `adopt` by linking it and making it read-only."""
        ...


class Hand(Protocol):
    """Somebody on another processor who reads small files and keeps them, a batch at a time."""

    def give(self, files: Sequence[tuple[str, Stat]]) -> None:
        """Hand over files, by their paths in the folder and with the stats that they had."""
        ...

    def ready(self) -> bool:
        """Whether `take` would not wait."""
        ...

    def take(self) -> list[tuple[Digest, Stat]] | None:
        """What became of them: digests, and stats as they are now. None if somebody else must keep them."""
        ...

    def close(self) -> None:
        """No more will come."""
        ...


@runtime_checkable
class Helped(Protocol):
    """A further ability of a store: to have files kept by another process."""

    def hand(self, folder: int, hired: int) -> Hand | None:
        """One more who keeps files of an open folder in this store, or None if nobody can."""
        ...


class Naming:
    """Keeps nothing, only names it."""

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        return [digests.of_bytes(item) for item in items]

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        return digests.of_chunks(chunks)


@dataclass(slots=True)
class _Folder:
    path: str
    files: list[tuple[str, Stat]] = field(default_factory=list)
    digests: list[Digest | None] = field(default_factory=list)
    kept: bytearray = field(default_factory=bytearray)
    folders: list[tuple[str, _Folder]] = field(default_factory=list)
    waiting: int = 0
    known: Section | None = None
    """What was remembered, if the files in here are still the same."""
    done: bool = False
    same: bool = False
    """Whether here and below everything is as it was remembered."""
    tree: Digest = _NONE
    below_files: int = 0
    below_bytes: int = 0

    def path_of(self, at: int) -> str:
        """The path of one of its files."""
        return f"{self.path}/{self.files[at][0]}" if self.path else self.files[at][0]


_Batch = list[tuple[_Folder, int]]


@dataclass(slots=True)
class _Hired:
    """Somebody who keeps files, and what he is keeping."""

    hand: Hand
    batch: _Batch = field(default_factory=list)


class Builder:
    """Makes the tree of one folder.

    Args:
        keeper: The store, or `Naming` to learn the name alone.
        cache: What is remembered of the folder.
        writer: Where to remember it anew.
        rules: What is left out because of folders above.
        ignore_files: Names of ignore files to obey.
        adopt: Keep large files by linking them, where the keeper can.
    """

    def __init__(
        self,
        keeper: Keeper,
        cache: Cache,
        writer: Writer,
        *,
        rules: Ignoring | None = None,
        ignore_files: tuple[str, ...] = (IGNORE_FILE,),
        special: Special = "refuse",
        adopt: bool = False,
        progress: Progress = silent,
    ) -> None:
        self._keeper, self._cache, self._writer = keeper, cache, writer
        self._keeps = not isinstance(keeper, Naming)
        self._adopter = keeper if adopt and isinstance(keeper, Adopting) else None
        self._rules, self._ignore_files, self._special = rules or Ignoring(), ignore_files, special
        self._progress = progress
        self._root, self._home = -1, Path()
        self._began = writer.now()
        self._hands: list[_Hired] = []
        self._hires = isinstance(keeper, Helped)
        self._batch: _Batch = []
        self._batch_bytes = 0
        self._finished: list[_Folder] = []
        self._trees: list[bytes] = []
        self._tree_bytes = 0
        self._files = self._bytes = self._read = 0
        self._skipped: list[str] = []
        self.unchanged = True
        """Whether the old cache says it all, so that the new one need not be finished."""

    def build(self, folder: Path) -> Built:
        """Read the folder and make its tree."""
        self._home = folder
        self._root = scanning.open_root(folder)
        try:
            top = self._scan(self._root, "", self._rules, 0)
            self._flush()
            for hired in self._hands:
                self._take_back(hired)
            self._complete_finished()
            self._flush_trees()
        finally:
            for hired in self._hands:
                hired.hand.close()
            os.close(self._root)
        self._progress(self._files, self._bytes)
        self.unchanged = self.unchanged and top.same
        return Built(
            tree=top.tree,
            files=top.below_files,
            bytes=top.below_bytes,
            read=self._read,
            skipped=tuple(self._skipped),
        )

    def build_file(self, file: Path) -> Built:
        """Read one file and make the tree that holds it alone."""
        self._home = file.parent
        self._root = scanning.open_root(file.parent)
        try:
            found = scanning.stat_file(self._root, file.name)
            scanning.check_name(file.name, file.name)
            top = _Folder(path="", files=[(file.name, found)])
            self._recall(top, self._cache.find(""), "", folders_known=True)
            self._finished.append(top)
            self._flush()
            self._flush_trees()
        finally:
            os.close(self._root)
        self._progress(self._files, self._bytes)
        self.unchanged = self.unchanged and top.same
        return Built(tree=top.tree, files=1, bytes=top.below_bytes, read=self._read)

    def _scan(self, descriptor: int, path: str, above: Ignoring, depth: int) -> _Folder:
        if depth > MAX_DEPTH:
            raise Invalid(f"{path[:200]!r} is deeper than {MAX_DEPTH} folders", code="invalid-path")
        found = scanning.listing(descriptor, path, above, self._ignore_files)
        if found.ignore_files:
            above = above.joined(read(self._home / path, found.ignore_files))
            found = scanning.listing(descriptor, path, above, self._ignore_files)
        prefix = f"{path}/" if path else ""
        self._look_at_special(prefix, found.special)
        here = _Folder(path=path, files=found.files)
        section = self._cache.find(path)
        folders = "\0".join(found.folders).encode("utf-8", "surrogatepass")
        same_folders = section is not None and folders == section.folders
        if not same_folders:
            for name in found.folders:
                scanning.check_name(name, prefix + name)
        self._recall(here, section, prefix, folders_known=same_folders)
        for name in found.folders:
            inner = scanning.open_folder(descriptor, name, prefix + name)
            try:
                below = self._scan(inner, prefix + name, above.below(name), depth + 1)
            finally:
                os.close(inner)
            here.folders.append((name, below))
        if here.waiting or not all(below.done for _, below in here.folders):
            self._finished.append(here)
        else:
            self._complete(here)
        return here

    def _look_at_special(self, prefix: str, names: list[str]) -> None:
        if names and self._special == "refuse":
            raise Invalid(
                f"{prefix + names[0]!r} is a link, pipe or device"
                + (f", as are {len(names) - 1} more there" if len(names) > 1 else "")
                + " (expected files and folders)",
                code="not-a-regular-file",
                hint="remove it, name it in .stellwerkignore, or leave all such out with --skip-special",
            )
        self._skipped += [prefix + name for name in names]

    def _recall(self, here: _Folder, section: Section | None, prefix: str, *, folders_known: bool) -> None:
        """Take over what is remembered of the files in here, and queue the others for reading."""
        files = here.files
        names = "\0".join([name for name, _ in files]).encode("utf-8", "surrogatepass")
        same = section is not None and names == section.names and pack_stats(files) == section.stats
        if same and section is not None and not (self._keeps and (0 in section.kept or not section.tree_kept)):
            if folders_known:
                here.known = section
            else:
                here.digests = [digest for _, _, digest in section.files()]
                here.kept = bytearray(section.kept)
            self._report(len(files))
            return
        known = self._known(section)
        here.digests, here.kept = [None] * len(files), bytearray(len(files))
        for at, (name, stat) in enumerate(files):
            old = known.get(name)
            if old is None:
                scanning.check_name(name, prefix + name)
            elif old[0] == stat and (old[2] or not self._keeps):
                here.digests[at], here.kept[at] = old[1], old[2]
                continue
            self._queue(here, at, stat)
        self._report(len(files))

    def _known(self, section: Section | None) -> dict[str, tuple[Stat, Digest, int]]:
        if section is None:
            return {}
        return {
            name: (stat, digest, kept)
            for (name, stat, digest), kept in zip(section.files(), section.kept, strict=True)
        }

    def _queue(self, here: _Folder, at: int, stat: Stat) -> None:
        here.waiting += 1
        self._read += 1
        if stat.size > SMALL:
            path = here.path_of(at)
            if self._adopter is not None:
                self._take(here, at, self._adopted(here, at, path, self._adopter))
            else:
                self._take(here, at, self._keeper.put_stream(self._streamed(path, stat)))
            return
        self._batch.append((here, at))
        self._batch_bytes += stat.size
        if self._batch_bytes >= BATCH_BYTES or len(self._batch) >= BATCH_FILES:
            self._flush(more=True)

    def _adopted(self, here: _Folder, at: int, path: str, adopter: Adopting) -> Digest:
        digest = adopter.put_file(self._home / path, adopt=True)
        # It is read-only and has a further name now, which is no change of its content.
        here.files[at] = (here.files[at][0], scanning.stat_file(self._root, path))
        self._bytes += here.files[at][1].size
        self._progress(self._files, self._bytes)
        return digest

    def _streamed(self, path: str, stat: Stat) -> Iterator[bytes]:
        for chunk in scanning.stream(self._root, path, stat):
            self._bytes += len(chunk)
            self._progress(self._files, self._bytes)
            yield chunk

    def _take(self, here: _Folder, at: int, digest: Digest) -> None:
        here.digests[at], here.kept[at] = digest, self._keeps
        here.waiting -= 1

    def _flush(self, *, more: bool = False) -> None:
        """Have kept what is queued, and complete the folders that waited for it; `more` is to come."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        if batch and not (more and self._hand_over(batch)):
            self._keep(batch)
        self._complete_finished()

    def _keep(self, batch: _Batch) -> None:
        found = self._keeper.put_many(self._contents(batch))
        for (here, at), digest in zip(batch, found, strict=True):
            self._take(here, at, digest)

    def _hand_over(self, batch: _Batch) -> bool:
        """Whether somebody else keeps these files."""
        hired = next((one for one in self._hands if not one.batch or one.hand.ready()), None) or self._hire()
        if hired is None:
            return False
        self._take_back(hired)
        hired.hand.give([(here.path_of(at), here.files[at][1]) for here, at in batch])
        hired.batch = batch
        return True

    def _hire(self) -> _Hired | None:
        if not self._hires or not isinstance(self._keeper, Helped):
            return None
        hand = self._keeper.hand(self._root, len(self._hands))
        if hand is None:
            self._hires = False
            return None
        self._hands.append(_Hired(hand))
        return self._hands[-1]

    def _take_back(self, hired: _Hired) -> None:
        """Enter what somebody else has kept; what he could not keep is kept here."""
        batch, hired.batch = hired.batch, []
        if not batch:
            return
        found = hired.hand.take()
        if found is None:
            self._keep(batch)
            return
        for (here, at), (digest, stat) in zip(batch, found, strict=True):
            here.files[at] = (here.files[at][0], stat)
            self._take(here, at, digest)
            self._bytes += stat.size
        self._progress(self._files, self._bytes)

    def _complete_finished(self) -> None:
        finished, self._finished = self._finished, []
        for here in finished:
            if here.waiting or not all(below.done for _, below in here.folders):
                self._finished.append(here)
            else:
                self._complete(here)

    def _contents(self, batch: _Batch) -> Iterator[bytes]:
        root, progress, last = self._root, self._progress, len(batch) - 1
        for number, (here, at) in enumerate(batch):
            name, stat = here.files[at]
            data, after = scanning.read_small(root, here.path_of(at), stat)
            if after is not stat:
                here.files[at] = (name, after)
            self._bytes += len(data)
            if number % _REPORT == 0 or number == last:
                progress(self._files, self._bytes)
            yield data

    def _report(self, files: int) -> None:
        self._files += files
        if files >= _REPORT:
            self._progress(self._files, self._bytes)

    def _complete(self, here: _Folder) -> None:
        known = here.known
        if known is not None and all(below.same for _, below in here.folders):
            here.same = here.done = True
            here.tree, here.below_files, here.below_bytes = known.tree, known.below_files, known.below_bytes
            self._writer.add(known)
            here.files, here.folders, here.known = [], [], None
            return
        if known is not None:
            here.digests = [digest for _, _, digest in known.files()]
            here.kept = bytearray(known.kept)
        self.unchanged = False
        entries = self._entries(here)
        data = tree_bytes(Tree(entries=tuple(entries)))
        here.tree = digests.of_bytes(data)
        here.below_files = len(here.files) + sum(below.below_files for _, below in here.folders)
        here.below_bytes = sum(entry.size for entry in entries)
        self._writer.add(self._section(here))
        if self._keeps:
            self._trees.append(data)
            self._tree_bytes += len(data)
            if self._tree_bytes >= TREE_BATCH:
                self._flush_trees()
        here.done = True
        here.files, here.folders, here.digests, here.known = [], [], [], None

    def _entries(self, here: _Folder) -> list[TreeEntry]:
        entries = [
            TreeEntry(name=name, kind="file", size=stat.size, digest=digest, executable=bool(stat.mode & 0o100))
            for (name, stat), digest in zip(here.files, here.digests, strict=True)
            if digest is not None
        ]
        if here.folders:
            entries += [
                TreeEntry(name=name, kind="tree", size=below.below_bytes, digest=below.tree)
                for name, below in here.folders
            ]
            entries.sort(key=lambda entry: entry.name.encode())
        return entries

    def _section(self, here: _Folder) -> Section:
        began = self._began
        return Section(
            path=here.path,
            names="\0".join([name for name, _ in here.files]).encode(),
            stats=pack_stats([(name, settled(stat, began)) for name, stat in here.files]),
            digests=bytes.fromhex("".join([(digest or "")[7:] for digest in here.digests])),
            kept=bytes(here.kept),
            folders="\0".join([name for name, _ in here.folders]).encode(),
            tree=here.tree,
            tree_kept=self._keeps,
            below_files=here.below_files,
            below_bytes=here.below_bytes,
        )

    def _flush_trees(self) -> None:
        trees, self._trees, self._tree_bytes = self._trees, [], 0
        if trees:
            self._keeper.put_many(trees)
