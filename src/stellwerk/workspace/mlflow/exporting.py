"""Sending what is here to a server of MLflow: experiments, runs, files and models.

Such a server gives ids of its own, so tags say which run and which model something was here; by them nothing is sent
twice, and an export that was broken off goes on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stellwerk.access.rules import require
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger import documents
from stellwerk.models import naming
from stellwerk.models.model import ModelVersion
from stellwerk.tracking import rules
from stellwerk.tracking.logbook import NAME_TAG, PARENT_TAG, Found
from stellwerk.tracking.logged import LoggedModel
from stellwerk.tracking.model import OPEN, Experiment, Run
from stellwerk.workspace.mlflow import asking, giving
from stellwerk.workspace.mlflow.model import Problem, Target, TrackerExport
from stellwerk.workspace.rooms import Rooms

Say = Callable[[str], None]
RUN_TAG, MODEL_TAG, VERSION_TAG = "stellwerk.run_id", "stellwerk.model_id", "stellwerk.version"
DONE_TAG = "stellwerk.exported"
"""On what was sent whole; without it an export was broken off, or the run went on."""
METRICS, PAIRS = 1000, 100


def export_tracker(rooms: Rooms, target: Target, *, experiment: str = "", say: Say | None = None) -> TrackerExport:
    """Send one experiment by its name, or all of them and the registered models. Raises `NotFound`."""
    require(rooms.grant, rooms.actor, "runs:read")
    require(rooms.grant, rooms.actor, "models:read")
    return _Export(rooms, target, say or (lambda text: None)).run(experiment)


@dataclass
class _Export:
    rooms: Rooms
    target: Target
    say: Say
    made: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    """By the id here, the id there."""

    def run(self, name: str) -> TrackerExport:
        began = monotonic()
        for one, runs in giving.experiments(self.rooms, name):
            self._experiment(one, runs)
        if not name:
            self.say("sending registered models")
            self._registered()
        return TrackerExport(
            made=dict(self.made),
            known=dict(self.known),
            problems=tuple(self.problems),
            seconds=round(monotonic() - began, 3),
        )

    def _experiment(self, experiment: Experiment, runs: Sequence[Found]) -> None:
        try:
            there = self.target.ask("experiments/get-by-name", {"experiment_name": experiment.name})
            home = str(there["experiment"]["experiment_id"])
            self.known["experiments"] += 1
        except NotFound:
            tags = [{"key": key, "value": value} for key, value in experiment.tags.items()]
            made = self.target.tell("experiments/create", {"name": experiment.name, "tags": tags})
            home = str(made["experiment_id"])
            self.made["experiments"] += 1
        before = self._before(home)
        self.say(f"sending {len(runs):,} runs of {experiment.name}")
        sent = []
        for found in runs:
            identity, done = before.get(found.run.id, ("", False))
            if done:
                self.runs[found.run.id] = identity
                self.known["runs"] += 1
            else:
                self._run(found, home, identity)
                sent.append(found.run)
        self._logged(experiment, home)
        for run in sent:
            self._links(run)

    def _before(self, home: str) -> dict[str, tuple[str, bool]]:
        """Runs that were sent before, and whether wholly."""
        found = {}
        asked = {"experiment_ids": [home], "run_view_type": "ALL", "filter": f"tags.`{RUN_TAG}` != ''"}
        for one in self.target.listed("runs/search", asked, "runs"):
            tags = {tag["key"]: tag.get("value", "") for tag in one["data"].get("tags", ())}
            found[tags.get(RUN_TAG, "")] = str(one["info"]["run_id"]), DONE_TAG in tags
        return found

    def _run(self, found: Found, home: str, identity: str) -> None:
        run, where = found.run, f"run {found.run.id}"
        tags = {**run.tags, RUN_TAG: run.id, **({NAME_TAG: run.name} if run.name else {})}
        if run.parent in self.runs:
            tags[PARENT_TAG] = self.runs[run.parent]
        if not identity:
            first = [{"key": key, "value": tags.pop(key)} for key in (RUN_TAG, NAME_TAG, PARENT_TAG) if key in tags]
            begun = {"experiment_id": home, "start_time": rules.milliseconds(run.started_at), "tags": first}
            made = self.target.tell("runs/create", {**begun, "user_id": run.user or run.started_by})
            identity = str(made["run"]["info"]["run_id"])
        self.runs[run.id] = identity
        params = {key: rules.spelled(documents.dump(value)) for key, value in run.params.items()}
        for kind, pairs in (("params", params), ("tags", tags)):
            rows = [{"key": key, "value": value} for key, value in pairs.items()]
            for start in range(0, len(rows), PAIRS):
                self._batch(identity, kind, rows[start : start + PAIRS], where)
        points = [
            {"key": one.key, "value": _number(one.value), "timestamp": one.at, "step": one.step}
            for one in giving.points_of(self.rooms, found)
        ]
        for start in range(0, len(points), METRICS):
            self._batch(identity, "metrics", points[start : start + METRICS], where)
        self.made["points"] += len(points)
        place = self.target.ask("runs/get", {"run_id": identity})["run"]["info"].get("artifact_uri", "")
        whole = self._files(rules.artifacts_of(run), str(place), where)
        status: dict[str, Any] = {"run_id": identity, "status": giving.STATUS[run.status]}
        if run.ended_at is not None:
            status["end_time"] = rules.milliseconds(run.ended_at)
        self.target.tell("runs/update", status)
        if whole and run.status not in OPEN:
            self.target.tell("runs/set-tag", {"run_id": identity, "key": DONE_TAG, "value": "yes"})
        self.made["runs"] += 1

    def _batch(self, run: str, kind: str, rows: Sequence[Mapping[str, Any]], where: str) -> None:
        """Send rows at once; where one is refused, one by one, and that one is named."""
        try:
            self.target.tell("runs/log-batch", {"run_id": run, kind: rows})
        except Invalid as refused:
            if len(rows) == 1:
                self._problem(kind.removesuffix("s"), where, str(rows[0]["key"]), refused.message)
                return
            for row in rows:
                self._batch(run, kind, [row], where)

    def _links(self, run: Run) -> None:
        there = self.runs[run.id]
        datasets = [
            {
                "dataset": {
                    "name": one.name, "digest": one.digest, "source_type": one.source_type, "source": one.source,
                    **({"schema": one.schema} if one.schema else {}),
                    **({"profile": one.profile} if one.profile else {}),
                },
                "tags": [{"key": key, "value": value} for key, value in one.tags.items()],
            }
            for one in run.datasets
        ]  # fmt: skip
        used = [
            {"model_id": self.models[one.model]}
            for one in run.models
            if one.role == "used" and one.model in self.models
        ]
        made = [
            {"model_id": self.models[one.model], "step": one.step}
            for one in run.models
            if one.role == "made" and one.model in self.models
        ]
        try:
            if datasets or used:
                self.target.tell("runs/log-inputs", {"run_id": there, "datasets": datasets, "models": used})
            if made:
                self.target.tell("runs/outputs", {"run_id": there, "models": made})
        except (Invalid, NotFound) as refused:
            self._problem("inputs", f"run {run.id}", "", refused.message)

    def _logged(self, experiment: Experiment, home: str) -> None:
        found = giving.models_of(self.rooms, experiment)
        if not found:
            return
        before = {}
        for one in self.target.listed("logged-models/search", {"experiment_ids": [home]}, "models"):
            tags = {tag["key"]: tag.get("value", "") for tag in one["info"].get("tags", ())}
            if MODEL_TAG in tags and one["info"].get("status") == "LOGGED_MODEL_READY":
                before[tags[MODEL_TAG]] = str(one["info"]["model_id"])
        for model in found:
            if model.id in before:
                self.models[model.id] = before[model.id]
                self.known["logged models"] += 1
            else:
                self._model(model, home)

    def _model(self, model: LoggedModel, home: str) -> None:
        tags = {**model.tags, MODEL_TAG: model.id}
        body: dict[str, Any] = {"experiment_id": home, "name": model.name, "model_type": model.model_type}
        body["params"] = [{"key": key, "value": value} for key, value in model.params.items()]
        body["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        if model.source_run in self.runs:
            body["source_run_id"] = self.runs[model.source_run]
        try:
            made = self.target.tell("logged-models", body)["model"]["info"]
        except (Invalid, NotFound) as refused:
            self._problem("model", f"model {model.id}", model.name, refused.message)
            return
        identity = str(made["model_id"])
        self.models[model.id] = identity
        whole = self._files(model.home, str(made.get("artifact_uri", "")), f"model {model.id}")
        status = "LOGGED_MODEL_READY" if whole and model.status == "ready" else "LOGGED_MODEL_UPLOAD_FAILED"
        self.target.tell(f"logged-models/{identity}", {"model_id": identity, "status": status}, method="PATCH")
        for score in self.rooms.logbook.scores(model.id):
            if score.run in self.runs:
                row = {"key": score.key, "value": _number(score.value), "timestamp": score.at, "step": score.step}
                row |= {"model_id": identity}
                row |= (
                    {"dataset_name": score.dataset, "dataset_digest": score.dataset_digest} if score.dataset else {}
                )
                self._batch(self.runs[score.run], "metrics", [row], f"model {model.id}")
        self.made["logged models"] += 1

    def _files(self, here: str, there: str, where: str) -> bool:
        """Send a folder of artifacts; whether all of it is there now."""
        top = giving.place_of(here)
        files = list(giving.files_below(self.rooms, top)) if top else []
        if not top:
            self._problem("artifact", where, "", "its artifacts are elsewhere and stay there")
        if not files:
            return True
        goal = giving.place_of(there)
        if not goal:
            self._problem("artifact", where, "", "the server takes no artifacts: start it with --serve-artifacts")
            return False
        whole = True
        for path, digest, size in files:
            try:
                self.target.put(f"{goal}/{path}", self.rooms.blobs.stream(digest))
            except (Invalid, NotFound) as refused:
                self._problem("artifact", where, path, refused.message)
                whole = False
            else:
                self.made["files"] += 1
                self.made["bytes"] += size
        return whole

    # Registered models

    def _registered(self) -> None:
        for page in giving.pages(self.rooms):
            name = page.model.name
            try:
                there = self.target.ask("registered-models/get", {"name": name})["registered_model"]
                self.known["registered models"] += 1
            except NotFound:
                body = {"name": name, "description": page.model.description, "tags": _rows(page.model.tags.items())}
                there = self.target.tell("registered-models/create", body)["registered_model"]
                self.made["registered models"] += 1
            numbers = self._versions(name, naming.is_prompt(page.model.tags))
            taken = {one["alias"] for one in there.get("aliases", ())}
            for alias, number in page.aliases.items():
                if alias not in taken and number in numbers:
                    body = {"name": name, "alias": alias, "version": numbers[number]}
                    self.target.tell("registered-models/alias", body)
                    self.made["aliases"] += 1

    def _versions(self, name: str, prompt: bool) -> dict[int, str]:
        """By the number of a version here, its number there."""
        numbers: dict[int, str] = {}
        try:
            where = asking.named(name)
        except Invalid:
            self._problem("model", f"model {name}", name, "its name cannot be asked for there")
            return numbers
        own = self.rooms.catalogue.search_versions(where, limit=1_000_000, prompts=True)
        where += f" AND {asking.PROMPTS}" if prompt else ""
        there = self.target.ask("model-versions/search", {"filter": where, "max_results": 10_000})
        for one in there.get("model_versions", ()):
            tags = {tag["key"]: tag.get("value", "") for tag in one.get("tags", ())}
            if tags.get(VERSION_TAG, "").isdecimal():
                numbers[int(tags[VERSION_TAG])] = str(one["version"])
        self.known["versions"] += len(numbers)
        for version in sorted(own, key=lambda one: one.version):
            if version.version in numbers:
                continue
            source = self._source(version)
            if not source:
                self._problem(
                    "version", f"model {name}", str(version.version), "its files are in no run and no model"
                )
                continue
            tags = {**version.tags, VERSION_TAG: str(version.version)}
            body = {"name": name, "source": source, "description": version.description, "tags": _rows(tags.items())}
            if version.run_id in self.runs:
                body["run_id"] = self.runs[version.run_id]
            if version.model_id in self.models:
                body["model_id"] = self.models[version.model_id]
            try:
                made = self.target.tell("model-versions/create", body)["model_version"]
            except (Invalid, NotFound) as refused:
                self._problem("version", f"model {name}", str(version.version), refused.message)
                continue
            numbers[version.version] = str(made["version"])
            self.made["versions"] += 1
        return numbers

    def _source(self, version: ModelVersion) -> str:
        """Where the files of a version are there."""
        if version.model_id in self.models:
            return f"models:/{self.models[version.model_id]}"
        for said in (version.location, version.source):
            if said.startswith("runs:/"):
                run, _, path = said.removeprefix("runs:/").partition("/")
            elif giving.place_of(said):
                run, _, path = giving.place_of(said).partition("/")[2].partition("/artifacts/")
            else:
                continue
            if run in self.runs:
                return f"runs:/{self.runs[run]}/{path}"
        return (
            ""
            if giving.place_of(version.source) or version.source.startswith(("runs:/", "models:/"))
            else version.source
        )

    def _problem(self, kind: str, where: str, name: str, reason: str) -> None:
        self.problems.append(Problem(kind=kind, where=where, name=name, reason=reason))


def _rows(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs]


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
