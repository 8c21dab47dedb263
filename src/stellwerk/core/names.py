"""Names people choose and ids we make. Checked once, here; a bad name is refused, never repaired."""

from __future__ import annotations

import re
import secrets
import threading
import unicodedata
from datetime import datetime

from stellwerk.core.errors import Invalid

MAX_NAME = 128
MAX_PATH_PART = 255
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EVENT = re.compile(r"[a-z][a-z-]{0,40}\.[a-z][a-z-]{0,40}")
_PLAIN_PART = re.compile(r"(?! )[ -.0-\[\]-~]{0,254}[0-\[\]-~!-\-]")
"""Printable ASCII that needs no closer look, which is nearly every file of a large folder."""
_NEVER_IN_PATHS = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Control, format (zero width, direction), surrogate, private, line and paragraph separators."""
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def name(text: object, *, what: str = "name") -> str:
    """Check a name of a thing: letters, digits, `.`, `_`, `-`; starts with a letter or digit."""
    if not isinstance(text, str) or len(text) > MAX_NAME or not _NAME.fullmatch(text) or text.endswith("."):
        raise Invalid(
            f"{shortened(text)} cannot be a {what} (expected 1 to {MAX_NAME} letters, digits, '.', '_' or '-', "
            "starting with a letter or digit, not ending with '.')",
            code="invalid-name",
        )
    return text


def is_event(text: object) -> bool:
    """Whether a kind of entries can be called so: `dataset.added`."""
    return isinstance(text, str) and bool(_EVENT.fullmatch(text))


def shortened(value: object, most: int = 60) -> str:
    """A value as a message shows it."""
    return repr(value[:most]) if isinstance(value, str) else repr(value)[:most]


def path_part(text: str) -> str:
    """Check one component of a path inside a tree: NFC, no separators, no control or unassigned characters,
    no space at either end, no dot at the end (which covers `.` and `..`)."""
    if _PLAIN_PART.fullmatch(text):
        return text
    if any(unicodedata.category(c) == "Cn" for c in text):
        raise _no_path_part(text)
    return path_part_as_written(text)


def path_part_as_written(text: str) -> str:
    """`path_part` for trees written elsewhere: allows characters that only newer Unicode tables know.

    Which characters are assigned depends on the Python that asks; an older one must still read what a newer one
    wrote. The writer refused unassigned ones, so NFC is stable for all readers to come.
    """
    if _PLAIN_PART.fullmatch(text):
        return text
    bad = (
        not text
        or len(text.encode("utf-8", "surrogatepass")) > MAX_PATH_PART
        or text != unicodedata.normalize("NFC", text)
        or text != text.strip()
        or text.endswith(".")
        or any(c in "/\\" or unicodedata.category(c) in _NEVER_IN_PATHS for c in text)
        or any(ord(c) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(c) <= 0xFDEF for c in text)  # noncharacters
    )
    if bad:
        raise _no_path_part(text)
    return text


def _no_path_part(text: str) -> Invalid:
    return Invalid(
        f"{text[:60]!r} cannot be a file name in a tree (expected 1 to {MAX_PATH_PART} bytes of NFC text without "
        "separators, control or invisible characters, spaces at either end, or a dot at the end)",
        code="invalid-path",
    )


def slug(text: str) -> str:
    """Make a name from free text such as a file's stem: for suggestions, never for look-ups."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower()[:MAX_NAME] or "unnamed"


def new_id(now: datetime) -> str:
    """A sortable 26-character id: 48 bits of milliseconds, 80 random bits (the layout of a ULID).

    Ids that this process makes within one millisecond ascend too, also where simulated time stands still.
    """
    fresh = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    with _LOCK:
        value = _LAST[0] + 1 if fresh >> 80 == _LAST[0] >> 80 else fresh
        _LAST[0] = value
    return "".join(_BASE32[(value >> shift) & 31] for shift in range(125, -1, -5))


_LOCK = threading.Lock()
_LAST = [0]
