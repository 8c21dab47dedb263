"""`stellwerk run --backfill`: a run for each partition, in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stellwerk.cli.main import main

PIPELINE = """\
import stellwerk as sw
from pathlib import Path


@sw.step(kind="data")
def rows(month: str, scale: int) -> int:
    if Path(f"broken-{month}").exists():
        raise ValueError(f"no data for {month}")
    return int(month[-2:]) * scale


@sw.pipeline
def asked(month: str = "2024-01", scale: int = 1):
    with sw.after(sw.wait_for_person(f"Take {month}?")):
        return rows(month, scale)


@sw.pipeline
def monthly(month: str = "2024-01", scale: int = 1):
    return rows(month, scale)
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    assert 0 == main(["init"])
    capsys.readouterr()


def backfill(capsys: pytest.CaptureFixture[str], *more: str, code: int = 0) -> Any:
    """The answer of a backfill over three months, as JSON."""
    words = ["run", "monthly", "--backfill", "month=2024-01..2024-03", "--at-once", "3", *more, "--json"]
    assert code == main(words)
    return json.loads(capsys.readouterr().out)


def test_a_backfill_goes_on_where_it_failed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What failed keeps no other from its turn; the same command again does only what is left, under its own record."""
    (tmp_path / "broken-2024-02").touch()
    first = backfill(capsys, code=1)
    assert ["finished", "failed", "finished"] == [one["status"] for one in first["partitions"]]
    assert "no data for 2024-02" in first["partitions"][1]["problem"]
    assert ("failed", "backfill") == (first["run"]["status"], first["run"]["kind"])
    (tmp_path / "broken-2024-02").unlink()

    second = backfill(capsys)

    assert ["skipped", "finished", "skipped"] == [one["status"] for one in second["partitions"]]
    assert first["partitions"][0]["run"] == second["partitions"][0]["run"]
    assert 0 == main(["runs", second["run"]["id"], "--json"])
    page = json.loads(capsys.readouterr().out)
    children = {(child["name"], child["kind"], child["cached"]) for child in page["children"]}
    assert {
        ("monthly month=2024-01", "partition", True),
        ("monthly month=2024-02", "pipeline", False),
        ("monthly month=2024-03", "partition", True),
    } == children
    assert 0 == main(["runs", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert ["monthly month=2024-01..2024-03"] * 2 == [run["name"] for run in listed]
    third = backfill(capsys, "--newest-first")
    assert {"skipped"} == {one["status"] for one in third["partitions"]}
    assert "2024-03" == third["partitions"][0]["value"]
    assert 0 == main(["run", "monthly", "--backfill", "month=2024-01..2024-03", "-p", "scale=1"])
    shown = capsys.readouterr().out
    assert "3 skipped" in shown
    assert 3 == shown.count("done before")


def test_partitions_that_wait_have_not_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """They are shown as waiting, and asked for once: the same command again begins none of them anew."""
    words = ["run", "asked", "--backfill", "month=2024-01..2024-02"]
    assert 0 == main([*words, "--json"])
    first = json.loads(capsys.readouterr().out)
    assert 0 == main([*words, "--json"])
    second = json.loads(capsys.readouterr().out)
    assert 0 == main(words)
    shown = capsys.readouterr()
    assert 0 == main(["inbox", "--json"])
    cases = json.loads(capsys.readouterr().out)

    assert ["waiting", "waiting"] == [one["status"] for one in first["partitions"]]
    assert ("finished", {"waiting": 2.0}) == (first["run"]["status"], first["run"]["metrics"])
    assert first["partitions"] == second["partitions"]
    assert "2 waiting" in shown.out
    assert "stellwerk inbox" in shown.err
    assert 2 == len(cases)


def test_a_backfill_is_run_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """A step that is to be executed anew is so in every partition, whether it was done before or not."""
    backfill(capsys)
    second = backfill(capsys, "--rerun", "rows", "--on", "subprocess:1")
    assert {"finished"} == {one["status"] for one in second["partitions"]}
    assert 0 == main(["runs", second["partitions"][0]["run"], "--json"])
    (step,) = json.loads(capsys.readouterr().out)["children"]
    assert ("rows", False) == (step["name"], step["cached"])


def test_what_is_to_be_done_may_stand_in_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what goes with it on the command line; what is set there for all commands is in nobody's way."""
    monkeypatch.setenv("STELLWERK_RUN_BACKFILL", "month=2024-01..2024-02")
    assert 0 == main(["run", "monthly", "--newest-first", "--json"])
    assert ["2024-02", "2024-01"] == [one["value"] for one in json.loads(capsys.readouterr().out)["partitions"]]
    monkeypatch.delenv("STELLWERK_RUN_BACKFILL")
    monkeypatch.setenv("STELLWERK_RUN_AT_ONCE", "3")
    assert 0 == main(["run", "monthly"])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (4, ["--rerun", "nope"]),
        (2, ["--on", "threads"]),
        (2, ["--on", "ray:"]),
        (2, ["--newest-first"]),
        (2, ["--plan", "--rerun", "rows"]),
        (2, ["--plan", "--backfill", "month=2024-01..2024-03"]),
        (4, ["--backfill", "month=2024-01..2024-03", "--rerun", "nope"]),
        (2, ["--backfill", "month=2024-01..2024-03", "--on", "threads"]),
        (2, ["--backfill", "month=2024-03..2024-01"]),
        (2, ["--backfill", "moth=2024-01..2024-03"]),
        (2, ["--backfill", "scale=a,b"]),
        (2, ["--backfill", "month=2024-01..2024-03", "-p", "month=2024-01"]),
        (2, ["--backfill", "month=2024-01..2024-03", "--at-once", "0"]),
    ],
)
def test_every_mistake_is_found_before_anything_runs(
    code: int, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With a message for people, no trace, and no run."""
    assert code == main(["run", "monthly", *words])
    assert "Traceback" not in capsys.readouterr().err
    assert 0 == main(["runs", "--json"])
    assert [] == json.loads(capsys.readouterr().out)
