"""Logged models: models as runs log them, before anybody registers one."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.search import (
    LOGGED,
    MAX_CLAUSES,
    TAGS,
    Clause,
    Grammar,
    Order,
    Subject,
    parse_filter,
    parse_order,
)
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.ledger.sought import Said, SoughtShelf
from stellwerk.tracking import experiments, rules
from stellwerk.tracking.model import Score

Status = Literal["pending", "ready", "failed"]
MAX_NAME = 500
MAX_KEY = 250
MAX_VALUE = 100_000
MAX_PAIRS = 10_000
"""Tags of one model, and parameters of one model."""
VERSIONS_TAG = "mlflow.modelVersions"
_BAD = ("/", ":", ".", "%", '"', "'")
GRAMMAR = Grammar(
    of="a logged model",
    entities={**LOGGED, **TAGS, "attribute": "attribute", "attributes": "attribute"},
    texts=("name", "model_id", "model_type", "status", "source_run_id", "experiment_id"),
    numbers=("creation_timestamp", "last_updated_timestamp"),
    listed=("name", "model_id", "model_type", "status", "source_run_id", "experiment_id"),
    missing=("model_type", "source_run_id"),
    spellings={
        "creation_time": "creation_timestamp",
        "creation_timestamp_ms": "creation_timestamp",
        "last_updated_timestamp_ms": "last_updated_timestamp",
    },
    words={
        "status": {
            "logged_model_pending": "pending",
            "logged_model_ready": "ready",
            "logged_model_upload_failed": "failed",
            "upload_failed": "failed",
        }
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """A model that a run, or nobody, logged; its files are artifacts."""

    id: str
    experiment: str
    name: str
    model_type: str = ""
    source_run: str = ""
    status: Status = "pending"
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    created_at: datetime
    changed_at: datetime
    deleted_at: datetime | None = None
    location: str = ""
    """Where its files are, if not in the tree of artifacts."""

    @property
    def home(self) -> str:
        """The address of its files."""
        return self.location or f"mlflow-artifacts:/{self.experiment}/models/{self.id}/artifacts"


@dataclass(frozen=True, slots=True)
class OnData:
    """A dataset by name, and by digest where one is given."""

    name: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion of an order: a field, and for metrics the data that they were measured on."""

    name: str
    descending: bool = False
    on: OnData = OnData("")


def _said_of(model: LoggedModel) -> Said:
    yield from (("tag", key, text) for key, text in model.tags.items())
    yield from (("param", key, text) for key, text in model.params.items())
    yield "attribute", "name", model.name
    yield "attribute", "status", model.status
    if model.model_type:
        yield "attribute", "model_type", model.model_type
    if model.source_run:
        yield "attribute", "source_run_id", model.source_run
    yield "attribute", "creation_timestamp", rules.milliseconds(model.created_at)
    yield "attribute", "last_updated_timestamp", rules.milliseconds(model.changed_at)
    if model.deleted_at is not None:
        yield "state", "deleted", "yes"


MODELS = SoughtShelf(
    "logged_models",
    LoggedModel,
    key=("id",),
    index=("experiment", "created_at"),
    said=_said_of,
    values="logged_values",
    columns={"model_id": "id", "experiment_id": "experiment"},
    ordered=("experiment", "-created_at", "id"),
)


class LoggedFinder(Protocol):
    """An index of logged models by what is said of them and what was measured."""

    def find(
        self,
        reader: Reader,
        among: Sequence[str],
        *,
        where: Sequence[Clause],
        order: Sequence[tuple[Order, OnData]],
        on: Sequence[OnData],
        limit: int,
        offset: int,
    ) -> list[str]:
        """Ids of the models of some experiments that meet all conditions and are not deleted, in order; then the newest.

        Args:
            order: Criteria, and for metrics the data that they were measured on: the newest such value counts.
            on: Only metrics that were measured on one of them count, and only models that have such a metric.
        """
        ...


def no_metrics(_model: str) -> Sequence[Score]:
    """Nobody measured anything."""
    return ()


class LoggedModels:
    """Use cases of logged models for one workspace and actor."""

    def __init__(
        self,
        book: Book,
        clock: Clock,
        finder: LoggedFinder,
        metrics_of: Callable[[str], Sequence[Score]] = no_metrics,
        name_of: Callable[[], str] = rules.random_name,
    ) -> None:
        self._book, self._clock, self._finder, self._name_of = book, clock, finder, name_of
        self.metrics_of = metrics_of
        """The metrics of a model by its id."""

    def create(
        self,
        *,
        experiment: str,
        name: str = "",
        model_type: str = "",
        source_run: str = "",
        params: Iterable[tuple[str, str]] = (),
        tags: Iterable[tuple[str, str]] = (),
    ) -> LoggedModel:
        """A new model, whose files are still to come. Raises `NotFound` for an unknown experiment."""
        described, tagged = _once({}, params), _latest({}, tags)
        identity, title, now = f"m-{secrets.token_hex(16)}", checked_name(name or self._name_of()), self._clock.now()
        with self._book.write() as tx:
            home = experiments.find(tx, experiment)
            if home.stage == "deleted":
                raise Invalid(
                    f"The experiment {experiment} must be in the 'active' state. Current state is deleted.",
                    code="deleted-experiment",
                )
            model = LoggedModel(
                id=identity,
                experiment=experiment,
                name=title,
                model_type=model_type,
                source_run=source_run,
                created_at=now,
                changed_at=now,
                location=f"{home.location.rstrip('/')}/models/{identity}/artifacts" if home.location else "",
                params=described,
                tags=tagged,
            )
            MODELS.insert(tx, model)
            facts = {"name": title, "experiment": experiment, "run": source_run, "params": len(model.params)}
            tx.record("logged-model.created", f"logged-model:{identity}", facts)
        return model

    def get(self, model: str, *, deleted: bool = False) -> LoggedModel:
        """A model; one that was deleted only where it is asked for. Raises `NotFound`."""
        with self._book.read() as reader:
            return _find(reader, model, deleted=deleted)

    def known(self, models: Iterable[str]) -> list[LoggedModel]:
        """Those of some models that are there, in the order asked for."""
        wanted = list(dict.fromkeys(models))
        with self._book.read() as reader:
            found = {one.id: one for one in MODELS.among(reader, "id", wanted) if one.deleted_at is None}
        return [found[one] for one in wanted if one in found]

    def finish(self, model: str, status: Status) -> LoggedModel:
        """Say whether its files have arrived."""
        with self._book.write() as tx:
            found = _find(tx, model)
            return self._change(tx, evolve(found, status=status), "finished", {"status": status})

    def delete(self, model: str) -> None:
        """Hide a model; its files stay."""
        with self._book.write() as tx:
            found = _find(tx, model)
            self._change(tx, evolve(found, deleted_at=self._clock.now()), "deleted", {"name": found.name})

    def tag(self, model: str, tags: Iterable[tuple[str, str]]) -> LoggedModel:
        """Set tags; of one key the last value counts."""
        with self._book.write() as tx:
            found = _find(tx, model)
            changed = evolve(found, tags=_latest(found.tags, tags))
            if changed == found:
                return found
            keys = sorted(key for key, value in changed.tags.items() if found.tags.get(key) != value)
            return self._change(tx, changed, "tagged", {"keys": keys})

    def untag(self, model: str, key: str) -> LoggedModel:
        """Take a tag away. Raises `NotFound`."""
        with self._book.write() as tx:
            found = _find(tx, model)
            if key not in found.tags:
                raise NotFound(
                    f"No tag with key {key[:60]!r} found for model with ID {model[:60]!r}.", code="unknown-tag"
                )
            tags = {known: value for known, value in found.tags.items() if known != key}
            return self._change(tx, evolve(found, tags=tags), "untagged", {"key": key})

    def describe(self, model: str, params: Iterable[tuple[str, str]]) -> LoggedModel:
        """Add parameters. The same value again is no change; another value is `Invalid`."""
        with self._book.write() as tx:
            found = _find(tx, model)
            changed = evolve(found, params=_once(found.params, params))
            if changed == found:
                return found
            return self._change(tx, changed, "described", {"params": len(changed.params) - len(found.params)})

    def became(self, tx: Transaction, model: str, name: str, version: int) -> None:
        """Note which version of which name a model became, within the change that registers it."""
        known = MODELS.find(tx, model)
        if known is not None:
            said = json.loads(known.tags.get(VERSIONS_TAG) or "[]")
            tags = {**known.tags, VERSIONS_TAG: json.dumps([*said, {"name": name, "version": version}])}
            MODELS.put(tx, evolve(known, tags=tags, changed_at=self._clock.now()))

    def search(
        self,
        *,
        among: Sequence[str],
        where: str = "",
        order: Sequence[Criterion] = (),
        on: Sequence[OnData] = (),
        limit: int = 100,
        offset: int = 0,
    ) -> list[LoggedModel]:
        """Models of some experiments that meet all conditions, in the order asked for, and then newest first.

        Args:
            among: Ids of the experiments.
            where: A filter (`core.search`), such as `metrics.auc > 0.9 AND name LIKE 'tree%'`.
            on: Data: only metrics that were measured on one of them count, and only models that have such a metric.
        """
        clauses = parse_filter(where, GRAMMAR)
        for what, count in (("criteria", len(order)), ("datasets", len(on))):
            if count > MAX_CLAUSES:
                raise Invalid(f"a search has at most {MAX_CLAUSES} {what}", code="too-many")
        criteria = [(_order(one), one.on) for one in order]
        if not among:
            return []
        with self._book.read() as reader:
            ids = self._finder.find(
                reader, list(dict.fromkeys(among)), where=clauses, order=criteria, on=on, limit=limit, offset=offset
            )
            return MODELS.keyed(reader, [(one,) for one in ids])

    def _change(self, tx: Transaction, model: LoggedModel, what: str, facts: Mapping[str, object]) -> LoggedModel:
        changed = evolve(model, changed_at=self._clock.now())
        MODELS.put(tx, changed)
        tx.record(f"logged-model.{what}", f"logged-model:{model.id}", facts)
        return changed


def _order(one: Criterion) -> Order:
    head, dot, rest = one.name.partition(".")
    if dot and head == "metrics":
        return Order(Subject("metric", rest.strip("`")), one.descending)
    try:
        (found,) = parse_order([one.name], GRAMMAR)
    except Invalid as cause:
        raise Invalid(f"Invalid order by field name: {one.name[:80]}", code="invalid-order") from cause
    return Order(found.subject, one.descending)


def _find(reader: Reader, model: str, *, deleted: bool = False) -> LoggedModel:
    found = MODELS.find(reader, model)
    if found is None or (found.deleted_at is not None and not deleted):
        raise NotFound(f"Logged model with ID {model[:60]!r} not found.", code="unknown-model")
    return found


def checked_name(name: str) -> str:
    """A name that a logged model may have. Raises `Invalid`."""
    if any(sign in name for sign in _BAD) or len(name) > MAX_NAME or not name.isprintable():
        raise Invalid(
            f"Invalid model name ({name[:60]!r}) provided. Model name must be a non-empty string of at most "
            f"{MAX_NAME} characters and cannot contain the following characters: {_BAD}",
            code="invalid-name",
        )
    return name


def _latest(known: Mapping[str, str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return _fitting({**known, **dict(pairs)})


def _once(known: Mapping[str, str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found = dict(known)
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise Invalid(f"the parameter {key[:60]!r} has another value already", code="param-changed")
    return _fitting(found)


def _fitting(pairs: dict[str, str]) -> dict[str, str]:
    if len(pairs) > MAX_PAIRS:
        raise Invalid(f"a model has at most {MAX_PAIRS:,} of these", code="too-large")
    for key, value in pairs.items():
        check_pair(key, value)
    return pairs


def check_pair(key: str, value: str) -> None:
    """Raises `Invalid` for a tag or a parameter that cannot be kept."""
    if not key or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY or len(value) > MAX_VALUE:
        raise Invalid(
            f"{key[:60]!r} and its value are too long (at most {MAX_KEY} bytes and {MAX_VALUE:,} characters)",
            code="invalid-pair",
        )
