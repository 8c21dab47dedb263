"""What may be asked of a model: rows within limits, every column of the right type. Pure; wrong input is refused.

What happens to rows that are right is in `rules`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from stellwerk.core.clock import format_instant
from stellwerk.core.errors import Invalid
from stellwerk.models.model import Column, Signature
from stellwerk.serving.model import LIMITS, Scalar

Columns = dict[str, tuple[Scalar, ...]]


def shape(columns: Mapping[str, Sequence[Any]], keys: Sequence[str | None] | None) -> int:
    """How many rows columns of scalars have. Raises `Invalid` for what no endpoint would take."""
    if not columns:
        raise Invalid("the request has no columns", code="empty-batch")
    if len(columns) > LIMITS.columns:
        raise Invalid(f"{len(columns)} columns, at most {LIMITS.columns} are taken", code="too-large")
    first = next(iter(columns))
    count = len(columns[first])
    for name, values in columns.items():
        if len(name) > LIMITS.key:
            raise Invalid(f"a column's name has more than {LIMITS.key} characters", code="too-large")
        if isinstance(values, (str, bytes)):
            raise Invalid(f"column {name!r} is text, expected a list of values", code="wrong-type")
        if len(values) != count:
            raise Invalid(
                f"column {name!r} has {len(values)} rows, column {first[:60]!r} has {count}",
                code="ragged-columns",
            )
    if count == 0:
        raise Invalid("the request has no rows", code="empty-batch")
    if count > LIMITS.rows:
        raise Invalid(
            f"{count:,} rows, at most {LIMITS.rows:,} are taken",
            code="too-large",
            hint="send them in several requests",
        )
    if keys is not None:
        _check_keys(keys, count)
    return count


def _check_keys(keys: Sequence[str | None], count: int) -> None:
    if len(keys) != count:
        raise Invalid(f"{len(keys)} keys for {count} rows", code="ragged-columns")
    for row, key in enumerate(keys):
        if key is not None and (not isinstance(key, str) or len(key) > LIMITS.key):
            raise Invalid(f"the key of row {row} is not text of at most {LIMITS.key} characters", code="invalid-key")


def coerce(columns: Mapping[str, Sequence[Any]], signature: Signature, context: Collection[str] = ()) -> Columns:
    """The inputs of a model in its order, then further columns that are allowed; each value of the right type.

    Raises:
        Invalid: `missing-column`, `unknown-column`, `wrong-type` or `not-finite`.
    """
    _check_names(columns, signature, context)
    result = {column.name: _typed(column, columns[column.name]) for column in signature.inputs}
    return result | loose({name: values for name, values in columns.items() if name not in result})


def loose(columns: Mapping[str, Sequence[Any]]) -> Columns:
    """Columns that no model asks for: any scalars."""
    return {name: tuple(_scalar(name, row, value) for row, value in enumerate(columns[name])) for name in columns}


def _check_names(columns: Mapping[str, Any], signature: Signature, context: Collection[str]) -> None:
    inputs = {column.name for column in signature.inputs}
    missing = [name for name in (column.name for column in signature.inputs) if name not in columns]
    unknown = [name for name in columns if name not in inputs and name not in context]
    if missing:
        raise Invalid(
            f"{len(missing)} of {len(inputs)} columns are missing: {_listed(missing)}",
            code="missing-column",
            hint=_guesses(missing, unknown) or "null is allowed everywhere and means unknown",
        )
    if unknown:
        raise Invalid(
            f"the model has no input named {_listed(unknown)}",
            code="unknown-column",
            hint=_guesses(unknown, inputs) or "send only the model's inputs",
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:20]) + (" …" if len(names) > 20 else "")


def _guesses(names: Iterable[str], known: Iterable[str]) -> str:
    options = [name[:60] for name in known][:200]
    near = {name[:60]: difflib.get_close_matches(name[:60], options, n=1) for name in list(names)[:5]}
    return "; ".join(f"{name!r}: perhaps {found[0]!r}" for name, found in near.items() if found)


def _typed(column: Column, values: Sequence[Any]) -> tuple[Scalar, ...]:
    """One input. Many values that are plainly right are taken as they are; everything else goes value by value."""
    if len(values) > 1 and _plainly_right(column, values):
        return tuple(values)
    convert = _CONVERT[column.kind]
    return tuple([convert(column.name, row, value) for row, value in enumerate(values)])


def _plainly_right(column: Column, values: Sequence[Any]) -> bool:
    kinds = set(map(type, values))
    if column.kind == "number":
        # A finite sum has only finite terms; it may overflow, and then the slow way decides.
        return kinds == {float} and math.isfinite(sum(values))
    if column.kind == "boolean":
        return kinds <= {bool, type(None)}
    return column.kind == "category" and kinds == {str} and max(map(len, values)) <= LIMITS.text


def _wrong(name: str, row: int, value: Any, expected: str, code: str = "wrong-type") -> Invalid:
    return Invalid(
        f"column {name[:60]!r}, row {row}: got {str(value)[:60]!r} ({type(value).__name__}), expected {expected}",
        code=code,
        hint="null is allowed everywhere and means unknown",
    )


def _number(name: str, row: int, value: Any) -> Scalar:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(name, row, value, "a number")
    # Beyond 2**63 even printing the number would be costly.
    if isinstance(value, int) and abs(value) >= 2**63:
        raise Invalid(f"column {name[:60]!r}, row {row}: an integer beyond 64 bits", code="not-finite")
    if not math.isfinite(value):
        raise _wrong(name, row, value, "a finite number", code="not-finite")
    return float(value)


def _boolean(name: str, row: int, value: Any) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    raise _wrong(name, row, value, "true or false")


def _category(name: str, row: int, value: Any) -> Scalar:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return str(value)
    if value is None or isinstance(value, str):
        return _scalar(name, row, value)
    raise _wrong(name, row, value, "text")


def _time(name: str, row: int, value: Any) -> Scalar:
    if isinstance(value, datetime):
        # A time without zone is taken as UTC, as in training.
        return format_instant(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return format_instant(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if value is None or isinstance(value, str):
        return _scalar(name, row, value)
    raise _wrong(name, row, value, "RFC 3339 text with a zone")


def _scalar(name: str, row: int, value: Any) -> Scalar:
    if isinstance(value, str) and len(value) > LIMITS.text:
        raise Invalid(
            f"column {name[:60]!r}, row {row}: text of {len(value):,} characters, at most {LIMITS.text:,} are taken",
            code="too-large",
        )
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        number = _number(name, row, value)
        return value if isinstance(value, int) else number
    raise _wrong(name, row, value, "a number, text, true or false")


_CONVERT: dict[str, Callable[[str, int, Any], Scalar]] = {
    "number": _number,
    "boolean": _boolean,
    "category": _category,
    "time": _time,
}
