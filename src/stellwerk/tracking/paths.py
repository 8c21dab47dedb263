"""Paths of artifacts: names of rows. Read once, here; a bad path is refused, never repaired.

What arrives was decoded exactly once, and is not decoded again: `%2e` stays a text of three characters. It is refused
only where some later reader who decodes once more would leave his folder by it.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from stellwerk.core.errors import Invalid
from stellwerk.core.names import path_part

MAX_BYTES = 2048
"""Of UTF-8, in a whole path. PostgreSQL takes no key of more than 2,700."""
MAX_PARTS = 1000
_TIMES = 5
"""How often a careless reader may decode; nobody does it more."""
_SHOWN = 80
_DRIVE = re.compile(r"[A-Za-z]:")
_FOREIGN = re.compile(r"[~$]|file:|[^/]*:(/|$)", re.IGNORECASE)
"""Beginnings that mean another place to somebody: a home, a variable, a scheme."""
_SEPARATOR = re.compile(r"[/\\]")
_FORBIDDEN = ("\\", "#", "\x00", "\ufffd")
"""The last stands for bytes that were no UTF-8: different names would become one."""


def read(text: str) -> str:
    """A path as it arrived, if it is one: parts with `/` between them. Raises `Invalid` (`invalid-path`)."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _invalid(text, f"it is longer than {MAX_BYTES:,} bytes")
    if any(sign in text for sign in _FORBIDDEN) or _FOREIGN.match(text):
        raise _invalid(text, "it means a place elsewhere, or holds what no path holds")
    parts = text.split("/")
    if len(parts) > MAX_PARTS:
        raise _invalid(text, f"it has more than {MAX_PARTS:,} parts")
    for part in parts:
        _check(part, text)
    if any(_leaves(later) for later in _decoded(text)):
        raise _invalid(text, "whoever decodes it once more leaves his folder")
    return text


def read_folder(text: str) -> str:
    """Like `read`; the root is empty, and one `/` at the end is left away."""
    return read(text.removesuffix("/")) if text not in ("", "/") else ""


def split(path: str) -> tuple[str, str]:
    """Folder and name of a path."""
    folder, _, name = path.rpartition("/")
    return folder, name


def join(folder: str, name: str) -> str:
    """The path of a name in a folder, either of which may be empty."""
    return f"{folder}/{name}" if folder and name else folder or name


def _check(part: str, text: str) -> None:
    try:
        path_part(part)
    except Invalid as cause:
        raise _invalid(text, f"a part of it {cause.message.partition(' cannot ')[2] or 'is no name'}") from cause
    # Signs that look like dots and separators, and become them where somebody folds what he reads.
    if _DRIVE.match(part) or _leaves(unicodedata.normalize("NFKC", part)):
        raise _invalid(text, "a part of it means a place elsewhere")


def _decoded(text: str) -> list[str]:
    found: list[str] = []
    for _ in range(_TIMES):
        later = unquote(text, errors="replace")
        if later == text:
            break
        found.append(later)
        text = later
    return found


def _leaves(text: str) -> bool:
    return any(part in (".", "..") for part in _SEPARATOR.split(text)) or text[:1] in ("/", "\\")


def _invalid(text: str, why: str) -> Invalid:
    return Invalid(
        f"{text[:_SHOWN]!r} cannot be the path of an artifact: {why}",
        code="invalid-path",
        hint="parts of at most 255 bytes with '/' between them, without '..', '\\' and '#'",
    )
