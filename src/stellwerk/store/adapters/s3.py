"""Blobs as objects in a bucket (`docs/formats/store-s3.md`): small ones whole, large ones as chunks and a list.

No object is written before its name is known, none is ever written in parts, and what was interrupted goes on where
it was: the chunks that arrived are found by their digests. Talking to the service is the business of `objects`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import accumulate, chain
from threading import Lock
from typing import Any

from stellwerk.core import failpoints
from stellwerk.core.clock import monotonic
from stellwerk.core.digest import Digest, hex_of, of_bytes, of_chunks, parse
from stellwerk.core.errors import Corrupt, Invalid, NotFound, Unavailable
from stellwerk.store.adapters.bucket_layout import (
    FOLDERS,
    chunk_key,
    confirms,
    is_name,
    is_upload,
    length,
    list_bytes,
    list_key,
    named,
    read_list,
    whole_key,
)
from stellwerk.store.adapters.bucket_marker import Marker
from stellwerk.store.adapters.objects import Access, Head, Objects, Patience, open_s3, parse_location
from stellwerk.store.model import Piece, Upload
from stellwerk.store.rules import checked_range
from stellwerk.store.sync import parts

failpoints.declare("s3.put", "s3.chunk", "s3.list")

WHOLE = 16 << 20
"""The longest blob that is one object."""
CHUNK = 8 << 20
"""Length of the chunks of longer ones. Readers take any length."""
MAX_OBJECT = 5 << 30
"""What the service takes in one request; limits direct uploads."""
MAX_LIST = 64 << 20
WORKERS = 16
AHEAD = 4
"""Chunks under way at once, for each stream."""
FRESH = timedelta(hours=12)
"""A chunk older than this is written again rather than relied upon: removal of chunks spares those of `GRACE`."""
GRACE = timedelta(days=2)
MANY = 300
"""From so many names on, listing costs less than asking for each."""
ATTEMPTS = 3
RECENT_SECONDS, MAX_RECENT = 60.0, 10_000


class S3Blobs:
    """A store in a bucket. Safe for many processes and machines.

    Writes are acknowledged when the service confirmed these very bytes: by an ETag that is their MD5, else by reading
    them back. Reads are verified; an object that arrives damaged is read again before it is called damaged.
    """

    def __init__(self, objects: Objects, *, owner: str = "", chunk: int = CHUNK, whole: int = WHOLE) -> None:
        self._objects = objects
        self._marker = Marker(objects, owner)
        self._chunk, self._whole = chunk, whole
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="stellwerk-s3")
        self._recent = _Recent()
        self._offset: float | None = None

    def __repr__(self) -> str:
        return f"S3Blobs({self._objects.name!r})"

    # Putting

    def put(self, data: bytes) -> Digest:
        self._recognise(make=True)
        if len(data) > self._whole:
            return self.put_stream((data,))
        return self._put_whole(data)

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        self._recognise(make=True)
        return list(self._ahead(self._put_here, items, WORKERS))

    def _put_here(self, data: bytes) -> Digest:
        """`put` by one thread alone: one of the pool must not wait for others of it."""
        if len(data) <= self._whole:
            return self._put_whole(data)
        return self._put_list(of_bytes(data), [self._keep_chunk(piece) for piece in parts((data,), self._chunk)])

    def _put_whole(self, data: bytes) -> Digest:
        digest = of_bytes(data)
        with self._errors(digest):
            self._keep(whole_key(digest), data)
        self._recent.add(digest)
        return digest

    def _put_list(self, digest: Digest, listed: list[tuple[Digest, int]]) -> Digest:
        failpoints.hit("s3.list")
        with self._errors(digest):
            self._keep(list_key(digest), list_bytes(listed))
        self._recent.add(digest)
        return digest

    def put_stream(self, chunks: Iterable[bytes]) -> Digest:
        self._recognise(make=True)
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
            return self._put_whole(b"".join(first))
        listed = list(self._ahead(self._keep_chunk, chain(_emptied(first), pieces), AHEAD))
        return self._put_list(Digest("sha256:" + hasher.hexdigest()), listed)

    def _keep_chunk(self, data: bytes) -> tuple[Digest, int]:
        digest = of_bytes(data)
        key = chunk_key(digest)
        failpoints.hit("s3.chunk")
        with self._errors(digest):
            try:
                head = self._objects.head(key)
            except FileNotFoundError:
                self._keep(key, data)
                return digest, len(data)
            # One that may soon be removed is written again, which makes it young.
            old = self._age(head) > FRESH
            if old or not self._holds(key, data, head):
                self._overwrite(key, data)
        return digest, len(data)

    def _keep(self, key: str, data: bytes) -> None:
        """Make an object, once. Returns when the service was seen to hold these bytes."""
        failpoints.hit("s3.put")
        try:
            etag = self._objects.put(key, data, create=True)
        except FileExistsError:
            try:
                intact = self._holds(key, data, self._objects.head(key))
            except FileNotFoundError:
                intact = False
            if not intact:
                # The copy there is damaged and the caller just proved what it should be: heal it.
                self._overwrite(key, data)
            return
        if not confirms(etag, data) and not self._reads_back(key, data):
            self._overwrite(key, data)

    def _overwrite(self, key: str, data: bytes) -> None:
        for _ in range(ATTEMPTS):
            etag = self._objects.put(key, data, create=False)
            if confirms(etag, data) or self._reads_back(key, data):
                return
        raise Unavailable(
            f"{self._objects.name} does not keep what it is given",
            code="s3-damages",
            hint="nothing was acknowledged; something between here and there changes bytes",
        )

    def _holds(self, key: str, data: bytes, head: Head) -> bool:
        return head.size == len(data) and (confirms(head.etag, data) or self._reads_back(key, data))

    def _reads_back(self, key: str, data: bytes) -> bool:
        """Whether an object is seen to be these bytes. A copy that is not yet seen is asked for again."""
        for _ in range(ATTEMPTS):
            try:
                if self._objects.insist(lambda: self._objects.get(key)) == data:
                    return True
            except FileNotFoundError:
                return False
        return False

    # Reading

    def get(self, digest: Digest) -> bytes:
        return b"".join(self.stream(digest))

    def stream(self, digest: Digest, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        wanted = checked_range(start, stop)
        self._recognise()
        with self._errors(parse(digest)):
            found = self._find(digest)
            if isinstance(found, bytes):
                yield self._verified(whole_key(digest), digest, found)[wanted]
            elif isinstance(found, int):
                yield from self._stream_object(digest, found, wanted)
            elif wanted == slice(0, None):
                yield from self._stream_chunks(digest, found)
            else:
                yield from self._stream_range(found, wanted)

    def _find(self, digest: Digest) -> bytes | int | list[tuple[Digest, int]]:
        """A blob's object as it arrived; its length, if it is too long for that; or the chunks of the blob."""

        def look() -> bytes | int | list[tuple[Digest, int]]:
            try:
                return self._objects.get_up_to(whole_key(digest), self._whole)
            except FileNotFoundError:
                return self._read_list(digest)

        return self._objects.insist(look) if digest in self._recent else look()

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
            if self._digest_of(whole_key(digest), size) == digest:
                raise self._damaged_on_the_way()
            raise _corrupt(digest, f"got sha256:{hasher.hexdigest()}")
        yield held

    def _parts(self, key: str, size: int) -> Iterator[tuple[int, bytes]]:
        for position in range(0, size, self._chunk):
            yield position, self._objects.get_range(key, position, min(position + self._chunk, size))

    def _damaged_on_the_way(self) -> Unavailable:
        return Unavailable(
            f"bytes of {self._objects.name} were changed on their way", code="s3-damages", hint="try again"
        )

    def _stream_chunks(self, digest: Digest, listed: list[tuple[Digest, int]]) -> Iterator[bytes]:
        hasher, held = hashlib.sha256(), b""
        for data in self._ahead(self._read_chunk, listed, AHEAD):
            hasher.update(data)
            if held:
                yield held
            held = data
        if hasher.hexdigest() != hex_of(digest):
            raise _corrupt(digest, f"got sha256:{hasher.hexdigest()}")
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
        data = self._ahead(self._read_chunk, [chunk for chunk, _ in hit], AHEAD)
        for (_, begin), part in zip(hit, data, strict=True):
            yield part[max(0, first - begin) : last - begin]

    def _read_chunk(self, chunk: tuple[Digest, int]) -> bytes:
        digest, size = chunk
        try:
            data = self._verified(chunk_key(digest), digest, self._objects.get(chunk_key(digest)))
        except FileNotFoundError as cause:
            raise _corrupt(digest, "a chunk of it is missing") from cause
        if len(data) != size:
            raise _corrupt(digest, f"got {len(data):,} bytes, not {size:,}")
        return data

    def _verified(self, key: str, digest: Digest, data: bytes) -> bytes:
        """An object that has this digest. What arrived damaged is asked for again: the way may be to blame."""
        for _ in range(ATTEMPTS):
            if of_bytes(data) == digest:
                return data
            data = self._objects.get(key)
        raise _corrupt(digest, f"got {of_bytes(data)}")

    def _read_list(self, digest: Digest) -> list[tuple[Digest, int]]:
        key = list_key(digest)
        if self._objects.head(key).size > MAX_LIST:
            raise _corrupt(digest, "its list of chunks is too long")
        left = ATTEMPTS
        while True:
            left -= 1
            try:
                return read_list(self._objects.get(key))
            except (Invalid, KeyError, TypeError, ValueError) as cause:
                if not left:
                    raise _corrupt(digest, "its list of chunks cannot be read") from cause

    def has(self, digest: Digest) -> bool:
        self._recognise()
        try:
            with self._errors(parse(digest)):
                if digest in self._recent:
                    self._objects.insist(lambda: self._head(digest))
                else:
                    self._head(digest)
        except NotFound:
            return False
        return True

    def lengths(self, digests: Collection[Digest]) -> dict[Digest, int]:
        asked = {parse(digest) for digest in digests}
        if len(asked) >= MANY:
            here = self._listed(asked)
            ask = [name for name, size in here.items() if size is None]
        else:
            here, ask = {}, list(asked)
        here |= zip(ask, self._ahead(self._size_if_here, ask, WORKERS), strict=True)
        return {name: size for name, size in here.items() if size is not None}

    def _listed(self, asked: set[Digest]) -> dict[Digest, int | None]:
        """Those of many blobs that a listing shows; with their lengths, if they are one object."""
        with self._errors():
            lists = [named(key) for key, _ in self._objects.list("lists") if is_name(key)]  # few are so long
        folders = sorted({hex_of(digest)[:2] for digest in asked})
        found = chain.from_iterable(self._ahead(self._heads, folders, WORKERS))
        here: dict[Digest, int | None] = {name: None for name in lists if name in asked}
        return here | {name: head.size for name, head in found if name in asked}

    def _heads(self, folder: str) -> list[tuple[Digest, Head]]:
        with self._errors():
            return [(named(key), head) for key, head in self._objects.list(f"sha256/{folder}") if is_name(key)]

    def _size_if_here(self, digest: Digest) -> int | None:
        try:
            return self.size(digest)
        except NotFound:
            return None

    def get_many(self, digests: Collection[Digest]) -> Iterator[bytes]:
        yield from self._ahead(self._get_here, digests, WORKERS)

    def _get_here(self, digest: Digest) -> bytes:
        """`get` by one thread alone."""
        self._recognise()
        with self._errors(parse(digest)):
            found = self._find(digest)
            if isinstance(found, bytes):
                return self._verified(whole_key(digest), digest, found)
            if isinstance(found, int):
                return b"".join(self._stream_object(digest, found, slice(0, None)))
            data = b"".join(map(self._read_chunk, found))
            if of_bytes(data) != digest:
                raise _corrupt(digest, f"got {of_bytes(data)}")
            return data

    def size(self, digest: Digest) -> int:
        self._recognise()
        with self._errors(parse(digest)):
            try:
                return self._objects.head(whole_key(digest)).size
            except FileNotFoundError:
                found = self._find(digest)
        return len(found) if isinstance(found, bytes) else found if isinstance(found, int) else length(found)

    def __iter__(self) -> Iterator[Digest]:
        self._recognise()
        for names in self._ahead(self._names, FOLDERS, WORKERS):
            yield from names

    def _names(self, folder: str) -> list[Digest]:
        with self._errors():
            lists = [named(key) for key, _ in self._objects.list(f"lists/{folder}") if is_name(key)]
        return sorted({*lists, *(name for name, _ in self._heads(folder))})

    def _head(self, digest: Digest) -> Head:
        try:
            return self._objects.head(whole_key(digest))
        except FileNotFoundError:
            return self._objects.head(list_key(digest))

    # Removing

    def remove(self, digests: Iterable[Digest]) -> int:
        """Forget blobs, and the chunks that no other blob has; returns the bytes freed."""
        self._recognise()
        self._must_be_ours()
        freed, lists = 0, list[Digest]()
        with self._errors():
            for digest in digests:
                for key in (whole_key(parse(digest)), list_key(digest)):
                    try:
                        size = self._objects.head(key).size
                        if key == list_key(digest):
                            lists += self._names_in(digest)
                    except FileNotFoundError:
                        continue
                    self._recent.discard(digest)
                    self._objects.delete([key])
                    freed += size
        return freed + (self._remove_chunks(set(lists)) if lists else 0)

    def sweep(self) -> int:
        """Remove what interrupted writes left behind, once it is old; returns the bytes freed."""
        self._recognise()
        self._must_be_ours()
        with self._errors():
            old = [(key, head) for key, head in self._objects.list("incoming") if self._is_old(head)]
            self._objects.delete([key for key, _ in old])
        return sum(head.size for _, head in old) + self._remove_chunks(None)

    def _remove_chunks(self, candidates: set[Digest] | None) -> int:
        """Chunks that no list names and that are older than any write under way."""
        listed: set[Digest] = set()
        for names in self._ahead(self._names_in_lists, FOLDERS, WORKERS):
            listed |= names
        freed = 0
        folders = FOLDERS if candidates is None else sorted({hex_of(one)[:2] for one in candidates})
        for folder in folders:
            with self._errors():
                found = self._objects.list(f"chunks/{folder}")
                loose = [
                    (key, head)
                    for key, head in found
                    if is_name(key)
                    and named(key) not in listed
                    and (candidates is None or named(key) in candidates)
                    and self._is_old(head)
                ]
                self._objects.delete([key for key, _ in loose])
                freed += sum(head.size for _, head in loose)
        return freed

    def _names_in_lists(self, folder: str) -> set[Digest]:
        with self._errors():
            keys = [key for key, _ in self._objects.list(f"lists/{folder}") if is_name(key)]
            return {name for key in keys for name, _ in self._read_list(named(key))}

    def _names_in(self, digest: Digest) -> list[Digest]:
        """The chunks of a blob, as far as its list says."""
        try:
            return [name for name, _ in self._read_list(digest)]
        except Corrupt:
            return []

    def _age(self, head: Head) -> timedelta:
        """How old an object is by the clock of the service, which wrote its time."""
        if self._offset is None:
            probe = f"incoming/{secrets.token_hex(16)}-clock"
            self._objects.put(probe, b"", create=False)
            there = self._objects.insist(lambda: self._objects.head(probe)).modified
            self._objects.delete([probe])
            self._offset = there.timestamp() - monotonic()
        return timedelta(seconds=self._offset + monotonic() - head.modified.timestamp())

    def _is_old(self, head: Head) -> bool:
        return self._age(head) > GRACE

    def quarantine(self, digest: Digest) -> bool:
        """Take a damaged blob out of the way, kept for those who look into it; returns whether there was one."""
        self._recognise()
        moved = False
        with self._errors(parse(digest)):
            for key in (whole_key(digest), list_key(digest)):
                try:
                    self._objects.copy(key, f"quarantine/{key.replace('/', '-')}-{secrets.token_hex(4)}")
                except FileNotFoundError:
                    continue
                self._objects.delete([key])
                moved = True
        self._recent.discard(digest)
        return moved

    # Directly, without us in between

    def download(self, digest: Digest, *, seconds: float) -> tuple[Piece, ...]:
        self._recognise()
        with self._errors(parse(digest)):
            try:
                listed = [(whole_key(digest), digest, self._objects.head(whole_key(digest)).size)]
            except FileNotFoundError:
                listed = [(chunk_key(name), name, size) for name, size in self._read_list(digest)]
            return tuple(
                Piece(url=self._objects.sign("GET", key, seconds), digest=name, size=size)
                for key, name, size in listed
            )

    def upload(self, *, seconds: float) -> Upload:
        self._recognise(make=True)
        name = secrets.token_hex(16)
        with self._errors():
            return Upload(name=name, url=self._objects.sign("PUT", f"incoming/{name}", seconds), limit=MAX_OBJECT)

    def accept(self, name: str, digest: Digest) -> None:
        self._recognise(make=True)
        if not is_upload(name):
            raise Invalid(f"{name[:60]!r} is no upload", code="invalid-upload")
        # A copy that no signed address can change is verified, and only that becomes the blob.
        private = f"incoming/{secrets.token_hex(16)}-accepted"
        with self._errors(parse(digest)):
            try:
                self._objects.copy(f"incoming/{name}", private)
            except FileNotFoundError as cause:
                raise NotFound("nothing was uploaded under this name", code="no-upload") from cause
            try:
                size = self._objects.head(private).size
                actual = self._digest_of(private, size)
                if actual != digest:
                    raise Invalid("the bytes are not those that the digest names", code="digest-mismatch")
                self._objects.copy(private, whole_key(digest))
            finally:
                self._objects.delete([private, f"incoming/{name}"])
        self._recent.add(digest)

    def _digest_of(self, key: str, size: int) -> Digest:
        return of_chunks(part for _, part in self._parts(key, size))

    # Which store this is

    def claim(self, owner: str) -> None:
        """Belong to one workspace from now on, which alone may remove blobs. Raises `Conflict` if another's."""
        with self._errors():
            self._marker.claim(owner)

    def _must_be_ours(self) -> None:
        with self._errors():
            self._marker.must_be_ours()

    def _recognise(self, *, make: bool = False) -> None:
        if not self._marker.known:
            with self._errors():
                self._marker.recognise(make=make)

    # Working

    def _ahead(self, work: Callable[[Any], Any], items: Iterable[Any], many: int) -> Iterator[Any]:
        """Results in order, some begun before they are asked for. After an error nothing more is begun."""
        under_way: deque[Future[Any]] = deque()
        try:
            for item in items:
                under_way.append(self._pool.submit(work, item))
                if len(under_way) >= many:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()

    @contextmanager
    def _errors(self, digest: Digest | None = None) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as cause:
            if digest is not None and digest in self._recent:
                raise _not_yet(digest) from cause
            raise NotFound(f"no blob {digest}", hint="`stellwerk fsck` lists what is missing") from cause
        except FileExistsError as cause:
            raise Unavailable("somebody else wrote at the same time", code="s3-unavailable") from cause

    def close(self) -> None:
        """Release threads and connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Recent:
    """Blobs that were acknowledged a moment ago: one that is not seen yet is no missing one."""

    def __init__(self) -> None:
        self._until: dict[Digest, float] = {}
        self._lock = Lock()

    def add(self, digest: Digest) -> None:
        with self._lock:
            self._until[digest] = monotonic() + RECENT_SECONDS
            if len(self._until) > MAX_RECENT:
                del self._until[next(iter(self._until))]

    def discard(self, digest: Digest) -> None:
        with self._lock:
            self._until.pop(digest, None)

    def __contains__(self, digest: Digest) -> bool:
        return self._until.get(digest, 0.0) > monotonic()


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


def _corrupt(digest: Digest, got: str) -> Corrupt:
    return Corrupt(
        f"blob {digest} has other content than its name says ({got})",
        code="corrupt-blob",
        hint="`stellwerk repair --from PLACE` fetches it from another store; the copy there was not changed",
    )


def _not_yet(digest: Digest) -> Unavailable:
    return Unavailable(
        f"blob {digest} was kept a moment ago and is not seen yet", code="s3-unavailable", hint="try again"
    )
