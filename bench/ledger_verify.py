"""Measures `verify_book`: builds a book of many entries by plain SQL, then verifies it in a process of its own.

Usage: python bench/ledger_verify.py [ENTRIES]     (1,000,000 by default; prints one JSON object)
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from stellwerk.core.clock import SystemClock
from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner
from stellwerk.ledger.database import Database
from stellwerk.ledger.verify import verify_book

ORIGIN = "bench.example/book"
ACTORS = ("anna", "ben", "caretaker")


def main() -> None:
    """Build, verify, and say how long it took and how much memory."""
    if len(sys.argv) == 3 and sys.argv[1] == "--verify":
        print(json.dumps(measure(Path(sys.argv[2]))))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=".") as folder:
        book = Path(folder) / "ledger.db"
        started = time.perf_counter()
        build(book, count)
        built = time.perf_counter() - started
        # In a process of its own, so that the memory is that of the verifier alone.
        answer = subprocess.run(
            [sys.executable, __file__, "--verify", str(book)], check=True, capture_output=True, text=True
        )
        found = json.loads(answer.stdout)
        size = book.stat().st_size
    print(json.dumps({"measure": "ledger-verify", "build_s": round(built, 2), "bytes": size, **found}))


def measure(book: Path) -> dict[str, object]:
    """Verify a book that `build` made."""
    before = peak_mb()
    started, used = time.perf_counter(), time.process_time()
    count, findings = verify_book(book, ORIGIN, Ed25519Verifier().verify, public_key=signer(book.parent).public_key)
    return {
        "entries": count,
        "findings": len(findings),
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_s": round(time.process_time() - used, 2),
        "peak_mb": peak_mb(),
        "peak_before_mb": before,
    }


def peak_mb() -> int:
    """The most memory this process has had; `getrusage` would tell that of the process it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


def signer(folder: Path) -> FileSigner:
    """The key of the measured book, always the same."""
    (folder / "key").write_bytes(hashlib.sha256(b"a key for measuring").digest())
    return FileSigner(folder / "key")


def build(book: Path, count: int) -> None:
    """A book as the product would write it, by plain SQL."""
    database = Database(book, SystemClock())
    database.create(ORIGIN)
    levels: list[list[bytes]] = [[]]
    with closing(sqlite3.connect(book)) as connection:
        connection.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-200000; BEGIN;")
        guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        statement = "INSERT INTO ledger_entries VALUES (?, ?, ?, ?, ?, ?, ?)"
        connection.executemany(statement, _rows(count, levels[0]))
        while len(levels[-1]) > 1:
            below = levels[-1]
            pairs = zip(below[::2], below[1::2], strict=False)
            levels.append([hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs])
        for level, hashes in enumerate(levels):
            nodes = ((level, index, value) for index, value in enumerate(hashes))
            connection.executemany("INSERT INTO ledger_nodes VALUES (?, ?, ?)", nodes)
        for _, sql in guards:
            connection.execute(sql)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.checkpoint(ORIGIN, signer(book.parent))
    database.close()


def _rows(count: int, leaves: list[bytes]) -> Iterator[tuple[object, ...]]:
    for n in range(count):
        actor, at = ACTORS[n % 3], f"2026-01-{n % 28 + 1:02}T03:04:05.{n % 1_000_000:06}Z"
        kind, subject = "run.finished", f"run:{n:026}"
        body = (
            f'{{"cost":{{"cpu_seconds":"{n % 977}.5"}},"digest":"sha256:{n:064x}","metrics":{{"auroc":"0.75"}},'
            f'"status":"finished"}}'
        )
        data = (
            f'{{"actor":"{actor}","at":"{at}","body":{body},"format":"stellwerk-entry/1","kind":"{kind}",'
            f'"sequence":{n},"subject":"{subject}","workspace":"default"}}'
        ).encode()
        leaves.append(rules.leaf_hash(data))
        yield n, "default", at, actor, kind, subject, data


if __name__ == "__main__":
    main()
