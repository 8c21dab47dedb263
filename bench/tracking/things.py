"""Searching traces and models: what pages and clients ask for, on SQLite and on PostgreSQL.

    python bench/tracking/things.py [--traces 100000] [--versions 20000] [--postgresql] [--folder DIR]

Fills a database with traces of twelve facts each in one experiment, every tenth of them judged, and with versions of a
tenth as many registered models. Asks each question three times for its first 100 results, and prints one JSON object:
milliseconds by question, the smallest of three.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from stellwerk.core.clock import SystemClock
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.dialects.postgresql import PostgreSQL
from stellwerk.models.adapters.finder import SqlModels
from stellwerk.models.catalogue import Catalogue
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.models.shelves import MODELS, VERSIONS
from stellwerk.testing.fakes import MemoryBlobs
from stellwerk.tracking.adapters.counts import SqlCounts
from stellwerk.tracking.adapters.traces import SqlTraces
from stellwerk.tracking.collector import Collector
from stellwerk.tracking.traced import ASSESSMENTS, TRACES, Assessment, Trace
from stellwerk.tracking.traces import Traces

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = 1000
OF_TRACES: dict[str, tuple[str, list[str]]] = {
    "the newest": ("", []),
    "by a tag that most have": ("tags.env = 'prod'", []),
    "by a tag of one": ("tags.request = 'r77'", []),
    "by a tag that nobody has": ("tags.nobody = 'x'", []),
    "by status": ("status = 'ERROR'", []),
    "by session": ("metadata.`mlflow.trace.session` = 's7'", []),
    "by a run": ("run_id = 'run7'", []),
    "by what was judged": ("feedback.good = 'true'", []),
    "by time": ("timestamp_ms > 1000 AND timestamp_ms < 2000", []),
    "by a pattern": ("name LIKE '%ask%'", []),
    "in order of duration": ("", ["execution_time_ms DESC"]),
    "by status, in order of duration": ("status = 'OK'", ["execution_time_ms DESC"]),
    "in order of a tag": ("", ["tags.request ASC"]),
    "oldest first": ("", ["timestamp_ms ASC"]),
}


def fill_traces(book: WorkspaceBook, count: int) -> None:
    """Traces as clients tell them."""
    chance = random.Random(7)
    for start in range(0, count, AT_ONCE):
        with book.write() as tx:
            some = [_trace(number, chance) for number in range(start, min(start + AT_ONCE, count))]
            TRACES.insert_new(tx, some)
            said = [
                Assessment(
                    trace=one.id, id=f"a-{one.at}", name="good", kind="feedback", value="true", created=0, changed=0
                )
                for one in some[::10]
            ]
            ASSESSMENTS.insert_new(tx, said)
            tx.record("trace.told", f"trace:{start}", {})


def _trace(number: int, chance: random.Random) -> Trace:
    return Trace(
        id=f"tr-{number:032x}",
        experiment="0",
        at=number,
        duration=chance.randrange(100_000),
        state="failed" if number % 50 == 0 else "ok",
        tags={
            "mlflow.traceName": chance.choice(("ask", "answer", "search")),
            "env": "prod" if number % 10 else "dev",
            "request": f"r{number}",
            "mlflow.artifactLocation": f"mlflow-artifacts:/0/traces/tr-{number:032x}/artifacts",
        },
        metadata={
            "mlflow.trace.session": f"s{number % 5000}",
            "mlflow.sourceRun": f"run{number % 1000}",
            "mlflow.traceInputs": "why is the train late? " * 5,
            "mlflow.trace.sizeStats": '{"total_size_bytes": 4096, "num_spans": 7}',
        },
    )


def fill_models(book: WorkspaceBook, count: int) -> None:
    """Ten versions of each model."""
    for start in range(0, count, AT_ONCE):
        with book.write() as tx:
            some = [_version(book.workspace, number) for number in range(start, min(start + AT_ONCE, count))]
            VERSIONS.insert_new(tx, some)
            named = {one.name: one.created_at for one in some}
            made: dict[str, Any] = {"workspace": book.workspace, "last": 10}
            models = [
                RegisteredModel(name=name, created_at=at, changed_at=at, tags={"team": name[-1]}, **made)
                for name, at in named.items()
            ]
            MODELS.insert_new(tx, models)
            tx.record("model.registered", f"model:{start}", {})


def _version(workspace: str, number: int) -> ModelVersion:
    return ModelVersion(
        workspace=workspace, name=f"model {number // 10}", version=number % 10 + 1, digest=None, signature=None,
        format="foreign", run_id=f"run{number}", seed=None, created_at=BEGUN + timedelta(seconds=number),
        tags={"stage": "good" if number % 3 else "bad"}, source=f"s3://bucket/{number}",
    )  # fmt: skip


def measured(database: Database, traces: int, versions: int) -> dict[str, float]:
    """Milliseconds by question."""
    book, clock = WorkspaceBook(database, "default", "bench"), SystemClock()
    begun = time.perf_counter()
    fill_traces(book, traces)
    fill_models(book, versions)
    with book.write() as tx:
        tx.execute(sa.text("ANALYZE"))
        tx.record("bench.analysed", "bench:1")
    sys.stderr.write(f"filled in {time.perf_counter() - begun:.0f} s\n")
    room = Traces(book, clock, Collector(book, MemoryBlobs(), SqlCounts()), SqlTraces())
    models = Catalogue(book, clock, SqlModels())
    asked: dict[str, Callable[[], Any]] = {
        f"traces {name}": lambda where=where, order=order: room.search(["0"], where=where, order=order)
        for name, (where, order) in OF_TRACES.items()
    }
    asked["traces: two filters together"] = lambda: room.correlation(["0"], "tags.env = 'dev'", "status = 'ERROR'")
    asked["models by name"] = lambda: models.search_models()
    asked["models by a tag, last changed first"] = lambda: models.search_models(
        "tags.team = '7'", ["last_updated_timestamp DESC"]
    )
    asked["versions of one model"] = lambda: models.search_versions("name = 'model 7'", limit=100)
    asked["versions of a run"] = lambda: models.search_versions("run_id = 'run777'", limit=100)
    asked["versions last changed"] = lambda: models.search_versions(limit=100)
    asked["one model"] = lambda: models.get("model 7")
    return {name: _shortest(ask) for name, ask in asked.items()}


def _shortest(ask: Callable[[], Any]) -> float:
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - begun)
    return round(1000 * min(taken), 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--versions", type=int, default=20_000)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if asked.postgresql:
            from stellwerk.testing.postgres import server as begin

            database = Database(PostgreSQL(stack.enter_context(begin()).new_database()), SystemClock())
        else:
            database = Database(folder / "ledger.db", SystemClock())
        database.create("example.com/bench")
        stack.callback(database.close)
        sys.stdout.write(json.dumps(measured(database, asked.traces, asked.versions), indent=1) + "\n")


if __name__ == "__main__":
    main()
