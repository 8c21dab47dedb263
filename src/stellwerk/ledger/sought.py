"""Shelves whose values are found by what they have: a row for each thing that is said of one.

Who searches does so with `searches`. What can be asked is in `core.search`; the form is in docs/formats/sought.md.
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from stellwerk.ledger import roster
from stellwerk.ledger.parameters import plain
from stellwerk.ledger.ports import Reader, Transaction
from stellwerk.ledger.shelf import Shelf

if TYPE_CHECKING:
    import sqlalchemy as sa

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
        self._said, self._values_name, self._ordered = said, values, ordered
        self._values_table: sa.Table | None = None
        self.columns = {} if columns is None else columns
        roster.made_by(values, lambda: self.values)
        named = ", ".join(f'"{field}"' for field in ("workspace", *key, "entity", "key", "number", "head", "text"))
        marks = ", ".join("?" * (len(key) + 6))
        self._entering = f"INSERT INTO {values} ({named}) VALUES ({marks})"  # noqa: S608 - names of our own
        equal = " AND ".join(f'"{field}" = ?' for field in ("workspace", *key))
        self._leaving = f"DELETE FROM {values} WHERE {equal}"  # noqa: S608

    @property
    def values(self) -> sa.Table:
        """The table of its index as SQLAlchemy knows it, for those who make tables or search."""
        if self._values_table is None:
            from stellwerk.ledger.tables import once

            self._values_table = once(self._values_name, self._describe_values)
        return self._values_table

    def _describe(self) -> sa.Table:
        import sqlalchemy as sa

        table = super()._describe()
        if self._ordered:
            label = "_and_".join(field.removeprefix("-") for field in self._ordered)
            fields = [directed(table.c, field) for field in self._ordered]
            sa.Index(f"{self.name}_by_{label}", table.c.workspace, *fields)
        return table

    def _describe_values(self) -> sa.Table:
        import sqlalchemy as sa

        from stellwerk.ledger.tables import REAL, TEXT, metadata, present_only

        name, kinds = self._values_name, self.table.c
        return sa.Table(
            name,
            metadata,
            sa.Column("workspace", TEXT, primary_key=True),
            *(sa.Column(field, kinds[field].type, primary_key=True, autoincrement=False) for field in self.key),
            sa.Column("entity", TEXT, primary_key=True),
            sa.Column("key", TEXT, primary_key=True),
            sa.Column("number", REAL),
            sa.Column("head", TEXT),
            sa.Column("text", TEXT),
            *(
                sa.Index(f"{name}_by_{one}", "workspace", "entity", "key", one, *self.key, **present_only(one))
                for one in ("number", "head")
            ),
            sqlite_strict=True,
            sqlite_with_rowid=False,
        )

    def keyed(self, reader: Reader, keys: Sequence[tuple[Any, ...]]) -> list[T]:
        """Those of some values that are here, by their keys, in the order asked for."""
        found = {tuple(row[:-1]): self._read(row[-1]) for row in self._among(reader, keys, "document")}
        return [found[key] for key in map(tuple, keys) if key in found]

    def _keys(self, reader: Reader, keys: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        return (tuple(row) for row in self._among(reader, keys))

    def _among(self, reader: Reader, keys: Sequence[tuple[Any, ...]], *further: str) -> Iterator[tuple[Any, ...]]:
        columns = ", ".join(f'"{field}"' for field in self.key)
        known = self._question((), ", ".join((columns, *further)))
        row = f"({', '.join('?' * len(self.key))})"
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            question = f"{known} AND ({columns}) IN (VALUES {', '.join([row] * len(some))})"
            yield from reader.rows(question, (reader.workspace, *(plain(part) for key in some for part in key)))

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
        columns = ", ".join(f'"{field}"' for field in self.key)
        gone = self._question(tuple((field, value is None) for field, value in equal.items()), columns)
        tx.run(
            f"DELETE FROM {self._values_name} WHERE workspace = ? AND ({columns}) IN ({gone})",  # noqa: S608
            (tx.workspace, *self._values(tx, equal)),
        )
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


def directed(columns: Any, field: str) -> Any:
    """A column to order by; with `-` in front of its name descending."""
    column = columns[field.removeprefix("-")]
    return column.desc() if field.startswith("-") else column
