"""What every database under the book must do: entries, transactions, shelves, and walls between workspaces.

Subclass `BookContract` in a test module and give it a fixture `open_book(workspace, actor)`.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Bug, Conflict, Invalid, NotFound
from stellwerk.ledger.ports import Book
from stellwerk.testing.shelves import ShelfContract
from stellwerk.testing.things import THINGS, OpenBook, Thing

# Each example works in workspaces of its own, so that examples cannot disturb each other.
shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    deadline=None,
    max_examples=15,
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["insert", "put", "remove", "record", "fail"]),
        st.sampled_from(["one", "two"]),
        st.sampled_from(["a", "b", "A", "%", "é"]),
        st.integers(0, 1),
        st.integers(-5, 5),
    ),
    max_size=12,
)


class _Stopped(Exception):
    """What a test raises in the middle of a transaction."""


class BookContract(ShelfContract):
    """The promises of the `Book` port, and of the shelves on it."""

    # entries

    def test_entries_come_back(self, book: Book) -> None:
        """An entry is read as it was recorded, with the actor and the time it was recorded with."""
        body = {"x": 1, "y": [1.5, None, True], "z": {"ü": "ß"}, "large": 1e16}
        with book.write() as tx:
            first = tx.record("thing.made", "thing:a", body)
            second = tx.record("thing.seen", "thing:a")

        assert [first, second] == book.entries()
        assert (0, 1) == (first.sequence, second.sequence)
        assert ("default", "anna", "thing.made", "thing:a") == (
            first.workspace,
            first.actor,
            first.kind,
            first.subject,
        )
        assert (body, {}) == (first.body, second.body)
        assert first.at.tzinfo is not None

    def test_many_entries_are_the_same_as_one_by_one(self, book: Book) -> None:
        """In order, at one time, and together with rows and single entries; the places are told."""
        with book.write() as tx:
            tx.record("thing.made", "thing:first")
            places = tx.record_many((f"thing.{number}", f"thing:{number}", {"n": number}) for number in range(20))
            none = tx.record_many([])
            tx.record("thing.made", "thing:last")

        found = book.entries()
        assert (range(1, 21), 0) == (places, len(none))
        assert list(range(22)) == [entry.sequence for entry in found]
        assert [{"n": number} for number in range(20)] == [entry.body for entry in found[1:21]]
        assert 1 == len({entry.at for entry in found[1:21]})

    def test_many_entries_are_refused_together(self, book: Book) -> None:
        """One bad item among many, or a source that fails, and nothing of the change is kept."""

        def failing() -> Iterator[tuple[str, str, dict[str, Any]]]:
            yield "thing.made", "thing:a", {}
            raise _Stopped

        with pytest.raises(Invalid), book.write() as tx:
            tx.record_many([("thing.made", "thing:a", None), ("thing.made", "a\x00", None)])
        with pytest.raises(_Stopped), book.write() as tx:
            tx.record_many(failing())

        assert [] == book.entries()

    def test_entries_are_filtered(self, book: Book) -> None:
        """By exact kind, by kind prefix with a dot, by subject, from a position, up to a number; case matters."""
        for kind in ("run.started", "run.finished", "runs.x", "Run.started", "run", "run/x"):
            with book.write() as tx:
                tx.record(kind, f"subject:{kind}")

        def kinds(**filters: Any) -> list[str]:
            return [entry.kind for entry in book.entries(**filters)]

        assert ["run.started", "run.finished"] == kinds(kinds=["run."])
        assert ["run.finished", "run"] == kinds(kinds=["run", "run.finished"])
        assert [] == kinds(kinds=[])
        assert [] == kinds(kinds=["%", "r_n.", "run.%"])
        assert ["runs.x"] == kinds(subject="subject:runs.x")
        assert ["run", "run/x"] == kinds(start=4)
        assert ["run.started"] == kinds(limit=1)
        assert [] == kinds(limit=0)
        assert ["run.finished"] == kinds(kinds=["run."], start=1, limit=5)

    @pytest.mark.parametrize(
        ("filters", "code"),
        [
            ({"start": -1}, "invalid-number"),
            ({"start": 2**63}, "invalid-number"),
            ({"limit": -1}, "invalid-number"),
            ({"limit": 2**63}, "invalid-number"),
            ({"subject": "\ud800"}, "invalid-text"),
            ({"subject": "a\x00"}, "invalid-text"),
            ({"kinds": ["\ud800."]}, "invalid-text"),
        ],
    )
    def test_bad_filters_are_invalid(self, book: Book, filters: dict[str, Any], code: str) -> None:
        """A filter that no database understands alike is refused as such."""
        with pytest.raises(Invalid) as caught:
            book.entries(**filters)

        assert code == caught.value.code

    @pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}, {1: 2}, {"x": "\ud800"}, {"x": 2**60}])
    def test_a_body_without_canonical_form_is_refused(self, book: Book, body: Any) -> None:
        """Nothing of the transaction stays."""
        with pytest.raises(Invalid):
            self.keep(book, Thing(name="a"), body=body)

        assert [] == self.names(book)
        assert [] == book.entries()

    @pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
    def test_entries_hold_plain_text_only(self, book: Book, text: str) -> None:
        """NUL and lone surrogates are refused on the way in."""
        for kind, subject in ((text, "x"), ("x.y", text)):
            with pytest.raises(Invalid), book.write() as tx:
                tx.record(kind, subject)

        assert [] == book.entries()

    # transactions

    def test_rows_and_entries_come_together(self, book: Book) -> None:
        """An exception takes back rows and entries alike, and passes through as it is."""
        with pytest.raises(_Stopped):
            self.keep(book, Thing(name="a"), then=_Stopped())

        assert [] == self.names(book)
        assert [] == book.entries()
        self.keep(book, Thing(name="b"))
        assert [0] == [entry.sequence for entry in book.entries()]

    def test_an_error_of_the_caller_is_not_the_database(self, book: Book) -> None:
        """A file that is missing inside a transaction is not reported as a database that is."""
        with pytest.raises(FileNotFoundError), book.write():
            raise FileNotFoundError("the caller's file")

    def test_no_change_without_an_entry(self, book: Book) -> None:
        """Law 7: rows changed without an entry are a `Bug`, and are rolled back."""
        self.keep(book, Thing(name="a"))

        changes: tuple[Callable[[Any], None], ...] = (
            lambda tx: THINGS.insert(tx, Thing(name="b")),
            lambda tx: THINGS.put(tx, Thing(name="a", group="changed")),
            lambda tx: THINGS.remove(tx, "a", 0),
        )
        for change in changes:
            with pytest.raises(Bug), book.write() as tx:
                change(tx)

        with book.read() as reader:
            assert [Thing(name="a")] == THINGS.select(reader)
        assert 1 == len(book.entries())

    def test_looking_needs_no_entry(self, book: Book) -> None:
        """A transaction that only reads, or does nothing, may end without one."""
        with book.write() as tx:
            assert [] == THINGS.select(tx)
            assert THINGS.find(tx, "a", 0) is None

        assert [] == book.entries()

    def test_a_reader_cannot_write(self, book: Book) -> None:
        """Writing through a snapshot is a `Bug`."""
        with pytest.raises(Bug), book.read() as reader:
            THINGS.put(reader, Thing(name="a"))  # type: ignore[arg-type]

        assert [] == self.names(book)

    def test_a_reader_ends_with_its_block(self, book: Book) -> None:
        """Its connection may be somebody else's afterwards, with what that one has not committed: it is a `Bug` then."""
        self.keep(book, Thing(name="a"))
        with book.read() as reader:
            assert 1 == THINGS.count(reader)

        with book.write() as tx:
            THINGS.put(tx, Thing(name="b"))
            tx.record("thing.made", "thing:b")
            with pytest.raises(Bug):
                THINGS.select(reader)

    def test_a_snapshot_stands_still(self, book: Book) -> None:
        """What was committed after a reader's first look is not seen by it."""
        self.keep(book, Thing(name="a"))
        with book.read() as reader:
            before = THINGS.select(reader)
            self.keep(book, Thing(name="b"))

            assert before == THINGS.select(reader)

        assert ["a", "b"] == self.names(book)

    def test_a_refused_change_leaves_the_block_usable(self, book: Book) -> None:
        """A taken key caught inside the block does not spoil what follows."""
        self.keep(book, Thing(name="a"))
        with book.write() as tx:
            with pytest.raises(Conflict):
                THINGS.insert(tx, Thing(name="a"))
            THINGS.insert(tx, Thing(name="b"))
            tx.record("thing.made", "thing:b")

        assert ["a", "b"] == self.names(book)

    def test_reading_inside_a_change_sees_what_it_builds_on(self, book: Book) -> None:
        """A snapshot opened inside a change is that of the change; outside nothing is seen before the end."""
        with book.write() as tx:
            THINGS.insert(tx, Thing(name="a"))
            tx.record("thing.made", "thing:a")

            assert ["a"] == self.names(book)
            assert 1 == len(book.entries())
            outside: list[Any] = []
            other = threading.Thread(target=lambda: outside.append((self.names(book), book.entries())))
            other.start()
            other.join()
            assert [([], [])] == outside

    def test_a_change_inside_a_change_is_a_bug(self, book: Book) -> None:
        """It could never begin, and says so at once; the outer one is taken back like after any error."""

        def nest() -> None:
            with book.write() as tx:
                tx.record("thing.made", "thing:a")
                self.keep(book, Thing(name="b"))

        with pytest.raises(Bug):
            nest()

        assert [] == book.entries()
        self.keep(book, Thing(name="a"))

    @shared
    @given(fates=st.lists(st.sampled_from(["keep", "fail", "conflict", "forget"]), min_size=2, max_size=24))
    def test_changes_of_many_threads_are_each_whole_or_not_at_all(
        self, open_book: OpenBook, fates: list[str]
    ) -> None:
        """Whatever fails beside it, an acknowledged change is there with its row, and a refused one is not."""
        example = uuid.uuid4().hex
        book = open_book(example, "anna")
        self.keep(book, Thing(name="taken"))
        told: dict[int, str] = {}
        start = threading.Barrier(len(fates))

        def act(number: int, fate: str) -> None:
            start.wait()
            try:
                with book.write() as tx:
                    THINGS.insert(tx, Thing(name=f"thing{number}"))
                    if fate != "forget":
                        tx.record("thing.made", f"thing:thing{number}")
                    if fate == "conflict":
                        THINGS.insert(tx, Thing(name="taken"))
                    if fate == "fail":
                        raise _Stopped
                told[number] = "keep"
            except (_Stopped, Conflict, Bug) as error:
                told[number] = {_Stopped: "fail", Conflict: "conflict", Bug: "forget"}[type(error)]

        threads = [threading.Thread(target=act, args=item) for item in enumerate(fates)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        kept = {f"thing{number}" for number, fate in enumerate(fates) if fate == "keep"} | {"taken"}
        assert fates == [told[number] for number in range(len(fates))]
        assert kept == set(self.names(book))
        assert kept == {entry.subject.removeprefix("thing:") for entry in book.entries()}

    def test_a_transaction_sees_its_own_changes(self, book: Book) -> None:
        """Also before they are committed."""
        with book.write() as tx:
            THINGS.insert(tx, Thing(name="a"))
            tx.record("thing.made", "thing:a")

            assert Thing(name="a") == THINGS.get(tx, "a", 0)

    def test_many_threads_append(self, open_book: OpenBook) -> None:
        """Sequence numbers stay dense, and every acknowledged entry is there."""
        acknowledged, start = [], threading.Barrier(8)

        def append(number: int) -> None:
            book = open_book(f"workspace{number % 2}", f"actor{number}")
            start.wait()
            for step in range(5):
                with book.write() as tx:
                    entry = tx.record("thing.made", f"thing:{number}/{step}")
                acknowledged.append((entry.sequence, entry.subject))

        threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        found = [
            (entry.sequence, entry.subject)
            for workspace in ("workspace0", "workspace1")
            for entry in open_book(workspace, "reader").entries()
        ]
        assert list(range(40)) == sorted(sequence for sequence, _ in found)
        assert sorted(acknowledged) == sorted(found)

    # workspaces

    @shared
    @given(found=steps)
    def test_workspaces_do_not_see_each_other(self, open_book: OpenBook, found: list[Any]) -> None:
        """Law 10: whatever two workspaces do, each holds exactly its own values and entries."""
        example = uuid.uuid4().hex
        books = {name: open_book(f"{example}-{name}", name) for name in ("one", "two")}
        model: dict[str, dict[tuple[str, int], Thing]] = {"one": {}, "two": {}}
        recorded: dict[str, int] = {"one": 0, "two": 0}

        for verb, where, name, part, number in found:
            thing, known = Thing(name=name, part=part, number=number), model[where]
            try:
                with books[where].write() as tx:
                    if verb in ("put", "fail"):
                        THINGS.put(tx, thing)
                    elif verb == "insert":
                        THINGS.insert(tx, thing)
                    elif verb == "remove":
                        THINGS.remove(tx, name, part)
                    tx.record(f"thing.{verb}", f"thing:{name}")
                    if verb == "fail":
                        raise _Stopped
            except Conflict:
                assert verb == "insert"
                assert (name, part) in known
                continue
            except _Stopped:
                continue
            recorded[where] += 1
            if verb in ("insert", "put"):
                known[name, part] = thing
            elif verb == "remove":
                known.pop((name, part), None)

        for where, book in books.items():
            with book.read() as reader:
                assert {(t.name, t.part): t for t in THINGS.select(reader)} == model[where]
                assert len(model[where]) == THINGS.count(reader)
            entries = book.entries()
            assert recorded[where] == len(entries)
            assert {where} >= {entry.actor for entry in entries}

    def test_foreign_and_missing_look_the_same(self, open_book: OpenBook) -> None:
        """Law 10: the error for another workspace's value is that for one nobody has."""
        self.keep(open_book("one", "anna"), Thing(name="a"))

        def error(book: Book, name: str) -> tuple[str, str, str]:
            with pytest.raises(NotFound) as caught, book.read() as reader:
                THINGS.get(reader, name, 0)
            return caught.value.code, str(caught.value).replace(name, "…"), caught.value.hint

        other = open_book("two", "ben")
        assert error(other, "a") == error(other, "never")
        assert [] == other.entries(subject="thing:a")
