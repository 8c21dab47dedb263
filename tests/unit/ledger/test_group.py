"""Group commit: many changes, one sync; what fails takes back only itself, or else everybody is told."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import StellwerkError, Unavailable
from stellwerk.ledger import group
from stellwerk.ledger.database import Database
from stellwerk.ledger.dialects.port import Session
from stellwerk.ledger.dialects.sqlite import SQLite
from stellwerk.ledger.turns import Queue, Turn
from stellwerk.testing.fakes import StandingClock

ORIGIN = "example.com/group"


class Watched(SQLite):
    """SQLite that counts commits, and fails where a test says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.commits = 0
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def commit(self, session: Session) -> None:
        self.commits += 1
        self.before()
        super().commit(session)
        self.after()


@pytest.fixture
def place(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "ledger.db")


@pytest.fixture
def database(place: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(group, "MAX_SECONDS", 3600.0)  # groups end when nobody waits, however slow the machine
    made = Database(place, StandingClock())
    made.create(ORIGIN)
    place.commits = 0
    yield made
    made.close()


class Crowd:
    """Threads whose changes meet in one group: the first holds the turn until all others wait for it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.told: dict[str, Any] = {}

    def meet(self, **changes: Callable[[Any], None]) -> dict[str, Any]:
        waiting = self.database._committer._turn._queue
        (first, begin), *others = changes.items()

        def hold(tx: Any) -> None:
            for thread in threads:
                thread.start()
            while len(waiting) < len(threads):
                pass
            begin(tx)

        threads = [threading.Thread(target=self._act, args=item) for item in others]
        self._act(first, hold)
        for thread in threads:
            thread.join()
        return self.told

    def _act(self, name: str, change: Callable[[Any], None]) -> None:
        try:
            with self.database.write("default", name) as tx:
                tx.record("thing.made", f"thing:{name}")
                change(tx)
            self.told[name] = "kept"
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self.told[name] = error


def nothing(_tx: Any) -> None:
    """A change of one entry."""


def fail(_tx: Any) -> None:
    raise ZeroDivisionError


def subjects(database: Database) -> list[str]:
    return [entry.subject.removeprefix("thing:") for entry in database.entries("default")]


def test_who_waits_shares_the_commit(database: Database, place: Watched) -> None:
    """Changes that wait for their turn are made durable together, in the order of asking, and each is told."""
    told = Crowd(database).meet(a=nothing, b=nothing, c=nothing, d=nothing)

    assert dict.fromkeys("abcd", "kept") == told
    assert 1 == place.commits
    assert list("abcd") == sorted(subjects(database))
    assert "a" == subjects(database)[0]


def test_a_lone_change_is_committed_at_once(database: Database, place: Watched) -> None:
    """Nobody is waited for."""
    for number in range(3):
        with database.write("default", "anna") as tx:
            tx.record("thing.made", f"thing:{number}")

    assert 3 == place.commits


def test_a_failing_change_takes_back_only_itself(database: Database, place: Watched) -> None:
    """First, in the middle or last in its group; the sequence has no gap."""
    assert ["b"] == [name for name, word in Crowd(database).meet(a=fail, b=nothing).items() if word == "kept"]
    told = Crowd(database).meet(c=nothing, d=fail, e=nothing)

    assert ["c", "e"] == sorted(name for name, word in told.items() if word == "kept")
    assert isinstance(told["d"], ZeroDivisionError)
    assert ["b", "c", "e"] == sorted(subjects(database))
    assert [0, 1, 2] == [entry.sequence for entry in database.entries("default")]
    assert 2 == place.commits


def test_a_failed_commit_is_told_to_all(database: Database, place: Watched) -> None:
    """Nothing of the group is visible then, nobody was told otherwise, and the next change works."""

    def eio() -> None:
        place.before = lambda: None
        raise sqlite3.OperationalError("disk I/O error")

    place.before = eio
    told = Crowd(database).meet(a=nothing, b=nothing, c=fail, d=nothing)

    assert {"database-unavailable"} == {error.code for error in told.values() if isinstance(error, StellwerkError)}
    assert list("abcd") == sorted(name for name, error in told.items() if isinstance(error, Unavailable))
    assert 4 == len({id(error) for error in told.values()})
    assert [] == subjects(database)
    assert {"e": "kept"} == Crowd(database).meet(e=nothing)
    assert ["e"] == subjects(database)


def test_a_lost_transaction_is_told_to_all(database: Database, place: Watched) -> None:
    """When SQLite takes back the whole transaction by itself, those who were already in it are refused too."""
    with database.write("default", "anna") as tx:
        tx.execute(sa.text("CREATE TABLE fragile (x)"))
        tx.execute(
            sa.text("CREATE TRIGGER lost BEFORE INSERT ON fragile BEGIN SELECT RAISE(ROLLBACK, 'disk full'); END")
        )
        tx.record("thing.made", "thing:table")
    told = Crowd(database).meet(a=nothing, b=lambda tx: tx.execute(sa.text("INSERT INTO fragile VALUES (1)")))

    assert [True, True] == [isinstance(told[name], StellwerkError) for name in "ab"]
    assert ["table"] == subjects(database)
    assert {"c": "kept"} == Crowd(database).meet(c=nothing)
    assert ["table", "c"] == subjects(database)


def test_an_interrupt_while_committing_loses_nobody(database: Database, place: Watched) -> None:
    """Whoever is interrupted while committing for others passes the interrupt on after they are told."""

    def interrupt() -> None:
        place.before = place.after = lambda: None
        raise KeyboardInterrupt

    for moment in ("before", "after"):
        setattr(place, moment, interrupt)
        told = Crowd(database).meet(**{f"{moment}-{name}": nothing for name in "abc"})

        words = list(told.values())
        assert 2 == words.count("kept")
        assert 1 == sum(isinstance(word, KeyboardInterrupt) for word in words)
        assert set(told) <= set(subjects(database)), "what an interrupted thread wrote is committed with the others"


def test_an_interrupt_while_waiting_leaves_the_line(database: Database) -> None:
    """Ctrl-C while another thread writes: this thread stops waiting, and the next change works."""
    inside, go_on = threading.Event(), threading.Event()
    main = threading.main_thread().ident
    waiting = database._committer._turn._queue

    def hold() -> None:
        with database.write("default", "other") as tx:
            tx.record("thing.made", "thing:other")
            inside.set()
            while not waiting:
                pass
            signal.pthread_kill(main or 0, signal.SIGINT)
            go_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    with pytest.raises(KeyboardInterrupt), database.write("default", "anna"):
        pass
    go_on.set()
    thread.join()

    with database.write("default", "anna") as tx:
        tx.record("thing.made", "thing:after")
    assert ["other", "after"] == subjects(database)


def test_a_group_ends_when_it_is_full(database: Database, place: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, other processes get their turn after so many changes."""
    monkeypatch.setattr(group, "MAX_BLOCKS", 2)

    Crowd(database).meet(a=nothing, b=nothing, c=nothing, d=nothing, e=nothing)

    assert 3 == place.commits
    assert 5 == len(subjects(database))


def test_closing_commits_what_is_under_way(database: Database, place: Watched) -> None:
    """Whoever closes while others write is next in line like everybody else, and loses nobody's change."""
    waiting = database._committer._turn._queue
    told: list[str] = []
    closing = threading.Thread(target=database.close)
    with database.write("default", "anna") as tx:
        tx.record("thing.made", "thing:a")
        closing.start()
        while not waiting:
            pass
    told.append("kept")
    closing.join()

    assert ["kept"] == told
    assert ["a"] == subjects(database)
    assert {"b": "kept"} == Crowd(database).meet(b=nothing), "and it can be used again"


def test_who_waits_too_long_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that keeps its change open does not keep the others waiting for ever."""
    monkeypatch.setattr(group, "WAIT_SECONDS", 0.01)
    refused: list[str] = []

    def wait() -> None:
        with pytest.raises(Unavailable) as caught, database.write("default", "late"):
            pass
        refused.append(caught.value.code)

    with database.write("default", "anna") as tx:
        tx.record("thing.made", "thing:a")
        late = threading.Thread(target=wait)
        late.start()
        late.join()

    assert ["database-busy"] == refused
    assert ["a"] == subjects(database)


# turns


def test_turns_come_in_the_order_of_asking() -> None:
    """Nobody is overtaken."""
    turn, order = Turn(), []
    assert turn.take(0)
    assert turn.mine()
    threads = []
    for number in range(5):

        def act(number: int = number) -> None:
            assert turn.take(60)
            order.append((number, turn.mine()))
            turn.end()

        threads.append(threading.Thread(target=act))
        threads[-1].start()
        while len(turn._queue) <= number:
            pass
    assert turn.hand_over()
    assert not turn.mine()
    for thread in threads:
        thread.join()

    assert [(number, True) for number in range(5)] == order
    assert turn.take(0)
    assert not turn.hand_over()
    assert turn.mine()


def test_one_place_before_the_lock(tmp_path: Path) -> None:
    """Two users of one queue have the place one after the other; past the deadline one goes on without it."""
    first, second = Queue(tmp_path / "queue"), Queue(tmp_path / "queue")

    with first.place(monotonic() + 60):
        assert not second._take(monotonic())
    with second.place(monotonic() + 60):
        assert not first._take(monotonic())
    with first.place(monotonic()), second.place(monotonic()):
        pass  # a courtesy, not a guard

    first.close()
    second.close()
    with Queue(tmp_path / "missing" / "queue").place(monotonic()):
        pass  # where no file can be made
