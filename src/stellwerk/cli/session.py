"""One call of the command line: which workspace it is about, and where its words go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from stellwerk.cli.screen import Screen
    from stellwerk.releases.declaration import Project
    from stellwerk.releases.ports import Progress
    from stellwerk.workspace.facade import Workspace
    from stellwerk.workspace.layout import Layout
    from stellwerk.workspace.rooms import Rooms

PROJECT = "stellwerk.toml"


@dataclass(slots=True)
class Session:
    """What the shared options said. Nothing is opened before it is asked for."""

    place: str = ""
    """Folder or URL of the workspace; empty for the current folder."""
    as_json: bool = False
    _screen: Screen | None = field(default=None, init=False)

    @property
    def screen(self) -> Screen:
        """Where data and talk go."""
        from stellwerk.cli.screen import Screen

        if self._screen is None:
            self._screen = Screen(as_json=self.as_json)
        return self._screen

    @property
    def remote(self) -> bool:
        """Whether the workspace is at a URL."""
        return "://" in self.place

    def layout(self) -> Layout:
        """The workspace's folder. Raises `NotFound`; `Invalid` where the workspace is at a URL."""
        from stellwerk.workspace.layout import find

        if self.remote:
            raise Invalid(
                "this command needs the workspace's folder, not its address",
                code="needs-folder",
                hint="--workspace PATH",
            )
        return find(self.folder())

    def folder(self) -> Path:
        """The folder that was named, which must exist: a slip of the keyboard must not lead to a workspace above."""
        folder = Path(self.place or ".")
        if not folder.is_dir():
            raise NotFound(f"there is no folder {self.place!r}", code="no-such-folder", hint="check --workspace")
        return folder

    @contextmanager
    def workspace(self, say: Progress | None = None) -> Iterator[Workspace]:
        """Open the workspace.

        Args:
            say: Told what long work is doing, where the work happens in this process.
        """
        from stellwerk.workspace.facade import Workspace, connect
        from stellwerk.workspace.local import LocalCaller

        if self.remote:
            with connect(self.place) as found:
                yield found
        else:
            with self.rooms(say) as rooms:
                yield Workspace(LocalCaller(rooms))

    @contextmanager
    def rooms(self, say: Progress | None = None) -> Iterator[Rooms]:
        """Open the rooms of a workspace in a folder."""
        from stellwerk.workspace.rooms import Rooms
        from stellwerk.workspace.settings import read

        layout = self.layout()
        rooms = Rooms(layout, read()) if say is None else Rooms(layout, read(), say)
        try:
            rooms.recognise()
            yield rooms
        finally:
            rooms.close()

    def home(self) -> Path:
        """The project's folder: that of the workspace, or the nearest with a project file."""
        if not self.remote:
            return self.layout().root
        here = Path.cwd()
        return next((folder for folder in (here, *here.parents) if (folder / PROJECT).is_file()), here)

    def project(self) -> Project | None:
        """What the project file declares, if there is one."""
        from stellwerk.workspace.declaring import project

        return project(self.home())
