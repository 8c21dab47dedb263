"""Searching runs: what a page asks for, at 1×, 10× and 100× as many runs, on SQLite and on PostgreSQL.

    python bench/tracking/search.py [--runs 1000,10000,100000] [--metrics 50] [--postgresql] [--folder DIR]

Fills a database with runs of 50 metrics, 10 parameters and 3 tags in three experiments, and asks each question of the
largest experiment three times, for its first 100 runs with all that they logged. Prints one JSON object: milliseconds by
question and number of runs (the smallest of three), and the exponent of growth between the last two numbers of runs.
`--postgresql` begins a server of its own for that, with the programs of this machine.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from stellwerk.core.clock import SystemClock
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.dialects.postgresql import PostgreSQL
from stellwerk.testing.fakes import MemoryBlobs
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.logbook import Logbook
from stellwerk.tracking.model import Experiment, Latest, Run
from stellwerk.tracking.shelves import EXPERIMENTS, RUNS

QUESTIONS = {
    "the newest": ("", []),
    "filter and order by one metric": ("metrics.m0 > 0.9", ["metrics.m0 DESC"]),
    "order by a metric": ("", ["metrics.m0 DESC"]),
    "filter by metric and parameter": ("metrics.m0 > 0.9 and params.depth = '3'", []),
    "filter by two parameters and a metric": (
        "params.depth = '3' and params.optimizer = 'adam' and metrics.m1 < 0.5", [],
    ),
    "filter by a name": ("attributes.run_name LIKE '%99'", []),
    "weak filter, another order": ("metrics.m1 > 0.01", ["metrics.m0 DESC"]),
    "weak filter by parameter, order by a metric": ("params.depth != '3'", ["metrics.m0 DESC"]),
    "order by a parameter": ("", ["params.rate ASC"]),
    "order by a parameter of few values": ("", ["params.optimizer ASC"]),
    "filter by a metric, order by a parameter": ("metrics.m1 > 0.5", ["params.rate DESC"]),
    "filter by status": ("attributes.status = 'FAILED'", []),
    "order by when it ended": ("", ["attributes.end_time DESC"]),
}  # fmt: skip
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = 500


def fill(book: WorkspaceBook, count: int, metrics: int) -> None:
    """Runs with what trainings log. The first experiment has nine of ten."""
    chance, finder, points = random.Random(7), SqlFinder(), SqlPoints()
    with book.write() as tx:
        for name in ("1", "2", "3"):
            EXPERIMENTS.insert(tx, Experiment(id=name, name=f"e{name}", created_at=BEGUN, changed_at=BEGUN))
        tx.record("experiments.made", "experiment:1")
    for first in range(0, count, AT_ONCE):
        with book.write() as tx:
            for number in range(first, min(first + AT_ONCE, count)):
                started = BEGUN + timedelta(seconds=number)
                params: dict[str, object] = {"depth": chance.randrange(10), "rate": chance.random(), "seed": number}
                params["optimizer"] = chance.choice(["adam", "sgd", "lamb"])
                run = Run(
                    id=f"{chance.getrandbits(128):032x}",
                    experiment=chance.choices("123", (90, 5, 5))[0],
                    name=f"run-{number}",
                    kind="logged",
                    status="failed" if number % 50 == 0 else "finished",
                    started_at=started,
                    started_by="anna",
                    ended_at=started + timedelta(seconds=chance.randrange(3600)),
                    params={**params, **{f"p{n}": chance.randrange(100) for n in range(6)}},
                    tags={"team": chance.choice("abc"), "mlflow.runName": f"run-{number}", "mlflow.user": "anna"},
                )
                RUNS.insert(tx, run)
                finder.enter(tx, run)
                values = [chance.random() for _ in range(metrics)]
                points.stand(
                    tx,
                    run.id,
                    [Latest(key=f"m{n}", value=v, at=1, step=1, low=v, high=v) for n, v in enumerate(values)],
                )
            tx.record("runs.made", "experiment:1")
        if sys.stderr.isatty():
            print(f"\r{first + AT_ONCE:,} runs", end="", file=sys.stderr)


def ask(logbook: Logbook) -> dict[str, float]:
    """Milliseconds of each question."""
    took = {}
    for name, (where, order) in QUESTIONS.items():
        best = math.inf
        for _ in range(3):
            begun = time.perf_counter()
            found = logbook.search(["1"], where=where, order=order, limit=100)
            best = min(best, time.perf_counter() - begun)
        if not found:
            raise SystemExit(f"nothing found for {name!r}: the question measures nothing")
        took[name] = round(best * 1000, 1)
    return took


def measure(database: Database, count: int, metrics: int) -> dict[str, float]:
    """One number of runs, in a database of its own."""
    database.create("bench.example/search")
    database.open()
    book = WorkspaceBook(database, "default", "bench")
    fill(book, count, metrics)
    if isinstance(database.dialect, PostgreSQL):
        with database.dialect.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("ANALYZE"))
    return ask(Logbook(book, MemoryBlobs(), SystemClock(), SqlFinder(), SqlPoints()))


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="1000,10000,100000")
    parser.add_argument("--metrics", type=int, default=50)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    counts = [int(one) for one in asked.runs.split(",")]
    results: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        server = None
        if asked.postgresql:
            from stellwerk.testing.postgres import server as begin

            server = stack.enter_context(begin())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=asked.folder)))
        for count in counts:
            database = Database(
                PostgreSQL(server.new_database()) if server else folder / f"{count}.db", SystemClock()
            )
            stack.callback(database.close)
            for name, milliseconds in measure(database, count, asked.metrics).items():
                results.setdefault(name, {})[str(count)] = milliseconds
    print(json.dumps({name: {**took, **growth(counts, took)} for name, took in results.items()}, indent=2))


def growth(counts: list[int], took: dict[str, float]) -> dict[str, float]:
    """By which power of the number of runs the time grew at last."""
    if len(counts) < 2:
        return {}
    before, after = counts[-2:]
    return {"growth": round(math.log(took[str(after)] / took[str(before)]) / math.log(after / before), 2)}


if __name__ == "__main__":
    main()
