"""What is here of experiments, runs and models, in the order in which it can be given to another tracker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from stellwerk.core.digest import Digest
from stellwerk.models.catalogue import Page
from stellwerk.tracking.experiments import DEFAULT
from stellwerk.tracking.logbook import Found
from stellwerk.tracking.logged import LoggedModel
from stellwerk.tracking.model import Experiment, Point
from stellwerk.workspace.rooms import Rooms

PAGE = 1000
_OURS = "mlflow-artifacts:/"
STATUS = {
    "scheduled": "SCHEDULED",
    "running": "RUNNING",
    "waiting": "RUNNING",
    "paused": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
"""By our words for how a run stands, those of MLflow."""


class GivenFile(NamedTuple):
    """A file by its path below what it belongs to."""

    path: str
    digest: Digest
    size: int


def experiments(rooms: Rooms, name: str) -> Iterator[tuple[Experiment, list[Found]]]:
    """One experiment by its name, or all that are not in the bin, the oldest first, with their runs."""
    chosen = [rooms.experiments.named(name)] if name else rooms.experiments.search(limit=1_000_000)
    for one in sorted(chosen, key=lambda one: (one.created_at, one.id)):
        runs = runs_of(rooms, one)
        if runs or one.id != DEFAULT:
            yield one, runs


def runs_of(rooms: Rooms, experiment: Experiment) -> list[Found]:
    """The runs of an experiment, those first that others are below."""
    found: list[Found] = []
    while some := rooms.logbook.search(
        [experiment.id], order=["attributes.start_time"], limit=PAGE, offset=len(found)
    ):
        found += some
    parents = {one.run.id: one.run.parent for one in found}
    return sorted(found, key=lambda one: _depth(one.run.id, parents))


def points_of(rooms: Rooms, found: Found) -> Iterator[Point]:
    """All points of a run; of a metric without any, how it stands."""
    histories = rooms.logbook.histories(found.run.id)
    for latest in found.metrics:
        yield from histories.get(latest.key) or [Point(latest.key, latest.value, latest.at, latest.step)]


def models_of(rooms: Rooms, experiment: Experiment) -> list[LoggedModel]:
    """The logged models of an experiment."""
    found: list[LoggedModel] = []
    while some := rooms.logged_models.search(among=[experiment.id], limit=PAGE, offset=len(found)):
        found += some
    return found


def pages(rooms: Rooms) -> list[Page]:
    """All registered models, and all prompts."""
    return rooms.catalogue.search_models(limit=1_000_000, prompts=True)


def files_below(rooms: Rooms, top: str) -> Iterator[GivenFile]:
    """All files in a folder of the tree of artifacts."""
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        for one in rooms.artifacts.list(f"{top}/{inner}".rstrip("/")):
            path = f"{inner}/{one.name}".lstrip("/")
            if one.digest is None:
                waiting.append(path)
            else:
                yield GivenFile(path, one.digest, one.size)


def place_of(location: str) -> str:
    """The path of a place in the tree of artifacts; empty for any other place."""
    return urlsplit(location).path.strip("/") if location.startswith(_OURS) else ""


def _depth(run: str, parents: Mapping[str, Any]) -> int:
    depth, seen = 0, {run}
    above = parents.get(run)
    while above is not None and above in parents and above not in seen:
        seen.add(above)
        depth, above = depth + 1, parents[above]
    return depth
