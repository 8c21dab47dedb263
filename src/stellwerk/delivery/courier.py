"""Telling webhooks what happened: the ledger is followed from where each one was last told, one event after the other.

An event is told at least once, in the order of the ledger, and again with the same number if it may not have arrived.
What was told, and what was given up, is in the ledger itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Invalid, Refused, StellwerkError
from stellwerk.delivery import rules
from stellwerk.delivery.model import Occurrence, Webhook
from stellwerk.delivery.ports import Models, Sender
from stellwerk.delivery.service import Webhooks
from stellwerk.delivery.shelves import WEBHOOKS
from stellwerk.ledger.ports import Book
from stellwerk.ledger.shelf import evolve

LOGGER = logging.getLogger("stellwerk.delivery")
AT_ONCE = 100
"""Entries that are looked at in one go, and events that one webhook is told in a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """An event that did not get through yet."""

    place: tuple[int, int]
    attempts: int
    again: datetime


class Courier:
    """Delivers for one workspace. Two at once tell some events twice, and harm nothing."""

    def __init__(self, book: Book, clock: Clock, webhooks: Webhooks, sender: Sender, models: Models) -> None:
        self._book, self._clock, self._webhooks = book, clock, webhooks
        self._sender, self._models = sender, models
        self._trouble: dict[str, _Trouble] = {}
        self._looked: dict[str, tuple[int, int]] = {}
        """Per webhook: where it stood, and up to where nothing was for it."""

    def due(self) -> list[str]:
        """The webhooks that want to be told, and are not to be left alone for now."""
        now = self._clock.now()
        active = [hook.id for hook in self._webhooks.all() if hook.active]
        for forgotten in (self._trouble.keys() | self._looked.keys()) - set(active):
            self._trouble.pop(forgotten, None)
            self._looked.pop(forgotten, None)
        return [one for one in active if one not in self._trouble or self._trouble[one].again <= now]

    def round(self) -> int:
        """Tell every webhook what it was not told yet, and say how many events that were."""
        return sum(self.serve(one) for one in self.due())

    def serve(self, webhook: str) -> int:
        """Tell one webhook what it was not told yet, until it has trouble; how many events it accepted."""
        for count in range(AT_ONCE):
            with self._book.read() as reader:
                hook = WEBHOOKS.find(reader, webhook)
            happened = self._next(hook) if hook is not None and hook.active else None
            if hook is None or happened is None or not self._tell(hook, happened):
                return count
        return AT_ONCE

    def _next(self, hook: Webhook) -> Occurrence | None:
        stood, looked = self._looked.get(hook.id, (hook.next, hook.next))
        start = looked if stood == hook.next and looked > hook.next else hook.next
        while True:
            entries = self._book.entries(kinds=rules.KINDS, start=start, limit=AT_ONCE)
            for entry in entries:
                for one in rules.occurrences(entry, self._models):
                    if one.event in hook.events and (one.sequence, one.part) >= (hook.next, hook.part):
                        return one
            if entries:
                start = entries[-1].sequence + 1
                self._looked[hook.id] = (hook.next, start)
            if len(entries) < AT_ONCE:
                return None

    def _tell(self, hook: Webhook, one: Occurrence) -> bool:
        """Make one attempt, and note what came of it. Whether it was accepted."""
        place = (one.sequence, one.part)
        before = self._trouble.get(hook.id)
        attempts = 1 + (before.attempts if before is not None and before.place == place else 0)
        told: dict[str, Any] = {"delivery": f"{hook.id}-{one.sequence}-{one.part}", "event": one.event}
        asked, lasting = 0.0, False
        try:
            body = rules.payload(one.event, one.at, one.data)
            headers = rules.headers(told["delivery"], self._clock.now(), body, self._webhooks.secret(hook))
            answer = self._sender.send(hook.url, body, headers)
            told["status"] = answer.status
            if rules.accepted(answer):
                self._note(hook, one, "webhook.delivered", told | {"attempts": attempts})
                return True
            asked, lasting = answer.wait, not rules.worth_another(answer)
        except StellwerkError as problem:
            told["problem"] = problem.code
            # A certificate that ran out is renewed; an address that is not ours to ask stays so.
            lasting = isinstance(problem, (Invalid, Refused)) and problem.code != "untrusted-server"
        if lasting or attempts >= rules.ATTEMPTS:
            self._note(hook, one, "webhook.given-up", told | {"attempts": attempts})
        else:
            again = self._clock.now() + timedelta(seconds=rules.wait(attempts, asked))
            self._trouble[hook.id] = _Trouble(place=place, attempts=attempts, again=again)
        LOGGER.warning("webhook %s: %s did not get through (attempt %d)", hook.name, one.event, attempts)
        return False

    def _note(self, hook: Webhook, one: Occurrence, kind: str, told: Mapping[str, Any]) -> None:
        """Move on behind an event, and say in the ledger how it ended."""
        with self._book.write() as tx:
            known = WEBHOOKS.find(tx, hook.id)
            if known is not None and (known.next, known.part) <= (one.sequence, one.part):
                WEBHOOKS.put(tx, evolve(known, next=one.sequence, part=one.part + 1))
                tx.record(kind, f"webhook:{hook.id}", told)
        self._trouble.pop(hook.id, None)
