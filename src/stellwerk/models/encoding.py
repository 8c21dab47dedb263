"""Tables and records to arrays of float64: the pre-processing that travels with a model. Models are in `tabular`.

One code for training and serving. Null and unknown become NaN; a wrong type is refused with column, row and value.
"""

from __future__ import annotations

import difflib
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stellwerk.core.clock import parse_instant
from stellwerk.core.errors import Invalid
from stellwerk.models.model import Column, Signature

if TYPE_CHECKING:
    import polars as pl

Array: TypeAlias = NDArray[np.float64]
Convert: TypeAlias = Callable[[Any], float]
Table: TypeAlias = "Mapping[str, Sequence[Any] | NDArray[Any] | pl.Series]"

_NAN = math.nan
_MAX_PLANS = 64


def encode(signature: Signature, frame: pl.DataFrame | Table) -> Array:
    """The rows of a polars frame or of a mapping of columns as an array (rows, inputs). Other columns are ignored.

    Raises:
        Invalid: `missing-column`, `wrong-type`, `not-finite` or `ragged-columns`.
    """
    if isinstance(frame, Mapping):
        return encode_columns(signature, frame)
    _demand(signature, frame.columns)
    return _stack(signature, [frame.get_column(column.name) for column in signature.inputs])


def encode_columns(signature: Signature, columns: Table) -> Array:
    """As `encode`, for lists, tuples, numpy arrays or polars series by column name."""
    _demand(signature, columns)
    return _stack(signature, [columns[column.name] for column in signature.inputs])


def encode_record(signature: Signature, record: Mapping[str, Any]) -> Array:
    """One record of scalars as an array (1, inputs)."""
    values: list[float] = []
    plan = _plan(signature)
    for name, convert in plan:
        try:
            value = record[name]
        except KeyError:
            _demand(signature, record)
            raise
        try:
            values.append(convert(value))
        except _Unfit as unfit:
            raise unfit.error(signature.inputs[len(values)], value, row=0) from None
    return np.array([values], dtype=np.float64)


class _Unfit(Exception):
    """A value that is not of its column's kind. Never leaves this module."""

    def __init__(self, code: str = "wrong-type") -> None:
        super().__init__(code)
        self.code = code

    def error(self, column: Column, value: Any, *, row: int) -> Invalid:
        expected = "a finite number" if self.code == "not-finite" else _EXPECTED[column.kind]
        return Invalid(
            f"column {column.name!r}, row {row}: got {str(value)[:60]!r} ({type(value).__name__}), "
            f"expected {expected}",
            code=self.code,
            hint="null is allowed everywhere and means unknown",
        )


_EXPECTED = {
    "number": "a number",
    "category": "text",
    "boolean": "true or false",
    "time": "a time, a date, or RFC 3339 text with a zone",
}


def _demand(signature: Signature, present: Any) -> None:
    """All inputs must be there; the error names every missing one and what it may be called instead."""
    names = list(present)
    known = set(names)
    missing = [column.name for column in signature.inputs if column.name not in known]
    if missing:
        near = {name: difflib.get_close_matches(name, [str(n) for n in names], n=2) for name in missing[:20]}
        guesses = [f"{name}: perhaps {' or '.join(found)}" for name, found in near.items() if found]
        raise Invalid(
            f"{len(missing)} of {len(signature.inputs)} columns are missing: {', '.join(missing[:50])}",
            code="missing-column",
            hint="; ".join(guesses),
        )


_PLANS: OrderedDict[int, tuple[Signature, tuple[tuple[str, Convert], ...]]] = OrderedDict()


def _plan(signature: Signature) -> tuple[tuple[str, Convert], ...]:
    """Converters by column. Kept by identity: hashing a signature and its vocabularies costs more than encoding."""
    kept = _PLANS.get(id(signature))
    if kept is not None and kept[0] is signature:
        return kept[1]
    plan = tuple((column.name, _converter(column)) for column in signature.inputs)
    _PLANS[id(signature)] = (signature, plan)
    while len(_PLANS) > _MAX_PLANS:
        _PLANS.popitem(last=False)
    return plan


def _converter(column: Column) -> Convert:
    if column.kind == "number":
        return _number
    if column.kind == "boolean":
        return _boolean
    if column.kind == "time":
        return _time
    return _category(column.vocabulary)


def _number(value: Any) -> float:
    if value is None:
        return _NAN
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (float, int, np.integer, np.floating, Decimal)):
        raise _Unfit
    try:
        number = float(value)
    except (OverflowError, ValueError):
        raise _Unfit("not-finite") from None
    if math.isinf(number):
        raise _Unfit("not-finite")
    return number


def _boolean(value: Any) -> float:
    if value is True or value is False:
        return 1.0 if value else 0.0
    if value is None:
        return _NAN
    if isinstance(value, np.bool_):
        return float(value)
    raise _Unfit


def _time(value: Any) -> float:
    if value is None:
        return _NAN
    if isinstance(value, str):
        try:
            value = parse_instant(value)
        except Invalid:
            raise _Unfit from None
    if isinstance(value, datetime):
        # A time without zone is taken as UTC, as polars does.
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    if isinstance(value, np.datetime64):
        return float(_epochs(np.array([value]))[0])
    raise _Unfit


def _category(vocabulary: tuple[str, ...]) -> Convert:
    find = {name: float(index) for index, name in enumerate(vocabulary)}.get

    def convert(value: Any) -> float:
        if isinstance(value, str):
            return find(value, _NAN)
        if value is None:
            return _NAN
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return find(str(value), _NAN)
        raise _Unfit

    return convert


def _stack(signature: Signature, columns: list[Any]) -> Array:
    rows = len(columns[0]) if columns else 0
    result = np.empty((rows, len(columns)), dtype=np.float64)
    plan = _plan(signature)
    for index, (column, values) in enumerate(zip(signature.inputs, columns, strict=True)):
        if len(values) != rows:
            raise Invalid(
                f"column {column.name!r} has {len(values)} rows, the first column has {rows}", code="ragged-columns"
            )
        result[:, index] = _column(column, plan[index][1], values)
    return result


def _column(column: Column, convert: Convert, values: Any) -> Array:
    """One column; the fast ways take what is plainly right, everything else goes value by value."""
    if isinstance(values, np.ndarray):
        return _from_numpy(column, convert, values)
    if type(values).__module__.partition(".")[0] == "polars":
        return _from_series(column, convert, values)
    kinds = set(map(type, values))
    if column.kind == "number" and kinds <= {float, int, type(None)}:
        try:
            return _finite(column, np.asarray(values, dtype=np.float64), values)
        except OverflowError:
            pass
    return _one_by_one(column, convert, values)


def _one_by_one(column: Column, convert: Convert, values: Any) -> Array:
    result = np.empty(len(values), dtype=np.float64)
    for row, value in enumerate(values):
        try:
            result[row] = convert(value)
        except _Unfit as unfit:
            raise unfit.error(column, value, row=row) from None
    return result


def _finite(column: Column, numbers: Array, values: Any) -> Array:
    infinite = np.isinf(numbers)
    if infinite.any():
        row = int(infinite.argmax())
        raise _Unfit("not-finite").error(column, values[row], row=row)
    return numbers


def _from_numpy(column: Column, convert: Convert, values: NDArray[Any]) -> Array:
    if values.ndim != 1:
        raise Invalid(f"column {column.name!r} has {values.ndim} dimensions, expected 1", code="wrong-type")
    kind = values.dtype.kind
    if column.kind == "number" and kind in "iuf":
        return _finite(column, values.astype(np.float64), values)
    if column.kind == "boolean" and kind == "b":
        return values.astype(np.float64)
    if column.kind == "time" and kind == "M":
        return _epochs(values)
    return _one_by_one(column, convert, values.tolist())


def _epochs(values: NDArray[Any]) -> Array:
    micros = values.astype("datetime64[us]")
    return np.where(np.isnat(micros), _NAN, micros.astype(np.int64) / 1e6)


def _from_series(column: Column, convert: Convert, series: pl.Series) -> Array:
    import polars as pl

    kind = series.dtype
    if isinstance(kind, pl.Null):
        return np.full(len(series), _NAN)
    if column.kind == "number" and kind.is_numeric():
        numbers = series.cast(pl.Float64).to_numpy()
        return _finite(column, np.asarray(numbers, dtype=np.float64), series)
    if column.kind == "boolean" and isinstance(kind, pl.Boolean):
        return np.asarray(series.cast(pl.Float64).to_numpy(), dtype=np.float64)
    if column.kind == "time" and isinstance(kind, (pl.Datetime, pl.Date)):
        micros = series.cast(pl.Datetime("us")).to_physical().cast(pl.Float64)
        # Divided by numpy, which rounds as `datetime.timestamp` does.
        return np.asarray(micros.to_numpy(), dtype=np.float64) / 1e6
    texts = isinstance(kind, (pl.String, pl.Categorical, pl.Enum))
    if column.kind == "category" and (texts or kind.is_integer()):
        return _codes(column, series.cast(pl.String))
    return _one_by_one(column, convert, series.to_list())


def _codes(column: Column, series: pl.Series) -> Array:
    import polars as pl

    numbers = [float(index) for index in range(len(column.vocabulary))]
    names = pl.Series(column.vocabulary, dtype=pl.String)
    codes = series.replace_strict(names, pl.Series(numbers, dtype=pl.Float64), default=None, return_dtype=pl.Float64)
    return np.asarray(codes.to_numpy(), dtype=np.float64)
