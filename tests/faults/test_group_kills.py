"""Many writers at once, in one process and in fifty: kills, full and failing disks, and nobody is left waiting."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import stellwerk
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.ledger.verify import verify_book

pytestmark = pytest.mark.faults

WRITER = Path(__file__).with_name("group_writer.py")
ORIGIN = "example.com/faults"
THREADS = 32
PROCESSES = int(os.environ.get("STELLWERK_PROCESSES", "50"))
KILLS = int(os.environ.get("STELLWERK_KILLS", "4"))
FAILPOINTS = ("ledger.record", "ledger.commit", "ledger.committed")


@dataclass
class Book:
    """A book that many writers died over, and what they were told."""

    folder: Path
    kept: dict[int, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    lives: int = 0

    def start(self, *, threads: int, rounds: int, fail: str = "") -> subprocess.Popen[str]:
        self.lives += 1
        return subprocess.Popen(
            [sys.executable, str(WRITER), str(self.folder), f"life{self.lives}", str(threads), str(rounds)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(Path(stellwerk.__file__).parents[1]), "STELLWERK_FAIL": fail},
        )

    def hear(self, output: str) -> bool:
        """Take in whole lines; whether the writer came to its end."""
        for line in output.splitlines(keepends=True):
            words = line.split()
            if not line.endswith("\n"):
                continue
            if words[0] == "entry":
                assert int(words[1]) not in self.kept, "two were told the same place"
                self.kept[int(words[1])] = words[2]
            elif words[0] == "refused":
                self.refused[words[1]] = words[2]
        return output.endswith("done\n")

    def check(self) -> None:
        """Everything acknowledged is there with its row, nothing refused is, and the book is whole."""
        count, findings = verify_book(self.folder / "ledger.db", ORIGIN, Ed25519Verifier().verify)
        assert [] == findings
        with closing(sqlite3.connect(self.folder / "ledger.db")) as connection:
            entries = dict(connection.execute("SELECT sequence, subject FROM ledger_entries"))
            rows = {f"fact:{name}" for (name,) in connection.execute("SELECT name FROM group_facts")}
        assert count == len(entries) == len(set(entries.values())), "nothing is there twice"
        assert rows == set(entries.values()), "rows and entries come together"
        assert self.kept == {sequence: entries.get(sequence) for sequence in self.kept}
        assert not set(self.refused) & rows


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_with_many_in_flight(book: Book, failpoint: str) -> None:
    """Killed before, in and after shared commits with 32 writers in flight, nothing acknowledged is lost."""
    for nth in (1, 2, 5, 9):
        child = book.start(threads=THREADS, rounds=20, fail=f"{failpoint}:kill:{nth + 2}")
        ended = book.hear(child.communicate(timeout=120)[0])
        assert (False, -signal.SIGKILL) == (ended, child.returncode), "this failpoint was not hit"
        book.check()

    child = book.start(threads=THREADS, rounds=2)
    assert book.hear(child.communicate(timeout=120)[0])
    book.check()
    assert len(book.kept) >= 2 * THREADS


def test_killed_at_random_with_many_in_flight(book: Book) -> None:
    """At any moment."""
    seed = int(os.environ.get("STELLWERK_SEED", random.SystemRandom().getrandbits(32)))
    print(f"STELLWERK_SEED={seed}")
    chance = random.Random(seed)

    for _ in range(KILLS):
        child = book.start(threads=THREADS, rounds=10_000)
        assert child.stdout is not None
        heard = [child.stdout.readline() for _ in range(chance.randrange(1, 400))]
        child.kill()
        book.hear("".join(heard) + child.communicate(timeout=120)[0])
        assert -signal.SIGKILL == child.returncode
        book.check()

    assert book.kept


@pytest.mark.parametrize(("action", "code"), [("full", "disk-full"), ("eio", "database-unavailable")])
def test_a_disk_that_fails_while_committing_is_told_to_all(book: Book, action: str, code: str) -> None:
    """Each writer of the group is refused, none of their changes is there, and the same process goes on."""
    plan = ",".join(f"ledger.commit:{action}:{nth}" for nth in (3, 5, 8))
    child = book.start(threads=THREADS, rounds=20, fail=plan)

    assert book.hear(child.communicate(timeout=120)[0])

    assert {code} == set(book.refused.values())
    assert THREADS * 20 == len(book.kept) + len(book.refused)
    assert len(book.refused) >= 3
    book.check()


@pytest.mark.slow
def test_many_processes_at_once(book: Book) -> None:
    """Fifty processes write to one book, and beside them one with many threads: all finish, none is refused."""
    children = [book.start(threads=THREADS, rounds=30)]
    children += [book.start(threads=1, rounds=3) for _ in range(PROCESSES)]

    ended = [book.hear(child.communicate(timeout=300)[0]) for child in children]

    assert [True] * len(children) == ended
    assert {} == book.refused
    assert list(range(THREADS * 30 + PROCESSES * 3)) == sorted(book.kept)
    book.check()
