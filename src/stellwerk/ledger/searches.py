"""Searches on a shelf of what is said of its values, compiled to looks into the indexes of the rows that say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from stellwerk.core.search import Clause, Order, Subject
from stellwerk.ledger.comparing import compared
from stellwerk.ledger.parameters import plain, position
from stellwerk.ledger.ports import Reader
from stellwerk.ledger.sought import HEAD, SoughtShelf, directed, place

MANY = 2000
"""Things from which on an order is read from an index, instead of making it; and what is met by so many is asked of each
thing by itself, in the order in which they are wanted, instead of being looked up for all."""

Pairs = Sequence[tuple[Any, Any]]
"""Columns of what is sought, and those of the rows that say something of it."""


class Search:
    """Finds things of one shelf.

    Args:
        then: The order of equals, by fields of the shelf, with `-` in front for descending.
        always: Attributes that every thing has.
    """

    def __init__(self, shelf: SoughtShelf[Any], *, then: tuple[str, ...], always: Sequence[str] = ()) -> None:
        self.shelf, self.table, self._then = shelf, shelf.table, then
        self._always = {*shelf.columns, *always}

    def mine(self, reader: Reader) -> Any:
        """That a thing is of this workspace."""
        return self.table.c.workspace == reader.workspace

    def condition(self, reader: Reader, clause: Clause) -> Any:
        """What a clause asks of each thing."""
        column = self._column(clause.subject)
        if column is not None:
            return compared(column, clause)
        values = self.shelf.values
        pairs = [(self.table.c[field], values.c[field]) for field in self.shelf.key]
        return having(reader, values, pairs, clause)

    def find(
        self,
        reader: Reader,
        conditions: Sequence[Any],
        order: Sequence[Order],
        limit: int | None,
        offset: int,
    ) -> list[tuple[Any, ...]]:
        """The keys of things that meet all conditions, in order. What a thing does not have comes last."""
        keys = [self.table.c[field] for field in self.shelf.key]
        wanted = [self.mine(reader), *conditions]
        if (
            len(order) == 1
            and limit is not None
            and self._column(order[0].subject) is None
            and self._many(reader, wanted)
        ):
            query = self._first(reader, order[0], wanted)
            found = reader.execute(query.limit(position(limit)).offset(position(offset))).all()
            if len(found) == limit:  # else there are others: further on, or without a value, which come last
                return [tuple(row) for row in found]
        sorting: list[Any] = []
        for criterion in order:
            sorting += self.sorting(criterion)
        query = sa.select(*keys).where(*wanted).order_by(*self.ordered(sorting, order))
        return [tuple(row) for row in reader.execute(query.limit(position(limit)).offset(position(offset))).all()]

    def count(self, reader: Reader, conditions: Sequence[Any]) -> int:
        """How many things meet all conditions."""
        query = sa.select(sa.func.count()).select_from(self.table).where(self.mine(reader), *conditions)
        return int(reader.execute(query).scalar())

    def sorting(self, criterion: Order) -> list[Any]:
        """How a criterion is asked for."""
        column = self._column(criterion.subject)
        measure = self._measure(criterion.subject) if column is None else column
        directed = measure.desc() if criterion.descending else measure.asc()
        # Neither database agrees with the other where what is missing stands, so that is asked first.
        known = criterion.subject.entity == "attribute" and criterion.subject.key in self._always
        return [directed] if known else [measure.is_(None), directed]

    def ordered(self, sorting: Sequence[Any], order: Sequence[Order]) -> list[Any]:
        """An order with that of equals."""
        named = {self.shelf.columns.get(one.subject.key) for one in order if one.subject.entity == "attribute"}
        rest = [field for field in self._then if field.removeprefix("-") not in named]
        return [*sorting, *(directed(self.table.c, field) for field in rest)]

    def _many(self, reader: Reader, wanted: Sequence[Any]) -> bool:
        some = sa.select(sa.literal(1).label("one")).select_from(self.table).where(*wanted).limit(MANY)
        return int(reader.execute(sa.select(sa.func.count()).select_from(some.subquery())).scalar()) == MANY

    def _first(self, reader: Reader, by: Order, wanted: Sequence[Any]) -> sa.Select[Any]:
        """Things that have one of the first values in an order, by the index that has it."""
        ranked = self.shelf.values.alias("ranked")
        columns = [self.table.c[field] for field in self.shelf.key]
        joined = [self.table.c.workspace == ranked.c.workspace]
        joined += [self.table.c[field] == ranked.c[field] for field in self.shelf.key]
        measure = ranked.c.number if by.subject.numeric else ranked.c.head
        rows = [
            ranked.c.workspace == reader.workspace,
            ranked.c.entity == by.subject.entity,
            ranked.c.key == place(by.subject.key),
            measure.is_not(None),
        ]
        sorting = [measure.desc() if by.descending else measure.asc()]
        last = reader.execute(sa.select(measure).where(*rows).order_by(*sorting).limit(1).offset(MANY)).scalar()
        if last is not None:
            rows.append(measure >= last if by.descending else measure <= last)
        if not by.subject.numeric:  # of those that begin alike, the whole text decides
            whole = sa.func.coalesce(ranked.c.text, ranked.c.head)
            sorting.append(whole.desc() if by.descending else whole.asc())
        query = sa.select(*columns).select_from(ranked.join(self.table, sa.and_(*joined)))
        return query.where(*rows, *wanted).order_by(*self.ordered(sorting, [by]))

    def _column(self, subject: Subject) -> Any:
        name = self.shelf.columns.get(subject.key) if subject.entity == "attribute" else None
        return None if name is None else self.table.c[name]

    def _measure(self, subject: Subject) -> Any:
        values = self.shelf.values
        of = values.c.number if subject.numeric else sa.func.coalesce(values.c.text, values.c.head)
        return (
            sa.select(of)
            .where(
                values.c.workspace == self.table.c.workspace,
                *(values.c[field] == self.table.c[field] for field in self.shelf.key),
                values.c.entity == subject.entity,
                values.c.key == place(subject.key),
            )
            .scalar_subquery()
        )


def having(reader: Reader, values: sa.Table, pairs: Pairs, clause: Clause) -> Any:
    """What a clause asks of the rows that say something of a thing."""
    rows = sa.select(*(inner for _, inner in pairs)).where(
        values.c.workspace == reader.workspace,
        values.c.entity == clause.subject.entity,
        values.c.key == place(clause.subject.key),
    )
    outer = pairs[0][0].table
    of_each = rows.where(*(inner == mine for mine, inner in pairs)).correlate(outer)
    if clause.comparator in ("IS NULL", "IS NOT NULL"):
        return of_each.exists() if clause.comparator == "IS NOT NULL" else sa.not_(of_each.exists())
    met = _met(values, clause)
    if clause.comparator not in ("!=", "NOT IN", "LIKE", "ILIKE") and few(reader, rows.where(met)):
        mine = sa.tuple_(*(one for one, _ in pairs)) if pairs[1:] else pairs[0][0]
        return mine.in_(rows.where(met))
    return of_each.where(met).exists()


def few(reader: Reader, rows: sa.Select[Any]) -> bool:
    """Whether looking them all up is less work than asking each thing by itself."""
    return int(reader.execute(sa.select(sa.func.count()).select_from(rows.limit(MANY).subquery())).scalar()) < MANY


def _met(values: sa.Table, clause: Clause) -> Any:
    if isinstance(clause.value, float):
        met = compared(values.c.number, clause)
        return sa.or_(values.c.number.is_(None), met) if clause.comparator == "!=" else met
    whole = sa.func.coalesce(values.c.text, values.c.head)
    if clause.comparator == "=":
        wanted = plain(str(clause.value))
        begins = values.c.head == wanted[:HEAD]
        return sa.and_(begins, values.c.text.is_(None) if len(wanted) <= HEAD else values.c.text == wanted)
    if clause.comparator == "IN" and isinstance(clause.value, tuple):
        heads = list(dict.fromkeys(plain(text)[:HEAD] for text in clause.value))
        return sa.and_(values.c.head.in_(heads), whole.in_(list(clause.value)))
    return compared(whole, clause)
