"""`.dir` objects: the list of files of a tracked folder, as DVC's cache keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.data.dvc.model import ManifestEntry

MAX_BYTES = 512 << 20
MAX_FILES = 5_000_000


def read(data: bytes, where: str) -> tuple[ManifestEntry, ...]:
    """The files of a folder. Raises `Invalid` for anything but a list of hashes and relative paths."""
    if len(data) > MAX_BYTES:
        raise _bad(where, f"it is larger than {MAX_BYTES >> 20} MiB")
    try:
        found = json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse, parse_int=_integer
        )
    except (ValueError, RecursionError) as cause:
        raise _bad(where, f"it is no JSON ({str(cause)[:80]})") from cause
    if not isinstance(found, list) or len(found) > MAX_FILES:
        raise _bad(where, f"expected a list of at most {MAX_FILES:,} files")
    entries = tuple(_entry(item, where, index) for index, item in enumerate(found))
    paths = {entry.path for entry in entries}
    if len(paths) != len(entries):
        raise _bad(where, "a path stands there twice")
    return entries


def write(entries: Iterable[tuple[str, str]]) -> bytes:
    """The bytes DVC writes for (relative path, hex of the MD5), whatever their order."""
    listed = [{"md5": value, "relpath": path} for path, value in sorted(entries)]
    return json.dumps(listed, sort_keys=True).encode("utf-8")


def _entry(item: Any, where: str, index: int) -> ManifestEntry:
    if not isinstance(item, dict):
        raise _bad(where, f"entry {index} is no object")
    path, value, size = item.get("relpath"), item.get("md5"), item.get("size")
    if not isinstance(path, str) or not path:
        raise _bad(where, f"entry {index} has no relpath")
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{32}", value):
        raise _bad(where, f"entry {index} has no MD5")
    if size is not None and (type(size) is not int or size < 0):
        raise _bad(where, f"entry {index} has a wrong size")
    return ManifestEntry(path=path, value=value, size=size, executable=item.get("isexec") is True)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands there twice")
    return result


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number is too long")
    return int(text)


def _bad(where: str, reason: str) -> Invalid:
    return Invalid(f"{where} cannot be read: {reason}", code="invalid-dvc-file")
