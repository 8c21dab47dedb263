"""Labels as they arrive: which are new, how a batch of them is written, what a label means to a model.

Keeping them is in `service`, judging predictions by them in `risk`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.monitoring.model import Label, Outcome

FORMAT = "stellwerk-outcomes/1"
MAX_PREDICTION_ID = 200
_TRUTH = {"true": "1", "false": "0"}
_WHOLE = re.compile(r"-?\d+\.0")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Known = tuple[Label, int]
"""A label and when it was observed, in microseconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """Outcomes that were sent, sorted out. The first label of a prediction wins, within a batch and before it."""

    fresh: dict[str, Known]
    repeated: int
    conflicts: tuple[str, ...]


def sift(outcomes: Iterable[Outcome], known: Mapping[str, Known]) -> Sifted:
    """Find what is new. Raises `Invalid` for labels and ids that cannot be kept; then nothing is."""
    fresh: dict[str, Known] = {}
    repeated, conflicts = 0, []
    for outcome in outcomes:
        _check(outcome)
        before = known.get(outcome.prediction) or fresh.get(outcome.prediction)
        if before is None:
            fresh[outcome.prediction] = (outcome.label, microseconds(outcome.observed_at))
        elif token(before[0]) == token(outcome.label):
            repeated += 1
        else:
            conflicts.append(outcome.prediction)
    return Sifted(fresh=fresh, repeated=repeated, conflicts=tuple(conflicts))


def encode(fresh: Mapping[str, Known]) -> bytes:
    """A batch as bytes, column by column, ordered by prediction: the same outcomes have the same name."""
    ordered = sorted(fresh)
    document = {
        "format": FORMAT,
        "label": [fresh[prediction][0] for prediction in ordered],
        "observed": [fresh[prediction][1] for prediction in ordered],
        "prediction": ordered,
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def decode(data: bytes) -> dict[str, Known]:
    """Read a batch. Anything else is `Corrupt`."""
    try:
        document = json.loads(data)
        columns = document["prediction"], document["label"], document["observed"]
        if document["format"] != FORMAT or len({len(column) for column in columns}) != 1:
            raise Corrupt("a batch of outcomes has an unknown format", code="corrupt-outcomes")
        return dict(zip(columns[0], zip(columns[1], columns[2], strict=True), strict=True))
    except (ValueError, KeyError, TypeError) as cause:
        raise Corrupt(f"a batch of outcomes cannot be read: {cause}", code="corrupt-outcomes") from cause


def place(prediction: str) -> tuple[str, int] | None:
    """Batch and row of a prediction's id, None where it cannot be one."""
    batch, _, row = prediction.rpartition("-")
    # `str(int(…))` so that 007 and 7 are not two names of one row.
    return (batch, int(row)) if batch and row.isascii() and row.isdigit() and str(int(row)) == row else None


def unknown(predictions: Sequence[str], sizes: Mapping[str, int]) -> tuple[str, ...]:
    """The predictions that are not in a log with batches of these sizes."""
    result = []
    for prediction in predictions:
        found = place(prediction)
        if found is None or found[1] >= sizes.get(found[0], 0):
            result.append(prediction)
    return tuple(result)


def token(label: Label) -> str:
    """A label in one form, however the sender's language writes it: 1, 1.0, true and "True" are the same."""
    if isinstance(label, str):
        plain = label.strip()
        # Columns of floats become classes such as "1.0".
        return _TRUTH.get(plain.casefold()) or (plain[:-2] if _WHOLE.fullmatch(plain) else plain)
    if isinstance(label, float) and not label.is_integer():
        return repr(label)
    return str(int(label))


def class_tokens(classes: Sequence[str]) -> dict[str, int]:
    """The number of each class by its token. Raises `Invalid` where two classes would be the same label."""
    tokens = {token(name): index for index, name in enumerate(classes)}
    if len(tokens) != len(classes):
        raise Invalid(
            f"classes {', '.join(map(repr, classes))} cannot be told apart in labels", code="ambiguous-classes"
        )
    return tokens


def microseconds(instant: datetime) -> int:
    """An instant as whole microseconds since 1970."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(value: int) -> datetime:
    """The instant of whole microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND


def _check(outcome: Outcome) -> None:
    if not outcome.prediction or len(outcome.prediction) > MAX_PREDICTION_ID:
        raise Invalid(
            f"not the id of a prediction: {outcome.prediction[:60]!r} (expected 1 to {MAX_PREDICTION_ID} characters)",
            code="invalid-outcome",
        )
    label = outcome.label
    if not isinstance(label, str | bool | int | float) or (isinstance(label, float) and not math.isfinite(label)):
        raise Invalid(
            f"the label of {outcome.prediction} is {label!r} (expected a text, a finite number, true or false)",
            code="invalid-outcome",
            hint="send an outcome only once the truth is known",
        )
    if outcome.observed_at.tzinfo is None:
        raise Invalid(f"the outcome of {outcome.prediction} has a time without zone", code="invalid-time")
