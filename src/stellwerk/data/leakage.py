"""Signs that training may know what it could not know when predicting. What a finding means, policies decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import polars as pl

from stellwerk.core.errors import Invalid
from stellwerk.data import association
from stellwerk.data.columns import family_of, listed, nameless, require, row_numbers
from stellwerk.data.model import LeakageFinding, Task


def leaks(
    frame: pl.DataFrame,
    *,
    target: str,
    task: Task,
    features: Sequence[str] | None = None,
    labels: pl.Series | None = None,
    entity: Sequence[str] = (),
    time: str = "",
) -> tuple[LeakageFinding, ...]:
    """Every check that the arguments allow: copies and single features always, the others with a split."""
    names = _features(frame, target, features)
    found = target_copy(frame, target=target, features=names)
    copies = {finding.column for finding in found}
    found += single_feature(frame, target=target, task=task, features=[n for n in names if n not in copies])
    if labels is not None:
        found += duplicates_across(frame, labels=labels, features=names)
        if entity:
            # Over time the same entities come back, which is no fault of the split.
            found += entity_overlap(frame, labels=labels, entity=entity, severity="warn" if time else "refuse")
        if time:
            found += time_order(frame, labels=labels, time=time)
    return found


def single_feature(
    frame: pl.DataFrame,
    *,
    target: str,
    task: Task,
    features: Sequence[str] | None = None,
    auc: float = 0.98,
    information: float = 0.9,
    explained: float = 0.98,
) -> tuple[LeakageFinding, ...]:
    """Features that know the target by themselves.

    Measured as AUC (binary; for numbers, categories and for being null), as mutual information over the target's
    entropy (several classes) or as explained variance (amounts). Above the limit is a warning; beyond doubt, nine
    tenths of the way from the limit to 1, the feature is refused. Too few rows to tell from chance find nothing.
    """
    names = _features(frame, target, features)
    answer = nameless(frame.get_column(target))
    if answer.null_count():
        raise Invalid(f"target {target!r} has nulls", code="target-null", hint="check it with `target.task_of` first")
    columns = pl.DataFrame([frame.get_column(name) for name in names])
    match task:
        case "binary":
            values, limit, what = association.auc(columns, answer), auc, "ranks the target with an AUC of {:.4f}"
        case "multiclass":
            values, limit = association.information(columns, answer), information
            what = "holds {:.4f} of the information about the target"
        case _:
            values, limit = association.explained(columns, answer), explained
            what = "explains {:.4f} of the variance of the target"
    return tuple(
        LeakageFinding(
            check="single-feature",
            column=name,
            value=value,
            limit=limit,
            message=f"{name!r} alone {what.format(value)} (limit {limit:g}): is it known before the outcome?",
            severity="refuse" if value >= limit + 0.9 * (1 - limit) else "warn",
        )
        for name, value in values.items()
        if value > limit
    )


def target_copy(
    frame: pl.DataFrame, *, target: str, features: Sequence[str] | None = None
) -> tuple[LeakageFinding, ...]:
    """Features that are the target under another name, in another unit or with other words for its classes."""
    names = _features(frame, target, features)
    answer = nameless(frame.get_column(target))
    if answer.n_unique() < 2:
        return ()
    columns = pl.DataFrame([frame.get_column(name) for name in names])
    copies = association.affine(columns, answer) | association.renamed(columns, answer)
    return tuple(
        LeakageFinding(
            check="target-copy",
            column=name,
            value=1.0,
            limit=1.0,
            message=f"{name!r} is the target {target!r} in other words: each value of one gives the other",
            severity="refuse",
        )
        for name in names
        if name in copies
    )


def duplicates_across(
    frame: pl.DataFrame, *, labels: pl.Series, features: Sequence[str], limit: float = 0.01, refuse: float = 0.5
) -> tuple[LeakageFinding, ...]:
    """The share of gate rows whose features all occur, exactly, in training or selection."""
    require(frame, features)
    gate = labels == "gate"
    if not features or not gate.any() or gate.all():
        return ()
    hashes = pl.DataFrame([frame.get_column(name) for name in features]).hash_rows(seed=0)
    again = hashes.filter(gate).is_in(hashes.filter(~gate).unique().to_list())
    return _share("duplicates-across", "", again, gate, limit, refuse, "also stand in training or selection")


def entity_overlap(
    frame: pl.DataFrame,
    *,
    labels: pl.Series,
    entity: Sequence[str],
    limit: float = 0.0,
    severity: Literal["refuse", "warn"] = "refuse",
) -> tuple[LeakageFinding, ...]:
    """The share of gate rows whose entity also trains. Rows without an entity are left out."""
    require(frame, entity)
    gate = labels == "gate"
    keys = pl.DataFrame([frame.get_column(name).alias(str(at)) for at, name in enumerate(entity)])
    known = keys.filter(labels == "train").drop_nulls().unique()
    marked = keys.with_row_index("row").join(known, on=keys.columns, how="semi").get_column("row")
    rows = pl.int_range(frame.height, eager=True, dtype=pl.UInt32)
    again = rows.is_in(marked.to_list()).filter(gate)
    if not len(again):
        return ()
    refuse = limit if severity == "refuse" else 1.0
    return _share("entity-overlap", " + ".join(entity), again, gate, limit, refuse, "belong to an entity that trains")


def time_order(
    frame: pl.DataFrame, *, time: str, labels: pl.Series | None = None, event_times: Sequence[str] = ()
) -> tuple[LeakageFinding, ...]:
    """Training that is not strictly before the gate, and events later than the prediction that uses them.

    Args:
        time: The moment for which each row predicts.
        event_times: Columns with the moments from which features were taken; null means no event.
    """
    require(frame, [time, *event_times])
    moment = nameless(frame.get_column(time))
    if family_of(moment) not in {"date", "datetime", "instant", "integer"}:
        raise Invalid(f"column {time!r} of type {moment.dtype} is no time", code="invalid-time-column")
    found: list[LeakageFinding] = []
    if labels is not None:
        found += _late_training(time, moment, labels)
    for name in event_times:
        events = nameless(frame.get_column(name))
        if events.dtype != moment.dtype:
            raise Invalid(
                f"column {name!r} of type {events.dtype} cannot be compared with {time!r} of type {moment.dtype}",
                code="invalid-time-column",
            )
        late = (events > moment).fill_null(value=False)
        if late.any():
            count = int(late.sum())
            message = f"{name!r} lies after {time!r} in {count:,} rows: row {listed(row_numbers(late))}"
            found.append(_finding("time-order", name, count / frame.height, 0.0, message, "refuse"))
    return tuple(found)


def _late_training(name: str, moment: pl.Series, labels: pl.Series) -> list[LeakageFinding]:
    gate = moment.filter(labels == "gate").drop_nulls()
    train = moment.filter(labels == "train").drop_nulls()
    if not len(gate) or not len(train):
        return []
    first = gate.sort().head(1).item()
    late = (train >= first).mean()
    if not late:
        return []
    message = f"{late:.2%} of the training rows are not before the first gate row ({first}) by {name!r}"
    return [_finding("time-order", name, float(str(late)), 0.0, message, "refuse")]


def _share(
    check: str, column: str, again: pl.Series, gate: pl.Series, limit: float, refuse: float, what: str
) -> tuple[LeakageFinding, ...]:
    count = int(again.sum())
    share = count / len(again)
    if share <= limit:
        return ()
    rows = pl.Series(gate.arg_true()).filter(again).head(5) + 1
    message = f"{count:,} of {len(again):,} gate rows ({share:.2%}) {what}: row {listed(rows.to_list())}"
    return (_finding(check, column, share, limit, message, "refuse" if share > refuse else "warn"),)


def _finding(
    check: str, column: str, value: float, limit: float, message: str, severity: Literal["refuse", "warn"]
) -> LeakageFinding:
    return LeakageFinding(check=check, column=column, value=value, limit=limit, message=message, severity=severity)


def _features(frame: pl.DataFrame, target: str, features: Sequence[str] | None) -> list[str]:
    require(frame, [target, *(features or ())])
    return [name for name in (frame.columns if features is None else features) if name != target]
