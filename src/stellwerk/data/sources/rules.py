"""Reading the names of sources, and writing pins. Nothing here looks at a source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote

from stellwerk.core import canonical
from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.data.sources.model import Content, Part, Pinned, Source, pin_mark
from stellwerk.ledger import documents

MAX_SOURCE = 8192
_KIND = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_SECRETS = re.compile(
    r"(?:^|[?&;])(?:[^=&;]*[_.-])?(?:token|access[_-]?key|api[_-]?key|auth|credential|key|passw(?:or)?d|pwd|secret|sig|"
    r"signature|sas)=",
    re.IGNORECASE,
)
_WRITTEN = ("sql", "sqlite")
"""Kinds whose location ends with a statement, which is no part of a URL."""


def parse(text: str) -> Source:
    """The source that a text such as `s3://bucket/key?versionId=7` names.

    Raises:
        Invalid: `invalid-source`, or `secret-in-source`: credentials belong into the environment, because a source is
            kept, shown and signed. The message does not repeat the text.
    """
    found = _KIND.fullmatch(text)
    if not found or len(text) > MAX_SOURCE:
        raise Invalid(
            f"not a source (expected `kind:location` in at most {MAX_SOURCE:,} characters)",
            code="invalid-source",
            hint="for example file:data/*.parquet, https://host/table.csv or s3://bucket/key",
        )
    kind, location = found[1].lower(), found[2]
    address = location.partition("?")[0] if kind in _WRITTEN else location
    if any(ord(character) < 32 or ord(character) == 127 for character in address):
        raise Invalid("a source has control characters", code="invalid-source")
    _refuse_secrets(location if kind not in _WRITTEN else address)
    mark = pin_mark(kind)
    before, _, pin = location.rpartition(mark) if mark and mark in location else (location, "", "")
    if not before:
        raise Invalid(f"the source of kind {kind!r} has no location", code="invalid-source")
    return Source(kind=kind, location=before, pin=pin)


def _refuse_secrets(location: str) -> None:
    plain = unquote(location)
    authority = re.match(r"//([^/?#]*)", plain.replace("\\", "/"))
    if (authority and "@" in authority[1]) or _SECRETS.search(plain.partition("?")[2] or plain.partition("#")[2]):
        raise Invalid(
            "a source must not hold credentials: it is kept, shown and signed",
            code="secret-in-source",
            hint="put them into the environment of whoever reads: `docs/guide/sources.md` says where",
        )


def write(pinned: Pinned) -> bytes:
    """The canonical bytes of a pin."""
    return canonical.dumps(documents.dump(pinned))


def read(data: bytes) -> Pinned:
    """A pin from bytes; what is not one, or not in canonical form, is `Corrupt`."""
    try:
        pinned = documents.load(Pinned, canonical.loads(data))
    except Invalid as cause:
        raise Corrupt(f"not a pinned source: {cause.message}", code="corrupt-source") from cause
    names = [part.name for part in pinned.parts]
    if write(pinned) != data or len(set(names)) != len(names) or not names:
        raise Corrupt("a pinned source is not in its canonical form", code="corrupt-source")
    return pinned


def names(found: Sequence[str]) -> tuple[str, ...]:
    """The parts that a reader listed: some, each once, each a plain text."""
    if len(set(found)) != len(found) or any(not name or not name.isprintable() for name in found):
        raise Invalid("the reader named its parts twice or with invisible characters", code="invalid-source")
    return tuple(found)


def difference(pinned: Part, *, digest: str, content: Content) -> str:
    """What is different about a part, as a sentence; empty where it is what was pinned."""
    if digest == pinned.digest:
        return ""
    if pinned.form == "rows" or not isinstance(content.data, bytes):
        return "its rows are others"
    if len(content.data) != pinned.size:
        return f"it has {len(content.data):,} bytes (expected {pinned.size:,})"
    return "its bytes are others, though as many"
