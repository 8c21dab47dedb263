"""Giving what is here into a folder of MLflow (`mlruns`), with all ids, times and numbers as they are.

What is there already is skipped, so an export that was broken off goes on, and one that is made again adds what came
since. Nothing that is there is changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stellwerk.access.rules import require
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Invalid
from stellwerk.ledger import documents
from stellwerk.models.catalogue import Page
from stellwerk.models.model import ModelVersion
from stellwerk.store.service import walk
from stellwerk.tracking import rules
from stellwerk.tracking.experiments import DEFAULT
from stellwerk.tracking.logbook import NAME_TAG, PARENT_TAG, Found
from stellwerk.tracking.logged import LoggedModel
from stellwerk.tracking.model import OPEN, DatasetUse, Experiment, Run, Score
from stellwerk.workspace.mlflow import asking, giving, writing_files
from stellwerk.workspace.mlflow.model import Problem, TrackerExport
from stellwerk.workspace.mlflow.reading_files import RUN_STATUS, experiments_in, meta_of
from stellwerk.workspace.mlflow.writing_files import Batch, Unwritable, keyed, meta
from stellwerk.workspace.rooms import Rooms

Say = Callable[[str], None]
AT_ONCE = 50
"""Runs that are put into place together."""
MOST_EXPERIMENT = 64
"""Signs of the id of an experiment in MLflow."""
_STATUS = {word: number for number, word in RUN_STATUS.items()}
_MODEL_STATUS = {"pending": 1, "ready": 2, "failed": 3}
_LOCAL = 4
"""`SourceType.LOCAL`, which MLflow writes for every run."""


def export_folder(rooms: Rooms, root: Path, *, experiment: str = "", say: Say | None = None) -> TrackerExport:
    """Write one experiment by its name, or all of them and the registered models. Raises `NotFound`."""
    require(rooms.grant, rooms.actor, "runs:read")
    require(rooms.grant, rooms.actor, "models:read")
    chosen = list(giving.experiments(rooms, experiment))
    with writing_files.opened(root) as batch:
        if not experiments_in(batch.root) and all(one.id != DEFAULT for one, _ in chosen):
            chosen.insert(0, (rooms.experiments.get(DEFAULT), []))  # without it MLflow starts no run there
        return _Export(rooms, batch, say or (lambda text: None)).run(chosen, whole=not experiment)


@dataclass
class _Export:
    rooms: Rooms
    batch: Batch
    say: Say
    made: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    homes: dict[str, str] = field(default_factory=dict)
    """By the id of an experiment here, its id there."""

    def run(self, chosen: Sequence[tuple[Experiment, list[Found]]], *, whole: bool) -> TrackerExport:
        began = monotonic()
        there = experiments_in(self.batch.root)
        for one, _ in chosen:
            self._experiment(one, there)
        self.batch.settle()
        for one, runs in chosen:
            if one.id not in self.homes:
                continue
            self.say(f"writing {len(runs):,} runs of {one.name}")
            for found in runs:
                self._run(found)
                if len(self.batch.waiting) >= AT_ONCE:
                    self.batch.settle()
            for model in giving.models_of(self.rooms, one):
                self._model(model)
            self.batch.settle()
        if whole:
            self.say("writing registered models")
            for page in giving.pages(self.rooms):
                self._registered(page)
            self.batch.settle()
        return TrackerExport(
            made=dict(self.made),
            known=dict(self.known),
            problems=tuple(self.problems),
            seconds=round(monotonic() - began, 3),
        )

    def _experiment(self, one: Experiment, there: dict[str, str]) -> None:
        """Find the experiment of its name there, or make it, under its own id if that is free."""
        if one.name in there:
            if not (self.batch.root / there[one.name]).exists():
                reason = "one of this name is in the bin there: restore it or empty the bin, and export again"
                self._problem("experiment", f"experiment {one.name}", one.name, reason)
                return
            self.homes[one.id] = there[one.name]
            self.known["experiments"] += 1
            return
        taken = {*there.values(), *self.homes.values()}
        home = one.id
        if home in taken or len(home) > MOST_EXPERIMENT or "." in home:
            numbers = [int(each) for each in taken if each.isdecimal()]
            home = str(max(numbers, default=0) + 1)
        self.homes[one.id] = home
        folder = self.batch.folder(home)
        meta(
            folder,
            {
                "experiment_id": home,
                "name": one.name,
                "artifact_location": one.location or self._uri(home),
                "creation_time": rules.milliseconds(one.created_at),
                "last_update_time": rules.milliseconds(one.changed_at),
                "lifecycle_stage": "active",
            },
        )
        self._pairs(folder / "tags", one.tags.items(), "tag", f"experiment {one.name}")
        self.made["experiments"] += 1

    def _run(self, found: Found) -> None:
        run, home = found.run, self.homes[found.run.experiment]
        where, place = f"run {run.id}", f"{home}/{run.id}"
        status = giving.STATUS[run.status]
        if (self.batch.root / place).exists():
            self.known["runs"] += 1
            if meta_of(self.batch.root / place).get("status") != _STATUS[status]:
                reason = "it went on since it was written: delete its folder there and export again to have all of it"
                self._problem("run", where, run.id, reason)
            return
        folder = self.batch.folder(place)
        meta(
            folder,
            {
                "run_id": run.id, "run_uuid": run.id, "run_name": run.name, "experiment_id": home,
                "user_id": run.user or run.started_by, "status": _STATUS[status],
                "start_time": rules.milliseconds(run.started_at),
                "end_time": None if run.ended_at is None else rules.milliseconds(run.ended_at),
                "artifact_uri": run.location or self._uri(f"{place}/artifacts"),
                "lifecycle_stage": "active", "entry_point_name": "", "source_name": "", "source_version": "",
                "source_type": _LOCAL,
            },
        )  # fmt: skip
        for name in ("params", "metrics", "tags", "artifacts"):
            (folder / name).mkdir()
        params = ((key, rules.spelled(documents.dump(value))) for key, value in run.params.items())
        self._pairs(folder / "params", params, "param", where)
        tags = {**run.tags, **({NAME_TAG: run.name} if run.name else {})}
        tags |= {PARENT_TAG: run.parent} if run.parent else {}
        self._pairs(folder / "tags", tags.items(), "tag", where)
        self._points(folder / "metrics", found)
        self._used(folder, run, home)
        self._files(rules.artifacts_of(run), folder / "artifacts", where)
        if run.status in OPEN:
            self._problem("run", where, run.id, "it goes on; what it logs from now on is not in the folder")
        self.made["runs"] += 1

    def _points(self, folder: Path, found: Found) -> None:
        lines: dict[str, list[bytes]] = {}
        for one in giving.points_of(self.rooms, found):
            lines.setdefault(one.key, []).append(f"{one.at} {one.value!r} {one.step}\n".encode())
        for key, some in lines.items():
            if self._keyed(folder, key, some, "metric", f"run {found.run.id}"):
                self.made["points"] += len(some)

    def _used(self, folder: Path, run: Run, home: str) -> None:
        for one in run.datasets:
            identity = self._dataset(one, home)
            link = {"source_type": "DATASET", "source_id": identity, "tags": one.tags}
            self._link(folder / "inputs" / identity, {**link, "destination_type": "RUN", "destination_id": run.id})
        for use in run.models:
            try:
                rules.check_run_id(use.model)
            except Invalid as refused:
                self._problem("model", f"run {run.id}", use.model, refused.message)
                continue
            link = {"source_id": use.model, "tags": {}}
            if use.role == "used":
                link |= {"source_type": "MODEL", "destination_type": "RUN", "destination_id": run.id}
                self._link(folder / "inputs" / use.model, link)
            else:
                link |= {"source_type": "RUN_OUTPUT", "destination_type": "MODEL_OUTPUT", "destination_id": use.model}
                self._link(folder / "outputs" / use.model, {**link, "step": use.step})

    def _link(self, folder: Path, said: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        meta(folder, said)

    def _dataset(self, one: DatasetUse, home: str) -> str:
        """The id of the description of data, which is computed from it: what many runs used is there once."""
        facts = (one.name, one.digest, one.source_type, one.source, one.schema, one.profile)
        identity = sha256("\0".join(facts).encode()).hexdigest()[:32]
        place = f"{home}/datasets/{identity}"
        if not (self.batch.root / place).exists() and self.batch.root / place not in self.batch.waiting:
            names = ("name", "digest", "source_type", "source", "schema", "profile")
            meta(self.batch.folder(place), {name: text or None for name, text in zip(names, facts, strict=True)})
        return identity

    def _model(self, model: LoggedModel) -> None:
        home = self.homes[model.experiment]
        where, place = f"model {model.id}", f"{home}/models/{model.id}"
        if (self.batch.root / place).exists():
            self.known["logged models"] += 1
            return
        folder = self.batch.folder(place)
        meta(
            folder,
            {
                "model_id": model.id, "experiment_id": home, "name": model.name, "model_type": model.model_type or None,
                "source_run_id": model.source_run or None, "status": _MODEL_STATUS[model.status], "status_message": None,
                "artifact_location": model.location or self._uri(f"{place}/artifacts"),
                "creation_timestamp": rules.milliseconds(model.created_at),
                "last_updated_timestamp": rules.milliseconds(model.changed_at),
            },
        )  # fmt: skip
        self._pairs(folder / "params", model.params.items(), "param", where)
        self._pairs(folder / "tags", model.tags.items(), "tag", where)
        self._scores(folder / "metrics", self.rooms.logbook.scores(model.id), where)
        self._files(model.home, folder / "artifacts", where)
        self.made["logged models"] += 1

    def _scores(self, folder: Path, scores: Iterable[Score], where: str) -> None:
        lines: dict[str, list[bytes]] = {}
        for one in scores:
            data = [one.dataset, one.dataset_digest] if one.dataset else []
            parts = [str(one.at), repr(one.value), str(one.step), one.run, *data]
            if any(len(part.split()) != 1 for part in parts):
                self._problem(
                    "metric", where, one.key, "the name of its dataset has spaces, which no such file can hold"
                )
                parts = parts[:4]
            if one.run:
                lines.setdefault(one.key, []).append(" ".join(parts).encode() + b"\n")
        for key, some in lines.items():
            self._keyed(folder, key, some, "metric", where)

    # Registered models

    def _registered(self, page: Page) -> None:
        name = page.model.name
        where, place = f"model {name}", f"models/{name}"
        if name.startswith(".") or "/" in name:
            self._problem("model", where, name, "its name cannot be that of a folder there")
            return
        try:
            asked = asking.named(name)
        except Invalid as refused:
            self._problem("model", where, name, refused.message)
            return
        there = self.batch.root / place
        if there.exists():
            self.known["registered models"] += 1
        else:
            folder = self.batch.folder(place)
            meta(
                folder,
                {
                    "name": name,
                    "creation_timestamp": rules.milliseconds(page.model.created_at),
                    "last_updated_timestamp": rules.milliseconds(page.model.changed_at),
                    "description": page.model.description or None,
                },
            )
            self._pairs(folder / "tags", page.model.tags.items(), "tag", where)
            self.batch.settle()
            self.made["registered models"] += 1
        versions = self.rooms.catalogue.search_versions(asked, limit=1_000_000, prompts=True)
        for version in sorted(versions, key=lambda one: one.version):
            self._version(version, f"{place}/version-{version.version}")
        self.batch.settle()
        for alias, number in page.aliases.items():
            self._alias(there / "aliases", alias, number, where)

    def _alias(self, folder: Path, alias: str, number: int, where: str) -> None:
        if "/" in alias or alias.startswith("."):
            self._problem("alias", where, alias, "its name cannot be that of a file there")
            return
        place = folder / alias
        if place.exists():
            self.known["aliases"] += 1
            if place.read_text("utf-8", "replace") != str(number):
                self._problem("alias", where, alias, "it means something else there")
        else:
            self.batch.add(place, str(number).encode())
            self.made["aliases"] += 1

    def _version(self, one: ModelVersion, place: str) -> None:
        where = f"version {one.name}@{one.version}"
        created = rules.milliseconds(one.created_at)
        there = self.batch.root / place
        if there.exists():
            self.known["versions"] += 1
            if meta_of(there).get("creation_timestamp") != created:
                self._problem("version", where, str(one.version), "another version of this number is there")
            return
        folder = self.batch.folder(place)
        source, storage = self._source(one, place)
        if storage == self._uri(f"{place}/artifacts") and one.digest is not None:
            for path, entry in walk(self.rooms.blobs, one.digest):
                self._file(folder / "artifacts", path, entry.digest, where)
        said = {
            "name": one.name, "version": one.version, "creation_timestamp": created,
            "last_updated_timestamp": rules.milliseconds(one.changed_at or one.created_at),
            "description": one.description or None, "user_id": one.user or None, "current_stage": one.stage,
            "source": source, "storage_location": storage, "run_id": one.run_id or None,
            "run_link": one.run_link or None, "status": "READY", "status_message": None,
        }  # fmt: skip
        meta(folder, {**said, **({"model_id": one.model_id} if one.model_id else {})})
        self._pairs(folder / "tags", one.tags.items(), "tag", where)
        self.made["versions"] += 1

    def _source(self, one: ModelVersion, place: str) -> tuple[str, str]:
        """What a version says of where its files are, and where in the folder they are."""
        own = giving.place_of(one.location) or giving.place_of(one.source)
        home, _, rest = own.partition("/")
        if own and home in self.homes:
            storage = self._uri(f"{self.homes[home]}/{rest}")
            symbolic = one.source.startswith(("runs:/", "models:/"))
            return (one.source if symbolic else storage), storage
        if one.digest is not None:  # made by a pipeline, or its run is gone: its files come beside it
            storage = self._uri(f"{place}/artifacts")
            return storage, storage
        return one.source, one.source

    # Files

    def _files(self, here: str, folder: Path, where: str) -> None:
        top = giving.place_of(here)
        if not top:
            self._problem("artifact", where, "", "its artifacts are elsewhere and stay there")
            return
        for path, digest, _ in giving.files_below(self.rooms, top):
            self._file(folder, path, digest, where)

    def _file(self, folder: Path, path: str, digest: Any, where: str) -> None:
        try:
            self.made["bytes"] += writing_files.write(folder, path, self.rooms.blobs.stream(digest))
        except Unwritable as refused:
            self._problem("artifact", where, path, str(refused))
        else:
            self.made["files"] += 1

    def _pairs(self, folder: Path, pairs: Iterable[tuple[str, str]], kind: str, where: str) -> None:
        for key, value in pairs:
            self._keyed(folder, key, [value.encode()], kind, where)

    def _keyed(self, folder: Path, key: str, chunks: Iterable[bytes], kind: str, where: str) -> bool:
        try:
            keyed(folder, key, chunks)
        except Unwritable as refused:
            self._problem(kind, where, key, str(refused))
            return False
        return True

    def _uri(self, place: str) -> str:
        return f"{self.batch.root.as_uri()}/{quote(place)}"

    def _problem(self, kind: str, where: str, name: str, reason: str) -> None:
        self.problems.append(Problem(kind=kind, where=where, name=name, reason=reason))
