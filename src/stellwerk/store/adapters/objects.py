"""Objects under keys at an object store, through obstore: bounded retries, and nobody else's errors.

What the keys and bytes mean is the business of `s3`.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import obstore
from obstore import exceptions
from obstore.store import S3Store

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Invalid, StellwerkError, Unavailable

T = TypeVar("T")

BULK = 500
"""Objects that are removed by one request."""
MAX_URL = 600

_PART = r"[A-Za-z0-9!_.*'()-]+"
_URL = re.compile(rf"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9])(?:/(?P<prefix>{_PART}(?:/{_PART})*)?/?)?")
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z.]{1,60})</Code>")
_DENIED = {
    "AccessDenied", "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId", "InvalidToken",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one request may take, and how long it is tried again."""

    connect: float = 5.0
    request: float = 60.0
    """Seconds from the beginning of a request to the last byte of its answer."""
    total: float = 90.0
    """Seconds after which nothing is begun again."""
    retries: int = 5
    pause: float = 0.1
    """Seconds before the second attempt; doubled each time, and then chosen at random below that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a store lies: `s3://bucket/prefix`."""

    bucket: str
    prefix: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Access:
    """How to reach the service and who we are. Never shown: it holds secrets.

    Attributes:
        endpoint: Address of the service; AWS of the region by default. Plain `http://` only if it is said here.
        options: Further settings of obstore's `S3Store`: `access_key_id`, `secret_access_key`, `token`, ….
    """

    region: str = "us-east-1"
    endpoint: str = ""
    options: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Access(region={self.region!r}, endpoint={self.endpoint!r})"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Head:
    """What is known of an object without reading it."""

    size: int
    etag: str
    modified: datetime


def parse_location(url: str) -> Location:
    """Read `s3://bucket/prefix`. Raises `Invalid` for whatever else somebody may write there."""
    found = _URL.fullmatch(url)
    keys = found["prefix"].split("/") if found and found["prefix"] else []
    if found is None or not all(key.strip(".") for key in keys) or len(url) > MAX_URL:
        raise Invalid(
            f"{_without_secrets(url)!r} is no place on S3 (expected s3://bucket/prefix, with letters, digits and "
            "any of !_.*'()- in the prefix)",
            code="invalid-url",
            hint="credentials belong into the environment, never into an address",
        )
    return Location(bucket=found["bucket"], prefix="/".join(keys))


def open_s3(location: Location, access: Access, patience: Patience, *, retries: int = 0) -> S3Store:
    """A client for one bucket and prefix. Nothing is sent yet."""
    options: dict[str, Any] = dict(access.options)
    if access.endpoint:
        options["endpoint"] = access.endpoint
    # What the environment says was read once, in `settings`; plain HTTP is for endpoints that were written so.
    return S3Store(
        location.bucket,
        prefix=location.prefix or None,
        region=access.region,
        checksum_algorithm="sha256",
        client_options={
            "allow_http": access.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=patience.connect),
            "timeout": timedelta(seconds=patience.request),
        },
        # `Objects` tries again by itself, for writes too: what is named by its content may be written twice.
        retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=patience.total)},
        **options,
    )


class Objects:
    """Objects of one store. Safe for many threads. Every error is ours, and none names a secret.

    Raises `FileNotFoundError` for a missing object and `FileExistsError` for one that is there already: what that
    means is decided by the caller. Everything else is `Unavailable`.
    """

    def __init__(
        self, store: Any, *, name: str, patience: Patience, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._store, self._patience, self._sleep = store, patience, sleep
        self.name = name

    def put(self, key: str, data: bytes, *, create: bool) -> str:
        """Write an object whole; returns its ETag, or nothing where the service gives none.

        Args:
            create: Only if there is none; then a `FileExistsError`.
        """
        mode: Literal["create", "overwrite"] = "create" if create else "overwrite"
        done = self._trying(lambda: obstore.put(self._store, key, data, mode=mode, use_multipart=False))
        return str(done.get("e_tag") or "")

    def replace(self, key: str, data: bytes, etag: str) -> None:
        """Write over the version that was seen; a `FileExistsError` where there is another by now."""
        self._trying(lambda: obstore.put(self._store, key, data, mode={"e_tag": etag}, use_multipart=False))

    def get(self, key: str) -> bytes:
        """A small object whole."""
        return self._trying(lambda: bytes(obstore.get(self._store, key).bytes()))

    def get_up_to(self, key: str, limit: int) -> bytes | int:
        """An object whole, or its length if that is more than the limit."""

        def work() -> bytes | int:
            answer = obstore.get(self._store, key)
            size = answer.meta["size"]
            return bytes(answer.bytes()) if size <= limit else size

        return self._trying(work)

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Part of an object. May be shorter than asked for where the service is wrong: callers compare."""
        return self._trying(lambda: bytes(obstore.get_range(self._store, key, start=start, end=stop)))

    def head(self, key: str) -> Head:
        """What is known of an object."""
        found = self._trying(lambda: obstore.head(self._store, key))
        return Head(size=found["size"], etag=str(found["e_tag"] or ""), modified=found["last_modified"])

    def list(self, folder: str) -> list[tuple[str, Head]]:
        """All objects below a folder of keys, in order of their keys: all of them, or an error."""

        def work() -> list[tuple[str, Head]]:
            pages = obstore.list(self._store, folder, chunk_size=1000)
            return sorted(
                (item["path"], Head(size=item["size"], etag=str(item["e_tag"] or ""), modified=item["last_modified"]))
                for page in pages
                for item in page
            )

        return self._trying(work)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there count as removed."""
        for first in range(0, len(keys), BULK):
            some = list(keys[first : first + BULK])
            try:
                self._trying(lambda some=some: obstore.delete(self._store, some))  # type: ignore[misc]
            except FileNotFoundError:
                if len(some) > 1:
                    for key in some:
                        self.delete([key])

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the service, over whatever is there."""
        self._trying(lambda: obstore.copy(self._store, source, target, overwrite=True))

    def sign(self, method: Any, key: str, seconds: float) -> str:
        """An address that lets its bearer do one thing for a while."""
        return self._trying(lambda: obstore.sign(self._store, method, key, timedelta(seconds=seconds)))

    def insist(self, work: Callable[[], T]) -> T:
        """Do it; where an object is missing that was just made, look again for a while."""
        pause = self._patience.pause
        for _ in range(self._patience.retries):
            try:
                return work()
            except FileNotFoundError:
                self._sleep(pause)
                pause *= 2
        return work()

    def _trying(self, work: Callable[[], T]) -> T:
        """Do it; do it again where that may help. Ends within the total patience and the time of one request."""
        until = monotonic() + self._patience.total
        pause = self._patience.pause
        left = self._patience.retries
        while True:
            try:
                return work()
            except FileNotFoundError as cause:
                if "NoSuchBucket" in str(cause):
                    raise self._no_bucket() from cause
                raise FileNotFoundError from cause
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as cause:
                raise FileExistsError from cause
            except (exceptions.BaseError, OSError, ValueError) as cause:
                error, transient = self._translated(cause)
                if not transient or not left or monotonic() + pause > until:
                    raise error from cause
            self._sleep(random.uniform(0, pause))  # noqa: S311 - spreads callers, keeps no secret
            left, pause = left - 1, pause * 2

    def _translated(self, cause: Exception) -> tuple[StellwerkError, bool]:
        """Our error for a foreign one, and whether trying again may help. Its text is not repeated."""
        text = str(cause)
        code = next(iter(_CODE.findall(text)), "")
        status = next(iter(_STATUS.findall(text)), "")
        denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
        if isinstance(cause, denied) or code in _DENIED or "169.254.169.254" in text:
            said = f" ({code})" if code else ""
            error = Unavailable(
                f"{self.name} does not accept our credentials{said}",
                code="s3-denied",
                hint="check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; they may have expired",
            )
            return error, False
        said = " ".join(part for part in (status, code) if part)
        error = Unavailable(
            f"{self.name} cannot be used now ({said or 'no answer'})",
            code="s3-unavailable",
            hint="nothing was lost; try again later",
        )
        return error, not (status.startswith("4") and status not in ("408", "409", "429"))

    def _no_bucket(self) -> Unavailable:
        return Unavailable(
            f"there is no bucket for {self.name}", code="s3-no-bucket", hint="make the bucket, or check its name"
        )


def _without_secrets(url: str) -> str:
    """An address as it may be shown: nothing that stands before an `@`, nor a query."""
    scheme, mark, rest = url.partition("://")
    rest = rest.rpartition("@")[2].partition("?")[0]
    return (scheme + mark + rest)[:80]
