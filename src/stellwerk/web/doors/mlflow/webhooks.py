"""Calls about webhooks (webhooks.proto). Secrets are taken and never given."""

from __future__ import annotations

from stellwerk.core.errors import Invalid
from stellwerk.delivery import rules
from stellwerk.delivery.model import Webhook
from stellwerk.web.doors.mlflow import messages, wire
from stellwerk.web.doors.mlflow.calls import Calls
from stellwerk.web.doors.mlflow.shapes import millis
from stellwerk.web.doors.mlflow.wire import INTEGER, SOME_TEXT, TEXT, Ask, Field
from stellwerk.workspace.rooms import Rooms

CALLS = Calls("/2.0/mlflow")
USUAL, MOST = 100, 1000
ENTITIES = {
    1: "REGISTERED_MODEL",
    2: "MODEL_VERSION",
    3: "MODEL_VERSION_TAG",
    4: "MODEL_VERSION_ALIAS",
    5: "PROMPT",
    6: "PROMPT_VERSION",
    7: "PROMPT_TAG",
    8: "PROMPT_VERSION_TAG",
    9: "PROMPT_ALIAS",
}
ACTIONS = {1: "CREATED", 2: "UPDATED", 3: "DELETED", 4: "SET"}
EVENT = {"entity": Field(names=ENTITIES, must=True), "action": Field(names=ACTIONS, must=True)}
STATUS = Field(names={1: "ACTIVE", 2: "DISABLED"})


@CALLS.add(
    "POST", "webhooks", "workspace:admin",
    name=SOME_TEXT, url=SOME_TEXT, events=Field(kind="row", many=True, must=True, inner=EVENT),
    description=TEXT, secret=TEXT, status=STATUS,
)  # fmt: skip
def create(rooms: Rooms, ask: Ask) -> messages.OneWebhook:
    """Make a webhook."""
    made = rooms.webhooks.create(
        ask.text("name"),
        ask.text("url"),
        [_event(one) for one in ask.rows("events")],
        description=ask.text("description"),
        secret=ask.text("secret"),
        active=ask.text("status") != "DISABLED",
    )
    return {"webhook": webhook(made)}


@CALLS.add("GET", "webhooks", "workspace:admin", max_results=INTEGER, page_token=TEXT)
def listed(rooms: Rooms, ask: Ask) -> messages.Webhooks:
    """All webhooks, a page at a time."""
    limit, offset = ask.integer("max_results") or USUAL, wire.offset_of(ask.text("page_token"))
    if not 0 < limit <= MOST:
        raise Invalid(f"max_results must be between 1 and {MOST}, but got {limit}", code="invalid-number")
    shown, token = wire.page(rooms.webhooks.all(limit=limit + 1, offset=offset), limit, offset)
    return {"webhooks": [webhook(one) for one in shown], **token}


@CALLS.add("GET", "webhooks/{webhook_id}", "workspace:admin")
def get(rooms: Rooms, ask: Ask) -> messages.OneWebhook:
    """One webhook."""
    return {"webhook": webhook(rooms.webhooks.get(ask.path["webhook_id"]))}


@CALLS.add(
    "PATCH", "webhooks/{webhook_id}", "workspace:admin",
    name=TEXT, url=TEXT, events=Field(kind="row", many=True, inner=EVENT), description=TEXT, secret=TEXT, status=STATUS,
)  # fmt: skip
def update(rooms: Rooms, ask: Ask) -> messages.OneWebhook:
    """Change what was sent, and leave the rest."""
    changed = rooms.webhooks.update(
        ask.path["webhook_id"],
        name=ask.text("name") or None,
        url=ask.text("url") or None,
        events=[_event(one) for one in ask.rows("events")] or None,
        description=ask.maybe("description"),
        secret=ask.maybe("secret"),
        active=ask.text("status") == "ACTIVE" if "status" in ask else None,
    )
    return {"webhook": webhook(changed)}


@CALLS.add("DELETE", "webhooks/{webhook_id}", "workspace:admin")
def delete(rooms: Rooms, ask: Ask) -> None:
    """Take a webhook away."""
    rooms.webhooks.delete(ask.path["webhook_id"])


@CALLS.add("POST", "webhooks/{webhook_id}/test", "workspace:admin", event=Field(kind="row", inner=EVENT))
def test(rooms: Rooms, ask: Ask) -> messages.WebhookTest:
    """Send a sample now, and say what the receiver said."""
    tried = rooms.webhooks.test(ask.path["webhook_id"], _event(ask.row("event")) if "event" in ask else "")
    if tried.answer is None:
        return {"result": {"success": False, "error_message": f"Failed to test webhook: {tried.problem}"}}
    status, said = tried.answer.status, tried.answer.text
    success = rules.accepted(tried.answer)
    return {"result": {"success": success, "response_status": status, "response_body": said}}


def webhook(one: Webhook) -> messages.Webhook:
    """`Webhook`."""
    parts = [event.partition(".") for event in one.events]
    shown: messages.Webhook = {
        "webhook_id": one.id,
        "name": one.name,
        "url": one.url,
        "events": [{"entity": entity.upper(), "action": action.upper()} for entity, _, action in parts],
        "status": "ACTIVE" if one.active else "DISABLED",
        "creation_timestamp": millis(one.created_at),
        "last_updated_timestamp": millis(one.changed_at),
    }
    if one.description:
        shown["description"] = one.description
    return shown


def _event(ask: Ask) -> str:
    return f"{ask.text('entity')}.{ask.text('action')}".lower()
