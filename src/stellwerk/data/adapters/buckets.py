"""Objects of S3 buckets as sources: one object, a pattern, or all table files below a prefix, in the versions found."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import obstore
from obstore import exceptions

from stellwerk.core.errors import Invalid, NotFound, Refused, Unavailable
from stellwerk.data.adapters.files import ENDINGS, MOST
from stellwerk.data.sources.model import Content, Source

T = TypeVar("T")
_SOURCE = re.compile(r"//(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<key>[^\x00-\x1f\\]{1,1024})")
_TAG = "etag:"
_ATTEMPTS, _PAUSE = 4, 0.2


class BucketReader:
    """Reads `s3://BUCKET/KEY?versionId=…`.

    Args:
        open_bucket: Makes a client for a bucket.
        prefixes: `bucket` or `bucket/prefix` that may be read; None allows whatever our credentials allow.
    """

    def __init__(self, open_bucket: Callable[[str], Any], prefixes: Sequence[str] | None = None) -> None:
        self._open, self._prefixes = open_bucket, prefixes
        self._clients: dict[str, Any] = {}

    def list(self, source: Source) -> Sequence[str]:
        bucket, key = self._split(source)
        if source.pin or not (key.endswith("/") or "*" in key):
            return (key,)
        start, counts = key.partition("*")[0], _matcher(key)
        folder = start.rpartition("/")[0]
        client = self._client(bucket)
        found: list[str] = []
        for some in _trying(bucket, lambda: list(obstore.list(client, prefix=folder or None))):
            found += [item["path"] for item in some if counts(item["path"])]
        if len(found) > MOST:
            raise Invalid(f"{source} has more than {MOST:,} objects", code="too-large", hint="name fewer")
        if not found:
            raise NotFound(f"{source} matches no object", code="file-not-found", hint="check bucket and key")
        return sorted(found)

    def read(self, source: Source, part: str, version: str = "") -> Content:
        bucket, key = self._split(source)
        if part != key and not _matcher(key)(part):
            raise Invalid(f"{part[:60]!r} is no part of {source}", code="invalid-source")
        wanted = source.pin or ("" if version.startswith(_TAG) else version)
        options: Any = {"version": wanted} if wanted else None
        client = self._client(bucket)

        def work() -> tuple[Any, bytes]:
            answer = obstore.get(client, part, options=options)
            return answer.meta, bytes(answer.bytes())

        try:
            meta, data = _trying(bucket, work)
        except FileNotFoundError as cause:
            which = f" in version {wanted}" if wanted else ""
            raise NotFound(f"the bucket has no {part!r}{which}", code="file-not-found") from cause
        found = meta.get("version") or ""
        tag = (meta.get("e_tag") or "").strip('"')
        return Content(data=data, version=found if found not in ("", "null") else f"{_TAG}{tag}" if tag else "")

    def _split(self, source: Source) -> tuple[str, str]:
        found = _SOURCE.fullmatch(source.location)
        if not found or any(part in (".", "..") for part in found["key"].split("/")) or "?" in found["key"]:
            raise Invalid("this names no object of a bucket", code="invalid-source", hint="s3://bucket/key")
        place = f"{found['bucket']}/{found['key']}"
        if self._prefixes is not None and not any(
            place.startswith(prefix.rstrip("/") + "/") for prefix in self._prefixes
        ):
            raise Refused(
                "this bucket may not be referred to from elsewhere",
                code="foreign-bucket",
                hint="whoever runs the server can allow it with STELLWERK_SOURCE_BUCKETS",
            )
        return found["bucket"], found["key"]

    def _client(self, bucket: str) -> Any:
        if bucket not in self._clients:
            self._clients[bucket] = self._open(bucket)
        return self._clients[bucket]


def _matcher(key: str) -> Callable[[str], bool]:
    """Which keys a pattern means: `*` is anything but `/`, `**` is anything, `/` at the end is every table file below."""
    if key.endswith("/") and "*" not in key:
        return lambda found: (
            found.startswith(key)
            and found.lower().endswith(ENDINGS)
            and not any(part.startswith((".", "_")) for part in found[len(key) :].split("/"))
        )
    pieces = [piece for piece in re.split(r"(\*\*|\*)", key) if piece]
    return lambda found: _matches(pieces, found)


def _matches(pieces: Sequence[str], key: str) -> bool:
    """Whether a key is the pieces one after the other, in steps that no pattern can make too many of."""
    ends = {0}
    for piece in pieces:
        if piece in ("*", "**"):
            first = min(ends)
            ends = set(range(first, len(key) + 1)) if piece == "**" else _within_folders(ends, key)
        else:
            ends = {end + len(piece) for end in ends if key.startswith(piece, end)}
        if not ends:
            return False
    return len(key) in ends


def _within_folders(ends: set[int], key: str) -> set[int]:
    """Every place that is reached from one of these without passing a `/`."""
    found: set[int] = set()
    for end in sorted(ends):
        if end not in found:
            stop = key.find("/", end)
            found.update(range(end, (len(key) if stop < 0 else stop) + 1))
    return found


def _trying(bucket: str, work: Callable[[], T]) -> T:
    """Do it; do it again where that may help. What the service says is not repeated."""
    attempt = 0
    while True:
        try:
            return work()
        except FileNotFoundError:
            raise
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as cause:
            raise Refused(
                f"the bucket {bucket!r} does not give this to us", code="s3-denied", hint="check the credentials"
            ) from cause
        except (exceptions.BaseError, OSError, ValueError) as cause:
            if attempt + 1 == _ATTEMPTS:
                raise Unavailable(f"the bucket {bucket!r} cannot be read now", code="s3-unavailable") from cause
            time.sleep(_PAUSE * 2**attempt)  # a service that asks for patience gets more of it each time
            attempt += 1
