"""Recording labels, keeping baselines, assessing releases: reads through ports, applies the rules, writes the result.

What serving logged comes through `PredictionSource`; who renews or slows down with the result is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Lock
from typing import Any

from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.core.names import new_id
from stellwerk.ledger import documents
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.models.model import Signature
from stellwerk.monitoring import outcomes as rules_of_outcomes
from stellwerk.monitoring.model import (
    Alarm,
    AlarmRecord,
    Assessment,
    Baseline,
    BaselineRecord,
    Outcome,
    OutcomeBatch,
    OutcomeReport,
    Settings,
)
from stellwerk.monitoring.outcomes import Known, Sifted
from stellwerk.monitoring.ports import PredictionSource
from stellwerk.monitoring.shelves import ALARMS, ASSESSMENTS, BASELINES, OUTCOMES
from stellwerk.store.ports import Blobs

_ATTEMPTS = 8
_SHOWN = 5


@dataclass(slots=True)
class _Index:
    """The labels of an endpoint that this process has read; batches never change, so only new ones are read."""

    batches: int = 0
    labels: dict[str, Known] = field(default_factory=dict)


class Monitoring:
    """Use cases of the monitoring room for one workspace and actor. Safe for many threads."""

    def __init__(self, book: Book, blobs: Blobs, clock: Clock, predictions: PredictionSource) -> None:
        self._book, self._blobs, self._clock, self._predictions = book, blobs, clock, predictions
        self._indexes: dict[str, _Index] = {}
        self._lock = Lock()

    def record_outcomes(self, endpoint: str, outcomes: Iterable[Outcome]) -> OutcomeReport:
        """Keep what became known. The first label of a prediction stays; whatever else was sent is counted.

        Raises:
            Invalid: a label, id or time that cannot be kept; then nothing of this call is.
        """
        sent = list(outcomes)
        for _ in range(_ATTEMPTS):
            with self._lock:
                index = self._read(endpoint)
                sifted, expected = rules_of_outcomes.sift(sent, index.labels), index.batches
            report = self._record(endpoint, sifted, expected)
            if report is not None:
                return report
        raise Unavailable("others are recording outcomes of this endpoint", code="outcomes-busy", hint="try again")

    def outcomes(self, endpoint: str) -> Mapping[str, Known]:
        """Label, and microseconds since 1970 at which it was observed, of every prediction that has one."""
        with self._lock:
            return dict(self._read(endpoint).labels)

    def outcome_batches(self, endpoint: str) -> list[OutcomeBatch]:
        """What was recorded, oldest first."""
        with self._book.read() as reader:
            return OUTCOMES.select(reader, endpoint=endpoint, order="number")

    def make_baseline(
        self,
        endpoint: str,
        model: Digest,
        *,
        signature: Signature,
        columns: Mapping[str, Any],
        scores: Sequence[Any],
        labels: Sequence[Any],
        **options: Any,
    ) -> tuple[BaselineRecord, Baseline]:
        """Measure the reference of a model on an endpoint and keep it; see `baseline.baseline` for the options."""
        from stellwerk.monitoring.baseline import baseline  # numpy and scipy: only those who assess pay for them

        now = self._clock.now()
        made = baseline(
            endpoint=endpoint,
            model=model,
            now=now,
            signature=signature,
            columns=columns,
            scores=scores,
            labels=labels,
            **options,
        )
        digest = self._blobs.put(documents.text(made).encode())
        record = BaselineRecord(endpoint=endpoint, model=model, digest=digest, made_at=now)
        with self._book.write() as tx:
            BASELINES.put(tx, record)
            tx.record(
                "baseline.made",
                f"endpoint:{endpoint}",
                {
                    "model": model,
                    "digest": digest,
                    "rows": made.rows,
                    "risk": repr(made.risk_estimate),
                    "risk_upper": repr(made.risk_upper),
                },
            )
        return record, made

    def baseline(self, endpoint: str, model: Digest) -> Baseline:
        """What was true of a model when it was released. Raises `NotFound`."""
        with self._book.read() as reader:
            record = BASELINES.get(reader, endpoint, model)
        return documents.parse(Baseline, self._blobs.get(record.digest))

    def assess(
        self, endpoint: str, *, release: str, baseline: Baseline, since: datetime, settings: Settings
    ) -> Assessment:
        """Judge a release by the log and the labels, keep the result, raise and clear its alarms.

        Args:
            since: When the release began; older predictions do not count.
        """
        from stellwerk.monitoring import alarms, predictions, rules  # as above

        if baseline.endpoint != endpoint:
            raise Invalid(f"the baseline is of {baseline.endpoint!r}, not {endpoint!r}", code="wrong-baseline")
        now = self._clock.now()
        gathered = predictions.gather(
            self._predictions.batches(endpoint, since, now),
            self.outcomes(endpoint),
            model=baseline.model,
            task=baseline.task,
            classes=baseline.classes,
            recent_since=since if settings.recent is None else max(since, now - settings.recent),
            group_by=settings.groups or (),
        )
        with self._book.read() as reader:
            look = 1 + ASSESSMENTS.count(reader, endpoint=endpoint, release=release)
        found = rules.assess(
            gathered, baseline, settings, id=new_id(now), release=release, since=since, now=now, look=look
        )
        found = replace(found, digest=self._blobs.put(documents.text(found).encode()))
        with self._book.write() as tx:
            ASSESSMENTS.insert(tx, found)
            tx.record("endpoint.assessed", f"endpoint:{endpoint}", _facts(found))
            changes = alarms.changes(found, ALARMS.select(tx, endpoint=endpoint, release=release, status="open"))
            for alarm, before in changes.raised:
                _raise(tx, found, alarm, before)
            for record in changes.cleared:
                _clear(tx, found, record)
        return found

    def assessments(self, endpoint: str, *, limit: int = 100) -> list[Assessment]:
        """What was found, newest first."""
        with self._book.read() as reader:
            return ASSESSMENTS.select(reader, endpoint=endpoint, order="-id", limit=limit)

    def assessment(self, assessment_id: str) -> Assessment:
        """One assessment. Raises `NotFound`."""
        with self._book.read() as reader:
            return ASSESSMENTS.get(reader, assessment_id)

    def open_alarms(self, endpoint: str, release: str | None = None) -> list[AlarmRecord]:
        """Alarms that have not been cleared, oldest first."""
        equal: dict[str, Any] = {"endpoint": endpoint, "status": "open"}
        if release is not None:
            equal["release"] = release
        with self._book.read() as reader:
            return ALARMS.select(reader, **equal)

    def alarms(self, endpoint: str) -> list[AlarmRecord]:
        """All alarms ever raised, oldest first."""
        with self._book.read() as reader:
            return ALARMS.select(reader, endpoint=endpoint)

    def _read(self, endpoint: str) -> _Index:
        """The labels known so far, read on from where this process stopped. Call it with the lock held."""
        index = self._indexes.setdefault(endpoint, _Index())
        with self._book.read() as reader:
            batches = OUTCOMES.select(reader, endpoint=endpoint, order="number", offset=index.batches)
        for batch in batches:
            for prediction, label in rules_of_outcomes.decode(self._blobs.get(batch.digest)).items():
                index.labels.setdefault(prediction, label)
            index.batches = batch.number + 1
        return index

    def _record(self, endpoint: str, sifted: Sifted, expected: int) -> OutcomeReport | None:
        """Write what is new; None if somebody else has written since it was looked up."""
        unknown = self._unknown(endpoint, sifted)
        body: dict[str, Any] = {
            "count": len(sifted.fresh),
            "repeated": sifted.repeated,
            "conflicts": len(sifted.conflicts),
            "unknown": len(unknown),
        }
        batch = None
        if sifted.fresh:
            digest = self._blobs.put(rules_of_outcomes.encode(sifted.fresh))
            now, ordered = self._clock.now(), sorted(sifted.fresh)
            batch = OutcomeBatch(
                id=new_id(now),
                endpoint=endpoint,
                number=expected,
                recorded_at=now,
                count=len(ordered),
                first_prediction=ordered[0],
                last_prediction=ordered[-1],
                digest=digest,
            )
            body |= {"batch": batch.id, "digest": digest}
        if batch is not None or sifted.conflicts:
            with self._book.write() as tx:
                if OUTCOMES.count(tx, endpoint=endpoint) != expected:
                    return None
                if batch is not None:
                    OUTCOMES.insert(tx, batch)
                tx.record("outcomes.recorded", f"endpoint:{endpoint}", body)
        return OutcomeReport(
            batch=batch,
            accepted=len(sifted.fresh),
            repeated=sifted.repeated,
            conflicts=len(sifted.conflicts),
            unknown=len(unknown),
            examples=(*sifted.conflicts[:_SHOWN], *unknown[:_SHOWN]),
        )

    def _unknown(self, endpoint: str, sifted: Sifted) -> tuple[str, ...]:
        places = (rules_of_outcomes.place(prediction) for prediction in sifted.fresh)
        wanted = {found[0] for found in places if found is not None}
        sizes = self._predictions.sizes(endpoint, wanted) if wanted else {}
        return rules_of_outcomes.unknown(list(sifted.fresh), sizes)


def _raise(tx: Transaction, found: Assessment, alarm: Alarm, before: AlarmRecord | None) -> None:
    record = AlarmRecord(
        id=before.id if before is not None else new_id(found.at),
        endpoint=found.endpoint,
        release=found.release,
        kind=alarm.kind,
        severity=alarm.severity,
        text=alarm.text,
        numbers=alarm.numbers,
        status="open",
        raised_at=found.at,
        assessment=found.id,
    )
    ALARMS.put(tx, record)
    tx.record(
        "alarm.raised",
        f"endpoint:{found.endpoint}",
        {
            "alarm": record.id,
            "release": found.release,
            "kind": alarm.kind,
            "severity": alarm.severity,
            "was": before.severity if before is not None else None,
            "text": alarm.text,
            "numbers": {name: repr(value) for name, value in alarm.numbers.items()},
            "assessment": found.id,
        },
    )


def _clear(tx: Transaction, found: Assessment, record: AlarmRecord) -> None:
    ALARMS.put(tx, replace(record, status="cleared", cleared_at=found.at))
    tx.record(
        "alarm.cleared",
        f"endpoint:{found.endpoint}",
        {"alarm": record.id, "release": found.release, "kind": record.kind, "assessment": found.id},
    )


def _facts(found: Assessment) -> dict[str, Any]:
    """The numbers of an assessment as the ledger keeps them."""
    return {
        "assessment": found.id,
        "release": found.release,
        "model": found.model,
        "digest": found.digest,
        "predictions": found.predictions,
        "matured": found.matured,
        "labelled": found.labelled,
        "risk": {
            "estimate": _text(found.risk.estimate),
            "lower": _text(found.risk.lower),
            "upper": _text(found.risk.upper),
            "limit": _text(found.risk.limit),
            "evidence": _text(found.risk.evidence),
        },
        "measures": {
            measure.metric: {
                "estimate": _text(measure.estimate),
                "lower": _text(measure.lower),
                "upper": _text(measure.upper),
                "n": measure.n,
            }
            for measure in found.measures
        },
        "drifted": [finding.column for finding in found.drift if finding.material],
        "alarms": [{"kind": alarm.kind, "severity": alarm.severity} for alarm in found.alarms],
    }


def _text(value: float | None) -> str | None:
    return None if value is None else repr(value)
