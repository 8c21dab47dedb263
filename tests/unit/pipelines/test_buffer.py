"""What an execution has made, until it is kept."""

from __future__ import annotations

from typing import Any

from stellwerk.pipelines.buffer import Buffer
from stellwerk.testing.fakes import MemoryBlobs


def test_nothing_is_something(desk: Any) -> None:
    """Bytes that are none are found before they are kept as well as afterwards."""
    buffer = Buffer(MemoryBlobs(), desk.memory, patience=600.0)

    digest = buffer.put(b"")
    before = buffer.get(digest)
    buffer.close()

    assert (b"", b"") == (before, buffer.get(digest))
