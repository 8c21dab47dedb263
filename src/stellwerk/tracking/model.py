"""Experiments, runs and their facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from stellwerk.core.digest import Digest

Status = Literal["scheduled", "running", "waiting", "paused", "finished", "failed", "interrupted"]
"""How a run stands: `waiting` for persons, events or times, or `paused` by somebody, without any machine."""
Ending = Literal["finished", "failed", "interrupted"]
"""How a run may end."""
LEFT: tuple[Status, ...] = ("waiting", "paused")
"""What a run is that goes on some other time. MLflow's protocol knows no such thing: there it is running."""
OPEN: tuple[Status, ...] = ("scheduled", "running", *LEFT)
"""What a run is before it has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What holds runs together. Its name may change, its id does not."""

    id: str
    name: str
    created_at: datetime
    changed_at: datetime
    tags: dict[str, str] = field(default_factory=dict)
    location: str = ""
    """Where its runs keep their artifacts, if not here: a URI."""
    stage: Literal["active", "deleted"] = "active"
    """Whether it is in the bin, and all of its runs with it. Its id is never given again."""


class Point(NamedTuple):
    """One value of a metric."""

    key: str
    value: float
    """Any 64-bit float: NaN and infinities are values."""
    at: int
    """Milliseconds since 1970, as the one who measured says."""
    step: int = 0


class Score(NamedTuple):
    """One value of a metric of a logged model, and on which data it was measured."""

    model: str
    run: str
    key: str
    value: float
    at: int
    step: int = 0
    dataset: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latest:
    """A metric of a run as it stands: the value of the largest (step, time), and the bounds of all values."""

    key: str
    value: float
    at: int
    step: int
    low: float | None = None
    high: float | None = None


SYSTEM = "system/"
"""How the names of metrics begin that say what the machine did, as MLflow's client names them."""
CONTEXT_TAG = "mlflow.data.context"
"""The tag of a dataset that says what it was used for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetUse:
    """That a run used data which it describes itself; what Stellwerk keeps is in `inputs` of the run."""

    name: str
    digest: str
    """As the one who logged it computes it; no digest of ours."""
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    """`CONTEXT_TAG` says what for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """That a run used or made a logged model."""

    model: str
    role: Literal["used", "made"]
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run used."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution. A pipeline run has step runs as children."""

    id: str
    experiment: str
    name: str
    kind: str
    """`pipeline`, or the kind of the step: data, features, train, evaluate, …"""
    status: Status
    started_at: datetime
    started_by: str
    ended_at: datetime | None = None
    parent: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Digest] = field(default_factory=dict)
    outputs: dict[str, Digest] = field(default_factory=dict)
    code: Digest | None = None
    environment: Digest | None = None
    step_key: Digest | None = None
    cached: bool = False
    """The outputs were taken from an earlier run with the same step key."""
    process: str | None = None
    """`machine:process id` while running, to notice a run whose process died."""
    cost: Cost = field(default_factory=Cost)
    error: str = ""
    log: Digest | None = None
    user: str = ""
    """Who ran it, by what the machine that ran it says; `started_by` is who may be held to it."""
    location: str = ""
    """Where its artifacts are, if not here: a URI."""
    datasets: tuple[DatasetUse, ...] = ()
    models: tuple[ModelUse, ...] = ()
    points: tuple[Digest, ...] = ()
    """Segments that hold the points of its metrics since it ended (docs/formats/points.md)."""
    deleted_at: datetime | None = None
    """When it was put into the bin; it can be restored until the bin is emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMemory:
    """The result of a step under its key: the cache that every machine shares."""

    step_key: Digest
    outputs: dict[str, Digest]
    media: dict[str, str]
    run: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """That a run used or made an artifact: the edges of every trace."""

    digest: Digest
    role: Literal["used", "made"]
    run: str
    label: str
    """The argument or output name."""


TRIAL = "trial"
"""Kind of a run that is a trial of a study."""
STUDY = "study"
"""Kind of the run whose parts are the trials of a study."""
REPORTED = "reported"
"""The metric that holds what a trial reported on its way, by step."""
PRUNED_TAG = "trial.pruned"
"""The tag of a trial that was ended early; its value is the last step that it reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One question of tuning: what is tuned, on what, how it is searched. Whoever asks it again goes on with it."""

    id: Digest
    """The digest of everything that the answer depends on, but the budget."""
    experiment: str
    name: str
    runs: tuple[str, ...]
    """The runs that hold its trials: a further one whenever a larger budget was given after the end."""
    setup: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who has a trial."""

    study: Digest
    number: int
    epoch: int
    """Counts how often it was begun. Only the newest can be ended."""
    run: str
    holder: str
    """`machine:process id`, and who in it."""
    until: datetime
    """When it is anybody's, unless its holder says again that it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """A trial as it stands."""

    number: int
    epoch: int
    run: Run
    held: bool
    """Whether its holder may be at work on it."""
    reports: tuple[tuple[int, float], ...] = ()
    """What it reported on its way, by step."""


ORIGIN_WORKSPACE, ORIGIN_RUN = "origin.workspace", "origin.run"
"""Tags of the run of a step whose result another workspace gave: the name of that one's book, and its run."""
