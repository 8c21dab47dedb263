"""What can be measured of many traces: which figures there are, how they are summed up, and by what they are told apart.

Reading the traces is in `measuring`. The words are those of MLflow's client (mlflow/tracing/constant.py, 3.17).
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stellwerk.core.errors import Invalid
from stellwerk.ledger.parameters import MAX_INTEGER
from stellwerk.tracking import rules

View = Literal["traces", "spans", "assessments"]
How = Literal["count", "sum", "average", "percentile", "least", "most"]
BUCKET = "time_bucket"

_AMOUNTS: tuple[How, ...] = ("average", "least", "most", "percentile")
_SUMMED: tuple[How, ...] = (*_AMOUNTS, "sum")
_MODEL = ("span_model_name", "span_model_provider")
TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
COSTS = ("input_cost", "output_cost", "total_cost")
KNOWN: Mapping[View, Mapping[str, tuple[tuple[How, ...], tuple[str, ...]]]] = {
    "traces": {
        "trace_count": (("count",), ("trace_name", "trace_status")),
        "session_count": (("count",), ()),
        "latency": (_AMOUNTS, ("trace_name",)),
        **dict.fromkeys(TOKENS, (_SUMMED, ("trace_name",))),
    },
    "spans": {
        "span_count": (("count",), ("span_name", "span_type", "span_status", *_MODEL)),
        "latency": (_AMOUNTS, ("span_name", "span_status")),
        **dict.fromkeys(COSTS, (_SUMMED, _MODEL)),
    },
    "assessments": {
        "assessment_count": (("count",), ("assessment_name", "assessment_value")),
        "assessment_value": (_AMOUNTS, ("assessment_name",)),
    },
}
"""Of each view its figures: how each can be summed up, and by what it can be told apart."""
_FILTERS: Mapping[str, Mapping[str, bool]] = {
    "trace": {"status": False, "tag": True, "metadata": True},
    "span": {"name": False, "status": False, "type": False},
    "assessment": {"name": False, "type": False},
}
"""What a filter may be about, and whether that has keys."""
_CLAUSE = re.compile(
    r"""\s*(?P<entity>trace|span|assessment)\.(?P<part>\w+)(?:\.(?P<key>`[^`]+`|"[^"]+"|[^\s=`"']+))?"""
    r"""\s*=\s*(?:'(?P<one>(?:[^']|'')*)'|"(?P<two>(?:[^"]|"")*)")\s*"""
)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One way to sum up figures; a percentile has its value, from 0 to 100."""

    how: How
    percentile: float | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """That a part of a trace, a span or an assessment is equal to a text."""

    entity: str
    part: str
    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of many traces. Times are milliseconds since 1970; the last one is included.

    Attributes:
        figure: What is measured.
        by: What tells groups apart.
        every: Seconds of a stretch of time that is a group of its own; 0 for no stretches.
    """

    view: View
    figure: str
    aggregations: tuple[Aggregation, ...]
    by: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    every: int = 0
    start: int | None = None
    end: int | None = None

    def within(self, at: int) -> bool:
        """Whether something that was at a time is asked for."""
        return (self.start is None or at >= self.start) and (self.end is None or at <= self.end)


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure: of a count what is counted. `at` is milliseconds since 1970."""

    value: float | str
    at: float
    labels: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """Figures of one group, summed up."""

    labels: Mapping[str, str]
    values: Sequence[float | None]
    """One for each aggregation; None where there was nothing to sum up."""


def check(asked: Question) -> None:
    """Raises `Invalid` for what cannot be answered, naming what could."""
    known = KNOWN[asked.view]
    if asked.figure not in known:
        raise _invalid(f"metric_name must be one of {list(known)}, got '{asked.figure[:100]}'")
    hows, labels = known[asked.figure]
    for wrong, what, right in (
        ({one.how for one in asked.aggregations} - set(hows), "aggregation_type(s)", hows),
        (set(asked.by) - set(labels), "dimension(s)", labels),
    ):
        if wrong:
            named = sorted(one[:100] for one in wrong)
            raise _invalid(f"Found invalid {what}: {named}. Supported for {asked.figure}: {sorted(right)}")
    for one in asked.aggregations:
        if (one.percentile is None) == (one.how == "percentile"):
            raise _invalid("percentile_value is needed for PERCENTILE, and for nothing else")
        if one.percentile is not None and not 0 <= one.percentile <= 100:
            raise _invalid(f"percentile_value must be between 0 and 100, got {one.percentile}")
    if asked.every < 0:
        raise _invalid(f"time_interval_seconds must be positive, got {asked.every}")
    if asked.every and (asked.start is None or asked.end is None):
        raise _invalid("start_time_ms and end_time_ms are required if time_interval_seconds is set")


def read_filter(text: str, view: View) -> Filter:
    """One condition, such as `trace.tag.team = 'risk'`. Raises `Invalid`."""
    found = _CLAUSE.fullmatch(text)
    if found is None:
        raise Invalid(
            f"Invalid filter: {text[:200]!r}. Expected one clause that compares with =",
            code="invalid-filter",
            hint="for example: trace.status = 'OK', trace.tag.team = 'risk', span.name = 'chat'",
        )
    entity, part, key = found["entity"], found["part"], (found["key"] or "").strip('`"')
    parts = _FILTERS[entity]
    if part not in parts or parts[part] != bool(key):
        needs = [f"{entity}.{name}{'.<key>' if keyed else ''}" for name, keyed in parts.items()]
        raise Invalid(f"Invalid filter: {text[:200]!r} is about none of {needs}", code="invalid-filter")
    if entity != "trace" and not view.startswith(entity):
        raise Invalid(
            f"Filtering by {entity} is only supported for {entity.upper()}S view type, got {view.upper()}",
            code="invalid-filter",
        )
    value = found["two"].replace('""', '"') if found["one"] is None else found["one"].replace("''", "'")
    return Filter(entity, part, key, value)


def summed(asked: Question, samples: Iterable[Sample]) -> list[Measure]:
    """Figures by group: in the order of time, and then of the labels. What lacks a label is in no group."""
    groups: dict[tuple[Any, ...], list[float | str]] = defaultdict(list)
    if not asked.by and not asked.every:
        groups[()] = []
    for one in samples:
        labels = [one.labels[name] for name in asked.by]
        if None not in labels:
            stretch = [math.floor(one.at / (asked.every * 1000)) * asked.every * 1000] if asked.every else []
            groups[(*stretch, *labels)].append(one.value)
    return [measure for key in sorted(groups) if (measure := _measure(asked, key, groups[key]))]


def _measure(asked: Question, key: tuple[Any, ...], values: list[float | str]) -> Measure | None:
    names = [*([BUCKET] if asked.every else []), *asked.by]
    labels = dict(zip(names, key, strict=True))
    if asked.every:
        labels[BUCKET] = rules.instant(labels[BUCKET]).isoformat()
    found = [_value(one, values, distinct=asked.figure == "session_count") for one in asked.aggregations]
    return None if all(one is None for one in found) else Measure(labels, found)


def _value(one: Aggregation, values: Sequence[Any], *, distinct: bool) -> float | None:
    if one.how == "count":
        return float(len(set(values)) if distinct else len(values))
    if not values:
        return None
    match one.how:
        case "sum":
            return float(sum(values))
        case "average":
            return float(sum(values) / len(values))
        case "least":
            return float(min(values))
        case "most":
            return float(max(values))
        case _:
            return percentile(values, one.percentile or 0.0)


def percentile(values: Sequence[float], wanted: float) -> float:
    """Between the two values next to it in proportion (Hyndman and Fan, 1996, number 7)."""
    ranked = sorted(values)
    place = wanted / 100 * (len(ranked) - 1)
    below = int(place)
    above = min(below + 1, len(ranked) - 1)
    return float(ranked[below] + (place - below) * (ranked[above] - ranked[below]))


def tokens(text: str | None, name: str) -> int | None:
    """A number of tokens as metadata say it, if it is one, of 64 bits: what is larger could not be summed up."""
    found = _object(text).get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= MAX_INTEGER or found % 1:
        return None
    return int(found)


def judged(value: str) -> float | None:
    """The figure that an assessment gave: a number, or yes and no as 1 and 0."""
    found = json.loads(value)
    if isinstance(found, str):
        return {"yes": 1.0, "no": 0.0}.get(found.strip().lower())
    try:
        number = float(found) if isinstance(found, int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _object(text: str | None) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _invalid(message: str) -> Invalid:
    return Invalid(message, code="invalid-arguments")
