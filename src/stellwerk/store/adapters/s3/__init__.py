"""Blobs as objects in a bucket (`docs/formats/store-s3.md`): small ones whole, large ones as chunks and a list.

No object is written before its name is known, none is ever written in parts, and what was interrupted goes on where
it was: the chunks that arrived are found by their digests. Talking to the service is the business of `objects`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Any

from stellwerk.core.digest import Digest, of_bytes, parse
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.store.adapters.objects import Access, Objects, Patience, open_s3, parse_location
from stellwerk.store.adapters.s3.bucket import AHEAD, WORKERS, Bucket
from stellwerk.store.adapters.s3.layout import chunk_key, is_upload, whole_key
from stellwerk.store.adapters.s3.reading import Reading
from stellwerk.store.adapters.s3.removing import Removing
from stellwerk.store.adapters.s3.writing import Writing
from stellwerk.store.model import Piece, Upload
from stellwerk.store.sync import parts

WHOLE = 16 << 20
"""The longest blob that is one object."""
CHUNK = 8 << 20
"""Length of the chunks of longer ones. Readers take any length."""
MAX_OBJECT = 5 << 30
"""What the service takes in one request; limits direct uploads."""


class S3Blobs:
    """A store in a bucket. Safe for many processes and machines.

    Writes are acknowledged when the service confirmed these very bytes: by an ETag that is their MD5, else by reading
    them back. Reads are verified; an object that arrives damaged is read again before it is called damaged.
    """

    def __init__(self, objects: Objects, *, owner: str = "", chunk: int = CHUNK, whole: int = WHOLE) -> None:
        self._objects = objects
        self._chunk, self._whole = chunk, whole
        self._bucket = Bucket(objects, owner)
        self._reading = Reading(self._bucket, chunk=chunk, whole=whole)
        self._writing = Writing(self._bucket)
        self._removing = Removing(self._bucket, self._reading)

    def __repr__(self) -> str:
        return f"S3Blobs({self._objects.name!r})"

    def claim(self, owner: str) -> None:
        """Belong to one workspace from now on, which alone may remove blobs. Raises `Conflict` if another's."""
        self._bucket.claim(owner)

    # Putting

    def put(self, data: bytes) -> Digest:
        self._bucket.recognise(make=True)
        if len(data) > self._whole:
            return self.put_stream((data,))
        return self._writing.put_whole(data)

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        self._bucket.recognise(make=True)
        return list(self._bucket.ahead(self._put_here, items, WORKERS))

    def _put_here(self, data: bytes) -> Digest:
        """`put` by one thread alone: one of the pool must not wait for others of it."""
        if len(data) <= self._whole:
            return self._writing.put_whole(data)
        return self._writing.put_list(
            of_bytes(data), [self._writing.keep_chunk(piece) for piece in parts((data,), self._chunk)]
        )

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        self._bucket.recognise(make=True)
        hasher = hashlib.sha256()
        pieces = parts(_hashed(chunks, hasher), self._chunk)
        first: list[bytes] = []
        length = 0
        for piece in pieces:
            first.append(piece)
            length += len(piece)
            if length > self._whole:
                break
        else:
            return self._writing.put_whole(b"".join(first))
        listed = list(self._bucket.ahead(self._writing.keep_chunk, chain(_emptied(first), pieces), AHEAD))
        return self._writing.put_list(Digest("sha256:" + hasher.hexdigest()), listed)

    # Reading

    def get(self, digest: Digest) -> bytes:
        return b"".join(self.stream(digest))

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        return self._reading.stream(digest, start=start, stop=stop)

    def has(self, digest: Digest) -> bool:
        return self._reading.has(digest)

    def lengths(self, digests: Collection[Digest]) -> dict[Digest, int]:
        return self._reading.lengths(digests)

    def get_many(self, digests: Collection[Digest]) -> Iterator[bytes]:
        return self._reading.get_many(digests)

    def size(self, digest: Digest) -> int:
        return self._reading.size(digest)

    def __iter__(self) -> Iterator[Digest]:
        return self._reading.names()

    # Removing

    def remove(self, digests: Iterable[Digest]) -> int:
        """Forget blobs, and the chunks that no other blob has; returns the bytes freed."""
        return self._removing.remove(digests)

    def sweep(self) -> int:
        """Remove what interrupted writes left behind, once it is old; returns the bytes freed."""
        return self._removing.sweep()

    def quarantine(self, digest: Digest) -> bool:
        """Take a damaged blob out of the way, kept for those who look into it; returns whether there was one."""
        return self._removing.quarantine(digest)

    # Directly, without us in between

    def download(self, digest: Digest, *, seconds: float) -> tuple[Piece, ...]:
        self._bucket.recognise()
        with self._bucket.errors(parse(digest)):
            try:
                listed = [(whole_key(digest), digest, self._objects.head(whole_key(digest)).size)]
            except FileNotFoundError:
                listed = [(chunk_key(name), name, size) for name, size in self._reading.read_list(digest)]
            return tuple(
                Piece(url=self._objects.sign("GET", key, seconds), digest=name, size=size)
                for key, name, size in listed
            )

    def upload(self, *, seconds: float) -> Upload:
        self._bucket.recognise(make=True)
        name = secrets.token_hex(16)
        with self._bucket.errors():
            return Upload(name=name, url=self._objects.sign("PUT", f"incoming/{name}", seconds), limit=MAX_OBJECT)

    def accept(self, name: str, digest: Digest) -> None:
        self._bucket.recognise(make=True)
        if not is_upload(name):
            raise Invalid(f"{name[:60]!r} is no upload", code="invalid-upload")
        # A copy that no signed address can change is verified, and only that becomes the blob.
        private = f"incoming/{secrets.token_hex(16)}-accepted"
        with self._bucket.errors(parse(digest)):
            try:
                self._objects.copy(f"incoming/{name}", private)
            except FileNotFoundError as cause:
                raise NotFound("nothing was uploaded under this name", code="no-upload") from cause
            try:
                size = self._objects.head(private).size
                actual = self._reading.digest_of(private, size)
                if actual != digest:
                    raise Invalid("the bytes are not those that the digest names", code="digest-mismatch")
                self._objects.copy(private, whole_key(digest))
            finally:
                self._objects.delete([private, f"incoming/{name}"])
        self._bucket.recent.add(digest)

    def close(self) -> None:
        """Release threads and connections."""
        self._bucket.close()


def open_blobs(url: str, access: Access, patience: Patience | None = None, *, owner: str = "") -> S3Blobs:
    """The store at `s3://bucket/prefix`. Nothing is sent before it is used."""
    location, kept = parse_location(url), patience or Patience()
    return S3Blobs(Objects(open_s3(location, access, kept), name=location.url, patience=kept), owner=owner)


def _hashed(chunks: Iterable[bytes], hasher: Any) -> Iterator[bytes]:
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk


def _emptied(pieces: list[bytes]) -> Iterator[bytes]:
    """Hand pieces on without holding them any longer."""
    pieces.reverse()
    while pieces:
        yield pieces.pop()
