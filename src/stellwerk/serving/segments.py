"""The prediction log behind the file that is being written: sealing files into blobs, finding predictions again.

A crash anywhere neither loses nor doubles a batch: a file is removed only after its segment is in the book, and a
file that is in the book already is recognised by its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime

from stellwerk.core import failpoints
from stellwerk.core.clock import Clock
from stellwerk.core.errors import Corrupt, NotFound, Unavailable
from stellwerk.ledger.ports import Book, Reader
from stellwerk.serving import codec, rules
from stellwerk.serving.model import Found, PredictionBatch, SealedBatch, SegmentInfo
from stellwerk.serving.ports import Records
from stellwerk.serving.shelves import SEGMENTS
from stellwerk.store.ports import Blobs

failpoints.declare("segment.blob", "segment.row", "segment.unlink")

PAGE = 500


def seal(records: Records, blobs: Blobs, book: Book, clock: Clock, endpoint: str) -> tuple[SegmentInfo, ...]:
    """Seal everything that is in an endpoint's log at this moment. Safe in several processes at once.

    Where another process writes the log, that process ends its files; those that have ended are sealed.

    Returns:
        The segments whose files were removed, oldest first, also those that a crash had left half done.
    """
    try:
        records.rotate()
    except Unavailable as cause:
        if cause.code != "spool-busy":
            raise
    sealed = []
    for name in records.pending():
        try:
            sealed.append(_seal(name, records, blobs, book, clock, endpoint))
        except NotFound:
            continue  # another process was faster
    return tuple(info for info in sealed if info is not None)


def _seal(name: str, records: Records, blobs: Blobs, book: Book, clock: Clock, endpoint: str) -> SegmentInfo | None:
    tally = _Tally(endpoint)
    failpoints.hit("segment.blob")
    digest = blobs.put_stream(tally.lines(records.read(name)))
    if tally.batches == 0:
        records.discard(name)
        return None
    info = SegmentInfo(
        endpoint=endpoint,
        first=tally.first,
        last=tally.last,
        digest=digest,
        batches=tally.batches,
        predictions=tally.predictions,
        sealed_at=clock.now(),
    )
    failpoints.hit("segment.row")
    with book.write() as tx:
        known = SEGMENTS.find(tx, endpoint, info.first)
        if known is None:
            SEGMENTS.insert(tx, info)
            tx.record(
                "predictions.sealed",
                f"endpoint:{endpoint}",
                {
                    "digest": info.digest,
                    "batches": info.batches,
                    "predictions": info.predictions,
                    "first": info.first,
                    "last": info.last,
                },
            )
        elif known.digest != digest:
            raise Corrupt(
                f"batch {info.first} is sealed in {known.digest}, and again in a file of other content",
                code="corrupt-prediction",
                hint="the file was not changed",
            )
    failpoints.hit("segment.unlink")
    records.discard(name)
    return known or info


class _Tally:
    """Counts the batches that pass by on their way into a blob."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.first = self.last = ""
        self.batches = self.predictions = 0

    def lines(self, payloads: Iterator[bytes]) -> Iterator[bytes]:
        for payload in payloads:
            head = codec.head(payload)
            if head.endpoint != self._endpoint:
                raise Corrupt(
                    f"the log of endpoint {self._endpoint!r} holds a batch of {head.endpoint!r}",
                    code="corrupt-prediction",
                )
            self.first = min(self.first or head.id, head.id)
            self.last = max(self.last, head.id)
            self.batches += 1
            self.predictions += head.count
            yield payload + b"\n"


class PredictionLog:
    """All predictions of a workspace, sealed or not.

    Args:
        records: What is not sealed yet, by endpoint.
        opened: Makes batches readable that are kept encrypted.
    """

    def __init__(
        self,
        book: Book,
        blobs: Blobs,
        records: Mapping[str, Records],
        opened: Callable[[Iterable[PredictionBatch]], Iterator[PredictionBatch]] = iter,
    ) -> None:
        self._book, self._blobs, self._records, self._opened = book, blobs, records, opened

    def find(self, prediction_id: str) -> Found:
        """A prediction by its id. Raises `NotFound`."""
        batch_id, row = rules.parse_prediction_id(prediction_id)
        # Unsealed first: what is sealed in between is then found in a segment.
        waiting = [part.unsealed() for part in self._records.values()]
        for info in self._segments_with(batch_id):
            for line in self._lines(info):
                if batch_id.encode() in line and (batch := codec.unpack(line)).id == batch_id:
                    return self._found(batch, row, info)
        for payloads in waiting:
            for payload in payloads:
                if batch_id.encode() in payload and (batch := codec.unpack(payload)).id == batch_id:
                    return self._found(batch, row, None)
        raise NotFound(f"no prediction {prediction_id}")

    def batches(self, endpoint: str, since: datetime, until: datetime) -> Iterator[PredictionBatch]:
        """Batches with since <= at < until: each once, sealed ones first, in the order of their segments."""
        return self._opened(self._batches(endpoint, since, until))

    def _batches(self, endpoint: str, since: datetime, until: datetime) -> Iterator[PredictionBatch]:
        waiting = [payload for part in self._part(endpoint) for payload in part.unsealed()]
        left = {codec.head(payload).id for payload in waiting}
        low, high = rules.time_prefix(since), rules.time_prefix(until)
        with self._book.read() as reader:
            segments = SEGMENTS.select(reader, endpoint=endpoint, order="first")
        for info in segments:
            if info.last[: len(low)] < low or info.first[: len(high)] > high:
                continue
            for line in self._lines(info):
                batch = codec.unpack(line)
                if since <= batch.at < until:
                    left.discard(batch.id)
                    yield batch
        for payload in waiting:
            batch = codec.unpack(payload)
            if batch.id in left and since <= batch.at < until:
                yield batch

    def sizes(self, endpoint: str, batches: Collection[str]) -> dict[str, int]:
        """How many predictions each of these batches has; batches that are not in the log are left out."""
        waiting = [part.unsealed() for part in self._part(endpoint)]
        wanted, result = set(batches), {}
        with self._book.read() as reader:
            segments = SEGMENTS.select(reader, endpoint=endpoint)
        hit = [info for info in segments if any(info.first <= batch <= info.last for batch in wanted)]
        for payloads in (*map(self._lines, hit), *waiting):
            for payload in payloads:
                head = codec.head(payload)
                if head.id in wanted:
                    result[head.id] = head.count
        return result

    def _part(self, endpoint: str) -> list[Records]:
        return [self._records[endpoint]] if endpoint in self._records else []

    def _lines(self, info: SegmentInfo) -> Iterator[bytes]:
        return iter(self._blobs.get(info.digest).splitlines())

    def _segments_with(self, batch_id: str) -> list[SegmentInfo]:
        """Segments whose range of ids holds an id. Ranges may overlap a little; the newest come first."""
        found: list[SegmentInfo] = []
        with self._book.read() as reader:
            for info in _newest_first(reader):
                if info.last < batch_id:
                    break
                if info.first <= batch_id:
                    found.append(info)
        return found

    def _found(self, batch: PredictionBatch, row: int, info: SegmentInfo | None) -> Found:
        (batch,) = self._opened([batch])
        if isinstance(batch, SealedBatch) and row in batch.sealed:
            raise NotFound(
                f"the inputs of prediction {batch.id}-{row} were erased",
                code="erased",
                hint="the person they were about asked for it; the ledger says when",
            )
        if row >= batch.count:
            raise NotFound(f"no prediction {batch.id}-{row}: its batch has {batch.count}")
        return Found(batch=batch, row=row, segment=info.digest if info else None)


def _newest_first(reader: Reader) -> Iterator[SegmentInfo]:
    offset = 0
    while page := SEGMENTS.select(reader, order="-last", limit=PAGE, offset=offset):
        yield from page
        offset += len(page)
