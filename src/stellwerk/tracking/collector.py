"""Spans as they come in: parts of traces, each a blob, written so that many small ones stay few.

What is done with traces as a whole is in `traces`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from stellwerk.core.errors import Invalid
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.store.ports import Blobs
from stellwerk.tracking import counting, spans
from stellwerk.tracking.arrivals import Arrivals
from stellwerk.tracking.spans import Span, Summary
from stellwerk.tracking.tallies import Counts, Tallies, Texts, texts
from stellwerk.tracking.trace_rules import check_trace_id, home_of, places, told_by
from stellwerk.tracking.traced import COST_KEY, TRACES, USAGE_KEY, Part, Trace

MAX_SPANS = 100_000
"""Of one trace."""
MAX_TOGETHER = 10_000
"""Parts with more spans are not written again."""
_TRIES = 5


class Collector:
    """Keeps and reads the spans of traces, for one workspace and actor."""

    def __init__(self, book: Book, blobs: Blobs, counts: Counts) -> None:
        self._book, self._blobs, self._tallies = book, blobs, Tallies(counts)
        self.arrivals = Arrivals()
        """Hears of the spans that come."""

    def log(self, experiment: str, of: Mapping[str, Sequence[Span]], labels: Mapping[str, Mapping[str, str]]) -> None:
        """Keep spans, by the id of their trace; all or none. What was sent before is replaced, or the same.

        Args:
            labels: Tags for traces, said by what sent the spans.
        """
        sent = {one: _Sent(said=spans.summary(more), spans=more) for one, more in of.items()}
        for tries in range(_TRIES):
            with self._book.read() as reader:
                known = {one.id: one for one in TRACES.among(reader, "id", of)}
                kept = self._tallies.kept(reader, of)
            before = {one: known[one].parts if one in known else () for one in of}
            # With many writers of one trace, somebody is always faster; whoever only adds need not be the first.
            adds = tries == _TRIES - 1
            parts = self._written(before, of, most=0 if adds else MAX_TOGETHER)
            # Before the change, which keeps every other writer waiting.
            earlier = self._earlier(known, kept, sent)
            with self._book.write() as tx:
                standing = {one.id: one for one in TRACES.among(tx, "id", of)}
                now = {one: standing[one].parts if one in standing else () for one in of}
                if adds and now != before:
                    earlier = self._earlier(standing, self._tallies.kept(tx, of), sent)
                    parts = {one: (*now[one], parts[one][-1]) for one in of}
                if adds or now == before:
                    # A part that is there already says nothing new.
                    new = {one: parts[one] for one in of if parts[one][-1] not in now[one]}
                    sums = {one: self._sums(tx, one, sent[one].spans, earlier.get(one)) for one in new}
                    self._log(tx, experiment, sent, labels, standing, new, sums)
            if adds or now == before:
                self.arrivals.announce(of)
                return

    def forget(self, tx: Transaction, trace: str) -> None:
        """Take away what is kept of the spans of a trace, but not the spans."""
        self._tallies.forget(tx, trace)

    def spans(self, trace: Trace) -> list[Span]:
        """The spans of a trace that are here, the first one first."""
        return self._read(trace.parts)

    def _read(self, parts: Iterable[Part]) -> list[Span]:
        read = (spans.decode(self._blobs.get(part.digest)) for part in parts)
        return spans.ordered(spans.merged(span for part in read for span in part))

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
        sent: Mapping[str, _Sent],
        labels: Mapping[str, Mapping[str, str]],
        standing: Mapping[str, Trace],
        parts: Mapping[str, tuple[Part, ...]],
        sums: Mapping[str, Texts],
    ) -> None:
        home = home_of(tx, experiment) if any(one not in standing for one in sent) else None
        for trace, one in sent.items():
            known = standing.get(trace)
            if known is None and home is not None:
                check_trace_id(trace)
                blank = Trace(id=trace, experiment=experiment, at=one.said.start, state="running")
                before = evolve(blank, tags=places(home, trace, blank))
            elif known is not None:
                before = known
            changed = told_by(before, one.said, labels.get(trace, {}), sums.get(trace, {}))
            changed = evolve(changed, parts=parts.get(trace, before.parts))
            if changed != known:
                TRACES.put(tx, changed, known)
                # Without digests: what an entry names is never collected, and traces can be deleted.
                body = {"experiment": changed.experiment, "spans": len(one.spans), "state": changed.state}
                tx.record("trace.logged", f"trace:{trace}", body)

    def _earlier(
        self, known: Mapping[str, Trace], kept: Collection[str], sent: Mapping[str, _Sent]
    ) -> dict[str, list[Span]]:
        """The spans that were here before of traces that use something, and of which nothing is kept yet."""
        return {
            one: self._read(known[one].parts if one in known else ())
            for one in sent
            if one not in kept and _used(known.get(one), sent[one])
        }

    def _sums(self, tx: Transaction, trace: str, more: Sequence[Span], earlier: Sequence[Span] | None) -> Texts:
        """What a trace used with more spans: what one counted is not counted again for another one within it."""
        counts = spans.counts(more)
        if earlier or (earlier is None and self._tallies.kept(tx, [trace])):
            return self._tallies.add(tx, trace, [*spans.counts(earlier or ()), *counts])
        return {} if earlier is None else texts(counting.total(counts))


@dataclass(frozen=True, slots=True)
class _Sent:
    """Spans of one trace, and what they say of it."""

    said: Summary
    spans: Sequence[Span]


def _used(known: Trace | None, sent: _Sent) -> bool:
    """Whether spans say what they used, those that came now or before."""
    said = known is not None and bool({USAGE_KEY, COST_KEY} & known.metadata.keys())
    return said or any(one.counted for one in spans.counts(sent.spans))
