"""Spans by what they count, in the one database: a row each, read by their identity and by what they are within."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from stellwerk.ledger.tables import INTEGER, TEXT, metadata
from stellwerk.tracking.counting import Count

if TYPE_CHECKING:
    from stellwerk.ledger.ports import Reader, Transaction

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

_KEEP = sa.text(
    "INSERT INTO span_counts (workspace, trace, span, parent, covered, usage, cost) "
    "VALUES (:workspace, :trace, :span, :parent, :covered, :usage, :cost) "
    "ON CONFLICT (workspace, trace, span) DO UPDATE SET parent = excluded.parent, covered = excluded.covered, "
    "usage = excluded.usage, cost = excluded.cost"
)
_AT_ONCE = 500


class SqlCounts:
    """The same on SQLite and PostgreSQL."""

    def tree(self, tx: Transaction, trace: str) -> SqlTree:
        return SqlTree(tx, trace)

    def forget(self, tx: Transaction, trace: str) -> None:
        tx.execute(counts.delete().where(*_of(tx, trace)))


class SqlTree:
    """The spans of one trace."""

    def __init__(self, tx: Transaction, trace: str) -> None:
        self._tx, self._trace = tx, trace

    def find(self, spans: Collection[str]) -> Mapping[str, Count]:
        return {one.span: one for one in self._among(counts.c.span, spans)}

    def within(self, spans: Collection[str]) -> Iterable[Count]:
        return list(self._among(counts.c.parent, spans))

    def everything(self) -> Iterable[Count]:
        return [_read(row) for row in self._tx.execute(_SELECT.where(*_of(self._tx, self._trace))).all()]

    def keep(self, counts: Sequence[Count]) -> None:
        common = {"workspace": self._tx.workspace, "trace": self._trace}
        rows = [
            {
                **common, "span": one.span, "parent": one.parent, "covered": one.covered,
                "usage": json.dumps(dict(one.usage)) if one.usage else None,
                "cost": json.dumps(dict(one.cost)) if one.cost else None,
            }
            for one in counts
        ]  # fmt: skip
        if rows:
            self._tx.execute(_KEEP, rows)

    def _among(self, column: Any, wanted: Collection[str]) -> Iterator[Count]:
        listed = list(wanted)
        for start in range(0, len(listed), _AT_ONCE):
            some = column.in_(listed[start : start + _AT_ONCE])
            yield from map(_read, self._tx.execute(_SELECT.where(*_of(self._tx, self._trace), some)).all())


_SELECT = sa.select(counts.c.span, counts.c.parent, counts.c.covered, counts.c.usage, counts.c.cost)


def _of(reader: Reader, trace: str) -> tuple[Any, ...]:
    return counts.c.workspace == reader.workspace, counts.c.trace == trace


def _read(row: Any) -> Count:
    span, parent, covered, usage, cost = row
    return Count(
        span=span, parent=parent, covered=covered, usage=json.loads(usage or "{}"), cost=json.loads(cost or "{}")
    )
