"""What a tracker holds, as values, and what reads it. Nothing here is checked: a source may say anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from stellwerk.tracking.model import DatasetUse, Latest, ModelUse, Point, Score

Kind = Literal["sqlite", "files", "server", "wandb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundExperiment:
    """An experiment. Times are milliseconds since 1970 everywhere in this file."""

    id: str
    name: str
    created: int = 0
    changed: int = 0
    location: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """A run.

    Attributes:
        status: A word of MLflow, such as `FINISHED`.
        location: Where its artifacts are: a path or a URI.
        latest: How its metrics stand, where the source keeps that apart from their points.
        problems: What of it could not be read; each says what it belongs to, or nothing.
    """

    id: str
    experiment: str
    name: str = ""
    user: str = ""
    status: str = ""
    start: int = 0
    end: int | None = None
    location: str = ""
    deleted: bool = False
    deleted_at: int | None = None
    params: Sequence[tuple[str, str]] = ()
    tags: Sequence[tuple[str, str]] = ()
    points: Sequence[Point] = ()
    latest: Sequence[Latest] = ()
    datasets: Sequence[DatasetUse] = ()
    models: Sequence[ModelUse] = ()
    problems: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A logged model; `status` is a word of MLflow, such as `READY`."""

    id: str
    experiment: str
    name: str
    model_type: str = ""
    source_run: str = ""
    status: str = ""
    created: int = 0
    changed: int = 0
    deleted: bool = False
    location: str = ""
    tags: Sequence[tuple[str, str]] = ()
    params: Sequence[tuple[str, str]] = ()
    scores: Sequence[Score] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundVersion:
    """A version of a registered model."""

    number: int
    created: int = 0
    changed: int | None = None
    description: str = ""
    user: str = ""
    stage: str = "None"
    source: str = ""
    run: str = ""
    run_link: str = ""
    model: str = ""
    """The logged model that it is, where the source says so."""
    tags: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRegistered:
    """A registered model."""

    name: str
    created: int = 0
    changed: int = 0
    description: str = ""
    tags: Sequence[tuple[str, str]] = ()
    aliases: Mapping[str, int] = field(default_factory=dict)
    versions: Sequence[FoundVersion] = ()


class Unread(Exception):
    """A file cannot be read, while the rest of its source can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A file of a folder of artifacts; `chunks` reads it, until the next file is asked for. Raises `Unread`."""

    path: str
    size: int
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of artifacts.

    Attributes:
        state: `here` to be read; `none` where there is none; `elsewhere`, which is not read; `refused`, with a reason.
        files: What is in it; a `Problem` for what is not read.
    """

    state: Literal["here", "none", "elsewhere", "refused"]
    reason: str = ""
    files: Iterable[FoundFile | Problem] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What was not taken over.

    Attributes:
        kind: run, param, tag, metric, dataset, artifact, model, version, alias, experiment.
        where: What it belongs to.
        name: What it is called there.
        reason: Why not.
    """

    kind: str
    where: str
    name: str
    reason: str


def unread(reasons: Iterable[str]) -> list[Problem]:
    """Numbers of a run that could not be read."""
    return [Problem(kind="metric", where="", name="", reason=one) for one in reasons]


def whole(value: object) -> int:
    """An integer of 64 bits; 0 for whatever is none."""
    try:
        found = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return 0
    return found if -(2**63) <= found < 2**63 else 0


class Source(Protocol):
    """A tracker that is read and never written to."""

    @property
    def kind(self) -> Kind:
        """What it is."""
        ...

    def experiments(self) -> Iterable[FoundExperiment | Problem]:
        """All of them, those in the bin too."""
        ...

    def runs(self, experiment: str) -> Sequence[str]:
        """Ids of the runs of an experiment, in the bin too, the oldest first."""
        ...

    def read(self, ids: Sequence[str]) -> Iterator[FoundRun | Problem]:
        """Runs in full, one after the other; a problem for one that cannot be read."""
        ...

    def models(self, experiment: str) -> Iterable[FoundModel | Problem]:
        """The logged models of an experiment."""
        ...

    def registered(self) -> Iterable[FoundRegistered | Problem]:
        """The registered models."""
        ...

    def folder(self, location: str, tail: tuple[str, ...]) -> Folder:
        """A folder of artifacts.

        Args:
            tail: How it must end: a source may name any folder of this machine, and only those of artifacts are read.
        """
        ...

    def left_out(self) -> Mapping[str, int]:
        """What it holds that is not taken over, with how many there are."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


Standing = Literal["same", "more", "other"]


@runtime_checkable
class Growing(Protocol):
    """A source that can say of a run that is here whether there is more of it by now."""

    def compare(self, run: str, tags: Mapping[str, str]) -> Standing:
        """Whether the run that is here, by its tags, is all of what the source holds, or another one of its id."""
        ...

    def renamed(self, run: str) -> str:
        """Another id for a run whose own is taken here; always the same one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerImport:
    """What came of an import.

    Attributes:
        made: How many of each kind are here now and were not before; `points`, `files` and `bytes` among them.
        known: How many of each kind were here before.
        remote: Runs and logged models whose artifacts stay where they are, by their address's beginning.
        bare: Runs that have no folder of artifacts.
        left_out: What is not taken over at all.
    """

    source: Kind
    made: Mapping[str, int]
    known: Mapping[str, int]
    remote: Mapping[str, int]
    bare: int
    left_out: Mapping[str, int]
    problems: tuple[Problem, ...]
    seconds: float


class Target(Protocol):
    """A server of MLflow that is written to. Raises `Invalid` where it refuses something."""

    def ask(self, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """What a GET answers. Raises `NotFound`."""
        ...

    def listed(self, path: str, asked: Mapping[str, Any], field: str) -> Iterator[dict[str, Any]]:
        """All pages of a search."""
        ...

    def tell(self, path: str, body: Mapping[str, Any], *, method: str = "POST") -> dict[str, Any]:
        """Make or change something."""
        ...

    def put(self, path: str, chunks: Iterator[bytes]) -> None:
        """Send a file through the server to where it keeps artifacts."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerExport:
    """What came of an export: how many of each kind were sent, and were there before."""

    made: Mapping[str, int]
    known: Mapping[str, int]
    problems: tuple[Problem, ...]
    seconds: float
