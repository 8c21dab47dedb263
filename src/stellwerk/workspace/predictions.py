"""The prediction log of a workspace: where its spools lie, and what monitoring and the trace read of it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.core.clock import format_instant
from stellwerk.core.digest import Digest
from stellwerk.governance.trace import Answered
from stellwerk.reviews.model import Case
from stellwerk.serving import codec, protecting, segments
from stellwerk.serving.adapters.spool import Spool
from stellwerk.serving.model import PredictionBatch, SegmentInfo
from stellwerk.serving.shelves import SEGMENTS

if TYPE_CHECKING:
    from stellwerk.core.clock import Clock
    from stellwerk.ledger.ports import Book
    from stellwerk.ledger.vault import Vault
    from stellwerk.releases.service import Interlocking
    from stellwerk.reviews.service import Inbox
    from stellwerk.serving.ports import Log
    from stellwerk.store.ports import Blobs

ALL_TIMES = (datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


class Predictions:
    """All predictions of a workspace, sealed or not. Implements `monitoring.ports.PredictionSource`."""

    def __init__(
        self,
        *,
        folder: Path,
        book: Book,
        blobs: Blobs,
        clock: Clock,
        inbox: Inbox,
        interlocking: Interlocking,
        vault: Vault,
    ) -> None:
        self._folder, self._book, self._blobs, self._clock = folder, book, blobs, clock
        self._inbox, self._interlocking, self._vault = inbox, interlocking, vault
        self._spools: dict[str, Spool] = {}
        self._lock = threading.Lock()

    def spool(self, endpoint: str) -> Spool:
        """The open log of an endpoint."""
        with self._lock:
            if endpoint not in self._spools:
                self._spools[endpoint] = Spool(self._folder / endpoint)
            return self._spools[endpoint]

    def batches(self, endpoint: str, since: datetime, until: datetime) -> Iterator[PredictionBatch]:
        """Batches with since <= at < until."""
        return self._log(endpoint).batches(endpoint, since, until)

    def sizes(self, endpoint: str, batches: Collection[str]) -> Mapping[str, int]:
        """How many predictions each of these batches has."""
        return self._log(endpoint).sizes(endpoint, batches)

    def count(self, endpoint: str) -> int:
        """How many predictions are sealed."""
        with self._book.read() as reader:
            return sum(segment.predictions for segment in SEGMENTS.select(reader, endpoint=endpoint))

    def seal(self, endpoint: str) -> tuple[SegmentInfo, ...]:
        """Seal the open log into the ledger, and open the cases that its predictions were steered to."""
        sealed = segments.seal(self.spool(endpoint), self._blobs, self._book, self._clock, endpoint)
        # Not only what was sealed just now: a crash may have come between sealing and opening the cases.
        taken = self._inbox.taken()
        with self._book.read() as reader:
            waiting = [info for info in SEGMENTS.select(reader, endpoint=endpoint) if info.digest not in taken]
        for info in waiting:
            self._inbox.take(endpoint, info.digest, [case for batch in self._of(info) for case in self._cases(batch)])
        return sealed

    def answered(self, prediction: str) -> Answered:
        """One answer as the log has it. Raises `NotFound`."""
        known = [endpoint.name for endpoint in self._interlocking.endpoints()]
        found = self._log(*known).find(prediction)
        batch, row = found.batch, found.row
        steer = batch.steered.get(row)
        answer = batch.answers[row]
        return Answered(
            id=prediction,
            endpoint=batch.endpoint,
            release=batch.release,
            model=batch.model,
            at=format_instant(batch.at),
            signal=batch.signal,
            segment=found.segment,
            inputs={name: values[row] for name, values in batch.columns.items()},
            answer=f"{answer} {batch.scores[row]}" if answer is not None else "left to a person",
            steered=steer.reason if steer else "",
        )

    def segments_of(self, endpoint: str, release: str) -> list[tuple[Digest, int]]:
        """Sealed segments, with how many answers a release gave in each."""
        with self._book.read() as reader:
            infos = SEGMENTS.select(reader, endpoint=endpoint)
        counted = [
            (info.digest, sum(batch.count for batch in self._of(info) if batch.release == release)) for info in infos
        ]
        return [(digest, count) for digest, count in counted if count]

    def _log(self, *endpoints: str) -> segments.PredictionLog:
        return segments.PredictionLog(
            self._book,
            self._blobs,
            {endpoint: self.spool(endpoint) for endpoint in endpoints},
            opened=lambda batches: protecting.opened(batches, self._vault),
        )

    def log(self, endpoint: str, subject: str) -> Log:
        """Where an endpoint's predictions are kept; with a declared subject, under the keys of people."""
        spool = self.spool(endpoint)
        return protecting.ProtectedLog(spool, self._vault, subject) if subject else spool

    def rows_under(self, endpoint: str, ids: Collection[str]) -> int:
        """How many logged rows of an endpoint are encrypted under these keys."""
        log = segments.PredictionLog(self._book, self._blobs, {endpoint: self.spool(endpoint)})
        return protecting.subject_rows(log.batches(endpoint, *ALL_TIMES), ids)

    def _of(self, info: SegmentInfo) -> Iterator[PredictionBatch]:
        return map(codec.unpack, self._blobs.get(info.digest).splitlines())

    def _cases(self, batch: PredictionBatch) -> Iterator[Case]:
        steering = {endpoint.name: endpoint.steering for endpoint in self._interlocking.endpoints()}
        rule = steering.get(batch.endpoint)
        for row, steer in batch.steered.items():
            if not steer.to_people or rule is None:
                continue
            yield Case(
                id=f"{batch.id}-{row}",
                endpoint=batch.endpoint,
                kind="audit" if steer.kind == "audit" else "slice",
                subject=f"prediction:{batch.id}-{row}",
                queue=rule.review_queue,
                opened_at=batch.at,
                due_at=batch.at + rule.review_due,
                why=steer.reason,
                probability=steer.probability,
                facts={"release": batch.release, "model": batch.model},
            )
