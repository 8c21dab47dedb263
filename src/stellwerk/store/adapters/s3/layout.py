"""What lies where in a bucket (docs/formats/store-s3.md): keys of blobs and chunks, and lists of chunks."""

from __future__ import annotations

import hashlib
import re

from stellwerk.core import canonical
from stellwerk.core.digest import Digest, hex_of, parse

LIST_FORMAT = "stellwerk-chunks/1"
FOLDERS = tuple(f"{number:02x}" for number in range(256))


def whole_key(digest: Digest) -> str:
    """The key of a blob that is one object."""
    return _key("sha256", digest)


def chunk_key(digest: Digest) -> str:
    """The key of a chunk."""
    return _key("chunks", digest)


def list_key(digest: Digest) -> str:
    """The key of the list of chunks of a blob."""
    return _key("lists", digest)


def _key(kind: str, digest: Digest) -> str:
    name = hex_of(parse(digest))
    return f"{kind}/{name[:2]}/{name}"


def is_name(key: str) -> bool:
    """Whether a key is that of a blob, a list or a chunk; whatever else lies there is for `fsck` to report."""
    return re.fullmatch(r"(?:sha256|lists|chunks)/([0-9a-f]{2})/\1[0-9a-f]{62}", key) is not None


def named(key: str) -> Digest:
    """The digest that a key names."""
    return parse("sha256:" + key.rpartition("/")[2])


def is_upload(name: str) -> bool:
    """Whether it can be the name of a direct upload."""
    return re.fullmatch(r"[0-9a-f]{32}", name) is not None


def confirms(etag: str, data: bytes) -> bool:
    """Whether the service names exactly these bytes: most ETags are the MD5 of what arrived."""
    return etag.strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()


def length(listed: list[tuple[Digest, int]]) -> int:
    """Bytes of a blob, by its chunks."""
    return sum(size for _, size in listed)


def list_bytes(listed: list[tuple[Digest, int]]) -> bytes:
    """A list of chunks as it is kept."""
    chunks = [{"digest": name, "size": size} for name, size in listed]
    return canonical.dumps({"chunks": chunks, "format": LIST_FORMAT, "size": length(listed)})


def read_list(data: bytes) -> list[tuple[Digest, int]]:
    """The chunks of a list. Raises what parsing raises for something else."""
    document = canonical.loads(data)
    listed = [(parse(item["digest"]), int(item["size"])) for item in document["chunks"]]
    if document["format"] != LIST_FORMAT or document["size"] != length(listed) or min(size for _, size in listed) < 1:
        raise ValueError("not a list of chunks")
    return listed
