"""Removing from a bucket: blobs, the chunks that nobody needs any more, and what interrupted writes left behind."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta

from stellwerk.core.digest import Digest, hex_of, parse
from stellwerk.core.errors import Corrupt
from stellwerk.store.adapters.objects import Head
from stellwerk.store.adapters.s3.bucket import WORKERS, Bucket
from stellwerk.store.adapters.s3.layout import FOLDERS, is_name, list_key, named, whole_key
from stellwerk.store.adapters.s3.reading import Reading

GRACE = timedelta(days=2)
"""What is younger may belong to a write under way."""


class Removing:
    """Forgetting blobs. Only the workspace that the store belongs to may do it."""

    def __init__(self, bucket: Bucket, reading: Reading) -> None:
        self._bucket, self._reading = bucket, reading

    def remove(self, digests: Iterable[Digest]) -> int:
        """Forget blobs, and the chunks that no other blob has; returns the bytes freed."""
        self._bucket.recognise()
        self._bucket.must_be_ours()
        freed, lists = 0, list[Digest]()
        with self._bucket.errors():
            for digest in digests:
                for key in (whole_key(parse(digest)), list_key(digest)):
                    try:
                        size = self._bucket.objects.head(key).size
                        if key == list_key(digest):
                            lists += self._names_in(digest)
                    except FileNotFoundError:
                        continue
                    self._bucket.recent.discard(digest)
                    self._bucket.objects.delete([key])
                    freed += size
        return freed + (self._remove_chunks(set(lists)) if lists else 0)

    def sweep(self) -> int:
        """Remove what interrupted writes left behind, once it is old; returns the bytes freed."""
        self._bucket.recognise()
        self._bucket.must_be_ours()
        with self._bucket.errors():
            old = [(key, head) for key, head in self._bucket.objects.list("incoming") if self._is_old(head)]
            self._bucket.objects.delete([key for key, _ in old])
        return sum(head.size for _, head in old) + self._remove_chunks(None)

    def _remove_chunks(self, candidates: set[Digest] | None) -> int:
        """Chunks that no list names and that are older than any write under way."""
        listed: set[Digest] = set()
        for names in self._bucket.ahead(self._names_in_lists, FOLDERS, WORKERS):
            listed |= names
        freed = 0
        folders = FOLDERS if candidates is None else sorted({hex_of(one)[:2] for one in candidates})
        for folder in folders:
            with self._bucket.errors():
                found = self._bucket.objects.list(f"chunks/{folder}")
                loose = [
                    (key, head)
                    for key, head in found
                    if is_name(key)
                    and named(key) not in listed
                    and (candidates is None or named(key) in candidates)
                    and self._is_old(head)
                ]
                self._bucket.objects.delete([key for key, _ in loose])
                freed += sum(head.size for _, head in loose)
        return freed

    def _names_in_lists(self, folder: str) -> set[Digest]:
        with self._bucket.errors():
            keys = [key for key, _ in self._bucket.objects.list(f"lists/{folder}") if is_name(key)]
            return {name for key in keys for name, _ in self._reading.read_list(named(key))}

    def _names_in(self, digest: Digest) -> list[Digest]:
        """The chunks of a blob, as far as its list says."""
        try:
            return [name for name, _ in self._reading.read_list(digest)]
        except Corrupt:
            return []

    def _is_old(self, head: Head) -> bool:
        return self._bucket.age(head) > GRACE

    def quarantine(self, digest: Digest) -> bool:
        """Take a damaged blob out of the way, kept for those who look into it; returns whether there was one."""
        self._bucket.recognise()
        moved = False
        with self._bucket.errors(parse(digest)):
            for key in (whole_key(digest), list_key(digest)):
                try:
                    self._bucket.objects.copy(key, f"quarantine/{key.replace('/', '-')}-{secrets.token_hex(4)}")
                except FileNotFoundError:
                    continue
                self._bucket.objects.delete([key])
                moved = True
        self._bucket.recent.discard(digest)
        return moved
