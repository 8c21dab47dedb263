"""How the Python facade reaches a workspace, here or at the other end of a URL, and what frameworks write to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from stellwerk.core.clock import Clock
from stellwerk.store.ports import Blobs
from stellwerk.tracking.model import Status


class Caller(Protocol):
    """Carries out operations. Safe for many threads. Raises the errors of the rooms, wherever they are."""

    @property
    def blobs(self) -> Blobs:
        """The store of the workspace."""
        ...

    @property
    def clock(self) -> Clock:
        """The time of the workspace."""
        ...

    @property
    def local(self) -> bool:
        """Whether the workspace is a folder of this machine."""
        ...

    @property
    def home(self) -> Path:
        """The project's folder on this machine."""
        ...

    @property
    def memory(self) -> Path:
        """A folder on this machine for what is remembered of this workspace alone. Losing it loses nothing."""
        ...

    def call(self, operation: Any, arguments: dict[str, Any]) -> Any:
        """Carry out one operation of `calls.OPERATIONS` with typed arguments; the answer is typed."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class Scribe(Protocol):
    """What an integration of a framework writes to. Takes names and values as the framework has them."""

    @property
    def run(self) -> Any:
        """The run that is written to, for whoever wants more of it."""
        ...

    def begin(self) -> None:
        """Something new is trained."""
        ...

    def params(self, params: Mapping[str, Any]) -> None:
        """Keep what training was given."""
        ...

    def tags(self, tags: Mapping[str, str]) -> None:
        """Attach words."""
        ...

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Keep values of a step; what is no number is left out."""
        ...

    def rest(self) -> None:
        """Training is over, and more may come."""
        ...

    def end(self, status: Status = "finished") -> None:
        """Training is over."""
        ...


Forge = Literal["github", "gitlab"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The merge request of a build, as the CI names it, and the token that may write to it.

    Attributes:
        api: Address of the REST API.
        project: `owner/name` at GitHub, the number or path of the project at GitLab.
    """

    forge: Forge
    api: str
    project: str
    number: int
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """What somebody said on a merge request."""

    id: int
    author: str
    text: str
    url: str = ""


class Thread(Protocol):
    """The comments of one merge request.

    Raises `Refused` where the token may not, `NotFound` where it sees no such merge request, and `Unavailable` where
    nobody answers or too much was asked.
    """

    def me(self) -> str:
        """Who we are, in the words in which comments name their authors."""
        ...

    def comments(self) -> Iterator[Comment]:
        """All of them, oldest first."""
        ...

    def write(self, text: str) -> Comment:
        """Add one. Not tried again, for it might be there already."""
        ...

    def edit(self, comment: int, text: str) -> Comment:
        """Change one of ours."""
        ...


@runtime_checkable
class Gallery(Protocol):
    """Keeps pictures where comments can show them. Not every forge has one."""

    def keep(self, name: str, data: bytes, media: str) -> str:
        """Keep a picture for good; answers its address in comments. Not tried again, for it might be there already."""
        ...
