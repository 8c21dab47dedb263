"""Writes the compatibility fixture of a version: a small store and book, as this code writes them today.

Run once per released version, from the project's root, and never again for the same one:
`python tests/compat/write_fixture.py v0.2`
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import FileSigner
from stellwerk.ledger.database import Database
from stellwerk.ledger.shelf import Shelf
from stellwerk.store import service
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.model import TreeEntry
from stellwerk.store.rules import tree, tree_bytes
from stellwerk.testing.fakes import StandingClock

ORIGIN = "stellwerk.example/compat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A value inside a value."""

    label: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A value with one field of each kind that a shelf can hold."""

    name: str
    count: int | None = None
    ratio: float | None = None
    at: datetime | None = None
    flag: bool = False
    takes: timedelta = timedelta()
    parts: tuple[Part, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)


SAMPLES = Shelf("compat_samples", Sample, key=("name",), index=("count", "ratio", "at", "flag"))


def main(folder: Path) -> None:
    """Write the fixture into a new folder."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as private:
        key = Path(private, "key")
        key.write_bytes(hashlib.sha256(b"the key of the compatibility fixtures, which protects nothing").digest())
        signer = FileSigner(key)

    blobs = LocalFolder(folder / "blobs")
    inner = service.put_files(blobs, {"weights.bin": bytes(range(256)), "läufe/1.csv": b"a,b\n1,2\n"})
    packed = blobs.put_many([b"small %d\n" % number * number for number in range(8)])
    blobs.large = 100_000  # so that a blob need not have 16 MiB to be cut
    large = blobs.put(b"".join(b"%d squared is %d\n" % (number, number**2) for number in range(20_000)))
    outer = blobs.put(
        tree_bytes(
            tree(
                [
                    *(
                        TreeEntry(name=f"{number}.txt", kind="file", size=blobs.size(digest), digest=digest)
                        for number, digest in enumerate(packed)
                    ),
                    TreeEntry(name="large.txt", kind="file", size=blobs.size(large), digest=large),
                    TreeEntry(name="model", kind="tree", size=264, digest=inner),
                    TreeEntry(
                        name="train.sh", kind="file", size=10, digest=blobs.put(b"#!/bin/sh\n"), executable=True
                    ),
                    TreeEntry(name="empty", kind="file", size=0, digest=blobs.put(b"")),
                ]
            )
        )
    )

    clock = StandingClock(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC))
    database = Database(folder / "ledger.db", clock)
    database.create(ORIGIN)
    notes = []
    for number in range(5):
        sample = Sample(
            name=f"sample-{number}",
            count=number or None,
            ratio=number / 10,
            at=clock.now(),
            flag=number % 2 == 1,
            takes=timedelta(days=number, seconds=1),
            parts=(Part(label="ü", weight=1e16), Part(label="b", weight=-0.1)),
            tags={"k": "v" * number},
        )
        with database.write(f"workspace-{number % 2}", "anna") as tx:
            SAMPLES.insert(tx, sample)
            body: dict[str, Any] = {"tree": outer, "number": number, "large": 1e16, "none": None, "text": "é\n"}
            tx.record("sample.made", f"sample:{sample.name}", body)
        clock.advance(timedelta(seconds=1))
        if number in (1, 4):
            notes.append(database.checkpoint(ORIGIN, signer).note)
    entries = [
        canonical.loads(rules.entry_bytes(entry))
        for workspace in ("workspace-0", "workspace-1")
        for entry in database.entries(workspace)
    ]
    database.close()

    statement = rules.statement({"model": outer}, "https://stellwerk.example/compat/v1", {"auroc": 0.75})
    expected = {
        "origin": ORIGIN,
        "tree": outer,
        "files": service.files(blobs, outer),
        "entries": sorted(entries, key=lambda entry: int(entry["sequence"])),
        "statement": statement,
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / "envelope.json").write_bytes(canonical.dumps(rules.seal(statement, signer)))
    (folder / "checkpoint.txt").write_text(notes[-1], "utf-8")
    (folder / "public-key.hex").write_text(signer.public_key.hex() + "\n", "ascii")
    (folder / "blobs" / "incoming").rmdir()
    blobs.close()
    for derived in ("blobs/index.db", "blobs/gate.lock", "ledger.db-queue"):
        (folder / derived).unlink()


if __name__ == "__main__":
    main(Path(__file__).parent / sys.argv[1])
