"""`stellwerk triggers`, from the shell's side: with real runs in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.cli.main import main
from stellwerk.triggers.model import OnEvent
from stellwerk.workspace.triggering import Runner

PIPELINE = '''\
"""Counts rows."""

import stellwerk as sw


@sw.step(kind="data")
def rows(table: "pl.DataFrame", least: int) -> int:
    if least > 100:
        raise ValueError("nobody has so many rows")
    return max(least, table.height)


@sw.pipeline
def count(least: int = 0):
    """How many rows there are."""
    return rows(sw.dataset("flights"), least)
'''
TABLE = "flight,late\n1,true\n2,false\n"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A workspace with a pipeline, and a dataset under a confirmed contract."""
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    (tmp_path / "first.csv").write_text(TABLE)
    assert 0 == main(["init"])
    assert 0 == main(["data", "add", "flights", "first.csv"])
    with sw.connect(".") as workspace:
        workspace.data.confirm("flights", {"flight": {"minimum": 0, "maximum": 1000}})
    capsys.readouterr()


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The JSON of a command."""
    assert code == main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_dropped_file_starts_the_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file in a folder becomes a version that passed its contract, which starts the run; one that breaks it does not.

    The run's page, the trace of what it made and the ledger all say why there is a run.
    """
    (tmp_path / "incoming").mkdir()
    answer(capsys, "triggers", "add", "fresh", "--pipeline", "count", "--on-data", "flights", "-p", "least=1")
    drop = ("triggers", "run", "--once", "--drop", "flights=incoming")
    assert {"runs": 0, "failed": 0, "continued": 0} == answer(capsys, *drop)
    (tmp_path / "incoming" / "bad.csv").write_text("flight,late\n1000000,true\n")
    (tmp_path / "incoming" / "notes.txt").write_text("not a table, and left alone")
    assert {"runs": 0, "failed": 0, "continued": 0} == answer(capsys, *drop)
    (tmp_path / "incoming" / "monday.csv").write_text("flight,late\n3,true\n")

    assert {"runs": 1, "failed": 0, "continued": 0} == answer(capsys, *drop)
    assert {"runs": 0, "failed": 0, "continued": 0} == answer(capsys, *drop)

    files = {
        str(path.relative_to(tmp_path / "incoming")) for path in (tmp_path / "incoming").rglob("*") if path.is_file()
    }
    assert {"notes.txt", "taken/monday.csv", "refused/bad.csv", "refused/bad.csv.why.txt"} == files
    (firing,) = answer(capsys, "triggers", "show", "fresh")["firings"]
    assert ("finished", "dataset:flights@2") == (firing["outcome"], firing["cause"]["subject"])
    run = answer(capsys, "runs", firing["run"])
    assert ["caused by", f"trigger fresh: {firing['cause']['text']}"] in run["origin"]
    traced = answer(capsys, "trace", run["outputs"][0][1])
    edges = {(edge["source"].partition(":")[0], edge["label"]) for edge in traced["graph"]["edges"]}
    assert {("firing", "fired"), ("sha256", "new version")} <= edges
    with sw.connect(".") as workspace:
        kinds = [entry.kind for entry in workspace._caller.rooms.book.entries(kinds=["trigger."])]  # type: ignore[attr-defined]
        caused = workspace._caller.rooms.book.entries(kinds=["run."])  # type: ignore[attr-defined]
        assert () == workspace.verify().findings
    assert ["added", "fired", "claimed", "started", "ended"] == [kind.removeprefix("trigger.") for kind in kinds]
    assert {firing["id"]} == {
        entry.body.get("caused_by") for entry in caused if entry.body.get("name") in ("count", "rows")
    }


def test_a_failed_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With its error, by the exit code, and in the list; a pipeline that is not there fails without a run."""
    answer(capsys, "triggers", "add", "much", "--pipeline", "count", "-p", "least=1000", "--cron", "0 0 1 1 *")
    with sw.connect(".") as workspace:
        workspace.triggers.add("gone", "other", OnEvent(event="drift"))
    for name in ("much", "gone"):
        answer(capsys, "triggers", "fire", name)

    assert 1 == main(["triggers", "run", "--once", "--workers", "2"])
    shown = capsys.readouterr()
    assert "2 runs, 2 failed" in shown.out
    assert "nobody has so many rows" in shown.err
    found = {one["name"]: one["firings"][0] for one in answer(capsys, "triggers", "list")}
    assert ("failed", True) == (found["much"]["outcome"], bool(found["much"]["run"]))
    assert ("failed", "") == (found["gone"]["outcome"], found["gone"]["run"])
    assert "defines no pipeline 'other'" in found["gone"]["problem"]
    assert 0 == main(["triggers", "list"])
    assert 0 == main(["triggers", "show", "gone"])
    assert "defines no pipeline 'other'" in capsys.readouterr().out


def test_a_pipeline_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With those that are there; one that ran here may be another project's, and a file to come is nobody's fault."""
    clock = ["--cron", "0 0 1 1 *"]
    (tmp_path / "other.py").write_text(PIPELINE.replace("def count", "def other"))
    assert 4 == main(["triggers", "add", "x", "--pipeline", "cuont", *clock])
    said = capsys.readouterr().err
    (tmp_path / "stellwerk.toml").write_text('[trigger.x]\npipeline = "cuont"\ncron = "0 0 1 1 *"\n')
    assert 4 == main(["triggers", "apply"])
    assert 0 == main(["run", "other", "--file", "other.py"])
    assert 0 == main(["triggers", "add", "elsewhere", "--pipeline", "other", *clock])
    (tmp_path / "stellwerk.toml").unlink()
    (tmp_path / "pipeline.py").unlink()
    assert 0 == main(["triggers", "add", "early", "--pipeline", "cuont", *clock])

    assert "pipeline.py defines no pipeline 'cuont' (it defines count)" in said
    assert "did you mean 'count'?" in said


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ["add", "x", "--pipeline", "count"]),
        (2, ["add", "x", "--pipeline", "count", "--cron", "0 0 * * *", "--on-data", "flights"]),
        (2, ["add", "x", "--pipeline", "count", "--cron", "nonsense"]),
        (2, ["add", "x", "--pipeline", "count", "--cron", "0 0 * * *", "--zone", "Mars/Olympus"]),
        (2, ["add", "x", "--pipeline", "count", "--cron", "0 0 * * *", "--unchecked"]),
        (2, ["add", "x", "--pipeline", "count", "--cron", "0 0 * * *", "--interval", "soon"]),
        (2, ["add", "x", "--pipeline", "count", "--cron", "0 0 * * *", "-p", "nothing"]),
        (2, ["add", "x", "--pipeline", "count", "--on-event", "dirft"]),
        (2, ["add", "--pipeline=count", "--cron=0 0 * * *", "--", "-x"]),
        (4, ["show", "nobody"]),
        (4, ["pause", "nobody"]),
        (4, ["fire", "nobody"]),
        (4, ["remove", "nobody"]),
        (4, ["run", "--once", "--project", "nowhere"]),
        (4, ["run", "--once", "--drop", "flights=nowhere"]),
        (2, ["run", "--once", "--drop", "flights"]),
    ],
)
def test_every_mistake_has_its_exit_code(code: int, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With a message for people, and no trace."""
    assert code == main(["triggers", *arguments])
    assert "Traceback" not in capsys.readouterr().err


def test_a_trigger_has_a_life(capsys: pytest.CaptureFixture[str]) -> None:
    """Paused, resumed, listed, shown and taken away; a secret from a file is not said again."""
    Path("secret").write_text("a-secret-of-our-own-canary-1\n")
    answer(
        capsys,
        "triggers",
        "add",
        "nightly",
        "--pipeline",
        "count",
        "--cron",
        "30 2 * * 1-5",
        "--zone",
        "Europe/Berlin",
    )
    hook = ["triggers", "add", "pushed", "--pipeline", "count", "--on-webhook", "github", "--secret-file", "secret"]
    assert 0 == main(hook)
    for arguments in (["list"], ["show", "nightly"], ["show", "pushed"], ["pause", "nightly"], ["resume", "nightly"]):
        assert 0 == main(["triggers", *arguments])
    shown = capsys.readouterr()
    assert "canary" not in shown.out + shown.err
    assert "Europe/Berlin" in shown.out

    assert ["nightly", "pushed"] == [one["name"] for one in answer(capsys, "triggers", "list")]
    assert "nightly" == answer(capsys, "triggers", "remove", "nightly")["name"]
    assert 0 == main(["triggers", "remove", "pushed"])
    capsys.readouterr()
    assert [] == answer(capsys, "triggers", "list")


def test_a_runner_that_is_stopped_leaves_its_work_to_the_next(tmp_path: Path) -> None:
    """What it had taken and not begun waits again; and a workspace that is away is waited for."""
    with sw.connect(".") as workspace:
        workspace.triggers.add("calm", "count", OnEvent(event="caution"))
        workspace.triggers.fire("calm")
        told: list[str] = []
        runner = Runner(
            caller=workspace._caller,
            place=str(tmp_path),
            file=tmp_path / "pipeline.py",
            watch=lambda one: told.append(one.firing.status),
        )
        assert runner._claim()
        runner._stop()

        assert ["claimed", "queued"] == told
        assert (1, "queued") == ((firing := workspace.triggers.firings()[0]).epoch, firing.status)
    with pytest.raises(sw.StellwerkError):
        Runner(caller=workspace._caller, place=".", file=tmp_path / "pipeline.py", workers=0).once()


def test_triggers_are_applied_from_the_project_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With the secret of a new webhook shown once; what is wrong there is told with its table."""
    assert 4 == main(["triggers", "apply"])
    project = tmp_path / "stellwerk.toml"
    project.write_text('[trigger.pushed]\npipeline = "count"\non_webhook = "github"\n')
    assert 0 == main(["triggers", "apply"])
    assert "whsec_" in capsys.readouterr().out
    assert 0 == main(["triggers", "apply"])
    assert "whsec_" not in capsys.readouterr().out
    project.write_text('[trigger.pushed]\npipeline = "count"\non_webhok = "github"\n')
    assert 2 == main(["triggers", "apply"])
    problem = capsys.readouterr().err
    assert "[trigger.pushed] has the unknown key 'on_webhok'" in problem
    assert "did you mean 'on_webhook'?" in problem
    project.write_text("")
    assert [{"name": "pushed", "change": "removed", "made": None}] == answer(capsys, "triggers", "apply", "--prune")
