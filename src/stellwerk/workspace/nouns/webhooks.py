"""Webhooks of a workspace: who elsewhere is told what happens to models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stellwerk.workspace import operations as ops
from stellwerk.workspace.nouns.asking import call

if TYPE_CHECKING:
    from stellwerk.delivery.model import Tried, WebhookLine
    from stellwerk.workspace.ports import Caller


class Webhooks:
    """`workspace.webhooks`: addresses elsewhere that are told."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> tuple[WebhookLine, ...]:
        """All webhooks, the oldest first; secrets are shown to nobody."""
        return call(self._caller, ops.list_webhooks)

    def add(
        self, name: str, url: str, events: Iterable[str], *, description: str = "", secret: str = ""
    ) -> WebhookLine:
        """Tell a URL of some events, such as `model_version.created`; with a secret, deliveries are signed."""
        asked = {"name": name, "url": url, "events": tuple(events), "description": description, "secret": secret}
        return call(self._caller, ops.add_webhook, **asked)

    def test(self, webhook: str, event: str = "") -> Tried:
        """Send a sample now, and say what the receiver said."""
        return call(self._caller, ops.try_webhook, webhook=webhook, event=event)

    def remove(self, webhook: str) -> WebhookLine:
        """Take a webhook away, by its id or name."""
        return call(self._caller, ops.remove_webhook, webhook=webhook)
