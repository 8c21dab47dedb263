"""Secrets sealed together with whom they belong to, so that one cannot be put in the place of another."""

from __future__ import annotations

import base64
import json

from stellwerk.core.errors import Corrupt
from stellwerk.evidence.ports import Sealer


def seal(sealer: Sealer, secret: str, *, kind: str, of: str) -> str:
    """A secret of one thing of a kind, as text to be kept; empty where there is none."""
    return base64.b64encode(sealer.seal(json.dumps({kind: of, "secret": secret}).encode())).decode() if secret else ""


def opened(sealer: Sealer, sealed: str, *, kind: str, of: str) -> str:
    """The secret; empty where there is none. Raises `Corrupt` where it was changed, or belongs to another thing."""
    if not sealed:
        return ""
    found = json.loads(sealer.open(base64.b64decode(sealed)))
    if found.get(kind) != of:
        raise Corrupt(f"a {kind} has the secret of another one", code="corrupt-seal")
    secret: str = found["secret"]
    return secret
