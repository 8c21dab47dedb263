"""What one does with a working copy: keep it as a tree, compare it with one, make it what a tree says."""

from __future__ import annotations

import stat as modes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound, Refused
from stellwerk.store.comparing import differences, of_store
from stellwerk.store.model import Difference, TreeEntry
from stellwerk.store.ports import Blobs
from stellwerk.store.rules import parse_tree
from stellwerk.store.working.building import Builder, Keeper, Naming
from stellwerk.store.working.cache import Cache, Writer
from stellwerk.store.working.checkout import Checkout
from stellwerk.store.working.ignoring import IGNORE_FILE, Ignoring, inherited
from stellwerk.store.working.model import Built, CheckedOut, Link, Progress, Special, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkingCopy:
    """A file or folder on disk that stands for a tree.

    Attributes:
        cache: The file in which is remembered what was read.
        home: The project's folder: its ignore files, and those down to the working copy, hold in there too.
    """

    path: Path
    cache: Path
    home: Path
    ignore_files: tuple[str, ...] = (IGNORE_FILE,)
    special: Special = "refuse"
    adopt: bool = False
    """Keep large files by linking them into a store on the same disk; they become read-only."""

    def keep(self, blobs: Blobs, *, afresh: bool = False, progress: Progress = silent) -> Built:
        """Put everything that is here and changed into the store.

        Args:
            afresh: Read every file, whatever is remembered.
        """
        return self._read(blobs, afresh=afresh, progress=progress)

    def look(self, *, progress: Progress = silent) -> Built:
        """Learn what tree this is, without keeping anything."""
        return self._read(Naming(), afresh=False, progress=progress)

    def differences(self, blobs: Blobs, tree: Digest | None, now: Built) -> Iterator[Difference]:
        """What is different here, of which `look` has just told `now`, from a tree of the store."""
        cache = Cache(self.cache)
        try:
            yield from differences(of_store(blobs), tree, cache.entries, now.tree)
        finally:
            cache.close()

    def checkout(
        self, blobs: Blobs, tree: Digest, *, link: Link = "auto", force: bool = False, progress: Progress = silent
    ) -> CheckedOut:
        """Make this what a tree of the store says. A tree made of a file (`is_file`) is checked out as one."""
        kind = self.kind
        if kind == "other":
            raise Invalid(f"{self.path.name!r} is a link, pipe or device", code="not-a-regular-file")
        if kind == "file":
            raise Refused(
                f"a file stands where the folder {self.path.name!r} should go",
                code="local-changes",
                hint="move it away and try again",
            )
        if kind == "folder":
            self.look()
        with Writer(self.cache) as writer:
            work = Checkout(blobs, writer, link=link, force=force, progress=progress)
            if kind == "missing":
                return work.make(tree, self.path)
            now = Cache(self.cache)
            try:
                return work.update(tree, self.path, now)
            finally:
                now.close()

    def checkout_file(
        self, blobs: Blobs, tree: Digest, *, link: Link = "auto", force: bool = False, progress: Progress = silent
    ) -> CheckedOut:
        """Make this the one file that a tree of the store holds."""
        entries = parse_tree(blobs.get(tree)).entries
        if len(entries) != 1 or entries[0].kind != "file":
            raise Invalid("this version holds a folder (expected one file)", code="not-one-file")
        kind = self.kind
        if kind not in ("missing", "file"):
            raise Refused(
                f"something stands where the file {self.path.name!r} should go",
                code="local-changes",
                hint="move it away and try again",
            )
        if kind == "file":
            now = self.look()
            if now.tree == tree:
                return CheckedOut(kept=1)
            (found,) = self._here(now)
            if not force and not blobs.has(found):
                raise Refused(
                    f"local changes that the store does not hold would be lost: {self.path.name}",
                    code="local-changes",
                    hint="`stellwerk data add` keeps them as a version; --force overwrites them",
                )
        with Writer(self.cache) as writer:
            work = Checkout(blobs, writer, link=link, force=force, progress=progress)
            return work.make_file(entries[0], self.path, tree)

    def place(self, blobs: Blobs, entry: TreeEntry, *, progress: Progress = silent) -> CheckedOut:
        """Make this file the one of an entry; what stands here is replaced."""
        with Writer(self.cache) as writer:
            return Checkout(blobs, writer, progress=progress).make_file(entry, self.path, entry.digest)

    @property
    def kind(self) -> str:
        """`file`, `folder`, `missing` or `other`. Links are not followed."""
        try:
            mode = self.path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        return "file" if modes.S_ISREG(mode) else "folder" if modes.S_ISDIR(mode) else "other"

    def _here(self, now: Built) -> list[Digest]:
        cache = Cache(self.cache)
        try:
            return [entry.digest for entry in cache.entries("", now.tree)]
        finally:
            cache.close()

    def _read(self, keeper: Keeper, *, afresh: bool, progress: Progress) -> Built:
        kind = self.kind
        if kind == "missing":
            raise NotFound(
                f"there is no file or folder {self.path.name!r}", code="file-not-found", hint="check the path"
            )
        if kind == "other":
            raise Invalid(f"{self.path.name!r} is a link, pipe or device", code="not-a-regular-file")
        cache = Cache(None if afresh else self.cache)
        try:
            with Writer(self.cache) as writer:
                rules = inherited(self.home, self.path, self.ignore_files) if kind == "folder" else Ignoring()
                builder = Builder(
                    keeper,
                    cache,
                    writer,
                    rules=rules,
                    ignore_files=self.ignore_files,
                    special=self.special,
                    adopt=self.adopt,
                    progress=progress,
                )
                built = builder.build(self.path) if kind == "folder" else builder.build_file(self.path)
                if not builder.unchanged:
                    writer.finish()
        finally:
            cache.close()
        return built
