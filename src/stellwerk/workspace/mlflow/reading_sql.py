"""Databases of MLflow: SQLite files of its versions 2 and 3, read in one transaction and never written to.

Columns that a database lacks are empty, so older and newer schemas are read alike as long as the few that matter are
there. A database may come from anybody: views and triggers are not read, and whatever a column holds is taken as text
or number, or is a problem of its row.
"""

from __future__ import annotations

import math
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.tracking.model import DatasetUse, Latest, ModelUse, Point, Score
from stellwerk.workspace.mlflow.folders import Places
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
)

AT_ONCE = 100
"""Runs in one question."""
_MUST = {
    "experiments": ("experiment_id", "name"),
    "runs": ("run_uuid", "experiment_id", "status", "start_time"),
    "metrics": ("run_uuid", "key", "value", "timestamp"),
    "params": ("run_uuid", "key", "value"),
    "tags": ("run_uuid", "key", "value"),
}
"""Without these it is no database of MLflow, or one of a schema that cannot be read."""
_LEFT_OUT = {
    "traces": "trace_info",
    "evaluation datasets": "evaluation_datasets",
    "scorers": "scorers",
    "webhooks": "webhooks",
}
_MODEL_STATUS = {1: "PENDING", 2: "READY", 3: "FAILED"}
_HOME_WORKSPACE = "default"


class SqlSource:
    """Implements `Source`. What somebody writes meanwhile is not seen."""

    kind: Kind = "sqlite"

    def __init__(self, file: Path, places: Places) -> None:
        self._places = places
        try:
            self._database = sqlite3.connect(f"file:{quote(str(file.resolve()))}?mode=ro", uri=True)
            self._database.isolation_level = None
            self._database.text_factory = lambda data: data.decode("utf-8", "replace")
            self._database.execute("PRAGMA query_only = 1")
            self._database.execute("PRAGMA trusted_schema = 0")
            self._database.execute("BEGIN")
            names = [
                str(row[0]) for row in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            self._columns = {name: self._columns_of(name) for name in names}
        except sqlite3.DatabaseError as cause:
            self.close()
            raise _unreadable(file.name, cause) from cause
        self._check(file.name)

    def _columns_of(self, table: str) -> set[str]:
        return {str(row[0]) for row in self._database.execute("SELECT name FROM pragma_table_info(?)", (table,))}

    def _check(self, name: str) -> None:
        if not {"experiments", "runs"} <= self._columns.keys():
            self.close()
            raise Invalid(
                f"{name!r} is an SQLite database, but not one of MLflow: it has no tables `experiments` and `runs`",
                code="not-mlflow",
                hint="stellwerk mlflow import path/to/mlflow.db",
            )
        lacking = [
            f"{table}.{column}"
            for table, columns in _MUST.items()
            for column in columns
            if column not in self._columns.get(table, ())
        ]
        if lacking:
            version = self._schema()
            self.close()
            raise Invalid(
                f"{name!r} has a schema of MLflow that cannot be read (version {version}): it lacks "
                f"{', '.join(lacking[:5])}",
                code="unknown-mlflow-schema",
                hint="`mlflow db upgrade` on a copy, or import from the running server",
            )

    def _schema(self) -> str:
        with suppress(sqlite3.DatabaseError):
            for (version,) in self._database.execute("SELECT version_num FROM alembic_version"):
                return str(version)[:40]
        return "unknown"

    def experiments(self) -> Iterator[FoundExperiment]:
        tags = self._pairs("experiment_tags", "experiment_id")
        columns = (
            "experiment_id",
            "name",
            "artifact_location",
            "lifecycle_stage",
            "creation_time",
            "last_update_time",
        )
        for row in self._rows("experiments", (*columns, "workspace"), order="experiment_id"):
            identity = _text(row["experiment_id"])
            yield FoundExperiment(
                id=identity,
                name=_named(_text(row["workspace"]), _text(row["name"]), "/"),
                created=_whole(row["creation_time"]),
                changed=_whole(row["last_update_time"]),
                location=_text(row["artifact_location"]),
                tags=dict(tags.get(identity, ())),
                deleted=row["lifecycle_stage"] == "deleted",
            )

    def runs(self, experiment: str) -> list[str]:
        rows = self._ask(
            "SELECT run_uuid FROM runs WHERE experiment_id = ? ORDER BY start_time, run_uuid", (experiment,)
        )
        return [_text(row[0]) for row in rows]

    def read(self, ids: Sequence[str]) -> Iterator[FoundRun | Problem]:
        for start in range(0, len(ids), AT_ONCE):
            yield from self._some(ids[start : start + AT_ONCE])

    def _some(self, ids: Sequence[str]) -> Iterator[FoundRun | Problem]:
        columns = (
            "run_uuid", "experiment_id", "name", "user_id", "status", "start_time", "end_time", "deleted_time",
            "lifecycle_stage", "artifact_uri",
        )  # fmt: skip
        rows = {_text(row["run_uuid"]): row for row in self._rows("runs", columns, among=("run_uuid", ids))}
        params = self._pairs("params", "run_uuid", ids)
        tags = self._pairs("tags", "run_uuid", ids)
        latest = self._latest(ids)
        datasets, models = self._datasets(ids), self._uses(ids)
        points, problems = self._points(ids)
        for identity in ids:
            row = rows.get(identity)
            if row is None:  # of another type than text
                yield Problem(kind="run", where=identity, name=identity, reason="its row cannot be read")
                continue
            end, gone = row["end_time"], row["deleted_time"]
            yield FoundRun(
                id=identity,
                experiment=_text(row["experiment_id"]),
                name=_text(row["name"]),
                user=_text(row["user_id"]),
                status=_text(row["status"]),
                start=_whole(row["start_time"]),
                end=None if end is None else _whole(end),
                location=_text(row["artifact_uri"]),
                deleted=row["lifecycle_stage"] == "deleted",
                deleted_at=None if gone is None else _whole(gone),
                params=params.get(identity, ()),
                tags=tags.get(identity, ()),
                points=points.get(identity, ()),
                latest=latest.get(identity, ()),
                datasets=datasets.get(identity, ()),
                models=models.get(identity, ()),
                problems=unread(problems.get(identity, ())),
            )

    def models(self, experiment: str) -> Iterator[FoundModel | Problem]:
        columns = (
            "model_id", "experiment_id", "name", "artifact_location", "creation_timestamp_ms", "status",
            "last_updated_timestamp_ms", "lifecycle_stage", "model_type", "source_run_id",
        )  # fmt: skip
        rows = self._rows("logged_models", columns, among=("experiment_id", [experiment]))
        ids = [_text(row["model_id"]) for row in rows]
        params = self._pairs("logged_model_params", "model_id", ids, key="param_key", value="param_value")
        tags = self._pairs("logged_model_tags", "model_id", ids, key="tag_key", value="tag_value")
        scores = self._scores(ids)
        for row in rows:
            identity = _text(row["model_id"])
            yield FoundModel(
                id=identity,
                experiment=experiment,
                name=_text(row["name"]),
                model_type=_text(row["model_type"]),
                source_run=_text(row["source_run_id"]),
                status=_MODEL_STATUS.get(_whole(row["status"]), "PENDING"),
                created=_whole(row["creation_timestamp_ms"]),
                changed=_whole(row["last_updated_timestamp_ms"]),
                deleted=row["lifecycle_stage"] == "deleted",
                location=_text(row["artifact_location"]),
                params=params.get(identity, ()),
                tags=tags.get(identity, ()),
                scores=scores.get(identity, ()),
            )

    def registered(self) -> Iterator[FoundRegistered | Problem]:
        tags, aliases, versions = self._registry()
        columns = ("name", "creation_time", "last_updated_time", "description", "workspace")
        for row in self._rows("registered_models", columns, order="name"):
            place = _text(row["workspace"]), _text(row["name"])
            created = _whole(row["creation_time"])
            yield FoundRegistered(
                name=_named(*place, "."),
                created=created,
                changed=_whole(row["last_updated_time"]) or created,
                description=_text(row["description"]),
                tags=tags.get(place, ()),
                aliases=aliases.get(place, {}),
                versions=versions.get(place, ()),
            )

    def _registry(self) -> tuple[dict[Any, Any], dict[Any, dict[str, int]], dict[Any, list[FoundVersion]]]:
        tags: dict[Any, list[tuple[str, str]]] = {}
        for row in self._rows("registered_model_tags", ("name", "key", "value", "workspace")):
            tags.setdefault(_place(row), []).append((_text(row["key"]), _text(row["value"])))
        aliases: dict[Any, dict[str, int]] = {}
        for row in self._rows("registered_model_aliases", ("name", "alias", "version", "workspace")):
            aliases.setdefault(_place(row), {})[_text(row["alias"])] = _whole(row["version"])
        said: dict[Any, list[tuple[str, str]]] = {}
        for row in self._rows("model_version_tags", ("name", "version", "key", "value", "workspace")):
            place = (*_place(row), _whole(row["version"]))
            said.setdefault(place, []).append((_text(row["key"]), _text(row["value"])))
        versions: dict[Any, list[FoundVersion]] = {}
        columns = (
            "name", "version", "creation_time", "last_updated_time", "description", "user_id", "current_stage", "source",
            "run_id", "run_link", "workspace",
        )  # fmt: skip
        for row in self._rows("model_versions", columns, order="version"):
            if row["current_stage"] == "Deleted_Internal":
                continue
            number, changed = _whole(row["version"]), row["last_updated_time"]
            versions.setdefault(_place(row), []).append(
                FoundVersion(
                    number=number,
                    created=_whole(row["creation_time"]),
                    changed=None if changed is None else _whole(changed),
                    description=_text(row["description"]),
                    user=_text(row["user_id"]),
                    stage=_text(row["current_stage"]) or "None",
                    source=_text(row["source"]),
                    run=_text(row["run_id"]),
                    run_link=_text(row["run_link"]),
                    tags=said.get((*_place(row), number), ()),
                )
            )
        return tags, aliases, versions

    def folder(self, location: str, tail: tuple[str, ...]) -> Folder:
        return self._places.folder(location, tail)

    def left_out(self) -> Mapping[str, int]:
        counts = {
            name: int(self._ask(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - names of our own
            for name, table in _LEFT_OUT.items()
            if table in self._columns
        }
        return {name: count for name, count in counts.items() if count}

    def close(self) -> None:
        if hasattr(self, "_database"):
            self._database.close()

    # Rows

    def _points(self, ids: Sequence[str]) -> tuple[dict[str, list[Point]], dict[str, list[str]]]:
        found: dict[str, list[Point]] = {}
        problems: dict[str, list[str]] = {}
        for run, key, value, at, step, is_nan in self._values("metrics", ids):
            try:
                number = _number(value, is_nan)
                point = Point(_text(key), number, _exactly(at), _exactly(step or 0))
            except (TypeError, ValueError):
                problems.setdefault(_text(run), []).append(f"a point of the metric {_text(key)[:60]!r} is no number")
                continue
            found.setdefault(_text(run), []).append(point)
        return found, problems

    def _latest(self, ids: Sequence[str]) -> dict[str, list[Latest]]:
        found: dict[str, list[Latest]] = {}
        for run, key, value, at, step, is_nan in self._values("latest_metrics", ids):
            with suppress(TypeError, ValueError):
                latest = Latest(
                    key=_text(key), value=_number(value, is_nan), at=_exactly(at), step=_exactly(step or 0)
                )
                found.setdefault(_text(run), []).append(latest)
        return found

    def _values(self, table: str, ids: Sequence[str]) -> Iterable[Any]:
        columns = self._columns.get(table, set())
        if not columns:
            return []
        step = "step" if "step" in columns else "0"
        nan = "is_nan" if "is_nan" in columns else "0"
        return self._ask(
            f"SELECT run_uuid, key, value, timestamp, {step}, {nan} FROM {table} "  # noqa: S608 - names of our own
            f"WHERE run_uuid IN ({_marks(ids)})",
            ids,
        )

    def _datasets(self, ids: Sequence[str]) -> dict[str, list[DatasetUse]]:
        if not {"inputs", "datasets"} <= self._columns.keys():
            return {}
        inputs = self._rows(
            "inputs", ("input_uuid", "source_id", "destination_id", "source_type"), among=("destination_id", ids)
        )
        inputs = [row for row in inputs if row["source_type"] == "DATASET"]
        tags = self._pairs("input_tags", "input_uuid", [_text(row["input_uuid"]) for row in inputs], key="name")
        columns = (
            "dataset_uuid", "name", "digest", "dataset_source_type", "dataset_source", "dataset_schema",
            "dataset_profile",
        )  # fmt: skip
        wanted = list({_text(row["source_id"]) for row in inputs})
        datasets = {
            _text(row["dataset_uuid"]): row for row in self._rows("datasets", columns, among=("dataset_uuid", wanted))
        }
        found: dict[str, list[DatasetUse]] = {}
        for row in inputs:
            dataset = datasets.get(_text(row["source_id"]))
            if dataset is None:
                continue
            use = DatasetUse(
                name=_text(dataset["name"]),
                digest=_text(dataset["digest"]),
                source_type=_text(dataset["dataset_source_type"]),
                source=_text(dataset["dataset_source"]),
                schema=_text(dataset["dataset_schema"]),
                profile=_text(dataset["dataset_profile"]),
                tags=dict(tags.get(_text(row["input_uuid"]), ())),
            )
            found.setdefault(_text(row["destination_id"]), []).append(use)
        return found

    def _uses(self, ids: Sequence[str]) -> dict[str, list[ModelUse]]:
        found: dict[str, list[ModelUse]] = {}
        columns = ("source_id", "destination_id", "source_type", "step")
        for row in self._rows("inputs", columns, among=("source_id", ids)):
            if row["source_type"] in ("RUN_INPUT", "RUN_OUTPUT"):
                use = ModelUse(
                    model=_text(row["destination_id"]),
                    role="made" if row["source_type"] == "RUN_OUTPUT" else "used",
                    step=_whole(row["step"]),
                )
                found.setdefault(_text(row["source_id"]), []).append(use)
        return found

    def _scores(self, ids: Sequence[str]) -> dict[str, list[Score]]:
        columns = (
            "model_id", "metric_name", "metric_timestamp_ms", "metric_step", "metric_value", "run_id", "dataset_name",
            "dataset_digest",
        )  # fmt: skip
        found: dict[str, list[Score]] = {}
        for row in self._rows("logged_model_metrics", columns, among=("model_id", ids)):
            value = row["metric_value"]
            with suppress(TypeError, ValueError):
                score = Score(
                    model=_text(row["model_id"]),
                    run=_text(row["run_id"]),
                    key=_text(row["metric_name"]),
                    value=math.nan if value is None else _number(value, False),
                    at=_exactly(row["metric_timestamp_ms"]),
                    step=_exactly(row["metric_step"]),
                    dataset=_text(row["dataset_name"]),
                    dataset_digest=_text(row["dataset_digest"]),
                )
                found.setdefault(score.model, []).append(score)
        return found

    def _pairs(
        self, table: str, owner: str, ids: Sequence[str] | None = None, *, key: str = "key", value: str = "value"
    ) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        among = None if ids is None else (owner, ids)
        for row in self._rows(table, (owner, key, value), among=among):
            found.setdefault(_text(row[owner]), []).append((_text(row[key]), _text(row[value])))
        return found

    def _rows(
        self, table: str, columns: Sequence[str], *, among: tuple[str, Sequence[str]] | None = None, order: str = ""
    ) -> list[dict[str, Any]]:
        """Rows of a table by the names of columns; those that it lacks are None. Without the table there are none."""
        there = self._columns.get(table, set())
        if not there or (among is not None and (not among[1] or among[0] not in there)):
            return []
        chosen = ", ".join(column if column in there else f"NULL AS {column}" for column in columns)
        query = f"SELECT {chosen} FROM {table}"  # noqa: S608 - names of our own
        rows: list[Any] = []
        if among is None:
            rows += self._ask(query + (f" ORDER BY {order}" if order else ""))
        else:
            for start in range(0, len(among[1]), AT_ONCE):
                some = among[1][start : start + AT_ONCE]
                rows += self._ask(f"{query} WHERE {among[0]} IN ({_marks(some)})", some)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _ask(self, query: str, values: Sequence[str] = ()) -> list[Any]:
        try:
            return self._database.execute(query, tuple(values)).fetchall()
        except sqlite3.DatabaseError as cause:
            raise _unreadable("the database", cause) from cause


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
    return _text(row["workspace"]), _text(row["name"])


def _named(workspace: str, name: str, sign: str) -> str:
    """A name that is one among all workspaces of a server."""
    return name if workspace in ("", _HOME_WORKSPACE) else f"{workspace}{sign}{name}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _whole(value: Any) -> int:
    try:
        return _exactly(value)
    except (TypeError, ValueError):
        return 0


def _exactly(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("no whole number")
    return int(value)


def _number(value: Any, is_nan: Any) -> float:
    """A value of a metric. The largest number there is stands for infinity, which not all databases keep."""
    if is_nan in (1, True, "1"):
        return math.nan
    found = float(value)
    return math.copysign(math.inf, found) if abs(found) >= sys.float_info.max else found


def _unreadable(name: str, cause: sqlite3.DatabaseError) -> Invalid | Unavailable:
    if isinstance(cause, sqlite3.OperationalError):
        return Unavailable(
            f"{name!r} cannot be read now ({cause})",
            code="source-unreadable",
            hint="stop the server that writes to it, or import from a copy: `sqlite3 mlflow.db '.backup copy.db'`",
        )
    return Invalid(f"{name!r} is no database of MLflow ({cause})", code="not-mlflow")
