"""Words and numbers of frameworks in the form that a run takes."""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.tracking import rules

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Of an object in memory: another one in each process."""
_ODD = re.compile(r"[^/\w.\- :]")


@lru_cache(4096)
def key(name: str) -> str:
    """A name as near to a framework's as a run takes it; empty where there is none."""
    made = _ODD.sub("_", name)[: rules.MAX_KEY]
    try:
        rules.check_key(made, "")
    except Invalid:
        made = re.sub(r"[/.]+", "_", made)
    return made


def spelled(value: Any) -> str:
    """A value as text: numbers as they were typed, objects without their place in memory."""
    if isinstance(value, float):
        return str(_short(value))
    try:
        text = rules.spelled(value)
    except (TypeError, ValueError):
        text = str(value)
    return _ADDRESS.sub("", text)


def _short(value: float) -> float:
    """A number that came through 32 bits as it was typed: 0.1 and not 0.10000000149011612."""
    try:
        packed = struct.pack("f", value)
        if struct.unpack("f", packed)[0] == value:
            return next(
                found for digits in range(1, 10) if struct.pack("f", found := float(f"{value:.{digits}g}")) == packed
            )
    except (OverflowError, StopIteration):  # no number of 32 bits; NaN
        pass
    return value


def number(value: Any) -> float | None:
    """A number, also one of numpy or torch; None for anything else."""
    if isinstance(value, (str, bytes)):
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        return None
