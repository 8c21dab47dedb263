"""Evaluation datasets: examples with what is expected of an answer, kept together for experiments that judge by them.

A record is known by its inputs: to say something of the same inputs again changes the record. What records say is in
their own table; the ledger holds how many changed, and a digest of the state they came to.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from stellwerk.core.clock import Clock, format_instant
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.search import (
    ATTRIBUTES,
    TAGS,
    Clause,
    Grammar,
    Order,
    parse_filter,
    parse_order,
)
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import Shelf, evolve
from stellwerk.ledger.sought import Said, SoughtShelf
from stellwerk.tracking import experiments, rules

MAX_NAME = 255
MAX_TAG_KEY, MAX_TAG = 255, 5000
MAX_FIELDS = 10_000
"""In a schema; it is read and written with every change."""
USER_TAG = "mlflow.user"
"""Says who made or changed something, by what the client says."""
SOURCES = ("UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE")
PARTS = ("inputs", "outputs", "expectations")
GRAMMAR = Grammar(
    of="an evaluation dataset",
    entities={**TAGS, **ATTRIBUTES, "dataset": "attribute"},
    texts=("name", "dataset_id", "digest", "created_by", "last_updated_by"),
    numbers=("created_time", "last_update_time"),
    listed=("name", "dataset_id"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationDataset:
    """What is said of a dataset; its examples are records of their own.

    Attributes:
        fields: Which fields its records ever had in each part, and of which type the first value was; a part that is no
            object has its type alone.
        count: How many records there are.
        last: The place of the newest record; none is given twice.
        digest: Of the records; another one after every change of them.
        experiments: Whose it is.
    """

    id: str
    name: str
    created_at: datetime
    changed_at: datetime
    created_by: str
    changed_by: str
    digest: str
    tags: dict[str, str] = field(default_factory=dict)
    fields: dict[str, dict[str, str] | str] = field(default_factory=dict)
    count: int = 0
    last: int = 0
    experiments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """One example. What people put in is JSON text, as whatever they wrote comes back unchanged.

    Attributes:
        id: Follows from the dataset and the inputs.
        place: Where it stands in the dataset.
    """

    dataset: str
    id: str
    place: int
    inputs: str
    outputs: str
    expectations: str
    tags: str
    source_type: str
    source: str
    created_at: datetime
    changed_at: datetime
    created_by: str
    changed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What became of records that were given."""

    inserted: int
    updated: int


def _said_of(one: EvaluationDataset) -> Said:
    yield from (("tag", key, text) for key, text in one.tags.items())
    yield from (("experiment", experiment, "") for experiment in one.experiments)
    yield "attribute", "name", one.name
    yield "attribute", "digest", one.digest
    yield "attribute", "created_by", one.created_by
    yield "attribute", "last_updated_by", one.changed_by
    yield "attribute", "created_at", format_instant(one.created_at)  # as exact as it is known, for the order
    yield "attribute", "created_time", rules.milliseconds(one.created_at)
    yield "attribute", "last_update_time", rules.milliseconds(one.changed_at)


EVALUATIONS = SoughtShelf(
    "evaluation_datasets",
    EvaluationDataset,
    key=("id",),
    said=_said_of,
    values="evaluation_values",
    columns={"dataset_id": "id"},
)
RECORDS = Shelf("evaluation_records", EvaluationRecord, key=("dataset", "id"), index=("place",))


class EvaluationFinder(Protocol):
    """An index of evaluation datasets by what is said of them."""

    def find(
        self,
        reader: Reader,
        of: Collection[str],
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        limit: int,
        offset: int,
    ) -> list[str]:
        """Ids of the datasets of some experiments, or of all, that meet all conditions, in order; then the newest."""
        ...


class Evaluations:
    """Evaluation datasets of one workspace and actor."""

    def __init__(self, book: Book, clock: Clock, finder: EvaluationFinder) -> None:
        self._book, self._clock, self._finder = book, clock, finder

    def create(
        self, name: str, *, tags: Mapping[str, Any] | None = None, of: Sequence[str] = ()
    ) -> EvaluationDataset:
        """Make a dataset for some experiments. Names need not be unique. Raises `NotFound` for an unknown experiment."""
        if not name or len(name) > MAX_NAME:
            raise Invalid(f"a dataset's name has 1 to {MAX_NAME} characters", code="invalid-name")
        labels = _labels(tags or {})
        now = self._clock.now()
        identity = f"d-{secrets.token_hex(16)}"
        with self._book.write() as tx:
            user = labels.get(USER_TAG, tx.actor)
            made = EvaluationDataset(
                id=identity,
                name=name,
                created_at=now,
                changed_at=now,
                created_by=user,
                changed_by=user,
                digest=_digest("", [identity]),
                tags=labels,
                experiments=_known(tx, of),
            )
            EVALUATIONS.insert(tx, made)
            tx.record("evaluation.created", _subject(made), {"name": name, "experiments": list(made.experiments)})
        return made

    def get(self, dataset: str) -> EvaluationDataset:
        """One dataset. Raises `NotFound`."""
        with self._book.read() as reader:
            return _find(reader, dataset)

    def search(
        self,
        of: Collection[str] = (),
        *,
        where: str = "",
        order: Sequence[str] = (),
        limit: int = 1000,
        offset: int = 0,
    ) -> list[EvaluationDataset]:
        """Datasets of some experiments, or of all, that meet all conditions; the newest first where nothing is said."""
        clauses, criteria = parse_filter(where, GRAMMAR), parse_order(order, GRAMMAR)
        with self._book.read() as reader:
            ids = self._finder.find(reader, set(of), where=clauses, order=criteria, limit=limit, offset=offset)
            return EVALUATIONS.keyed(reader, [(one,) for one in ids])

    def tag(self, dataset: str, tags: Mapping[str, Any]) -> EvaluationDataset:
        """Set tags; one whose value is None is taken away."""
        with self._book.write() as tx:
            known = _find(tx, dataset, f"Could not find evaluation dataset with ID {dataset[:100]}")
            kept = {key: value for key, value in known.tags.items() if key not in tags}
            changed = evolve(known, tags={**kept, **_labels(tags)})
            return self._keep(tx, known, changed, "evaluation.tagged", {"keys": sorted(tags)})

    def untag(self, dataset: str, key: str) -> None:
        """Take a tag away, if dataset and tag are there."""
        with self._book.write() as tx:
            known = EVALUATIONS.find(tx, dataset)
            if known is not None:
                tags = {name: value for name, value in known.tags.items() if name != key}
                self._keep(tx, known, evolve(known, tags=tags), "evaluation.tagged", {"keys": [key]})

    def join(self, dataset: str, experiments: Sequence[str]) -> EvaluationDataset:
        """Add a dataset to experiments. Raises `NotFound` for an unknown experiment."""
        with self._book.write() as tx:
            known = _find(tx, dataset, f"Dataset '{dataset[:100]}' not found")
            all_of = tuple(dict.fromkeys((*known.experiments, *_known(tx, experiments))))
            changed = evolve(known, experiments=all_of)
            return self._keep(tx, known, changed, "evaluation.assigned", {"experiments": list(all_of)})

    def leave(self, dataset: str, experiments: Collection[str]) -> EvaluationDataset:
        """Take a dataset out of experiments; those that it is not in are left alone."""
        with self._book.write() as tx:
            known = _find(tx, dataset, f"Dataset '{dataset[:100]}' not found")
            rest = tuple(one for one in known.experiments if one not in experiments)
            changed = evolve(known, experiments=rest)
            return self._keep(tx, known, changed, "evaluation.assigned", {"experiments": list(rest)})

    def delete(self, dataset: str) -> None:
        """Take a dataset away with its records, if it is there; the ledger keeps that it was."""
        with self._book.write() as tx:
            known = EVALUATIONS.find(tx, dataset)
            if known is None:
                return
            RECORDS.remove_all(tx, dataset=dataset)
            EVALUATIONS.remove(tx, dataset)
            told = {"name": known.name, "records": known.count, "digest": known.digest}
            tx.record("evaluation.deleted", _subject(known), told)

    def merge(self, dataset: str, records: Sequence[Any]) -> Merged:
        """Add records, all or none. Of one with known inputs, outputs are replaced, expectations and tags added to.

        Raises:
            Invalid: `invalid-evaluation-record`, naming which and why.
        """
        drafts = [_draft(dataset, record, index) for index, record in enumerate(records)]
        now = self._clock.now()
        with self._book.write() as tx:
            known = _find(tx, dataset)
            before = {one.id: one for one in RECORDS.among(tx, "id", {one.id for one in drafts}, dataset=dataset)}
            kept, updated, last, by = dict(before), 0, known.last, known.changed_by
            for one in drafts:
                user = one.tags.get(USER_TAG)
                by = user or by
                if one.id in kept:
                    kept[one.id] = _merged(kept[one.id], one, now, user)
                    updated += 1
                else:
                    last += 1
                    kept[one.id] = _fresh(one, last, now, user or tx.actor)
            added = [one for identity, one in kept.items() if identity not in before]
            changed = [one for identity, one in kept.items() if identity in before and one != before[identity]]
            RECORDS.insert_new(tx, added)
            for record in changed:
                RECORDS.put(tx, record)
            self._recount(
                tx,
                known,
                [*added, *changed],
                fields=_fields(known.fields, drafts),
                count=known.count + len(added),
                last=last,
                by=by,
            )
        return Merged(inserted=len(added), updated=updated)

    def records(self, dataset: str, *, limit: int | None = None, offset: int = 0) -> list[EvaluationRecord]:
        """Records in the order in which they came. Raises `NotFound`."""
        with self._book.read() as reader:
            _find(reader, dataset)
            return RECORDS.select(reader, dataset=dataset, order="place", limit=limit, offset=offset)

    def prune(self, dataset: str, records: Collection[str]) -> int:
        """Take records away, and say how many were there."""
        with self._book.write() as tx:
            known = _find(tx, dataset)
            gone = RECORDS.among(tx, "id", set(records), dataset=dataset)
            for one in gone:
                RECORDS.remove(tx, dataset, one.id)
            if gone:
                self._recount(tx, known, [], count=known.count - len(gone), gone=sorted(one.id for one in gone))
        return len(gone)

    def _recount(
        self,
        tx: Transaction,
        known: EvaluationDataset,
        records: Sequence[EvaluationRecord],
        *,
        count: int,
        fields: dict[str, dict[str, str] | str] | None = None,
        last: int | None = None,
        by: str = "",
        gone: Sequence[str] = (),
    ) -> None:
        if not records and not gone:
            return
        facts = [text for one in records for text in (one.id, one.outputs, one.expectations, one.tags)]
        changed = evolve(
            known,
            fields=known.fields if fields is None else fields,
            count=count,
            last=known.last if last is None else last,
            digest=_digest(known.digest, [*facts, *gone]),
            changed_at=self._clock.now(),
            changed_by=by or known.changed_by,
        )
        EVALUATIONS.put(tx, changed)
        kind = "evaluation.pruned" if gone else "evaluation.recorded"
        told = {"changed": len(records) + len(gone), "records": count, "digest": changed.digest}
        tx.record(kind, _subject(known), told)

    def _keep(
        self,
        tx: Transaction,
        known: EvaluationDataset,
        changed: EvaluationDataset,
        kind: str,
        told: Mapping[str, Any],
    ) -> EvaluationDataset:
        if changed == known:
            return known
        changed = evolve(changed, changed_at=self._clock.now())
        EVALUATIONS.put(tx, changed)
        tx.record(kind, _subject(known), told)
        return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A record as it was given, checked."""

    dataset: str
    id: str
    inputs: Mapping[str, Any]
    expectations: Mapping[str, Any]
    tags: Mapping[str, Any]
    spelled: str
    outputs: Any
    says_outputs: bool
    source_type: str
    source: str


def _draft(dataset: str, record: Any, index: int) -> _Draft:
    if not isinstance(record, dict):
        raise _wrong(index, "it must be an object")
    parts: dict[str, dict[str, Any]] = {}
    for name in ("inputs", "expectations", "tags", "source"):
        found = record.get(name)
        if found is not None and not isinstance(found, dict):
            raise _wrong(index, f"{name!r} must be an object")
        parts[name] = found or {}
    if record.get("inputs") is None and "inputs" in record:
        raise _wrong(index, "'inputs' must be provided")
    inputs, source = _spelled(parts["inputs"], index), parts["source"]
    kind = source.get("source_type", "UNSPECIFIED")
    if not isinstance(kind, str) or kind.upper() not in SOURCES:
        raise _wrong(index, f"Invalid dataset record source type. Valid source types: {list(SOURCES)}")
    user = parts["tags"].get(USER_TAG)
    if user is not None and not isinstance(user, str):
        raise _wrong(index, f"the tag {USER_TAG!r} must be a text")
    return _Draft(
        dataset=dataset,
        id="dr-" + hashlib.sha256(f"{dataset}\n{inputs}".encode()).hexdigest()[:32],
        inputs=parts["inputs"],
        expectations=parts["expectations"],
        tags=parts["tags"],
        spelled=inputs,
        outputs=record.get("outputs", {}),
        says_outputs="outputs" in record,
        source_type=kind.upper() if source else "",
        source=_spelled(source.get("source_data") or {}, index) if source else "",
    )


def _fresh(one: _Draft, place: int, now: datetime, by: str) -> EvaluationRecord:
    return EvaluationRecord(
        dataset=one.dataset,
        id=one.id,
        place=place,
        inputs=one.spelled,
        outputs=_spelled(one.outputs),
        expectations=_spelled(one.expectations or None),
        tags=_spelled(one.tags),
        source_type=one.source_type,
        source=one.source,
        created_at=now,
        changed_at=now,
        created_by=by,
        changed_by=by,
    )


def _merged(known: EvaluationRecord, one: _Draft, now: datetime, by: str | None) -> EvaluationRecord:
    expectations = {**(json.loads(known.expectations) or {}), **one.expectations}
    changed = evolve(
        known,
        outputs=_spelled(one.outputs) if one.says_outputs else known.outputs,
        expectations=_spelled(expectations or None),
        tags=_spelled({**json.loads(known.tags), **one.tags}),
        changed_by=by or known.changed_by,
    )
    return known if changed == known else evolve(changed, changed_at=now)


def _fields(known: Mapping[str, dict[str, str] | str], drafts: Sequence[_Draft]) -> dict[str, dict[str, str] | str]:
    """Which fields there are, with those that came. What once had a type keeps it."""
    found: dict[str, dict[str, str] | str] = {}
    for part in PARTS:
        before = known.get(part, {})
        found[part] = dict(before) if isinstance(before, dict) else before
    for one in drafts:
        outputs = one.outputs if one.says_outputs else None
        for part, said in (("inputs", one.inputs), ("outputs", outputs), ("expectations", one.expectations)):
            types = found[part]
            if isinstance(said, Mapping) and isinstance(types, dict):
                for key, value in said.items():
                    types.setdefault(key, _type(value))
            elif said is not None and not types:
                found[part] = _type(said)
    if any(len(types) > MAX_FIELDS for types in found.values()):
        raise Invalid(f"a dataset has at most {MAX_FIELDS:,} fields", code="too-many")
    return found


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "float"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _spelled(value: Any, index: int = 0) -> str:
    """JSON of a value: sorted, so that equal inputs are spelled alike, and in ASCII, which every database holds."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except RecursionError as cause:
        raise _wrong(index, "it is nested too deeply") from cause


def _digest(before: str, facts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join((before, *facts)).encode()).hexdigest()[:32]


def _labels(tags: Mapping[str, Any]) -> dict[str, str]:
    found = {key: value if isinstance(value, str) else str(value) for key, value in tags.items() if value is not None}
    for key, value in found.items():
        if not key or len(key) > MAX_TAG_KEY:
            raise Invalid(f"the key of a tag has 1 to {MAX_TAG_KEY} characters", code="invalid-name")
        if len(value) > MAX_TAG:
            raise rules.too_long(f"tags.{key[:100]}", MAX_TAG)
    return found


def _known(reader: Reader, ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(experiments.find(reader, one).id for one in ids))


def _find(reader: Reader, dataset: str, missing: str = "") -> EvaluationDataset:
    found = EVALUATIONS.find(reader, dataset)
    if found is None:
        raise NotFound(missing or f"Evaluation dataset with id '{dataset[:100]}' not found")
    return found


def _subject(one: EvaluationDataset) -> str:
    return f"evaluation:{one.id}"


def _wrong(index: int, why: str) -> Invalid:
    return Invalid(f"record {index} cannot be kept: {why}", code="invalid-evaluation-record")
