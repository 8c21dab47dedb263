"""How incoming deliveries are signed: as Standard Webhooks (1.0), or as GitHub does. Pure.

Both are HMAC-SHA-256 under a secret that only the sender and this workspace know.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from stellwerk.core.errors import Invalid
from stellwerk.triggers.model import Style

WINDOW = timedelta(minutes=5)
"""How far the time of a delivery may be from ours."""
MAX_BODY = 1 << 20
PREFIX = "whsec_"
SECRET_BYTES = 32
LEAST, MOST = 24, 1000
"""Characters of a secret that somebody brings."""
_ID = re.compile(r"[\x21-\x2d\x2f-\x7e]{1,200}")
"""Visible ASCII without the dot that separates it from the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A delivery whose signature holds.

    Attributes:
        delivery: What makes it one and the same: its id, or the digest of its body where its id is not signed.
        digest: SHA-256 of its body, in hex.
    """

    delivery: str
    digest: str


def new_secret() -> str:
    """A secret in the form of Standard Webhooks."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def check_secret(secret: str, style: Style) -> None:
    """Raises `Invalid` for a secret that is too short, or that cannot be read."""
    if not LEAST <= len(secret) <= MOST or not secret.isascii() or not secret.isprintable():
        raise Invalid(f"a secret has {LEAST} to {MOST} printable ASCII characters", code="weak-secret")
    if style == "standard":
        try:
            _key(secret)
        except binascii.Error as cause:
            raise Invalid(
                "a secret of Standard Webhooks is base64, with whsec_ before it or not", code="weak-secret"
            ) from cause


def verified(secret: str, style: Style, headers: Mapping[str, str], body: bytes, now: datetime) -> Signed | None:
    """The delivery, if its signature holds and it is of now; None otherwise.

    Args:
        headers: Names in lower case.
    """
    digest = hashlib.sha256(body).hexdigest()
    if style == "github":
        said = headers.get("x-hub-signature-256", "")
        made = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        # What GitHub signs has no time and no id: the same body counts once.
        return Signed(delivery=f"sha256:{digest}", digest=digest) if _same(made, said) else None
    delivery, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(delivery) or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        return None
    made = signature(secret, delivery, timestamp, body)
    # Several may stand there while a secret is changed; all are compared, whichever holds.
    holds = [_same(made, one) for one in headers.get("webhook-signature", "").split(" ")[:10]]
    fresh = abs(now.timestamp() - int(timestamp)) <= WINDOW.total_seconds()
    return Signed(delivery=delivery, digest=digest) if any(holds) and fresh else None


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """`v1,` and base64 of HMAC-SHA-256 over `id.timestamp.body`."""
    made = hmac.new(_key(secret), f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(made).decode()


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)


def _same(made: str, said: str) -> bool:
    return hmac.compare_digest(made.encode(), said.encode("utf-8", "surrogateescape"))
