"""Webhooks: who elsewhere is told what happens to models. Secrets are taken and never given."""

from __future__ import annotations

from stellwerk.delivery.model import Tried, WebhookLine
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms


@operation("webhooks.list", "workspace:admin")
def list_webhooks(rooms: Rooms) -> tuple[WebhookLine, ...]:
    """All webhooks, the oldest first, without their secrets and paths, and how the newest delivery ended."""
    return tuple(map(rooms.webhooks.line, rooms.webhooks.all()))


@operation("webhooks.add", "workspace:admin", changes=True)
def add_webhook(
    rooms: Rooms, name: str, url: str, events: tuple[str, ...], description: str = "", secret: str = ""
) -> WebhookLine:
    """Make a webhook. Where it has a secret, deliveries are signed by it; it is kept sealed and shown to nobody."""
    made = rooms.webhooks.create(name, url, events, description=description, secret=secret)
    return rooms.webhooks.line(made)


@operation("webhooks.test", "workspace:admin")
def try_webhook(rooms: Rooms, webhook: str, event: str = "") -> Tried:
    """Send a sample now to a webhook, by its id or name, and say what the receiver said."""
    return rooms.webhooks.tried(rooms.webhooks.named(webhook), event)


@operation("webhooks.remove", "workspace:admin", changes=True)
def remove_webhook(rooms: Rooms, webhook: str) -> WebhookLine:
    """Take a webhook away, by its id or name, and its secret with it."""
    found = rooms.webhooks.named(webhook)
    line = rooms.webhooks.line(found)
    rooms.webhooks.delete(found.id)
    return line
