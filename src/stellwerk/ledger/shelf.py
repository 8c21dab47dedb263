"""Shelves: tables of typed documents under a workspace and a key. The only SQL that rooms need.

A shelf has the columns of its key, a few more to search by, and one JSON document. Every statement carries the
workspace of the transaction it runs in, so no helper exists that could forget it (law 10).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from stellwerk.core.errors import Bug, Conflict, Corrupt, Invalid, NotFound
from stellwerk.ledger import documents, roster
from stellwerk.ledger.parameters import MAX_INTEGER, plain, position
from stellwerk.ledger.ports import Book, Misfit, Reader, Transaction

if TYPE_CHECKING:
    import sqlalchemy as sa

T = TypeVar("T")
Kind = Literal["text", "integer", "real"]
_Asked = tuple[tuple[str, bool], ...]
"""Fields that are asked for, and of each whether it is to be missing."""
_AT_ONCE = 500
"""Values in one question, below what every database takes."""


class Shelf(Generic[T]):
    """A table of values of one frozen dataclass.

    Its questions are spelled once, in words that SQLite and PostgreSQL read alike, and go straight to the driver.

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
        self.name, self.kind, self.key, self.index = name, kind, key, index
        self.together, self.weak = together, weak
        self.fields = (*key, *index)
        self._table: sa.Table | None = None
        roster.made_by(name, lambda: self.table)
        # A taken key is an answer and not an error, which would end the whole transaction on PostgreSQL.
        columns = ("workspace", *self.fields, "document")
        insertion = (
            f"INSERT INTO {name} ({_listed(columns)}) VALUES ({_marks(columns)}) "  # noqa: S608 - names of our own
            f"ON CONFLICT ({_listed(('workspace', *key))}) DO "
        )
        changes = ", ".join(f'"{field}" = excluded."{field}"' for field in (*index, "document"))
        self._inserting, self._putting = insertion + "NOTHING", f"{insertion}UPDATE SET {changes}"
        self._finding = self._question(tuple((field, False) for field in key))
        self._selecting = lru_cache(64)(self._build_select)

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """What the columns of its fields hold."""
        hints = typing.get_type_hints(self.kind)
        return {field: _kind(hints[field]) for field in self.fields}

    @property
    def table(self) -> sa.Table:
        """Its table as SQLAlchemy knows it, for those who make tables or ask what no shelf answers."""
        if self._table is None:
            from stellwerk.ledger.tables import once

            self._table = once(self.name, self._describe)
        return self._table

    def _describe(self) -> sa.Table:
        import sqlalchemy as sa

        from stellwerk.ledger.tables import KINDS, TEXT, metadata

        columns = [
            sa.Column(field, KINDS[self.kinds[field]], primary_key=field in self.key, nullable=field not in self.key)
            for field in self.fields
        ]
        by = [(field,) for field in self.index] + ([self.together] if self.together else [])
        return sa.Table(
            self.name,
            metadata,
            sa.Column("workspace", TEXT, primary_key=True),
            *columns,
            sa.Column("document", TEXT, nullable=False),
            *(sa.Index(f"{self.name}_by_{'_and_'.join(fields)}", "workspace", *fields) for fields in by),
            sqlite_strict=True,
            info={"weak": self.weak},
        )

    def insert(self, tx: Transaction, value: T) -> None:
        """Add a value. Raises `Conflict` where the key is taken."""
        if not self._store(tx, value, self._inserting):
            label = "/".join(str(getattr(value, field)) for field in self.key)
            raise Conflict(f"{self.kind.__name__} {label} exists already", code="already-exists")

    def insert_once(self, book: Book, value: T, also: Callable[[Transaction], object]) -> T:
        """Add a value unless its key is taken; the value as it stands there.

        Args:
            also: Writes what belongs to a new value, in the same transaction.
        """
        key = [getattr(value, field) for field in self.key]
        with book.read() as reader:  # most often it is there, and nobody has to wait for a turn to write
            known = self.find(reader, *key)
        if known is not None:
            return known
        with book.write() as tx:
            known = self.find(tx, *key)
            if known is None:
                self.insert(tx, value)
                also(tx)
        return known or value

    def put(self, tx: Transaction, value: T) -> None:
        """Add a value or replace the one with its key."""
        self._store(tx, value, self._putting)

    def insert_new(self, tx: Transaction, values: Sequence[T]) -> None:
        """Add many values at once; where a key is taken, what stands there stays."""
        if values:
            tx.write_many(self._inserting, [self._row(tx, value) for value in values])

    def among(self, reader: Reader, field: str, wanted: Iterable[Any], **equal: Any) -> list[T]:
        """Values whose `field` is one of many, and whose other fields equal the given ones, in no order."""
        listed, known = list(wanted), self._question(_asked(equal))
        column, values = self._column(field), self._values(reader, equal)
        found: list[T] = []
        for start in range(0, len(listed), _AT_ONCE):
            some = [plain(value) for value in listed[start : start + _AT_ONCE]]
            rows = reader.rows(f"{known} AND {column} IN ({_marks(some)})", (*values, *some))
            found += [self._read(document) for (document,) in rows]
        return found

    def mentioning(self, reader: Reader, text: str) -> list[T]:
        """Values in whose document a text stands somewhere: few to look through, where a field has no column."""
        for special in "/%_":
            text = text.replace(special, f"/{special}")
        rows = reader.rows(f"{self._question(())} AND document LIKE ? ESCAPE '/'", (reader.workspace, f"%{text}%"))
        return [self._read(document) for (document,) in rows]

    def get(self, reader: Reader, *key: Any) -> T:
        """The value of a key. Raises `NotFound`."""
        found = self.find(reader, *key)
        if found is None:
            raise NotFound(f"no {_words(self.kind.__name__)} {'/'.join(map(str, key))}")
        return found

    def find(self, reader: Reader, *key: Any) -> T | None:
        """The value of a key, or None."""
        wanted = [self._sought(field, value) for field, value in zip(self.key, key, strict=True)]
        rows = reader.rows(self._finding, (reader.workspace, *wanted))
        return self._read(rows[0][0]) if rows else None

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
        whole = limit is None and not offset
        question, values = self._selecting(_asked(equal), order, whole), self._values(reader, equal)
        if not whole:
            most = position(limit)
            question += " LIMIT ? OFFSET ?"
            values += [MAX_INTEGER if most is None else most, position(offset)]
        return [self._read(document) for (document,) in reader.rows(question, values)]

    def count(self, reader: Reader, **equal: Any) -> int:
        """How many values have these fields."""
        question = self._question(_asked(equal), "COUNT(*)")
        return int(reader.rows(question, self._values(reader, equal))[0][0])

    def remove(self, tx: Transaction, *key: Any) -> None:
        """Take a value off the shelf; the ledger keeps that it was there."""
        self.remove_all(tx, **dict(zip(self.key, key, strict=True)))

    def remove_all(self, tx: Transaction, **equal: Any) -> None:
        """Take every value off the shelf whose fields equal the given ones."""
        conditions = self._conditions(_asked(equal))
        tx.run(f"DELETE FROM {self.name} WHERE {conditions}", self._values(tx, equal))  # noqa: S608 - names of our own

    def _store(self, tx: Transaction, value: T, statement: str) -> bool:
        try:
            return bool(tx.run(statement, self._row(tx, value)))
        except Misfit as cause:
            label = "/".join(str(getattr(value, field)) for field in self.key)
            raise Bug(f"{self.kind.__name__} {label} does not fit its table: {cause}") from cause

    def _question(self, fields: _Asked, what: str = "document") -> str:
        return f"SELECT {what} FROM {self.name} WHERE {self._conditions(fields)}"  # noqa: S608 - names of our own

    def _conditions(self, fields: _Asked) -> str:
        """That fields equal parameters; nothing equals what is missing."""
        asked = (f"{self._column(name)} {'IS NULL' if none else '= ?'}" for name, none in fields)
        return " AND ".join(("workspace = ?", *asked))

    def _build_select(self, fields: _Asked, order: str | None, whole: bool) -> str:
        # Where all that equal something are wanted, they are looked up by that and then sorted. SQLite would rather read
        # the whole table in its order, for it does not know that nearly all of it is of one workspace.
        apart = whole and any(name in self.index for name, _ in fields)
        sorting = []
        for field in (*([order] if order else []), *self.key):
            name = field.removeprefix("-")
            column = self._column(name)
            if apart:
                column += " || ''" if self.kinds[name] == "text" else " + 0"
            # As SQLite does by itself: what is missing comes before everything else.
            sorting.append(f"{column} {'DESC NULLS LAST' if field.startswith('-') else 'ASC NULLS FIRST'}")
        return f"{self._question(fields)} ORDER BY {', '.join(sorting)}"

    def _values(self, reader: Reader, equal: dict[str, Any]) -> list[Any]:
        return [
            reader.workspace,
            *(self._sought(field, value) for field, value in equal.items() if value is not None),
        ]

    def _sought(self, field: str, value: Any) -> Any:
        """A value to compare a column with. One database finds nothing by a value of a wrong kind, another fails."""
        found = plain(value)
        if found is not None and isinstance(found, str) != (self.kinds[field] == "text"):
            raise Invalid(f"{field} of {self.kind.__name__} cannot be {type(value).__name__}", code="invalid-field")
        return found

    def _row(self, tx: Transaction, value: T) -> tuple[Any, ...]:
        return (tx.workspace, *(plain(getattr(value, field)) for field in self.fields), documents.text(value))

    def _read(self, document: str) -> T:
        try:
            return documents.parse(self.kind, document)
        except Invalid as cause:
            raise Corrupt(f"the shelf {self.name!r} holds a damaged document", code="corrupt-document") from cause

    def _column(self, field: str) -> str:
        if field not in self.fields:
            raise Invalid(
                f"{self.kind.__name__} cannot be searched or ordered by {field[:60]!r} "
                f"(expected one of {', '.join(self.fields)})",
                code="invalid-field",
            )
        return f'"{field}"'


def _kind(hint: Any) -> Kind:
    options = {hint, *typing.get_args(hint)}
    if int in options or bool in options:
        return "integer"
    return "real" if float in options else "text"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _asked(equal: dict[str, Any]) -> _Asked:
    return tuple((field, value is None) for field, value in equal.items())


def _words(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def evolve(value: T, **changes: Any) -> T:
    """A copy of a frozen value with some fields changed."""
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]
