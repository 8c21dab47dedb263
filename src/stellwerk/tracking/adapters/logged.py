"""Logged models by what is said of them and by what was measured: conditions compiled to looks into indexes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from stellwerk.core.search import Clause, Order, Subject
from stellwerk.ledger.comparing import compared
from stellwerk.ledger.parameters import plain
from stellwerk.ledger.searches import Search, having
from stellwerk.tracking.adapters.schema import of_models
from stellwerk.tracking.logged import MODELS, OnData

if TYPE_CHECKING:
    from stellwerk.ledger.ports import Reader

_MODEL = MODELS.table.c.id
_TIMES = ("creation_timestamp", "last_updated_timestamp")
_NUMBER = sa.case(
    (of_models.c.special == "", of_models.c.value),
    (of_models.c.special == "Infinity", sys.float_info.max),
    (of_models.c.special == "-Infinity", -sys.float_info.max),
    else_=None,
)
"""A point as it is compared. What is no number is only different from every number."""


class SqlLogged:
    """The index in the one database, on SQLite and PostgreSQL alike."""

    def __init__(self) -> None:
        self._search = Search(MODELS, then=("-created_at", "id"), always=("name", "status", *_TIMES))

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
        home = MODELS.table.c.experiment
        homes = home == plain(among[0]) if len(among) == 1 else home.in_([plain(one) for one in among])
        conditions = [homes, _not_deleted(reader), *(self._condition(reader, clause, on) for clause in where)]
        if on:
            conditions.append(_measured(reader, on).exists())
        if all(criterion.subject.entity != "metric" for criterion, _ in order):
            found = self._search.find(reader, conditions, [criterion for criterion, _ in order], limit, offset)
            return [str(one) for (one,) in found]
        sorting = [by for criterion, data in order for by in self._sorting(reader, criterion, data)]
        query = sa.select(_MODEL).where(self._search.mine(reader), *conditions)
        query = query.order_by(*self._search.ordered(sorting, [criterion for criterion, _ in order]))
        return [str(one) for (one,) in reader.execute(query.limit(limit).offset(offset)).all()]

    def _condition(self, reader: Reader, clause: Clause, on: Sequence[OnData]) -> Any:
        if clause.subject.entity != "metric":
            return self._search.condition(reader, clause)
        points = _measured(reader, on).where(of_models.c.key == plain(clause.subject.key))
        if clause.comparator in ("IS NULL", "IS NOT NULL"):
            return points.exists() if clause.comparator == "IS NOT NULL" else sa.not_(points.exists())
        met = compared(_NUMBER, clause)
        if clause.comparator == "!=":
            met = sa.or_(_NUMBER.is_(None), met)
        return points.where(met).exists()

    def _sorting(self, reader: Reader, criterion: Order, data: OnData) -> list[Any]:
        if criterion.subject.entity != "metric":
            return self._search.sorting(criterion)
        c = of_models.c
        newest = (
            sa.select(_NUMBER)
            .where(
                c.workspace == reader.workspace, c.model == _MODEL, c.key == plain(criterion.subject.key), _on(data)
            )
            .order_by(c.at.desc(), c.step.desc(), c.run, c.dataset)
            .limit(1)
            .correlate(MODELS.table)
            .scalar_subquery()
        )
        return [newest.is_(None), newest.desc() if criterion.descending else newest.asc()]


def _not_deleted(reader: Reader) -> Any:
    clause = Clause(Subject("state", "deleted"), "IS NULL", None)  # type: ignore[arg-type]
    return having(reader, MODELS.values, [(_MODEL, MODELS.values.c.id)], clause)


def _measured(reader: Reader, on: Sequence[OnData]) -> sa.Select[Any]:
    """The points of a model, or those that were measured on some data."""
    c = of_models.c
    points = sa.select(c.model).where(c.workspace == reader.workspace, c.model == _MODEL).correlate(MODELS.table)
    return points.where(sa.or_(*map(_on, on))) if on else points


def _on(data: OnData) -> Any:
    named = of_models.c.dataset == plain(data.name) if data.name else sa.true()
    return sa.and_(named, of_models.c.dataset_digest == plain(data.digest)) if data.digest else named
