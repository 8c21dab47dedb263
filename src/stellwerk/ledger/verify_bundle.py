"""Independent check of an exported book (`docs/formats/ledger-bundle.md`): needs the file alone, SHA-256 and Ed25519."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stellwerk.core.errors import NotFound
from stellwerk.ledger.model import Finding
from stellwerk.ledger.verify import FIELDS, Check, Verification

FORMAT = "stellwerk-ledger-bundle/1"
MOST_BYTES = 64 << 20
"""No line of a bundle is longer; what is must not fill the memory of whoever verifies it."""
_HEADER = {"format": str, "origin": str, "checkpoints": int, "entries": int}


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleReport:
    """What was found in a bundle."""

    origin: str
    entries: int
    key: str
    """Hex of the key that signed its newest checkpoint."""
    first_key: str
    """Hex of the key that the book began with."""
    checkpoint: str
    """Its newest checkpoint, which is over all its entries."""
    findings: tuple[Finding, ...]


def verify_bundle(
    file: Path, check: Check, notes: Iterable[str] = (), *, public_key: bytes | None = None
) -> BundleReport:
    """Verify a bundle by itself, and against checkpoints from elsewhere. Memory does not grow with it.

    With `public_key`, a key that was known beforehand, that key must be one of the book's; without it the report says
    which keys the book claims, for somebody to compare. Raises `NotFound` where there is no file.
    """
    if not file.is_file():
        raise NotFound("there is no bundle to verify", code="not-found")
    with file.open("rb") as lines:
        header = _header(lines.readline(MOST_BYTES))
        if header is None:
            problem = Finding(sequence=None, problem=f"the first line does not say {FORMAT!r}")
            return BundleReport(origin="", entries=0, key="", first_key="", checkpoint="", findings=(problem,))
        origin, checkpoints, entries = header
        verification = Verification(origin, check, public_key)
        texts = _checkpoints(lines, checkpoints, verification)
        verification.expect(((None, text) for text in texts), notes)
        _entries(lines, entries, verification)
        verification.end()
    newest = texts[-1] if texts else ""
    if f"{origin}\n{verification.count}\n" != newest[: len(f"{origin}\n{verification.count}\n")]:
        verification.report("the last checkpoint is not over all entries of the bundle")
    known = [key.hex() for key in verification.keys]
    return BundleReport(
        origin=origin,
        entries=verification.count,
        key=known[-1] if known else "",
        first_key=known[0] if known else "",
        checkpoint=newest,
        findings=tuple(verification.findings),
    )


def _header(line: bytes) -> tuple[str, int, int] | None:
    document = _parse(line)
    if not isinstance(document, dict) or set(document) != set(_HEADER) or document["format"] != FORMAT:
        return None
    if any(type(document[name]) is not kind for name, kind in _HEADER.items()):
        return None
    counts = document["checkpoints"], document["entries"]
    return (document["origin"], *counts) if min(counts) >= 0 else None


def _checkpoints(lines: BinaryIO, count: int, verification: Verification) -> list[str]:
    texts = []
    for number in range(count):
        line = lines.readline(MOST_BYTES)
        text = _parse(line)
        if not line.endswith(b"\n") or not isinstance(text, str):
            verification.report(f"checkpoint {number} of the bundle cannot be read")
            break
        texts.append(text)
    return texts


def _entries(lines: BinaryIO, count: int, verification: Verification) -> None:
    """Every line that is left must be one entry, and as many as the first line says."""
    while line := lines.readline(MOST_BYTES):
        if not line.endswith(b"\n"):
            verification.report("the bundle ends in the middle of a line, or a line is too long", verification.count)
            return
        document = _parse(line)
        fields = document if isinstance(document, dict) else {}
        verification.row(fields.get("sequence"), [fields.get(name) for name in FIELDS], line[:-1])
    if verification.count != count:
        verification.report(f"the bundle has {verification.count} entries, its first line says {count}")


def _parse(line: bytes) -> object:
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
