"""Whether the condition of a branch holds for a value. Pure."""

from __future__ import annotations

import math
from typing import Any

from stellwerk.pipelines.model import Branch


class Untestable(Exception):  # becomes a Failure
    """The value does not fit the condition; the text says why."""


def holds(branch: Branch, value: Any) -> bool:
    """Whether a branch is taken. A number that is none compares with nothing, and so is refused."""
    return _fulfils(branch, value) != branch.negated


def _fulfils(branch: Branch, value: Any) -> bool:
    wanted = branch.value
    if branch.test == "true":
        if value is None or isinstance(value, (bool, int, float, str, list, dict)):
            return bool(value)
        raise Untestable(f"a {type(value).__name__} is neither true nor false")
    if branch.test == "equals":
        return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)
    if branch.test == "among":
        return bool(value in wanted)
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (value, wanted))
    if not numbers and not (isinstance(value, str) and isinstance(wanted, str)):
        raise Untestable(f"{value!r} cannot be compared with {wanted!r} (expected two numbers or two texts)")
    if numbers and (math.isnan(value) or math.isnan(wanted)):
        raise Untestable(f"{value!r} cannot be compared with {wanted!r}, because one of them is no number")
    compared = {
        "above": value > wanted,
        "below": value < wanted,
        "at_least": value >= wanted,
        "at_most": value <= wanted,
    }
    return bool(compared[branch.test])
