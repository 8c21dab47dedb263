"""A shelf of things on which books and shelves are tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from stellwerk.ledger.ports import Book
from stellwerk.ledger.shelf import Shelf

OpenBook = Callable[[str, str], Book]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A value with one field of each kind that a shelf can hold."""

    name: str
    part: int = 0
    group: str = ""
    number: int | None = None
    ratio: float | None = None
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    done: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    values: tuple[float, ...] = ()


THINGS = Shelf("contract_things", Thing, key=("name", "part"), index=("group", "number", "ratio", "at", "done"))


class OnBooks:
    """What the tests of a book and of its shelves have in common."""

    @pytest.fixture
    def book(self, open_book: OpenBook) -> Book:
        return open_book("default", "anna")

    def keep(self, book: Book, *things: Thing, body: Any = None, then: Exception | None = None) -> None:
        with book.write() as tx:
            for thing in things:
                THINGS.insert(tx, thing)
                tx.record("thing.made", f"thing:{thing.name}", body)
            if then is not None:
                raise then

    def names(self, book: Book, **equal: Any) -> list[str]:
        with book.read() as reader:
            return [thing.name for thing in THINGS.select(reader, **equal)]
