"""Cutting large blobs where their content says, so that a small change leaves most chunks as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pyfastcdc import FastCDC

from stellwerk.store.packing import Piece

MINIMUM, AVERAGE, MAXIMUM = 64 << 10, 256 << 10, 1 << 20
"""Of FastCDC 2020 with normalisation 1 and seed 0. Part of the format: other values would find no equal chunks."""
WINDOW = 16 << 20
LARGE = 16 << 20
"""Blobs of more bytes than this are cut into chunks."""


def cut(windows: Iterable[bytes | memoryview], whole: hashlib._Hash) -> Iterator[tuple[Piece, memoryview]]:
    """Each chunk of a stream with its name; `whole` is fed with all bytes.

    Cutting, naming chunks and feeding `whole` go on at once, each on a thread of its own: none needs the interpreter.
    """
    chunker = FastCDC(AVERAGE, min_size=MINIMUM, max_size=MAXIMUM, normalized_chunking=1, seed=0)
    with ThreadPoolExecutor(1) as feeding, ThreadPoolExecutor(1) as naming:
        rest = b""
        fed: Future[None] | None = None
        named: Future[list[tuple[Piece, memoryview]]] | None = None
        for window, last in _with_last(windows):
            if fed is not None:
                fed.result()
            fed = feeding.submit(whole.update, window)
            # A cut depends on nothing before its chunk, so the rest of one window begins the next.
            data = memoryview(b"".join((rest, window)) if rest else window)
            parts, done = [], 0
            for chunk in chunker.cut_buf(data):
                if not last and len(data) - chunk.offset < MAXIMUM:
                    break
                done = chunk.offset + chunk.length
                parts.append(data[chunk.offset : done])
            rest = bytes(data[done:])
            before, named = named, naming.submit(_named, parts)
            if before is not None:
                yield from before.result()
        if named is not None:
            yield from named.result()
        if fed is not None:
            fed.result()


def _named(parts: list[memoryview]) -> list[tuple[Piece, memoryview]]:
    return [(Piece(hashlib.sha256(part).digest(), len(part)), part) for part in parts]


def windows(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in portions of at least `WINDOW` bytes, but for the last."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= WINDOW:
            yield b"".join(held) if len(held) > 1 else held[0]
            held, size = [], 0
    if size:
        yield b"".join(held)


def _with_last(items: Iterable[bytes | memoryview]) -> Iterator[tuple[bytes | memoryview, bool]]:
    iterator = iter(items)
    try:
        held = next(iterator)
    except StopIteration:
        return
    for item in iterator:
        yield held, False
        held = item
    yield held, True
