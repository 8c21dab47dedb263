"""Points of metrics in the one database: a row each until they are sealed, and a row per metric for how it stands."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import Invalid
from stellwerk.ledger import roster
from stellwerk.ledger.parameters import MAX_INTEGER, plain, position
from stellwerk.tracking import rules
from stellwerk.tracking.adapters.finder import can_be_sought
from stellwerk.tracking.model import Latest, Point, Score
from stellwerk.tracking.segments import Series, series

if TYPE_CHECKING:
    from stellwerk.ledger.ports import Reader, Transaction

roster.later({"stellwerk.tracking.adapters.schema": ("metric_points", "model_points")})

_SCORE = """
INSERT INTO model_points (workspace, model, run, "key", value, special, at, step, dataset, dataset_digest)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (workspace, model, run, "key", at, step, value, special, dataset, dataset_digest) DO NOTHING
"""
_ADD = """
INSERT INTO metric_points (workspace, run, "key", at, step, value, special) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (workspace, run, "key", at, step, value, special) DO NOTHING
"""
_NEWER = (
    "(excluded.step, excluded.at, coalesce(excluded.number, -1.7976931348623157e308)) "
    ">= (run_values.step, run_values.at, coalesce(run_values.number, -1.7976931348623157e308))"
)
_STAND = (
    'INSERT INTO run_values (workspace, run, entity, "key", number, text, step, at, low, high) '
    "VALUES (?, ?, 'metric', ?, ?, ?, ?, ?, ?, ?) "
    'ON CONFLICT (workspace, run, entity, "key") DO UPDATE SET '
    + ", ".join(
        f"{column} = CASE WHEN {_NEWER} THEN excluded.{column} ELSE run_values.{column} END"
        for column in ("number", "text", "step", "at")
    )
    + ", low = CASE WHEN run_values.low IS NULL OR excluded.low < run_values.low "
    "THEN excluded.low ELSE run_values.low END"
    ", high = CASE WHEN run_values.high IS NULL OR excluded.high > run_values.high "
    "THEN excluded.high ELSE run_values.high END"
)

_MINE = "FROM metric_points WHERE workspace = ? AND run = ?"
_OF_KEY = f'{_MINE} AND "key" = ?'
_BY_TIME = "ORDER BY at, step, value"
_OPEN = f'SELECT "key", value, special, at, step {_MINE} ORDER BY "key", at, step, value'
_HISTORY = f'SELECT "key", value, special, at, step {_OF_KEY} {_BY_TIME} LIMIT ? OFFSET ?'
_SINCE = f"SELECT at, step, value, special {_OF_KEY} AND at >= ? {_BY_TIME}"
_LATEST = (
    'SELECT run, "key", number, text, step, at, low, high FROM run_values '
    "WHERE workspace = ? AND entity = 'metric' AND run IN ({}) ORDER BY run, \"key\""
)
_SCORES = (
    'SELECT model, run, "key", value, special, at, step, dataset, dataset_digest FROM model_points '
    'WHERE workspace = ? AND model = ? ORDER BY "key", step, at, run, dataset LIMIT ?'
)

_AT_ONCE = 500
MOST_SCORES = 10_000
"""Points of one model that are shown with it."""


class SqlPoints:
    """The same on SQLite and PostgreSQL."""

    def add(self, tx: Transaction, run: str, points: Sequence[Point]) -> None:
        if not points:
            return
        rows = []
        of_key: dict[str, list[Point]] = defaultdict(list)
        for point in points:
            key, value, at, step = point
            if abs(at) > MAX_INTEGER or abs(step) > MAX_INTEGER:
                raise Invalid("times and steps must fit into 64 bits", code="invalid-number")
            rows.append((tx.workspace, run, key, at, step, *_apart(value)))
            of_key[key].append(point)
        self.stand(tx, run, [_standing(key, mine) for key, mine in of_key.items()])
        tx.write_many(_ADD, rows, pours=True)

    def stand(self, tx: Transaction, run: str, metrics: Sequence[Latest]) -> None:
        rows = []
        for one in metrics:
            if not can_be_sought(one.key):
                raise Invalid(f"{one.key[:60]!r} cannot be the name of a metric", code="invalid-name")
            number, special = rules.bounded(one.value), _apart(one.value)[1] or None
            rows.append((tx.workspace, run, one.key, number, special, one.step, one.at, one.low, one.high))
        tx.write_many(_STAND, rows, pours=True)

    def score(self, tx: Transaction, scores: Sequence[Score]) -> None:
        rows = []
        for model, run, key, value, at, step, *dataset in scores:
            named = (plain(model), plain(run), plain(key), *_apart(value), plain(at), plain(step))
            rows.append((tx.workspace, *named, *map(plain, dataset)))
        tx.write_many(_SCORE, rows, pours=True)

    def scores(self, reader: Reader, model: str) -> list[Score]:
        rows = reader.rows(_SCORES, (reader.workspace, plain(model), MOST_SCORES))
        return [
            Score(name, run, key, float(special) if special else value, at, step, dataset, digest)
            for name, run, key, value, special, at, step, dataset, digest in rows
        ]

    def latest(self, reader: Reader, runs: Collection[str]) -> Mapping[str, list[Latest]]:
        found: dict[str, list[Latest]] = defaultdict(list)
        listed = list(runs)
        for start in range(0, len(listed), _AT_ONCE):
            some = listed[start : start + _AT_ONCE]
            rows = reader.rows(_LATEST.format(", ".join("?" * len(some))), (reader.workspace, *map(plain, some)))
            for run, key, number, text, step, at, low, high in rows:
                value = float(text) if text else math.nan if number is None else number
                found[run].append(Latest(key=key, value=value, at=at or 0, step=step or 0, low=low, high=high))
        return found

    def history(self, reader: Reader, run: str, key: str, *, limit: int | None, offset: int) -> list[Point]:
        most = MAX_INTEGER if limit is None else position(limit)
        rows = reader.rows(_HISTORY, (*_of(reader, run), plain(key), most, position(offset)))
        return [Point(*row) for row in map(_read, rows)]

    def since(self, reader: Reader, run: str, key: str, *, at: int | None = None) -> Series:
        asked = (*_of(reader, run), plain(key), -MAX_INTEGER if at is None else plain(at))
        rows = reader.rows(_SINCE, asked)
        return series((when, step, float(special) if special else value) for when, step, value, special in rows)

    def count(self, reader: Reader, run: str, key: str | None = None) -> int:
        if key is None:
            return int(reader.rows(f"SELECT COUNT(*) {_MINE}", _of(reader, run))[0][0])
        return int(reader.rows(f"SELECT COUNT(*) {_OF_KEY}", (*_of(reader, run), plain(key)))[0][0])

    def open(self, reader: Reader, run: str) -> Mapping[str, Series]:
        found: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
        for key, value, at, step in map(_read, reader.rows(_OPEN, _of(reader, run))):
            found[key].append((at, step, value))
        return {key: series(rows) for key, rows in found.items()}

    def clear(self, tx: Transaction, run: str) -> None:
        tx.run(f"DELETE {_MINE}", _of(tx, run))


def _of(reader: Reader, run: str) -> tuple[str, str]:
    return reader.workspace, plain(run)


def _standing(key: str, points: Sequence[Point]) -> Latest:
    """How a metric stands by some of its points: of those of one step and time, the one that was said last."""
    numbers = [number for number in (rules.bounded(one.value) for one in points) if number is not None]
    last = max(reversed(points), key=lambda one: (one.step, one.at, rules.rank(rules.bounded(one.value))))
    return Latest(
        key=key,
        value=last.value,
        at=last.at,
        step=last.step,
        low=min(numbers, default=None),
        high=max(numbers, default=None),
    )


def _apart(value: float) -> tuple[float, str]:
    """A number as a key can hold it, and how it is spelled if that is something else."""
    if math.isfinite(value):
        return value, ""
    return 0.0, "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _read(row: Any) -> tuple[str, float, int, int]:
    key, value, special, at, step = row
    return key, float(special) if special else value, at, step
