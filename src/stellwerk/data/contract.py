"""Contracts: inferring a draft, changing it, confirming it, comparing two. Checking a table is in `checking`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime, time
from typing import Any, get_args

import polars as pl

from stellwerk.core import names
from stellwerk.core.errors import Invalid
from stellwerk.data.checking import check, describe
from stellwerk.data.columns import EPOCH_FAMILIES, NUMBER_FAMILIES, family, nearest
from stellwerk.data.model import ColumnProfile, ColumnRule, Contract, Kind, Profile
from stellwerk.data.profile import MAX_LISTED, profile

__all__ = ["check", "confirm", "describe", "diff", "infer", "refine"]

_FIELDS = tuple(field.name for field in fields(ColumnRule) if field.name != "name")
_SHORT_LIST = 20
_TABLE_FIELDS = ("unique", "min_rows", "extra_columns", "note")


def infer(name: str, source: Profile | pl.DataFrame) -> Contract:
    """A draft from what was seen, with room for what was not; a person reads, refines and confirms it.

    Room: a share of missing or unknown values that the sample cannot exclude (Wilson, z = 3) or twice what it
    shows; ranges as wide again on both sides, but never across zero; a tenth of the rows.
    """
    known = source if isinstance(source, Profile) else profile(source)
    if not known.rows:
        raise Invalid(
            "a contract cannot be inferred from a table without rows", code="empty-table", hint="give it data"
        )
    return Contract(
        name=names.name(name, what="contract name"),
        columns=tuple(_rule(column) for column in known.columns),
        min_rows=max(1, known.rows // 10),
    )


def refine(
    contract: Contract,
    changes: Mapping[str, Mapping[str, object]],
    *,
    unique: Sequence[Sequence[str]] | None = None,
    min_rows: int | None = None,
    extra_columns: str | None = None,
    note: str | None = None,
) -> Contract:
    """Change rules, as in `{"month": {"minimum": 1, "maximum": 12}}`; unknown columns and fields are `Invalid`.

    A vocabulary given without `min_domain_mass` is meant strictly. Times may be given as dates. Changing a
    confirmed contract makes a draft of the next version; changing nothing returns it as it is.
    """
    rules = {rule.name: rule for rule in contract.columns}
    for column, wanted in changes.items():
        if column not in rules:
            raise _unknown("column", column, rules, code="unknown-column")
        rules[column] = _changed(rules[column], wanted)
    given = {"unique": unique, "min_rows": min_rows, "extra_columns": extra_columns, "note": note}
    table = {field: _table_value(field, value, rules) for field, value in given.items() if value is not None}
    result = replace(contract, columns=tuple(rules.values()), **table)
    if result == contract or contract.status == "draft":
        return result
    return replace(result, version=contract.version + 1, status="draft")


def confirm(contract: Contract) -> Contract:
    """The same promise, now made by a person. Confirming twice changes nothing."""
    if not contract.columns:
        raise Invalid(f"contract {contract.name!r} has no columns to promise anything about", code="empty-contract")
    return replace(contract, status="confirmed")


def diff(old: Contract, new: Contract) -> list[str]:
    """What a reviewer has to read: one line per added (+), removed (-) or changed (~) promise."""
    before = {rule.name: rule for rule in old.columns}
    after = {rule.name: rule for rule in new.columns}
    lines = [f"- {name}: {before[name].kind}, {before[name].dtype}" for name in before if name not in after]
    lines += [f"+ {name}: {after[name].kind}, {after[name].dtype}" for name in after if name not in before]
    for name in before:
        if name in after:
            lines += _changes(f"{name}.", before[name], after[name], _FIELDS)
    return lines + _changes("", old, new, ("name", *_TABLE_FIELDS))


def _changes(prefix: str, old: object, new: object, names_of: Sequence[str]) -> list[str]:
    pairs = [(field, getattr(old, field), getattr(new, field)) for field in names_of]
    return [f"~ {prefix}{field}: {_shown(a)} → {_shown(b)}" for field, a, b in pairs if a != b]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "{" + ", ".join(_shown(item) for item in value) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return repr(value) if isinstance(value, str) else "any" if value is None else str(value)


# --- inferring


def _rule(column: ColumnProfile) -> ColumnRule:
    present = column.rows - column.nulls
    listed = column.kind == "category" and column.distinct <= MAX_LISTED
    once = sum(1 for _, count in column.top if count == 1) if listed else 0
    minimum, maximum = _range(column) if column.kind == "number" else (None, None)
    return ColumnRule(
        name=column.name,
        kind=column.kind,
        dtype=column.dtype,
        min_fraction=_at_least(present, column.rows),
        minimum=minimum,
        maximum=maximum,
        vocabulary=tuple(sorted(value for value, _ in column.top)) if listed else None,
        # What was seen once tells how much was not seen (Good and Turing).
        min_domain_mass=_at_least(present - once, present, room=_room(column)) if listed else 1.0,
        unique=column.kind == "identifier" and column.distinct == present,
    )


def _room(column: ColumnProfile) -> float:
    """Long lists of values are seldom complete: new ones may take a hundredth of the rows."""
    return 0.01 if column.distinct > _SHORT_LIST else 0.0


def _at_least(good: int, total: int, *, room: float = 0.0) -> float:
    """The share to demand after seeing `good` of `total`: the bad share may double, or be what chance allows."""
    if not good:
        return 0.0
    z2 = 9.0
    share = good / total
    spread = math.sqrt(share * (1 - share) * z2 / total + z2 * z2 / (4 * total * total))
    wilson = (share + z2 / (2 * total) - spread) / (1 + z2 / total)
    return max(0.0, math.floor(min(wilson, 1 - 2 * (1 - share), 1 - room) * 1000) / 1000)


def _range(column: ColumnProfile) -> tuple[float | None, float | None]:
    low, high = column.minimum, column.maximum
    if low is None or high is None:
        return None, None
    if family(column.dtype) == "float" and low >= 0 and 0 < high <= 1:
        return 0.0, 1.0
    room = (high - low) or abs(high) or 1.0
    wide_low = max(0.0, low - room) if low >= 0 else low - room
    wide_high = min(0.0, high + room) if high <= 0 else high + room
    return _outward(wide_low, math.floor), _outward(wide_high, math.ceil)


def _outward(value: float, towards: Callable[[float], int]) -> float | None:
    """A bound with three digits, rounded away from the data; None when it leaves the numbers."""
    if not math.isfinite(value):
        return None
    if value == 0:
        return 0.0
    digits = 2 - math.floor(math.log10(abs(value)))
    if abs(digits) > 300:
        return value
    return (
        towards(value * 10.0**digits) / 10.0**digits if digits >= 0 else towards(value / 10**-digits) * 10.0**-digits
    )


# --- refining


def _changed(rule: ColumnRule, wanted: Mapping[str, object]) -> ColumnRule:
    values = {field: _value(rule.name, field, value) for field, value in wanted.items()}
    if "vocabulary" in values and "min_domain_mass" not in values:
        values["min_domain_mass"] = 1.0
    result = replace(rule, **values)
    if result.minimum is not None and result.maximum is not None and result.minimum > result.maximum:
        raise _refused(rule.name, "minimum", f"{result.minimum:g}", f"at most the maximum {result.maximum:g}")
    kind = family(result.dtype)
    bounded = {"minimum", "maximum"} & set(wanted)
    if bounded and kind not in NUMBER_FAMILIES | EPOCH_FAMILIES | {"duration", "clock", "nothing"}:
        field = min(bounded)
        raise _refused(rule.name, field, f"{wanted[field]!r}", f"nothing: {result.dtype} has no order of size")
    if values.get("vocabulary") is not None and kind not in {"text", "integer", "boolean", "nothing"}:
        raise _refused(rule.name, "vocabulary", "a list", f"minimum and maximum for a column of {result.dtype}")
    return result


def _value(column: str, field: str, value: object) -> Any:
    """One field of a rule, checked; it is never repaired."""
    if field not in _FIELDS:
        raise _unknown("field", field, _FIELDS, code="unknown-field")
    match field:
        case "kind":
            return _one_of(column, field, value, get_args(Kind))
        case "nan" | "infinite":
            return _one_of(column, field, value, ("refuse", "allow"))
        case "dtype":
            if not isinstance(value, str) or (family(value) == "nested" and "(" not in value and value != "Binary"):
                raise _refused(column, field, repr(value), "the name of a polars type such as 'Int64'")
            return value
        case "min_fraction" | "min_domain_mass":
            return _share(column, field, value)
        case "minimum" | "maximum":
            return None if value is None else _bound(column, field, value)
        case "vocabulary":
            return None if value is None else _words(column, value)
        case _:
            if not isinstance(value, bool):
                raise _refused(column, field, repr(value), "True or False")
            return value


def _one_of(column: str, field: str, value: object, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise _refused(column, field, repr(value), "one of " + ", ".join(known))
    return value


def _share(column: str, field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _refused(column, field, repr(value), "a share from 0 to 1")
    return float(value)


def _bound(column: str, field: str, value: object) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _refused(column, field, repr(value), "a finite number or a date")
    return float(value)


def _words(column: str, value: object) -> tuple[str, ...]:
    words = list(value) if isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping) else []
    if not words or not all(isinstance(word, str) for word in words):
        raise _refused(column, "vocabulary", repr(value)[:80], "a list of at least one text")
    return tuple(sorted(set(words)))


def _table_value(field: str, value: Any, rules: Collection[str]) -> Any:
    if field == "unique":
        keys = tuple(tuple(key) for key in value if not isinstance(key, str))
        if len(keys) != len(value) or not all(keys):
            raise _refused("", field, repr(value)[:80], "a list of lists of columns")
        for column in (column for key in keys for column in key):
            if column not in rules:
                raise _unknown("column", column, rules, code="unknown-column")
        return keys
    if field == "min_rows" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise _refused("", field, repr(value), "a whole number from 0")
    if field == "extra_columns":
        return _one_of("", field, value, ("refuse", "allow"))
    return value


def _refused(column: str, field: str, got: str, expected: str) -> Invalid:
    where = f"of column {column!r} " if column else ""
    return Invalid(f"contract field {field!r} {where}cannot be {got} (expected {expected})", code="invalid-contract")


def _unknown(what: str, name: str, known: Collection[str], *, code: str) -> Invalid:
    return Invalid(f"the contract has no {what} {name!r}", code=code, hint=nearest(name, known))
