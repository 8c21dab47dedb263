"""What a table of runs shows, out of the index of values: only the columns that are asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from stellwerk.core.clock import parse_instant
from stellwerk.ledger.parameters import plain
from stellwerk.tracking.adapters.schema import points, values
from stellwerk.tracking.shelves import RUNS

if TYPE_CHECKING:
    from stellwerk.core.search import Subject
    from stellwerk.ledger.ports import Reader
    from stellwerk.tracking.tables import Cell

_AT_ONCE = 500
_COLUMNS = {"run_id": "id", "status": "status", "experiment": "experiment", "parent": "parent"}


class SqlCells:
    """The same on SQLite and PostgreSQL."""

    def read(
        self, reader: Reader, runs: Sequence[str], subjects: Collection[Subject]
    ) -> Mapping[str, Mapping[Subject, Cell]]:
        found: dict[str, dict[Subject, Cell]] = {run: {} for run in runs}
        columns = [one for one in subjects if one.entity == "attribute" and one.key in _COLUMNS]
        wanted: dict[str, dict[str, Subject]] = defaultdict(dict)
        for one in subjects:
            if one not in columns:
                wanted[one.entity][one.key] = one
        for some in _parts(runs):
            for run, subject, cell in self._of_table(reader, some, columns):
                found[run][subject] = cell
            for entity, named in wanted.items():
                for part in _parts(list(named)):
                    for run, key, cell in _read(reader, some, entity, part):
                        found[run][named[key]] = cell
        return found

    def keys(self, reader: Reader, runs: Sequence[str]) -> Mapping[tuple[str, str], tuple[int, int]]:
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for some in _parts(runs):
            query = (
                sa.select(values.c.entity, values.c.key, sa.func.count(), sa.func.count(values.c.head.distinct()))
                .where(
                    values.c.workspace == reader.workspace,
                    values.c.run.in_(some),
                    values.c.entity.in_(("metric", "param", "tag")),
                )
                .group_by(values.c.entity, values.c.key)
            )
            for entity, key, count, different in reader.execute(query):
                before = found.get((entity, key), (0, 0))
                found[entity, key] = before[0] + count, max(before[1], different)
        return found

    def census(self, reader: Reader) -> Mapping[str, tuple[int, datetime]]:
        runs = RUNS.table
        query = (
            sa.select(runs.c.experiment, sa.func.count(), sa.func.max(runs.c.started_at))
            .where(runs.c.workspace == reader.workspace)
            .group_by(runs.c.experiment)
        )
        return {row[0]: (row[1], parse_instant(row[2])) for row in reader.execute(query)}

    def count(self, reader: Reader, experiment: str) -> int:
        runs = RUNS.table
        query = sa.select(sa.func.count()).where(
            runs.c.workspace == reader.workspace, runs.c.experiment == plain(experiment)
        )
        return int(reader.execute(query).scalar())

    def unsealed(self, reader: Reader, runs: Collection[str]) -> set[str]:
        table = RUNS.table
        some_point = sa.exists().where(points.c.workspace == table.c.workspace, points.c.run == table.c.id)
        found: set[str] = set()
        for some in _parts(list(runs)):
            query = sa.select(table.c.id).where(
                table.c.workspace == reader.workspace, table.c.id.in_(some), some_point
            )
            found.update(row.id for row in reader.execute(query))
        return found

    def _of_table(
        self, reader: Reader, some: Sequence[str], subjects: Sequence[Subject]
    ) -> Iterator[tuple[str, Subject, Cell]]:
        runs = RUNS.table
        if not subjects:
            return
        query = sa.select(runs.c.id, *(runs.c[_COLUMNS[one.key]].label(f"c{i}") for i, one in enumerate(subjects)))
        for row in reader.execute(query.where(runs.c.workspace == reader.workspace, runs.c.id.in_(some))):
            for subject, cell in zip(subjects, row[1:], strict=True):
                yield row[0], subject, cell


def _read(
    reader: Reader, runs: Sequence[str], entity: str, keys: Sequence[str]
) -> Iterator[tuple[str, str, float | str]]:
    query = sa.select(values.c.run, values.c.key, values.c.number, values.c.text).where(
        values.c.workspace == reader.workspace,
        values.c.run.in_(runs),
        values.c.entity == entity,
        values.c.key.in_([plain(key) for key in keys]),
    )
    for run, key, number, text in reader.execute(query):
        if entity == "metric":
            yield run, key, text or ("NaN" if number is None else number)
        else:
            yield run, key, text if number is None else number


def _parts(listed: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]
