"""A second process that reads small files and keeps them in the same folder of blobs, on another processor.

What it cannot do it leaves to whoever asked, who then meets the same error and can say what it means. A message is two
lengths and two parts: the names of files or their digests, and their stats.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import struct
import subprocess
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from stellwerk.core.digest import Digest, hex_of
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.working import scanning
from stellwerk.store.working.cache import Stat, pack_stats

_LENGTHS = struct.Struct("=QQ")
_DIGEST = 32


class SecondProcess:
    """One process that takes one batch at a time. Raises `OSError` where there cannot be one."""

    def __init__(self, blobs: Path, folder: int) -> None:
        # Pipes of its own: whatever this Python prints when it starts is no answer.
        theirs, ours = os.pipe()
        answers, told = os.pipe()
        self._into, self._out = os.fdopen(ours, "wb"), os.fdopen(answers, "rb")
        try:
            self._process = subprocess.Popen(
                # Not the folder we happen to be in, whose files could stand for modules (-P).
                [sys.executable, "-P", "-m", __name__, str(blobs.absolute()), *map(str, (folder, theirs, told))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(folder, theirs, told),
            )
        except OSError:
            self._into.close()
            self._out.close()
            raise
        finally:
            os.close(theirs)
            os.close(told)

    def give(self, files: Sequence[tuple[str, Stat]]) -> None:
        """Hand over files, by their paths in the folder and with the stats that they had."""
        with suppress(OSError):  # `take` finds that nobody is there
            _send(self._into, "\0".join([path for path, _ in files]).encode(), pack_stats(files))

    def ready(self) -> bool:
        """Whether `take` would not wait."""
        asked = select.poll()  # `select` knows no descriptor beyond 1023
        asked.register(self._out, select.POLLIN)
        return bool(asked.poll(0))

    def take(self) -> list[tuple[Digest, Stat]] | None:
        """What became of them: digests, and stats as they are now. None if somebody else must keep them."""
        try:
            names, stats = _receive(self._out)
        except EOFError:
            return None
        digests = [Digest("sha256:" + names[at : at + _DIGEST].hex()) for at in range(0, len(names), _DIGEST)]
        return list(zip(digests, _stats(stats), strict=True)) or None

    def close(self) -> None:
        """End it. What it has under way is lost, which harms nobody."""
        self._process.kill()
        for stream in (self._into, self._out):
            with suppress(OSError):
                stream.close()
        self._process.wait()


def serve(blobs: LocalFolder, folder: int, orders: IO[bytes], answers: IO[bytes]) -> None:
    """Keep batch after batch until nobody asks any more."""
    with suppress(EOFError, BrokenPipeError):
        while True:
            names, stats = _receive(orders)
            files = list(zip(names.decode().split("\0"), _stats(stats), strict=True))
            try:
                kept, now = _keep(blobs, folder, files)
            except Exception:  # noqa: BLE001 - whatever it is, who asked will meet it, too
                _send(answers, b"", b"")
            else:
                _send(answers, kept, now)


def _keep(blobs: LocalFolder, folder: int, files: Sequence[tuple[str, Stat]]) -> tuple[bytes, bytes]:
    now: list[tuple[str, Stat]] = []

    def contents() -> Iterator[bytes]:
        for path, known in files:
            data, after = scanning.read_small(folder, path, known)
            now.append((path, after))
            yield data

    kept = blobs.put_many(contents())
    return bytes.fromhex("".join(map(hex_of, kept))), pack_stats(now)


def _stats(packed: bytes) -> Iterator[Stat]:
    numbers = array("q", packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return map(Stat._make, zip(*[iter(numbers)] * len(Stat._fields), strict=True))


def _send(stream: IO[bytes], first: bytes, second: bytes) -> None:
    stream.write(_LENGTHS.pack(len(first), len(second)) + first + second)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[bytes, bytes]:
    first, second = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    return _exactly(stream, first), _exactly(stream, second)


def _exactly(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked decides when this ends
    gc.set_threshold(50_000)  # as the command line does
    _, root, below, asked, told = sys.argv
    with os.fdopen(int(asked), "rb") as orders, os.fdopen(int(told), "wb") as answers:
        serve(LocalFolder(Path(root)), int(below), orders, answers)
