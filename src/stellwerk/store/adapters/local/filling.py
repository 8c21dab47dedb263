"""Filling packs with what one call brings: batches of items, and packs that are closed when they are full."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from stellwerk.store.adapters.local import packs
from stellwerk.store.adapters.local.index import Index
from stellwerk.store.adapters.local.packs import PackReader, PackWriter

BATCH_BYTES = 16 << 20
BATCH_ITEMS = 8192
_LISTED = 1000


class PackFilling:
    """Packs that one call fills: each is closed when it is full, and entered in the index once it is durable."""

    def __init__(self, incoming: Path, folder: Path, index: Index, reader: PackReader) -> None:
        self._incoming, self._folder, self._index, self._reader = incoming, folder, index, reader
        self._writer: PackWriter | None = None
        self.names: set[bytes] = set()
        """What was added by this call."""
        self.files = Listed(incoming.parent / "sha256")

    def add(self, name: bytes, kind: int, data: bytes | memoryview) -> None:
        if self._writer is None:
            self._writer = PackWriter(self._incoming, self._folder)
        self._writer.add(name, kind, data)
        self.names.add(name)
        if self._writer.size >= packs.TARGET_BYTES:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                name = writer.close()
            finally:
                writer.discard()
            self._reader.forget(name)  # a damaged pack of this name was replaced
            self._index.add(name, writer.records, instead=True)

    def discard(self) -> None:
        if self._writer is not None:
            self._writer.discard()


class Listed:
    """Which blobs are files, as far as one listing of each sub-folder tells: one call of the system for many looks."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._names: dict[str, frozenset[str] | None] = {}

    def has(self, name: str) -> bool:
        prefix = name[:2]
        if prefix not in self._names:
            try:
                found = os.listdir(f"{self._folder}/{prefix}")  # noqa: PTH208 - names are enough
            except FileNotFoundError:
                found = []
            self._names[prefix] = frozenset(found) if len(found) <= _LISTED else None
        names = self._names[prefix]
        return name in names if names is not None else os.path.lexists(f"{self._folder}/{prefix}/{name}")


def batches(items: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item)
        if size >= BATCH_BYTES or len(batch) >= BATCH_ITEMS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
