"""A dataset version goes into a DVC repository: objects, working files, and last the pointer that tells of them."""

from __future__ import annotations

import fcntl
import os
import posixpath
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from stellwerk.core import files as small_files
from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound, Refused
from stellwerk.data.dvc import hashing, manifests, turns, writing
from stellwerk.data.dvc.model import MD5, Output
from stellwerk.data.model import DatasetVersion, ForeignDigest
from stellwerk.store import service as trees
from stellwerk.store.model import TreeEntry
from stellwerk.store.working.model import SMALL, Link
from stellwerk.store.working.placing import Placer
from stellwerk.store.working.placing import writing as on_disk
from stellwerk.workspace import operations as ops
from stellwerk.workspace.browsing import tree_of
from stellwerk.workspace.dvc import foreign, repository, standing
from stellwerk.workspace.dvc.model import DvcExport
from stellwerk.workspace.dvc.objects import Objects
from stellwerk.workspace.dvc.repository import FOLDER, Folder
from stellwerk.workspace.ports import Caller

ASKED = 10_000
Say = Callable[[str], None]


def export_dataset(
    caller: Caller,
    name: str,
    version: int | None,
    place: Path,
    *,
    path: str = "",
    link: Link = "auto",
    checkout: bool = True,
    init: bool = False,
    force: bool = False,
    say: Say | None = None,
) -> DvcExport:
    """Write a dataset version into a DVC repository, as `dvc add` would have.

    Args:
        path: From the repository's root; by default where the dataset came from, or its name.
        link: How large objects come into the cache.
        checkout: Put the data into the working folder too.
        init: Make a DVC repository where there is none.
        force: Overwrite and delete working files that nobody keeps.
    """
    say = say or _silent
    found: DatasetVersion = caller.call(ops.get_data, {"name": name, "version": version})
    folder = _folder(place, init=init)
    came = _origin(caller, found)
    path = path or (came[0] if came else name)
    with _lock(folder, say):
        target = standing.place(folder, path)
        listed = dict(trees.walk(caller.blobs, tree_of(found)))
        single = _single(listed, target.path, came)
        if single is not None:
            listed = {"": single}
        say(f"writing {len(listed):,} objects")
        cache = _Cache(caller, folder.cache, link)
        names = cache.fill(listed)
        output = _output(target, listed, names, cache, found.digest)
        if checkout:
            say("putting files in place")
            _Checkout(caller, folder, target, listed, names).run(force=force)
        os.sync()  # objects are durable before anything names them
        _tell(folder, target, output)
    return DvcExport(
        dataset=found.name,
        version=found.version,
        digest=found.digest,
        path=target.path,
        pointer=target.file,
        md5=output.value + (".dir" if output.directory else ""),
        files=len(listed),
        bytes=output.size or 0,
        objects=cache.written,
        linked=cache.linked,
        checked_out=checkout,
        lost=tuple(one for one, entry in listed.items() if entry.executable) if output.directory else (),
    )


def _folder(place: Path, *, init: bool) -> Folder:
    try:
        return repository.find(place)
    except NotFound:
        if not init or not place.is_dir():
            raise
    home = place.resolve() / FOLDER
    with on_disk(FOLDER):
        home.mkdir()
        (home / "tmp").mkdir()
        (home / ".gitignore").write_text("/config.local\n/tmp\n/cache\n", "utf-8")
        ignore = home.parent / ".dvcignore"
        if not ignore.exists():
            ignore.write_text("# Patterns of files that DVC should ignore.\n", "utf-8")
    in_git = any((folder / ".git").exists() for folder in (home.parent, *home.parent.parents))
    small_files.replace_text(home / "config", "" if in_git else "[core]\n    no_scm = True\n")
    return Folder(home.parent)


def _origin(caller: Caller, found: DatasetVersion) -> tuple[str, bool] | None:
    """Where the dataset lay when it last came from DVC, and whether that was a folder."""
    versions: tuple[DatasetVersion, ...] = caller.call(ops.list_data, {})
    for version in sorted(versions, key=lambda one: -one.version):
        if version.name == found.name and version.version <= found.version:
            came = turns.origin(version.source)
            if came is not None:
                return came
    return None


def _single(listed: dict[str, TreeEntry], path: str, came: tuple[str, bool] | None) -> TreeEntry | None:
    """The one file that a version is, if it is no folder."""
    if len(listed) != 1:
        return None
    ((inner, entry),) = listed.items()
    was_folder = came is not None and came == (path, True)
    return entry if inner == posixpath.basename(path) and not was_folder else None


def _output(
    target: standing.Place, listed: dict[str, TreeEntry], names: dict[Digest, str], cache: _Cache, tree: Digest
) -> Output:
    size = sum(entry.size for entry in listed.values())
    written = target.output.path if target.output else posixpath.basename(target.path)
    base = replace(target.output, manifest=None, cloud=None) if target.output else Output(path=written)
    if "" in listed:
        entry = listed[""]
        return replace(
            base,
            algorithm=MD5,
            value=names[entry.digest],
            directory=False,
            size=size,
            files=None,
            executable=entry.executable,
        )
    value = cache.manifest([(path, names[entry.digest]) for path, entry in listed.items()], tree, size)
    return replace(base, algorithm=MD5, value=value, directory=True, size=size, files=len(listed), executable=False)


class _Cache:
    """DVC's cache, in the layout of DVC 3."""

    def __init__(self, caller: Caller, root: Path, link: Link) -> None:
        self._caller, self._root, self._link = caller, root, link
        self._placer = Placer(caller.blobs, link)
        self.written = self.linked = 0

    def fill(self, listed: dict[str, TreeEntry]) -> dict[Digest, str]:
        """Bring all files into the cache; their MD5s by digest, computed only where they are not known."""
        wanted = {entry.digest: entry for entry in listed.values()}
        names = self._known(list(wanted))
        fresh: list[ForeignDigest] = []
        for digest, entry in wanted.items():
            plain = entry._replace(executable=False)
            if digest in names:
                self._place(names[digest], plain)
            else:
                names[digest] = self._write(plain)
                fresh.append(ForeignDigest(algorithm=MD5, value=names[digest], digest=digest, size=entry.size))
        foreign.remember(self._caller, fresh)
        return names

    def manifest(self, files: list[tuple[str, str]], tree: Digest, size: int) -> str:
        """Keep the list of a folder; its name without `.dir`."""
        data = manifests.write(files)
        value = hashing.of_bytes(data, MD5)
        target = self._target(value + ".dir")
        if not _holds(target, len(data)):
            with self._writing(target) as temporary:
                temporary.write_bytes(data)
        foreign.remember(self._caller, [ForeignDigest(algorithm=MD5, value=value + ".dir", digest=tree, size=size)])
        return value

    def _known(self, digests: list[Digest]) -> dict[Digest, str]:
        names: dict[Digest, str] = {}
        for start in range(0, len(digests), ASKED):
            asked = {"algorithm": MD5, "digests": tuple(digests[start : start + ASKED])}
            for one in self._caller.call(ops.name_foreign, asked):
                if not one.directory:
                    names[one.digest] = one.value
        return names

    def _place(self, value: str, entry: TreeEntry) -> None:
        target = self._target(value)
        if _holds(target, entry.size):
            return
        with self._writing(target) as temporary:
            parent = os.open(temporary.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._placer.place(parent, temporary.name, entry)
            finally:
                os.close(parent)
            self.linked += temporary.stat().st_nlink > 1

    def _write(self, entry: TreeEntry) -> str:
        if entry.size > SMALL and self._link in ("hardlink", "reflink"):
            value, _ = hashing.of_chunks(self._caller.blobs.stream(entry.digest), MD5)
            self._place(value, entry)
            return value
        hasher = hashing.md5()
        temporary = self._temporary()
        try:
            with on_disk("the cache"):
                temporary.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                for chunk in self._caller.blobs.stream(entry.digest):
                    hasher.update(chunk)
                    with on_disk("the cache"):
                        file.write(chunk)
            value = str(hasher.hexdigest())
            target = self._target(value)
            if not _holds(target, entry.size):
                self._publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return value

    @contextmanager
    def _writing(self, target: Path) -> Iterator[Path]:
        temporary = self._temporary()
        try:
            with on_disk("the cache"):
                temporary.parent.mkdir(parents=True, exist_ok=True)
                yield temporary
                self._publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path, target: Path) -> None:
        with on_disk("the cache"):
            temporary.chmod(0o444)  # by which DVC knows that nobody changed it
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
        self.written += 1

    def _temporary(self) -> Path:
        return self._root / f"stellwerk-{secrets.token_hex(8)}"

    def _target(self, value: str) -> Path:
        return self._root / "files" / "md5" / value[:2] / value[2:]


def _holds(target: Path, size: int) -> bool:
    """Whether the cache has an object, as DVC judges it: a read-only file."""
    try:
        found = target.stat()
    except OSError:
        return False
    return found.st_size == size and not found.st_mode & 0o222


class _Checkout:
    """Makes the working folder what the version says, and nothing that is kept nowhere else is lost."""

    def __init__(
        self,
        caller: Caller,
        folder: Folder,
        target: standing.Place,
        listed: dict[str, TreeEntry],
        names: dict[Digest, str],
    ) -> None:
        self._target, self._listed = target, listed
        self._wanted = {path: names[entry.digest] for path, entry in listed.items()}
        algorithm = target.output.algorithm if target.output and target.output.algorithm else MD5
        self._working = standing.Working(folder, target.path, algorithm)
        self._old = standing.tracked_files(target, Objects(folder.places()))
        self._placer = Placer(caller.blobs, "auto")

    def run(self, *, force: bool) -> None:
        """Do it. Raises `Refused` (`dvc-unsaved`) before anything is changed."""
        unsaved = self._working.unsaved(self._old, self._wanted)
        if unsaved and not force:
            shown = ", ".join(repr(posixpath.join(self._target.path, one).rstrip("/")) for one in unsaved[:5])
            more = f" and {len(unsaved) - 5} more" if len(unsaved) > 5 else ""
            raise Refused(
                f"the working folder has changes that DVC does not keep: {shown}{more}",
                code="dvc-unsaved",
                hint=f"`dvc add {self._target.path}` and import it, or --force to lose them",
            )
        self._clear()
        for path, entry in self._listed.items():
            present = self._working.files.get(path)
            if present is None or present[0] != self._wanted[path] or present[2] != entry.executable:
                self._put(self._working.root / path if path else self._working.root, entry)
        if not self._listed:
            with on_disk(self._target.path):
                self._working.root.mkdir(parents=True, exist_ok=True)

    def _clear(self) -> None:
        """Remove what the version does not have, and then folders that are empty."""
        root = self._working.root
        with on_disk(self._target.path):
            for path in (*self._working.files, *self._working.odd):
                if path not in self._listed:
                    (root / path if path else root).unlink()
                    self._working.files.pop(path, None)
            if root.is_dir() and not root.is_symlink():
                for home, _, _ in os.walk(root, topdown=False):
                    if not any(os.scandir(home)):
                        Path(home).rmdir()

    def _put(self, file: Path, entry: TreeEntry) -> None:
        with on_disk(file.name):
            file.parent.mkdir(parents=True, exist_ok=True)
            parent = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
            temporary = f".stellwerk-tmp-{secrets.token_hex(8)}"
            try:
                self._placer.place(parent, temporary, entry)
                os.replace(temporary, file.name, src_dir_fd=parent, dst_dir_fd=parent)
            finally:
                os.close(parent)


def _tell(folder: Folder, target: standing.Place, output: Output) -> None:
    """Write the pointer, and keep git away from the data."""
    if target.data is None:
        data = writing.new(output)
    elif target.output == output:
        return
    else:
        data = writing.changed(target.data, target.file, target.position, output)
    file = folder.root / target.file
    with on_disk(target.file):
        file.parent.mkdir(parents=True, exist_ok=True)
    _ignore(folder, target.path)
    small_files.replace_text(file, data.decode())


def _ignore(folder: Folder, path: str) -> None:
    if folder.config.no_scm:
        return
    home, name = posixpath.split(path)
    file = posixpath.join(home, ".gitignore")
    known = (folder.find(file) or b"").decode("utf-8", "surrogateescape")
    line = writing.ignore_line(name)
    if line in known.splitlines():
        return
    text = known + ("" if not known or known.endswith("\n") else "\n") + line + "\n"
    small_files.replace_text(folder.root / file, text)


@contextmanager
def _lock(folder: Folder, say: Say) -> Iterator[None]:
    """Hold DVC's own lock, so that neither changes the repository while the other does."""
    file = folder.home / "tmp" / "lock"
    with on_disk("the lock of DVC"):
        file.parent.mkdir(exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for DVC to finish")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _silent(text: str) -> None:
    """Say nothing."""
