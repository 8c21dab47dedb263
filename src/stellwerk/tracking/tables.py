"""Runs side by side: the table of an experiment with the columns one wants, and comparisons."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from stellwerk.core.errors import Invalid
from stellwerk.core.search import Clause, Subject, parse_filter, parse_order
from stellwerk.ledger.ports import Book, Reader
from stellwerk.store.ports import Blobs
from stellwerk.tracking import experiments, rules, surroundings
from stellwerk.tracking.model import SYSTEM, Latest, Run
from stellwerk.tracking.ports import Finder, Points
from stellwerk.tracking.shelves import EXPERIMENTS, RUNS
from stellwerk.tracking.surroundings import Surroundings

Number = float | Literal["NaN", "Infinity", "-Infinity"]
"""A metric's value, in a form that JSON has."""
Cell = float | str | None
"""What a run has in a column: a number, a text (also for a number that is not finite), or nothing."""

MAX_ROWS = 1000
MAX_COLUMNS = 200
MAX_COMPARED = 1000
SAMPLE = 200
"""Of so many runs, the newest, the columns are listed."""
METRICS_SHOWN, PARAMS_SHOWN = 6, 4
"""How many columns are shown where none was chosen."""
ENTITIES = {"metric": "metrics", "param": "params", "tag": "tags"}
_PLAIN = re.compile(r"[\w/:@+-]+(?:\.[\w/:@+-]+)*")


class Cells(Protocol):
    """What runs have under names, read without the rest of them."""

    def read(
        self, reader: Reader, runs: Sequence[str], subjects: Collection[Subject]
    ) -> Mapping[str, Mapping[Subject, Cell]]:
        """By run and subject; what a run does not have is not there."""
        ...

    def keys(self, reader: Reader, runs: Sequence[str]) -> Mapping[tuple[str, str], tuple[int, int]]:
        """The metrics, parameters and tags that some runs have: how many of them, and how many different texts."""
        ...

    def census(self, reader: Reader) -> Mapping[str, tuple[int, datetime]]:
        """By experiment: how many runs, and when the latest began."""
        ...

    def count(self, reader: Reader, experiment: str) -> int:
        """How many runs an experiment has."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentLine:
    """An experiment in a list."""

    id: str
    name: str
    runs: int
    latest: datetime | None
    """When its latest run began."""
    created_at: datetime
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnLine:
    """A column that a table of runs can have."""

    name: str
    """As it is sought and ordered by: `metrics.auc`."""
    runs: int
    """How many of the newest runs have it."""
    chosen: bool
    """Whether it is shown where nobody chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A run in a table."""

    id: str
    name: str
    status: str
    kind: str
    user: str
    started_at: datetime
    ended_at: datetime | None
    parent: str | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTable:
    """Some runs of an experiment with some columns."""

    experiment: str
    name: str
    """Of the experiment."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    more: bool
    """Whether further runs meet the conditions."""
    total: int
    """How many runs the experiment has, whatever the conditions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a metric of a run stands."""

    key: str
    value: Number
    step: int
    at: int
    """Milliseconds since 1970."""
    low: Number | None = None
    """The bounds of all values that are numbers."""
    high: Number | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A run in a comparison, with everything it logged."""

    id: str
    name: str
    status: str
    experiment: str
    """The name."""
    started_at: datetime
    seconds: float | None
    params: dict[str, str]
    tags: dict[str, str]
    metrics: tuple[Standing, ...]
    code: dict[str, str]
    """Its digest, commit and source, as far as they are known."""
    environment: dict[str, str]
    """Packages and their versions, as the run, its lock or a model that it made says."""
    data: dict[str, str]
    """Digests of what it read, and what it says of that: rows, and the types of columns."""


class Tables:
    """Lists, tables and comparisons of one workspace's runs."""

    def __init__(self, book: Book, finder: Finder, points: Points, cells: Cells, blobs: Blobs) -> None:
        self._book, self._finder, self._points, self._cells = book, finder, points, cells
        self._around = Surroundings(blobs)

    def experiments(self, *, deleted: bool = False) -> list[ExperimentLine]:
        """Experiments with how many runs they have, those in which something ran last before the others."""
        with self._book.read() as reader:
            census = self._cells.census(reader)
            known = EXPERIMENTS.select(reader)
            if experiments.DEFAULT in census and all(one.id != experiments.DEFAULT for one in known):
                known.append(experiments.find(reader, experiments.DEFAULT))
        lines = [
            ExperimentLine(
                id=one.id,
                name=one.name,
                runs=census[one.id][0] if one.id in census else 0,
                latest=census[one.id][1] if one.id in census else None,
                created_at=one.created_at,
                deleted=one.stage == "deleted",
            )
            for one in known
            if deleted or one.stage == "active"
        ]
        return sorted(lines, key=lambda one: (one.latest or one.created_at, one.id), reverse=True)

    def columns(self, experiment: str) -> list[ColumnLine]:
        """What the newest runs of an experiment logged, by kind and name."""
        with self._book.read() as reader:
            experiments.find(reader, experiment)
            found = self._cells.keys(reader, self._find(reader, experiment, limit=SAMPLE))
        chosen = _chosen(found)
        order = {entity: place for place, entity in enumerate(ENTITIES)}
        return [
            ColumnLine(name=spelled(Subject(entity, key)), runs=found[entity, key][0], chosen=(entity, key) in chosen)  # type: ignore[arg-type]
            for entity, key in sorted(found, key=lambda one: (order[one[0]], one[1]))
        ]

    def table(
        self,
        experiment: str,
        *,
        where: str = "",
        order: Sequence[str] = (),
        columns: Sequence[str] = (),
        limit: int = 100,
        offset: int = 0,
    ) -> RunTable:
        """Runs of an experiment that meet all conditions, with the columns asked for.

        Raises:
            Invalid: `invalid-filter`, `invalid-order`, `invalid-column`, `too-many`.
            NotFound: For an unknown experiment.
        """
        if limit > MAX_ROWS or len(columns) > MAX_COLUMNS:
            raise Invalid(f"a table has at most {MAX_ROWS} rows and {MAX_COLUMNS} columns", code="too-many")
        subjects = [column(text) for text in columns]
        with self._book.read() as reader:
            home = experiments.find(reader, experiment)
            ids = self._find(reader, experiment, where=where, order=order, limit=limit + 1, offset=offset)
            more, ids = len(ids) > limit, ids[:limit]
            found = self._cells.read(reader, ids, {*subjects, *_FACTS})
            total = self._cells.count(reader, experiment)
        return RunTable(
            experiment=home.id,
            name=home.name,
            columns=tuple(map(spelled, subjects)),
            rows=tuple(_row(one, found[one], subjects) for one in ids),
            more=more,
            total=total,
        )

    def ids(self, experiment: str, *, where: str = "", order: Sequence[str] = (), limit: int = 1000) -> list[str]:
        """Ids of the runs of an experiment that meet all conditions."""
        with self._book.read() as reader:
            experiments.find(reader, experiment)
            return self._find(reader, experiment, where=where, order=order, limit=limit)

    def compare(self, runs: Sequence[str]) -> list[Compared]:
        """Everything that some runs logged, in the order asked for; what is not known is left out.

        Raises:
            Invalid: `too-many`.
        """
        wanted = list(dict.fromkeys(runs))
        if len(wanted) > MAX_COMPARED:
            raise Invalid(f"{len(wanted):,} runs at once (expected at most {MAX_COMPARED:,})", code="too-many")
        with self._book.read() as reader:
            known = {run.id: run for run in RUNS.among(reader, "id", wanted)}
            names = {experiments.DEFAULT: experiments.DEFAULT_NAME}
            names |= {one.id: one.name for one in EXPERIMENTS.select(reader)}
            stand = self._points.latest(reader, list(known))
            around = self._around.environments(reader, list(known.values()))
        return [_compared(known[run], stand.get(run, ()), around[run], names) for run in wanted if run in known]

    def _find(
        self,
        reader: Reader,
        experiment: str,
        *,
        where: str = "",
        order: Sequence[str] = (),
        limit: int,
        offset: int = 0,
    ) -> list[str]:
        clauses = [*parse_filter(where), Clause(Subject("attribute", "experiment"), "=", experiment)]
        return self._finder.find(reader, where=clauses, order=parse_order(order), limit=limit, offset=offset)


_FACTS = tuple(
    Subject("attribute", key) for key in ("run_name", "status", "kind", "user_id", "start_time", "end_time", "parent")
)


def column(text: str) -> Subject:
    """What a column shows. Raises `Invalid` (`invalid-column`)."""
    try:
        found = parse_order([text])[0]
    except Invalid as cause:
        raise Invalid(
            f"{text[:80]!r} is no column",
            code="invalid-column",
            hint="such as metrics.auc, params.depth, tags.team or user_id",
        ) from cause
    if found.descending or found.subject.entity == "dataset":
        raise Invalid(f"{text[:80]!r} is no column", code="invalid-column")
    return found.subject


def spelled(subject: Subject) -> str:
    """How a subject is written in filters and orders."""
    if subject.entity == "attribute":
        return subject.key
    quote = "" if _PLAIN.fullmatch(subject.key) else '"' if "`" in subject.key else "`"
    return f"{ENTITIES[subject.entity]}.{quote}{subject.key}{quote}"


def spelled_number(value: float) -> Number:
    """A number in a form that JSON has."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def standing(metric: Latest) -> Standing:
    """How a metric stands, in a form that JSON has."""
    return Standing(
        key=metric.key,
        value=spelled_number(metric.value),
        step=metric.step,
        at=metric.at,
        low=_bound(metric.low),
        high=_bound(metric.high),
    )


def _bound(value: float | None) -> Number | None:
    # Indexes hold the largest number there is instead of infinity.
    if value is None or abs(value) != sys.float_info.max:
        return value
    return "Infinity" if value > 0 else "-Infinity"


def _chosen(found: Mapping[tuple[str, str], tuple[int, int]]) -> set[tuple[str, str]]:
    """The columns to begin with: what most runs have, of parameters what differs, of the machine nothing."""
    metrics = sorted((one for one in found if one[0] == "metric"), key=lambda one: (-found[one][0], one[1]))
    metrics = [one for one in metrics if not one[1].startswith(SYSTEM)] or metrics
    params = sorted((one for one in found if one[0] == "param"), key=lambda one: (-found[one][0], one[1]))
    params = [one for one in params if found[one][1] > 1] or params
    return {*metrics[:METRICS_SHOWN], *params[:PARAMS_SHOWN]}


def _row(run: str, found: Mapping[Subject, Cell], subjects: Sequence[Subject]) -> Row:
    name, status, kind, user, start, end, parent = (found.get(one) for one in _FACTS)
    return Row(
        id=run,
        name=str(name or ""),
        status=str(status or ""),
        kind=str(kind or ""),
        user=str(user or ""),
        started_at=rules.instant(int(start or 0)),
        ended_at=None if end is None else rules.instant(int(end)),
        parent=None if parent is None else str(parent),
        cells=tuple(found.get(one) for one in subjects),
    )


def _compared(
    run: Run, metrics: Sequence[Latest], environment: Mapping[str, str], names: Mapping[str, str]
) -> Compared:
    return Compared(
        id=run.id,
        name=run.name,
        status=run.status,
        experiment=names.get(run.experiment, run.experiment),
        started_at=run.started_at,
        seconds=lasted(run),
        params={key: rules.spelled(value) for key, value in run.params.items()},
        tags=dict(run.tags),
        metrics=tuple(map(standing, metrics)),
        code=surroundings.code(run),
        environment={**({"lock": run.environment} if run.environment else {}), **environment},
        data=surroundings.data(run),
    )


def lasted(run: Run) -> float | None:
    """How long a run took in seconds; None while it goes on.

    What a pipeline cost is the sum of its steps, which may run side by side, and wait.
    """
    if run.cost.wall_seconds and run.kind != "pipeline":
        return run.cost.wall_seconds
    return None if run.ended_at is None else (run.ended_at - run.started_at).total_seconds()
