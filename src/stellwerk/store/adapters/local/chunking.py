"""Cutting large blobs where their content says, so that a small change leaves most chunks as they were."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from pyfastcdc import FastCDC

from stellwerk.store.packing import Piece

MINIMUM, AVERAGE, MAXIMUM = 64 << 10, 256 << 10, 1 << 20
"""Of FastCDC 2020 with normalisation 1 and seed 0. Part of the format: other values would find no equal chunks."""
LARGE = 16 << 20
"""Blobs of more bytes than this are cut into chunks."""

_WINDOW, _RING = 4 << 20, 3
"""Measured: buffers that are used again spare page faults, and with three of them no thread waits for long."""

Fill = Callable[[memoryview], int]
"""Puts the next bytes of a source into a buffer and says how many; 0 at the end. `readinto` of a file is one."""


def cut(fill: Fill, whole: hashlib._Hash) -> Iterator[tuple[Piece, memoryview]]:
    """Each chunk of a source with its name; `whole` is fed with all bytes.

    Cutting, naming chunks and feeding `whole` go on at once, each on a thread of its own: none needs the interpreter.
    The bytes of a chunk are there until the next is asked for.
    """
    chunker = FastCDC(AVERAGE, min_size=MINIMUM, max_size=MAXIMUM, normalized_chunking=1, seed=0)
    # What one window leaves begins the next: room for it lies in front.
    ring = deque(memoryview(bytearray(MAXIMUM + _WINDOW)) for _ in range(_RING))
    under_way: deque[_Window] = deque()
    with ThreadPoolExecutor(1) as feeding, ThreadPoolExecutor(1) as naming:
        rest = memoryview(b"")
        while True:
            if not ring:
                window = under_way.popleft()
                yield from window.pieces()
                ring.append(window.buffer)
            buffer = ring.popleft()
            start = MAXIMUM - len(rest)
            buffer[start:MAXIMUM] = rest
            count = fill(buffer[MAXIMUM:])
            fed = feeding.submit(whole.update, buffer[MAXIMUM : MAXIMUM + count])
            data, last = buffer[start : MAXIMUM + count], not count
            parts, done = [], 0
            for chunk in chunker.cut_buf(data):
                # A cut depends on nothing before its chunk, and on no more after it than the longest chunk.
                if not last and len(data) - chunk.offset < MAXIMUM:
                    break
                done = chunk.offset + chunk.length
                parts.append(data[chunk.offset : done])
            rest = data[done:]
            under_way.append(_Window(buffer, fed, naming.submit(_named, parts)))
            if last:
                break
        for window in under_way:
            yield from window.pieces()


class _Window(NamedTuple):
    """A part of the source that is being hashed."""

    buffer: memoryview
    fed: Future[None]
    named: Future[list[tuple[Piece, memoryview]]]

    def pieces(self) -> Iterator[tuple[Piece, memoryview]]:
        yield from self.named.result()
        self.fed.result()


def _named(parts: list[memoryview]) -> list[tuple[Piece, memoryview]]:
    return [(Piece(hashlib.sha256(part).digest(), len(part)), part) for part in parts]


def filling(chunks: Iterable[bytes]) -> Fill:
    """The same bytes, portion by portion into a buffer."""
    iterator = iter(chunks)
    held = memoryview(b"")

    def fill(buffer: memoryview) -> int:
        nonlocal held
        done = 0
        while done < len(buffer):
            if not held:
                chunk = next(iterator, None)
                if chunk is None:
                    break
                held = memoryview(chunk)
            count = min(len(held), len(buffer) - done)
            buffer[done : done + count] = held[:count]
            held, done = held[count:], done + count
        return done

    return fill
