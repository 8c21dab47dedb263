"""What the records of a log say of a run, taken together: its numbers, what is no number, and how it ended."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stellwerk.tracking import rules
from stellwerk.tracking.model import SYSTEM, Point
from stellwerk.workspace.wandb.records import Message, milliseconds, place_of, value_of

SEPARATOR = "."
MOST_POINTS = 10_000_000
"""Of one run. They are in memory together, with about half a kilobyte each until they are sealed."""
DEEPEST = 64
"""Dictionaries in dictionaries; what lies deeper is kept as it is, and no number."""
_OWN = ("_step", "_timestamp", "_runtime", "_wandb")
Leaf = tuple[str, Any]


class State:
    """What config or summary hold after some changes: texts of JSON by their places, read only at the end."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, ...], str | None] = {}

    def change(self, said: Message) -> None:
        """Take over what is new, and leave away what was removed."""
        for item in said.get("update", ()):
            self._last(place_of(item), item.get("json", ""))
        for item in said.get("remove", ()):
            self._last(place_of(item), None)

    def _last(self, place: tuple[str, ...], text: str | None) -> None:
        if place[0] not in _OWN:
            self._texts.pop(place, None)  # what is said last is put last, and covers what was said before it
            self._texts[place] = text

    def read(self) -> tuple[dict[str, Any], int]:
        """As dictionaries in dictionaries, and how many values cannot be read."""
        tree: dict[str, Any] = {}
        unread = 0
        for place, text in self._texts.items():
            try:
                if text is None:
                    _remove(tree, place)
                else:
                    _put(tree, place, value_of(text))
            except ValueError:
                unread += 1
        return tree, unread


@dataclass(slots=True)
class Told:
    """A run by the records that were taken so far, of one log or several.

    Attributes:
        run: Who it is; what was said last counts.
        values: How many values of its history are no numbers.
        values_size, output_size: Bytes of them, and of what it printed.
        begun: When what wrote the log that is read began, in milliseconds since 1970.
        last: When something was last said, in milliseconds since 1970.
        ended: Its exit code, once it has one.
        unread: What of the records is no JSON.
        left: What is not taken over, by its kind.
        cut: Points beyond `MOST_POINTS`.
        changes: Of config and summary, which hold what came of them once `settle` was called.
    """

    run: Message = field(default_factory=dict)
    environment: Message = field(default_factory=dict)
    changes: dict[str, State] = field(default_factory=lambda: {"config": State(), "summary": State()})
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    artifacts: list[Message] = field(default_factory=list)
    used: list[Message] = field(default_factory=list)
    metrics: list[Message] = field(default_factory=list)
    values: int = 0
    values_size: int = 0
    output_size: int = 0
    start: int = 0
    begun: int = 0
    last: int = 0
    step: int = 0
    ended: int | None = None
    system: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    cut: int = 0


def take(told: Told, record: Message) -> None:
    """Add what a record says."""
    for kind, said in record.items():
        match kind:
            case "history":
                _history(told, said)
            case "summary" | "config":
                told.changes[kind].change(said)
            case "stats":
                _stats(told, said)
            case "run":
                _run(told, said)
            case "exit":
                told.ended = None if said.get("not_complete") else said.get("code", 0)
            case "environment":
                told.environment |= said
            case "telemetry":
                told.run |= said
            case "artifact":
                told.artifacts.append(said)
            case "used":
                told.used.append(said)
            case "metric":
                told.metrics.append(said)
            case "output":
                told.output_size += len(said.get("line", "").encode())
            case _:
                told.left["links to TensorBoard" if kind == "tensorboard" else f"{kind}s"] += 1


def settle(told: Told) -> None:
    """Read what came of all changes, after the last record."""
    for name, state in told.changes.items():
        tree, unread = state.read()
        setattr(told, name, tree)
        told.unread[name] += unread


def _run(told: Told, said: Message) -> None:
    for name in ("config", "summary"):
        told.changes[name].change(said.pop(name, {}))
    if "start" in said:
        at = milliseconds(said.pop("start"))
        told.start, told.begun = min(told.start or at, at), at
        told.last = max(told.last, at)
    told.run |= {**said.pop("telemetry", {}), **said}


def _history(told: Told, said: Message) -> None:
    row = Row(said, told.begun)
    told.step, told.last = max(told.step, row.step), max(told.last, row.at)
    found = [Point(key, value, row.at, row.step) for key, value in row.numbers()]
    if len(told.points) + len(found) > MOST_POINTS:
        told.cut += len(found)
    else:
        told.points += found
    told.unread["history"] += row.unread
    line, count = row.line()
    told.values += count
    told.values_size += len(line)


def _stats(told: Told, said: Message) -> None:
    at = milliseconds(said.get("at", {}))
    told.last = max(told.last, at)
    for item in said.get("item", ()):
        try:
            found = number(value_of(item.get("json", "")))
        except ValueError:
            told.unread["stats"] += 1
            continue
        # Older clients set a backslash before a dot that is part of a name.
        key = SYSTEM + item.get("key", "").replace("\\", "")
        if found is not None:
            told.points.append(Point(key, found, at, told.system))
    told.system += 1


class Row:
    """What was logged in one step.

    Args:
        start: When the run began, for clients that say no time.
    """

    def __init__(self, said: Message, start: int) -> None:
        self.unread = 0
        tree: dict[str, Any] = {}
        for item in said.get("item", ()):
            try:
                _put(tree, place_of(item), value_of(item.get("json", "")))
            except ValueError:
                self.unread += 1
        step = number(tree.get("_step"))
        counted = said.get("step", {}).get("num", 0)
        self.step = int(step) if step is not None and math.isfinite(step) else counted
        self.at = _time(tree, start)
        self._leaves = list(leaves({key: value for key, value in tree.items() if key not in _OWN}))

    def numbers(self) -> Iterator[tuple[str, float]]:
        """What can be drawn as a curve."""
        for key, value in self._leaves:
            found = number(value)
            if found is not None:
                yield key, found

    def line(self) -> tuple[bytes, int]:
        """What cannot, as a line of JSON, and how many values that are; empty where there are none."""
        others = {key: value for key, value in self._leaves if number(value) is None}
        if not others:
            return b"", 0
        return _json({"_step": self.step, "_timestamp": self.at / 1000, **others}) + b"\n", len(others)


def lines_of_values(records: Iterable[Message], start: int) -> Iterator[bytes]:
    """What is no number in a history, as lines."""
    for record in records:
        if "history" in record:
            line, _ = Row(record["history"], start).line()
            if line:
                yield line


def lines_of_output(records: Iterable[Message]) -> Iterator[bytes]:
    """What a run printed."""
    for record in records:
        if "output" in record:
            yield record["output"].get("line", "").encode()


def leaves(tree: Mapping[str, Any], above: str = "", depth: int = 0) -> Iterator[Leaf]:
    """Values by their keys, those of dictionaries in dictionaries with dots between them.

    A dictionary that says its type is one value: an image, a histogram, a table.
    """
    for key, value in tree.items():
        name = f"{above}{key}"
        # Where the key is too long for a name, so are all below it, and each would hold it once more.
        inner = isinstance(value, dict) and value and "_type" not in value and depth < DEEPEST
        if inner and len(name) < rules.MAX_KEY:
            yield from leaves(value, name + SEPARATOR, depth + 1)
        else:
            yield name, value


def number(value: Any) -> float | None:
    """A value as a number, if it is one; what is true is 1."""
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def document(value: Any) -> bytes:
    """A value for people to read."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace") + b"\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _remove(tree: dict[str, Any], place: tuple[str, ...]) -> None:
    *above, last = place
    inner: Any = tree
    for key in above:
        inner = inner.get(key) if isinstance(inner, dict) else None
    if isinstance(inner, dict):
        inner.pop(last, None)


def _put(tree: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    *above, last = place
    if len(above) > DEEPEST:
        raise ValueError("it is nested too deep")
    for key in above:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[last] = value


def _time(tree: Mapping[str, Any], start: int) -> int:
    said, ran = number(tree.get("_timestamp")), number(tree.get("_runtime"))
    for base, seconds in ((0, said), (start, ran)):
        if seconds is not None and math.isfinite(seconds) and abs(seconds) < 1e15:
            return base + int(seconds * 1000)
    return start
