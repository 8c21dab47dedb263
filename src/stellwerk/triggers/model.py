"""Triggers, their causes, and their firings. What follows from what is in `rules`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

CatchUp = Literal["none", "last", "all"]
Style = Literal["standard", "github"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnTime:
    """Fires by the clock on the wall of a zone.

    Attributes:
        cron: Five fields, as Debian's cron reads them.
        catch_up: What becomes of times that passed while nobody looked: nothing, the last one, or all.
        jitter: Seconds over which firings are spread; of one time it is always the same.
    """

    cron: str
    zone: str = "UTC"
    catch_up: CatchUp = "last"
    jitter: int = 0
    kind: Literal["time"] = "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnData:
    """Fires for each new version of a dataset that has passed a confirmed contract.

    Attributes:
        unchecked: Versions count that no contract was asked about: files, and tables whose contract is a draft.
    """

    dataset: str
    unchecked: bool = False
    kind: Literal["data"] = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnEvent:
    """Fires for entries of the ledger.

    Attributes:
        event: A name of `rules.EVENTS`, with its number where it has one (`labels:500`), or a kind of entries.
        of: Only of this endpoint, model, dataset or pipeline; empty for all.
    """

    event: str
    of: str = ""
    kind: Literal["event"] = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnWebhook:
    """Fires for deliveries from elsewhere that are signed.

    Attributes:
        style: How they are signed: as Standard Webhooks, or as GitHub does.
    """

    style: Style = "standard"
    kind: Literal["webhook"] = "webhook"


Source = OnTime | OnData | OnEvent | OnWebhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What keeps storms small.

    Attributes:
        interval: Seconds between two firings of a trigger, at least.
        queue: Firings that may wait; what comes when so many do is dropped.
        depth: How often in a row a firing may be caused by what another firing's run did.
        each: Every cause has a run of its own; else causes join the firing that still waits.
    """

    interval: int = 0
    queue: int = 10
    depth: int = 3
    each: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What begins runs of a pipeline. It knows no folder: whoever runs it has the pipeline's file.

    Attributes:
        id: Part of the address of incoming webhooks; it never changes.
        params: Parameters as they would be typed; `rules.filled` says what in braces stands for.
        sealed: The secret of incoming deliveries, encrypted under the workspace's key.
        next: The first entry of the ledger that it was not judged by.
        since: The last time of its clock that it was judged by.
        tally: What was counted since it last fired, for events that count.
    """

    name: str
    id: str
    pipeline: str
    on: Source
    created_at: datetime
    created_by: str
    since: datetime
    params: dict[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    paused: bool = False
    sealed: str = field(default="", repr=False)
    next: int = 0
    tally: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a trigger fires. The same cause never fires it twice.

    Attributes:
        key: `tick:` and a time, `entry:` and a number, `delivery:` and an id, or `hand:` and an id.
        subject: What it is about, as entries of the ledger name it.
        digest: Of what came: a dataset version, or the body of a delivery.
        depth: How many firings in a row led to it.
    """

    key: str
    at: datetime
    text: str
    subject: str = ""
    digest: str = ""
    depth: int = 0


Status = Literal["queued", "claimed", "started", "ended"]
Outcome = Literal["", "finished", "failed", "interrupted", "lost", "expired", "removed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """One run that is to be, or was, begun by a trigger.

    Attributes:
        cause: The newest of its causes.
        joined: Keys of the others, the newest of them.
        others: How many others there are.
        due_at: Not before this.
        expires_at: Not after this.
        epoch: How often it was claimed: whoever holds an older claim starts nothing.
        lease_until: Until when the one who claimed it may start its run.
        problem: Why no run came of it.
    """

    id: str
    trigger: str
    name: str
    pipeline: str
    cause: Cause
    queued_at: datetime
    due_at: datetime
    params: dict[str, str] = field(default_factory=dict)
    joined: tuple[str, ...] = ()
    others: int = 0
    expires_at: datetime | None = None
    status: Status = "queued"
    outcome: Outcome = ""
    epoch: int = 0
    runner: str = ""
    lease_until: datetime | None = None
    run: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """That a delivery was taken, so that it is not taken again.

    Attributes:
        delivery: The id of its sender, or the digest of its body where the id is not signed.
    """

    trigger: str
    delivery: str
    at: datetime
    firing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerLine:
    """A trigger as it may be shown: without its secret.

    Attributes:
        coming: The next times of its clock, in its zone.
        firings: The newest ones.
    """

    name: str
    id: str
    pipeline: str
    params: dict[str, str]
    on: Source
    limits: Limits
    paused: bool
    created_at: datetime
    created_by: str
    queued: int
    coming: tuple[datetime, ...]
    firings: tuple[Firing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A trigger that was just made."""

    trigger: TriggerLine
    secret: str = field(default="", repr=False)
    """Of incoming deliveries; shown this once."""
    path: str = ""
    """Where they are to be sent, below the address of the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a declaration changed of one trigger."""

    name: str
    change: Literal["added", "changed", "same", "removed", "undeclared"]
    made: Made | None = None
    """The trigger with its secret, where one was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a delivery."""

    status: Literal["queued", "joined", "dropped", "seen", "paused"]
    firing: str = ""
    why: str = ""
