"""Folders of MLflow (`mlruns`): an experiment, a run and a model are a folder each, with a `meta.yaml` in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.data.dvc import yamltext
from stellwerk.tracking.model import DatasetUse, ModelUse, Point, Score
from stellwerk.workspace.mlflow.folders import Places, text_of, texts
from stellwerk.workspace.mlflow.model import (
    Folder,
    FoundExperiment,
    FoundModel,
    FoundRegistered,
    FoundRun,
    FoundVersion,
    Kind,
    Problem,
    unread,
    whole,
)
from stellwerk.workspace.mlflow.said import dataset_said, text_said, version_said

META = "meta.yaml"
TRASH, REGISTERED = ".trash", "models"
MOST_META, MOST_TEXT, MOST_METRIC = 4 << 20, 4 << 20, 1 << 30
RUN_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_MODEL_STATUS = {1: "PENDING", 2: "READY", 3: "FAILED"}
_NO_RUNS = {"tags", "datasets", "traces", "models"}
"""Folders of an experiment that are no runs."""


class FileSource:
    """Implements `Source`."""

    kind: Kind = "files"

    def __init__(self, root: Path, places: Places) -> None:
        self._root, self._places = root, places
        self._folders: dict[str, Path] = {}
        self._runs: dict[str, tuple[Path, str]] = {}
        self._traces = 0

    def experiments(self) -> Iterator[FoundExperiment]:
        for folder in (*_folders(self._root), *_folders(self._root / TRASH)):
            meta = meta_of(folder)
            identity = text_said(meta.get("experiment_id"))
            if not identity or folder.name in (TRASH, REGISTERED) or identity in self._folders:
                continue
            self._folders[identity] = folder
            tags = {key: text for key, text in texts(folder / "tags", most=MOST_TEXT) if isinstance(text, str)}
            yield FoundExperiment(
                id=identity,
                name=text_said(meta.get("name")),
                created=whole(meta.get("creation_time")),
                changed=whole(meta.get("last_update_time")),
                location=text_said(meta.get("artifact_location")),
                tags=tags,
                deleted=meta.get("lifecycle_stage") == "deleted" or folder.parent.name == TRASH,
            )

    def runs(self, experiment: str) -> list[str]:
        found: list[tuple[int, str]] = []
        home = self._folders[experiment]
        for folder in _folders(home):
            meta = {} if folder.name in _NO_RUNS else meta_of(folder)
            identity = text_said(meta.get("run_id") or meta.get("run_uuid"))
            if identity:
                self._runs[identity] = folder, experiment
                found.append((whole(meta.get("start_time")), identity))
        self._traces += len(_folders(home / "traces"))
        return [identity for _, identity in sorted(found)]

    def read(self, ids: Sequence[str]) -> Iterator[FoundRun | Problem]:
        for identity in ids:
            folder, experiment = self._runs[identity]
            yield self._run(identity, folder, experiment)

    def _run(self, identity: str, folder: Path, experiment: str) -> FoundRun:
        meta = meta_of(folder)
        problems: list[str] = []
        end, gone = meta.get("end_time"), meta.get("deleted_time")
        return FoundRun(
            id=identity,
            experiment=experiment,
            name=text_said(meta.get("run_name")),
            user=text_said(meta.get("user_id")),
            status=RUN_STATUS.get(whole(meta.get("status")), text_said(meta.get("status"))),
            start=whole(meta.get("start_time")),
            end=None if end is None else whole(end),
            location=text_said(meta.get("artifact_uri")),
            deleted=meta.get("lifecycle_stage") == "deleted",
            deleted_at=None if gone is None else whole(gone),
            params=_pairs(folder / "params", problems),
            tags=_pairs(folder / "tags", problems),
            points=list(_points(folder / "metrics", problems)),
            datasets=list(self._datasets(folder, experiment)),
            models=list(_uses(folder)),
            problems=unread(problems),
        )

    def _datasets(self, folder: Path, experiment: str) -> Iterator[DatasetUse]:
        for inner in _folders(folder / "inputs"):
            said = meta_of(inner)
            identity = text_said(said.get("source_id"))
            if said.get("source_type") != "DATASET" or not identity or "/" in identity or identity in (".", ".."):
                continue
            meta = meta_of(self._folders[experiment] / "datasets" / identity)
            tags = said.get("tags")
            if meta:
                labels = tags.items() if isinstance(tags, dict) else ()
                yield dataset_said(meta, {text_said(key): text_said(value) for key, value in labels})

    def models(self, experiment: str) -> Iterator[FoundModel | Problem]:
        for folder in _folders(self._folders[experiment] / "models"):
            meta = meta_of(folder)
            identity = text_said(meta.get("model_id"))
            if not identity:
                continue
            problems: list[str] = []
            yield FoundModel(
                id=identity,
                experiment=experiment,
                name=text_said(meta.get("name")),
                model_type=text_said(meta.get("model_type")),
                source_run=text_said(meta.get("source_run_id")),
                status=_MODEL_STATUS.get(whole(meta.get("status")), "PENDING"),
                created=whole(meta.get("creation_timestamp")),
                changed=whole(meta.get("last_updated_timestamp")),
                deleted=meta.get("lifecycle_stage") == "deleted",
                location=text_said(meta.get("artifact_location")),
                tags=_pairs(folder / "tags", problems),
                params=_pairs(folder / "params", problems),
                scores=list(_scores(identity, folder / "metrics", problems)),
            )
            yield from (Problem(kind="metric", where=f"model {identity}", name="", reason=one) for one in problems)

    def registered(self) -> Iterator[FoundRegistered | Problem]:
        for folder in _folders(self._root / REGISTERED):
            meta = meta_of(folder)
            if not meta.get("name"):
                continue
            problems: list[str] = []
            aliases = {key: whole(text) for key, text in _pairs(folder / "aliases", problems)}
            versions = [self._version(one) for one in _folders(folder) if one.name.startswith("version-")]
            yield FoundRegistered(
                name=text_said(meta.get("name")),
                created=whole(meta.get("creation_timestamp")),
                changed=whole(meta.get("last_updated_timestamp")),
                description=text_said(meta.get("description")),
                tags=_pairs(folder / "tags", problems),
                aliases=aliases,
                versions=[one for one in versions if one.stage != "Deleted_Internal"],
            )

    def _version(self, folder: Path) -> FoundVersion:
        return version_said(meta_of(folder), _pairs(folder / "tags", []))

    def folder(self, location: str, tail: tuple[str, ...]) -> Folder:
        return self._places.folder(location, tail)

    def left_out(self) -> Mapping[str, int]:
        return {"traces": self._traces} if self._traces else {}

    def close(self) -> None:
        """Nothing is held open."""


def holds_experiments(folder: Path) -> bool:
    """Whether there is at least one experiment in a folder."""
    return any(meta_of(one).get("experiment_id") is not None for one in _folders(folder))


def experiments_in(folder: Path) -> dict[str, str]:
    """By their names, the ids of the experiments in a folder, those in the bin too. Each is the name of its folder."""
    found = {}
    for one in (*_folders(folder), *_folders(folder / TRASH)):
        said = meta_of(one)
        if text_said(said.get("experiment_id")) == one.name:
            found[text_said(said.get("name"))] = one.name
    return found


def _folders(place: Path) -> list[Path]:
    """Folders in a folder, by name; links are none."""
    if place.is_symlink():
        return []
    try:
        with os.scandir(place) as found:
            return sorted(Path(one.path) for one in found if one.is_dir(follow_symlinks=False))
    except OSError:
        return []


def meta_of(folder: Path) -> dict[str, Any]:
    """What a folder says of itself; nothing where it says nothing that can be read."""
    data = text_of(folder / META, most=MOST_META)
    if data is None:
        return {}
    try:
        found = yamltext.read(data, META)
    except Invalid:
        return {}
    return found if isinstance(found, dict) else {}


def _pairs(folder: Path, problems: list[str]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, text in texts(folder, most=MOST_TEXT):
        if isinstance(text, Problem):
            problems.append(f"{key[:80]!r}: {text.reason}")
        else:
            found.append((key, text))
    return found


def _points(folder: Path, problems: list[str]) -> Iterator[Point]:
    for key, parts in _lines(folder, problems):
        try:
            yield Point(key, float(parts[1]), int(parts[0]), int(parts[2]) if len(parts) > 2 else 0)
        except (ValueError, IndexError):
            problems.append(f"a point of the metric {key[:60]!r} cannot be read")


def _scores(model: str, folder: Path, problems: list[str]) -> Iterator[Score]:
    for key, parts in _lines(folder, problems):
        try:
            at, value, step, run = int(parts[0]), float(parts[1]), int(parts[2]), parts[3]
        except (ValueError, IndexError):
            problems.append(f"a point of the metric {key[:60]!r} cannot be read")
            continue
        dataset, digest = parts[4:6] if len(parts) >= 6 else ("", "")
        yield Score(model, run, key, value, at, step, dataset, digest)


def _lines(folder: Path, problems: list[str]) -> Iterator[tuple[str, list[str]]]:
    for key, text in texts(folder, most=MOST_METRIC):
        if isinstance(text, Problem):
            problems.append(f"{key[:80]!r}: {text.reason}")
            continue
        yield from ((key, line.split(" ")) for line in text.splitlines() if line.strip())


def _uses(folder: Path) -> Iterator[ModelUse]:
    for inner in _folders(folder / "inputs"):
        said = meta_of(inner)
        if said.get("source_type") == "MODEL":
            yield ModelUse(model=text_said(said.get("source_id")), role="used")
    for inner in _folders(folder / "outputs"):
        said = meta_of(inner)
        if said.get("destination_type") == "MODEL_OUTPUT":
            yield ModelUse(model=text_said(said.get("source_id")), role="made", step=whole(said.get("step")))
