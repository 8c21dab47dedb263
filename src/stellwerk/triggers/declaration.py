"""Triggers as `stellwerk.toml` declares them: tables `[trigger.NAME]`. Unknown keys are refused."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.clock import parse_duration
from stellwerk.core.errors import Invalid
from stellwerk.triggers.model import Limits, OnData, OnEvent, OnTime, OnWebhook, Source
from stellwerk.triggers.rules import catch_up

INTERVAL = 60
"""Seconds between two firings, where nobody said how many, of what others send or do."""
WAYS = {"cron": ("zone", "catch_up", "jitter"), "on_data": ("unchecked",), "on_event": ("of",), "on_webhook": ()}
"""What fires a trigger, and the keys that belong to it."""
ALWAYS = ("pipeline", "params", "interval", "queue", "depth", "each")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One trigger of a project file."""

    name: str
    pipeline: str
    on: Source
    params: dict[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


def parse(tables: Mapping[str, Any]) -> tuple[Declared, ...]:
    """The triggers of a project file, by name. Raises `Invalid` for a table that declares none."""
    return tuple(_trigger(name, tables[name]) for name in sorted(tables))


def usual_interval(on: Source) -> int:
    """Seconds between two firings where nobody said how many: clocks keep their own."""
    return 0 if isinstance(on, OnTime) else INTERVAL


def _trigger(name: str, table: Any) -> Declared:
    where = f"[trigger.{name}]"
    if not isinstance(table, Mapping):
        raise _wrong(where, "must be a table")
    ways = [way for way in WAYS if way in table]
    _known(where, table, (*ALWAYS, *WAYS, *(key for keys in WAYS.values() for key in keys)))
    if len(ways) != 1:
        raise _wrong(where, f"says {' and '.join(ways) or 'nothing'} (expected exactly one of {', '.join(WAYS)})")
    _known(where, table, (*ALWAYS, ways[0], *WAYS[ways[0]]))
    on = _source(where, ways[0], table)
    interval = _seconds(where, table, "interval", usual_interval(on))
    return Declared(
        name=name,
        pipeline=_text(where, table, "pipeline"),
        on=on,
        params=_params(where, table.get("params", {})),
        limits=Limits(
            interval=interval,
            queue=_number(where, table, "queue", 10),
            depth=_number(where, table, "depth", 3),
            each=_flag(where, table, "each"),
        ),
    )


def _known(where: str, table: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for key in table:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean {near[0]!r}?" if near else ""
            raise _wrong(where, f"has the unknown key {key!r} (known: {', '.join(dict.fromkeys(allowed))})", hint)


def _source(where: str, way: str, table: Mapping[str, Any]) -> Source:
    said = _text(where, table, way)
    if way == "cron":
        return OnTime(
            cron=said,
            zone=_text(where, table, "zone", "UTC"),
            catch_up=catch_up(_text(where, table, "catch_up", "last")),
            jitter=_seconds(where, table, "jitter", 0),
        )
    if way == "on_data":
        return OnData(dataset=said, unchecked=_flag(where, table, "unchecked"))
    if way == "on_event":
        return OnEvent(event=said, of=_text(where, table, "of", ""))
    if said not in ("standard", "github"):
        raise _wrong(where, f"on_webhook is {said[:40]!r} (expected standard or github)")
    return OnWebhook(style=said)  # type: ignore[arg-type]


def _params(where: str, table: Any) -> dict[str, str]:
    """Parameters as they would be typed."""
    if not isinstance(table, Mapping):
        raise _wrong(where, "params must be a table")
    try:
        return {key: text if isinstance(text, str) else json.dumps(text) for key, text in table.items()}
    except TypeError as cause:
        raise _wrong(where, "params hold what has no form on a command line: write it as text") from cause


def _text(where: str, table: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise _wrong(where, f"{key} must be text, got {value!r}"[:200])
    return value


def _flag(where: str, table: Mapping[str, Any], key: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise _wrong(where, f"{key} must be true or false, got {value!r}"[:200])
    return value


def _number(where: str, table: Mapping[str, Any], key: str, default: int) -> int:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(where, f"{key} must be a whole number, got {value!r}"[:200])
    return value


def _seconds(where: str, table: Mapping[str, Any], key: str, default: int) -> int:
    return int(parse_duration(_text(where, table, key, f"{default}s")).total_seconds())


def _wrong(where: str, what: str, hint: str = "") -> Invalid:
    return Invalid(f"{where} {what}", code="invalid-project", hint=hint or "docs/guide/settings.md lists its keys")
