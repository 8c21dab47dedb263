"""Runs of Weights & Biases are taken over from the folders that its clients write, whatever these hold, and once."""

from __future__ import annotations

import base64
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.cli.main import main
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.testing import wandb_logs as written
from stellwerk.workspace.mlflow.importing import import_tracker
from stellwerk.workspace.mlflow.model import TrackerImport
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.trackers import open_wandb
from stellwerk.workspace.wandb import log, records, replay

RUN = "abcd1234"


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    folder = tmp_path / "ours"
    folder.mkdir()
    made = Rooms(create(folder, Settings(actor="anna")), Settings(actor="anna"))
    yield made
    made.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a script ran that logged numbers, an image, a histogram and an artifact, and ended well."""
    staged = tmp_path / "staging" / "tmpabc"
    staged.parent.mkdir()
    staged.write_bytes(b"weights")
    image = {"_type": "image-file", "path": "media/images/a.png", "width": 8}
    data = written.log(
        [
            written.run(
                RUN,
                start=1_700_000_000,
                config={"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}, "none": None, "odd;key": 1},
                _2="acme", _6="g1", _7="train", _8="first", _9="some notes", _10=["a", "b"], _12="sw33p", _13="box",
                _19={4: "3.11.7", 5: "0.31.0"},
                _21={1: "https://git.example/a.git", 2: "c0ffee"},
            ),
            written.record("environment", {6: "train.py", 13: "ben"}),
            written.record("config", {1: written.items({"later": "x", "gone": 1})}),
            written.record("config", {2: [{1: "gone"}]}),
            written.record("output_raw", {1: 1, 3: "hello\n"}),
            written.history(0, {"loss": 1.5, "val": {"auc": 0.5}}, at=1_700_000_001.5),
            written.history(1, {"loss": math.nan, "high": math.inf, "img": image, "text": "why"}, at=1_700_000_002),
            written.history(2, {"loss": 0.5, "ok": True, "hist": {"_type": "histogram", "values": [1, 2]}, "a@5": 2},
                            at=1_700_000_003),
            written.record("metric", {2: "val.*", 4: "epoch"}),
            written.record("summary", {1: written.items({"loss": 0.5, "best": 0.9, "_wandb": {"runtime": 3}})}),
            written.record("stats", {2: {1: 1_700_000_004}, 3: [{1: "cpu", 16: "7.5"}, {1: "disk.\\.in", 16: "1"}]}),
            written.record("artifact", {
                4: "model", 5: "tree", 6: "233acd04", 7: "good", 8: '{"k": 1}', 11: ["best"],
                12: {4: [{1: "a/model.bin", 2: digest(b"weights"), 4: 7, 6: str(staged)},
                         {1: "far", 3: "s3://bucket/far"}]},
            }),
            written.record("use_artifact", {1: "QXJ0", 2: "dataset", 3: "may:v1"}),
            written.record("alert", {1: "look"}),
            written.record("exit", {1: 0}),
        ]
    )  # fmt: skip
    written.folder(tmp_path / "theirs", RUN, data, {"media/images/a.png": b"png", "requirements.txt": b"x==1\n"})
    return tmp_path / "theirs"


def digest(data: bytes) -> str:
    return base64.b64encode(md5(data, usedforsecurity=False).digest()).decode()


def take(rooms: Rooms, place: Path, *allowed: Path) -> TrackerImport:
    with closing(open_wandb(str(place), allowed)) as source:
        return import_tracker(rooms, source)


def text(rooms: Rooms, path: str, run: str = RUN) -> bytes:
    found = rooms.logbook.get(run).run
    digest_of = rooms.artifacts.get(f"{found.experiment}/{run}/artifacts/{path}").digest
    assert digest_of is not None
    return rooms.blobs.get(digest_of)


def values(rooms: Rooms, key: str, run: str = RUN) -> list[tuple[int, int, float]]:
    return [(one.step, one.at, one.value) for one in rooms.logbook.history(run, key)]


def reasons(done: TrackerImport) -> dict[tuple[str, str], str]:
    return {(one.kind, one.name): one.reason for one in done.problems}


def test_a_run_is_here_as_it_was_there(rooms: Rooms, home: Path) -> None:
    """With its id, its project, its config, and its history exactly: nested keys are joined by dots."""
    done = take(rooms, home)

    run = rooms.logbook.get(RUN).run
    assert "flights" == rooms.experiments.get(run.experiment).name
    assert ("first", "finished", "ben", "anna") == (run.name, run.status, run.user, run.started_by)
    assert (1_700_000_000, 1_700_000_004) == (int(run.started_at.timestamp()), int(run.ended_at.timestamp()))  # type: ignore[union-attr]
    assert {
        "lr": "0.1", "opt.name": "adam", "opt.betas": "[0.9, 0.99]", "none": "None", "odd_key": "1", "later": "x",
    } == run.params  # fmt: skip
    assert [(0, 1_700_000_001_500, 1.5), (2, 1_700_000_003_000, 0.5)] == [
        one for one in values(rooms, "loss") if one[0] != 1
    ]
    assert math.isnan(values(rooms, "loss")[1][2])
    assert [(0, 1_700_000_001_500, 0.5)] == values(rooms, "val.auc")
    assert [math.inf, 1.0, 0.9] == [values(rooms, key)[0][2] for key in ("high", "ok", "best")]
    assert [(0, 1_700_000_004_000, 7.5)] == values(rooms, "system/cpu")
    assert 1.0 == values(rooms, "system/disk..in")[0][2]
    assert (1, 1, 10) == tuple(done.made[key] for key in ("experiments", "runs", "points"))
    assert {"alerts": 1} == done.left_out


def test_what_is_said_of_a_run_becomes_tags(rooms: Rooms, home: Path) -> None:
    """Those of MLflow where there are such, so that everything that reads them finds them."""
    take(rooms, home)

    run = rooms.logbook.get(RUN).run
    assert {
        "mlflow.runName": "first", "mlflow.note.content": "some notes", "mlflow.source.git.commit": "c0ffee",
        "mlflow.source.git.repoURL": "https://git.example/a.git", "mlflow.source.name": "train.py",
        "wandb.run_id": RUN, "wandb.project": "flights", "wandb.entity": "acme", "wandb.group": "g1",
        "wandb.job_type": "train", "wandb.sweep_id": "sw33p", "wandb.host": "box", "wandb.tags": "a, b",
        "wandb.version": "0.31.0", "wandb.python": "3.11.7",
    } == {key: value for key, value in run.tags.items() if key != "wandb.read"}  # fmt: skip
    assert [("may:v1", "QXJ0", {"wandb.type": "dataset"})] == [
        (one.name, one.source, one.tags) for one in run.datasets
    ]


def test_what_is_no_number_is_kept_in_files(rooms: Rooms, home: Path) -> None:
    """Texts, images and histograms with their steps; config and summary as they were; what was printed."""
    take(rooms, home)

    first, second = (json.loads(line) for line in text(rooms, "wandb/values.jsonl").splitlines())
    assert (1, 1_700_000_002, "why", "media/images/a.png") == (
        first["_step"], first["_timestamp"], first["text"], first["img"]["path"],
    )  # fmt: skip
    assert {"_type": "histogram", "values": [1, 2]} == second["hist"]
    assert b"png" == text(rooms, "media/images/a.png")
    assert b"hello\n" == text(rooms, "output.log")
    assert {"name": "adam", "betas": [0.9, 0.99]} == json.loads(text(rooms, "wandb/config.json"))["opt"]
    assert {"loss": 0.5, "best": 0.9} == json.loads(text(rooms, "wandb/summary.json"))
    assert [{"glob": "val.*", "step_metric": "epoch"}] == json.loads(text(rooms, "wandb/metrics.json"))


def test_names_that_cannot_be_names_are_told(rooms: Rooms, home: Path) -> None:
    """Signs that no name may hold become `_`; nothing is renamed silently, and config.json has the old names."""
    done = take(rooms, home)

    assert [2.0] == [one[2] for one in values(rooms, "a_5")]
    assert "'a_5'" in reasons(done)["metric", "a@5"]
    assert "'odd_key'" in reasons(done)["param", "odd;key"]
    assert 1 == json.loads(text(rooms, "wandb/config.json"))["odd;key"]


def test_two_keys_never_become_one(rooms: Rooms, tmp_path: Path) -> None:
    """Where a name is taken already, the other key is left away and named."""
    written.folder(tmp_path, RUN, written.log([written.run(RUN), written.history(0, {"a@5": 1, "a_5": 2}, at=1)]))

    done = take(rooms, tmp_path)

    assert [2.0] == [one[2] for one in values(rooms, "a_5")]
    assert "cannot be a name" in reasons(done)["metric", "a@5"]


def test_artifacts_are_read_where_that_is_allowed(rooms: Rooms, home: Path, tmp_path: Path) -> None:
    """Staged files of artifacts come along with a description; what was given by address stays an address."""
    done = take(rooms, home, tmp_path / "staging")

    assert b"weights" == text(rooms, "wandb/artifacts/tree-233acd04/a/model.bin")
    said = json.loads(text(rooms, "wandb/artifacts/tree-233acd04.json"))
    assert ("tree", "model", "good", ["best"], {"k": 1}) == tuple(
        said[key] for key in ("name", "type", "description", "aliases", "metadata")
    )
    assert "s3://bucket/far" == said["files"][1]["ref"]
    assert "artifact" not in {one.kind for one in done.problems}


def test_a_log_makes_nobody_read_other_files(rooms: Rooms, tmp_path: Path) -> None:
    """A log or a link names any file of the machine; outside of what is allowed none is read, inside by digest only."""
    secret, staging = tmp_path / "secret", tmp_path / "staging"
    secret.write_bytes(b"secret")
    staging.mkdir()
    (staging / "other").write_bytes(b"others")
    (staging / "way").symlink_to(secret)
    entries = [
        {1: "stolen", 2: digest(b"secret"), 6: str(secret)},
        {1: "linked", 2: digest(b"secret"), 6: str(staging / "way")},
        {1: "climbed", 2: digest(b"secret"), 6: str(staging / ".." / "secret")},
        {1: "other", 2: digest(b"secret"), 6: str(staging / "other")},
        {1: "../../../../up", 2: digest(b"others"), 6: str(staging / "other")},
        {1: "nul", 2: "", 6: "a\0b"},
    ]
    artifact = written.record("artifact", {5: "../../x", 6: "d", 12: {4: entries}})
    folder = written.folder(tmp_path, RUN, written.log([written.run(RUN), artifact]))
    (folder / "files" / "link").symlink_to(secret)
    (folder / "files" / "folder").symlink_to(tmp_path)
    os.mkfifo(folder / "files" / "pipe")

    done = take(rooms, tmp_path, staging)

    refused = [one.name for one in done.problems if one.kind == "artifact"]
    assert 10 == len(refused)
    assert {"link", "folder", "pipe"} <= set(refused)
    assert [] == [one for one in rooms.blobs if rooms.blobs.size(one) == 6]  # type: ignore[attr-defined]


def test_links_are_followed_where_that_is_allowed(rooms: Rooms, home: Path, tmp_path: Path) -> None:
    """Clients link what a script saves: the folder of the script may be named."""
    (tmp_path / "work" / "deep").mkdir(parents=True)
    (tmp_path / "work" / "deep" / "model.txt").write_bytes(b"saved")
    files = next((home / "wandb").iterdir()) / "files"
    (files / "model.txt").symlink_to(tmp_path / "work" / "deep" / "model.txt")
    (files / "deep").symlink_to(tmp_path / "work" / "deep")

    take(rooms, home, tmp_path / "work")

    assert (b"saved", b"saved") == (text(rooms, "model.txt"), text(rooms, "deep/model.txt"))


def test_again_nothing_changes(rooms: Rooms, home: Path) -> None:
    """What is here is skipped, and not one entry is added to the ledger."""
    take(rooms, home)
    before = rooms.database.size()

    done = take(rooms, home / "wandb")

    assert {} == {key: count for key, count in done.made.items() if count}
    assert (1, 1, ()) == (done.known["experiments"], done.known["runs"], done.problems)
    assert before == rooms.database.size()


def test_a_run_that_went_on_goes_on_here(rooms: Rooms, tmp_path: Path) -> None:
    """Imported while it ran, then killed and resumed: what is new is added, and what was changed here stays."""
    begun = [written.run(RUN, start=10, config={"a": 1}), written.history(0, {"loss": 1.0}, at=11)]
    place = written.folder(tmp_path, RUN, written.log(begun), {"a.txt": b"old"})
    take(rooms, tmp_path)
    rooms.logbook.log(RUN, tags=[("mine", "yes"), ("mlflow.note.content", "mine")])
    more = [written.history(1, {"loss": math.nan, "new": 2.0}, at=12)]
    (place / f"run-{RUN}.wandb").write_bytes(written.log([*begun, *more]))
    again = [
        written.run(RUN, start=20, config={"a": 2, "b": 3}, _9="theirs"),
        written.history(2, {"loss": 3.0}, at=21),
    ]
    resumed = written.log([*again, written.record("exit", {1: 0})])
    written.folder(tmp_path, RUN, resumed, {"a.txt": b"new", "b.txt": b"more"}, day=2)

    done = take(rooms, tmp_path)
    before = rooms.database.size()
    last = take(rooms, tmp_path)

    run = rooms.logbook.get(RUN).run
    assert ("finished", 21) == (run.status, int(run.ended_at.timestamp()) if run.ended_at else 0)
    assert [(0, "1.0"), (1, "nan"), (2, "3.0")] == [(one[0], repr(one[2])) for one in values(rooms, "loss")]
    assert {"a": "1", "b": "3"} == run.params
    assert "never changes here" in reasons(done)["param", "a"]
    assert ("yes", "mine") == (run.tags["mine"], run.tags["mlflow.note.content"])
    assert (b"new", b"more") == (text(rooms, "a.txt"), text(rooms, "b.txt"))
    assert b"old" == text(rooms, f"wandb/{place.name}/a.txt")
    assert (1, 3) == (done.made["continued runs"], done.made["points"])
    assert ({}, before) == ({key: count for key, count in last.made.items() if count}, rooms.database.size())


def test_what_only_a_summary_says_is_one_point_until_it_changes(rooms: Rooms, tmp_path: Path) -> None:
    """It has the time at which the log ends; a log that goes on says the same later, and that is no news."""
    best = written.record("summary", {1: written.items({"best": 0.9})})
    log = [written.run(RUN, start=10), written.history(0, {"loss": 1.0}, at=11), best]
    place = written.folder(tmp_path, RUN, written.log(log))
    take(rooms, tmp_path)
    log.append(written.history(1, {"loss": 2.0}, at=12))
    (place / f"run-{RUN}.wandb").write_bytes(written.log(log))

    same = take(rooms, tmp_path)
    assert (1, [0.9]) == (same.made["points"], [one[2] for one in values(rooms, "best")])

    log += [
        written.history(2, {"loss": 3.0}, at=13),
        written.record("summary", {1: written.items({"best": 0.95})}),
    ]
    (place / f"run-{RUN}.wandb").write_bytes(written.log(log))
    take(rooms, tmp_path)
    assert [0.9, 0.95] == [one[2] for one in values(rooms, "best")]


def test_one_folder_of_several_is_nothing_new(rooms: Rooms, tmp_path: Path) -> None:
    """A folder that was read with others, and is read alone, changes nothing; one that is new is added to them."""
    first = [written.run(RUN, start=10), written.history(0, {"loss": 1.0}, at=11), written.record("exit", {1: 1})]
    second = [written.run(RUN, start=20), written.history(1, {"loss": 2.0}, at=21), written.record("exit", {1: 0})]
    place = written.folder(tmp_path, RUN, written.log(first), day=1)
    written.folder(tmp_path, RUN, written.log(second), day=2)
    take(rooms, tmp_path)
    before = rooms.database.size()

    alone = take(rooms, place)
    size = rooms.database.size()
    third = [written.run(RUN, start=30), written.history(2, {"loss": 3.0}, at=31), written.record("exit", {1: 0})]
    new = take(rooms, written.folder(tmp_path, RUN, written.log(third), day=3))

    assert ({}, before) == ({key: count for key, count in alone.made.items() if count}, size)
    assert "finished" == rooms.logbook.get(RUN).run.status
    assert (1, 1) == (new.made["continued runs"], new.made["points"])
    assert {} == {key: count for key, count in take(rooms, tmp_path).made.items() if count}
    assert 3 == len(json.loads(rooms.logbook.get(RUN).run.tags["wandb.read"]))


def test_a_rest_that_was_broken_off_goes_on(rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the points and the files of a rest, the next import adds what is missing, and nothing twice."""
    begun = [written.run(RUN), written.history(0, {"loss": 1.0}, at=11)]
    place = written.folder(tmp_path, RUN, written.log(begun))
    take(rooms, tmp_path)
    more = [written.history(1, {"loss": 2.0}, at=12), written.record("exit", {1: 0})]
    (place / f"run-{RUN}.wandb").write_bytes(written.log([*begun, *more]))
    (place / "files" / "late.txt").write_bytes(b"late")

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rooms.artifacts, "log", killed)
        with pytest.raises(KeyboardInterrupt):
            take(rooms, tmp_path)
    done = take(rooms, tmp_path)

    assert (1, 0, 1) == tuple(done.made[key] for key in ("continued runs", "points", "files"))
    assert [1.0, 2.0] == [one[2] for one in values(rooms, "loss")]
    assert ("finished", b"late") == (rooms.logbook.get(RUN).run.status, text(rooms, "late.txt"))


def test_a_run_in_the_bin_does_not_go_on(rooms: Rooms, home: Path) -> None:
    """What is new of it is not taken over, and that is said."""
    take(rooms, home)
    rooms.logbook.delete(RUN)
    written.folder(home, RUN, written.log([written.run(RUN), written.history(9, {"loss": 9}, at=1)]), day=2)

    done = take(rooms, home)

    assert "its rest is not taken over" in reasons(done)["run", RUN]
    assert 9 not in [one[0] for one in values(rooms, "loss")]


def test_an_id_that_another_run_has_here_is_made_anew(rooms: Rooms, home: Path, tmp_path: Path) -> None:
    """Projects may use the same ids; the second that comes gets one that is computed, and keeps it."""
    take(rooms, home)
    begun = [written.run(RUN, project="elsewhere"), written.history(0, {"loss": 7.0}, at=1)]
    place = written.folder(tmp_path / "more", RUN, written.log(begun))

    first = take(rooms, place)
    again = take(rooms, place)
    (place / f"run-{RUN}.wandb").write_bytes(written.log([*begun, written.history(1, {"loss": 8.0}, at=2)]))
    rest = take(rooms, place)

    (found,) = rooms.logbook.search([rooms.experiments.named("elsewhere").id])
    assert (RUN, True) == (found.run.tags["wandb.run_id"], found.run.id.startswith("wandb-"))
    assert (1, 0, 1) == (first.made["runs"], again.made.get("runs", 0), rest.made["continued runs"])
    assert (0, 1, 1) == tuple(done.known["runs"] for done in (first, again, rest))
    assert [7.0, 8.0] == [one[2] for one in values(rooms, "loss", found.run.id)]
    assert 1.5 == values(rooms, "loss")[0][2]


def test_a_run_that_was_resumed_is_one(rooms: Rooms, tmp_path: Path) -> None:
    """Two processes wrote of it: points of both, what the later one said of it, and the files of both."""
    first = [written.run(RUN, start=10, config={"a": 1}), written.history(0, {"loss": 1}, at=11)]
    first += [written.record("exit", {1: 1})]
    second = [written.run(RUN, start=20, config={"a": 2}), written.history(1, {"loss": 2}, at=21)]
    written.folder(tmp_path, RUN, written.log(first), {"a.txt": b"old", "only.txt": b"here"}, day=1)
    place = written.folder(
        tmp_path, RUN, written.log([*second, written.record("exit", {})]), {"a.txt": b"new"}, day=2
    )

    done = take(rooms, tmp_path)

    run = rooms.logbook.get(RUN).run
    assert (1, "finished", {"a": "2"}) == (done.made["runs"], run.status, run.params)
    assert [(0, 11_000, 1.0), (1, 21_000, 2.0)] == values(rooms, "loss")
    assert (b"new", b"here") == (text(rooms, "a.txt"), text(rooms, "only.txt"))
    assert b"old" == text(rooms, f"wandb/{place.name.replace('0102_', '0101_')}/a.txt")


@pytest.mark.parametrize(("code", "status"), [({}, "finished"), ({1: 3}, "failed"), ({1: 255}, "interrupted")])
def test_the_exit_code_says_how_it_ended(rooms: Rooms, tmp_path: Path, code: Any, status: str) -> None:
    """255 is what clients write for a run that somebody interrupted; without any it was killed."""
    written.folder(tmp_path, RUN, written.log([written.run(RUN), written.record("exit", code)]))
    written.folder(tmp_path, "killed", written.log([written.run("killed")]))

    take(rooms, tmp_path)

    assert (status, "interrupted") == tuple(rooms.logbook.get(run).run.status for run in (RUN, "killed"))


@pytest.mark.parametrize("cut", [1, 5, 9, 40, 33_000])
def test_of_a_torn_log_all_that_is_whole_is_kept(rooms: Rooms, tmp_path: Path, cut: int) -> None:
    """A run that was killed ends within a record; what came before is here, and that it was torn is said."""
    rows = [written.history(step, {"loss": step, "pad": "x" * 500}, at=step) for step in range(200)]
    data = written.log([written.run(RUN), *rows])
    whole = list(log.records(_file(data[:-cut], tmp_path), log.Damage()))
    written.folder(tmp_path, RUN, data[:-cut])

    done = take(rooms, tmp_path)

    assert len(whole) - 1 == len(values(rooms, "loss"))
    assert list(range(len(whole) - 1)) == [int(one[2]) for one in values(rooms, "loss")]
    assert "ends within a record" in reasons(done)["run", f"run-{RUN}.wandb"]
    assert "interrupted" == rooms.logbook.get(RUN).run.status


def test_damage_within_a_log_costs_its_block(rooms: Rooms, tmp_path: Path) -> None:
    """A changed byte is noticed by the check sum; the rest of that block is lost, and what comes after it is kept."""
    rows = [written.history(step, {"loss": step, "pad": "x" * 500}, at=step) for step in range(200)]
    data = bytearray(written.log([written.run(RUN), *rows]))
    data[40_000] ^= 1
    written.folder(tmp_path, RUN, bytes(data))

    done = take(rooms, tmp_path)

    kept = [int(one[2]) for one in values(rooms, "loss")]
    assert (0, 199) == (kept[0], kept[-1])
    assert 140 < len(kept) < 199
    assert "cannot be read" in reasons(done)["run", f"run-{RUN}.wandb"]


def test_what_is_said_last_counts(rooms: Rooms, tmp_path: Path) -> None:
    """Config changes value by value and as a whole, in the order of the log; what was removed is gone."""
    changes = [
        written.record("config", {1: [{1: "a", 16: '{"x": 1, "y": 2}'}, {1: "b", 16: "1"}]}),
        written.record("config", {1: [{2: ["a", "x"], 16: "3"}, {2: ["b", "c"], 16: "4"}]}),
        written.record("config", {2: [{2: ["a", "y"]}, {1: "nowhere"}]}),
        written.record("config", {1: [{1: "d", 16: "5"}], 2: [{1: "d"}]}),
        written.record("config", {1: [{1: "d", 16: "6"}]}),
    ]
    written.folder(tmp_path, RUN, written.log([written.run(RUN, config={"b": 0}), *changes]))

    take(rooms, tmp_path)

    assert {"a": {"x": 3}, "b": {"c": 4}, "d": 6} == json.loads(text(rooms, "wandb/config.json"))


def test_more_than_fits_is_named(rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No log fills the memory: points beyond a number, and records of more fields than any client writes."""
    monkeypatch.setattr(replay, "MOST_POINTS", 3)
    monkeypatch.setattr(records, "MOST_FIELDS", 1000)
    rows = [written.history(step, {"loss": step}, at=step) for step in range(5)]
    flood = written.record("summary", {1: [b""] * 1500})
    written.folder(tmp_path, RUN, written.log([written.run(RUN), *rows, flood]))

    done = take(rooms, tmp_path)

    assert 3 == len(values(rooms, "loss"))
    assert "more than 3 points; 2 that came" in reasons(done)["metric", ""]
    assert "1 record of its log cannot be read" in reasons(done)["run", f"run-{RUN}.wandb"]


def test_folders_without_a_run_are_named(rooms: Rooms, home: Path) -> None:
    """An empty log, another file in its place, a later version, none at all: the others are imported."""
    (written.folder(home, "none0001", b"") / "run-none0001.wandb").unlink()
    written.folder(home, "head0001", written.HEADER)
    written.folder(home, "zero0001", b"")
    written.folder(home, "text0001", b"this is no log")
    written.folder(home, "late0001", written.HEADER[:-1] + b"\x01")
    (home / "wandb" / "latest-run").symlink_to(next((home / "wandb").iterdir()))

    done = take(rooms, home)

    found = {one.name.rpartition("-")[2]: one.reason for one in done.problems if one.where.startswith("folder")}
    assert {"none0001", "head0001", "zero0001", "text0001", "late0001"} == found.keys()
    assert all("nothing was written yet" in found[name] for name in ("head0001", "zero0001"))
    assert "version" in found["late0001"]
    assert 1 == done.made["runs"]


def test_ids_that_cannot_be_ids_are_made_anew(rooms: Rooms, tmp_path: Path) -> None:
    """Each time the same; so is the second of two runs of one id in different projects."""
    written.folder(tmp_path, "a.b", written.log([written.run("a.b")]))
    written.folder(tmp_path, RUN, written.log([written.run(RUN, start=5)]))
    written.folder(tmp_path, RUN, written.log([written.run(RUN, project="other", start=9)]), day=2)
    take(rooms, tmp_path)

    runs = {
        one.run.tags["wandb.project"] + " " + one.run.tags["wandb.run_id"]: one.run.id
        for name in ("flights", "other")
        for one in rooms.logbook.search([rooms.experiments.named(name).id])
    }
    assert {"flights a.b", f"flights {RUN}", f"other {RUN}"} == runs.keys()
    assert RUN == runs[f"flights {RUN}"]
    assert 2 == len([one for one in runs.values() if one.startswith("wandb-")])
    assert 0 == take(rooms, tmp_path).made.get("runs", 0)


def test_an_older_log_that_comes_later_doubles_nothing(rooms: Rooms, tmp_path: Path) -> None:
    """Readings of the machine have no step of their own, and old clients say how long after the start a row was."""
    logs = {
        day: written.log(
            [
                written.run(RUN, start=1000 * day),
                written.record("stats", {2: {1: 1000 * day + 1}, 3: [{1: "cpu", 16: str(day)}]}),
                written.record("history", {1: written.items({"loss": day, "_runtime": 3}), 2: {1: day}}),
            ]
        )
        for day in (1, 2)
    }
    for day in (2, 1):
        written.folder(tmp_path / "home", RUN, logs[day], day=day)
        take(rooms, tmp_path / "home")

    for key, later in (("system/cpu", 1000), ("loss", 3000)):
        found = [(one.at, one.value) for one in rooms.logbook.history(RUN, key)]
        assert [(1_000_000 + later, 1.0), (2_000_000 + later, 2.0)] == found


def test_a_long_key_is_not_kept_once_more_for_each_value_below_it(rooms: Rooms, tmp_path: Path) -> None:
    """Else a log of a megabyte would fill all memory. What it holds is kept as it is."""
    values = {"k" * 300: dict.fromkeys(map(str, range(50)), 1)}
    written.folder(tmp_path / "home", RUN, written.log([written.run(RUN), written.history(0, values, at=1.0)]))

    done = take(rooms, tmp_path / "home")

    assert (0, 1) == (done.made.get("points", 0), done.made["files"])


def test_other_folders_are_refused(tmp_path: Path) -> None:
    """With a code each: no folder, no run in it."""
    with pytest.raises(NotFound) as missing:
        open_wandb(str(tmp_path / "nothing"))
    with pytest.raises(Invalid) as empty:
        open_wandb(str(tmp_path))
    assert ("no-such-folder", "not-wandb") == (missing.value.code, empty.value.code)


@pytest.mark.parametrize(
    "value", ["[" * 100_000, '{"a":' * 5_000, "1" * 5_000, "nope", '"\\ud800"', "1e999", "{}", "[NaN]"]
)
def test_values_do_no_harm(rooms: Rooms, tmp_path: Path, value: str) -> None:
    """Nested too deep, too long, no JSON, no Unicode: counted or kept, and the run is here."""
    rows = written.record("history", {1: [{1: "odd", 16: value}, {1: "loss", 16: "1"}], 2: {1: 4}})
    change = written.record("config", {1: [{1: "odd", 16: value}]})
    deep = written.record("summary", {1: [{2: ["a"] * 5_000, 16: "1"}]})
    written.folder(tmp_path, RUN, written.log([written.run(RUN), rows, change, deep]))

    done = take(rooms, tmp_path)

    assert [(4, 1.0)] == [(one[0], one[2]) for one in values(rooms, "loss")]
    assert "1 value of its summary" in reasons(done)["run", "summary"]
    json.dumps([one.reason + one.name for one in done.problems], ensure_ascii=False).encode()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80_000), max_size=6), st.integers(0, 200_000), st.integers(0, 255))
def test_records_come_back(
    tmp_path_factory: pytest.TempPathFactory, some: Sequence[bytes], at: int, bits: int
) -> None:
    """What the format puts into blocks is read again; of a changed file nothing is read that was not written."""
    place = tmp_path_factory.mktemp("logs")
    data = written.log(some)
    damage = log.Damage()
    assert list(some) == list(log.records(_file(data, place), damage))
    assert (False, 0) == (damage.torn, damage.spoilt)

    changed = bytearray(data)
    if some:
        changed[len(written.HEADER) + at % (len(data) - len(written.HEADER))] ^= bits
    assert all(one in some for one in log.records(_file(bytes(changed), place), damage))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_record_does_harm(data: bytes) -> None:
    """Whatever a record holds, it is read or refused."""
    told = replay.Told()
    refused = 0
    for number in (*records.KINDS.values(), 99):
        try:
            replay.take(told, records.read(written.message({number: data})))
        except Invalid:
            refused += 1
    assert refused <= len(records.KINDS)
    assert all(isinstance(one.value, float) and isinstance(one.step, int) for one in told.points)


def test_the_command_tells_what_it_did(
    rooms: Rooms, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a table with what was renamed and left out, and as JSON; and what is wrong with a folder."""
    rooms.close()
    place = ["--workspace", str(tmp_path / "ours")]

    assert 0 == main([*place, "wandb", "import", str(home), "--allow", str(tmp_path / "staging")])
    shown = capsys.readouterr().out
    for part in ("runs", "a@5", "left out: 1 alerts"):
        assert part in shown
    assert 0 == main([*place, "--json", "wandb", "import", str(home)])
    assert 1 == json.loads(capsys.readouterr().out)["known"]["runs"]
    assert 2 == main([*place, "wandb", "import", str(tmp_path / "ours")])


SCRIPT = """
import sys, wandb
run = wandb.init(project="flights", id="real0001", name="first", config={"lr": 0.1, "opt": {"name": "adam"}})
for step in range(300):
    run.log({"loss": 1 / (step + 1), "val": {"auc": step / 300}})
run.log({"hist": wandb.Histogram([1, 2, 3]), "table": wandb.Table(columns=["a"], data=[[1]])})
run.summary["best"] = 0.9
run.finish(exit_code=int(sys.argv[1]))
"""


@pytest.mark.skipif(
    not (os.environ.get("STELLWERK_TEST_WANDB_PYTHON") or importlib.util.find_spec("wandb")),
    reason="needs wandb, or STELLWERK_TEST_WANDB_PYTHON: a Python that has it",
)
def test_the_real_client_is_read(rooms: Rooms, tmp_path: Path) -> None:
    """A run that wandb itself wrote, in whichever version is there, has its numbers, config and end here."""
    python = os.environ.get("STELLWERK_TEST_WANDB_PYTHON") or sys.executable
    there = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}
    there.pop("PYTHONPATH", None)
    subprocess.run([python, "-c", SCRIPT, "3"], env=there, check=True, cwd=tmp_path, timeout=300)

    done = take(rooms, tmp_path)

    run = rooms.logbook.get("real0001").run
    assert ("first", "failed", {"lr": "0.1", "opt.name": "adam"}) == (run.name, run.status, run.params)
    assert [1 / (step + 1) for step in range(300)] == [one[2] for one in values(rooms, "loss", "real0001")]
    assert list(range(300)) == [one[0] for one in values(rooms, "val.auc", "real0001")]
    assert 0.9 == values(rooms, "best", "real0001")[0][2]
    assert "histogram" == json.loads(text(rooms, "wandb/values.jsonl", "real0001").splitlines()[0])["hist"]["_type"]
    assert () == done.problems


def _file(data: bytes, place: Path) -> Any:
    (place / "log").write_bytes(data)
    return (place / "log").open("rb")
