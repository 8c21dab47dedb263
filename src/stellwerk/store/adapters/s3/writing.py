"""Writing objects: once, under the name of their content, and acknowledged when the service was seen to hold them."""

from __future__ import annotations

from datetime import timedelta

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Unavailable
from stellwerk.store.adapters.objects import Head
from stellwerk.store.adapters.s3.bucket import ATTEMPTS, Bucket
from stellwerk.store.adapters.s3.layout import chunk_key, confirms, list_bytes, list_key, whole_key

failpoints.declare("s3.put", "s3.chunk", "s3.list")

FRESH = timedelta(hours=12)
"""A chunk older than this is written again rather than relied upon: removal of chunks spares those of `GRACE`."""


class Writing:
    """Blobs and their chunks, object by object."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put_whole(self, data: bytes) -> Digest:
        """Keep a blob as one object."""
        digest = of_bytes(data)
        with self._bucket.errors(digest):
            self._keep(whole_key(digest), data)
        self._bucket.recent.add(digest)
        return digest

    def keep_chunk(self, data: bytes) -> tuple[Digest, int]:
        """Keep a chunk, unless the service holds it already and will go on to; its name and length."""
        digest = of_bytes(data)
        key = chunk_key(digest)
        failpoints.hit("s3.chunk")
        with self._bucket.errors(digest):
            try:
                head = self._bucket.objects.head(key)
            except FileNotFoundError:
                self._keep(key, data)
                return digest, len(data)
            # One that may soon be removed is written again, which makes it young.
            old = self._bucket.age(head) > FRESH
            if old or not self._holds(key, data, head):
                self._overwrite(key, data)
        return digest, len(data)

    def put_list(self, digest: Digest, listed: list[tuple[Digest, int]]) -> Digest:
        """Make a blob of chunks that are kept."""
        failpoints.hit("s3.list")
        with self._bucket.errors(digest):
            self._keep(list_key(digest), list_bytes(listed))
        self._bucket.recent.add(digest)
        return digest

    def _keep(self, key: str, data: bytes) -> None:
        """Make an object, once. Returns when the service was seen to hold these bytes."""
        failpoints.hit("s3.put")
        try:
            etag = self._bucket.objects.put(key, data, create=True)
        except FileExistsError:
            try:
                intact = self._holds(key, data, self._bucket.objects.head(key))
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
            etag = self._bucket.objects.put(key, data, create=False)
            if confirms(etag, data) or self._reads_back(key, data):
                return
        raise Unavailable(
            f"{self._bucket.objects.name} does not keep what it is given",
            code="s3-damages",
            hint="nothing was acknowledged; something between here and there changes bytes",
        )

    def _holds(self, key: str, data: bytes, head: Head) -> bool:
        return head.size == len(data) and (confirms(head.etag, data) or self._reads_back(key, data))

    def _reads_back(self, key: str, data: bytes) -> bool:
        """Whether an object is seen to be these bytes. A copy that is not yet seen is asked for again."""
        for _ in range(ATTEMPTS):
            try:
                if self._bucket.objects.insist(lambda: self._bucket.objects.get(key)) == data:
                    return True
            except FileNotFoundError:
                return False
        return False
