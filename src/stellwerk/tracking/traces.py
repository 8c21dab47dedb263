"""Traces: what an application did for one request, told in spans, and what people and judges said of it.

What is known of one is in `traced`, the form of spans in `spans`; finding traces is in `sought`.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.core.search import parse_filter, parse_order
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.store.ports import Blobs
from stellwerk.tracking import experiments, rules, sought, spans
from stellwerk.tracking.model import Experiment
from stellwerk.tracking.spans import Span, Summary
from stellwerk.tracking.traced import (
    ASSESSMENTS,
    COST_KEY,
    LINKS,
    LOCATION_TAG,
    OURS,
    SESSION_KEY,
    SPANS_HERE,
    SPANS_TAG,
    TRACES,
    USAGE_KEY,
    USER_KEY,
    Assessment,
    Found,
    Kind,
    Part,
    State,
    Trace,
    TraceLink,
    with_assessments,
)

MAX_SPANS = 100_000
"""Of one trace."""
MAX_TOGETHER = 10_000
"""Parts with more spans are not written again."""
MAX_LINKS = 100
MAX_TARGET = 500
MAX_TEXT = 1_000_000
MAX_PAIRS = 1000
MAX_ASSESSMENTS = 10_000
_TRIES = 5
_ID = re.compile(r"[A-Za-z0-9][\w-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """How often two filters find the same traces; `npmi` is undefined where one of them finds none."""

    first: int
    second: int
    joint: int
    total: int
    npmi: float
    smoothed: float


class Traces:
    """Use cases of traces, for one workspace and actor.

    Args:
        elsewhere: Reads a file of a trace by its path: `traces.json`, which clients wrote before they sent spans, and
            what is attached (`attachments/…`); None where there is none.
    """

    def __init__(
        self, book: Book, blobs: Blobs, clock: Clock, elsewhere: Callable[[Trace, str], bytes | None] | None = None
    ) -> None:
        self._book, self._blobs, self._clock = book, blobs, clock
        self.elsewhere = elsewhere

    def tell(self, told: Trace, assessments: Sequence[Assessment] = ()) -> Found:
        """Keep what an application tells of a trace as a whole. Spans may have come before; telling twice is once."""
        _check_trace(told)
        for one in assessments:
            _check_assessment(one)
        with self._book.write() as tx:
            home = _home(tx, told.experiment)
            known = TRACES.find(tx, told.id)
            before = known or evolve(told, tags={}, metadata={})
            trace = evolve(
                told,
                request=before.request if told.request is None else told.request,
                response=before.response if told.response is None else told.response,
                tags={**before.tags, **told.tags, **_places(home, told.id, before)},
                metadata={**before.metadata, **told.metadata},
                parts=before.parts,
                told=True,
            )
            _check_pairs(trace)
            fresh = self._fresh(tx, trace.id, assessments)
            if trace != known or fresh:
                TRACES.put(tx, trace)
                ASSESSMENTS.insert_new(tx, fresh)
                body = {
                    "experiment": trace.experiment,
                    "state": trace.state,
                    "assessments": [one.id for one in fresh],
                }
                tx.record("trace.told", f"trace:{trace.id}", body)
            return with_assessments(tx, [trace])[0]

    def begin(self, experiment: str, at: int, metadata: Mapping[str, str], tags: Mapping[str, str]) -> Found:
        """Begin a trace that will be ended: what clients did before they told of traces as a whole."""
        trace = Trace(
            id=f"tr-{secrets.token_hex(16)}",
            experiment=experiment,
            at=at,
            state="running",
            metadata=dict(metadata),
            tags=dict(tags),
        )
        _check_trace(trace)
        with self._book.write() as tx:
            home = _home(tx, experiment)
            trace = evolve(trace, tags={**trace.tags, **_places(home, trace.id, trace)})
            TRACES.insert(tx, trace)
            tx.record("trace.begun", f"trace:{trace.id}", {"experiment": experiment})
        return Found(trace=trace, assessments=())

    def end(self, trace: str, at: int, state: State, metadata: Mapping[str, str], tags: Mapping[str, str]) -> Found:
        """End a trace that was begun."""
        with self._book.write() as tx:
            known = _known(tx, trace)
            changed = evolve(
                known,
                duration=at - known.at,
                state=state,
                metadata={**known.metadata, **metadata},
                tags={**known.tags, **{key: text for key, text in tags.items() if key not in OURS}},
            )
            _check_trace(changed)
            _check_pairs(changed)
            self._keep(tx, known, changed, "trace.ended", {"state": state})
            return with_assessments(tx, [changed])[0]

    def log(self, experiment: str, of: Mapping[str, Sequence[Span]], labels: Mapping[str, Mapping[str, str]]) -> None:
        """Keep spans, by the id of their trace; all or none. What was sent before is replaced, or the same.

        Args:
            labels: Tags for traces, said by what sent the spans.
        """
        for tries in range(_TRIES):
            with self._book.read() as reader:
                known = {one.id: one for one in TRACES.among(reader, "id", of)}
            before = {one: known[one].parts if one in known else () for one in of}
            # With many writers of one trace, somebody is always faster; whoever only adds need not be the first.
            adds = tries == _TRIES - 1
            parts = self._written(before, of, most=0 if adds else MAX_TOGETHER)
            # All spans are read for it, and before the change, which keeps every other writer waiting.
            sums = {one: self._sums(parts[one]) for one, more in of.items() if _counted(more)}
            with self._book.write() as tx:
                standing = {one.id: one for one in TRACES.among(tx, "id", of)}
                now = {one: standing[one].parts if one in standing else () for one in of}
                if adds:
                    parts = {one: (*now[one], parts[one][-1]) for one in of}
                    sums = {one: self._sums(parts[one]) for one in sums}
                if adds or now == before:
                    self._log(tx, experiment, of, labels, standing, parts, sums)
                    return

    def get(self, trace: str) -> Found:
        """A trace. Raises `NotFound`."""
        with self._book.read() as reader:
            return with_assessments(reader, [_known(reader, trace)])[0]

    def among(self, traces: Iterable[str], of: Sequence[str] | None = None) -> list[Found]:
        """Those of some traces that are here, in the order asked for, if need be only those of some experiments."""
        wanted = _possible(traces)
        with self._book.read() as reader:
            known = {one.id: one for one in TRACES.among(reader, "id", wanted)}
            there = [known[one] for one in wanted if one in known and (of is None or known[one].experiment in of)]
            return with_assessments(reader, there)

    def spans(self, trace: Trace) -> list[Span]:
        """The spans of a trace that are here, the first one first."""
        return self._read(trace.parts)

    def _read(self, parts: Iterable[Part]) -> list[Span]:
        read = (spans.decode(self._blobs.get(part.digest)) for part in parts)
        return spans.ordered(spans.merged(span for part in read for span in part))

    def search(
        self,
        of: Iterable[str],
        *,
        where: str = "",
        order: Sequence[str] = (),
        limit: int = 100,
        offset: int = 0,
    ) -> list[Found]:
        """Traces of some experiments that meet all conditions, in the order asked for, and then the newest first."""
        search = sought.Search(parse_filter(where, sought.GRAMMAR), parse_order(order, sought.GRAMMAR), self.spans)
        with self._book.read() as reader:
            return search.found(reader, _homes(of), limit, offset)

    def correlation(self, of: Iterable[str], first: str, second: str, base: str = "") -> Correlation:
        """How two filters go together, among the traces that meet a third one."""
        common, one, other = (parse_filter(text, sought.GRAMMAR) for text in (base, first, second))
        homes = _homes(of)
        with self._book.read() as reader:
            total, firsts, seconds = (
                sought.Search(clauses, (), self.spans).ids(reader, homes)
                for clauses in (common, (*common, *one), (*common, *other))
            )
        counts = len(firsts & seconds), len(firsts), len(seconds), len(total)
        return Correlation(
            first=counts[1],
            second=counts[2],
            joint=counts[0],
            total=counts[3],
            npmi=-1.0 if firsts and seconds and not counts[0] else npmi(*counts, smoothing=0.0),
            smoothed=npmi(*counts, smoothing=0.5),
        )

    def tag(self, trace: str, key: str, value: str | None) -> None:
        """Set a tag, or take it away with None. Raises `NotFound` where there is none to take away."""
        rules.check_tags([(key, value or "")], path="")
        if key in OURS:
            done = "deleted" if value is None else "set"
            raise Invalid(f"Tag '{key}' is immutable and cannot be {done} on a trace.", code="immutable-tag")
        with self._book.write() as tx:
            known = _known(tx, trace)
            tags = dict(known.tags)
            if value is not None:
                tags[key] = value
            elif tags.pop(key, None) is None:
                raise NotFound(f"No trace tag with key '{key}' for trace with ID '{trace}'")
            changed = evolve(known, tags=tags)
            _check_pairs(changed)
            self._keep(tx, known, changed, "trace.tagged", {"key": key, "set": value is not None})

    def link(self, traces: Sequence[str], kind: Literal["run", "prompt"], targets: Sequence[str]) -> None:
        """Say to which run traces belong, or which prompts they used. Saying it twice is once."""
        if len(traces) > MAX_LINKS or len(targets) > MAX_LINKS:
            raise Invalid(
                f"Cannot link more than {MAX_LINKS} {'traces' if kind == 'run' else 'prompts'} to a {kind} in a single "
                f"request. Provided {max(len(traces), len(targets))} traces.",
                code="too-many",
            )
        for one in traces:
            check_trace_id(one)
        for target in targets:
            if not 0 < len(target) <= MAX_TARGET or not target.isprintable():
                raise rules.wrong(kind, target)
        with self._book.write() as tx:
            known = {one.id for one in LINKS.among(tx, "trace", dict.fromkeys(traces))}
            made = [
                TraceLink(id=f"{one}/{kind}/{target}", trace=one, kind=kind, target=target)
                for one in dict.fromkeys(traces)
                for target in dict.fromkeys(targets)
            ]
            fresh = [one for one in made if one.id not in known]
            LINKS.insert_new(tx, fresh)
            tx.record_many(
                [("trace.linked", f"trace:{one.trace}", {"kind": kind, "target": one.target}) for one in fresh]
            )

    def link_all(self, traces: Iterable[str], run: str) -> None:
        """Say to which run traces belong, however many."""
        listed = list(traces)
        for start in range(0, len(listed), MAX_LINKS):
            self.link(listed[start : start + MAX_LINKS], "run", [run])

    def delete(
        self, experiment: str, *, until: int | None = None, most: int | None = None, traces: Sequence[str] = ()
    ) -> int:
        """Delete traces of an experiment with all that was said of them: some, or the oldest ones. Returns how many."""
        if not rules.is_experiment_id(experiment):
            return 0
        with self._book.write() as tx:
            if traces:
                found = TRACES.among(tx, "id", _possible(traces), experiment=experiment)
                found.sort(key=lambda one: (one.at, one.id))
            else:
                found = TRACES.select(tx, order="at", experiment=experiment, limit=most)
            gone = [one for one in found if until is None or one.at <= until][:most]
            for trace in gone:
                for said in ASSESSMENTS.select(tx, trace=trace.id):
                    ASSESSMENTS.remove(tx, trace.id, said.id)
                for link in LINKS.select(tx, trace=trace.id):
                    LINKS.remove(tx, link.id)
                TRACES.remove(tx, trace.id)
            tx.record_many([("trace.deleted", f"trace:{one.id}", {"experiment": experiment}) for one in gone])
        return len(gone)

    # What is said of traces

    def assess(self, said: Assessment) -> Assessment:
        """Say something of a trace; what it overrides is not valid any more. Saying the same again is once."""
        _check_assessment(said)
        with self._book.write() as tx:
            _known(tx, said.trace)
            fresh = self._fresh(tx, said.trace, [said])
            if not fresh:
                return next(one for one in ASSESSMENTS.select(tx, trace=said.trace) if _same(one, said))
            made = fresh[0]
            if made.overrides:
                ASSESSMENTS.put(tx, evolve(_assessment(tx, said.trace, made.overrides), valid=False))
            ASSESSMENTS.insert(tx, made)
            body = {"assessment": made.id, "kind": made.kind, "overrides": made.overrides}
            tx.record("trace.assessed", f"trace:{made.trace}", body)
        return made

    def assessment(self, trace: str, assessment: str) -> Assessment:
        """One assessment. Raises `NotFound`."""
        with self._book.read() as reader:
            return _assessment(reader, trace, assessment)

    def revise(self, trace: str, assessment: str, kind: Kind | None, **changes: Any) -> Assessment:
        """Change what was said; who said it of which span stays, and metadata is added to.

        Args:
            kind: Of the value, where it changes.
        """
        with self._book.write() as tx:
            known = _assessment(tx, trace, assessment)
            if kind is not None and kind != known.kind:
                article = "an" if known.kind[0] in "aeiou" else "a"
                raise Invalid(
                    f"Cannot update {kind} value on {article} {known.kind.capitalize()} assessment.",
                    code="wrong-assessment",
                )
            if "metadata" in changes:
                changes["metadata"] = {**known.metadata, **changes["metadata"]}
            changed = replace(known, **changes, changed=rules.milliseconds(self._clock.now()))
            _check_assessment(changed)
            ASSESSMENTS.put(tx, changed)
            tx.record("trace.reassessed", f"trace:{trace}", {"assessment": assessment, "fields": sorted(changes)})
        return changed

    def unassess(self, trace: str, assessment: str) -> None:
        """Take back what was said; what it overrode is valid again. Nothing happens where it is not there."""
        with self._book.write() as tx:
            _known(tx, trace)
            known = ASSESSMENTS.find(tx, trace, assessment) if _ID.fullmatch(assessment) else None
            if known is None:
                return
            if known.overrides:
                before = ASSESSMENTS.find(tx, trace, known.overrides)
                if before is not None:
                    ASSESSMENTS.put(tx, evolve(before, valid=True))
            ASSESSMENTS.remove(tx, trace, assessment)
            tx.record("trace.unassessed", f"trace:{trace}", {"assessment": assessment})

    def _written(
        self, before: Mapping[str, tuple[Part, ...]], of: Mapping[str, Sequence[Span]], most: int
    ) -> dict[str, tuple[Part, ...]]:
        """The parts of traces with more spans. Small ones at the end, of `most` spans, are written together."""
        kept: dict[str, tuple[list[Part], list[Span]]] = {}
        data: list[bytes] = []
        for trace, more in of.items():
            parts, batch = list(before[trace]), spans.merged(more)
            while parts and parts[-1].spans <= min(2 * len(batch), most):
                older = spans.decode(self._blobs.get(parts.pop().digest))
                batch = spans.merged([*older, *batch])
            if sum(part.spans for part in parts) + len(batch) > MAX_SPANS:
                raise Invalid(f"the trace {trace} has more than {MAX_SPANS:,} spans", code="too-many")
            kept[trace] = parts, batch
            data.append(spans.encode(batch))
        names = self._blobs.put_many(data)
        return {
            trace: (*parts, Part(digest=digest, spans=len(batch)))
            for (trace, (parts, batch)), digest in zip(kept.items(), names, strict=True)
        }

    def _log(
        self,
        tx: Transaction,
        experiment: str,
        of: Mapping[str, Sequence[Span]],
        labels: Mapping[str, Mapping[str, str]],
        standing: Mapping[str, Trace],
        parts: Mapping[str, tuple[Part, ...]],
        sums: Mapping[str, Mapping[str, str]],
    ) -> None:
        home = _home(tx, experiment) if any(one not in standing for one in of) else None
        for trace, more in of.items():
            said = spans.summary(more)
            known = standing.get(trace)
            if known is None and home is not None:
                check_trace_id(trace)
                blank = Trace(id=trace, experiment=experiment, at=said.start, state="running")
                before = evolve(blank, tags=_places(home, trace, blank))
            elif known is not None:
                before = known
            changed = _told_by(before, said, labels.get(trace, {}), sums.get(trace, {}))
            # A part that is there already says nothing new.
            last = parts[trace][-1]
            changed = evolve(changed, parts=before.parts if last in before.parts else parts[trace])
            if changed != known:
                TRACES.put(tx, changed)
                # Without digests: what an entry names is never collected, and traces can be deleted.
                body = {"experiment": changed.experiment, "spans": len(more), "state": changed.state}
                tx.record("trace.logged", f"trace:{trace}", body)

    def _sums(self, parts: tuple[Part, ...]) -> dict[str, str]:
        """Tokens and costs of all spans: what a span counted must not be counted again where another part holds it."""
        summed = spans.summary(self._read(parts))
        return {
            key: json.dumps(found, sort_keys=True)
            for key, found in ((USAGE_KEY, summed.usage), (COST_KEY, summed.cost))
            if found
        }

    def _fresh(self, reader: Reader, trace: str, said: Sequence[Assessment]) -> list[Assessment]:
        """Those that were not said yet, with an id each."""
        if not said:
            return []
        known = ASSESSMENTS.select(reader, trace=trace)
        fresh: list[Assessment] = []
        for one in said:
            if any(_same(other, one) for other in (*known, *fresh)):
                continue
            if any(one.id and other.id == one.id for other in (*known, *fresh)):
                raise Conflict(f"Assessment {one.id} exists already", code="already-exists")
            now = rules.milliseconds(self._clock.now())
            fresh.append(
                evolve(
                    one,
                    trace=trace,
                    id=one.id or f"a-{secrets.token_hex(16)}",
                    created=one.created or now,
                    changed=one.changed or one.created or now,
                    valid=True,
                )
            )
        if len(known) + len(fresh) > MAX_ASSESSMENTS:
            raise Invalid(f"a trace has at most {MAX_ASSESSMENTS:,} assessments", code="too-many")
        return fresh

    def _keep(self, tx: Transaction, known: Trace, changed: Trace, kind: str, body: Mapping[str, Any]) -> None:
        if changed != known:
            TRACES.put(tx, changed)
            tx.record(kind, f"trace:{changed.id}", body)


def npmi(joint: int, first: int, second: int, total: int, *, smoothing: float) -> float:
    """Normalised pointwise mutual information of two events (Bouma, 2009): -1 never together, 0 independent, 1 always.

    Args:
        smoothing: What is added to each of the four counts; 0.5 is Jeffreys' prior.
    """
    cells = joint, first - joint, second - joint, total - first - second + joint
    if not first or not second or min(cells) < 0:
        return math.nan
    if cells[1:] == (0, 0, 0):
        return 1.0
    both, one, other, neither = (count + smoothing for count in cells)
    everything = both + one + other + neither
    if both <= 0:
        return math.nan
    information = math.log(both) + math.log(everything) - math.log(both + one) - math.log(both + other)
    return max(-1.0, min(1.0, information / (math.log(everything) - math.log(both))))


def check_trace_id(trace: str) -> None:
    """Raises `Invalid` for what can be no trace."""
    if not _ID.fullmatch(trace):
        raise rules.wrong("trace_id", trace)


def _told_by(before: Trace, said: Summary, labels: Mapping[str, str], sums: Mapping[str, str]) -> Trace:
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
    inferred = {USER_KEY: said.user, SESSION_KEY: said.session}
    summed = {key: text for key, text in sums.items() if not (before.told and key in before.metadata)}
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
        metadata={**{key: text for key, text in inferred.items() if text}, **before.metadata, **summed},
    )


def _can_be_tag(key: str, text: str) -> bool:
    try:
        rules.check_tags([(key, text)], path="")
    except Invalid:
        return False
    return True


def _possible(traces: Iterable[str]) -> list[str]:
    """Those that can be ids of traces, once each: others are nowhere."""
    return [one for one in dict.fromkeys(traces) if _ID.fullmatch(one)]


def _homes(of: Iterable[str]) -> list[str]:
    """Those that can be ids of experiments, once each: others hold nothing."""
    return [home for home in dict.fromkeys(of) if rules.is_experiment_id(home)]


def _home(tx: Transaction, experiment: str) -> Experiment:
    home = experiments.find(tx, experiment)
    if home.stage == "deleted":
        raise Invalid(
            f"The experiment {experiment} must be in the 'active' state. Current state is deleted.",
            code="deleted-experiment",
        )
    return home


def _places(home: Experiment, trace: str, before: Trace) -> dict[str, str]:
    """Tags that say where files and spans of a trace are."""
    base = home.location.rstrip("/") if home.location else f"mlflow-artifacts:/{home.id}"
    here = {SPANS_TAG: SPANS_HERE} if before.parts else {}
    return {LOCATION_TAG: f"{base}/traces/{trace}/artifacts", **here}


def _known(reader: Reader, trace: str) -> Trace:
    check_trace_id(trace)
    found = TRACES.find(reader, trace)
    if found is None:
        raise NotFound(f"Trace with ID '{trace}' not found.")
    return found


def _assessment(reader: Reader, trace: str, assessment: str) -> Assessment:
    _known(reader, trace)
    found = ASSESSMENTS.find(reader, trace, assessment) if _ID.fullmatch(assessment) else None
    if found is None:
        raise NotFound(f"Assessment with ID '{assessment[:100]}' not found for trace '{trace}'")
    return found


def _same(known: Assessment, said: Assessment) -> bool:
    """Whether it was said before: by its id, or at the same moment in the same words."""
    if said.id and known.id != said.id:
        return False
    fields = ("name", "kind", "value", "error", "source_kind", "source", "span", "rationale", "metadata", "overrides")
    return bool(said.id or said.created == known.created) and all(
        getattr(known, one) == getattr(said, one) for one in fields
    )


def _check_trace(trace: Trace) -> None:
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


def _check_pairs(trace: Trace) -> None:
    for what, pairs in (("tags", trace.tags), ("trace_metadata", trace.metadata)):
        if len(pairs) > MAX_PAIRS:
            raise Invalid(f"a trace has at most {MAX_PAIRS:,} {what}", code="too-many")


def _check_assessment(said: Assessment) -> None:
    if said.id and not _ID.fullmatch(said.id):
        raise rules.wrong("assessment_id", said.id)
    if not said.name:
        raise Invalid("an assessment needs a name", code="invalid-name")
    for what, text, most in (
        ("assessment_name", said.name, 500),
        ("value", said.value, MAX_TEXT),
        ("rationale", said.rationale or "", MAX_TEXT),
        ("source_id", said.source, 500),
        ("span_id", said.span or "", 100),
        ("error", json.dumps(said.error or {}), MAX_TEXT),
        ("metadata", json.dumps(said.metadata), MAX_TEXT),
    ):
        if len(text) > most:
            raise rules.too_long(what, most)
    for at in (said.created, said.changed):
        rules.instant(at)


def _counted(more: Sequence[Span]) -> bool:
    """Whether spans say what they used or cost."""
    said = spans.summary(more)
    return bool(said.usage or said.cost)
