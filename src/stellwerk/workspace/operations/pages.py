"""What people look at all day: experiments, tables of runs, curves, comparisons, registered models."""

from __future__ import annotations

from datetime import datetime
from functools import cache

from stellwerk.governance import shelf_of_models
from stellwerk.governance.shelf_of_models import Cut, ModelList, ModelPage
from stellwerk.tracking.curves import Axis, Curve
from stellwerk.tracking.tables import ColumnLine, Compared, ExperimentLine, RunTable
from stellwerk.workspace import viewing
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms

EVERY_MODEL = 1_000_000
"""More than there are: names are sought among all of them."""


@operation("experiments.list", "runs:read")
def list_experiments(rooms: Rooms) -> tuple[ExperimentLine, ...]:
    """Experiments with how many runs they have; those in which something ran last come first."""
    return tuple(rooms.tables.experiments())


@operation("runs.columns", "runs:read")
def columns_of_runs(rooms: Rooms, experiment: str) -> tuple[ColumnLine, ...]:
    """What the newest runs of an experiment (its id) logged: the columns that its table can have."""
    return tuple(rooms.tables.columns(experiment))


@operation("runs.table", "runs:read")
def table_of_runs(
    rooms: Rooms,
    experiment: str,
    where: str = "",
    order: tuple[str, ...] = (),
    columns: tuple[str, ...] = (),
    limit: int = 100,
    offset: int = 0,
) -> RunTable:
    """Runs of an experiment (its id) with some columns, such as `metrics.auc`, and nothing else of them."""
    return rooms.tables.table(experiment, where=where, order=order, columns=columns, limit=limit, offset=offset)


@operation("runs.curves", "runs:read")
def curves_of_runs(
    rooms: Rooms,
    runs: tuple[str, ...],
    keys: tuple[str, ...],
    points: int = 200,
    axis: Axis = "step",
    smooth: float = 0.0,
) -> tuple[Curve, ...]:
    """The curves of some metrics, thinned to a number of points with the extremes of every stretch."""
    return tuple(rooms.curves.read(runs, keys, points=points, axis=axis, smooth=smooth))


@operation("runs.compare", "runs:read")
def compare_runs(rooms: Rooms, runs: tuple[str, ...]) -> tuple[Compared, ...]:
    """Everything that up to 1,000 runs logged, for a comparison; unknown runs are left out."""
    return tuple(rooms.tables.compare(runs))


@operation("models.overview", "models:read")
def overview_of_models(rooms: Rooms, name: str = "", limit: int = 500) -> ModelList:
    """Registered models with a part of a name: versions, aliases, what is said of them, and what may answer now."""
    every = rooms.catalogue.search_models(limit=EVERY_MODEL)
    return shelf_of_models.model_list(rooms.book, every, name, _cut(rooms, limit=limit))


@operation("models.page", "models:read")
def page_of_model(
    rooms: Rooms, name: str, as_of: datetime | None = None, limit: int = 100, offset: int = 0
) -> ModelPage:
    """A model with its versions, the newest first, what proofs and releases say of them, and who moved which alias.

    With a time: where its aliases pointed then, and the versions there were.
    """
    page, moves = rooms.catalogue.get(name), rooms.registry.history(name)
    return shelf_of_models.model_page(rooms.book, page, moves, _cut(rooms, as_of=as_of, limit=limit, offset=offset))


def _cut(rooms: Rooms, *, limit: int, offset: int = 0, as_of: datetime | None = None) -> Cut:
    """A part of the shelf, with signals that are judged once each."""
    shows = cache(lambda endpoint: viewing.signal(rooms, endpoint))
    return Cut(now=rooms.clock.now(), shows=shows, as_of=as_of, limit=limit, offset=offset)
