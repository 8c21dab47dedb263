"""Points of metrics in the one database: a row each until they are sealed, and a row per metric for how it stands."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from stellwerk.core.errors import Invalid
from stellwerk.ledger.parameters import MAX_INTEGER, plain, position
from stellwerk.ledger.ports import Reader, Transaction
from stellwerk.ledger.tables import INTEGER, POURS, REAL, TEXT, metadata
from stellwerk.tracking import rules
from stellwerk.tracking.adapters.finder import can_be_sought, values
from stellwerk.tracking.model import Latest, Point, Score
from stellwerk.tracking.segments import Series, series

points = sa.Table(
    "metric_points",
    metadata,
    sa.Column("workspace", TEXT, primary_key=True),
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("at", INTEGER, primary_key=True, autoincrement=False),
    sa.Column("step", INTEGER, primary_key=True, autoincrement=False),
    # NaN is NULL to SQLite, and no part of a key: what is not finite is 0 here, and spelled beside it.
    sa.Column("value", REAL, primary_key=True, autoincrement=False),
    sa.Column("special", TEXT, primary_key=True),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

of_models = sa.Table(
    "model_points",
    metadata,
    *(sa.Column(name, TEXT, primary_key=True) for name in ("workspace", "model", "run", "key")),
    *(sa.Column(name, INTEGER, primary_key=True, autoincrement=False) for name in ("at", "step")),
    sa.Column("value", REAL, primary_key=True, autoincrement=False),
    *(sa.Column(name, TEXT, primary_key=True) for name in ("special", "dataset", "dataset_digest")),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
_SCORE = sa.text(
    'INSERT INTO model_points (workspace, model, run, "key", at, step, value, special, dataset, dataset_digest) '
    "VALUES (:workspace, :model, :run, :key, :at, :step, :value, :special, :dataset, :dataset_digest) "
    'ON CONFLICT (workspace, model, run, "key", at, step, value, special, dataset, dataset_digest) DO NOTHING'
).execution_options(**{POURS: True})

_ADD = sa.text(
    'INSERT INTO metric_points (workspace, run, "key", at, step, value, special) '
    "VALUES (:workspace, :run, :key, :at, :step, :value, :special) "
    'ON CONFLICT (workspace, run, "key", at, step, value, special) DO NOTHING'
).execution_options(**{POURS: True})

_NEWER = (
    "(excluded.step, excluded.at, coalesce(excluded.number, -1.7976931348623157e308)) "
    ">= (run_values.step, run_values.at, coalesce(run_values.number, -1.7976931348623157e308))"
)
_STAND = sa.text(
    'INSERT INTO run_values (workspace, run, entity, "key", number, text, step, at, low, high) '
    "VALUES (:workspace, :run, 'metric', :key, :number, :text, :step, :at, :low, :high) "
    'ON CONFLICT (workspace, run, entity, "key") DO UPDATE SET '
    + ", ".join(
        f"{column} = CASE WHEN {_NEWER} THEN excluded.{column} ELSE run_values.{column} END"
        for column in ("number", "text", "step", "at")
    )
    + ", low = CASE WHEN run_values.low IS NULL OR excluded.low < run_values.low "
    "THEN excluded.low ELSE run_values.low END"
    ", high = CASE WHEN run_values.high IS NULL OR excluded.high > run_values.high "
    "THEN excluded.high ELSE run_values.high END"
).execution_options(**{POURS: True})

_AT_ONCE = 500
MOST_SCORES = 10_000
"""Points of one model that are shown with it."""


class SqlPoints:
    """The same on SQLite and PostgreSQL."""

    def add(self, tx: Transaction, run: str, points: Sequence[Point]) -> None:
        if not points:
            return
        common = {"workspace": tx.workspace, "run": run}
        for key in {point.key for point in points}:
            if not can_be_sought(key):
                raise Invalid(f"{key[:60]!r} cannot be the name of a metric", code="invalid-name")
        rows = []
        standing: dict[str, dict[str, Any]] = {}
        for key, value, at, step in points:
            if abs(at) > MAX_INTEGER or abs(step) > MAX_INTEGER:
                raise Invalid("times and steps must fit into 64 bits", code="invalid-number")
            finite = math.isfinite(value)
            special = "" if finite else _spelled(value)
            rows.append(
                {**common, "key": key, "at": at, "step": step, "value": value if finite else 0.0, "special": special}
            )
            clamped = rules.bounded(value)
            known = standing.get(key)
            if known is None:
                standing[key] = {
                    **common, "key": key, "number": clamped, "text": special or None, "step": step, "at": at,
                    "low": clamped, "high": clamped,
                }  # fmt: skip
                continue
            if (step, at, rules.rank(clamped)) >= (known["step"], known["at"], rules.rank(known["number"])):
                known.update(number=clamped, text=special or None, step=step, at=at)
            if clamped is not None:
                known["low"] = clamped if known["low"] is None else min(known["low"], clamped)
                known["high"] = clamped if known["high"] is None else max(known["high"], clamped)
        tx.execute(_ADD, rows)
        tx.execute(_STAND, list(standing.values()))

    def stand(self, tx: Transaction, run: str, metrics: Sequence[Latest]) -> None:
        rows = []
        for one in metrics:
            if not can_be_sought(one.key):
                raise Invalid(f"{one.key[:60]!r} cannot be the name of a metric", code="invalid-name")
            rows.append(
                {
                    "workspace": tx.workspace, "run": run, "key": one.key, "number": rules.bounded(one.value),
                    "text": None if math.isfinite(one.value) else _spelled(one.value), "step": one.step, "at": one.at,
                    "low": one.low, "high": one.high,
                }
            )  # fmt: skip
        if rows:
            tx.execute(_STAND, rows)

    def score(self, tx: Transaction, scores: Sequence[Score]) -> None:
        rows = []
        for one in scores:
            finite = math.isfinite(one.value)
            said = {name: plain(text) for name, text in one._asdict().items()}
            spelled = {"value": one.value if finite else 0.0, "special": "" if finite else _spelled(one.value)}
            rows.append({"workspace": tx.workspace, **said, **spelled})
        if rows:
            tx.execute(_SCORE, rows)

    def scores(self, reader: Reader, model: str) -> list[Score]:
        c = of_models.c
        query = (
            sa.select(c.model, c.run, c.key, c.value, c.special, c.at, c.step, c.dataset, c.dataset_digest)
            .where(c.workspace == reader.workspace, c.model == plain(model))
            .order_by(c.key, c.step, c.at, c.run, c.dataset)
            .limit(MOST_SCORES)
        )
        return [
            Score(name, run, key, float(special) if special else value, at, step, dataset, digest)
            for name, run, key, value, special, at, step, dataset, digest in reader.execute(query)
        ]

    def latest(self, reader: Reader, runs: Collection[str]) -> Mapping[str, list[Latest]]:
        found: dict[str, list[Latest]] = defaultdict(list)
        listed = list(runs)
        for start in range(0, len(listed), _AT_ONCE):
            query = (
                sa.select(
                    values.c.run, values.c.key, values.c.number, values.c.text, values.c.step, values.c.at,
                    values.c.low, values.c.high,
                )
                .where(
                    values.c.workspace == reader.workspace,
                    values.c.run.in_(listed[start : start + _AT_ONCE]),
                    values.c.entity == "metric",
                )
                .order_by(values.c.run, values.c.key)
            )  # fmt: skip
            for run, key, number, text, step, at, low, high in reader.execute(query):
                value = float(text) if text else math.nan if number is None else number
                found[run].append(Latest(key=key, value=value, at=at or 0, step=step or 0, low=low, high=high))
        return found

    def history(self, reader: Reader, run: str, key: str, *, limit: int | None, offset: int) -> list[Point]:
        query = (
            self._select(reader, run)
            .where(points.c.key == plain(key))
            .order_by(points.c.at, points.c.step, points.c.value)
            .limit(position(limit))
            .offset(position(offset))
        )
        return [Point(*row) for row in map(_read, reader.execute(query))]

    def count(self, reader: Reader, run: str, key: str | None = None) -> int:
        query = sa.select(sa.func.count()).where(points.c.workspace == reader.workspace, points.c.run == plain(run))
        if key is not None:
            query = query.where(points.c.key == plain(key))
        return int(reader.execute(query).scalar())

    def open(self, reader: Reader, run: str) -> Mapping[str, Series]:
        query = self._select(reader, run).order_by(points.c.key, points.c.at, points.c.step, points.c.value)
        found: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
        for key, value, at, step in map(_read, reader.execute(query)):
            found[key].append((at, step, value))
        return {key: series(rows) for key, rows in found.items()}

    def clear(self, tx: Transaction, run: str) -> None:
        tx.execute(points.delete().where(points.c.workspace == tx.workspace, points.c.run == plain(run)))

    def _select(self, reader: Reader, run: str) -> sa.Select[Any]:
        return sa.select(points.c.key, points.c.value, points.c.special, points.c.at, points.c.step).where(
            points.c.workspace == reader.workspace, points.c.run == plain(run)
        )


def _read(row: Any) -> tuple[str, float, int, int]:
    key, value, special, at, step = row
    return key, float(special) if special else value, at, step


def _spelled(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
