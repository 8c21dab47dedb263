"""Webhooks, and what is delivered to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

EVENTS = (
    "registered_model.created",
    "model_version.created",
    "model_version_tag.set",
    "model_version_tag.deleted",
    "model_version_alias.created",
    "model_version_alias.deleted",
    "prompt.created",
    "prompt_version.created",
    "prompt_tag.set",
    "prompt_tag.deleted",
    "prompt_version_tag.set",
    "prompt_version_tag.deleted",
    "prompt_alias.created",
    "prompt_alias.deleted",
)
"""What can be asked for: an entity and what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Somebody elsewhere who wants to be told.

    Attributes:
        url: Where; often a secret itself, which is why the ledger only holds its host.
        sealed: The key of its signatures, encrypted under the workspace's key; empty where it wants none.
        next: The first entry of the ledger that it was not told of.
        part: How many events of that entry it was told of.
    """

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    changed_at: datetime
    description: str = ""
    active: bool = True
    sealed: str = field(default="", repr=False)
    next: int = 0
    part: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One event, as an entry of the ledger tells it. Its place is its number: whoever sees one twice has seen it."""

    sequence: int
    part: int
    event: str
    at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is said of a model or of a version at the moment."""

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    run_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver said.

    Attributes:
        status: Of HTTP.
        text: How its answer begins.
        wait: Seconds that it asks us to wait.
    """

    status: int
    text: str = ""
    wait: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What became of a sample: an answer, or why there was none."""

    answer: Answer | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastTold:
    """How the newest delivery to a webhook ended."""

    event: str
    at: datetime
    accepted: bool
    attempts: int
    said: str
    """The status of HTTP, or why there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookLine:
    """A webhook as it may be shown: without its secret, and of its URL only the host."""

    id: str
    name: str
    host: str
    events: tuple[str, ...]
    description: str
    active: bool
    signed: bool
    created_at: datetime
    last: LastTold | None
    """None where nothing was told yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of a sample, in words that may be shown."""

    name: str
    event: str
    accepted: bool
    status: int | None
    text: str
    """How the answer begins."""
    problem: str
    """Why there was no answer."""
