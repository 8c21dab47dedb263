"""Reading blobs from a bucket, whole or in part, and learning which are there. What arrives is verified."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from itertools import accumulate, chain

from stellwerk.core.digest import Digest, hex_of, of_bytes, of_chunks, parse
from stellwerk.core.errors import Invalid, NotFound, Unavailable
from stellwerk.store.adapters.objects import Head
from stellwerk.store.adapters.s3.bucket import AHEAD, ATTEMPTS, WORKERS, Bucket, corrupt
from stellwerk.store.adapters.s3.layout import (
    FOLDERS,
    chunk_key,
    is_name,
    length,
    list_key,
    named,
    read_list,
    whole_key,
)
from stellwerk.store.rules import checked_range

MAX_LIST = 64 << 20
MANY = 300
"""From so many names on, listing costs less than asking for each."""


class Reading:
    """What can be learnt of blobs without changing any."""

    def __init__(self, bucket: Bucket, *, chunk: int, whole: int) -> None:
        self._bucket, self._chunk, self._whole = bucket, chunk, whole

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        wanted = checked_range(start, stop)
        self._bucket.recognise()
        with self._bucket.errors(parse(digest)):
            found = self._find(digest)
            if isinstance(found, bytes):
                yield self._verified(whole_key(digest), digest, found)[wanted]
            elif isinstance(found, int):
                yield from self._stream_object(digest, found, wanted)
            elif wanted == slice(0, None):
                yield from self._stream_chunks(digest, found)
            else:
                yield from self._stream_range(found, wanted)

    def get_many(self, digests: Collection[Digest]) -> Iterator[bytes]:
        yield from self._bucket.ahead(self._get_here, digests, WORKERS)

    def _get_here(self, digest: Digest) -> bytes:
        """`get` by one thread alone."""
        self._bucket.recognise()
        with self._bucket.errors(parse(digest)):
            found = self._find(digest)
            if isinstance(found, bytes):
                return self._verified(whole_key(digest), digest, found)
            if isinstance(found, int):
                return b"".join(self._stream_object(digest, found, slice(0, None)))
            data = b"".join(map(self._read_chunk, found))
            if of_bytes(data) != digest:
                raise corrupt(digest, f"got {of_bytes(data)}")
            return data

    def _find(self, digest: Digest) -> bytes | int | list[tuple[Digest, int]]:
        """A blob's object as it arrived; its length, if it is too long for that; or the chunks of the blob."""

        def look() -> bytes | int | list[tuple[Digest, int]]:
            try:
                return self._bucket.objects.get_up_to(whole_key(digest), self._whole)
            except FileNotFoundError:
                return self.read_list(digest)

        return self._bucket.objects.insist(look) if digest in self._bucket.recent else look()

    def _stream_object(self, digest: Digest, size: int, wanted: slice) -> Iterator[bytes]:
        """An object longer than we write them: put here directly, by somebody with a signed address."""
        first, last, _ = wanted.indices(size)
        hasher, held = hashlib.sha256(), b""
        for position, part in self._parts(whole_key(digest), size):
            hasher.update(part)
            piece = part[max(0, first - position) : max(0, last - position)]
            if held and piece:
                yield held
            held = piece or held
        if hasher.hexdigest() != hex_of(digest):
            if self.digest_of(whole_key(digest), size) == digest:
                raise self._damaged_on_the_way()
            raise corrupt(digest, f"got sha256:{hasher.hexdigest()}")
        yield held

    def _parts(self, key: str, size: int) -> Iterator[tuple[int, bytes]]:
        for position in range(0, size, self._chunk):
            yield position, self._bucket.objects.get_range(key, position, min(position + self._chunk, size))

    def _damaged_on_the_way(self) -> Unavailable:
        return Unavailable(
            f"bytes of {self._bucket.objects.name} were changed on their way", code="s3-damages", hint="try again"
        )

    def digest_of(self, key: str, size: int) -> Digest:
        """What an object really is."""
        return of_chunks(part for _, part in self._parts(key, size))

    def _stream_chunks(self, digest: Digest, listed: list[tuple[Digest, int]]) -> Iterator[bytes]:
        hasher, held = hashlib.sha256(), b""
        for data in self._bucket.ahead(self._read_chunk, listed, AHEAD):
            hasher.update(data)
            if held:
                yield held
            held = data
        if hasher.hexdigest() != hex_of(digest):
            raise corrupt(digest, f"got sha256:{hasher.hexdigest()}")
        yield held

    def _stream_range(self, listed: list[tuple[Digest, int]], wanted: slice) -> Iterator[bytes]:
        """Only the chunks that hold the range, each verified against the list."""
        ends = list(accumulate(size for _, size in listed))
        first, last, _ = wanted.indices(ends[-1])
        hit = [
            (chunk, end - chunk[1])
            for chunk, end in zip(listed, ends, strict=True)
            if first < last and end > first and end - chunk[1] < last
        ]
        data = self._bucket.ahead(self._read_chunk, [chunk for chunk, _ in hit], AHEAD)
        for (_, begin), part in zip(hit, data, strict=True):
            yield part[max(0, first - begin) : last - begin]

    def _read_chunk(self, chunk: tuple[Digest, int]) -> bytes:
        digest, size = chunk
        try:
            data = self._verified(chunk_key(digest), digest, self._bucket.objects.get(chunk_key(digest)))
        except FileNotFoundError as cause:
            raise corrupt(digest, "a chunk of it is missing") from cause
        if len(data) != size:
            raise corrupt(digest, f"got {len(data):,} bytes, not {size:,}")
        return data

    def _verified(self, key: str, digest: Digest, data: bytes) -> bytes:
        """An object that has this digest. What arrived damaged is asked for again: the way may be to blame."""
        for _ in range(ATTEMPTS):
            if of_bytes(data) == digest:
                return data
            data = self._bucket.objects.get(key)
        raise corrupt(digest, f"got {of_bytes(data)}")

    def read_list(self, digest: Digest) -> list[tuple[Digest, int]]:
        """The chunks of a blob, as its list says. Raises `FileNotFoundError` where it has none."""
        key = list_key(digest)
        if self._bucket.objects.head(key).size > MAX_LIST:
            raise corrupt(digest, "its list of chunks is too long")
        left = ATTEMPTS
        while True:
            left -= 1
            try:
                return read_list(self._bucket.objects.get(key))
            except (Invalid, KeyError, TypeError, ValueError) as cause:
                if not left:
                    raise corrupt(digest, "its list of chunks cannot be read") from cause

    def has(self, digest: Digest) -> bool:
        self._bucket.recognise()
        try:
            with self._bucket.errors(parse(digest)):
                if digest in self._bucket.recent:
                    self._bucket.objects.insist(lambda: self._head(digest))
                else:
                    self._head(digest)
        except NotFound:
            return False
        return True

    def size(self, digest: Digest) -> int:
        self._bucket.recognise()
        with self._bucket.errors(parse(digest)):
            try:
                return self._bucket.objects.head(whole_key(digest)).size
            except FileNotFoundError:
                found = self._find(digest)
        return len(found) if isinstance(found, bytes) else found if isinstance(found, int) else length(found)

    def _head(self, digest: Digest) -> Head:
        try:
            return self._bucket.objects.head(whole_key(digest))
        except FileNotFoundError:
            return self._bucket.objects.head(list_key(digest))

    def lengths(self, digests: Collection[Digest]) -> dict[Digest, int]:
        asked = {parse(digest) for digest in digests}
        if len(asked) >= MANY:
            here = self._listed(asked)
            ask = [name for name, size in here.items() if size is None]
        else:
            here, ask = {}, list(asked)
        here |= zip(ask, self._bucket.ahead(self._size_if_here, ask, WORKERS), strict=True)
        return {name: size for name, size in here.items() if size is not None}

    def _listed(self, asked: set[Digest]) -> dict[Digest, int | None]:
        """Those of many blobs that a listing shows; with their lengths, if they are one object."""
        with self._bucket.errors():
            lists = [named(key) for key, _ in self._bucket.objects.list("lists") if is_name(key)]  # few are so long
        folders = sorted({hex_of(digest)[:2] for digest in asked})
        found = chain.from_iterable(self._bucket.ahead(self._heads, folders, WORKERS))
        here: dict[Digest, int | None] = {name: None for name in lists if name in asked}
        return here | {name: head.size for name, head in found if name in asked}

    def _heads(self, folder: str) -> list[tuple[Digest, Head]]:
        with self._bucket.errors():
            return [(named(key), head) for key, head in self._bucket.objects.list(f"sha256/{folder}") if is_name(key)]

    def _size_if_here(self, digest: Digest) -> int | None:
        try:
            return self.size(digest)
        except NotFound:
            return None

    def names(self) -> Iterator[Digest]:
        self._bucket.recognise()
        for names in self._bucket.ahead(self._names_below, FOLDERS, WORKERS):
            yield from names

    def _names_below(self, folder: str) -> list[Digest]:
        with self._bucket.errors():
            lists = [named(key) for key, _ in self._bucket.objects.list(f"lists/{folder}") if is_name(key)]
        return sorted({*lists, *(name for name, _ in self._heads(folder))})
