"""Names people choose and ids we make. Checked once, here; a bad name is refused, never repaired."""

from __future__ import annotations

import re
import secrets
import unicodedata
from datetime import datetime

from stellwerk.core.errors import Invalid

MAX_NAME = 128
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def name(text: str, *, what: str = "name") -> str:
    """Check a name of a thing: letters, digits, `.`, `_`, `-`; starts with a letter or digit."""
    if len(text) > MAX_NAME or not _NAME.fullmatch(text) or text.endswith("."):
        raise Invalid(
            f"{text[:60]!r} cannot be a {what} (expected 1 to {MAX_NAME} letters, digits, '.', '_' or '-', "
            "starting with a letter or digit, not ending with '.')",
            code="invalid-name",
        )
    return text


def path_part(text: str) -> str:
    """Check one component of a path inside a tree: NFC, no separators, no control characters, no dots-only."""
    bad = (
        not text
        or text in {".", ".."}
        or len(text.encode("utf-8", "surrogatepass")) > 255
        or text != unicodedata.normalize("NFC", text)
        or any(c in "/\\" or unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Cn"} for c in text)
    )
    if bad:
        raise Invalid(f"{text[:60]!r} cannot be a file name in a tree", code="invalid-path")
    return text


def slug(text: str) -> str:
    """Make a name from free text such as a file's stem: for suggestions, never for look-ups."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower()[:MAX_NAME] or "unnamed"


def new_id(now: datetime) -> str:
    """A sortable 26-character id: 48 bits of milliseconds, 80 random bits (the layout of a ULID)."""
    value = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return "".join(_BASE32[(value >> shift) & 31] for shift in range(125, -1, -5))
