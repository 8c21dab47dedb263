"""PostgreSQL is restarted under load as after a power cut: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")

from stellwerk.core.clock import SystemClock
from stellwerk.core.errors import StellwerkError
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.adapters.postgresql_reader import verify_server
from stellwerk.ledger.database import Database
from stellwerk.ledger.dialects.postgresql import PostgreSQL
from stellwerk.testing.postgres import Server

pytestmark = pytest.mark.faults

ORIGIN = "example.com/restarts"
RESTARTS = int(os.environ.get("STELLWERK_RESTARTS", "3"))
BOOKS, THREADS = 2, 4


class Writers:
    """Threads over several pools, as of several processes, that write until told to stop and remember every answer."""

    def __init__(self, url: str) -> None:
        self.databases = [Database(PostgreSQL(url), SystemClock()) for _ in range(BOOKS)]
        self.kept: list[tuple[int, str]] = []
        self.refused: dict[str, str] = {}
        self.failed: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(database, f"{book}-{number}"))
            for book, database in enumerate(self.databases)
            for number in range(THREADS)
        ]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for database in self.databases:
            database.close()

    def wait_for(self, more: int) -> None:
        """Until so many more changes were acknowledged."""
        wanted = len(self.kept) + more
        while len(self.kept) < wanted and not self.failed:
            self._stop.wait(0.01)

    def _write(self, database: Database, name: str) -> None:
        number = 0
        try:
            while not self._stop.is_set():
                number += 1
                subject = f"thing:{name}-{number}"
                try:
                    with database.write("default", "anna") as tx:
                        entry = tx.record("thing.made", subject)
                    self.kept.append((entry.sequence, subject))
                except StellwerkError as error:
                    self.refused[subject] = error.code
        except BaseException as error:
            self.failed.append(error)
            raise


def test_restarts_under_load(postgres: Server, tmp_path: Path) -> None:
    """Each acknowledged change is there once, each refused one is not, and the book verifies."""
    url = postgres.new_database()
    create_key(tmp_path / "key")
    signer = FileSigner(tmp_path / "key")
    first = Database(PostgreSQL(url), SystemClock())
    first.create(ORIGIN)

    with Writers(url) as writers:
        for _ in range(RESTARTS):
            writers.wait_for(60)
            postgres.restart("immediate")
        writers.wait_for(60)

    assert [] == writers.failed
    first.checkpoint(ORIGIN, signer)
    there = [(entry.sequence, entry.subject) for entry in first.entries("default")]
    first.close()
    count, findings = verify_server(url, ORIGIN, Ed25519Verifier().verify, public_key=signer.public_key)
    assert (len(there), []) == (count, findings)
    assert {1} == set(Counter(subject for _, subject in there).values()), "nothing is there twice"
    assert set(writers.kept) <= set(there), "nothing acknowledged is lost"
    sure = {subject for subject, code in writers.refused.items() if code != "commit-unknown"}
    assert not sure & {subject for _, subject in there}, "what was refused is not there"
    assert len(writers.kept) >= 60 * (RESTARTS + 1)
