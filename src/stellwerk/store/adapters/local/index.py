"""Where packed blobs and chunks lie. Derived from the packs: deleted or damaged, it is made again from them."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stellwerk.core.errors import Unavailable
from stellwerk.store.adapters.local.disk import unavailable
from stellwerk.store.packing import Record

VERSION = 1
_AT_ONCE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS packs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS places (
  digest BLOB NOT NULL, kind INTEGER NOT NULL, pack INTEGER NOT NULL, offset INTEGER NOT NULL,
  stored INTEGER NOT NULL, size INTEGER NOT NULL, codec INTEGER NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (digest, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tombstones (digest TEXT PRIMARY KEY, at TEXT NOT NULL, sequence INTEGER NOT NULL) STRICT;
"""
_FIELDS = "digest, kind, codec, offset, stored, size, crc"


@dataclass(frozen=True, slots=True)
class Place:
    """A record and the name of the file it lies in, relative to the store's folder."""

    pack: str
    record: Record


class Index:
    """The index of one folder of packs. Safe for many threads and processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._process = 0
        self._connection: sqlite3.Connection | None = None
        self._names: dict[int, str] = {}

    def packs(self) -> set[str]:
        """Names of all packs it knows."""
        with self._using() as connection:
            return {str(name) for (name,) in connection.execute("SELECT name FROM packs")}

    def add(self, pack: str, records: Iterable[Record], *, instead: bool = False) -> None:
        """Enter a pack. Records that are known elsewhere stay there, unless these are to be used `instead`."""
        verb = "REPLACE" if instead else "IGNORE"
        with self._using() as connection, _transaction(connection):
            connection.execute("INSERT OR IGNORE INTO packs (name) VALUES (?)", (pack,))
            (number,) = connection.execute("SELECT id FROM packs WHERE name = ?", (pack,)).fetchone()
            connection.executemany(
                f"INSERT OR {verb} INTO places VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - one of two words
                ((r.digest, r.kind, number, r.offset, r.stored, r.size, r.codec, r.crc) for r in records),
            )

    def find(self, digest: bytes, kind: int) -> Place | None:
        """Where a record lies."""
        with self._using() as connection:
            row = connection.execute(
                f"SELECT pack, {_FIELDS} FROM places WHERE digest = ? AND kind = ?",  # noqa: S608 - constant
                (digest, kind),
            ).fetchone()
            return None if row is None else Place(self._name(connection, row[0]), Record(*row[1:]))

    def known(self, digests: Iterable[bytes], kind: int) -> dict[bytes, Place]:
        """Where those records lie that are known at all."""
        with self._using() as connection:
            rows = self._among(f"pack, {_FIELDS}", "places", digests, kind)
            return {row[1]: Place(self._name(connection, row[0]), Record(*row[1:])) for row in rows}

    def sizes(self, digests: Iterable[bytes], kind: int) -> dict[bytes, int]:
        """Lengths of the contents of those records that are known at all."""
        return dict(self._among("digest, size", "places", digests, kind))

    def digests(self, kind: int) -> Iterator[bytes]:
        """All digests of a kind in order, read in portions so that nobody waits for a slow reader."""
        last = b""
        while True:
            with self._using() as connection:
                rows = connection.execute(
                    "SELECT digest FROM places WHERE digest > ? AND kind = ? ORDER BY digest LIMIT 10000",
                    (last, kind),
                ).fetchall()
            if not rows:
                return
            for (digest,) in rows:
                yield digest
            last = rows[-1][0]

    def records(self, pack: str) -> list[Record]:
        """The records that are to be read from this pack and from no other."""
        with self._using() as connection:
            rows = connection.execute(
                f"SELECT {_FIELDS} FROM places WHERE pack = (SELECT id FROM packs WHERE name = ?)",  # noqa: S608
                (pack,),
            )
            return [Record(*row) for row in rows]

    def forget(self, pack: str) -> None:
        """Forget a pack with all that is still read from it."""
        with self._using() as connection, _transaction(connection):
            row = connection.execute("SELECT id FROM packs WHERE name = ?", (pack,)).fetchone()
            if row is None:
                return
            connection.execute("DELETE FROM places WHERE pack = ?", row)
            connection.execute("DELETE FROM packs WHERE id = ?", row)
            self._names.pop(row[0], None)

    # Marks of garbage collection: they are not derived, but losing them only means a longer wait.

    def tombstones(self) -> dict[str, tuple[str, int]]:
        """Digest → (when, and at which length of the ledger) it was found to be unreachable."""
        with self._using() as connection:
            return {row[0]: (row[1], row[2]) for row in connection.execute("SELECT * FROM tombstones")}

    def any_marked(self) -> bool:
        """Whether there is any mark at all."""
        with self._using() as connection:
            return connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is not None

    def marked(self, digests: Iterable[str]) -> set[str]:
        """Those of these blobs that bear a mark."""
        return {row[0] for row in self._among("digest", "tombstones", digests)}

    def bury(self, digests: Iterable[str], at: str, sequence: int) -> None:
        """Mark blobs as unreachable since now; older marks stay."""
        with self._using() as connection, _transaction(connection):
            connection.executemany(
                "INSERT OR IGNORE INTO tombstones VALUES (?, ?, ?)", ((digest, at, sequence) for digest in digests)
            )

    def revive(self, digests: Iterable[str]) -> None:
        """Take marks away: somebody put or asked for these blobs again."""
        with self._using() as connection:
            if connection.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone() is None:
                return
            with _transaction(connection):
                connection.executemany("DELETE FROM tombstones WHERE digest = ?", ((d,) for d in digests))

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None or self._process != os.getpid():
                self._connection, self._process = self._open(), os.getpid()
                self._names.clear()
            try:
                yield self._connection
            except sqlite3.OperationalError as cause:
                if cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                    raise unavailable(OSError(errno.ENOSPC, "full")) from cause
                raise Unavailable(f"the store's index cannot be used: {cause}", code="store-unavailable") from cause
            except sqlite3.DatabaseError as cause:
                # Made again from the packs by whoever opens the store next.
                self.close()
                _discard(self._path)
                raise Unavailable(
                    "the store's index was damaged and is made again", code="store-unavailable", hint="try again"
                ) from cause

    def _among(
        self, fields: str, table: str, digests: Iterable[bytes] | Iterable[str], kind: int | None = None
    ) -> list[Any]:
        """The rows of many digests, asked for in portions; those of `places` are of one kind."""
        wanted, rows = list(digests), []
        of_kind, values = ("", ()) if kind is None else (" AND kind = ?", (kind,))
        with self._using() as connection:
            for start in range(0, len(wanted), _AT_ONCE):
                part = wanted[start : start + _AT_ONCE]
                marks = ",".join("?" * len(part))
                query = f"SELECT {fields} FROM {table} WHERE digest IN ({marks}){of_kind}"  # noqa: S608 - constants
                rows += connection.execute(query, (*part, *values)).fetchall()
        return rows

    def _name(self, connection: sqlite3.Connection, number: int) -> str:
        if number not in self._names:
            (name,) = connection.execute("SELECT name FROM packs WHERE id = ?", (number,)).fetchone()
            self._names[number] = str(name)
        return self._names[number]

    def _open(self) -> sqlite3.Connection:
        try:
            return _connect(self._path)
        except sqlite3.OperationalError:
            # A folder that cannot be written is read through an index in memory.
            return _connect(Path(":memory:"))
        except sqlite3.DatabaseError:
            _discard(self._path)
            return _connect(self._path)


def _discard(path: Path) -> None:
    for suffix in ("", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        # No write-ahead log: it would make whoever only looks write beside the file. And not FULL: what a power cut
        # takes from here is read from the packs again.
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cache_size=-32768")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            connection.executescript("DROP TABLE IF EXISTS packs; DROP TABLE IF EXISTS places;")
        connection.executescript(_SCHEMA)
        if version != VERSION or not all(os.access(place, os.W_OK) for place in (path, path.parent)):
            # Only where it says something new, or where it fails: every command would wait for the disk.
            connection.execute(f"PRAGMA user_version={VERSION}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
