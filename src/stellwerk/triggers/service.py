"""Triggers of a workspace: making, pausing, firing by hand, taking away. What fires them is in `lookout`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.core.names import new_id
from stellwerk.evidence import sealed_secrets
from stellwerk.evidence.ports import Sealer
from stellwerk.ledger.ports import Book, Reader
from stellwerk.ledger.shelf import evolve
from stellwerk.triggers import events, rules, signing
from stellwerk.triggers.declaration import Declared
from stellwerk.triggers.model import (
    Applied,
    Cause,
    Firing,
    Limits,
    Made,
    OnData,
    OnEvent,
    OnTime,
    OnWebhook,
    Source,
    Trigger,
    TriggerLine,
)
from stellwerk.triggers.placing import Placing
from stellwerk.triggers.ports import Calendar
from stellwerk.triggers.shelves import ARRIVALS, FIRINGS, TRIGGERS

COMING, SHOWN = 3, 5
"""Times to come, and firings, of a trigger that are shown."""
HOOKS = "/api/v1/hooks/"


class Triggers:
    """Triggers of one workspace and actor. What fires one begins with the entry that made it, or let it go on."""

    def __init__(self, book: Book, clock: Clock, calendar: Calendar, sealer: Sealer) -> None:
        self._book, self._clock, self._calendar, self._sealer = book, clock, calendar, sealer

    def create(
        self,
        name: str,
        pipeline: str,
        on: Source,
        *,
        params: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        secret: str = "",
    ) -> Made:
        """Make a trigger. Of incoming webhooks the secret is made, unless it is given, and told this once.

        Raises:
            Invalid: For what can be no trigger.
            Conflict: `already-exists`.
        """
        limits, params, now = limits or Limits(), dict(params or {}), self._clock.now()
        self._check(name, pipeline, params, on, limits)
        if secret and not isinstance(on, OnWebhook):
            raise Invalid("only incoming webhooks have a secret", code="usage", hint="leave it out")
        identity, given = new_id(now), secret
        if isinstance(on, OnWebhook):
            secret = secret or signing.new_secret()
            signing.check_secret(secret, on.style)
        made = Trigger(
            name=name,
            id=identity,
            pipeline=pipeline,
            on=on,
            params=params,
            limits=limits,
            sealed=self._seal(identity, secret),
            created_at=now,
            created_by=self._book.actor,
            since=now,
        )
        with self._book.write() as tx:
            if TRIGGERS.find(tx, name) is not None:
                raise Conflict(
                    f"there is a trigger {name!r} already", code="already-exists", hint="choose another name"
                )
            told = {"id": identity, "pipeline": pipeline, "params": params, "on": told_of(on)}
            entry = tx.record("trigger.added", f"trigger:{name}", told)
            made = evolve(made, next=entry.sequence + 1)
            TRIGGERS.insert(tx, made)
        path = HOOKS + identity if isinstance(on, OnWebhook) else ""
        return Made(trigger=self.line(made), secret="" if given else secret, path=path)

    def apply(self, declared: Sequence[Declared], *, prune: bool = False) -> list[Applied]:
        """Make triggers as a project file declares them. What did not change goes on as it was.

        Args:
            prune: What is not declared is taken away; else it is only named.

        Raises:
            Invalid: For what can be no trigger; then nothing is changed.
        """
        for one in declared:
            self._check(one.name, one.pipeline, one.params, one.on, one.limits)
        known = {trigger.name: trigger for trigger in self.all()}
        applied = [self._apply(one, known.get(one.name)) for one in declared]
        for name in sorted(known.keys() - {one.name for one in declared}):
            if prune:
                self.remove(name)
            applied.append(Applied(name=name, change="removed" if prune else "undeclared"))
        return applied

    def _apply(self, one: Declared, known: Trigger | None) -> Applied:
        if known is None:
            made = self.create(one.name, one.pipeline, one.on, params=one.params, limits=one.limits)
            return Applied(name=one.name, change="added", made=made)
        said = {"pipeline": one.pipeline, "on": one.on, "params": one.params, "limits": one.limits}
        if all(getattr(known, field) == value for field, value in said.items()):
            return Applied(name=one.name, change="same")
        hooked = isinstance(one.on, OnWebhook)
        secret = signing.new_secret() if hooked and not known.sealed else ""
        sealed = (self._seal(known.id, secret) if secret else known.sealed) if hooked else ""
        with self._book.write() as tx:
            changed = evolve(find(tx, one.name), sealed=sealed, **said)
            told = {"id": known.id, "pipeline": one.pipeline, "params": one.params, "on": told_of(one.on)}
            entry = tx.record("trigger.changed", f"trigger:{one.name}", told)
            if one.on != known.on:  # what happened before does not count for it
                changed = evolve(changed, next=entry.sequence + 1, since=self._clock.now(), tally={})
            TRIGGERS.put(tx, changed)
        path = HOOKS + known.id if secret else ""
        return Applied(
            name=one.name, change="changed", made=Made(trigger=self.line(changed), secret=secret, path=path)
        )

    def get(self, name: str) -> Trigger:
        """One trigger. Raises `NotFound`."""
        with self._book.read() as reader:
            return find(reader, name)

    def all(self) -> list[Trigger]:
        """Triggers by name."""
        with self._book.read() as reader:
            return TRIGGERS.select(reader)

    def line(self, trigger: Trigger, shown: int = SHOWN) -> TriggerLine:
        """A trigger as it may be shown, with the times to come and its newest firings."""
        with self._book.read() as reader:
            firings = FIRINGS.select(reader, trigger=trigger.id, order="-due_at", limit=shown)
            queued = FIRINGS.count(reader, trigger=trigger.id, status="queued")
        return TriggerLine(
            name=trigger.name,
            id=trigger.id,
            pipeline=trigger.pipeline,
            params=trigger.params,
            on=trigger.on,
            limits=trigger.limits,
            paused=trigger.paused,
            created_at=trigger.created_at,
            created_by=trigger.created_by,
            queued=queued,
            coming=() if trigger.paused else self.coming(trigger.on),
            firings=tuple(firings),
        )

    def coming(self, on: Source, most: int = COMING) -> tuple[datetime, ...]:
        """The next times of a clock, as it shows them."""
        if not isinstance(on, OnTime):
            return ()
        times = self._calendar.times(on.cron, on.zone, self._clock.now())
        return tuple(self._calendar.local(instant, on.zone) for instant in islice(times, most))

    def pause(self, name: str) -> Trigger:
        """Let nothing fire it. What waits is run all the same."""
        return self._change(name, paused=True)

    def resume(self, name: str) -> Trigger:
        """Let it be fired again; what happened meanwhile does not count."""
        return self._change(name, paused=False)

    def remove(self, name: str) -> Trigger:
        """Take a trigger away, its secret with it, and what waits. Raises `NotFound`."""
        now = self._clock.now()
        with self._book.write() as tx:
            gone = find(tx, name)
            waiting = FIRINGS.select(tx, trigger=gone.id, status="queued")
            for firing in waiting:
                FIRINGS.put(tx, rules.ended(firing, "removed", now, "its trigger was taken away"))
            ARRIVALS.remove_all(tx, trigger=gone.id)
            TRIGGERS.remove(tx, name)
            told = {"id": gone.id, "dropped": [firing.id for firing in waiting]}
            tx.record("trigger.removed", f"trigger:{name}", told)
        return gone

    def fire(self, name: str, why: str = "") -> Firing:
        """Fire a trigger by hand, paused or not. Raises `Refused` where so many wait that none may be added."""
        now = self._clock.now()
        with self._book.write() as tx:
            trigger = find(tx, name)
            cause = Cause(
                key=f"hand:{new_id(now)}", at=now, text=f"by hand of {tx.actor}" + (f": {why[:200]}" if why else "")
            )
            return Placing(tx, trigger, self._calendar, now).must(cause)

    def secret(self, trigger: Trigger) -> str:
        """The secret of incoming deliveries; empty where there is none. Only for checking: it is shown to nobody."""
        return sealed_secrets.opened(self._sealer, trigger.sealed, kind="trigger", of=trigger.id)

    def firings(self, *, name: str = "", limit: int = 20) -> Sequence[Firing]:
        """Firings, those that are due last first."""
        with self._book.read() as reader:
            if not name:
                return FIRINGS.select(reader, order="-due_at", limit=limit)
            return FIRINGS.select(reader, order="-due_at", limit=limit, trigger=find(reader, name).id)

    def firing(self, firing: str) -> Firing:
        """One firing. Raises `NotFound`."""
        with self._book.read() as reader:
            found = FIRINGS.find(reader, firing)
        if found is None:
            raise NotFound(f"no firing {firing[:60]!r}", code="unknown-firing", hint="`stellwerk triggers list`")
        return found

    def _check(self, name: str, pipeline: str, params: Mapping[str, str], on: Source, limits: Limits) -> None:
        rules.check(name, pipeline, params, on, limits, self._calendar)
        if isinstance(on, OnEvent | OnData):
            events.listens(on)

    def _change(self, name: str, *, paused: bool) -> Trigger:
        with self._book.write() as tx:
            known = find(tx, name)
            if known.paused == paused:
                return known
            entry = tx.record("trigger.paused" if paused else "trigger.resumed", f"trigger:{name}", {"id": known.id})
            changed = evolve(known, paused=paused)
            if not paused:
                changed = evolve(changed, next=entry.sequence + 1, since=self._clock.now(), tally={})
            TRIGGERS.put(tx, changed)
        return changed

    def _seal(self, trigger: str, secret: str) -> str:
        return sealed_secrets.seal(self._sealer, secret, kind="trigger", of=trigger)


def find(reader: Reader, name: str) -> Trigger:
    """The trigger of a name. Raises `NotFound`."""
    found = TRIGGERS.find(reader, name)
    if found is None:
        raise NotFound(f"no trigger {name[:80]!r}", code="unknown-trigger", hint="`stellwerk triggers list`")
    return found


def told_of(on: Source) -> dict[str, str]:
    """What fires a trigger, as the ledger tells it."""
    match on:
        case OnTime():
            return {"kind": on.kind, "cron": on.cron, "zone": on.zone, "catch_up": on.catch_up}
        case OnData():
            return {"kind": on.kind, "dataset": on.dataset}
        case OnEvent():
            return {"kind": on.kind, "event": on.event} | ({"of": on.of} if on.of else {})
        case _:
            return {"kind": on.kind, "style": on.style}
