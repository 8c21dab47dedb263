"""What is here is given into a folder as MLflow's file store reads it: everything, once, and without harm to others."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from stellwerk.cli.main import main
from stellwerk.core.errors import Conflict, Invalid, NotFound, Unavailable
from stellwerk.data.dvc import yamltext
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.store.service import put_files
from stellwerk.tracking.adopting import ForeignRun
from stellwerk.tracking.model import DatasetUse, ModelUse, Point, Run
from stellwerk.tracking.rules import milliseconds
from stellwerk.workspace.mlflow import exporting_files, writing_files
from stellwerk.workspace.mlflow.exporting_files import export_folder
from stellwerk.workspace.mlflow.importing import import_tracker
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.trackers import open_source

ODD = "two\nlines: 'quoted' \"twice\" \u2028 \x85 é 😀 # - yes"


def workspace(folder: Path) -> Rooms:
    folder.mkdir()
    return Rooms(create(folder, Settings(actor="anna")), Settings(actor="anna"))


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    """Two runs, one below the other, with a model, data, files and a registered version with an alias."""
    made = workspace(tmp_path / "ours")
    home = made.experiments.create("flights: 😀", tags=[("team", "risk")]).id
    book = made.logbook
    run = book.create(experiment=home, name=ODD, user="ben", start=5000, tags=[("note", ODD)]).run
    book.log(run.id, params=[("opt/name", ODD), ("depth", "6"), ("empty", "")])
    special = [
        Point("loss", value, 10 + step, step) for step, value in enumerate([1.5, math.nan, math.inf, -math.inf])
    ]
    book.log(run.id, points=[*special, Point("val/auc", 0.1 + 0.2, 20, 7)])
    book.use(
        run.id,
        datasets=[
            DatasetUse(name="may", digest="abc", source_type="local", source=ODD, tags={"context": "training"})
        ],
    )
    model = made.logged_models.create(
        experiment=home, name="tree", source_run=run.id, params=[("depth", "6")], tags=[("ok", "yes")]
    )
    book.use(run.id, models=[ModelUse(model=model.id, role="made", step=4)])
    book.log(run.id, scores=_scores(model.id, run.id))
    for path in (f"{home}/{run.id}/artifacts/deep/a b.txt", f"{home}/models/{model.id}/artifacts/MLmodel"):
        made.artifacts.log(path, made.blobs.put(b"hello"))
    made.logged_models.finish(model.id, "ready")
    book.update(run.id, status="finished", end=9000)
    child = book.create(experiment=home, name="child", start=6000, tags=[("mlflow.parentRunId", run.id)]).run
    book.update(child.id, status="failed", end=7000)
    made.catalogue.create("delay", description=ODD, tags={"owner": "anna"})
    made.catalogue.add("delay", f"models:/{model.id}", run_id=run.id, description="first", tags={"k": "v"})
    made.catalogue.set_alias("delay", "champion", 1)
    yield made
    made.close()


def _scores(model: str, run: str) -> list[Any]:
    from stellwerk.tracking.model import Score

    return [Score(model=model, run=run, key="auc", value=0.9, at=30, step=2, dataset="may", dataset_digest="abc")]


def everything(rooms: Rooms) -> dict[str, Any]:
    """What a tracker says of experiments, runs, models and files, in an order that does not matter."""
    found: dict[str, Any] = {}
    for one in rooms.experiments.search(limit=100):
        for each in rooms.logbook.search([one.id], limit=100):
            run = each.run
            files = {
                entry.name: str(entry.digest)
                for entry in rooms.artifacts.list(f"{one.id}/{run.id}/artifacts/deep")
                if entry.digest
            }
            found[f"run {run.id}"] = (
                one.name, one.tags, run.name, run.status, run.user or run.started_by, run.started_at, run.ended_at,
                run.params, run.tags, run.datasets, run.models, run.parent, files,
                {key: [(p.at, p.step, repr(p.value)) for p in rooms.logbook.history(run.id, key)]
                 for key in (latest.key for latest in each.metrics)},
            )  # fmt: skip
        for model in rooms.logged_models.search(among=[one.id], limit=100):
            found[f"model {model.id}"] = (
                model.name, model.source_run, model.status, model.params, milliseconds(model.created_at),
                rooms.logbook.scores(model.id),
            )  # fmt: skip
    for page in rooms.catalogue.search_models("", limit=100):
        version = rooms.catalogue.version(page.model.name, 1)
        found[page.model.name] = (
            page.model.description, page.model.tags, page.aliases, version.description, version.tags, version.run_id,
            version.source, version.stage, version.digest, milliseconds(version.created_at),
        )  # fmt: skip
    return found


def take(folder: Path, place: Path) -> Rooms:
    other = workspace(folder)
    with closing(open_source(str(place))) as source:
        done = import_tracker(other, source)
    assert () == done.problems
    return other


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(one.relative_to(folder)): one.read_bytes() if one.is_file() else None for one in folder.rglob("*")}


def test_what_goes_out_comes_back(rooms: Rooms, tmp_path: Path) -> None:
    """Exported and imported into another workspace, everything is equal: ids, times, numbers, bytes, links."""
    done = export_folder(rooms, tmp_path / "out" / "mlruns")

    other = take(tmp_path / "other", tmp_path / "out" / "mlruns")
    assert everything(rooms) == everything(other)
    assert 4 == len(everything(other))  # two runs, a logged model, a registered one
    assert {"runs": 2, "points": 5, "logged models": 1, "versions": 1, "aliases": 1, "files": 2} == {
        key: done.made[key] for key in ("runs", "points", "logged models", "versions", "aliases", "files")
    }
    other.close()


def test_again_nothing_changes(rooms: Rooms, tmp_path: Path) -> None:
    """What is there is skipped; what came since is added beside it."""
    root = tmp_path / "mlruns"
    export_folder(rooms, root)
    before = tree(root)

    again = export_folder(rooms, root)

    assert (before, {}) == (tree(root), {key: count for key, count in again.made.items() if count})
    assert (2, 1, 1) == tuple(again.known[key] for key in ("runs", "versions", "aliases"))
    rooms.logbook.create(experiment=rooms.experiments.named("flights: 😀").id, name="late")
    late = export_folder(rooms, root)
    assert 1 == late.made["runs"]
    assert before.items() <= tree(root).items()
    assert ["it goes on; what it logs from now on is not in the folder"] == [one.reason for one in late.problems]


def test_what_went_on_is_named(rooms: Rooms, tmp_path: Path) -> None:
    """A run that was written while it went on is not written over; it is said that there is more of it."""
    run = rooms.logbook.create(experiment="0", name="late").run
    export_folder(rooms, tmp_path / "mlruns")
    rooms.logbook.update(run.id, status="finished")

    again = export_folder(rooms, tmp_path / "mlruns")

    assert ["it went on since it was written"] == [one.reason.partition(":")[0] for one in again.problems]


def test_what_is_of_others_stays(rooms: Rooms, tmp_path: Path) -> None:
    """An experiment of another name keeps its id, one of the same name takes the runs, other versions stay."""
    root, home = tmp_path / "mlruns", rooms.experiments.named("flights: 😀").id
    theirs = {home: {"experiment_id": home, "name": "theirs"}, "77": {"experiment_id": "77", "name": "flights: 😀"}}
    for name, said in theirs.items():
        (root / name).mkdir(parents=True)
        writing_files.meta(root / name, said)
    (root / "models" / "delay" / "version-1").mkdir(parents=True)
    writing_files.meta(root / "models" / "delay" / "version-1", {"version": 1, "creation_timestamp": 1})
    before = tree(root)

    done = export_folder(rooms, root)

    assert before.items() <= tree(root).items()
    assert [] == [one for one in (root / home).iterdir() if one.is_dir()]
    assert 2 == len([one for one in (root / "77").iterdir() if one.is_dir() and (one / "params").is_dir()])
    assert ["another version of this number is there"] == [one.reason for one in done.problems]


def test_an_experiment_in_the_bin_takes_no_runs(rooms: Rooms, tmp_path: Path) -> None:
    """MLflow would not find them, and takes no second experiment of its name; that is said."""
    root = tmp_path / "mlruns"
    for place, said in {"0": {"name": "Default"}, ".trash/77": {"name": "flights: 😀"}}.items():
        (root / place).mkdir(parents=True)
        writing_files.meta(root / place, {"experiment_id": Path(place).name, **said})

    done = export_folder(rooms, root)

    assert ["experiment"] == [one.kind for one in done.problems]
    assert {".trash", "0", "models"} == {one.name for one in root.iterdir()}


def test_an_id_leads_nowhere_else(rooms: Rooms, tmp_path: Path) -> None:
    """What a folder that is there says of itself is no path, and its bin is no link."""
    root, home = tmp_path / "deep" / "mlruns", rooms.experiments.named("flights: 😀").id
    (root / "0").mkdir(parents=True)
    writing_files.meta(root / "0", {"experiment_id": "../../elsewhere", "name": "flights: 😀"})

    export_folder(rooms, root)

    assert ["deep", "ours"] == sorted(one.name for one in tmp_path.iterdir())
    assert (root / home / "meta.yaml").exists()

    (tmp_path / "theirs" / ".stellwerk-export").mkdir(parents=True)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".trash").symlink_to(tmp_path / "theirs")
    with pytest.raises(Invalid) as caught:
        export_folder(rooms, tmp_path / "new")
    assert "not-mlflow" == caught.value.code
    assert (tmp_path / "theirs" / ".stellwerk-export").exists()


def test_an_id_that_is_taken_is_not_given_twice(rooms: Rooms, tmp_path: Path) -> None:
    """Under another id the experiment has its runs, and the versions of models know where."""
    root, home = tmp_path / "mlruns", rooms.experiments.named("flights: 😀").id
    (root / home).mkdir(parents=True)
    writing_files.meta(root / home, {"experiment_id": home, "name": "theirs"})

    export_folder(rooms, root)

    said = yamltext.read((root / str(int(home) + 1) / "meta.yaml").read_bytes(), "meta.yaml")
    assert "flights: 😀" == said["name"]
    version = yamltext.read((root / "models/delay/version-1/meta.yaml").read_bytes(), "meta.yaml")
    assert f"/{int(home) + 1}/models/" in version["storage_location"]


def test_broken_off_it_goes_on(rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while a folder is made, none of it is seen; the next export leaves the same as one that was not killed."""
    monkeypatch.setattr(exporting_files, "AT_ONCE", 1)
    write, calls = writing_files.write, []

    def killed(folder: Path, path: str, chunks: Any) -> int:
        calls.append(path)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return write(folder, path, chunks)

    monkeypatch.setattr(writing_files, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        export_folder(rooms, tmp_path / "mlruns")
    part = {one for one in tree(tmp_path / "mlruns") if not one.startswith(".trash")}
    export_folder(rooms, tmp_path / "mlruns")
    monkeypatch.setattr(writing_files, "write", write)
    export_folder(rooms, tmp_path / "whole")

    left = tree(tmp_path / "mlruns")
    assert part < left.keys()
    assert [] == [one for one in left if one.startswith(".trash/")]
    assert tree(tmp_path / "whole").keys() == left.keys()


def test_other_folders_are_refused(rooms: Rooms, tmp_path: Path) -> None:
    """With a code each: somebody's files, a file, an experiment that is not here, a second export."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    for place, kind, code in (("photos", Invalid, "not-mlflow"), ("file", Unavailable, "folder-unwritable")):
        with pytest.raises(kind) as caught:
            export_folder(rooms, tmp_path / place)
        assert code == caught.value.code  # type: ignore[attr-defined]
    assert ["a.jpg"] == [one.name for one in (tmp_path / "photos").iterdir()]
    with pytest.raises(NotFound):
        export_folder(rooms, tmp_path / "new", experiment="nowhere")
    with writing_files.opened(tmp_path / "mlruns"), pytest.raises(Conflict) as caught:
        export_folder(rooms, tmp_path / "mlruns")
    assert "export-running" == caught.value.code


def test_names_cannot_leave_the_folder(rooms: Rooms, tmp_path: Path) -> None:
    """What pipelines and other trackers called things is checked before it becomes a path; the rest is written."""
    run = Run(
        id="a" * 32, experiment="0", name="odd", kind="logged", status="finished", started_at=rooms.clock.now(),
        started_by="", params={"../../up": "1", "fine": "2", "a": "1", "a/b": "2", "x" * 250: "3"},
        tags={"/etc/passwd": "1"}, models=(ModelUse(model="../../../up", role="used"),),
    )  # fmt: skip
    rooms.adoption.runs([ForeignRun(run=run)])

    done = export_folder(rooms, tmp_path / "deep" / "mlruns")

    named = {(one.kind, one.name) for one in done.problems}
    assert {("param", "../../up"), ("param", "a/b"), ("tag", "/etc/passwd"), ("model", "../../../up")} == named
    assert {"fine", "a", "x" * 250} == {
        one.name for one in (tmp_path / "deep/mlruns/0" / run.id / "params").iterdir()
    }
    assert ["mlruns"] == [one.name for one in (tmp_path / "deep").iterdir()]


def test_prompts_and_names_with_quotes_go_out_too(rooms: Rooms, tmp_path: Path) -> None:
    """However a prompt says that it is one: by its own tag in any case, or by that of a version."""
    catalogue = rooms.catalogue
    catalogue.create("loud", tags={"mlflow.prompt.is_prompt": "True"})
    catalogue.create("quiet")
    catalogue.add("quiet", source="dummy-source", tags={"mlflow.prompt.is_prompt": "true"})
    for name in ("anna's", "back`tick"):
        catalogue.create(name)
        catalogue.add(name, source="dummy-source")

    export_folder(rooms, tmp_path / "out")

    for name, versions in (("loud", 0), ("quiet", 1), ("anna's", 1), ("back`tick", 1)):
        assert versions == len(list((tmp_path / "out" / "models" / name).glob("version-*"))), name
        assert (tmp_path / "out" / "models" / name / "meta.yaml").is_file()


def test_models_of_pipelines_come_with_their_files(rooms: Rooms, tmp_path: Path) -> None:
    """A version whose files are in no run has them beside it."""
    tree_of = put_files(rooms.blobs, {"deep/weights": rooms.blobs.put(b"weights")})
    now = rooms.clock.now()
    model = RegisteredModel(workspace="", name="native", created_at=now, changed_at=now)
    version = ModelVersion(
        workspace="", name="native", version=3, digest=tree_of, signature=None, format="", run_id="", seed=None,
        created_at=now,
    )  # fmt: skip
    rooms.model_adoption.adopt(model, [version], {}, {})

    done = export_folder(rooms, tmp_path / "mlruns")

    place = tmp_path / "mlruns" / "models" / "native" / "version-3"
    assert () == done.problems
    assert b"weights" == (place / "artifacts" / "deep" / "weights").read_bytes()
    assert (place / "artifacts").as_uri() == yamltext.read((place / "meta.yaml").read_bytes(), "meta.yaml")["source"]


def test_the_command_tells_what_it_did(rooms: Rooms, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, and as JSON; one experiment comes without registered models."""
    rooms.close()
    place = ["--workspace", str(tmp_path / "ours")]

    assert 0 == main([*place, "mlflow", "export", str(tmp_path / "mlruns"), "--experiment", "flights: 😀"])
    assert "logged models" in capsys.readouterr().out
    assert not (tmp_path / "mlruns" / "models").exists()
    assert 0 == main([*place, "--json", "mlflow", "export", str(tmp_path / "mlruns")])
    assert (2, 1) == _counts(json.loads(capsys.readouterr().out))
    assert 2 == main([*place, "mlflow", "export", "ftp://somewhere"])


def _counts(done: dict[str, Any]) -> tuple[int, int]:
    return done["known"]["runs"], done["made"]["versions"]


SCRIPT = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
found = {}
for one in client.search_experiments():
    for run in client.search_runs([one.experiment_id]):
        found[run.info.run_id] = {
            "experiment": one.name, "name": run.info.run_name, "status": run.info.status, "params": run.data.params,
            "tags": run.data.tags, "times": [run.info.start_time, run.info.end_time],
            "points": {
                key: [[p.timestamp, p.step, repr(p.value)] for p in client.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            },
            "files": [each.path for each in client.list_artifacts(run.info.run_id, "deep")],
            "datasets": [each.dataset.source for each in run.inputs.dataset_inputs],
        }
version = client.get_model_version_by_alias("delay", "champion")
found["version"] = [version.description, version.tags, client.get_model_version_download_uri("delay", "1")]
with mlflow.start_run():
    mlflow.log_metric("more", 1)
print(json.dumps(found))
"""


@pytest.mark.skipif(
    not (os.environ.get("STELLWERK_TEST_MLFLOW_PYTHON") or importlib.util.find_spec("mlflow")),
    reason="needs mlflow, or STELLWERK_TEST_MLFLOW_PYTHON: a Python that has it",
)
def test_the_real_mlflow_opens_it(rooms: Rooms, tmp_path: Path) -> None:
    """Stock MLflow reads runs, points, files, data and versions as they are here, and logs a further run there."""
    root = tmp_path / "with space" / "mlruns"
    export_folder(rooms, root)
    python = os.environ.get("STELLWERK_TEST_MLFLOW_PYTHON") or sys.executable
    there = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    told = subprocess.run(
        [python, "-c", SCRIPT, root.as_uri()], env=there, check=True, capture_output=True, cwd=tmp_path, timeout=300
    )

    found = json.loads(told.stdout.splitlines()[-1])

    for each in rooms.logbook.search([rooms.experiments.named("flights: 😀").id]):
        said, run = found[each.run.id], each.run
        assert ("flights: 😀", run.name, run.params) == (said["experiment"], said["name"], said["params"])
        assert run.tags == said["tags"]
        assert ["deep/a b.txt"] * (run.name == ODD) == said["files"]
        assert [one.source for one in run.datasets] == said["datasets"]
        for latest in each.metrics:
            ours = [[p.at, p.step, repr(p.value)] for p in rooms.logbook.history(run.id, latest.key)]
            assert sorted(ours) == sorted(said["points"][latest.key])
    assert ["first", {"k": "v"}] == found["version"][:2]
    assert (Path(unquote(urlsplit(found["version"][2]).path)) / "MLmodel").is_file()
    with closing(open_source(str(root))) as source:
        assert 1 == import_tracker(rooms, source).made["runs"]
