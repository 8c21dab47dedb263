"""Traces: what an application did for one request, told as a whole, tagged, linked, found and deleted.

What is known of one is in `traced`, how spans come in and are read in `collector`, what is said of traces in
`assessments`, and how they are found in `sought`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.search import Clause, Order, parse_filter, parse_order
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.tracking import assessments, rules, sought
from stellwerk.tracking.collector import Collector
from stellwerk.tracking.correlation import Correlation, correlated
from stellwerk.tracking.sought import TraceFinder
from stellwerk.tracking.trace_rules import (
    check_pairs,
    check_trace,
    check_trace_id,
    home_of,
    homes,
    known_trace,
    places,
    possible,
)
from stellwerk.tracking.traced import (
    ASSESSMENTS,
    LINKS,
    OURS,
    TRACES,
    Assessment,
    Found,
    State,
    Trace,
    TraceLink,
    with_assessments,
)

MAX_LINKS = 100
MAX_TARGET = 500


class Traces:
    """Use cases of traces, for one workspace and actor.

    Args:
        collector: Reads the spans of a trace.
        finder: Finds traces by what is said of them.
        elsewhere: Reads a file of a trace by its path: `traces.json`, which clients wrote before they sent spans, and
            what is attached (`attachments/…`); None where there is none.
    """

    def __init__(
        self,
        book: Book,
        clock: Clock,
        collector: Collector,
        finder: TraceFinder,
        elsewhere: Callable[[Trace, str], bytes | None] | None = None,
    ) -> None:
        self._book, self._clock, self._collector, self._finder = book, clock, collector, finder
        self.elsewhere = elsewhere

    def tell(self, told: Trace, said: Sequence[Assessment] = ()) -> Found:
        """Keep what an application tells of a trace as a whole. Spans may have come before; telling twice is once."""
        check_trace(told)
        for one in said:
            assessments.check(one)
        with self._book.write() as tx:
            home = home_of(tx, told.experiment)
            known = TRACES.find(tx, told.id)
            before = known or evolve(told, tags={}, metadata={})
            trace = evolve(
                told,
                request=before.request if told.request is None else told.request,
                response=before.response if told.response is None else told.response,
                tags={**before.tags, **told.tags, **places(home, told.id, before)},
                metadata={**before.metadata, **told.metadata},
                parts=before.parts,
                told=True,
            )
            check_pairs(trace)
            fresh = assessments.fresh(tx, trace.id, said, rules.milliseconds(self._clock.now()))
            if trace != known or fresh:
                TRACES.put(tx, trace, known)
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
        check_trace(trace)
        with self._book.write() as tx:
            home = home_of(tx, experiment)
            trace = evolve(trace, tags={**trace.tags, **places(home, trace.id, trace)})
            TRACES.insert(tx, trace)
            tx.record("trace.begun", f"trace:{trace.id}", {"experiment": experiment})
        return Found(trace=trace, assessments=())

    def end(self, trace: str, at: int, state: State, metadata: Mapping[str, str], tags: Mapping[str, str]) -> Found:
        """End a trace that was begun."""
        with self._book.write() as tx:
            known = known_trace(tx, trace)
            changed = evolve(
                known,
                duration=at - known.at,
                state=state,
                metadata={**known.metadata, **metadata},
                tags={**known.tags, **{key: text for key, text in tags.items() if key not in OURS}},
            )
            check_trace(changed)
            check_pairs(changed)
            self._keep(tx, known, changed, "trace.ended", {"state": state})
            return with_assessments(tx, [changed])[0]

    def get(self, trace: str) -> Found:
        """A trace. Raises `NotFound`."""
        with self._book.read() as reader:
            return with_assessments(reader, [known_trace(reader, trace)])[0]

    def among(self, traces: Iterable[str], of: Sequence[str] | None = None) -> list[Found]:
        """Those of some traces that are here, in the order asked for, if need be only those of some experiments."""
        wanted = possible(traces)
        with self._book.read() as reader:
            known = {one.id: one for one in TRACES.among(reader, "id", wanted)}
            there = [known[one] for one in wanted if one in known and (of is None or known[one].experiment in of)]
            return with_assessments(reader, there)

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
        search = self._search(parse_filter(where, sought.GRAMMAR), parse_order(order, sought.GRAMMAR))
        wanted = homes(of)
        with self._book.read() as reader:
            return search.found(reader, wanted, limit, offset) if wanted else []

    def correlation(self, of: Iterable[str], first: str, second: str, base: str = "") -> Correlation:
        """How two filters go together, among the traces that meet a third one."""
        common, one, other = (parse_filter(text, sought.GRAMMAR) for text in (base, first, second))
        everything, firsts, seconds = (self._search((*common, *more)) for more in ((), one, other))
        wanted = homes(of)
        with self._book.read() as reader:
            if not wanted:
                return correlated(0, 0, 0, 0)
            if firsts.indexed and seconds.indexed:
                joint = self._search((*common, *one, *other)).count(reader, wanted)
                return correlated(joint, *(asked.count(reader, wanted) for asked in (firsts, seconds, everything)))
            # What two conditions about spans find together need not be found by one span.
            found, others = firsts.ids(reader, wanted), seconds.ids(reader, wanted)
            return correlated(len(found & others), len(found), len(others), everything.count(reader, wanted))

    def _search(self, clauses: Sequence[Clause], order: Sequence[Order] = ()) -> sought.Search:
        return sought.Search(clauses, order, self._finder, self._collector.spans)

    def tag(self, trace: str, key: str, value: str | None) -> None:
        """Set a tag, or take it away with None. Raises `NotFound` where there is none to take away."""
        rules.check_tags([(key, value or "")], path="")
        if key in OURS:
            done = "deleted" if value is None else "set"
            raise Invalid(f"Tag '{key}' is immutable and cannot be {done} on a trace.", code="immutable-tag")
        with self._book.write() as tx:
            known = known_trace(tx, trace)
            tags = dict(known.tags)
            if value is not None:
                tags[key] = value
            elif tags.pop(key, None) is None:
                raise NotFound(f"No trace tag with key '{key}' for trace with ID '{trace}'")
            changed = evolve(known, tags=tags)
            check_pairs(changed)
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
                found = TRACES.among(tx, "id", possible(traces), experiment=experiment)
                found.sort(key=lambda one: (one.at, one.id))
            else:
                found = TRACES.select(tx, order="at", experiment=experiment, limit=most)
            gone = [one for one in found if until is None or one.at <= until][:most]
            for trace in gone:
                for said in ASSESSMENTS.select(tx, trace=trace.id):
                    ASSESSMENTS.remove(tx, trace.id, said.id)
                for link in LINKS.select(tx, trace=trace.id):
                    LINKS.remove(tx, link.id)
                self._collector.forget(tx, trace.id)
                TRACES.remove(tx, trace.id)
            tx.record_many([("trace.deleted", f"trace:{one.id}", {"experiment": experiment}) for one in gone])
        return len(gone)

    def _keep(self, tx: Transaction, known: Trace, changed: Trace, kind: str, body: Mapping[str, Any]) -> None:
        if changed != known:
            TRACES.put(tx, changed, known)
            tx.record(kind, f"trace:{changed.id}", body)
