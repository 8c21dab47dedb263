"""Where triggers, their firings, and what arrived for them are kept."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.triggers.model import Arrival, Firing, Trigger

TRIGGERS = Shelf("triggers", Trigger, key=("name",), index=("id",))
FIRINGS = Shelf("trigger_firings", Firing, key=("id",), index=("trigger", "status", "due_at", "started_at"))
ARRIVALS = Shelf("trigger_arrivals", Arrival, key=("trigger", "delivery"), index=("at",))
