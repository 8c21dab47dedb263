"""Finding traces: what may be asked of them, and how it is answered.

An index finds traces by what is said of them (`adapters.traces`). What no index answers, regular expressions and
conditions about spans, is asked of one trace after another that meets all the rest, in order, until a page is full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

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
    holds,
)
from stellwerk.ledger.ports import Reader
from stellwerk.tracking import spans
from stellwerk.tracking.spans import Span
from stellwerk.tracking.traced import TRACES, Assessment, Found, Trace, attribute, judged, with_assessments

_AT_ONCE, _AT_MOST = 250, 16_000
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


class TraceFinder(Protocol):
    """An index of traces by what is said of them."""

    def find(
        self,
        reader: Reader,
        of: Sequence[str],
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        limit: int | None,
        offset: int,
    ) -> list[str]:
        """Ids of the traces of some experiments that meet all conditions, in order; then the newest first.

        Args:
            where: Conditions that are not about spans, and no regular expressions.
        """
        ...

    def count(self, reader: Reader, of: Sequence[str], *, where: Sequence[Clause]) -> int:
        """How many traces of some experiments meet all conditions."""
        ...


class Search:
    """One question."""

    def __init__(
        self,
        clauses: Sequence[Clause],
        order: Sequence[Order],
        finder: TraceFinder,
        read_spans: Callable[[Trace], list[Span]],
    ) -> None:
        self._order, self._finder, self._read_spans = order, finder, read_spans
        self._of_spans = [one for one in clauses if one.subject.entity == "span" or _is_text(one.subject)]
        about = [one for one in clauses if one not in self._of_spans]
        self._expressions = [one for one in about if one.comparator == "RLIKE"]
        self._indexed = [one for one in about if one.comparator != "RLIKE"]
        for by in order:
            if by.subject.entity not in ("attribute", "tag", "metadata") or by.subject.key in ("prompt", "text"):
                raise Invalid(
                    f"Invalid order_by entity `{by.subject.entity}` with key `{by.subject.key[:60]}`",
                    code="invalid-order",
                )
        for one in about:
            asks_prompt = one.subject.entity == "attribute" and one.subject.key == "prompt"
            if asks_prompt and (one.comparator != "=" or str(one.value).count("/") != 1):
                raise Invalid(
                    f"Invalid prompts filter value '{str(one.value)[:100]}'. Expected format: prompt = \"name/version\"",
                    code="invalid-filter",
                )

    def found(self, reader: Reader, of: Sequence[str], limit: int, offset: int) -> list[Found]:
        """A page of what is found."""
        if not self.indexed:
            return list(islice(self._one_by_one(reader, of), offset, offset + limit))
        return self._known(reader, self._find(reader, of, limit, offset))

    @property
    def indexed(self) -> bool:
        """Whether no trace need be read to answer it."""
        return not self._of_spans and not self._expressions

    def count(self, reader: Reader, of: Sequence[str]) -> int:
        """How many there are."""
        return self._finder.count(reader, of, where=self._indexed) if self.indexed else len(self.ids(reader, of))

    def ids(self, reader: Reader, of: Sequence[str]) -> set[str]:
        """The ids of all that is found."""
        if not self.indexed:
            return {one.trace.id for one in self._one_by_one(reader, of)}
        return set(self._find(reader, of, None, 0))

    def _find(self, reader: Reader, of: Sequence[str], limit: int | None, offset: int) -> list[str]:
        return self._finder.find(reader, of, where=self._indexed, order=self._order, limit=limit, offset=offset)

    def _known(self, reader: Reader, ids: Sequence[str]) -> list[Found]:
        known = {one.id: one for one in TRACES.among(reader, "id", ids)}
        return with_assessments(reader, [known[one] for one in ids if one in known])

    def _one_by_one(self, reader: Reader, of: Sequence[str]) -> Iterator[Found]:
        """What no index answers is asked of each trace that meets all the rest."""
        offset, count = 0, _AT_ONCE
        while ids := self._find(reader, of, count, offset):
            for found in self._known(reader, ids):
                if self._is_meant(found) and self._is_in_spans(found.trace):
                    yield found
            # The further one looks, the more one needs: a page costs as much as what is before it.
            offset, count = offset + len(ids), min(2 * count, _AT_MOST)

    def _is_meant(self, found: Found) -> bool:
        valid = [one for one in found.assessments if one.valid]
        return all(
            _judged(one, valid)
            if one.subject.entity in ("feedback", "expectation")
            else holds(one, _read(found, one))
            for one in self._expressions
        )

    def _is_in_spans(self, trace: Trace) -> bool:
        """Whether one span meets all conditions about spans."""
        if not self._of_spans:
            return True
        return any(all(_in_span(clause, span) for clause in self._of_spans) for span in self._read_spans(trace))


def _read(found: Found, clause: Clause) -> Value:
    subject, trace = clause.subject, found.trace
    if subject.entity == "tag":
        return trace.tags.get(subject.key)
    if subject.entity == "metadata":
        return trace.metadata.get(subject.key)
    return attribute(trace, subject.key)


def _is_text(subject: Subject) -> bool:
    return subject.entity == "attribute" and subject.key == "text"


def _judged(clause: Clause, said: Iterable[Assessment]) -> bool:
    subject = clause.subject
    there = (one for one in said if one.kind == subject.entity and one.name == subject.key)
    return any(holds(clause, judged(one.value)[1]) for one in there)


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
