"""A process that keeps blobs and appends entries, and says so after each: what `test_ground_kills` kills.

Prints one line per acknowledged fact: `blob <digest>`, `entry <sequence> <subject> <digest>`, `note <checkpoint>`;
`refused <code>` when the ground refused; `done` at the end.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.clock import SystemClock
from stellwerk.core.errors import StellwerkError
from stellwerk.ledger.adapters.ed25519 import FileSigner
from stellwerk.ledger.database import Database
from stellwerk.ledger.shelf import Shelf
from stellwerk.store.adapters.local import LocalFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A row that must come and go with its entry."""

    name: str
    blob: str


FACTS = Shelf("fault_facts", Fact, key=("name",))
ORIGIN = "example.com/faults"


def say(*words: object) -> None:
    """Acknowledge: the line leaves this process before anything else happens."""
    print(*words, flush=True)


def refusing(act: Callable[[], None]) -> None:
    """Go on after a refusal, as a server would."""
    try:
        act()
    except StellwerkError as error:
        say("refused", error.code)


def main(folder: Path, name: str, rounds: int) -> None:
    """Per round keep a file, a pack, a chunked blob and an entry with its row; sign every third, remove every second."""
    blobs = LocalFolder(folder / "blobs")
    blobs.large = 150_000
    database = Database(folder / "ledger.db", SystemClock())
    database.create(ORIGIN)
    signer = FileSigner(folder / "key")

    for number in range(rounds):
        label = f"{name}-{number}"
        small = label.encode()
        chunks = [hashlib.sha256(small).digest() * 500, small, b"end"]
        many = [b"%s %d" % (small, item) for item in range(12)]
        large = hashlib.shake_256(small).digest(200_000)
        doomed = [b"doomed %s" % item for item in many]

        def keep(
            small: bytes = small,
            chunks: list[bytes] = chunks,
            label: str = label,
            many: list[bytes] = many,
            large: bytes = large,
        ) -> None:
            blobs.put(small)
            for digest in blobs.put_many(many):
                say("blob", digest)
            say("blob", blobs.put(large))
            blobs.put(b"the same every time")
            digest = blobs.put_stream(chunks)
            say("blob", digest)
            with database.write("default", name) as tx:
                FACTS.insert(tx, Fact(name=label, blob=digest))
                entry = tx.record("fact.made", f"fact:{label}", {"blob": digest})
            say("entry", entry.sequence, entry.subject, digest)

        def sign() -> None:
            say("note", json.dumps(database.checkpoint(ORIGIN, signer).note))

        def remove(doomed: list[bytes] = doomed) -> None:
            gone = blobs.put_many(doomed)
            gone.append(blobs.put(hashlib.shake_256(doomed[0]).digest(200_000)))
            gone.append(blobs.put(doomed[0] * 2))
            blobs.remove(gone)

        refusing(keep)
        if number % 2:
            refusing(remove)
        if number % 3 == 2:
            refusing(sign)
    say("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
