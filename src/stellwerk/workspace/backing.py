"""A whole workspace as one tar file (`docs/formats/backup.md`), and a workspace made of one."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from stellwerk.core.files import sync_folder
from stellwerk.ledger import migrations
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.ledger.copying import Copy, Row, Table, Written
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.workspace import books, checking
from stellwerk.workspace import layout as folders
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.stores import at_rest

if TYPE_CHECKING:
    from stellwerk.store.adapters.s3 import S3Blobs

FORMAT = "stellwerk-backup/1"
PART_BYTES = 32 << 20
SMALL = 1 << 20

_NAMES = re.compile(
    r"backup\.json|manifest\.json|checkpoints\.jsonl"
    r"|entries/[0-9]{6}\.jsonl|rows/[a-z][a-z0-9_]{0,62}/[0-9]{6}\.jsonl"
    r"|blobs/[0-9a-f]{64}|(?:keys|checkpoints|predictions|clock)(?:/[A-Za-z0-9@_-][A-Za-z0-9@._-]{0,127}){1,3}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What went into a backup."""

    identity: str
    entries: int
    rows: int
    blobs: int
    bytes: int
    keys: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came out of a backup, and was found whole."""

    identity: str
    entries: int
    rows: int
    blobs: int
    keys: bool
    """Without its keys a workspace can be read and verified, but nothing can be signed."""


def backup(rooms: Rooms, file: Path, *, with_keys: bool = False) -> BackedUp:
    """Write everything into a file, whole or not at all. Others may go on writing; what they write later is not in it.

    The book and the rows are those of one moment. Blobs come after: all that the rows name were there before them.
    """
    if file.exists():
        raise Conflict(f"{file.name} exists already", code="already-exists", hint="choose another name")
    rooms.sign_off()
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as target:
            os.fchmod(target.fileno(), 0o600)
            done = _write(rooms, target, with_keys)
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(file)
        sync_folder(file.parent)
    except OSError as cause:
        raise Unavailable(f"the backup cannot be written: {cause.strerror}", code="file-unwritable") from cause
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return done


def _write(rooms: Rooms, target: BinaryIO, with_keys: bool) -> BackedUp:
    layout = rooms.layout
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        parts = _Parts(archive)
        with rooms.database.snapshot() as session:
            copy = Copy(session)
            header = {
                "format": FORMAT,
                "workspace": layout.workspace,
                "identity": layout.identity,
                "clock": layout.clock,
                "schema": copy.schema,
                "entries": copy.size,
                "tables": {table.name: list(table.columns) for table in copy.tables},
                "keys": with_keys,
            }
            parts.add("backup.json", _json(header) + b"\n")
            parts.lines("checkpoints", (_json(note) for note in copy.checkpoints()), single=True)
            parts.lines("entries", copy.entries())
            rows = sum(
                parts.lines(f"rows/{table.name}", (_json(list(row)) for row in copy.rows(table)))
                for table in copy.tables
            )
        for name in ("checkpoints", "predictions", *(["keys"] if with_keys else [])):
            parts.folder(layout.folder / name, name)
        if layout.clock == "replay":
            parts.add("clock/clock.json", (layout.folder / "clock.json").read_bytes())
        blobs, size = parts.blobs(at_rest(rooms.blobs))
        parts.add("manifest.json", _json({"members": parts.digests, "blobs": blobs}) + b"\n", listed=False)
    return BackedUp(identity=layout.identity, entries=copy.size, rows=rows, blobs=blobs, bytes=size, keys=with_keys)


class _Parts:
    """Members of a tar file, one after another, with the digest of each."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self.digests: dict[str, str] = {}

    def add(self, name: str, data: bytes, *, listed: bool = True) -> None:
        if not _NAMES.fullmatch(name):
            raise Invalid(f"{name[:80]!r} cannot stand in a backup", code="invalid-backup")
        self._archive.addfile(_info(name, len(data)), io.BytesIO(data))
        if listed:
            self.digests[name] = of_bytes(data)

    def lines(self, name: str, lines: Iterable[bytes], *, single: bool = False) -> int:
        """Lines in members of a bounded size; returns how many there were."""
        count, part, buffer = 0, 0, io.BytesIO()
        for line in lines:
            buffer.write(line + b"\n")
            count += 1
            if not single and buffer.tell() >= PART_BYTES:
                self.add(f"{name}/{part:06}.jsonl", buffer.getvalue())
                part, buffer = part + 1, io.BytesIO()
        if single:
            self.add(f"{name}.jsonl", buffer.getvalue())
        elif buffer.tell():
            self.add(f"{name}/{part:06}.jsonl", buffer.getvalue())
        return count

    def folder(self, folder: Path, name: str) -> None:
        """The regular files of a small folder; what vanishes meanwhile was not there."""
        for file in sorted(folder.rglob("*")):
            inner = f"{name}/{file.relative_to(folder).as_posix()}"
            if file.is_symlink() or not file.is_file() or any(part.startswith(".") for part in inner.split("/")):
                continue
            with suppress(FileNotFoundError):
                self.add(inner, file.read_bytes())

    def blobs(self, store: LocalFolder | S3Blobs) -> tuple[int, int]:
        """Every blob, verified while it is read; returns how many, and their bytes."""
        count = total = 0
        for digest in store:
            try:
                size = store.size(digest)
                chunks = store.stream(digest)
            except NotFound:
                continue  # collected as garbage since it was listed
            self._archive.addfile(_info(f"blobs/{digest.removeprefix('sha256:')}", size), _Reader(chunks))
            count, total = count + 1, total + size
        return count, total


class _Reader(io.RawIOBase):
    """Chunks as the file that `tarfile` reads from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += bytes(chunk)
        result, self._rest = self._rest[:size], self._rest[size:]
        return result


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, 0
    return info


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def restore(
    file: Path,
    root: Path,
    settings: Settings,
    *,
    server: Literal["sqlite", "postgresql"] = "sqlite",
    public_key: bytes | None = None,
) -> Restored:
    """Make the workspace of a backup in a folder where there is none, and check every byte of it before it is one.

    Killed half-way, or where anything does not fit, there is no workspace; it can be run again. (On a server the
    tables stay behind then, for they are checked from outside: its database is to be dropped.)

    Args:
        public_key: A key of the book that was known beforehand, so that not any whole book will do.
    """
    target = root / folders.FOLDER
    if target.exists():
        raise Conflict("there is a workspace here already", code="already-exists", hint="restore into another folder")
    partial = root / f"{folders.FOLDER}.restoring"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True, mode=0o700)
        with _opened(file) as archive:
            restoring = _Restoring(archive, partial, settings, server, public_key)
            done = restoring.run()
        partial.replace(target)
        sync_folder(root)
    except OSError as cause:
        raise Unavailable(f"the backup cannot be restored: {cause.strerror}", code="store-unavailable") from cause
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return done


@contextmanager
def _opened(file: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(file, mode="r|") as archive:
            yield archive
    except tarfile.TarError as cause:
        raise Corrupt(f"{file.name} is no whole backup: {cause}", code="corrupt-backup") from cause
    except FileNotFoundError as cause:
        raise NotFound(f"there is no file {file.name}") from cause


@dataclass
class _Restoring:
    """One reading of a backup, from its first member to its last."""

    archive: tarfile.TarFile
    folder: Path
    settings: Settings
    server: Literal["sqlite", "postgresql"]
    public_key: bytes | None
    header: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    blobs: int = 0
    rows: int = 0

    def run(self) -> Restored:
        members = self._members()
        name, content = next(members, ("", io.BytesIO()))
        data = content.read() if name == "backup.json" else b""
        self.header = _header(data)
        self.digests[name] = of_bytes(data)
        # The layout points below the folder that is not yet in its place.
        layout = _Moved(
            root=self.folder,
            workspace=self.header["workspace"],
            identity=self.header["identity"],
            clock=self.header["clock"],
            server=self.server,
        )
        for part in ("keys", "predictions", "checkpoints"):
            (self.folder / part).mkdir(mode=0o700 if part == "keys" else 0o755)
        database = books.open_database(layout, self.settings, layout.make_clock())
        store = LocalFolder(layout.blobs)
        try:
            tables = {name: Table(name, tuple(columns)) for name, columns in self.header["tables"].items()}
            with database.restoring(layout.identity) as target:
                manifest = self._fill(members, target, tables, store)
            self._check_manifest(manifest)
        finally:
            store.close()
            database.close()
        folders.finish(layout)
        self._verify(layout)
        return Restored(
            identity=layout.identity,
            entries=self.header["entries"],
            rows=self.rows,
            blobs=self.blobs,
            keys=self.header["keys"],
        )

    def _fill(
        self, members: Iterator[tuple[str, BinaryIO]], target: Written, tables: dict[str, Table], store: LocalFolder
    ) -> dict[str, Any]:
        small: dict[str, bytes] = {}
        for name, data in members:
            kind, _, rest = name.partition("/")
            if kind == "blobs":
                self._blob(store, small, rest, data)
                continue
            content = data.read()
            if kind == "manifest.json":
                self._flush(store, small)
                return dict(_parsed(content))
            self.digests[name] = of_bytes(content)
            if kind == "checkpoints.jsonl":
                target.checkpoints(_parsed(line) for line in content.splitlines())
            elif kind == "entries":
                target.entries(content.splitlines())
            elif kind == "rows":
                table = tables.get(rest.partition("/")[0])
                if table is None:
                    raise _corrupt(f"rows of a table that it does not announce: {name}")
                self.rows += target.rows(table, (_row(line) for line in content.splitlines()))
            else:
                self._file("clock.json" if kind == "clock" else name, content)
        raise _corrupt("it ends before its end")

    def _members(self) -> Iterator[tuple[str, BinaryIO]]:
        """Names and contents. Anything but a regular file with a name of the format is refused, and any name twice."""
        seen: set[str] = set()
        for member in self.archive:
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                raise _corrupt(f"{member.name[:80]!r} is no regular file")
            if not _NAMES.fullmatch(member.name) or member.name in seen:
                raise _corrupt(f"{member.name[:80]!r} has no place in it")
            if not member.name.startswith("blobs/") and member.size > 4 * PART_BYTES:
                raise _corrupt(f"{member.name} is larger than the format allows")
            seen.add(member.name)
            content = self.archive.extractfile(member)
            if content is None:
                raise _corrupt(f"{member.name} cannot be read")
            yield member.name, cast(BinaryIO, content)

    def _blob(self, store: LocalFolder, small: dict[str, bytes], name: str, data: BinaryIO) -> None:
        self.blobs += 1
        head = data.read(SMALL + 1)
        if len(head) <= SMALL:
            small[f"sha256:{name}"] = head
            if sum(map(len, small.values())) > PART_BYTES or len(small) > 4096:
                self._flush(store, small)
            return
        kept = store.put_stream(_chain(head, data))
        if kept != f"sha256:{name}":
            raise _corrupt(f"blob {name} has other content than its name says")

    def _flush(self, store: LocalFolder, small: dict[str, bytes]) -> None:
        for name, data in small.items():
            if of_bytes(data) != name:
                raise _corrupt(f"blob {name} has other content than its name says")
        store.put_many(small.values())
        small.clear()

    def _file(self, name: str, content: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as target:
            os.fchmod(target.fileno(), 0o600 if name.startswith("keys/") else 0o644)
            target.write(content)
            target.flush()
            os.fsync(target.fileno())

    def _check_manifest(self, manifest: dict[str, Any]) -> None:
        if manifest.get("members") != self.digests or manifest.get("blobs") != self.blobs:
            raise _corrupt("its parts are not those that its end lists")

    def _verify(self, layout: Layout) -> None:
        """The independent checks, before anybody is told that this is a workspace."""
        latest = layout.checkpoints / "latest.txt"
        notes = [latest.read_text("utf-8")] if latest.is_file() else []
        count, findings = books.verify(layout, self.settings, Ed25519Verifier().verify, notes, self.public_key)
        damage = [item for item in checking.fsck(checking.Place(layout, self.settings)) if item.severity == "error"]
        if count != self.header["entries"] or findings or damage:
            first = findings[0].problem if findings else (str(damage[0]) if damage else f"it has {count} entries")
            raise _corrupt(f"what it holds is not whole: {first}")


class _Moved(Layout):
    """The layout of a workspace whose folder has not got its name yet."""

    @property
    def folder(self) -> Path:
        return self.root


def _header(data: bytes) -> dict[str, Any]:
    header = _parsed(data) if data else None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise Corrupt(
            f"this is no backup of format {FORMAT!r}", code="corrupt-backup", hint="`stellwerk backup` makes one"
        )
    kinds = {
        "workspace": str, "identity": str, "clock": str, "schema": str, "entries": int, "tables": dict, "keys": bool,
    }  # fmt: skip
    for field_, kind in kinds.items():
        if type(header.get(field_)) is not kind:
            raise _corrupt(f"its description has no {field_!r} of type {kind.__name__}")
    if header["clock"] not in ("system", "replay"):
        raise _corrupt("its description names an unknown clock")
    if migrations.pending(header["schema"]):
        raise Unavailable(
            f"the backup has schema {header['schema']!r} of an earlier version",
            code="schema-mismatch",
            hint="restore it with the version that wrote it, then `stellwerk migrate`",
        )
    return header


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as cause:
        raise _corrupt("a part of it is not JSON") from cause


def _row(line: bytes) -> Row:
    row = _parsed(line)
    if not isinstance(row, list) or not all(isinstance(item, str | int | float | None) for item in row):
        raise _corrupt("a row in it is no list of plain values")
    return tuple(row)


def _chain(head: bytes, data: BinaryIO) -> Iterator[bytes]:
    yield head
    while chunk := data.read(SMALL):
        yield chunk


def _corrupt(what: str) -> Corrupt:
    return Corrupt(f"the backup cannot be restored: {what}", code="corrupt-backup", hint="use another backup")
