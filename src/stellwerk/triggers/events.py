"""Which entries of the ledger a trigger listens to, under which name, and what they are about. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.core.names import is_event
from stellwerk.ledger.model import Entry
from stellwerk.triggers.model import OnData, OnEvent

Body = Mapping[str, Any]
DATA = ("data.added",)
NEVER = ("trigger.", "webhook.")
"""What triggers and webhooks say of themselves begins nothing."""
MAX_COUNT = 1_000_000_000
_LISTENS = re.compile(r"([a-z-]+)(?::([0-9]+|[a-z]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a name stands for.

    Attributes:
        kinds: Of entries.
        holds: What their bodies must say.
        about: What it is, for people.
        counts: Whether its number says how much must come together, out of `count` of the bodies.
    """

    kinds: tuple[str, ...]
    about: str
    holds: Callable[[str, Body], bool] = lambda _kind, _body: True
    counts: bool = False


def _alarm(*wanted: str) -> Callable[[str, Body], bool]:
    return lambda kind, body: kind != "alarm.raised" or body.get("kind") in wanted


def _whole(_kind: str, body: Body) -> bool:
    """A pipeline and not one of its steps."""
    return body.get("kind") == "pipeline"


EVENTS: dict[str, Event] = {
    "drift": Event(kinds=("alarm.raised",), holds=_alarm("drift"), about="inputs of an endpoint have drifted"),
    "decay": Event(
        kinds=("alarm.raised",), holds=_alarm("quality", "risk"), about="labels prove that an endpoint got worse"
    ),
    "alarm": Event(kinds=("alarm.raised",), about="any alarm of an endpoint"),
    "lease-forecast": Event(
        kinds=("release.not-renewed", "alarm.raised"),
        holds=_alarm("labels"),
        about="a lease will run out: it was not renewed, or too few labels come to renew it",
    ),
    "labels": Event(
        kinds=("outcomes.recorded",), counts=True, about="so many labels of an endpoint came since it last fired"
    ),
    "caution": Event(kinds=("signal.caution",), about="a signal went to caution"),
    "stopped": Event(kinds=("release.stopped",), about="a release was stopped"),
    "released": Event(kinds=("release.granted",), about="a model was released"),
    "model": Event(kinds=("model.registered",), about="a version of a model was registered"),
    "refused": Event(kinds=("data.refused",), about="rows were refused by their contract"),
    "run-finished": Event(kinds=("run.finished",), holds=_whole, about="a pipeline finished"),
    "run-failed": Event(kinds=("run.failed", "run.interrupted"), holds=_whole, about="a pipeline failed"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listens:
    """What a trigger listens to.

    Attributes:
        count: How much must come together; 0 where nothing is counted.
    """

    kinds: tuple[str, ...]
    holds: Callable[[str, Body], bool]
    of: str = ""
    count: int = 0

    def hears(self, entry: Entry) -> bool:
        """Whether an entry is one of those."""
        return self.holds(entry.kind, entry.body) and (not self.of or self.of in names(entry))


def listens(on: OnEvent | OnData) -> Listens:
    """What a trigger listens to. Raises `Invalid` for a name that is none."""
    if isinstance(on, OnData):
        return Listens(kinds=DATA, holds=lambda _kind, _body: True, of=on.dataset)
    if is_event(on.event):
        if on.event.startswith(NEVER):
            raise Invalid(
                f"{on.event!r} is what triggers say themselves, and fires none of them",
                code="invalid-event",
                hint="name what happens before it",
            )
        return Listens(kinds=(on.event,), holds=lambda _kind, _body: True, of=on.of)
    found = _LISTENS.fullmatch(on.event)
    event = EVENTS.get(found[1]) if found else None
    if found is None or event is None:
        near = difflib.get_close_matches(on.event.partition(":")[0], EVENTS, n=1)
        raise Invalid(
            f"nothing is called {on.event[:60]!r} (expected {', '.join(EVENTS)}, or a kind of entries such as "
            "'release.stopped')",
            code="invalid-event",
            hint=f"did you mean {near[0]!r}?" if near else "docs/guide/triggers.md says what each of them is",
        )
    return Listens(kinds=event.kinds, holds=_kind_of_alarm(on.event, event), of=on.of, count=_count(on.event, event))


def _kind_of_alarm(text: str, event: Event) -> Callable[[str, Body], bool]:
    name, _, more = text.partition(":")
    if name != "alarm" or not more:
        return event.holds
    known = ("quality", "risk", "drift", "contract", "labels")
    if more not in known:
        raise Invalid(f"no alarm is called {more[:40]!r} (expected {', '.join(known)})", code="invalid-event")
    return _alarm(more)


def _count(text: str, event: Event) -> int:
    name, _, more = text.partition(":")
    if not event.counts:
        if more and name != "alarm":
            raise Invalid(f"{name!r} takes nothing behind a colon, got {more!r}", code="invalid-event")
        return 0
    if not more.isdecimal() or not 0 < int(more) <= MAX_COUNT:
        raise Invalid(f"{name!r} needs a number, got {text!r}", code="invalid-event", hint=f"such as {name}:500")
    return int(more)


def names(entry: Entry) -> set[str]:
    """What an entry is about, by each name that a person may use."""
    noun, _, rest = entry.subject.partition(":")
    found = (
        {rest, rest.partition("@")[0]} if noun in ("dataset", "contract", "endpoint", "model", "trigger") else set()
    )
    said = [entry.body[key] for key in ("endpoint", "name") if isinstance(entry.body.get(key), str)]
    # Runs of a backfill are called by their pipeline and their partition.
    return found | set(said) | {text.partition(" ")[0] for text in said}


def group(entry: Entry) -> str:
    """Under what an entry is counted: labels of two endpoints do not add up."""
    return entry.subject


def amount(entry: Entry) -> int:
    """How much an entry tells of."""
    count = entry.body.get("count")
    return count if isinstance(count, int) and not isinstance(count, bool) else 0


def said(entry: Entry) -> str:
    """An entry in a few words."""
    return f"{entry.kind} of {entry.subject} (entry {entry.sequence})"[:200]
