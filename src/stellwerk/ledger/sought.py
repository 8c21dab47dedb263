"""Shelves whose values are found by what they have: a row for each thing that is said of one, and searches compiled to
looks into the indexes of those rows. What can be asked is in `core.search`; the form is in docs/formats/sought.md.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from stellwerk.core.search import Clause, Order, Subject
from stellwerk.ledger.comparing import compared
from stellwerk.ledger.parameters import plain, position
from stellwerk.ledger.ports import Reader, Transaction
from stellwerk.ledger.shelf import Shelf
from stellwerk.ledger.tables import REAL, TEXT, metadata, present_only

T = TypeVar("T")
Value = float | str | tuple[float | None, str]
"""A number, a text, or what is asked for as both."""
Said = Iterable[tuple[str, str, Value]]
"""What is said of a thing: entity, key and value."""

_AT_ONCE = 500
HEAD = 64
"""Characters of a text that are in an index; only of a longer one the whole stands beside it."""
LONGEST_KEY = 1000
"""In bytes of UTF-8. PostgreSQL takes no row of more than 2,700 bytes into an index; longer keys stand as a digest."""
MANY = 2000
"""Things from which on an order is read from an index, instead of making it; and what is met by so many is asked of each
thing by itself, in the order in which they are wanted, instead of being looked up for all."""


class SoughtShelf(Shelf[T]):
    """A shelf with an index of what is said of its values, which follows every change.

    Args:
        said: What is said of a value.
        values: Name of the table of the index.
        columns: Attributes that are columns of the shelf itself, by the names under which they are sought.
        ordered: Fields of the shelf in the order of its searches, with `-` in front for descending.
    """

    def __init__(
        self,
        name: str,
        kind: type[T],
        *,
        key: tuple[str, ...],
        index: tuple[str, ...] = (),
        said: Callable[[T], Said],
        values: str,
        columns: Mapping[str, str] | None = None,
        ordered: tuple[str, ...] = (),
    ) -> None:
        super().__init__(name, kind, key=key, index=index)
        self._said = said
        self.columns = {} if columns is None else columns
        if ordered:
            fields = [_directed(self.table.c, field) for field in ordered]
            label = "_and_".join(field.removeprefix("-") for field in ordered)
            sa.Index(f"{name}_by_{label}", self.table.c.workspace, *fields)
        self.values = sa.Table(
            values,
            metadata,
            sa.Column("workspace", TEXT, primary_key=True),
            *(sa.Column(field, self.table.c[field].type, primary_key=True, autoincrement=False) for field in key),
            sa.Column("entity", TEXT, primary_key=True),
            sa.Column("key", TEXT, primary_key=True),
            sa.Column("number", REAL),
            sa.Column("head", TEXT),
            sa.Column("text", TEXT),
            *(
                sa.Index(f"{values}_by_{column}", "workspace", "entity", "key", column, *key, **present_only(column))
                for column in ("number", "head")
            ),
            sqlite_strict=True,
            sqlite_with_rowid=False,
        )
        named = ", ".join(f'"{field}"' for field in ("workspace", *key, "entity", "key", "number", "head", "text"))
        marks = ", ".join("?" * (len(key) + 6))
        self._entering = f"INSERT INTO {values} ({named}) VALUES ({marks})"  # noqa: S608 - names of our own
        equal = " AND ".join(f'"{field}" = ?' for field in ("workspace", *key))
        self._leaving = f"DELETE FROM {values} WHERE {equal}"  # noqa: S608

    def keyed(self, reader: Reader, keys: Sequence[tuple[Any, ...]]) -> list[T]:
        """Those of some values that are here, by their keys, in the order asked for."""
        found = {tuple(row[:-1]): self._read(row[-1]) for row in self._among(reader, keys, self.table.c.document)}
        return [found[key] for key in map(tuple, keys) if key in found]

    def _keys(self, reader: Reader, keys: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        return (tuple(row) for row in self._among(reader, keys))

    def _among(self, reader: Reader, keys: Sequence[tuple[Any, ...]], *further: Any) -> Iterator[Any]:
        columns = [self.table.c[field] for field in self.key]
        for start in range(0, len(keys), _AT_ONCE):
            some = sa.tuple_(*columns).in_([tuple(map(plain, key)) for key in keys[start : start + _AT_ONCE]])
            query = sa.select(*columns, *further).where(self.table.c.workspace == reader.workspace, some)
            yield from reader.execute(query).all()

    def insert(self, tx: Transaction, value: T) -> None:
        super().insert(tx, value)
        self._enter(tx, [value])

    def put(self, tx: Transaction, value: T, before: T | None = None) -> None:
        """Add a value or replace the one with its key.

        Args:
            before: The value that stands there, if the caller has it: then only what differs is written.
        """
        super().put(tx, value)
        if before is None:
            tx.write_many(self._leaving, [self._name(tx, value)])
            self._enter(tx, [value])
            return
        name, known, wanted = self._name(tx, value), _by_place(self._said(before)), _by_place(self._said(value))
        gone = [where for where, one in known.items() if wanted.get(where) != one]
        tx.write_many(f'{self._leaving} AND entity = ? AND "key" = ?', [(*name, *where) for where in gone])
        new = [(where, one) for where, one in wanted.items() if known.get(where) != one]
        tx.write_many(self._entering, [(*name, *where, *_columns_of(one)) for where, one in new])

    def insert_new(self, tx: Transaction, values: Sequence[T]) -> None:
        known = set(self._keys(tx, [self._name(tx, value)[1:] for value in values]))
        fresh = {self._name(tx, value)[1:]: value for value in reversed(values)}
        new = [value for name, value in reversed(fresh.items()) if name not in known]
        super().insert_new(tx, new)
        self._enter(tx, new)

    def remove_all(self, tx: Transaction, **equal: Any) -> None:
        table = self.table
        gone = sa.select(*(table.c[field] for field in self.key)).where(*self._where(tx, equal))
        mine = (
            sa.tuple_(*(self.values.c[field] for field in self.key)) if self.key[1:] else self.values.c[self.key[0]]
        )
        tx.execute(self.values.delete().where(self.values.c.workspace == tx.workspace, mine.in_(gone)))
        super().remove_all(tx, **equal)

    def _name(self, tx: Transaction, value: T) -> tuple[Any, ...]:
        return (tx.workspace, *(plain(getattr(value, field)) for field in self.key))

    def _enter(self, tx: Transaction, things: Iterable[T]) -> None:
        rows = []
        for thing in things:
            name = self._name(tx, thing)
            rows += [(*name, *where, *_columns_of(one)) for where, one in _by_place(self._said(thing)).items()]
        tx.write_many(self._entering, rows)


def _by_place(said: Said) -> dict[tuple[str, str], Value]:
    return {(entity, place(key)): value for entity, key, value in said}


def place(key: str) -> str:
    """A key as it stands in the index: one that no index takes is there by its digest."""
    data = key.encode("utf-8", "surrogatepass")
    if (
        len(data) <= LONGEST_KEY
        and "\x00" not in key
        and not key.startswith("\x01")
        and data.decode("utf-8", "ignore") == key
    ):
        return key
    return f"\x01{hashlib.sha256(data).hexdigest()}"


def _columns_of(value: Value) -> tuple[float | None, str | None, str | None]:
    """Number, head and text."""
    if isinstance(value, tuple):
        return _bounded(value[0]), *_columns_of(value[1])[1:]
    if not isinstance(value, str):
        return _bounded(value), None, None
    text = value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return None, text[:HEAD], text if len(text) > HEAD else None


def _bounded(number: float | None) -> float | None:
    # What no number is found by, and the largest number there is, for infinity: no database keeps those alike.
    if number is None or math.isnan(number):
        return None
    return max(-sys.float_info.max, min(float(number), sys.float_info.max))


def _directed(columns: Any, field: str) -> Any:
    column = columns[field.removeprefix("-")]
    return column.desc() if field.startswith("-") else column


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
        return [*sorting, *(_directed(self.table.c, field) for field in rest)]

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
