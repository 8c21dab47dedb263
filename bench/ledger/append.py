"""How fast the book grows: one writer, many, and in bulk, beside what SQLite itself does on the same disk; proof times.

    python bench/ledger/append.py [--seconds 3] [--writers 32] [--bulk 200000] [--entries 1000000] [--folder DIR]
                                  [--postgresql URL] [--slower MS]

Prints one JSON object. Every figure is taken in this run; rates of single commits alternate, so that a disk that
becomes slower does so for all of them. `--slower 2` waits two milliseconds before each commit of SQLite, as a disk does
whose syncs take that much longer: how far shared commits carry depends on that alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from stellwerk.core.clock import SystemClock
from stellwerk.ledger.database import Database
from stellwerk.ledger.dialects.port import Dialect, Session
from stellwerk.ledger.dialects.sqlite import SQLite

ROUNDS = 3


def sqlite_limit(folder: Path, seconds: float) -> float:
    """One INSERT of 300 bytes per durable commit, through the driver alone: what no program on SQLite exceeds alone."""
    with closing(sqlite3.connect(folder / "limit.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b BLOB)")
        count, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO t (b) VALUES (zeroblob(300))")
            connection.execute("COMMIT")
            count += 1
    return count / seconds


def commits(database: Database, writers: int, seconds: float) -> float:
    """Single durable changes of one entry, by so many threads."""
    done = [0] * writers
    start = threading.Barrier(writers + 1)
    stop = threading.Event()

    def write(number: int) -> None:
        start.wait()
        while not stop.is_set():
            with database.write("default", "bench") as tx:
                tx.record("thing.made", f"thing:{number}", {"number": done[number]})
            done[number] += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def bulk(database: Database, count: int) -> float:
    """So many entries in one change, made while they are appended."""
    began = time.perf_counter()
    with database.write("default", "bench") as tx:
        tx.record_many(("thing.made", f"thing:{number}", {"number": number}) for number in range(count))
    return count / (time.perf_counter() - began)


def milliseconds(act: Callable[[], Any], times: int = 300) -> dict[str, float]:
    """Median and 99th percentile of an act."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1000)
    return {"median": round(statistics.median(taken), 3), "p99": round(sorted(taken)[int(times * 0.99)], 3)}


class Slower(SQLite):
    """SQLite on a disk whose syncs take longer."""

    def __init__(self, path: Path, milliseconds: float) -> None:
        super().__init__(path)
        self._seconds = milliseconds / 1000

    def commit(self, session: Session) -> None:
        time.sleep(self._seconds)
        super().commit(session)


def server(url: str) -> Dialect | None:
    """The database at an address, where there is one."""
    if not url:
        return None
    from stellwerk.ledger.dialects.postgresql import PostgreSQL

    return PostgreSQL(url)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--writers", type=int, default=32)
    parser.add_argument("--bulk", type=int, default=200_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--postgresql", default="", help="address of an empty database: the book lies there")
    parser.add_argument("--slower", type=float, default=0.0, help="milliseconds that each sync takes longer")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        file = folder / "ledger.db"
        place = server(options.postgresql) or (Slower(file, options.slower) if options.slower else file)
        database = Database(place, SystemClock())
        database.create("example.com/bench")
        rates: dict[str, list[float]] = {"sqlite_limit": [], "one_writer": [], "many_writers": []}
        for _ in range(ROUNDS):
            rates["sqlite_limit"].append(sqlite_limit(folder, options.seconds))
            rates["one_writer"].append(commits(database, 1, options.seconds))
            rates["many_writers"].append(commits(database, options.writers, options.seconds))
        median = {name: statistics.median(values) for name, values in rates.items()}
        in_bulk = statistics.median(bulk(database, options.bulk) for _ in range(ROUNDS))

        missing = options.entries - database.size()
        if missing > 0:
            bulk(database, missing)
        size, chance = database.size(), random.Random(1)
        proof = milliseconds(lambda: database.inclusion(chance.randrange(size), size))
        consistency = milliseconds(lambda: database.consistency(chance.randrange(1, size), size))
        database.close()

    print(
        json.dumps(
            {
                "commits_per_second": {name: round(value) for name, value in median.items()},
                "writers": options.writers,
                "ratio_many_to_one": round(median["many_writers"] / median["one_writer"], 2),
                "ratio_many_to_sqlite_limit": round(median["many_writers"] / median["sqlite_limit"], 2),
                "bulk_appends_per_second": round(in_bulk),
                "entries": size,
                "inclusion_proof_ms": proof,
                "consistency_proof_ms": consistency,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
