"""Which entries of the ledger are events, what is said of them, and how that is signed. As MLflow's webhooks (3.17)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from stellwerk.core.clock import format_instant
from stellwerk.core.errors import Invalid
from stellwerk.delivery.model import EVENTS, Answer, LastTold, Occurrence, Said
from stellwerk.delivery.ports import Models
from stellwerk.ledger.model import Entry

KINDS = ("model.created", "model.registered", "model.described", "model.alias-moved", "model.alias-removed")
"""Entries that somebody may want to be told of."""
TOLD = ("webhook.delivered", "webhook.given-up")
"""Entries that say how deliveries ended."""
PROMPT_TAG = "mlflow.prompt.is_prompt"
PROMPT_TEXT = "mlflow.prompt.text"
HIDDEN = (PROMPT_TAG, PROMPT_TEXT, "_mlflow_prompt_type")
"""Tags that say what a prompt is, and are not told as tags."""
MAX_URL, MAX_DESCRIPTION, MAX_SECRET = 2048, 1000, 1000
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")

ATTEMPTS = 12
"""Then a delivery is given up: half an hour after the first."""
LONGEST_WAIT = 900.0


def occurrences(entry: Entry, models: Models) -> Iterator[Occurrence]:
    """What happened, by one entry. How many there are, and in which order, follows from the entry alone.

    Entries do not hold what people say: values of tags and descriptions are told as they stand now.
    """
    for part, (event, data) in enumerate(_told(entry, models)):
        yield Occurrence(sequence=entry.sequence, part=part, event=event, at=entry.at, data=data)


def _told(entry: Entry, models: Models) -> Iterator[tuple[str, dict[str, Any]]]:
    body = entry.body
    name = str(body.get("name") or entry.subject.partition(":")[2])
    version = body.get("version")
    model = models.model(name) or Said()
    said = (models.version(name, version) if isinstance(version, int) else None) or Said()
    prompt = PROMPT_TAG in model.tags or PROMPT_TAG in said.tags or PROMPT_TAG in body.get("tags", ())
    match entry.kind:
        case "model.created":
            about = {"name": name, "tags": _shown(model, prompt=prompt), "description": model.description or None}
            yield ("prompt.created" if prompt else "registered_model.created"), about
        case "model.registered":
            yield _registered(name, str(version), body, said, prompt=prompt)
        case "model.described":
            yield from _tagged(name, body, model if version is None else said, prompt=prompt)
        case "model.alias-moved":
            moved = {"name": name, "alias": body["alias"], "version": str(version)}
            yield ("prompt_alias.created" if prompt else "model_version_alias.created"), moved
        case "model.alias-removed":
            gone = {"name": name, "alias": body["alias"]}
            yield ("prompt_alias.deleted" if prompt else "model_version_alias.deleted"), gone


def _registered(
    name: str, version: str, body: Mapping[str, Any], said: Said, *, prompt: bool
) -> tuple[str, dict[str, Any]]:
    told: dict[str, Any] = {"name": name, "version": version}
    about = {"tags": _shown(said, prompt=prompt), "description": said.description or None}
    if prompt:
        return "prompt_version.created", told | {"template": said.tags.get(PROMPT_TEXT, "")} | about
    source = said.source or str(body.get("source") or body.get("digest") or "")
    run = said.run_id or body.get("run") or None
    return "model_version.created", told | {"source": source, "run_id": run} | about


def _tagged(name: str, body: Mapping[str, Any], said: Said, *, prompt: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """MLflow tells of the tags of versions, and of those of prompts; of those of models it does not."""
    version = body.get("version")
    of = "prompt_tag" if version is None else "prompt_version_tag" if prompt else "model_version_tag"
    about = {"name": name} if version is None else {"name": name, "version": str(version)}
    for key in body.get("tags", ()):
        if version is None and not prompt:
            yield "", {}  # keeps the place of the others, whatever the model is by then
        elif key in said.tags:
            yield f"{of}.set", {**about, "key": key, "value": said.tags[key]}
        else:
            yield f"{of}.deleted", {**about, "key": key}


def _shown(said: Said, *, prompt: bool) -> dict[str, str]:
    return {key: value for key, value in said.tags.items() if not prompt or key not in HIDDEN}


_TAG = {"key": "example_key", "value": "example_value"}


def sample(event: str) -> dict[str, Any]:
    """What is told when somebody tries a webhook out."""
    entity, _, action = event.partition(".")
    about = {"name": "example_prompt" if entity.startswith("prompt") else "example_model"}
    described = {"tags": {"example_key": "example_value"}, "description": f"An example {entity.replace('_', ' ')}"}
    match entity:
        case "registered_model" | "prompt":
            return about | described
        case "model_version":
            return about | {"version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678"} | described
        case "prompt_version":
            return about | {"version": "1", "template": "Hello {{name}}!"} | described
        case "model_version_alias" | "prompt_alias":
            return about | {"alias": "example_alias"} | ({"version": "1"} if action == "created" else {})
        case _:
            of_version = {} if entity == "prompt_tag" else {"version": "1"}
            return about | of_version | (_TAG if action == "set" else {"key": "example_key"})


def payload(event: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """The body of a delivery: the same bytes at each attempt, as far as the registry stands as it did."""
    entity, _, action = event.partition(".")
    told = {"entity": entity, "action": action, "timestamp": format_instant(at), "data": data}
    return json.dumps(told, sort_keys=False).encode()


def headers(delivery: str, now: datetime, body: bytes, secret: str) -> dict[str, str]:
    """What a receiver needs to know a delivery again, and to know that it is from us."""
    said = {
        "Content-Type": "application/json",
        "User-Agent": "stellwerk-webhooks",
        "X-MLflow-Delivery-Id": delivery,
        "X-MLflow-Timestamp": str(int(now.timestamp())),
    }
    if secret:
        said["X-MLflow-Signature"] = signature(secret, delivery, said["X-MLflow-Timestamp"], body)
    return said


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """`v1,` and base64 of HMAC-SHA-256 over `id.timestamp.body` (the form of Standard Webhooks)."""
    made = hmac.new(secret.encode(), f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(made).decode()


def accepted(answer: Answer) -> bool:
    """Whether a receiver has it."""
    return 200 <= answer.status < 300


def last_told(entry: Entry) -> LastTold:
    """How a delivery ended, by its entry."""
    body = entry.body
    return LastTold(
        event=str(body.get("event", "")),
        at=entry.at,
        accepted=entry.kind == TOLD[0],
        attempts=int(body.get("attempts", 1)),
        said=str(body.get("status") or body.get("problem") or ""),
    )


def worth_another(answer: Answer) -> bool:
    """Whether the same may be accepted later."""
    return answer.status == 429 or answer.status >= 500


def wait(attempts: int, asked: float = 0.0) -> float:
    """Seconds until the next attempt, after some."""
    return min(max(2.0 ** (attempts - 1), asked), LONGEST_WAIT)


def check_name(name: str) -> None:
    """Raises `Invalid` for a name that MLflow would refuse."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"Webhook name {name[:80]!r} is invalid. It must start and end with a letter or digit, be less than 63 "
            "characters long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-).",
            code="invalid-name",
        )


def check_events(events: Sequence[str]) -> tuple[str, ...]:
    """Each event once. Raises `Invalid` for none, and for one that never happens."""
    if not events:
        raise Invalid("Webhook events must be a non-empty list of WebhookEvent objects", code="invalid-event")
    for event in events:
        if event not in EVENTS:
            entity, _, action = event.partition(".")
            valid = sorted(known.partition(".")[2] for known in EVENTS if known.partition(".")[0] == entity)
            raise Invalid(
                f"Invalid action '{action[:40]}' for entity '{entity[:40]}'. Valid actions are: {valid}",
                code="invalid-event",
            )
    return tuple(dict.fromkeys(events))


def check_url(url: str) -> str:
    """The host of a URL. Raises `Invalid` for what is none, before anybody is asked where it leads, not repeating it."""
    if not url.strip():
        raise Invalid("Webhook URL cannot be empty or just whitespace", code="invalid-url")
    if len(url) > MAX_URL:
        raise Invalid(f"'url' exceeds the maximum length of {MAX_URL} characters", code="too-long")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise Invalid("Invalid webhook URL: it cannot be read", code="invalid-url") from None
    if parts.scheme not in ("http", "https"):
        raise Invalid(
            f"Invalid webhook URL scheme: {parts.scheme[:20]!r}. Allowed schemes are: 'https'.", code="invalid-url"
        )
    return parts.hostname or ""


def check_words(*, description: str, secret: str) -> None:
    """Raises `Invalid` for what is too long, and for a secret that cannot be a key."""
    if len(description) > MAX_DESCRIPTION:
        raise Invalid(f"'description' exceeds the maximum length of {MAX_DESCRIPTION} characters", code="too-long")
    try:
        size = len(secret.encode())
    except UnicodeEncodeError:
        raise Invalid("'secret' contains a lone surrogate", code="invalid-text") from None
    if size > MAX_SECRET:
        raise Invalid(f"'secret' exceeds the maximum length of {MAX_SECRET} bytes", code="too-long")
