"""Spans as they come in: parts of traces, each a blob, written so that many small ones stay few.

What is done with traces as a whole is in `traces`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from stellwerk.core.errors import Invalid
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.store.ports import Blobs
from stellwerk.tracking import spans
from stellwerk.tracking.spans import Span
from stellwerk.tracking.trace_rules import check_trace_id, home_of, places, told_by
from stellwerk.tracking.traced import COST_KEY, TRACES, USAGE_KEY, Part, Trace

MAX_SPANS = 100_000
"""Of one trace."""
MAX_TOGETHER = 10_000
"""Parts with more spans are not written again."""
_TRIES = 5


class Collector:
    """Keeps and reads the spans of traces, for one workspace and actor."""

    def __init__(self, book: Book, blobs: Blobs) -> None:
        self._book, self._blobs = book, blobs

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
        of: Mapping[str, Sequence[Span]],
        labels: Mapping[str, Mapping[str, str]],
        standing: Mapping[str, Trace],
        parts: Mapping[str, tuple[Part, ...]],
        sums: Mapping[str, Mapping[str, str]],
    ) -> None:
        home = home_of(tx, experiment) if any(one not in standing for one in of) else None
        for trace, more in of.items():
            said = spans.summary(more)
            known = standing.get(trace)
            if known is None and home is not None:
                check_trace_id(trace)
                blank = Trace(id=trace, experiment=experiment, at=said.start, state="running")
                before = evolve(blank, tags=places(home, trace, blank))
            elif known is not None:
                before = known
            changed = told_by(before, said, labels.get(trace, {}), sums.get(trace, {}))
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


def _counted(more: Sequence[Span]) -> bool:
    """Whether spans say what they used or cost."""
    said = spans.summary(more)
    return bool(said.usage or said.cost)
