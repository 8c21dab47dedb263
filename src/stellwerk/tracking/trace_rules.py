"""What holds of every trace: what it may be called and hold, and what its spans say of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.ports import Reader
from stellwerk.ledger.shelf import evolve
from stellwerk.tracking import experiments, rules
from stellwerk.tracking.model import Experiment
from stellwerk.tracking.spans import Summary
from stellwerk.tracking.traced import (
    LOCATION_TAG,
    OURS,
    SESSION_KEY,
    SPANS_HERE,
    SPANS_TAG,
    TRACES,
    USER_KEY,
    Trace,
)

MAX_TEXT = 1_000_000
MAX_PAIRS = 1000
ID = re.compile(r"[A-Za-z0-9][\w-]{0,99}")


def home_of(reader: Reader, experiment: str) -> Experiment:
    """The experiment that a trace goes into. Raises `NotFound`, or `Invalid` for one in the bin."""
    home = experiments.find(reader, experiment)
    if home.stage == "deleted":
        raise Invalid(
            f"The experiment {experiment} must be in the 'active' state. Current state is deleted.",
            code="deleted-experiment",
        )
    return home


def known_trace(reader: Reader, trace: str) -> Trace:
    """A trace. Raises `NotFound`."""
    check_trace_id(trace)
    found = TRACES.find(reader, trace)
    if found is None:
        raise NotFound(f"Trace with ID '{trace}' not found.")
    return found


def check_trace_id(trace: str) -> None:
    """Raises `Invalid` for what can be no trace."""
    if not ID.fullmatch(trace):
        raise rules.wrong("trace_id", trace)


def possible(traces: Iterable[str]) -> list[str]:
    """Those that can be ids of traces, once each: others are nowhere."""
    return [one for one in dict.fromkeys(traces) if ID.fullmatch(one)]


def homes(of: Iterable[str]) -> list[str]:
    """Those that can be ids of experiments, once each: others hold nothing."""
    return [home for home in dict.fromkeys(of) if rules.is_experiment_id(home)]


def places(home: Experiment, trace: str, before: Trace) -> dict[str, str]:
    """Tags that say where files and spans of a trace are."""
    base = home.location.rstrip("/") if home.location else f"mlflow-artifacts:/{home.id}"
    here = {SPANS_TAG: SPANS_HERE} if before.parts else {}
    return {LOCATION_TAG: f"{base}/traces/{trace}/artifacts", **here}


def told_by(before: Trace, said: Summary, labels: Mapping[str, str], sums: Mapping[str, str | None]) -> Trace:
    """A trace as its spans tell of it; what the application told as a whole stands."""
    at, duration, state = before.at, before.duration, before.state
    if not before.told:
        at = min(before.at, said.start)
        ends = [
            end for end in (said.end, before.at + before.duration if before.duration is not None else None) if end
        ]
        duration = max(ends) - at if ends else None
    if state in ("running", "unspecified") and said.rooted:
        state = "failed" if said.failed else "ok"
    inferred = {USER_KEY: said.user or None, SESSION_KEY: said.session or None}
    summed = {key: text for key, text in sums.items() if not (before.told and key in before.metadata)}
    kept = {key: text for key, text in before.metadata.items() if key not in summed}
    own = {key: text for key, text in said.tags.items() if key not in OURS and _can_be_tag(key, text)}
    return evolve(
        before,
        at=at,
        duration=duration,
        state=state,
        request=said.request if before.request is None else before.request,
        response=said.response if before.response is None else before.response,
        tags={
            **before.tags,
            **{key: text for key, text in labels.items() if _can_be_tag(key, text)},
            **own,
            SPANS_TAG: SPANS_HERE,
        },
        metadata={key: text for key, text in {**inferred, **kept, **summed}.items() if text is not None},
    )


def _can_be_tag(key: str, text: str) -> bool:
    try:
        rules.check_tags([(key, text)], path="")
    except Invalid:
        return False
    return True


def check_trace(trace: Trace) -> None:
    """Raises `Invalid` for what cannot be kept."""
    check_trace_id(trace.id)
    rules.instant(trace.at)
    if trace.duration is not None:
        rules.instant(trace.at + trace.duration)
    for what, text, most in (
        ("client_request_id", trace.client_id, 500),
        ("request_preview", trace.request, MAX_TEXT),
        ("response_preview", trace.response, MAX_TEXT),
    ):
        if text is not None and len(text) > most:
            raise rules.too_long(what, most)
    rules.check_tags(list(trace.tags.items()), path="")
    for key, text in trace.metadata.items():
        if len(key) > rules.MAX_KEY:
            raise rules.too_long("trace_metadata key", rules.MAX_KEY)
        if len(text) > MAX_TEXT:
            raise rules.too_long("trace_metadata value", MAX_TEXT)


def check_pairs(trace: Trace) -> None:
    """Raises `Invalid` for more tags or metadata than a trace may have."""
    for what, pairs in (("tags", trace.tags), ("trace_metadata", trace.metadata)):
        if len(pairs) > MAX_PAIRS:
            raise Invalid(f"a trace has at most {MAX_PAIRS:,} {what}", code="too-many")
