"""Read-only check of a blob folder. Shares no code with the writer: it knows only the written format and the hash."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import stat
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

from stellwerk.store.model import Damage

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PORTION = 1 << 20
BLOB, CHUNK = 0, 1
RAW, ZSTD, BARE = 0, 1, 2
_PLACE = "pack, offset, stored, size, codec, crc"


class Catalogue:
    """What a blob folder holds, read from the blobs themselves and never from its index. Kept in a temporary file."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known = sqlite3.connect("", isolation_level=None)
        self._known.execute(
            "CREATE TABLE places (digest BLOB, kind INTEGER, pack TEXT, offset INTEGER, stored INTEGER, size INTEGER, "
            "codec INTEGER, crc INTEGER)"
        )
        self.damage: list[Damage] = []
        self._check()

    def holds(self, digest: str) -> bool:
        """Whether a blob is here, damaged or not."""
        name = digest.removeprefix("sha256:")
        if not re.fullmatch(r"[0-9a-f]{64}", name):
            return False
        files = (self._root / folder / name[:2] / name for folder in ("sha256", "chunked"))
        return any(file.is_file() for file in files) or self._place(bytes.fromhex(name), BLOB) is not None

    def read(self, digest: str, limit: int) -> bytes | None:
        """The verified bytes of a blob of at most `limit` bytes; None for larger, missing and damaged ones."""
        name = digest.removeprefix("sha256:")
        file = self._root / "sha256" / name[:2] / name
        try:
            if file.is_file():
                data = file.read_bytes() if file.stat().st_size <= limit else None
            elif (place := self._place(bytes.fromhex(name), BLOB)) is not None:
                data = self._content(place) if place[3] <= limit else None
            else:
                data = self._joined(self._root / "chunked" / name[:2] / name, limit)
        except (OSError, ValueError):
            return None
        return data if data is not None and hashlib.sha256(data).hexdigest() == name else None

    def _joined(self, file: Path, limit: int) -> bytes | None:
        pieces = _pieces(file.read_bytes())
        if pieces is None or sum(length for _, length in pieces) > limit:
            return None
        parts = [self._content(place) for digest, _ in pieces if (place := self._place(digest, CHUNK)) is not None]
        return b"".join(part for part in parts if part is not None)

    def close(self) -> None:
        """Remove the temporary file."""
        self._known.close()

    def _report(self, where: str, problem: str, severity: str = "error") -> None:
        self.damage.append(Damage(where=where, problem=problem, severity="note" if severity == "note" else "error"))

    def _check(self) -> None:
        if not (self._root / "sha256").is_dir():
            self._report("sha256", "the folder of blobs is missing")
            return
        for pack in self._inside(self._root / "packs"):
            self._check_pack(pack)
        self._known.execute("CREATE INDEX by_digest ON places (digest, kind)")
        self._check_files("sha256", self._problem_of_file)
        self._find_adopted()
        self._check_files("chunked", self._problem_of_list)
        self._check_index()
        for file in self._inside(self._root / "incoming"):
            self._report(f"incoming/{file.name}", "unfinished write", "note")

    def _inside(self, folder: Path) -> Iterator[Path]:
        if folder.name != "sha256" and not folder.exists():
            return
        try:
            yield from sorted(folder.iterdir())
        except OSError as cause:
            self._report(folder.name, f"cannot be listed: {os.strerror(cause.errno or 0)}")

    # Blobs and chunk lists, one file each

    def _check_files(self, kind: str, problem_of: Callable[[Path], str]) -> None:
        for folder in self._inside(self._root / kind):
            if not stat.S_ISDIR(folder.lstat().st_mode):
                self._report(f"{kind}/{folder.name}", "a file that is no blob")
                continue
            for file in self._inside(folder):
                problem = self._problem(folder, file, problem_of)
                if problem:
                    self._report(f"{kind}/{folder.name}/{file.name}", problem)

    def _problem(self, folder: Path, file: Path, problem_of: Callable[[Path], str]) -> str:
        if not re.fullmatch(r"[0-9a-f]{64}", file.name) or folder.name != file.name[:2]:
            return "a file that is no blob"
        try:
            # Looked at before it is opened: a planted pipe would block, a planted link would lead out of the store.
            if not stat.S_ISREG(file.lstat().st_mode):
                return "not a regular file"
            return problem_of(file)
        except FileNotFoundError:
            return ""  # taken away while we looked; whether it was needed is for `check_references`
        except OSError as cause:
            return f"cannot be read: {os.strerror(cause.errno or 0)}"

    def _problem_of_file(self, file: Path) -> str:
        hasher = hashlib.sha256()
        with file.open("rb") as content:
            while chunk := content.read(PORTION):
                hasher.update(chunk)
        return "" if hasher.hexdigest() == file.name else f"content hashes to {hasher.hexdigest()}"

    def _problem_of_list(self, file: Path) -> str:
        pieces = _pieces(file.read_bytes())
        if pieces is None:
            return "the chunk list is damaged"
        whole = hashlib.sha256()
        for digest, length in pieces:
            place = self._place(digest, CHUNK)
            if place is None:
                return f"chunk {digest.hex()} is missing"
            data = self._content(place)
            if data is None or len(data) != length or hashlib.sha256(data).digest() != digest:
                return f"chunk {digest.hex()} is damaged"
            whole.update(data)
        return "" if whole.hexdigest() == file.name else f"chunks hash to {whole.hexdigest()}"

    def _find_adopted(self) -> None:
        """Chunks that lie in a plain file whose own chunk list says where."""
        for folder in self._inside(self._root / "chunked"):
            for file in self._inside(folder) if folder.is_dir() else ():
                plain = self._root / "sha256" / folder.name / file.name
                pieces = _pieces(file.read_bytes()) if plain.is_file() and file.is_file() else None
                offset = 0
                for digest, length in pieces or ():
                    row = (digest, CHUNK, f"sha256/{folder.name}/{file.name}", offset, length, length, BARE, 0)
                    self._known.execute("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                    offset += length

    # Packs

    def _check_pack(self, pack: Path) -> None:
        where = f"packs/{pack.name}"
        try:
            if not re.fullmatch(r"[0-9a-f]{64}\.pack", pack.name) or not stat.S_ISREG(pack.lstat().st_mode):
                self._report(where, "a file that is no pack")
                return
            with pack.open("rb") as file:
                rows = _pack_rows(file.fileno(), pack.name.removesuffix(".pack"))
                if isinstance(rows, str):
                    self._report(where, rows)
                    return
                for row in rows:
                    self._check_record(where, file.fileno(), row)
        except FileNotFoundError:
            return
        except OSError as cause:
            self._report(where, f"cannot be read: {os.strerror(cause.errno or 0)}")

    def _check_record(self, where: str, file: int, row: tuple[bytes, int, int, int, int, int, int]) -> None:
        digest, kind, codec, offset, stored, size, crc = row
        self._known.execute(
            "INSERT INTO places VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (digest, kind, where, offset, stored, size, codec, crc),
        )
        data = _unpacked(os.pread(file, stored, offset), codec, stored, size, crc)
        if kind not in (BLOB, CHUNK) or codec not in (RAW, ZSTD):
            self._report(where, f"record {digest.hex()} has an unknown kind or codec")
        elif data is None or hashlib.sha256(data).digest() != digest:
            self._report(where, f"record {digest.hex()} is damaged")

    def _place(self, digest: bytes, kind: int) -> tuple[str, int, int, int, int, int] | None:
        query = f"SELECT {_PLACE} FROM places WHERE digest = ? AND kind = ?"  # noqa: S608 - a constant
        found: tuple[str, int, int, int, int, int] | None = self._known.execute(query, (digest, kind)).fetchone()
        return found

    def _content(self, place: tuple[str, int, int, int, int, int]) -> bytes | None:
        pack, offset, stored, size, codec, crc = place
        with (self._root / pack).open("rb") as file:
            return _unpacked(os.pread(file.fileno(), stored, offset), codec, stored, size, crc)

    # The index, which is derived: damage in it loses nothing

    def _check_index(self) -> None:
        path = self._root / "index.db"
        if not path.is_file():
            return
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as index:
                problem = self._problem_of_index(index)
        except (sqlite3.Error, UnicodeDecodeError) as cause:
            problem = f"cannot be read: {cause}"
        if problem:
            self._report("index.db", f"{problem}; delete it, and it is made again from the packs")

    def _problem_of_index(self, index: sqlite3.Connection) -> str:
        found = index.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            return str(found).partition("\n")[0]
        fields = ("digest", "kind", "pack", "offset", "stored", "size", "codec", "crc")
        query = "SELECT digest, kind, name, offset, stored, size, codec, crc FROM places LEFT JOIN packs ON id = pack"
        marks = " AND ".join(f"{field} = ?" for field in fields)
        for row in index.execute(query):
            same = self._known.execute(f"SELECT 1 FROM places WHERE {marks}", row).fetchone()  # noqa: S608 - constant
            if same is None:
                return f"it names a record {_hex(row[0])} that is not there"
        known = {row[0] for row in index.execute("SELECT name FROM packs")}
        for digest, kind, pack in self._known.execute(
            "SELECT digest, kind, pack FROM places WHERE codec != ?", (BARE,)
        ):
            row = index.execute("SELECT 1 FROM places WHERE digest = ? AND kind = ?", (digest, kind)).fetchone()
            if pack in known and row is None:
                return f"it does not know the record {digest.hex()}"
        return ""


def check_blobs(root: Path) -> list[Damage]:
    """Every blob in a folder against its name. Returns damage; an empty list is a clean folder."""
    with closing(Catalogue(root)) as catalogue:
        return catalogue.damage


class Holdings(Protocol):
    """What an independent reader found in a store, wherever that is."""

    damage: list[Damage]

    def holds(self, digest: str) -> bool:
        """Whether there is such a blob."""
        ...

    def read(self, digest: str, limit: int) -> bytes | None:
        """A whole blob of at most so many bytes."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


def check_references(catalogue: Holdings, referenced: Iterable[tuple[str, str]]) -> list[Damage]:
    """Every (digest, who refers to it) must have its blob."""
    return [
        Damage(where=who, problem=f"refers to missing blob {digest}")
        for digest, who in referenced
        if not catalogue.holds(digest)
    ]


def _pack_rows(file: int, name: str) -> list[tuple[bytes, int, int, int, int, int, int]] | str:
    """The records of a pack, or what is wrong with it as a whole."""
    length = os.fstat(file).st_size
    head, foot = os.pread(file, 17, 0), os.pread(file, 52, max(0, length - 52))
    if head != b"stellwerk-pack/1\n" or len(foot) != 52 or foot[-8:] != b"SWPKEND\n":
        return "its head or its foot is damaged"
    start, count, digest = struct.unpack(">QI32s", foot[:44])
    if start + 54 * count + 52 != length or digest.hex() != name:
        return "its foot does not fit it"
    index = b"".join(iter(_portions(file, start, 54 * count)))
    if hashlib.sha256(index).hexdigest() != name:
        return "its index is damaged"
    rows = list(struct.iter_unpack(">32sBBQIII", index))
    end = 17
    for row in sorted(rows, key=lambda row: row[3:5]):
        if row[3] != end:
            return "its records leave gaps or overlap"
        end += row[4]
    if end != start or [row[:2] for row in rows] != sorted(row[:2] for row in rows):
        return "its records are not side by side and in order"
    return sorted(rows, key=lambda row: row[3])


def _portions(file: int, start: int, length: int) -> Iterator[bytes]:
    while length > 0 and (portion := os.pread(file, min(length, PORTION), start)):
        yield portion
        start, length = start + len(portion), length - len(portion)


def _unpacked(data: bytes, codec: int, stored: int, size: int, crc: int) -> bytes | None:
    if len(data) != stored or crc != (zlib.crc32(data) if codec == ZSTD else 0):
        return None
    if codec != ZSTD:
        return data if len(data) == size else None
    try:
        reader = zstd.ZstdDecompressor()
        content = reader.decompress(data, size + 1)
    except zstd.ZstdError:
        return None
    return content if reader.eof and not reader.unused_data and len(content) == size else None


def _pieces(data: bytes) -> list[tuple[bytes, int]] | None:
    """Digests and lengths of a chunk list; None where it is damaged."""
    body = data[:-32]
    if hashlib.sha256(body).digest() != data[-32:] or body[:19] != b"stellwerk-chunks/1\n" or len(body) < 31:
        return None
    size, count = struct.unpack(">QI", body[19:31])
    if len(body) != 31 + 36 * count:
        return None
    pieces: list[tuple[bytes, int]] = list(struct.iter_unpack(">32sI", body[31:]))
    return pieces if sum(length for _, length in pieces) == size else None


def _hex(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)[:80]
