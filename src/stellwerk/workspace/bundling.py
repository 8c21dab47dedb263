"""A whole book as one file: written by whoever may read it, verified without it, kept as a witness elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core import canonical
from stellwerk.core.errors import Corrupt, Invalid, Unavailable
from stellwerk.core.files import sync_folder
from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.ledger.verify_bundle import FORMAT, BundleReport, verify_bundle
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.rooms import Rooms

MOST_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What went into a bundle."""

    origin: str
    entries: int
    checkpoints: int
    checkpoint: str


def export(caller: Caller, file: Path) -> Exported:
    """Write the book up to its newest checkpoint into a file, whole or not at all."""
    newest = rules.read_checkpoint(caller.call(ops.newest_checkpoint, {}).note)
    notes = list(_notes(caller, newest.size))
    header = {"format": FORMAT, "origin": newest.origin, "checkpoints": len(notes), "entries": newest.size}
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as target:
            target.write(canonical.dumps(header) + b"\n")
            for note in notes:
                target.write(json.dumps(note, ensure_ascii=False).encode() + b"\n")
            for text in _entries(caller, newest.size):
                target.write(text.encode() + b"\n")
            target.flush()
            os.fsync(target.fileno())
        temporary.replace(file)
        sync_folder(file.parent)
    except OSError as cause:
        raise Unavailable(f"the bundle cannot be written: {cause.strerror}", code="file-unwritable") from cause
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Exported(origin=newest.origin, entries=newest.size, checkpoints=len(notes), checkpoint=newest.note)


def _notes(caller: Caller, size: int) -> Iterator[str]:
    above = -1
    while above < size:
        found = caller.call(ops.signed_checkpoints, {"above": above, "limit": MOST_AT_ONCE})
        if not found:
            return
        for note in found:
            above = rules.read_checkpoint(note).size
            if above <= size:
                yield note


def _entries(caller: Caller, size: int) -> Iterator[str]:
    start = 0
    while start < size:
        found = caller.call(ops.entry_texts, {"start": start, "limit": min(MOST_AT_ONCE, size - start)})
        if not found:
            raise Corrupt(f"the book ends at entry {start}, its checkpoint says {size}", code="corrupt-ledger")
        yield from found
        start += len(found)


def public_key(text: str) -> bytes | None:
    """A public key as it was typed: 64 hexadecimal digits, or nothing. Raises `Invalid`."""
    if not text:
        return None
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise Invalid(f"expected a public key of 64 hexadecimal digits, got {text[:80]!r}", code="invalid-key")
    return bytes.fromhex(text)


def check(file: Path, *, notes: tuple[str, ...] = (), key: bytes | None = None) -> BundleReport:
    """Verify a bundle, offline."""
    return verify_bundle(file, Ed25519Verifier().verify, notes, public_key=key)


def witness(rooms: Rooms, file: Path, *, key: bytes | None = None) -> BundleReport:
    """Keep a verified copy of another book. A book that was witnessed before must go on from there.

    Nothing of it becomes state of this workspace. Raises `Corrupt` where it is not whole or contradicts the copy.
    """
    report = check(file, key=key)
    if report.findings:
        first = report.findings[0]
        raise Corrupt(
            f"the bundle is not whole: {first.problem}",
            code="corrupt-bundle",
            hint="`stellwerk verify --bundle FILE` lists everything",
        )
    folder = rooms.layout.folder / "witness"
    kept = folder / f"{hashlib.sha256(report.origin.encode()).hexdigest()[:32]}.bundle"
    if kept.is_file():
        _goes_on(kept, file, report)
    _keep(file, kept)
    head = rules.read_checkpoint(report.checkpoint)
    with rooms.book.write() as tx:
        tx.record(
            "ledger.witnessed",
            f"ledger:{report.origin}",
            {"size": head.size, "root": head.root.hex(), "key": report.key, "first_key": report.first_key},
        )
    return report


def _goes_on(kept: Path, file: Path, report: BundleReport) -> None:
    before = check(kept)
    again = check(file, notes=(before.checkpoint,), key=bytes.fromhex(before.key))
    if before.findings:
        raise Corrupt("the copy that was witnessed before is damaged", code="corrupt-bundle")
    if again.findings:
        beside = kept.with_suffix(f".{hashlib.sha256(report.checkpoint.encode()).hexdigest()[:16]}.other")
        _keep(file, beside)
        raise Corrupt(
            f"this is another history of {report.origin} than the one witnessed before: {again.findings[0].problem}",
            code="ledger-forked",
            hint=f"both are kept as evidence: {kept.name} and {beside.name} in .stellwerk/witness",
        )


def _keep(file: Path, kept: Path) -> None:
    try:
        kept.parent.mkdir(exist_ok=True, mode=0o700)
        temporary = kept.with_name(f".{kept.name}.{secrets.token_hex(8)}")
        try:
            shutil.copyfile(file, temporary)
            with temporary.open("rb") as copy:
                os.fsync(copy.fileno())
            temporary.replace(kept)
            sync_folder(kept.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as cause:
        raise Unavailable(f"the copy cannot be kept: {cause.strerror}", code="file-unwritable") from cause
