"""What changed between two tables: rows, columns, types, values. Drift is monitoring's question."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from stellwerk.core.errors import Invalid
from stellwerk.data.columns import as_text, dtype_name, family_of, listed, nameless, row_numbers
from stellwerk.data.model import CellChange, TableDiff

_EXAMPLES = 5


def compare(old: pl.DataFrame, new: pl.DataFrame, *, key: Sequence[str] | None = None) -> TableDiff:
    """Compare by key, or row by row as a whole without one. The order of rows and columns does not matter.

    Nulls equal nulls and NaN equals NaN. A key that repeats within a table is `Invalid`.
    """
    was, now = dict(old.schema), dict(new.schema)
    shared = [name for name in was if name in now]
    retyped = tuple((name, dtype_name(was[name]), dtype_name(now[name])) for name in shared if was[name] != now[name])
    keys = tuple(key or ())
    before, after = _alike(old, new, shared)
    if keys:
        rows_added, rows_removed, rows_changed, changed, examples = _by_key(before, after, shared, keys)
    else:
        rows_added, rows_removed = _by_row(before, after) if shared else (new.height, old.height)
        rows_changed, changed, examples = 0, (), ()
    return TableDiff(
        key=keys,
        rows_old=old.height,
        rows_new=new.height,
        rows_added=rows_added,
        rows_removed=rows_removed,
        rows_changed=rows_changed,
        columns_added=tuple(name for name in now if name not in was),
        columns_removed=tuple(name for name in was if name not in now),
        columns_retyped=retyped,
        changed=changed,
        examples=examples,
    )


def lines(diff: TableDiff) -> list[str]:
    """A difference as lines for people; a single line when there is none."""
    same = not (diff.columns_added or diff.columns_removed or diff.columns_retyped)
    if same and not (diff.rows_added or diff.rows_removed or diff.rows_changed):
        return [f"no difference: {diff.rows_new:,} rows"]
    result = [
        f"rows: {diff.rows_old:,} → {diff.rows_new:,} "
        f"(+{diff.rows_added:,} −{diff.rows_removed:,} ~{diff.rows_changed:,})"
    ]
    result += [f"+ column {name}" for name in diff.columns_added]
    result += [f"- column {name}" for name in diff.columns_removed]
    result += [f"~ column {name}: {before} → {after}" for name, before, after in diff.columns_retyped]
    result += [f"~ {name}: {count:,} values" for name, count in diff.changed]
    for change in diff.examples:
        result.append(f"  {' | '.join(change.key)}: {change.column} {_word(change.old)} → {_word(change.new)}")
    return result


def _word(value: str | None) -> str:
    return "null" if value is None else value


_Counts = tuple[int, int, int, tuple[tuple[str, int], ...], tuple[CellChange, ...]]


def _alike(old: pl.DataFrame, new: pl.DataFrame, shared: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The shared columns of both in the same types, named by position (polars reads some names as patterns)."""
    pairs = [_alike_columns(nameless(old.get_column(name)), nameless(new.get_column(name))) for name in shared]
    before = pl.DataFrame([pair[0].alias(str(at)) for at, pair in enumerate(pairs)])
    after = pl.DataFrame([pair[1].alias(str(at)) for at, pair in enumerate(pairs)])
    return before, after


def _alike_columns(old: pl.Series, new: pl.Series) -> tuple[pl.Series, pl.Series]:
    families = {family_of(old), family_of(new)}
    if "nested" in families or (old.dtype != new.dtype and not families <= {"integer", "float"}):
        return as_text(old), as_text(new)
    if old.dtype == new.dtype:
        return old, new
    common = pl.Int128 if families == {"integer"} else pl.Float64
    return old.cast(common), new.cast(common)


def _by_row(before: pl.DataFrame, after: pl.DataFrame) -> tuple[int, int]:
    signed = pl.concat([before.with_columns(sign=pl.lit(-1)), after.with_columns(sign=pl.lit(1))])
    sums = signed.group_by(before.columns).agg(pl.col("sign").sum()).get_column("sign")
    return int(sums.filter(sums > 0).sum()), -int(sums.filter(sums < 0).sum())


def _by_key(before: pl.DataFrame, after: pl.DataFrame, shared: Sequence[str], key: tuple[str, ...]) -> _Counts:
    for name in key:
        if name not in shared:
            raise Invalid(
                f"key column {name!r} is not in both tables (shared: {listed(shared, most=20)})",
                code="unknown-column",
            )
    on = [str(shared.index(name)) for name in key]
    for which, frame in (("old", before), ("new", after)):
        _unique(frame.select(on), which, key)
    matched = before.join(after, on=on, how="inner", nulls_equal=True, suffix=".new", maintain_order="left")
    values = [str(at) for at in range(len(shared)) if str(at) not in on]
    differs = matched.select(pl.col(at).ne_missing(pl.col(f"{at}.new")).alias(at) for at in values)
    changed = differs.select(pl.any_horizontal(pl.all())).to_series() if values and matched.height else None
    counts = zip(values, differs.sum().row(0) if changed is not None else (), strict=changed is not None)
    return (
        after.height - matched.height,
        before.height - matched.height,
        int(changed.sum()) if changed is not None else 0,
        tuple((shared[int(at)], count) for at, count in counts if count),
        _examples(matched, differs, on, shared) if changed is not None else (),
    )


def _unique(keys: pl.DataFrame, which: str, key: tuple[str, ...]) -> None:
    repeated = keys.is_duplicated()
    if repeated.any():
        raise Invalid(
            f"key {' + '.join(key)} repeats in the {which} table, for example in row {listed(row_numbers(repeated))}",
            code="key-not-unique",
            hint="name more key columns, or compare without a key",
        )


def _examples(
    matched: pl.DataFrame, differs: pl.DataFrame, on: Sequence[str], shared: Sequence[str]
) -> tuple[CellChange, ...]:
    found: list[CellChange] = []
    for at in differs.columns:
        for row in differs.get_column(at).arg_true().head(_EXAMPLES - len(found)).to_list():
            old, new = matched.item(row, at), matched.item(row, f"{at}.new")
            found.append(
                CellChange(
                    key=tuple(str(matched.item(row, name)) for name in on),
                    column=shared[int(at)],
                    old=None if old is None else str(old),
                    new=None if new is None else str(new),
                )
            )
        if len(found) >= _EXAMPLES:
            break
    return tuple(found)
