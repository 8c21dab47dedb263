"""Bytes of logged batches: one JSON object each. Framing them in a file is the spool's business.

msgspec comes with `stellwerk[server]` and is loaded on first use, so that the room can be imported without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.serving.model import PredictionBatch, SealedBatch

_SEALED = b'"format":"stellwerk-prediction/2"'
"""Cannot stand inside a text, where its quotes would be escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What sealing needs to know of a batch."""

    id: str
    endpoint: str
    count: int


def pack(batch: PredictionBatch) -> bytes:
    """A batch as one line of JSON without the line's end; NaN becomes null."""
    try:
        data: bytes = _codec()[0].encode(batch)
    except UnicodeEncodeError as cause:
        raise Invalid("text contains a lone surrogate", code="invalid-json") from cause
    return data


def unpack(data: bytes) -> PredictionBatch:
    """Read a batch. Raises `Corrupt`."""
    sealed = _SEALED in data
    batch: PredictionBatch = _decode(_codec()[3 if sealed else 1], data)
    if sealed is not (batch.format == "stellwerk-prediction/2"):
        raise Corrupt("a logged prediction has another format than it says", code="corrupt-prediction")
    return batch


def head(data: bytes) -> Head:
    """Read only what names a batch. Raises `Corrupt`."""
    found: Head = _decode(_codec()[2], data)
    return found


@cache
def _codec() -> tuple[Any, Any, Any, Any]:
    import msgspec

    return (
        msgspec.json.Encoder(),
        msgspec.json.Decoder(PredictionBatch),
        msgspec.json.Decoder(Head),
        msgspec.json.Decoder(SealedBatch),
    )


def _decode(decoder: Any, data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except ValueError as cause:
        raise Corrupt(f"a logged prediction cannot be read: {cause}", code="corrupt-prediction") from cause
