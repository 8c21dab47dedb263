"""Finding traces: what may be asked of them, and how it is answered.

Traces are read by their experiment, the newest first, and compared one by one; the spans of one are read only where a
condition is about spans and all others hold.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.core.search import (
    ATTRIBUTES,
    TAGS,
    Clause,
    Comparator,
    Entity,
    Grammar,
    Order,
    Subject,
    Value,
    arranged,
    holds,
)
from stellwerk.ledger.ports import Reader
from stellwerk.tracking import spans
from stellwerk.tracking.spans import Span
from stellwerk.tracking.traced import LINKS, NAME_TAG, RUN_KEY, Assessment, Found, Trace, newest, with_assessments

STATES = {"unspecified": "STATE_UNSPECIFIED", "running": "IN_PROGRESS", "ok": "OK", "failed": "ERROR"}
"""How states are spelled where they are asked for."""
PROMPTS_TAG = "mlflow.linkedPrompts"

_ALL: tuple[Comparator, ...] = ("=", "!=", "LIKE", "ILIKE", "RLIKE")
_ABSENCE: tuple[Comparator, ...] = ("IS NULL", "IS NOT NULL")
_JUDGED: tuple[Comparator, ...] = (*_ALL, ">", ">=", "<", "<=", *_ABSENCE)
_SPANS: tuple[Comparator, ...] = (*_ALL, "IN", "NOT IN")
_ENTITIES: dict[str, Entity] = {
    **TAGS,
    **ATTRIBUTES,
    "trace": "attribute",
    "metadata": "metadata",
    "request_metadata": "metadata",
    "span": "span",
    "feedback": "feedback",
    "expectation": "expectation",
    "issue": "issue",
}
GRAMMAR = Grammar(
    of="a trace",
    entities=_ENTITIES,
    texts=("request_id", "name", "status", "client_request_id", "run_id", "prompt", "text", "experiment_id"),
    numbers=("timestamp_ms", "execution_time_ms", "end_time_ms"),
    listed=("request_id", "name", "status", "client_request_id", "run_id"),
    missing=("name", "client_request_id", "run_id"),
    spellings={
        "timestamp": "timestamp_ms",
        "execution_time": "execution_time_ms",
        "end_time": "end_time_ms",
        "trace_id": "request_id",
        "id": "request_id",
        "state": "status",
    },
    asked={
        "tag": (*_ALL, *_ABSENCE),
        "metadata": (*_ALL, *_ABSENCE),
        "span": _SPANS,
        "feedback": _JUDGED,
        "expectation": _JUDGED,
        "issue": ("=",),
    },
    keys={"span": ("name", "type", "status", "content", "attributes."), "issue": ("id",)},
    patterns=True,
)


class Search:
    """One question."""

    def __init__(
        self, clauses: Sequence[Clause], order: Sequence[Order], read_spans: Callable[[Trace], list[Span]]
    ) -> None:
        self._order, self._read_spans = order, read_spans
        self._of_spans = [one for one in clauses if one.subject.entity == "span" or _is_text(one.subject)]
        self._said = [one for one in clauses if one.subject.entity in ("feedback", "expectation", "issue")]
        self._linked = [
            one for one in clauses if one.subject.entity == "attribute" and one.subject.key in ("run_id", "prompt")
        ]
        special = {id(one) for one in (*self._of_spans, *self._said, *self._linked)}
        self._plain = [one for one in clauses if id(one) not in special]
        for by in order:
            if by.subject.entity not in ("attribute", "tag", "metadata") or by.subject.key in ("prompt", "text"):
                raise Invalid(
                    f"Invalid order_by entity `{by.subject.entity}` with key `{by.subject.key[:60]}`",
                    code="invalid-order",
                )
        for one in self._linked:
            if one.subject.key == "prompt" and (one.comparator != "=" or str(one.value).count("/") != 1):
                raise Invalid(
                    f"Invalid prompts filter value '{str(one.value)[:100]}'. Expected format: prompt = \"name/version\"",
                    code="invalid-filter",
                )

    def found(self, reader: Reader, of: Sequence[str], limit: int, offset: int) -> list[Found]:
        """A page of what is found."""
        everything = self._all(reader, of)
        if not self._order:
            return list(islice(everything, offset, offset + limit))
        sorted_ = arranged(everything, self._order, lambda one, subject: self._read(one.trace, subject))
        return sorted_[offset : offset + limit]

    def ids(self, reader: Reader, of: Sequence[str]) -> set[str]:
        """The ids of all that is found."""
        return {one.trace.id for one in self._all(reader, of)}

    def _all(self, reader: Reader, of: Sequence[str]) -> Iterator[Found]:
        links = {id(one): self._targets(reader, one) for one in self._linked}
        streams = (self._of(reader, experiment, links) for experiment in of)
        return heapq.merge(*streams, key=lambda one: (-one.trace.at, one.trace.id))

    def _of(self, reader: Reader, experiment: str, links: dict[int, set[str]]) -> Iterator[Found]:
        for some in newest(reader, experiment):
            near = [one for one in some if self._is_plain(one) and self._is_linked(one, links)]
            for found in with_assessments(reader, near):
                if self._is_said(found.assessments) and self._is_in_spans(found.trace):
                    yield found

    def _is_plain(self, trace: Trace) -> bool:
        return all(holds(one, self._read(trace, one.subject)) for one in self._plain)

    def _targets(self, reader: Reader, clause: Clause) -> set[str]:
        """The traces that were linked with what a condition names."""
        kind = "run" if clause.subject.key == "run_id" else "prompt"
        wanted = clause.value if isinstance(clause.value, tuple) else (clause.value,)
        if clause.comparator not in ("=", "IN"):
            return set()
        links = LINKS.among(reader, "target", [str(one) for one in wanted])
        return {one.trace for one in links if one.kind == kind}

    def _is_linked(self, trace: Trace, links: dict[int, set[str]]) -> bool:
        for one in self._linked:
            own: Value = trace.metadata.get(RUN_KEY)
            if one.subject.key == "prompt":
                own = str(one.value) if str(one.value) in _prompts(trace) else None
            if trace.id not in links[id(one)] and not holds(one, own):
                return False
        return True

    def _is_said(self, said: Iterable[Assessment]) -> bool:
        valid = [one for one in said if one.valid]
        return all(_judged(clause, valid) for clause in self._said)

    def _is_in_spans(self, trace: Trace) -> bool:
        """Whether one span meets all conditions about spans."""
        if not self._of_spans:
            return True
        return any(all(_in_span(clause, span) for clause in self._of_spans) for span in self._read_spans(trace))

    def _read(self, trace: Trace, subject: Subject) -> Value:
        if subject.entity == "tag":
            return trace.tags.get(subject.key)
        if subject.entity == "metadata":
            return trace.metadata.get(subject.key)
        match subject.key:
            case "request_id":
                return trace.id
            case "name":
                return trace.tags.get(NAME_TAG)
            case "status":
                return STATES[trace.state]
            case "client_request_id":
                return trace.client_id
            case "run_id":
                return trace.metadata.get(RUN_KEY)
            case "experiment_id":
                return trace.experiment
            case "timestamp_ms":
                return trace.at
            case "execution_time_ms":
                return trace.duration
            case _:
                return trace.at + (trace.duration or 0)


def _is_text(subject: Subject) -> bool:
    return subject.entity == "attribute" and subject.key == "text"


def _prompts(trace: Trace) -> set[str]:
    """Versions of prompts that the client itself wrote into a tag."""
    try:
        said = json.loads(trace.tags.get(PROMPTS_TAG, "[]"))
        return {f"{one['name']}/{one['version']}" for one in said}
    except (ValueError, TypeError, KeyError, RecursionError):
        return set()


def _judged(clause: Clause, said: Sequence[Assessment]) -> bool:
    subject = clause.subject
    if subject.entity == "issue":
        return any(one.kind == "issue" and one.name == clause.value for one in said)
    there = [one for one in said if one.kind == subject.entity and one.name == subject.key]
    if clause.comparator in _ABSENCE:
        return bool(there) == (clause.comparator == "IS NOT NULL")
    return any(_is(clause, json.loads(one.value)) for one in there)


def _is(clause: Clause, found: Any) -> bool:
    """Whether a value that was given meets a condition: a number as number, else as a text or as JSON."""
    wanted, comparator = clause.value, clause.comparator
    if isinstance(wanted, float):
        if isinstance(found, bool) or not isinstance(found, int | float):
            return comparator == "!="
        return holds(clause, float(found))
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return holds(clause, text)


def _in_span(clause: Clause, span: Span) -> bool:
    key = "content" if _is_text(clause.subject) else clause.subject.key
    if key == "content":
        return holds(clause, spans.content(span))
    if key == "name":
        return holds(clause, span.get("name", ""))
    if key == "status":
        code = span.get("status", {}).get("code", "STATUS_CODE_UNSET")
        return holds(clause, str(code).removeprefix("STATUS_CODE_"))
    own = spans.attributes(span.get("attributes", ()))
    name = spans.TYPE if key == "type" else key.removeprefix("attributes.").strip('`"')
    found = own.get(name)
    return holds(clause, None if found is None else spans.spelled(found))
