"""What the views show. Building them from the rooms below is in `board`, `trace` and `dossier`; drawing is above."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from stellwerk.pipelines.tuning.model import Trial
from stellwerk.releases.model import Signal
from stellwerk.tracking.previews import Preview
from stellwerk.tracking.tables import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measured value over a period, with its bounds."""

    start: datetime
    end: datetime
    estimate: float
    lower: float
    upper: float
    labelled: int
    predictions: int
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Quality over time, with the owner's floor and the moments releases changed."""

    metric: str
    floor: float | None
    points: tuple[Point, ...]
    at_release: tuple[tuple[str, datetime, float, float, float], ...] = ()
    """(release id, when, estimate, lower, upper) on the gate set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLine:
    """The tracked risk: mean loss of labelled predictions against the limit set at release."""

    loss: str
    labels: int
    estimate: float
    lower: float
    upper: float
    limit: float
    alarm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLine:
    """One input's shift since release."""

    column: str
    statistic: float
    limit: float
    effect: float
    material: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLine:
    """A release in the history of an endpoint."""

    id: str
    model: str
    """`name@version`"""
    digest: str
    status: str
    granted_at: datetime
    granted_by: str
    expires_at: datetime
    ended_at: datetime | None
    ended_why: str
    verdict: str
    attempt: int
    run: str
    model_name: str = ""
    """Under which its bytes are registered now; empty where they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """One ledger entry in plain words."""

    sequence: int
    at: datetime
    actor: str
    kind: str
    subject: str
    text: str
    tone: Literal["neutral", "good", "warn", "bad"] = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointCard:
    """All the board shows of one endpoint."""

    name: str
    purpose: str
    owner: str
    deputy: str
    risk_class: str
    environment: str
    signal: Signal
    why: str
    fallback: str
    release: ReleaseLine | None
    history: tuple[ReleaseLine, ...]
    lease_left_days: float | None
    lease_used: float | None
    """0 at grant, 1 at expiry."""
    quality: Series | None
    risk: RiskLine | None
    drift: tuple[DriftLine, ...]
    predictions: int
    label_coverage: float | None
    audit_share: float | None
    routed: tuple[str, ...]
    open_cases: int
    alarms: tuple[EventLine, ...]
    next_step: str
    next_command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run in a list."""

    id: str
    name: str
    kind: str
    status: str
    started_at: datetime
    seconds: float
    cached: bool
    metrics: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The first page: every endpoint, what ran lately, what happened."""

    workspace: str
    actor: str
    now: datetime
    simulated: bool
    endpoints: tuple[EndpointCard, ...]
    runs: tuple[RunLine, ...]
    events: tuple[EventLine, ...]
    entries: int
    """Entries in the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One thing in a graph."""

    id: str
    kind: str
    """prediction, segment, release, verdict, evidence, plan, gate, model, run, dataset, file, code, environment"""
    title: str
    detail: str = ""
    digest: str = ""
    state: Literal["verified", "failed", "unproven", "plain", "waiting", "omitted"] = "plain"
    """Whether its bytes were re-read and matched; `unproven` says why in `detail`. Of a step how it came out, where that
    is not simply well."""
    link: str = ""
    within: str = ""
    """The innermost frame around it."""
    note: str = ""
    """What stands below its title, if anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """`source` was used for `target`."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A loop, a branch or a call of a pipeline around nodes of a graph."""

    id: str
    kind: Literal["each", "when", "call"]
    title: str
    """`each of months`, `when total ≥ 500`, `pipeline prepare`"""
    detail: str = ""
    """How many items it came to, whether it was taken, or how many steps stand in it."""
    state: Literal["plain", "failed", "omitted"] = "plain"
    within: str = ""
    """The frame around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Nodes and edges from causes (left) to effects (right). The target of an edge may be a frame."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetLine:
    """Data that a run says it used."""

    name: str
    digest: str
    """As the one who logged it computes it."""
    source: str
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """A file that a run logged."""

    path: str
    size: int
    digest: str
    """Empty for a folder whose content is not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePage:
    """A file, or what is directly in a folder, of a run or of a model that was logged."""

    kind: Literal["run", "model"]
    id: str
    name: str
    """Of the run or model."""
    run: str
    """That logged it; empty where none did."""
    experiment: str
    experiment_id: str
    path: str
    """Empty for all of it."""
    digest: str
    """Empty for a folder."""
    size: int
    logged_at: datetime | None
    preview: Preview | None
    """Of a file."""
    inside: tuple[FileLine, ...] = ()
    """Of a folder, by name; paths of folders end with a stroke."""
    before: int | None = None
    """Where the names before these begin, and those after them."""
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunModel:
    """A model version that came from a run."""

    name: str
    version: int
    digest: str
    """Empty where its files are not in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedLine:
    """A model that a run logged or used."""

    id: str
    name: str
    status: str
    role: Literal["used", "made"]
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """The end of a log that a run wrote as a file."""

    path: str
    size: int
    text: str
    skipped: int
    """Bytes before the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """A search for parameters: what was sought, and every trial."""

    setup: dict[str, Any]
    """What `pipelines.tuning` reads as a setup."""
    trials: tuple[Trial, ...]
    by: str
    """By which measure the parameters matter."""
    shares: dict[str, float]
    more: int = 0
    """Trials that are not among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitLine:
    """What a step of an execution waits for."""

    task: str
    kind: Literal["person", "time", "event"]
    text: str
    """The question, or the kind of entry in the ledger; empty for a time."""
    since: datetime
    until: datetime | None
    """The time that is waited for, or until when an answer counts."""
    case: str = ""
    """Which a person decides."""
    asked: str = ""
    """Who is asked: a person, or whoever looks after a queue."""
    over: str = ""
    """How it came out, where nobody has gone on with it since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One run with everything that is known of it."""

    run: RunLine
    experiment: str
    started_by: str
    ended_at: datetime | None
    error: str
    parent: RunLine | None
    params: tuple[tuple[str, str], ...]
    tags: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]
    code: str
    environment: str
    step_key: str
    cpu_seconds: float
    peak_memory_bytes: int
    log: str
    children: tuple[RunLine, ...]
    graph: Graph
    """Of a pipeline its steps; of everything else what it read and made."""
    experiment_id: str = ""
    user: str = ""
    """Who ran it, by what the machine that ran it says."""
    standing: tuple[Standing, ...] = ()
    """How its metrics stand."""
    datasets: tuple[DatasetLine, ...] = ()
    files: tuple[FileLine, ...] = ()
    """The first of the files that it logged."""
    elsewhere: str = ""
    """Where its files are, if not here."""
    deleted: bool = False
    note: str = ""
    """What somebody wrote about it."""
    origin: tuple[tuple[str, str], ...] = ()
    """Which code ran, as its client says: commit, branch, source."""
    logs: tuple[LogLine, ...] = ()
    """The ends of the first logs among its files."""
    logged: tuple[LoggedLine, ...] = ()
    models: tuple[RunModel, ...] = ()
    """Versions that were registered as its own, or whose bytes it or a run that is part of it wrote."""
    study: StudyView | None = None
    """Of a run whose parts are trials."""
    waits: tuple[WaitLine, ...] = ()
    """What it waits for, of an execution that goes on some other time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A walk from one thing to its causes, or to everything it affects, with every digest re-verified."""

    subject: str
    direction: Literal["up", "down"]
    graph: Graph
    verified: int
    """Blobs re-read whose bytes matched their digest."""
    failed: tuple[str, ...]
    unproven: tuple[str, ...]
    """What could not be proven, in plain sentences."""
    facts: tuple[tuple[str, str], ...] = field(default_factory=tuple)
    """The answer itself, for a prediction: what was asked, answered, when, by which release."""
