"""What the ledger tells of releases, folded from entries: rows that say otherwise permit nothing (laws 1 and 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stellwerk.core.clock import format_instant
from stellwerk.ledger.model import Entry
from stellwerk.releases.model import Release

KINDS = ("release.", "signal.caution")


def told(entries: Iterable[Entry]) -> dict[str, dict[str, Any]]:
    """Release id → the fields that its entries determine, as they must be after the last of them."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        body, name = entry.body, entry.subject.removeprefix("release:")
        if entry.kind == "release.granted":
            found[name] = _granted(body)
        elif entry.kind == "signal.caution" and body.get("release") in found:
            found[body["release"]]["caution"] = body.get("why")
        elif name in found:
            found[name] |= _changed(entry.kind, body)
    return found


def differences(release: Release, told: Mapping[str, Any] | None) -> list[str]:
    """The fields of a release that are not what the ledger tells; all of it where the ledger tells nothing."""
    if told is None:
        return ["everything: no entry grants it"]
    row = {
        "endpoint": release.endpoint,
        "model": release.model,
        "verdict": release.verdict,
        "statement": release.statement,
        "audit_share": repr(release.audit_share),
        "routed": [list(item) for item in release.routed],
        "lease_method": release.lease_method,
        "status": release.status,
        "expires_at": format_instant(release.expires_at),
        "harmful": release.harmful,
        "caution": release.caution,
    }
    return [name for name, value in told.items() if row[name] != value]


def _granted(body: Mapping[str, Any]) -> dict[str, Any]:
    # Whether it began at caution is in the signed statement alone: nothing is demanded until an entry says more.
    return {
        "endpoint": body.get("endpoint"),
        "model": body.get("model"),
        "verdict": body.get("verdict"),
        "statement": body.get("statement"),
        "audit_share": body.get("audit_share"),
        "routed": body.get("routed"),
        "lease_method": body.get("lease"),
        "status": "active",
        "expires_at": body.get("until"),
        "harmful": False,
    }


def _changed(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "release.renewed":
        return {"expires_at": body.get("until"), "caution": ""}
    if kind == "release.resumed":
        return {"status": "active", "expires_at": body.get("until")}
    if kind == "release.stopped":
        return {"status": "stopped", "harmful": body.get("harmful") is True}
    if kind == "release.superseded":
        return {"status": "superseded"}
    return {"harmful": True} if kind == "release.harmful" else {}
