"""Evaluation datasets by what is said of them: conditions compiled to looks into their index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from stellwerk.core.search import Clause, Order, Subject
from stellwerk.ledger.searches import Search
from stellwerk.ledger.sought import place
from stellwerk.tracking.evaluations import EVALUATIONS

if TYPE_CHECKING:
    from stellwerk.ledger.ports import Reader

_NEWEST = Order(Subject("attribute", "created_at"), descending=True)
_ALWAYS = ("created_at", "name", "digest", "created_by", "last_updated_by", "created_time", "last_update_time")


class SqlEvaluations:
    """The index in the one database, on SQLite and PostgreSQL alike."""

    def __init__(self) -> None:
        self._search = Search(EVALUATIONS, then=("-id",), always=_ALWAYS)

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
        conditions = [self._search.condition(reader, clause) for clause in where]
        conditions += [_of(reader, of)] if of else []
        found = self._search.find(reader, conditions, [*order, _NEWEST], limit, offset)
        return [str(one) for (one,) in found]


def _of(reader: Reader, experiments: Collection[str]) -> Any:
    values = EVALUATIONS.values.c
    theirs = sa.select(values.id).where(
        values.workspace == reader.workspace,
        values.entity == "experiment",
        values.key.in_([place(one) for one in experiments]),
        values.head.is_not(None),
    )
    return EVALUATIONS.table.c.id.in_(theirs)
