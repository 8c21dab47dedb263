"""Copying many small blobs between two workspaces over HTTP, and asking again when nothing is missing.

Run `python bench/sync.py [files]`. Prints seconds: the first copy, the no-op, and one `fsync` of the same bytes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from stellwerk.store import service as trees
from stellwerk.store import sync
from stellwerk.testing import worlds
from stellwerk.workspace import syncing
from stellwerk.workspace.places import of_rooms, opened
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

ANNA = Settings(actor="anna")


def main(files: int) -> None:
    """One round."""
    with tempfile.TemporaryDirectory() as scratch:
        here, there = (Rooms(create(Path(scratch, name), ANNA), ANNA) for name in ("here", "there"))
        data = [b"file %d " % number * 20 for number in range(files)]
        names = here.blobs.put_many(data)
        tree = trees.put_files(here.blobs, {f"{n % 400}/{n}": name for n, name in enumerate(names)})
        here.datasets.record("many", tree=tree)
        with worlds.served(there) as url, opened(url, ANNA) as target:
            source = of_rooms(here, "here")
            begun = time.perf_counter()
            done = syncing.carry_out(source, target, syncing.look(source, target))
            copied = time.perf_counter()
            missing = sync.plan(source.blobs, target.blobs, source.ledger((), target.blobs) if source.ledger else ())
            asked = time.perf_counter()
        with Path(scratch, "limit").open("wb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        limit = time.perf_counter() - asked
        here.close()
        there.close()
    print(f"{done.copied:,} blobs, {done.bytes:,} bytes")
    print(
        f"copy {copied - begun:.2f} s, no-op {asked - copied:.2f} s ({len(missing.missing)} missing), limit {limit:.2f} s"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
