"""Spans by what they count, in the one database: a row each, read by their identity and by what they are within."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stellwerk.ledger import roster
from stellwerk.tracking.counting import Count

if TYPE_CHECKING:
    from stellwerk.ledger.ports import Transaction

roster.later({"stellwerk.tracking.adapters.schema": ("span_counts",)})

_KEEP = (
    "INSERT INTO span_counts (workspace, trace, span, parent, covered, usage, cost) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (workspace, trace, span) DO UPDATE SET parent = excluded.parent, covered = excluded.covered, "
    "usage = excluded.usage, cost = excluded.cost"
)
_OF_TRACE = "SELECT span, parent, covered, usage, cost FROM span_counts WHERE workspace = ? AND trace = ?"
_AT_ONCE = 500


class SqlCounts:
    """The same on SQLite and PostgreSQL."""

    def tree(self, tx: Transaction, trace: str) -> SqlTree:
        return SqlTree(tx, trace)

    def forget(self, tx: Transaction, trace: str) -> None:
        tx.run("DELETE FROM span_counts WHERE workspace = ? AND trace = ?", (tx.workspace, trace))


class SqlTree:
    """The spans of one trace."""

    def __init__(self, tx: Transaction, trace: str) -> None:
        self._tx, self._trace = tx, trace

    def find(self, spans: Collection[str]) -> Mapping[str, Count]:
        return {one.span: one for one in self._among("span", spans)}

    def within(self, spans: Collection[str]) -> Iterable[Count]:
        return list(self._among("parent", spans))

    def everything(self) -> Iterable[Count]:
        return [_read(row) for row in self._tx.rows(_OF_TRACE, (self._tx.workspace, self._trace))]

    def keep(self, counts: Sequence[Count]) -> None:
        rows = [
            (
                self._tx.workspace, self._trace, one.span, one.parent, one.covered,
                json.dumps(dict(one.usage)) if one.usage else None,
                json.dumps(dict(one.cost)) if one.cost else None,
            )
            for one in counts
        ]  # fmt: skip
        self._tx.write_many(_KEEP, rows)

    def _among(self, column: str, wanted: Collection[str]) -> Iterator[Count]:
        listed = list(wanted)
        for start in range(0, len(listed), _AT_ONCE):
            some = listed[start : start + _AT_ONCE]
            question = f"{_OF_TRACE} AND {column} IN ({', '.join('?' * len(some))})"
            yield from map(_read, self._tx.rows(question, (self._tx.workspace, self._trace, *some)))


def _read(row: Any) -> Count:
    span, parent, covered, usage, cost = row
    return Count(
        span=span, parent=parent, covered=covered, usage=json.loads(usage or "{}"), cost=json.loads(cost or "{}")
    )
