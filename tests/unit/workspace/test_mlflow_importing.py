"""Trackers of MLflow are taken over: databases, folders and servers, whatever they hold, and once."""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stellwerk.cli.main import main
from stellwerk.core.errors import Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.testing.worlds import served
from stellwerk.tracking import segments
from stellwerk.workspace import reachable
from stellwerk.workspace.mlflow import importing
from stellwerk.workspace.mlflow.exporting import export_tracker
from stellwerk.workspace.mlflow.importing import import_tracker
from stellwerk.workspace.mlflow.model import TrackerImport
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.trackers import open_source, open_target

ONE, TWO, GONE = "1" * 32, "2" * 32, "3" * 32
MODEL = "m-" + "4" * 32
HUGE = 1.7976931348623157e308
SCHEMA = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256), artifact_location VARCHAR(256),
  lifecycle_stage VARCHAR(32), creation_time BIGINT, last_update_time BIGINT);
CREATE TABLE experiment_tags (key VARCHAR(250), value VARCHAR(5000), experiment_id INTEGER);
CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), user_id VARCHAR(256), status VARCHAR(20),
  start_time BIGINT, end_time BIGINT, deleted_time BIGINT, lifecycle_stage VARCHAR(20), artifact_uri VARCHAR(200),
  experiment_id INTEGER);
CREATE TABLE params (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
CREATE TABLE tags (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN,
  run_uuid VARCHAR(32));
CREATE TABLE latest_metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN,
  run_uuid VARCHAR(32));
CREATE TABLE datasets (dataset_uuid VARCHAR(36), experiment_id INTEGER, name VARCHAR(500), digest VARCHAR(36),
  dataset_source_type VARCHAR(36), dataset_source TEXT, dataset_schema TEXT, dataset_profile TEXT);
CREATE TABLE inputs (input_uuid VARCHAR(36), source_type VARCHAR(36), source_id VARCHAR(36),
  destination_type VARCHAR(36), destination_id VARCHAR(36), step BIGINT);
CREATE TABLE input_tags (input_uuid VARCHAR(36), name VARCHAR(255), value VARCHAR(500));
CREATE TABLE logged_models (model_id VARCHAR(36), experiment_id INTEGER, name VARCHAR(500),
  artifact_location VARCHAR(1000), creation_timestamp_ms BIGINT, last_updated_timestamp_ms BIGINT, status INTEGER,
  lifecycle_stage VARCHAR(32), model_type VARCHAR(500), source_run_id VARCHAR(32));
CREATE TABLE logged_model_params (model_id VARCHAR(36), param_key VARCHAR(255), param_value TEXT);
CREATE TABLE logged_model_tags (model_id VARCHAR(36), tag_key VARCHAR(255), tag_value TEXT);
CREATE TABLE logged_model_metrics (model_id VARCHAR(36), metric_name VARCHAR(500), metric_timestamp_ms BIGINT,
  metric_step BIGINT, metric_value FLOAT, run_id VARCHAR(32), dataset_name VARCHAR(500), dataset_digest VARCHAR(36));
CREATE TABLE registered_models (name VARCHAR(256), creation_time BIGINT, last_updated_time BIGINT,
  description VARCHAR(5000));
CREATE TABLE registered_model_tags (name VARCHAR(256), key VARCHAR(250), value VARCHAR(5000));
CREATE TABLE registered_model_aliases (name VARCHAR(256), alias VARCHAR(256), version INTEGER);
CREATE TABLE model_versions (name VARCHAR(256), version INTEGER, creation_time BIGINT, last_updated_time BIGINT,
  description VARCHAR(5000), user_id VARCHAR(256), current_stage VARCHAR(20), source VARCHAR(500), run_id VARCHAR(32),
  run_link VARCHAR(500));
CREATE TABLE model_version_tags (name VARCHAR(256), version INTEGER, key VARCHAR(250), value TEXT);
CREATE TABLE trace_info (request_id VARCHAR(50));
"""


def workspace(folder: Path) -> Rooms:
    folder.mkdir(exist_ok=True)
    return Rooms(create(folder, Settings(actor="anna")), Settings(actor="anna"))


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    made = workspace(tmp_path / "ours")
    yield made
    made.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """What MLflow 3 would have written: three runs, one of them nested and one in the bin, and a model."""
    home = tmp_path / "theirs"
    file = home / "mlflow.db"
    home.mkdir()
    with closing(sqlite3.connect(file)) as db, db:
        db.executescript(SCHEMA)
        fill(db, "alembic_version", ("dc11669786a5",))
        fill(
            db,
            "experiments",
            (0, "Default", f"{home}/mlruns/0", "active", 1, 1),
            (7, "flights", f"{home}/mlruns/7", "active", 1000, 2000),
            (8, "old", f"{home}/mlruns/8", "deleted", 1000, 2000),
        )
        fill(db, "experiment_tags", ("team", "risk", 7))
        fill(
            db,
            "runs",
            (ONE, "first", "ben", "FINISHED", 5000, 9000, None, "active", f"{home}/mlruns/7/{ONE}/artifacts", 7),
            (TWO, "second", "ben", "RUNNING", 6000, None, None, "active", f"s3://b/7/{TWO}/artifacts", 7),
            (GONE, "third", "", "KILLED", 6000, 7000, 8000, "deleted", f"mlruns/8/{GONE}/artifacts", 8),
        )
        fill(db, "params", ("depth", "6", ONE), ("lr", "", ONE), ("depth", "7", TWO))
        fill(db, "tags", ("mlflow.runName", "first", ONE), ("mlflow.parentRunId", ONE, TWO))
        points = [("loss", 1.5, 10, 0, 0), ("loss", 0.5, 20, 1, 0), ("loss", 0.0, 30, 2, 1)]
        points += [("high", HUGE, 10, 0, 0), ("low", -HUGE, 10, 0, 0)]
        fill(db, "metrics", *[(*one, ONE) for one in points])
        fill(db, "latest_metrics", *[(*one, ONE) for one in points[2:]], ("pruned", 3.0, 40, 9, 0, ONE))
        fill(db, "datasets", ("d1", 7, "may", "abc", "local", "x.csv", "{}", None))
        fill(
            db, "inputs", ("i1", "DATASET", "d1", "RUN", ONE, 0), ("i2", "RUN_OUTPUT", ONE, "MODEL_OUTPUT", MODEL, 4)
        )
        fill(db, "input_tags", ("i1", "mlflow.data.context", "training"))
        location = f"file://{home}/mlruns/7/models/{MODEL}/artifacts"
        fill(db, "logged_models", (MODEL, 7, "tree", location, 5000, 6000, 2, "active", "", ONE))
        fill(db, "logged_model_params", (MODEL, "depth", "6"))
        fill(db, "logged_model_tags", (MODEL, "ok", "yes"))
        fill(db, "logged_model_metrics", (MODEL, "auc", 10, 0, 0.9, ONE, "may", "abc"))
        fill(db, "registered_models", ("delay", 5000, 8000, "how late"))
        fill(db, "registered_model_tags", ("delay", "owner", "anna"))
        fill(db, "registered_model_aliases", ("delay", "champion", 3))
        fill(
            db,
            "model_versions",
            ("delay", 1, 5000, 6000, "", "ben", "Archived", f"{home}/mlruns/7/{ONE}/artifacts/notes", ONE, ""),
            ("delay", 3, 7000, 8000, "third", "ben", "Production", f"models:/{MODEL}", ONE, ""),
        )
        fill(db, "model_version_tags", ("delay", 3, "ok", "yes"))
        fill(db, "trace_info", ("tr-1",), ("tr-2",))
    write(home / f"mlruns/7/{ONE}/artifacts/notes/a.txt", b"hello")
    write(home / f"mlruns/7/{ONE}/artifacts/big.bin", b"0123456789" * 200_000)
    write(home / f"mlruns/7/models/{MODEL}/artifacts/MLmodel", b"flavors: {}")
    return file


def fill(db: sqlite3.Connection, table: str, *rows: tuple[Any, ...]) -> None:
    for row in rows:
        db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def take(rooms: Rooms, place: Path | str, artifacts: Path | None = None) -> TrackerImport:
    with closing(open_source(str(place), artifacts)) as source:
        return import_tracker(rooms, source)


def change(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as db, db:
        for one in statements:
            db.execute(one)


def text(rooms: Rooms, path: str) -> bytes:
    digest = rooms.artifacts.get(path).digest
    assert digest is not None
    return rooms.blobs.get(digest)


def test_a_run_is_here_as_it_was_there(rooms: Rooms, database: Path) -> None:
    """With its id, its times, its points exactly, its datasets, models and files."""
    done = take(rooms, database)

    found = rooms.logbook.get(ONE)
    run = found.run
    assert ("7", "first", "ben", "finished") == (run.experiment, run.name, run.user, run.status)
    assert (5000, 9000) == tuple(int(at.timestamp() * 1000) for at in (run.started_at, run.ended_at) if at)
    assert {"depth": "6", "lr": ""} == run.params
    assert "anna" == run.started_by
    assert [("may", "abc", {"mlflow.data.context": "training"})] == [(d.name, d.digest, d.tags) for d in run.datasets]
    assert [(MODEL, "made", 4)] == [(one.model, one.role, one.step) for one in run.models]
    history = [(one.at, one.step, one.value) for one in rooms.logbook.history(ONE, "loss")]
    assert [(10, 0, 1.5), (20, 1, 0.5)] == history[:2]
    assert math.isnan(history[2][2])
    assert [math.inf] == [one.value for one in rooms.logbook.history(ONE, "high")]
    assert [-math.inf] == [one.value for one in rooms.logbook.history(ONE, "low")]
    latest = {one.key: one for one in found.metrics}
    assert {"loss", "high", "low", "pruned"} == latest.keys()
    assert math.isnan(latest["loss"].value)
    assert (0.5, 1.5) == (latest["loss"].low, latest["loss"].high)
    assert (3.0, 9) == (latest["pruned"].value, latest["pruned"].step)
    assert {"loss": 3, "high": 1, "low": 1, "pruned": 1} == segments.counts(rooms.blobs.get(run.points[0]))
    assert b"hello" == text(rooms, f"7/{ONE}/artifacts/notes/a.txt")
    assert b"0123456789" * 200_000 == text(rooms, f"7/{ONE}/artifacts/big.bin")
    assert {"experiments": 2, "runs": 3, "points": 6, "files": 3} == {
        key: done.made[key] for key in ("experiments", "runs", "points", "files")
    }
    assert ({"run": 1}, 1, {"traces": 2}, ()) == (done.remote, done.bare, done.left_out, done.problems)


def test_nested_remote_and_deleted_runs(rooms: Rooms, database: Path) -> None:
    """Runs are found by what they were: below their parent, at their address, in the bin with their experiment."""
    take(rooms, database)

    assert [TWO] == [one.run.id for one in rooms.logbook.search(["7"], where=f"parent = '{ONE}'")]
    assert f"s3://b/7/{TWO}/artifacts" == rooms.logbook.get(TWO).run.location
    assert "deleted" == rooms.experiments.get("8").stage
    gone = rooms.logbook.get(GONE).run
    assert ("interrupted", 8000) == (gone.status, int(gone.deleted_at.timestamp() * 1000) if gone.deleted_at else 0)
    assert [] == rooms.logbook.search(["8"])
    assert [ONE] == [
        one.run.id for one in rooms.logbook.search(["7"], where="metrics.low < 0 AND params.depth = '6'")
    ]


def test_a_run_that_goes_on_goes_on_here(rooms: Rooms, database: Path) -> None:
    """Points that come after the import are kept beside those that came before it."""
    change(database, f"INSERT INTO metrics VALUES ('loss', 2.0, 1, 0, 0, '{TWO}')")
    take(rooms, database)

    from stellwerk.tracking.model import Point

    rooms.logbook.log(TWO, points=[Point("loss", 1.0, 2, 1)])
    assert "running" == rooms.logbook.get(TWO).run.status
    rooms.logbook.update(TWO, status="finished")
    assert [2.0, 1.0] == [one.value for one in rooms.logbook.history(TWO, "loss")]
    assert 1.0 == rooms.logbook.get(TWO).metrics[0].value


def test_models_are_here_as_they_were(rooms: Rooms, database: Path) -> None:
    """Logged models with their metrics; versions with their numbers, stages and bytes; aliases."""
    take(rooms, database)

    model = rooms.logged_models.get(MODEL)
    assert ("tree", "7", ONE, "ready", {"depth": "6"}) == (
        model.name, model.experiment, model.source_run, model.status, model.params,
    )  # fmt: skip
    assert [("auc", 0.9, "may")] == [(one.key, one.value, one.dataset) for one in rooms.logbook.scores(MODEL)]
    page = rooms.catalogue.get("delay")
    assert ("how late", {"owner": "anna"}, {"champion": 3}, 3) == (
        page.model.description, page.model.tags, page.aliases, page.model.last,
    )  # fmt: skip
    third, first = rooms.catalogue.version("delay", 3), rooms.catalogue.version("delay", 1)
    assert ("Production", "third", {"ok": "yes"}, ONE, MODEL, "ben") == (
        third.stage, third.description, third.tags, third.run_id, third.model_id, third.user,
    )  # fmt: skip
    assert third.digest is not None
    assert rooms.blobs.has(third.digest)
    assert f"mlflow-artifacts:/7/{ONE}/artifacts/notes" == rooms.catalogue.location("delay", 1)
    assert first.digest is not None
    assert 4 == rooms.catalogue.add("delay", f"models:/{MODEL}").version


def test_again_nothing_changes(rooms: Rooms, database: Path) -> None:
    """What is here is skipped; not one entry is added to the ledger, and what was changed here stays."""
    take(rooms, database)
    rooms.logbook.log(TWO, tags=[("mine", "yes")])
    before = rooms.database.size()

    done = take(rooms, database)

    assert {} == {key: count for key, count in done.made.items() if count}
    assert (3, 3, 1, 1, 2, 1) == tuple(
        done.known[key]
        for key in ("experiments", "runs", "logged models", "registered models", "versions", "aliases")
    )
    assert () == done.problems
    assert before == rooms.database.size()
    assert "yes" == rooms.logbook.get(TWO).run.tags["mine"]


def test_the_ledger_tells_of_each(rooms: Rooms, database: Path) -> None:
    """One entry for each experiment, run and version, with where it comes from; bytes are kept alive by rows."""
    take(rooms, database)

    runs = {entry.subject: entry.body for entry in rooms.book.entries(kinds=["run.imported"])}
    assert {f"run:{ONE}", f"run:{TWO}", f"run:{GONE}"} == runs.keys()
    told = runs[f"run:{ONE}"]
    assert ("sqlite", 5000, 9000) == tuple(told["origin"][key] for key in ("kind", "started", "ended"))
    assert (2, list(rooms.logbook.get(ONE).run.points)) == (told["files"], told["points"])
    assert 2 == len(rooms.book.entries(kinds=["experiment.imported"]))
    assert 2 == len(rooms.book.entries(kinds=["model.imported"]))
    wanted = reachable.wanted(rooms)
    assert set(rooms.logbook.get(ONE).run.points) <= set(wanted)


def test_broken_off_it_goes_on(rooms: Rooms, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between two runs, the first is whole and the second is not there; once more, and all are."""
    monkeypatch.setattr(importing, "RUNS_AT_ONCE", 1)
    enter, calls = rooms.adoption.runs, []

    def killed(found: Any) -> list[str]:
        calls.append(found)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return enter(found)

    monkeypatch.setattr(rooms.adoption, "runs", killed)
    with pytest.raises(KeyboardInterrupt):
        take(rooms, database)
    assert b"hello" == text(rooms, f"7/{ONE}/artifacts/notes/a.txt")
    with pytest.raises(NotFound):
        rooms.logbook.get(TWO)
    monkeypatch.setattr(rooms.adoption, "runs", enter)

    done = take(rooms, database)

    assert (2, 1) == (done.made["runs"], done.known["runs"])
    assert 3 == len(rooms.book.entries(kinds=["run.imported"]))


def test_experiments_meet_by_name(rooms: Rooms, database: Path) -> None:
    """An experiment of the same name takes the runs; a taken id becomes another one."""
    ours = rooms.experiments.create("flights")
    while rooms.experiments.create(f"filler {rooms.database.size()}").id != "8":
        pass

    take(rooms, database)

    assert ours.id == rooms.logbook.get(ONE).run.experiment
    assert b"hello" == text(rooms, f"{ours.id}/{ONE}/artifacts/notes/a.txt")
    assert rooms.experiments.named("old").id not in ("8", ours.id)


def test_hostile_content_is_named_and_left_away(rooms: Rooms, database: Path, tmp_path: Path) -> None:
    """Bad keys, times, numbers and files go; the runs that hold them stay, and nothing outside is read."""
    secret = tmp_path / "secret"
    write(secret / "artifacts" / "key", b"secret")
    home = database.parent / f"mlruns/7/{ONE}/artifacts"
    (home / "link").symlink_to(secret / "artifacts" / "key")
    (home / "folder").symlink_to(secret)
    write(home / "bad\\name", b"x")
    write(home / "bell\x07", b"x")
    os.mkfifo(home / "pipe")
    bad = "a" * 32
    change(
        database,
        f"INSERT INTO params VALUES ('../up', '1', '{ONE}'), ('semi;colon', '1', '{ONE}')",
        f"INSERT INTO params VALUES ('long', '{'x' * 70_000}', '{ONE}')",
        f"INSERT INTO tags VALUES ('a/../b', 'x', '{ONE}')",
        f"INSERT INTO metrics VALUES ('word', 'no number', 1, 0, 0, '{ONE}'), ('early', 1.0, -5, 0, 0, '{ONE}'), "
        f"('q?', 1.0, 1, 0, 0, '{ONE}')",
        f"INSERT INTO runs VALUES ('{bad}', 'x', '', 'NEW', 9223372036854775807, 1, NULL, 'active', "
        f"'{secret}/artifacts', 7)",
        "INSERT INTO runs VALUES ('../../etc', 'x', '', 'FINISHED', 1, 1, NULL, 'active', '/etc', 7)",
        f"INSERT INTO runs VALUES ('{'b' * 32}', 'x', '', 'FINISHED', 1, 1, NULL, 'active', "
        f"'mlflow-artifacts:/../{'b' * 32}/artifacts', 7)",
        "INSERT INTO registered_model_aliases VALUES ('delay', 'v9', 1), ('delay', 'nowhere', 99)",
        "INSERT INTO registered_models VALUES ('a/b', 1, 1, '')",
        "INSERT INTO model_versions VALUES ('delay', -1, 1, 1, '', '', 'None', '', '', ''), "
        "('delay', 5, 1, 1, '', '', 'Someday', '', '', '')",
    )

    done = take(rooms, database)

    named = {(one.kind, one.name) for one in done.problems}
    assert {
        ("param", "../up"), ("param", "semi;colon"), ("param", "long"), ("tag", "a/../b"), ("metric", "q?"),
        ("metric", "early"), ("artifact", "link"), ("artifact", "folder"), ("artifact", "bad\\name"),
        ("artifact", "bell\x07"), ("artifact", "pipe"), ("time", "start_time"), ("run", "../../etc"), ("alias", "v9"),
        ("alias", "nowhere"), ("model", "a/b"), ("version", "-1"), ("version", "5"),
    } <= named  # fmt: skip
    assert {"depth": "6", "lr": ""} == rooms.logbook.get(ONE).run.params
    assert {"loss", "high", "low", "pruned"} == {one.key for one in rooms.logbook.get(ONE).metrics}
    assert "x" == rooms.logbook.get(bad).run.name
    assert 2 == len([one for one in done.problems if "does not end in" in one.reason])
    assert b"secret" not in [rooms.blobs.get(one) for one in rooms.blobs if rooms.blobs.size(one) == 6]  # type: ignore[attr-defined]
    assert {} == {key: count for key, count in take(rooms, database).made.items() if count}


def test_what_was_moved_is_found(rooms: Rooms, database: Path, tmp_path: Path) -> None:
    """A database that was copied with its folder, and a server's folder that is named, give their artifacts."""
    moved = tmp_path / "moved"
    database.parent.rename(moved)
    change(
        moved / "mlflow.db",
        f"UPDATE runs SET artifact_uri = 'mlflow-artifacts:/7/{ONE}/artifacts' WHERE name = 'first'",
    )
    (moved / "mlruns").rename(tmp_path / "served")

    done = take(rooms, moved / "mlflow.db", tmp_path / "served")

    assert b"hello" == text(rooms, f"7/{ONE}/artifacts/notes/a.txt")
    assert b"flavors: {}" == text(rooms, f"7/models/{MODEL}/artifacts/MLmodel")
    assert () == done.problems


def test_a_database_that_is_written_to_is_read_as_it_was(rooms: Rooms, database: Path) -> None:
    """What comes after the beginning is not seen, and nothing is written."""
    change(database, "PRAGMA journal_mode = WAL")
    with closing(open_source(str(database))) as source:
        change(database, f"DELETE FROM metrics WHERE run_uuid = '{ONE}'")
        done = import_tracker(rooms, source)
    assert 6 == done.made["points"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    """With a code each: nothing there, no database, another database, a schema that cannot be read."""
    write(tmp_path / "text.db", b"no database, but long enough to be looked at" * 9)
    change(tmp_path / "other.db", "CREATE TABLE runs (id INTEGER)")
    change(
        tmp_path / "future.db",
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('from the future')",
        "CREATE TABLE experiments (experiment_id INTEGER, name TEXT)",
        "CREATE TABLE runs (identity TEXT)",
    )
    (tmp_path / "empty").mkdir()
    for name, kind, code in (
        ("nothing", NotFound, "no-such-file"),
        ("text.db", Invalid, "not-mlflow"),
        ("other.db", Invalid, "not-mlflow"),
        ("future.db", Invalid, "unknown-mlflow-schema"),
        ("empty", Invalid, "not-mlflow"),
        ("http://127.0.0.1:1", Unavailable, "server-unreachable"),
    ):
        with pytest.raises(kind) as caught:
            open_source(name if "://" in name else str(tmp_path / name))
        assert isinstance(caught.value, StellwerkError)
        assert code == caught.value.code
    assert "from the future" in str(_refused(tmp_path / "future.db"))


def _refused(file: Path) -> Exception:
    with pytest.raises(Invalid) as caught:
        open_source(str(file))
    return caught.value


def test_an_unknown_version_of_a_known_shape_is_read(rooms: Rooms, database: Path) -> None:
    """Columns that are new are not minded, and those that are missing are empty: so MLflow 2 is read, too."""
    change(
        database,
        "UPDATE alembic_version SET version_num = 'unheard of'",
        "ALTER TABLE runs ADD COLUMN mood TEXT",
        "ALTER TABLE runs DROP COLUMN deleted_time",
        "ALTER TABLE inputs DROP COLUMN step",
        *(
            f"DROP TABLE {name}"
            for name in ("logged_models", "latest_metrics", "trace_info", "registered_model_aliases")
        ),
    )
    done = take(rooms, database)

    assert (3, 5) == (done.made["runs"], done.made["points"])
    assert 7000 == int(rooms.logbook.get(GONE).run.deleted_at.timestamp() * 1000)  # type: ignore[union-attr]


def test_a_folder_is_read_alike(rooms: Rooms, tmp_path: Path) -> None:
    """The store in files of MLflow: the same facts, and no link is followed there either."""
    root = tmp_path / "mlruns"
    meta = {"experiment_id": "7", "name": "flights", "creation_time": 1000, "lifecycle_stage": "active"}
    run = root / "7" / ONE
    write(root / "7" / "meta.yaml", json.dumps(meta).encode())
    write(root / ".trash" / "8" / "meta.yaml", json.dumps({**meta, "experiment_id": "8", "name": "old"}).encode())
    about = {"run_id": ONE, "run_name": "first", "user_id": "ben", "status": 3, "start_time": 5000, "end_time": 9000}
    about |= {"artifact_uri": f"file://{run}/artifacts", "lifecycle_stage": "active"}
    write(run / "meta.yaml", json.dumps(about).encode())
    write(run / "params" / "opt" / "depth", b"6")
    write(run / "tags" / "mlflow.runName", b"first")
    write(run / "metrics" / "loss", b"10 1.5 0\n20 nan 1\n30 inf 2\n40 junk 3\n")
    write(run / "artifacts" / "a.txt", b"hello")
    write(tmp_path / "secret", b"secret")
    (run / "params" / "stolen").symlink_to(tmp_path / "secret")
    write(
        run / "inputs" / "i" / "meta.yaml", b"source_type: DATASET\nsource_id: d1\ntags: {mlflow.data.context: eval}"
    )
    write(root / "7" / "datasets" / "d1" / "meta.yaml", b"name: may\ndigest: abc\nsource_type: local\nsource: x")
    model = {"model_id": MODEL, "name": "tree", "status": 2, "source_run_id": ONE, "creation_timestamp": 5}
    model |= {"artifact_location": f"{root}/7/models/{MODEL}/artifacts"}
    write(root / "7" / "models" / MODEL / "meta.yaml", json.dumps(model).encode())
    write(root / "7" / "models" / MODEL / "metrics" / "auc", f"10 0.9 0 {ONE} may abc\n".encode())
    write(root / "7" / "models" / MODEL / "artifacts" / "MLmodel", b"flavors: {}")
    write(run / "outputs" / MODEL / "meta.yaml", f"destination_type: MODEL_OUTPUT\nsource_id: {MODEL}".encode())
    write(root / "models" / "delay" / "meta.yaml", b"name: delay\ncreation_timestamp: 5\nlast_updated_timestamp: 6")
    write(root / "models" / "delay" / "aliases" / "champion", b"2")
    version = {"version": 2, "source": f"models:/{MODEL}", "run_id": ONE, "current_stage": "None"}
    write(root / "models" / "delay" / "version-2" / "meta.yaml", json.dumps(version).encode())

    done = take(rooms, root)

    found = rooms.logbook.get(ONE).run
    assert ("first", {"opt/depth": "6"}, "finished") == (found.name, found.params, found.status)
    assert [1.5, math.inf] == [x.value for x in rooms.logbook.history(ONE, "loss") if not math.isnan(x.value)]
    assert ["may"] == [one.name for one in found.datasets]
    assert [MODEL] == [one.model for one in found.models]
    assert [("auc", "may")] == [(one.key, one.dataset) for one in rooms.logbook.scores(MODEL)]
    assert b"hello" == text(rooms, f"7/{ONE}/artifacts/a.txt")
    assert "deleted" == rooms.experiments.get("8").stage
    assert {"champion": 2} == rooms.catalogue.get("delay").aliases
    assert rooms.catalogue.version("delay", 2).digest is not None
    assert 2 == len(done.problems)
    assert {} == {key: count for key, count in take(rooms, tmp_path).made.items() if count}


def test_a_server_is_read_alike(rooms: Rooms, database: Path, tmp_path: Path) -> None:
    """What one workspace took over and answers as MLflow's server would, another one takes over from it."""
    take(rooms, database)
    other = workspace(tmp_path / "other")
    with served(rooms) as url:
        done = take(other, url)

    assert (3, 6, 2) == (done.made["runs"], done.made["points"], done.made["versions"])
    ours, theirs = other.logbook.get(ONE), rooms.logbook.get(ONE)
    assert theirs.run.params == ours.run.params
    assert theirs.run.tags == ours.run.tags
    assert theirs.run.points == ours.run.points
    assert theirs.run.datasets == ours.run.datasets
    assert b"0123456789" * 200_000 == text(other, f"7/{ONE}/artifacts/big.bin")
    assert rooms.catalogue.version("delay", 3).digest == other.catalogue.version("delay", 3).digest
    assert rooms.logbook.scores(MODEL) == other.logbook.scores(MODEL)
    other.close()


def test_what_came_goes_back(rooms: Rooms, database: Path, tmp_path: Path) -> None:
    """Everything that is not in the bin is sent once: facts, points, files, models, aliases; nesting and ids by tags."""
    take(rooms, database)
    other = workspace(tmp_path / "other")
    with served(other) as url, closing(open_target(url)) as target:
        done = export_tracker(rooms, target)
        again = export_tracker(rooms, target)

    assert {"experiments": 1, "runs": 2, "points": 6, "logged models": 1, "versions": 2, "aliases": 1} == {
        key: done.made[key] for key in ("experiments", "runs", "points", "logged models", "versions", "aliases")
    }
    assert (1, 0) == (again.known["runs"], again.made.get("versions", 0))
    found = {
        one.run.tags["stellwerk.run_id"]: one for one in other.logbook.search([other.experiments.named("flights").id])
    }
    one, two = found[ONE].run, found[TWO].run
    assert ({"depth": "6", "lr": ""}, "finished", "ben") == (one.params, one.status, one.user)
    assert one.id == two.parent
    assert [1.5, 0.5] == [x.value for x in other.logbook.history(one.id, "loss") if not math.isnan(x.value)]
    assert b"hello" == text(other, f"{one.experiment}/{one.id}/artifacts/notes/a.txt")
    assert ["may"] == [use.name for use in one.datasets]
    (use,) = one.models
    assert [("auc", 0.9)] == [(score.key, score.value) for score in other.logbook.scores(use.model)]
    assert {"champion": 2} == other.catalogue.get("delay").aliases
    assert rooms.catalogue.version("delay", 3).digest == other.catalogue.version("delay", 2).digest
    other.close()


def test_the_command_tells_what_it_did(
    rooms: Rooms, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a table with what was skipped and left out, and as JSON."""
    rooms.close()
    place = ["--workspace", str(tmp_path / "ours")]
    change(database, f"INSERT INTO params VALUES ('semi;colon', '1', '{ONE}')")

    assert 0 == main([*place, "mlflow", "import", str(database)])
    shown = capsys.readouterr().out
    for part in ("runs", "semi;colon", "left out: 2 traces", "1 run with artifacts elsewhere, not copied"):
        assert part in shown
    assert 0 == main([*place, "--json", "mlflow", "import", str(database)])
    assert 3 == json.loads(capsys.readouterr().out)["known"]["runs"]
    assert 2 == main(["--workspace", "http://127.0.0.1:1", "mlflow", "import", str(database)])
