"""Shelves: tables of typed documents under a workspace and a key. The only SQL that rooms need.

A shelf has the columns of its key, a few more to search by, and one JSON document. Every statement carries the
workspace of the transaction it runs in, so no helper exists that could forget it (law 10).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from stellwerk.core.errors import Bug, Conflict, Corrupt, Invalid, NotFound
from stellwerk.ledger import documents
from stellwerk.ledger.parameters import plain, position
from stellwerk.ledger.ports import Reader, Transaction
from stellwerk.ledger.tables import INTEGER, REAL, TEXT, metadata

T = TypeVar("T")
_Asked = tuple[tuple[str, bool], ...]
"""Fields that are asked for, and of each whether it is to be missing."""
_AT_ONCE = 500
"""Values in one question, below what every database takes."""


class Shelf(Generic[T]):
    """A table of values of one frozen dataclass.

    Args:
        name: Table name.
        kind: The dataclass; its fields named in `key` and `index` become columns.
        key: Fields that, with the workspace, name a value.
        index: Further fields to filter and order by.
        together: Fields of `key` and `index` that are sought and ordered by together.
        weak: What its values name is not kept alive by them.
    """

    def __init__(
        self,
        name: str,
        kind: type[T],
        *,
        key: tuple[str, ...],
        index: tuple[str, ...] = (),
        together: tuple[str, ...] = (),
        weak: bool = False,
    ) -> None:
        self.name, self.kind, self.key = name, kind, key
        hints = typing.get_type_hints(kind)
        columns = [
            sa.Column(field, _column(hints[field]), primary_key=field in key, nullable=field not in key)
            for field in (*key, *index)
        ]
        self._fields = (*key, *index)
        self.table = sa.Table(
            name,
            metadata,
            sa.Column("workspace", TEXT, primary_key=True),
            *columns,
            sa.Column("document", TEXT, nullable=False),
            *(sa.Index(f"{name}_by_{field}", "workspace", field) for field in index),
            *([sa.Index(f"{name}_by_{'_and_'.join(together)}", "workspace", *together)] if together else []),
            sqlite_strict=True,
            info={"weak": weak},
        )
        # One spelling that SQLite and PostgreSQL read alike. A taken key is an answer and not an error, which would
        # end the whole transaction on PostgreSQL.
        names = [column.name for column in self.table.columns]
        quoted = ", ".join(f'"{field}"' for field in names)
        taken = ", ".join(f'"{field}"' for field in ("workspace", *key))
        insertion = (
            f"INSERT INTO {name} ({quoted}) "  # noqa: S608 - names of our own
            f"VALUES ({', '.join(f':{field}' for field in names)}) ON CONFLICT ({taken}) DO "
        )
        changes = ", ".join(f'"{field}" = excluded."{field}"' for field in names if field not in ("workspace", *key))
        # Built once: the most frequent question of all.
        named = (self.table.c[field] == sa.bindparam(field) for field in ("workspace", *key))
        self._finding = sa.select(self.table.c.document).where(*named)
        self._selecting, self._counting = lru_cache(64)(self._build_select), lru_cache(64)(self._build_count)
        self._inserting = sa.text(insertion + "NOTHING")
        self._putting = sa.text(f"{insertion}UPDATE SET {changes}")

    def insert(self, tx: Transaction, value: T) -> None:
        """Add a value. Raises `Conflict` where the key is taken."""
        if not self._store(tx, value, self._inserting):
            label = "/".join(str(getattr(value, field)) for field in self.key)
            raise Conflict(f"{self.kind.__name__} {label} exists already", code="already-exists")

    def put(self, tx: Transaction, value: T) -> None:
        """Add a value or replace the one with its key."""
        self._store(tx, value, self._putting)

    def insert_new(self, tx: Transaction, values: Sequence[T]) -> None:
        """Add many values at once; where a key is taken, what stands there stays."""
        if values:
            tx.execute(self._inserting, [self._row(tx, value) for value in values])

    def among(self, reader: Reader, field: str, wanted: Iterable[Any], **equal: Any) -> list[T]:
        """Values whose `field` is one of many, and whose other fields equal the given ones, in no order."""
        listed = list(wanted)
        found: list[T] = []
        for start in range(0, len(listed), _AT_ONCE):
            some = [plain(value) for value in listed[start : start + _AT_ONCE]]
            query = sa.select(self.table.c.document).where(*self._where(reader, equal), self._column(field).in_(some))
            found += [self._read(row.document) for row in reader.execute(query).all()]
        return found

    def mentioning(self, reader: Reader, text: str) -> list[T]:
        """Values in whose document a text stands somewhere: few to look through, where a field has no column."""
        column = self.table.c.document
        query = sa.select(column).where(*self._where(reader, {}), column.contains(text, autoescape=True))
        return [self._read(row.document) for row in reader.execute(query).all()]

    def get(self, reader: Reader, *key: Any) -> T:
        """The value of a key. Raises `NotFound`."""
        found = self.find(reader, *key)
        if found is None:
            raise NotFound(f"no {_words(self.kind.__name__)} {'/'.join(map(str, key))}")
        return found

    def find(self, reader: Reader, *key: Any) -> T | None:
        """The value of a key, or None."""
        wanted = {field: self._sought(field, value) for field, value in zip(self.key, key, strict=True)}
        row = reader.execute(self._finding, {"workspace": reader.workspace, **wanted}).first()
        return None if row is None else self._read(row.document)

    def select(
        self,
        reader: Reader,
        *,
        order: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        **equal: Any,
    ) -> list[T]:
        """Values whose fields equal the given ones; `order` is a field, with `-` in front for descending."""
        query = self._selecting(tuple((field, value is None) for field, value in equal.items()), order)
        if limit is not None or offset:
            query = query.limit(position(limit)).offset(position(offset))
        return [self._read(row.document) for row in reader.execute(query, self._asked(reader, equal)).all()]

    def count(self, reader: Reader, **equal: Any) -> int:
        """How many values have these fields."""
        query = self._counting(tuple((field, value is None) for field, value in equal.items()))
        return int(reader.execute(query, self._asked(reader, equal)).scalar())

    def remove(self, tx: Transaction, *key: Any) -> None:
        """Take a value off the shelf; the ledger keeps that it was there."""
        self.remove_all(tx, **dict(zip(self.key, key, strict=True)))

    def remove_all(self, tx: Transaction, **equal: Any) -> None:
        """Take every value off the shelf whose fields equal the given ones."""
        tx.execute(self.table.delete().where(*self._where(tx, equal)))

    def _store(self, tx: Transaction, value: T, statement: sa.TextClause) -> bool:
        try:
            return bool(tx.execute(statement, self._row(tx, value)).rowcount)
        except IntegrityError as cause:
            label = "/".join(str(getattr(value, field)) for field in self.key)
            raise Bug(f"{self.kind.__name__} {label} does not fit its table: {cause.orig}") from cause

    def _build_select(self, fields: _Asked, order: str | None) -> sa.Select[Any]:
        query = sa.select(self.table.c.document).where(*self._equalities(fields))
        for field in (*([order] if order else []), *self.key):
            column = self._column(field.removeprefix("-"))
            # As SQLite does by itself: what is missing comes before everything else.
            down = field.startswith("-")
            query = query.order_by(column.desc().nulls_last() if down else column.asc().nulls_first())
        return query

    def _build_count(self, fields: _Asked) -> sa.Select[Any]:
        return sa.select(sa.func.count()).select_from(self.table).where(*self._equalities(fields))

    def _equalities(self, fields: _Asked) -> list[Any]:
        """Conditions on fields by their names as parameters; nothing equals what is missing."""
        return [
            self.table.c.workspace == sa.bindparam("workspace"),
            *(
                self._column(name).is_(None) if none else self._column(name) == sa.bindparam(name)
                for name, none in fields
            ),
        ]

    def _asked(self, reader: Reader, equal: dict[str, Any]) -> dict[str, Any]:
        sought = {field: self._sought(field, value) for field, value in equal.items() if value is not None}
        return {"workspace": reader.workspace, **sought}

    def _where(self, reader: Reader, equal: dict[str, Any]) -> list[Any]:
        fields = [self._column(field) == self._sought(field, value) for field, value in equal.items()]
        return [self.table.c.workspace == reader.workspace, *fields]

    def _sought(self, field: str, value: Any) -> Any:
        """A value to compare a column with. One database finds nothing by a value of a wrong kind, another fails."""
        found, column = plain(value), self._column(field)
        if found is not None and isinstance(found, str) != (column.type is TEXT):
            raise Invalid(f"{field} of {self.kind.__name__} cannot be {type(value).__name__}", code="invalid-field")
        return found

    def _row(self, tx: Transaction, value: T) -> dict[str, Any]:
        row = {field: plain(getattr(value, field)) for field in self._fields}
        return {"workspace": tx.workspace, **row, "document": documents.text(value)}

    def _read(self, document: str) -> T:
        try:
            return documents.parse(self.kind, document)
        except Invalid as cause:
            raise Corrupt(f"the shelf {self.name!r} holds a damaged document", code="corrupt-document") from cause

    def _column(self, field: str) -> Any:
        if field not in self._fields:
            raise Invalid(
                f"{self.kind.__name__} cannot be searched or ordered by {field[:60]!r} "
                f"(expected one of {', '.join(self._fields)})",
                code="invalid-field",
            )
        return self.table.c[field]


def _column(hint: Any) -> Any:
    options = {hint, *typing.get_args(hint)}
    if int in options or bool in options:
        return INTEGER
    return REAL if float in options else TEXT


def _words(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def evolve(value: T, **changes: Any) -> T:
    """A copy of a frozen value with some fields changed."""
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]
