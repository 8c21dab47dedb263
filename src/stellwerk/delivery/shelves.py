"""Where webhooks are kept."""

from __future__ import annotations

from stellwerk.delivery.model import Webhook
from stellwerk.ledger.shelf import Shelf

WEBHOOKS = Shelf("webhooks", Webhook, key=("id",), index=("created_at",))
