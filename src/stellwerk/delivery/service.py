"""Webhooks of a workspace: making, changing and trying them out. Telling them what happened is in `courier`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Invalid, NotFound, StellwerkError
from stellwerk.delivery import rules
from stellwerk.delivery.model import Trial, Tried, Webhook, WebhookLine
from stellwerk.delivery.ports import Sender
from stellwerk.delivery.shelves import WEBHOOKS
from stellwerk.evidence import sealed_secrets
from stellwerk.evidence.ports import Sealer
from stellwerk.ledger.ports import Book, Reader
from stellwerk.ledger.shelf import evolve

SHOWN = 256
"""Bytes of an answer that somebody who tries a webhook out sees."""


class Webhooks:
    """Webhooks of one workspace and actor. What is told begins with the entry that made one, or made it active."""

    def __init__(self, book: Book, clock: Clock, sender: Sender, sealer: Sealer) -> None:
        self._book, self._clock, self._sender, self._sealer = book, clock, sender, sealer

    def create(
        self,
        name: str,
        url: str,
        events: Sequence[str],
        *,
        description: str = "",
        secret: str = "",
        active: bool = True,
    ) -> Webhook:
        """Make a webhook.

        Raises:
            Invalid: For a name, an event or a URL that can be none.
            Refused: For a URL that leads into our own network, or is not encrypted.
        """
        rules.check_name(name)
        rules.check_words(description=description, secret=secret)
        wanted, host = rules.check_events(events), self._host(url)
        now = self._clock.now()
        identity = str(uuid.uuid4())
        made = Webhook(
            id=identity,
            name=name,
            url=url,
            events=wanted,
            description=description,
            active=active,
            sealed=self._seal(identity, secret),
            created_at=now,
            changed_at=now,
        )
        with self._book.write() as tx:
            told = {"name": name, "host": host, "events": list(wanted), "signed": bool(secret), "active": active}
            entry = tx.record("webhook.created", f"webhook:{identity}", told)
            made = evolve(made, next=entry.sequence + 1)
            WEBHOOKS.insert(tx, made)
        return made

    def get(self, webhook: str) -> Webhook:
        """One webhook. Raises `NotFound`."""
        with self._book.read() as reader:
            return find(reader, webhook)

    def named(self, webhook: str) -> Webhook:
        """The webhook of an id, or of a name that only one has. Raises `NotFound`, and `Invalid` for a shared name."""
        with self._book.read() as reader:
            found = WEBHOOKS.find(reader, webhook)
            meant = [found] if found else [one for one in WEBHOOKS.select(reader) if one.name == webhook]
        if not meant:
            raise NotFound(f"no webhook {webhook[:80]!r}", code="unknown-webhook", hint="`stellwerk webhooks list`")
        if len(meant) > 1:
            raise Invalid(
                f"{len(meant)} webhooks are called {webhook[:80]!r}",
                code="ambiguous-webhook",
                hint="name it by its id: " + ", ".join(one.id for one in meant[:3]),
            )
        return meant[0]

    def line(self, hook: Webhook) -> WebhookLine:
        """A webhook as it may be shown, with how the newest delivery ended."""
        # What was told is noted behind the entry that was told of, up to which the webhook stands.
        told = self._book.entries(kinds=rules.TOLD, subject=f"webhook:{hook.id}", start=hook.next)
        return WebhookLine(
            id=hook.id,
            name=hook.name,
            host=rules.check_url(hook.url),
            events=hook.events,
            description=hook.description,
            active=hook.active,
            signed=bool(hook.sealed),
            created_at=hook.created_at,
            last=rules.last_told(told[-1]) if told else None,
        )

    def tried(self, hook: Webhook, event: str = "") -> Tried:
        """Send a sample now, and say what became of it."""
        found = self.test(hook.id, event)
        answer = found.answer
        return Tried(
            name=hook.name,
            event=event or hook.events[0],
            accepted=answer is not None and rules.accepted(answer),
            status=None if answer is None else answer.status,
            text="" if answer is None else answer.text,
            problem=found.problem,
        )

    def all(self, *, limit: int | None = None, offset: int = 0) -> list[Webhook]:
        """Webhooks in the order in which they were made."""
        with self._book.read() as reader:
            return WEBHOOKS.select(reader, order="created_at", limit=limit, offset=offset)

    def update(
        self,
        webhook: str,
        *,
        name: str | None = None,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        secret: str | None = None,
        active: bool | None = None,
    ) -> Webhook:
        """Change what is said, and leave the rest. An empty secret takes the signatures away."""
        if name is not None:
            rules.check_name(name)
        rules.check_words(description=description or "", secret=secret or "")
        said: dict[str, Any] = {"name": name, "url": url, "description": description, "active": active}
        said["events"] = None if events is None else rules.check_events(events)
        changes = {key: value for key, value in said.items() if value is not None}
        host = {} if url is None else {"host": self._host(url)}
        if secret is not None:
            changes["sealed"] = self._seal(webhook, secret)
        with self._book.write() as tx:
            known = find(tx, webhook)
            changes = {key: value for key, value in changes.items() if getattr(known, key) != value}
            if not changes:
                return known
            told = {"changed": sorted("secret" if key == "sealed" else key for key in changes), **host}
            entry = tx.record("webhook.changed", f"webhook:{webhook}", told)
            if changes.get("active"):  # what happened while nobody wanted to know is not told later
                changes |= {"next": entry.sequence + 1, "part": 0}
            changed = evolve(known, **changes, changed_at=self._clock.now())
            WEBHOOKS.put(tx, changed)
        return changed

    def delete(self, webhook: str) -> None:
        """Take a webhook away, and its secret with it. Raises `NotFound`."""
        with self._book.write() as tx:
            known = find(tx, webhook)
            WEBHOOKS.remove(tx, webhook)
            tx.record("webhook.deleted", f"webhook:{webhook}", {"name": known.name})

    def test(self, webhook: str, event: str = "") -> Trial:
        """Send a sample now, of one event or of the first that it is for. Only that the webhook is unknown raises."""
        hook = self.get(webhook)
        (event,) = rules.check_events([event or hook.events[0]])
        now = self._clock.now()
        body = rules.payload(event, now, rules.sample(event))
        try:
            headers = rules.headers(str(uuid.uuid4()), now, body, self.secret(hook))
            return Trial(answer=self._sender.send(hook.url, body, headers, most=SHOWN))
        except StellwerkError as problem:
            return Trial(problem=f"{problem.message} ({problem.code})")

    def secret(self, hook: Webhook) -> str:
        """The key of its signatures; empty where it has none. Only for signing: it is shown to nobody."""
        return sealed_secrets.opened(self._sealer, hook.sealed, kind="webhook", of=hook.id)

    def _seal(self, webhook: str, secret: str) -> str:
        return sealed_secrets.seal(self._sealer, secret, kind="webhook", of=webhook)

    def _host(self, url: str) -> str:
        host = rules.check_url(url)
        self._sender.check(url)
        return host


def find(reader: Reader, webhook: str) -> Webhook:
    """The webhook of an id. Raises `NotFound`."""
    found = WEBHOOKS.find(reader, webhook)
    if found is None:
        raise NotFound(f"Webhook with ID {webhook[:100]} not found.")
    return found
