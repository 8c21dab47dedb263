"""Searches of runs: conditions compiled to looks into the indexes of what they logged, and orders read from them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from stellwerk.core.search import Clause, Order, Subject
from stellwerk.ledger.comparing import compared
from stellwerk.ledger.parameters import plain, position
from stellwerk.tracking.adapters.schema import values
from stellwerk.tracking.ports import THEN
from stellwerk.tracking.rules import INDEXED
from stellwerk.tracking.shelves import RUNS

if TYPE_CHECKING:
    from stellwerk.ledger.ports import Reader

MANY = 5000
"""Runs of an experiment from which on an order is read from an index, instead of making it of all of them; and rows of
that index that are read before it is given up, because few of its runs meet the conditions."""
_STARTED = Subject("attribute", "start_time")
_ALWAYS = (
    _STARTED,
    Subject("attribute", "run_id"),
    Subject("attribute", "status"),
    Subject("attribute", "experiment"),
)
"""What every run has."""
_COLUMNS = {"run_id": "id", "status": "status", "experiment": "experiment", "parent": "parent"}
"""Attributes that are columns of the shelf itself."""


def find(
    reader: Reader,
    *,
    where: Sequence[Clause],
    order: Sequence[Order],
    limit: int,
    offset: int,
    deleted: bool | None = False,
    without: Collection[str] = (),
) -> list[str]:
    """The runs that meet all clauses, in order: the port `Finder.find`."""
    runs = RUNS.table
    conditions = [runs.c.workspace == reader.workspace]
    if deleted is not None:
        binned = sa.select(values.c.run).where(
            values.c.workspace == reader.workspace, values.c.entity == "state", values.c.key == "deleted",
            values.c.head == "yes",
        )  # fmt: skip
        gone = (
            sa.or_(runs.c.id.in_(binned), runs.c.experiment.in_(list(without))) if without else runs.c.id.in_(binned)
        )
        conditions.append(gone if deleted else sa.not_(gone))
    if order and _indexed(order[0].subject) and order[1:] in ((), THEN) and _of_many(reader, where):
        each = [_condition(clause, reader.workspace, each=True) for clause in where]
        query = _first_by_value(reader, order, [*conditions, *each])
        found = reader.execute(query.limit(position(limit)).offset(position(offset))).all()
        if len(found) == limit:  # else there are others: further on, or without a value, which come last
            return [str(row.run) for row in found]
    conditions += [_condition(clause, reader.workspace) for clause in where]
    query = sa.select(runs.c.id).where(*conditions)
    for criterion in order:
        measure = _measure(criterion.subject)
        if criterion.subject.entity == "metric":
            # As MLflow has it: numbers, then what is none, then runs without the metric.
            number = _measure(criterion.subject, sa.case((values.c.number.is_(None), 1), else_=0))
            query = query.order_by(sa.func.coalesce(number, 2))
        elif criterion.subject not in _ALWAYS:
            # Neither database agrees with the other where what is missing stands, so that is asked first.
            query = query.order_by(measure.is_(None))
        query = query.order_by(measure.desc() if criterion.descending else measure.asc())
    query = query.order_by(runs.c.started_at.desc(), runs.c.id.desc())
    found = reader.execute(query.limit(position(limit)).offset(position(offset))).all()
    return [str(row.id) for row in found]


def _indexed(subject: Subject) -> bool:
    """Whether an index holds runs in this order."""
    return _column(subject) is None and subject.entity != "dataset"


def _of_many(reader: Reader, where: Sequence[Clause]) -> bool:
    """Whether the experiments that are asked for have many runs, so that making an order of all of them takes long."""
    runs = RUNS.table
    of = (_condition(one, reader.workspace) for one in where if one.subject == Subject("attribute", "experiment"))
    some = sa.select(sa.literal(1).label("one")).select_from(runs).where(runs.c.workspace == reader.workspace, *of)
    return int(reader.execute(sa.select(sa.func.count()).select_from(some.limit(MANY).subquery())).scalar()) == MANY


def _first_by_value(reader: Reader, order: Sequence[Order], conditions: Sequence[Any]) -> sa.Select[Any]:
    """Runs that have one of the first values in an order, by the index that has it, and that meet conditions."""
    subject, down = order[0].subject, order[0].descending
    runs, ranked = RUNS.table, values.alias("ranked")
    mine = (runs.c.workspace == ranked.c.workspace, runs.c.id == ranked.c.run)
    begun = sa.select(runs.c.started_at).where(*mine).correlate(ranked).scalar_subquery()
    measure = ranked.c.number if subject.numeric else ranked.c.head
    having = [
        ranked.c.workspace == reader.workspace,
        ranked.c.entity == subject.entity,
        ranked.c.key == plain(subject.key),
        measure.is_not(None),
    ]
    sorting = [measure.desc() if down else measure]
    # Its number is in milliseconds, and when a run began is known more exactly.
    newest = begun if subject == _STARTED and not down else begun.desc()
    last = reader.execute(sa.select(measure).where(*having).order_by(*sorting).limit(1).offset(MANY)).scalar()
    if last is not None:
        having.append(measure >= last if down else measure <= last)
    if not subject.numeric:  # of those that begin alike, the whole text decides
        sorting.append(ranked.c.text.desc() if down else ranked.c.text)
    return (
        sa.select(ranked.c.run)
        .where(*having, sa.exists().where(*mine, *conditions).correlate(ranked))
        .order_by(*sorting, newest, ranked.c.run if order[1:] else ranked.c.run.desc())
    )


def _condition(clause: Clause, workspace: str, *, each: bool = False) -> Any:
    """What a clause asks of a run.

    Args:
        each: Ask each run by itself, for few runs, instead of an index for all that meet the clause.
    """
    subject = clause.subject
    column = _column(subject)
    if column is not None:
        return compared(column, clause)
    rows = sa.select(values.c.run).where(values.c.workspace == workspace)
    if subject.entity == "dataset":
        rows = rows.where(values.c.entity == f"dataset.{subject.key}")  # of as many as the run used
    else:
        rows = rows.where(values.c.entity == subject.entity, values.c.key == plain(subject.key))
    run = RUNS.table.c.id
    # What an index holds is looked up there, once for all runs. Everything else is asked of each run by itself, which
    # ends with the last run that is wanted: without statistics SQLite would read all values of all runs instead.
    of_run = rows.where(values.c.run == run).correlate(RUNS.table)
    if clause.comparator in ("IS NULL", "IS NOT NULL"):
        return of_run.exists() if clause.comparator == "IS NOT NULL" else sa.not_(of_run.exists())
    if subject.numeric:
        met = compared(values.c.number, clause)
        return of_run.where(met).exists() if each else run.in_(rows.where(met))
    if clause.comparator == "=" and not each:
        wanted = plain(str(clause.value))
        if len(wanted) < INDEXED:
            return run.in_(rows.where(values.c.head == wanted))
        of_run = of_run.where(values.c.head == wanted[:INDEXED])
    return of_run.where(compared(values.c.text, clause)).exists()


def _column(subject: Subject) -> Any:
    name = _COLUMNS.get(subject.key) if subject.entity == "attribute" else None
    return None if name is None else RUNS.table.c[name]


def _measure(subject: Subject, of: Any = None) -> Any:
    runs = RUNS.table
    # When it started is a column, too, and in an order the same.
    column = runs.c.started_at if subject == _STARTED else _column(subject)
    if column is not None:
        return column
    return (
        sa.select((values.c.number if subject.numeric else values.c.text) if of is None else of)
        .where(
            values.c.workspace == runs.c.workspace,
            values.c.run == runs.c.id,
            values.c.entity == subject.entity,
            values.c.key == plain(subject.key),
        )
        .scalar_subquery()
    )
