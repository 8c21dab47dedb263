"""Traces by what is said of them: conditions compiled to looks into the indexes of traces, assessments and links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from stellwerk.core.search import Clause, Order, Subject
from stellwerk.ledger.parameters import plain
from stellwerk.ledger.searches import Search, few, having
from stellwerk.tracking.traced import ASSESSMENTS, LINKS, TRACES

if TYPE_CHECKING:
    from stellwerk.ledger.ports import Reader

_RUN, _PROMPT = Subject("attribute", "run_id"), Subject("attribute", "prompt")
_TRACE = TRACES.table.c.id


class SqlTraces:
    """The index in the one database, on SQLite and PostgreSQL alike."""

    def __init__(self) -> None:
        self._search = Search(TRACES, then=("-at", "id"), always=("status", "end_time_ms"))

    def find(
        self,
        reader: Reader,
        of: Sequence[str],
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        limit: int | None,
        offset: int,
    ) -> list[str]:
        found = self._search.find(reader, self._conditions(reader, of, where), order, limit, offset)
        return [str(one) for (one,) in found]

    def count(self, reader: Reader, of: Sequence[str], *, where: Sequence[Clause]) -> int:
        return self._search.count(reader, self._conditions(reader, of, where))

    def _conditions(self, reader: Reader, of: Sequence[str], where: Sequence[Clause]) -> list[Any]:
        home = TRACES.table.c.experiment
        homes = home == plain(of[0]) if len(of) == 1 else home.in_([plain(one) for one in of])
        return [homes, *(self._condition(reader, clause) for clause in where)]

    def _condition(self, reader: Reader, clause: Clause) -> Any:
        subject = clause.subject
        if subject in (_RUN, _PROMPT) and clause.comparator in ("=", "IN"):
            wanted = clause.value if isinstance(clause.value, tuple) else (str(clause.value),)
            own = self._search.condition(reader, clause) if subject == _RUN else _there(reader, "prompt", wanted[0])
            return sa.or_(own, _linked(reader, "run" if subject == _RUN else "prompt", wanted))
        if subject.entity in ("feedback", "expectation"):
            return _said(reader, clause)
        if subject.entity == "issue":
            return _said(reader, Clause(Subject("issue", str(clause.value)), "IS NOT NULL", None))
        return self._search.condition(reader, clause)


def _said(reader: Reader, clause: Clause) -> Any:
    return having(reader, ASSESSMENTS.values, [(_TRACE, ASSESSMENTS.values.c.trace)], clause)


def _there(reader: Reader, entity: Any, key: str) -> Any:
    clause = Clause(Subject(entity, key), "IS NOT NULL", None)
    return having(reader, TRACES.values, [(_TRACE, TRACES.values.c.id)], clause)


def _linked(reader: Reader, kind: str, targets: Sequence[str]) -> Any:
    """That a trace was linked with one of some things, which was said from outside."""
    links = LINKS.table.c
    named = links.id == links.trace + f"/{kind}/" + links.target
    rows = sa.select(links.trace).where(
        links.workspace == reader.workspace, links.target.in_([plain(one) for one in targets]), named
    )
    if few(reader, rows):
        return _TRACE.in_(rows)
    return rows.where(links.trace == _TRACE).correlate(TRACES.table).exists()
