"""Figures of many traces: how many there were, how long they took, what they used and how they were judged.

What can be asked is in `measures`. Traces are read the newest first, and their spans only where the question is about
spans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile

from stellwerk.core.errors import Invalid
from stellwerk.ledger.ports import Book, Reader
from stellwerk.tracking import spans
from stellwerk.tracking.measures import (
    COSTS,
    TOKENS,
    Filter,
    Measure,
    Question,
    Sample,
    check,
    judged,
    summed,
    tokens,
)
from stellwerk.tracking.spans import Span
from stellwerk.tracking.trace_rules import homes
from stellwerk.tracking.traced import (
    LINKS,
    NAME_TAG,
    RUN_KEY,
    SESSION_KEY,
    STATES,
    USAGE_KEY,
    Assessment,
    Trace,
    newest,
    with_assessments,
)

MAX_SPANS = 1_000_000
"""That one question reads."""
MODEL, PROVIDER = "mlflow.llm.model", "mlflow.llm.provider"


class Measuring:
    """Use cases, for one workspace.

    Args:
        read_spans: Reads the spans of a trace.
    """

    def __init__(self, book: Book, read_spans: Callable[[Trace], list[Span]]) -> None:
        self._book, self._read_spans = book, read_spans

    def measure(self, of: Sequence[str], asked: Question) -> list[Measure]:
        """The figures of the traces of some experiments. Raises `Invalid`."""
        check(asked)
        with self._book.read() as reader:
            return summed(asked, self._samples(reader, homes(of), asked))

    def _samples(self, reader: Reader, of: Sequence[str], asked: Question) -> Iterator[Sample]:
        linked = {one.value: self._linked(reader, one) for one in asked.filters if one.key == RUN_KEY}
        count = 0
        for some in self._traces(reader, of, asked):
            near = [one for one in some if all(_meets(one, by, linked) for by in asked.filters)]
            if asked.view == "traces":
                yield from (sample for one in near if (sample := _of_trace(one, asked)))
            elif asked.view == "assessments":
                for found in with_assessments(reader, near):
                    yield from _of_assessments(found.trace, found.assessments, asked)
            else:
                for trace in near:
                    there = self._read_spans(trace)
                    count += len(there)
                    if count > MAX_SPANS:
                        raise Invalid(
                            f"these traces have more than {MAX_SPANS:,} spans",
                            code="too-many",
                            hint="ask for a shorter time or fewer experiments",
                        )
                    yield from _of_spans(there, asked)

    @staticmethod
    def _traces(reader: Reader, of: Sequence[str], asked: Question) -> Iterator[list[Trace]]:
        """Those within the time that is asked for; all where that is the time of each span."""
        everything = asked.figure in COSTS
        for experiment in of:
            for some in newest(reader, experiment):
                if everything:
                    yield some
                    continue
                late = list(takewhile(lambda one: asked.start is None or one.at >= asked.start, some))
                yield [one for one in late if asked.within(one.at)]
                if len(late) < len(some):
                    break

    @staticmethod
    def _linked(reader: Reader, one: Filter) -> set[str]:
        """Traces that were said to belong to a run after they were over."""
        return {link.trace for link in LINKS.among(reader, "target", [one.value]) if link.kind == "run"}


def _meets(trace: Trace, by: Filter, linked: dict[str, set[str]]) -> bool:
    if by.entity != "trace":
        return True
    if by.part == "status":
        return STATES[trace.state] == by.value
    if by.part == "tag":
        return trace.tags.get(by.key) == by.value
    return trace.metadata.get(by.key) == by.value or (by.key == RUN_KEY and trace.id in linked[by.value])


def _of_trace(trace: Trace, asked: Question) -> Sample | None:
    value: float | str | None = trace.id
    if asked.figure == "session_count":
        value = trace.metadata.get(SESSION_KEY)
    elif asked.figure == "latency":
        value = trace.duration
    elif asked.figure in TOKENS:
        value = tokens(trace.metadata.get(USAGE_KEY), asked.figure)
    labels = {"trace_name": trace.tags.get(NAME_TAG), "trace_status": STATES[trace.state]}
    return None if value is None else Sample(value, trace.at, labels)


def _of_assessments(trace: Trace, said: Sequence[Assessment], asked: Question) -> Iterator[Sample]:
    for one in said:
        own = {"name": one.name, "type": one.kind}
        if not one.valid or any(own[by.part] != by.value for by in asked.filters if by.entity == "assessment"):
            continue
        value = one.id if asked.figure == "assessment_count" else judged(one.value)
        if value is not None:
            yield Sample(value, trace.at, {"assessment_name": one.name, "assessment_value": one.value})


def _of_spans(there: Sequence[Span], asked: Question) -> Iterator[Sample]:
    for span, counted in zip(there, spans.counts(there), strict=True):
        own = spans.attributes(span.get("attributes", ()))
        start, end = span.get("start_time_unix_nano", 0), span.get("end_time_unix_nano")
        labels = {
            "span_name": span.get("name", ""),
            "span_type": _text(own.get(spans.TYPE)),
            "span_status": str(span.get("status", {}).get("code", "STATUS_CODE_UNSET")).removeprefix("STATUS_CODE_"),
            "span_model_name": _text(own.get(MODEL)),
            "span_model_provider": _text(own.get(PROVIDER)),
        }
        if any(labels[f"span_{by.part}"] != by.value for by in asked.filters if by.entity == "span"):
            continue
        value: float | str | None = span["span_id"]
        if asked.figure == "latency":
            value = (end - start) // 1_000_000 if end else None
        elif asked.figure in COSTS:
            value = counted.cost.get(asked.figure) if asked.within(start // 1_000_000) else None
        if value is not None:
            yield Sample(value, start / 1_000_000, labels)


def _text(found: object) -> str | None:
    return None if found is None else spans.spelled(found)
