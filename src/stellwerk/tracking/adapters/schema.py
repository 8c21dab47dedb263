"""The tables of what is tracked that are no shelves, described for SQLAlchemy: values, points, counted spans."""

from __future__ import annotations

import sqlalchemy as sa

from stellwerk.ledger.tables import INTEGER, REAL, TEXT, metadata, present_only

values = sa.Table(
    "run_values",
    metadata,
    sa.Column("workspace", TEXT, primary_key=True),
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("entity", TEXT, primary_key=True),
    sa.Column("key", TEXT, primary_key=True),
    sa.Column("number", REAL),
    sa.Column("head", TEXT),
    sa.Column("text", TEXT),
    # Of metrics: where the number stands, and the bounds of all that there were.
    sa.Column("step", INTEGER),
    sa.Column("at", INTEGER),
    sa.Column("low", REAL),
    sa.Column("high", REAL),
    sa.Index("run_values_by_number", "workspace", "entity", "key", "number", "run", **present_only("number")),
    sa.Index("run_values_by_text", "workspace", "entity", "key", "head", "run", **present_only("head")),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

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

counts = sa.Table(
    "span_counts",
    metadata,
    *(sa.Column(name, TEXT, primary_key=True) for name in ("workspace", "trace", "span")),
    sa.Column("parent", TEXT, nullable=False),
    sa.Column("covered", INTEGER, nullable=False),
    sa.Column("usage", TEXT),
    sa.Column("cost", TEXT),
    sa.Index("span_counts_by_parent", "workspace", "trace", "parent"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
