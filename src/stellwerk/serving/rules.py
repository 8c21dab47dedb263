"""Decisions about single predictions: which go to people, what is answered, how they are named. All pure.

What may be asked is in `inputs`; reading tokens, asking models and keeping the log in `service`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.core.names import new_id
from stellwerk.models.model import Signature
from stellwerk.releases.model import LeaseToken, SignalState
from stellwerk.serving.model import Scalar, Score, Steer

_PREDICTION_ID = re.compile(r"([0-9a-hjkmnp-tv-z]{26})-(0|[1-9][0-9]{0,5})")
_TIME_CHARACTERS = 10
_ROUNDING = 1e-6
"""How far beyond 0 and 1 a probability may lie through rounding."""


def prediction_id(batch: str, row: int) -> str:
    """The name of one prediction."""
    return f"{batch}-{row}"


def parse_prediction_id(text: str) -> tuple[str, int]:
    """Batch id and row of a prediction's name."""
    match = _PREDICTION_ID.fullmatch(text)
    if not match:
        raise Invalid(
            f"{text[:60]!r} is not a prediction id (expected 26 letters or digits, '-', and a row)",
            code="invalid-prediction-id",
        )
    return match[1], int(match[2])


def time_prefix(instant: datetime) -> str:
    """What the ids made at an instant begin with, so that ids can be compared with times."""
    return new_id(max(instant, datetime.fromtimestamp(0, UTC)))[:_TIME_CHARACTERS]


def permitted(state: SignalState) -> SignalState:
    """The signal after law 11: a token that sends nobody to people permits nothing."""
    if state.token is not None and not 0 < state.token.audit_share <= 1:
        return SignalState(signal="stop", why=f"the lease token has the audit share {state.token.audit_share:g}")
    return state if state.token is not None else replace(state, signal="stop")


def steer(
    columns: Mapping[str, Sequence[Scalar]], count: int, token: LeaseToken, draw: Callable[[], float]
) -> dict[int, Steer]:
    """Which rows do not simply leave: slices without proof, the random audit, and everything under caution.

    A row whose slice cannot be told, because its column was not sent, counts as without proof (law 3).
    """
    result: dict[int, Steer] = {}
    routed: dict[str, list[str]] = {}
    for column, value in token.routed:
        routed.setdefault(column, []).append(value)
    for column, values in routed.items():
        for row, reason in _unproven(column, values, columns.get(column), count):
            result.setdefault(row, Steer(kind="slice", reason=reason, probability=1.0))
    for column, proven in token.proven.items():
        for row, reason in _beyond(column, proven, columns.get(column), count):
            result.setdefault(row, Steer(kind="slice", reason=reason, probability=1.0))
    share = token.audit_share
    audit = Steer(kind="audit", reason="audit", probability=share)
    result |= {row: audit for row in range(count) if row not in result and draw() < share}
    if token.mode == "caution":
        caution = Steer(kind="caution", reason=f"caution: {token.why}", probability=1.0)
        result |= {row: caution for row in range(count) if row not in result}
    return result


def _unproven(
    column: str, values: Sequence[str], given: Sequence[Scalar] | None, count: int
) -> Iterable[tuple[int, str]]:
    if given is None:
        return [(row, f"slice {column} unknown") for row in range(count)]
    matching = {value: is_slice(value, values) for value in dict.fromkeys(map(_typed_key, given))}
    return [(row, f"slice {column}={_text(value)}") for row, value in enumerate(given) if matching[_typed_key(value)]]


def _beyond(
    column: str, proven: Sequence[str], given: Sequence[Scalar] | None, count: int
) -> Iterable[tuple[int, str]]:
    """Rows whose value is none of those that were proven: a value nobody has tested is no better than one that failed."""
    if given is None:
        return [(row, f"slice {column} unknown") for row in range(count)]
    known = {value: is_slice(value, proven) for value in dict.fromkeys(map(_typed_key, given))}
    return [
        (row, f"slice {column}={_text(value)}") for row, value in enumerate(given) if not known[_typed_key(value)]
    ]


def _typed_key(value: Scalar) -> tuple[type, Scalar]:
    # 1, 1.0 and True are equal in Python, but not as slices.
    return (type(value), value)


def is_slice(value: tuple[type, Scalar], names: Sequence[str]) -> bool:
    """Whether a value belongs to one of the slices named by text. In doubt it does."""
    return any(_same(value[1], name) for name in names)


def _same(value: Scalar, name: str) -> bool:
    if value is None:
        return name.lower() in ("", "null", "none", "nan")
    if isinstance(value, bool):
        return name.lower() == _text(value)
    if isinstance(value, str) and value == name:
        return True
    try:
        # `3`, `3.0` and `03` may name the same slice: the plan saw text, the request has numbers.
        return float(value) == float(name)
    except (ValueError, OverflowError):
        return False


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)[:60]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a model said: scores as they are logged, its answer per row, and the numbers behind it."""

    scores: tuple[Score, ...]
    answers: tuple[str | float | None, ...]
    """None where there is no usable score."""
    numbers: list[tuple[float, ...]]


def answer_for(output: Any, signature: Signature, count: int) -> Said:
    """What a model's output means.

    Args:
        output: A numpy array: probabilities (rows, classes), or values (rows,).
    """
    expected = (count, len(signature.classes)) if signature.task != "regression" else (count,)
    if tuple(output.shape) != expected:
        raise Corrupt(
            f"the model answered with an array of shape {tuple(output.shape)}, expected {expected}",
            code="model-output",
        )
    if signature.task == "regression":
        values = _finite(output.tolist())
        return Said(scores=values, answers=values, numbers=[(value,) for value in output.tolist()])
    numbers = [tuple(row) for row in output.tolist()]
    # NaN compares false, so one of them makes the whole array go row by row.
    whole = bool(output.min() >= -_ROUNDING and output.max() <= 1 + _ROUNDING)
    usable = [whole or all(-_ROUNDING <= p <= 1 + _ROUNDING for p in row) for row in numbers]
    scores = numbers if whole else [_finite(row) for row in numbers]
    best = zip(numbers, usable, strict=True)
    return Said(
        scores=tuple(row[1] for row in scores) if signature.task == "binary" else tuple(scores),
        answers=tuple(signature.classes[row.index(max(row))] if ok else None for row, ok in best),
        numbers=numbers,
    )


def _finite(row: Iterable[float]) -> tuple[float | None, ...]:
    return tuple(value if math.isfinite(value) else None for value in row)


UNUSABLE = Steer(kind="stop", reason="stop: the model gave no usable score", probability=1.0)
"""For rows whose score is not a number or no probability."""
