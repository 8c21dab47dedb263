"""When a trigger fires, what joins what waits, what is dropped, and who may be run next. Pure; nothing is read here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from stellwerk.core.clock import format_instant
from stellwerk.core.errors import Invalid
from stellwerk.core.names import name as checked_name
from stellwerk.triggers.model import CatchUp, Cause, Firing, Limits, OnData, OnEvent, OnTime, Source, Trigger
from stellwerk.triggers.ports import Calendar

LATE = timedelta(minutes=5)
"""A time that passed longer ago is missed, where nothing is caught up."""
LEASE = timedelta(minutes=10)
"""In which a run must have begun: its pipeline is imported and planned before."""
ATTEMPTS = 3
"""Claims of a firing, after which it is lost."""
AGAIN = timedelta(seconds=30)
"""Until a firing that found no room on the machine is tried again, and twice as long the next time."""
HOUR = timedelta(hours=1)
COUNTED = 1000
"""Missed times that are counted one by one."""
JOINED = 20
"""Causes of a firing that are named beside the newest."""
LOOK_BACK = tuple(timedelta(days=days) for days in (1 / 24, 1, 8, 32, 370, 1500, 20_000))
MAX_PARAMS, MAX_VALUE = 100, 4000
MAX_INTERVAL, MAX_QUEUE, MAX_DEPTH, MAX_JITTER = 31 * 86_400, 1000, 10, 86_400
_PARAM = re.compile(r"[^\W\d]\w{0,127}")


# What fires


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Which times of a clock are to be run.

    Attributes:
        fire: Oldest first.
        instead: Times that the last of them stands for.
        missed: How many are run by nobody.
        since: Up to where the clock was judged.
    """

    fire: tuple[datetime, ...]
    since: datetime
    instead: tuple[datetime, ...] = ()
    missed: int = 0


def due(on: OnTime, since: datetime, now: datetime, calendar: Calendar, *, room: int) -> Due | None:
    """The times between two instants, by what is to be caught up; None where there is none.

    Args:
        room: How many firings more may wait. Of those that are all caught up the others stay due.
    """
    passed = tuple(_until(calendar.times(on.cron, on.zone, since), now, COUNTED))
    if not passed:
        return None
    if on.catch_up == "all":
        fire = passed[:room]
        return Due(fire=fire, since=fire[-1]) if fire else None
    if len(passed) == COUNTED:
        passed = (*passed[:-1], _newest(on, now, calendar))
    newest = passed[-1]
    if on.catch_up == "none" and now - newest > LATE:
        return Due(fire=(), since=newest, missed=len(passed))
    if on.catch_up == "none":
        return Due(fire=(newest,), since=newest, missed=len(passed) - 1)
    return Due(fire=(newest,), since=newest, instead=passed[:-1])


def _until(times: Iterator[datetime], now: datetime, most: int) -> Iterator[datetime]:
    for instant in islice(times, most):
        if instant > now:
            return
        yield instant


def _newest(on: OnTime, now: datetime, calendar: Calendar) -> datetime:
    """The last time until now, after a downtime too long to count through."""
    for back in LOOK_BACK:
        found = list(_until(calendar.times(on.cron, on.zone, now - back), now, 100_000))
        if found:
            return found[-1]
    return now  # there were a thousand times: one of them lies within fifty years


def tick(on: OnTime, instant: datetime, calendar: Calendar) -> Cause:
    """A time of a clock as a cause."""
    local = calendar.local(instant, on.zone)
    return Cause(
        key=f"tick:{format_instant(instant)}", at=instant, text=f"{on.cron} at {local:%Y-%m-%d %H:%M} {on.zone}"
    )


def jittered(trigger: Trigger, on: OnTime, instant: datetime) -> datetime:
    """When a time is run: always the same moment within the jitter, whoever asks."""
    if not on.jitter:
        return instant
    drawn = hashlib.sha256(f"{trigger.id} {format_instant(instant)}".encode()).digest()
    return instant + timedelta(seconds=int.from_bytes(drawn[:8], "big") % (on.jitter + 1))


# What becomes of a cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Fires:
    """A cause makes a new firing."""

    firing: Firing


@dataclass(frozen=True, slots=True, kw_only=True)
class Joins:
    """A cause joins a firing that waits, which has it as its newest cause now."""

    firing: Firing


@dataclass(frozen=True, slots=True, kw_only=True)
class Drops:
    """A cause leads to nothing."""

    why: str


def place(
    trigger: Trigger,
    cause: Cause,
    *,
    now: datetime,
    waiting: Sequence[Firing],
    last: Firing | None,
    due_at: datetime | None = None,
    expires_at: datetime | None = None,
    params: Mapping[str, str] | None = None,
) -> Fires | Joins | Drops:
    """Decide what becomes of a cause.

    Args:
        waiting: The trigger's firings that nobody has claimed, oldest first.
        last: The trigger's firing with the latest due time, whatever became of it.
    """
    limits = trigger.limits
    if cause.depth > limits.depth:
        return Drops(why=f"a loop: {cause.depth} firings in a row led to it, and {limits.depth} may")
    # Times that are all caught up are runs of their own.
    alone = limits.each or (isinstance(trigger.on, OnTime) and trigger.on.catch_up == "all")
    if waiting and not alone:
        return Joins(firing=joined(waiting[-1], cause, params or trigger.params, expires_at))
    if len(waiting) >= limits.queue:
        return Drops(why=f"{len(waiting)} firings wait already")
    earliest = max(now, due_at or now)
    if last is not None and limits.interval:
        earliest = max(earliest, last.due_at + timedelta(seconds=limits.interval))
    firing = Firing(
        id=firing_id(trigger, cause),
        trigger=trigger.id,
        name=trigger.name,
        pipeline=trigger.pipeline,
        params=dict(trigger.params if params is None else params),
        cause=cause,
        queued_at=now,
        due_at=earliest,
        expires_at=expires_at,
    )
    return Fires(firing=firing)


def joined(firing: Firing, cause: Cause, params: Mapping[str, str], expires_at: datetime | None = None) -> Firing:
    """A firing that waits, with a newer cause."""
    return replace(
        firing,
        cause=replace(cause, depth=max(cause.depth, firing.cause.depth)),
        joined=(*firing.joined, firing.cause.key)[-JOINED:],
        others=firing.others + 1,
        params=dict(params),
        expires_at=expires_at,
    )


def firing_id(trigger: Trigger, cause: Cause) -> str:
    """The same for the same cause of the same trigger, so that no two of them can be kept."""
    return hashlib.sha256(f"{trigger.id} {cause.key}".encode()).hexdigest()[:26]


# Who is run next


def in_turn(firing: Firing) -> tuple[datetime, datetime, int, str]:
    """The order in which firings are run: what is due together, by what caused it first."""
    kind, _, number = firing.cause.key.partition(":")
    return firing.due_at, firing.cause.at, int(number) if kind == "entry" else 0, firing.id


def next_claim(
    firings: Sequence[Firing], *, now: datetime, begun: int, budget: int, only: Sequence[str] = ()
) -> Firing | None:
    """The firing that is to be run now, if any.

    One trigger's runs follow one another; firings whose claim has run out are claimed again.

    Args:
        firings: All that have not ended, in turn.
        begun: Runs that triggers began within the last hour.
        budget: How many may.
        only: Pipelines that the one who asks can run; empty for all.
    """
    if begun >= budget:
        return None
    busy = {
        one.trigger for one in firings if one.status == "started" or (one.status == "claimed" and _held(one, now))
    }
    for one in firings:
        ready = one.status == "queued" or (one.status == "claimed" and not _held(one, now))
        if ready and one.due_at <= now and one.trigger not in busy and (not only or one.pipeline in only):
            return one
    return None


def _held(firing: Firing, now: datetime) -> bool:
    return firing.lease_until is not None and now < firing.lease_until


def claimed(firing: Firing, runner: str, now: datetime) -> Firing:
    """A firing in the hands of a runner; every older claim is void."""
    if firing.expires_at is not None and now > firing.expires_at:
        return ended(firing, "expired", now, "nobody ran it in time, and its trigger catches nothing up")
    if firing.epoch >= ATTEMPTS:
        return ended(firing, "lost", now, f"{firing.epoch} runners took it, and none began a run")
    return replace(firing, status="claimed", runner=runner, epoch=firing.epoch + 1, lease_until=now + LEASE)


def put_back(firing: Firing, now: datetime, problem: str) -> Firing:
    """A firing that found no room on the machine, to be tried again later."""
    if firing.epoch >= ATTEMPTS:
        return ended(firing, "failed", now, problem)
    wait = AGAIN * 2 ** (firing.epoch - 1)
    return replace(firing, status="queued", runner="", lease_until=None, due_at=now + wait, problem=problem)


def ended(firing: Firing, outcome: str, now: datetime, problem: str = "") -> Firing:
    """A firing of which nothing more comes."""
    changes = {"status": "ended", "outcome": outcome, "ended_at": now, "lease_until": None, "problem": problem[:500]}
    return replace(firing, **changes)  # type: ignore[arg-type]


# What a person may ask for


def check(
    name: str, pipeline: str, params: Mapping[str, str], on: Source, limits: Limits, calendar: Calendar
) -> None:
    """Raises `Invalid` for what can be no trigger."""
    checked_name(name, what="trigger")
    checked_name(pipeline, what="pipeline")
    if len(params) > MAX_PARAMS:
        raise Invalid(f"{len(params)} parameters are too many (at most {MAX_PARAMS})", code="too-many")
    for key, text in params.items():
        if not _PARAM.fullmatch(key):
            raise Invalid(f"{key[:60]!r} is no name of a parameter", code="invalid-name")
        if len(text) > MAX_VALUE:
            raise Invalid(f"parameter {key!r} has more than {MAX_VALUE} characters", code="too-long")
        unknown = sorted(set(_BRACES.findall(text)) - _places(on))
        if unknown:
            raise Invalid(
                f"parameter {key!r} has {{{unknown[0]}}}, which such a trigger does not fill in "
                f"(expected {', '.join(f'{{{one}}}' for one in sorted(_places(on)))})",
                code="unknown-placeholder",
            )
    _within("interval", limits.interval, 0, MAX_INTERVAL)
    _within("queue", limits.queue, 1, MAX_QUEUE)
    _within("depth", limits.depth, 0, MAX_DEPTH)
    if isinstance(on, OnTime):
        _within("jitter", on.jitter, 0, MAX_JITTER)
        calendar.check(on.cron, on.zone)
    elif isinstance(on, OnData):
        checked_name(on.dataset, what="dataset")
    elif isinstance(on, OnEvent) and on.of:
        checked_name(on.of, what="endpoint, model, dataset or pipeline")


def _within(what: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise Invalid(f"{what} is {number} (expected {least} to {most})", code="invalid-limit")


# Parameters


_BRACES = re.compile(r"\{([a-z]+)\}")


def _places(on: Source) -> set[str]:
    always = {"cause"}
    if isinstance(on, OnTime):
        return always | {"day", "time"}
    return always | {"subject", "version"} if isinstance(on, OnData | OnEvent) else always


def filled(trigger: Trigger, cause: Cause, calendar: Calendar) -> dict[str, str]:
    """Parameters with what they say about the cause: words in braces are replaced, and nothing is computed."""
    told = {
        "cause": cause.key,
        "subject": cause.subject.partition(":")[2],
        "version": cause.subject.rpartition("@")[2],
    }
    if isinstance(trigger.on, OnTime):
        local = calendar.local(cause.at, trigger.on.zone)
        told |= {"day": f"{local:%Y-%m-%d}", "time": local.isoformat(timespec="minutes")}
    return {
        key: _BRACES.sub(lambda found: told.get(found[1], found[0]), text) for key, text in trigger.params.items()
    }


def catch_up(text: str) -> CatchUp:
    """What is to be caught up, as typed. Raises `Invalid`."""
    if text not in ("none", "last", "all"):
        raise Invalid(f"catch-up is {text[:20]!r} (expected none, last or all)", code="invalid-catch-up")
    return text  # type: ignore[return-value]
