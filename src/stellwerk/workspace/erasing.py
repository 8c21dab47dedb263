"""Erasure of a person's data: what would go, and its going (law 12)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.errors import Corrupt
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.ledger.verify_bundle import verify_bundle
from stellwerk.workspace.rooms import Rooms


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What is, or was, kept under a person's keys."""

    keys: tuple[str, ...]
    """Ids of the keys."""
    predictions: dict[str, int]
    """Endpoint → logged rows whose inputs and references are encrypted under them."""
    uncovered: tuple[str, ...]
    """Endpoints without a declared subject: what was logged there is not encrypted, and not erased by this."""
    done: bool
    """Whether the keys were destroyed."""
    scrubbed: bool
    """Whether the database could overwrite at once what was deleted; else it does when its readers have ended."""


def erase(rooms: Rooms, subject: str, why: str, *, really: bool) -> Erasure:
    """Look for what is kept under a person's keys and, if it is really meant, destroy the keys."""
    ids = rooms.vault.ids(subject)
    endpoints = rooms.interlocking.endpoints()
    rows = {endpoint.name: rooms.predictions.rows_under(endpoint.name, ids) for endpoint in endpoints} if ids else {}
    if really:
        ids = rooms.vault.erase(subject, why)
    return Erasure(
        keys=ids,
        predictions={name: count for name, count in rows.items() if count},
        uncovered=tuple(endpoint.name for endpoint in endpoints if not endpoint.subject),
        done=really,
        scrubbed=really and rooms.database.scrub(),
    )


def erase_again(rooms: Rooms, bundle: Path) -> tuple[str, ...]:
    """Destroy the keys that came back with a backup: those that a newer export of this ledger tells were destroyed.

    Returns the ids of those that had come back. Raises `Corrupt` where the bundle is not whole, or of another ledger.
    """
    report = verify_bundle(bundle, Ed25519Verifier().verify, public_key=bytes.fromhex(rooms.ring.links()[0].key))
    if report.findings or report.origin != rooms.layout.identity:
        problem = report.findings[0].problem if report.findings else "it is of another ledger"
        raise Corrupt(f"the bundle tells nothing of this ledger: {problem}", code="corrupt-bundle")
    back = rooms.vault.erase_again(list(_erased(bundle)), "again, after a backup was restored")
    rooms.database.scrub()
    return back


def _erased(bundle: Path) -> Iterator[str]:
    with bundle.open("rb") as lines:
        header = json.loads(lines.readline())
        for _ in range(header["checkpoints"]):
            lines.readline()
        for line in lines:
            entry = json.loads(line)
            if entry["kind"] == "subject.erased":
                yield from _texts(entry["body"].get("keys"))


def _texts(value: object) -> Sequence[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
