"""A process that streams many bytes into a bucket and back; says their digest and how much memory it took."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from collections.abc import Iterator

from stellwerk.testing import buckets

MEGABYTE = 1 << 20


def stream(megabytes: int) -> Iterator[bytes]:
    """Bytes that no two chunks share, made as they are needed."""
    block = hashlib.shake_256(b"large").digest(MEGABYTE)
    for number in range(megabytes):
        yield number.to_bytes(8, "big") + block[8:]


def peak() -> int:
    """The most memory that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(endpoint: str, prefix: str, megabytes: str, back: str) -> None:
    """Put, and get back if wanted."""
    blobs = buckets.blobs(endpoint, prefix)
    blobs.put(b"begin")
    before = peak()
    digest = blobs.put_stream(stream(int(megabytes)))
    size, hasher = 0, hashlib.sha256()
    if back == "back":
        for piece in blobs.stream(digest):
            size += len(piece)
            hasher.update(piece)
    print(
        json.dumps({"digest": digest, "read": "sha256:" + hasher.hexdigest(), "size": size, "grown": peak() - before})
    )
    blobs.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
