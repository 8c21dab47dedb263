"""Segments: the points of a run's metrics as one blob, sealed when the run ends (docs/formats/points.md).

Columns and not rows: a point costs a few bytes, and a curve is read without the others.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from stellwerk.core import canonical
from stellwerk.core.errors import Corrupt
from stellwerk.tracking.model import Point

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"stellwerk-points/1\n"
MEDIA = "application/vnd.stellwerk.points"


class Series(NamedTuple):
    """The points of one metric in columns of one length, in the order of time, step and value."""

    at: array[int]
    step: array[int]
    value: array[float]

    def points(self, key: str, start: int = 0, stop: int | None = None) -> list[Point]:
        """Some of them as values."""
        columns = self.value[start:stop], self.at[start:stop], self.step[start:stop]
        return [Point(key, value, at, step) for value, at, step in zip(*columns, strict=True)]


def series(rows: Iterable[tuple[int, int, float]]) -> Series:
    """Columns from rows of time, step and value, which are in order and all different."""
    listed = list(rows)
    return Series(
        array("q", [row[0] for row in listed]),
        array("q", [row[1] for row in listed]),
        array("d", [row[2] for row in listed]),
    )


def encode(metrics: Mapping[str, Series]) -> bytes:
    """A segment of some metrics. Equal points give equal bytes."""
    blocks = {
        key: zstd.compress(b"".join(_little(column) for column in found), level=3)
        for key, found in sorted(metrics.items())
    }
    head = [{"key": key, "count": len(metrics[key].at), "bytes": len(block)} for key, block in blocks.items()]
    return MAGIC + canonical.dumps({"series": head}) + b"\n" + b"".join(blocks.values())


def fingerprint(metrics: Mapping[str, Series]) -> str:
    """SHA-256, in hexadecimal digits, of what a segment of these metrics holds before it is compressed."""
    head = [{"key": key, "count": len(metrics[key].at)} for key in sorted(metrics)]
    hasher = sha256(canonical.dumps({"series": head}) + b"\n")
    for key in sorted(metrics):
        for column in metrics[key]:
            hasher.update(_little(column))
    return hasher.hexdigest()


def decode(data: bytes, key: str) -> Series | None:
    """The points of one metric, or None where the segment has none. Raises `Corrupt`."""
    at, head = _head(data)
    for one in head:
        block, at = data[at : at + one["bytes"]], at + one["bytes"]
        if one["key"] == key:
            return _series(block, one["count"])
    return None


def points(data: bytes) -> list[Point]:
    """All points of a segment. Raises `Corrupt`."""
    found: list[Point] = []
    at, head = _head(data)
    for one in head:
        block, at = data[at : at + one["bytes"]], at + one["bytes"]
        found += _series(block, one["count"]).points(one["key"])
    return found


def decode_some(data: bytes, keys: Collection[str]) -> dict[str, Series]:
    """The points of those of some metrics that the segment has. Raises `Corrupt`."""
    at, head = _head(data)
    found: dict[str, Series] = {}
    for one in head:
        if one["key"] in keys:
            found[one["key"]] = _series(data[at : at + one["bytes"]], one["count"])
        at += one["bytes"]
    return found


def counts(data: bytes) -> dict[str, int]:
    """How many points a segment has of which metric. Raises `Corrupt`."""
    return {one["key"]: one["count"] for one in _head(data)[1]}


def _head(data: bytes) -> tuple[int, list[dict[str, Any]]]:
    end = data.find(b"\n", len(MAGIC))
    if not data.startswith(MAGIC) or end < 0:
        raise _damaged()
    try:
        head: list[dict[str, Any]] = json.loads(data[len(MAGIC) : end])["series"]
        for one in head:
            if not isinstance(one["key"], str) or not all(
                type(one[name]) is int and one[name] >= 0 for name in ("count", "bytes")
            ):
                raise _damaged()
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise _damaged() from cause
    return end + 1, head


def _series(block: bytes, count: int) -> Series:
    try:
        raw = zstd.ZstdDecompressor().decompress(block, max_length=24 * count + 1)
    except zstd.ZstdError as cause:
        raise _damaged() from cause
    if len(raw) != 24 * count:
        raise _damaged()
    at, step, value = array("q"), array("q"), array("d")
    columns: tuple[array[Any], ...] = (at, step, value)
    for index, column in enumerate(columns):
        column.frombytes(raw[8 * count * index : 8 * count * (index + 1)])
        if sys.byteorder == "big":
            column.byteswap()
    return Series(at, step, value)


def _little(column: Any) -> bytes:
    if sys.byteorder == "big":
        column = array(column.typecode, column)
        column.byteswap()
    return bytes(column)


def _damaged() -> Corrupt:
    return Corrupt("a segment of points is damaged", code="corrupt-points")
