"""A process whose threads write at the same time, and say so after each change: what `test_group_kills` kills.

Prints one line per acknowledged fact, `entry <sequence> <subject>`, and `refused <subject> <code>` for each refused;
`done` at the end.
"""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.clock import SystemClock
from stellwerk.core.errors import StellwerkError
from stellwerk.ledger.database import Database
from stellwerk.ledger.shelf import Shelf

ORIGIN = "example.com/faults"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A row that must come and go with its entry."""

    name: str


FACTS = Shelf("group_facts", Fact, key=("name",))


def say(*words: object) -> None:
    """Acknowledge: one write, so that lines of threads are not mixed, and it leaves the process at once."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main(folder: Path, name: str, threads: int, rounds: int) -> None:
    """So many threads, each with so many changes of one row and one entry."""
    database = Database(folder / "ledger.db", SystemClock())
    database.create(ORIGIN)
    database.open()
    start = threading.Barrier(threads)

    def write(thread: int) -> None:
        start.wait()
        for number in range(rounds):
            label = f"{name}-{thread}-{number}"
            try:
                with database.write("default", name) as tx:
                    FACTS.insert(tx, Fact(name=label))
                    entry = tx.record("fact.made", f"fact:{label}")
                say("entry", entry.sequence, entry.subject)
            except StellwerkError as error:
                say("refused", f"fact:{label}", error.code)

    running = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    database.close()
    say("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
