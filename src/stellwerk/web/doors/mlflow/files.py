"""How a file is handed to a browser that must not open it, and to a client that wants its name."""

from __future__ import annotations

import mimetypes
import re
import unicodedata
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from stellwerk.core.errors import Invalid
from stellwerk.tracking.manifest import Artifact
from stellwerk.web import streams
from stellwerk.workspace.rooms import Rooms

PLAIN = "text/plain"
_TEXTS = """
txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md rst ipynb
MLmodel mlproject MLproject
"""
"""Endings, and names without one, that are shown as text (mlflow/utils/mime_type_utils.py, 3.17)."""
_PAGE = "text/html"
"""What a browser would run, should it ever show it."""
_KNOWN = mimetypes.MimeTypes()
"""The types of Python alone: those of the machine differ from one to the next."""
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""What needs no quotes (RFC 9110, section 5.6.2)."""


def media_type(name: str) -> str:
    """The type of a file by its name, as MLflow's client and its tests expect it."""
    _, _, ending = name.rpartition(".")
    if ending in _TEXTS.split():
        return PLAIN
    found, encoding = _KNOWN.guess_type(f"x.{ending}" if "." in name else "x")
    if found is None or encoding is not None:
        return streams.OCTETS
    return PLAIN if found == _PAGE else found


def disposition(name: str) -> str:
    """`Content-Disposition` of a file that is to be kept and not shown (RFC 6266, RFC 8187)."""
    if _TOKEN.fullmatch(name):
        return f"attachment; filename={name}"
    simple = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    simple = re.sub(r"[^ -~]", "", simple)
    quoted = re.sub(r'(["\\])', r"\\\1", simple or "download")
    if simple == name:
        return f'attachment; filename="{quoted}"'
    return f"attachment; filename=\"{quoted}\"; filename*=UTF-8''{quote(name, safe='')}"


async def give(request: Request, rooms: Rooms, artifact: Artifact) -> Response:
    """The bytes of an artifact, or a range of them. A folder has none (`Invalid`)."""
    if artifact.digest is None:
        raise Invalid(f"Artifact path refers to a directory, not a file: {artifact.path[:200]!r}", code="not-a-file")
    headers = {"Content-Disposition": disposition(artifact.name), "X-Content-Type-Options": "nosniff"}
    return await streams.give(request, rooms.blobs, artifact.digest, headers, media_type(artifact.name))
