"""What shelves must do on every database under the book."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stellwerk.core.errors import Bug, Conflict, Corrupt, Invalid, NotFound
from stellwerk.ledger.ports import Book
from stellwerk.ledger.shelf import evolve
from stellwerk.testing.things import THINGS, OnBooks, Thing


class ShelfContract(OnBooks):
    """The promises of `Shelf`."""

    def test_values_come_back(self, book: Book) -> None:
        """Every field is read as it was written."""
        thing = Thing(
            name="a",
            part=3,
            group="gruppe ü",
            number=-(2**53) + 1,
            ratio=0.1,
            at=datetime(2026, 2, 3, 4, 5, 6, 789, tzinfo=UTC),
            done=True,
            tags={"k": "v\n\u2028"},
            values=(1e300, -0.5, 1e16),
        )
        self.keep(book, thing)

        with book.read() as reader:
            assert thing == THINGS.get(reader, "a", 3) == THINGS.find(reader, "a", 3)
            assert [thing] == THINGS.select(reader, at=thing.at, done=True, ratio=0.1)

    def test_a_key_is_taken_once(self, book: Book) -> None:
        """`insert` says `Conflict` where the key is taken, and what was there stays."""
        self.keep(book, Thing(name="a", group="first"), Thing(name="a", part=1))

        with pytest.raises(Conflict) as caught:
            self.keep(book, Thing(name="a", group="second"))

        assert "already-exists" == caught.value.code
        assert ["a"] == self.names(book, group="first")

    def test_put_replaces(self, book: Book) -> None:
        """`put` leaves one value under the key, the last, and its neighbours alone."""
        self.keep(book, Thing(name="a", group="old"), Thing(name="a", part=1, group="old"))
        with book.write() as tx:
            THINGS.put(tx, evolve(THINGS.get(tx, "a", 0), group="new"))
            tx.record("thing.changed", "thing:a")

        with book.read() as reader:
            assert ["new", "old"] == [thing.group for thing in THINGS.select(reader)]

    def test_what_is_gone_is_not_found(self, book: Book) -> None:
        """`get` raises `NotFound`, `find` says None, `remove` of nothing does nothing."""
        self.keep(book, Thing(name="a"))
        with book.write() as tx:
            THINGS.remove(tx, "a", 0)
            THINGS.remove(tx, "never", 0)
            tx.record("thing.removed", "thing:a")

        with book.read() as reader:
            assert THINGS.find(reader, "a", 0) is None
            assert 0 == THINGS.count(reader)
            with pytest.raises(NotFound):
                THINGS.get(reader, "a", 0)

    def test_selection(self, book: Book) -> None:
        """By equality (None included), ordered up or down with the key deciding ties, paged, and counted."""
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        self.keep(
            book,
            *(
                Thing(name=name, group=group, number=number, at=moment + timedelta(days=number or 0))
                for name, group, number in (("d", "x", 1), ("a", "x", 2), ("c", "y", None), ("b", "x", 1))
            ),
        )

        assert ["a", "b", "c", "d"] == self.names(book)
        assert ["a", "b", "d"] == self.names(book, group="x")
        assert ["c"] == self.names(book, number=None)
        assert ["a", "b", "d", "c"] == self.names(book, order="-number")
        assert ["c", "b", "d", "a"] == self.names(book, order="at")
        assert ["d", "c"] == self.names(book, order="-name", limit=2)
        assert ["b", "a"] == self.names(book, order="-name", limit=5, offset=2)
        assert [] == self.names(book, limit=0)
        assert [] == self.names(book, group="' OR 1=1 --")
        with book.read() as reader:
            assert (4, 3, 0) == (
                THINGS.count(reader),
                THINGS.count(reader, group="x"),
                THINGS.count(reader, group="X"),
            )

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"order": "tags"}, "invalid-field"),
            ({"order": "-document"}, "invalid-field"),
            ({"order": "name; DROP TABLE meta"}, "invalid-field"),
            ({"order": "workspace"}, "invalid-field"),
            ({"workspace": "other"}, "invalid-field"),
            ({"tags": "x"}, "invalid-field"),
            ({"number": 2**63}, "invalid-number"),
            ({"number": "1"}, "invalid-field"),
            ({"ratio": "x"}, "invalid-field"),
            ({"group": 1}, "invalid-field"),
            ({"name": 0.5}, "invalid-field"),
            ({"limit": -1}, "invalid-number"),
            ({"offset": -1}, "invalid-number"),
            ({"offset": 2**63}, "invalid-number"),
            ({"group": "\udfff"}, "invalid-text"),
            ({"group": "a\x00"}, "invalid-text"),
            ({"at": datetime(2026, 1, 1)}, "invalid-time"),  # noqa: DTZ001 - that is the point
        ],
    )
    def test_bad_queries_are_invalid(self, book: Book, query: dict[str, Any], code: str) -> None:
        """A field that is no column, or a value that no column holds, is refused; no other error escapes."""
        with pytest.raises(Invalid) as caught:
            self.names(book, **query)

        assert code == caught.value.code

    @pytest.mark.parametrize(
        "thing",
        [
            Thing(name="a\x00"),
            Thing(name="\ud800"),
            Thing(name="a", tags={"\ud800": ""}),
            Thing(name="a", ratio=float("nan")),
            Thing(name="a", values=(float("inf"),)),
            Thing(name="a", number=2**63),
            Thing(name="a", number=2**53),
        ],
        ids=lambda thing: ascii(thing)[:60],
    )
    def test_values_that_cannot_be_kept_exactly_are_refused(self, book: Book, thing: Thing) -> None:
        """What would come back changed, or not at all, is `Invalid` on the way in."""
        with pytest.raises(Invalid):
            self.keep(book, thing)

        assert [] == self.names(book)

    def test_a_value_that_does_not_fit_its_table_is_a_bug(self, book: Book) -> None:
        """A missing key is not reported as a taken one."""
        with pytest.raises(Bug):
            self.keep(book, Thing(name=None))  # type: ignore[arg-type]

    def test_a_damaged_document_is_corrupt(self, book: Book) -> None:
        """A document that is not the value its table promises is damage, not bad input of the reader."""
        self.keep(book, Thing(name="a"))
        with book.write() as tx:
            tx.execute(THINGS.table.update().values(document='{"name": 5}'))
            tx.record("thing.damaged", "thing:a")

        with pytest.raises(Corrupt) as caught:
            self.names(book)
        assert "corrupt-document" == caught.value.code
