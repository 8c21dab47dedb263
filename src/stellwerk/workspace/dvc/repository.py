"""A DVC repository on disk: where its files, its cache and its local remotes are."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stellwerk.core.errors import Invalid, NotFound, Unavailable
from stellwerk.data.adapters.git import GitHistory
from stellwerk.data.dvc import configuration
from stellwerk.data.dvc.model import Config, Remote

FOLDER = ".dvc"
MAX_FILE = 64 << 20
_NEVER = {".git", ".dvc", ".stellwerk", ".hg", ".venv", "__pycache__", "node_modules"}


class Folder:
    """The root of a DVC repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        first, then = (self._config(name) for name in ("config", "config.local"))
        self.config: Config = configuration.merged(first, then)

    @property
    def home(self) -> Path:
        """Where DVC keeps its own files; paths in its configuration count from here."""
        return self.root / FOLDER

    @property
    def cache(self) -> Path:
        """The cache, whichever layout it has."""
        return self.home / (self.config.cache or "cache")

    def git(self) -> GitHistory | None:
        """The history, if the repository has one."""
        if self.config.no_scm:
            return None
        history = GitHistory(self.root)
        return history if history.exists() else None

    def places(self, given: str = "") -> list[Path]:
        """Where objects are looked for: the cache and then all remotes that are folders, or only what was given.

        Args:
            given: Name of a remote, or a folder.

        Raises:
            NotFound: there is no such remote or folder.
            Invalid: `remote-not-local`: the remote is no folder of this machine.
        """
        remotes = {remote.name: remote for remote in self.config.remotes}
        if given in remotes:
            return [self._place(remotes[given])]
        if given:
            if not Path(given).is_dir():
                known = ", ".join(remotes) or "no remotes"
                raise NotFound(f"there is no folder or remote {given!r} (the repository has {known})")
            return [Path(given)]
        first = [remotes[name] for name in (self.config.default_remote,) if name in remotes]
        ordered = [*first, *(remote for remote in self.config.remotes if remote not in first)]
        return [self.cache, *(self._place(remote) for remote in ordered if remote.local)]

    def files(self, *wanted: str) -> Iterator[str]:
        """Paths from the root of files with these endings (`.dvc`) or names (`dvc.lock`). Links are not followed."""
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if name not in _NEVER)
            for name in sorted(files):
                if any(name == one or (one.startswith(".") and name.endswith(one) and name != one) for one in wanted):
                    yield (Path(folder) / name).relative_to(self.root).as_posix()

    def read(self, path: str) -> bytes:
        """A small file of the repository. Raises `NotFound`; `Invalid` for what is no file."""
        try:
            descriptor = os.open(self.root / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Invalid(f"{path} is no file", code="invalid-dvc-file")
                data = file.read(MAX_FILE + 1)
        except FileNotFoundError as cause:
            raise NotFound(f"there is no file {path}", code="no-such-file") from cause
        except OSError as cause:
            raise Unavailable(
                f"{path} cannot be read: {os.strerror(cause.errno or 0)}", code="file-unreadable"
            ) from cause
        if len(data) > MAX_FILE:
            raise Invalid(f"{path} is larger than {MAX_FILE >> 20} MiB", code="invalid-dvc-file")
        return data

    def find(self, path: str) -> bytes | None:
        """A small file of the repository, if it is there."""
        try:
            return self.read(path)
        except NotFound:
            return None

    def _place(self, remote: Remote) -> Path:
        if not remote.local:
            raise Invalid(
                f"the remote {remote.name!r} is at {remote.url}, not in a folder",
                code="remote-not-local",
                hint=f"`dvc fetch --all-commits -r {remote.name}` brings its objects into the cache",
            )
        return self.home / remote.url

    def _config(self, name: str) -> Config:
        data = self.find(f"{FOLDER}/{name}")
        return configuration.config(data, f"{FOLDER}/{name}") if data is not None else Config()


def find(start: Path) -> Folder:
    """The DVC repository of a folder, or of the nearest above it. Raises `NotFound`."""
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / FOLDER).is_dir():
            return Folder(folder)
    raise NotFound(
        f"there is no DVC repository in {start.name or 'this folder'!r} or above",
        code="no-dvc",
        hint="name its folder",
    )
