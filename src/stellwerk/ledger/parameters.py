"""Values on their way into SQL: what some database would refuse or change silently is refused here, for all alike."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stellwerk.core.clock import format_instant
from stellwerk.core.errors import Invalid

MAX_INTEGER = 2**63 - 1


def plain(value: Any) -> Any:
    """A value as a column holds it: times as text, truth as 0 and 1, everything else as it is.

    Raises `Invalid` for integers beyond 64 bits, and for text with NUL or lone surrogates.
    """
    if isinstance(value, str):
        _check(value)
        return value
    if isinstance(value, datetime):
        return format_instant(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise Invalid("an integer here must fit into 64 bits", code="invalid-number")
    return value


def position(value: int | None) -> int | None:
    """A number of rows to skip or to return: None, or from 0 to 2^63 - 1."""
    if value is not None and not 0 <= value <= MAX_INTEGER:
        raise Invalid(f"expected a number of rows from 0 to 2^63 - 1, got {value}", code="invalid-number")
    return value


def _check(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as cause:
        raise Invalid("text contains a lone surrogate", code="invalid-text") from cause
    if "\x00" in text:
        raise Invalid("text contains a NUL character", code="invalid-text")
