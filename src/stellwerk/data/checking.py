"""Checking a table against a contract: every broken rule with the rows that break it. Contracts are in `contract`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import polars as pl

from stellwerk.core.errors import Invalid
from stellwerk.data.columns import (
    as_text,
    dtype_name,
    family,
    family_of,
    listed,
    nameless,
    nearest,
    numbers,
    row_numbers,
)
from stellwerk.data.model import ColumnRule, Contract, ContractReport, Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Broken:
    """A violation and the rows it touches; None when it is about no row in particular."""

    violation: Violation
    rows: pl.Series | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What one pass over all columns knows about one column of numbers."""

    values: pl.Series
    valid: int
    minimum: float | None
    maximum: float | None


def check(contract: Contract, frame: pl.DataFrame, *, without: Collection[str] = ()) -> ContractReport:
    """Hold a table against a contract. A broken rule is a result, never an exception.

    Args:
        without: Columns that may be absent this once, such as the target when serving.
    """
    rules = {rule.name: rule for rule in contract.columns}
    for name in without:
        if name not in rules:
            raise Invalid(f"the contract has no column {name!r}", code="unknown-column", hint=nearest(name, rules))
    broken = [*_table(contract, frame), *_shape(contract, frame, without)]
    columns = {series.name: nameless(series) for series in frame.get_columns()}
    measured = _measure(frame, [name for name in rules if name in columns])
    for name, rule in rules.items():
        if name in columns:
            broken += _column(rule, columns[name], measured.get(name))
    bad = pl.repeat(value=False, n=frame.height, eager=True)
    for item in broken:
        if item.rows is not None:
            bad = bad | item.rows
    return ContractReport(
        contract=f"{contract.name}@{contract.version}",
        rows=frame.height,
        violations=tuple(item.violation for item in broken),
        ok=not broken,
        bad_rows=int(bad.sum()),
    )


def describe(report: ContractReport) -> list[str]:
    """A report as lines for people: the sum first, then one line per broken rule with rows to look at."""
    if report.ok:
        return [f"contract {report.contract} holds: {report.rows:,} rows"]
    count = len(report.violations)
    lines = [
        f"contract {report.contract} is broken: {count} rule{'s' if count != 1 else ''}, "
        f"{report.bad_rows:,} of {report.rows:,} rows touched"
    ]
    for violation in report.violations:
        lines.append(f"  {violation.column or 'table'}: {violation.message}")
        if violation.examples:
            shown = (f"row {row}: {'null' if value is None else repr(value)}" for row, value in violation.examples)
            lines.append(f"    {', '.join(shown)}{' …' if violation.rows_affected > len(violation.examples) else ''}")
    return lines


# --- the table


def _table(contract: Contract, frame: pl.DataFrame) -> Iterator[_Broken]:
    if frame.height < contract.min_rows:
        yield _broken(
            "", "min-rows", f"{frame.height:,}", f"at least {contract.min_rows:,}", f"{frame.height:,} rows"
        )
    for key in contract.unique:
        if not set(key) <= set(frame.columns):
            continue  # the missing column is already a violation of its own
        columns = pl.DataFrame([frame.get_column(name).alias(str(at)) for at, name in enumerate(key)])
        complete = columns.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
        repeated = ~columns.select(pl.struct(pl.all()).is_first_distinct()).to_series() & complete
        if repeated.any():
            text = columns.select(pl.concat_str(pl.all().cast(pl.String), separator=" | ")).to_series()
            name = " + ".join(key)
            yield _broken("", "unique", "repeated rows", f"unique {name}", f"{name} repeats", text, repeated)


def _shape(contract: Contract, frame: pl.DataFrame, without: Collection[str]) -> Iterator[_Broken]:
    present = dict(frame.schema)
    for rule in contract.columns:
        if rule.required and rule.name not in present and rule.name not in without:
            hint = nearest(rule.name, present) if present else "the table has no columns"
            yield _broken(rule.name, "missing-column", "no column", rule.dtype, f"the column is missing; {hint}")
    if contract.extra_columns == "refuse":
        known = {rule.name for rule in contract.columns}
        for name, dtype in present.items():
            if name not in known:
                yield _broken(
                    name, "extra-column", dtype_name(dtype), "no column", "the contract does not know the column"
                )


def _measure(frame: pl.DataFrame, names: list[str]) -> dict[str, _Measured]:
    measured, found = numbers(frame, names)
    if not measured.width or not measured.height:
        return {}
    facts = zip(
        found,
        measured.get_columns(),
        measured.count().row(0),
        measured.min().row(0),
        measured.max().row(0),
        strict=True,
    )
    return {
        name: _Measured(values=values, valid=valid, minimum=minimum, maximum=maximum)
        for name, values, valid, minimum, maximum in facts
    }


# --- one column


def _column(rule: ColumnRule, series: pl.Series, measured: _Measured | None) -> list[_Broken]:
    nulls = series.null_count()
    found = []
    if len(series) and (len(series) - nulls) / len(series) < rule.min_fraction:
        found.append(_presence(rule, series))
    if nulls == len(series):
        return found
    wrong = _type(rule, series, nulls)
    if wrong is not None:
        return [*found, wrong]
    if measured is not None:
        found += _numbers(rule, series, measured, len(series) - nulls)
    if rule.vocabulary is not None:
        found += _vocabulary(rule, rule.vocabulary, as_text(series), len(series) - nulls)
    if rule.unique and series.n_unique() - (nulls > 0) < len(series) - nulls:
        repeated = ~series.is_first_distinct() & series.is_not_null()
        found.append(_of_rows(rule, "unique", "repeated values", "no value twice", series, repeated))
    return found


def _presence(rule: ColumnRule, series: pl.Series) -> _Broken:
    missing = series.is_null()
    share = 1 - series.null_count() / len(series)
    return _broken(
        rule.name,
        "presence",
        f"{share:.4f}",
        f"at least {rule.min_fraction:g}",
        f"{share:.2%} of rows have a value",
        series,
        missing,
    )


def _type(rule: ColumnRule, series: pl.Series, nulls: int) -> _Broken | None:
    """Widths, units and kinds of text are interchangeable, and whole numbers may arrive as floats."""
    wanted, got = family(rule.dtype), family_of(series)
    if wanted == got or wanted == "nothing" or (wanted, got) == ("float", "integer"):
        same_nested = wanted != "nested" or rule.dtype == dtype_name(series.dtype)
        return None if same_nested else _wrong_type(rule, series, series.is_not_null())
    if (wanted, got) == ("integer", "float"):
        number = series.cast(pl.Float64)
        fraction = number.is_finite().fill_null(value=False) & ((number - number.floor()) != 0)
        return _wrong_type(rule, series, fraction) if fraction.any() else None
    if wanted in {"integer", "float"} and got == "text":
        text = series.cast(pl.String)
        words = text.is_not_null() & text.cast(pl.Float64, strict=False).is_null()
        return _wrong_type(rule, series, words if words.any() else series.is_not_null())
    return _wrong_type(rule, series, series.is_not_null())


def _wrong_type(rule: ColumnRule, series: pl.Series, rows: pl.Series) -> _Broken:
    return _of_rows(rule, "type", dtype_name(series.dtype), rule.dtype, series, rows)


def _numbers(rule: ColumnRule, series: pl.Series, measured: _Measured, present: int) -> Iterator[_Broken]:
    if measured.valid < present and family_of(series) == "float":
        number = series.cast(pl.Float64)
        nan, infinite = number.is_nan().fill_null(value=False), number.is_infinite().fill_null(value=False)
        if rule.nan == "refuse" and nan.any():
            yield _of_rows(rule, "nan", "NaN", "no NaN", series, nan)
        if rule.infinite == "refuse" and infinite.any():
            yield _of_rows(rule, "infinite", "infinity", "finite numbers", series, infinite)
    low, high = measured.minimum, measured.maximum
    if rule.minimum is not None and low is not None and low < rule.minimum:
        below = (measured.values < rule.minimum).fill_null(value=False)
        yield _of_rows(rule, "minimum", f"{low:g}", f"at least {rule.minimum:g}", series, below)
    if rule.maximum is not None and high is not None and high > rule.maximum:
        above = (measured.values > rule.maximum).fill_null(value=False)
        yield _of_rows(rule, "maximum", f"{high:g}", f"at most {rule.maximum:g}", series, above)


def _vocabulary(rule: ColumnRule, words: tuple[str, ...], text: pl.Series, present: int) -> Iterator[_Broken]:
    unknown = text.is_not_null() & ~text.is_in(list(words)).fill_null(value=False)
    count = int(unknown.sum())
    if 1 - count / present < rule.min_domain_mass:
        new = sorted(set(text.filter(unknown).head(1000).to_list()))
        yield _of_rows(rule, "vocabulary", listed(new), listed(words, most=8), text, unknown)


# --- putting it into words


def _of_rows(rule: ColumnRule, name: str, got: str, expected: str, series: pl.Series, rows: pl.Series) -> _Broken:
    return _broken(rule.name, name, got, expected, f"{name}: got {got}", series, rows)


def _broken(
    column: str,
    rule: str,
    got: str,
    expected: str,
    message: str,
    values: pl.Series | None = None,
    rows: pl.Series | None = None,
) -> _Broken:
    touched = 0
    examples: tuple[tuple[int, str | None], ...] = ()
    said = f"{message} (expected {expected})"
    if values is not None and rows is not None:
        touched = int(rows.sum())
        found = as_text(values.filter(rows).head(5)).to_list()
        examples = tuple(zip(row_numbers(rows), found, strict=True))
        said = f"{said}, {touched:,} row{'s' if touched != 1 else ''}"
    violation = Violation(
        column=column,
        rule=rule,
        got=got,
        expected=expected,
        rows_affected=touched,
        examples=examples,
        message=said,
    )
    return _Broken(violation=violation, rows=rows)
