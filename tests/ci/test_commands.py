"""`ci init` as people type it: what is there already is respected, and what a job would lack is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from stellwerk.cli.main import main


def test_a_file_that_was_edited_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written again while it is as it was, whatever the options; refused once it is not, but for `--force`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.lock").write_text("polars==1.30\n", "utf-8")
    file = tmp_path / ".circleci" / "config.yml"

    codes = [main(["ci", "init", "circleci", *more]) for more in ([], ["--check"], ["--python", "3.13"], ["--check"])]
    said = capsys.readouterr().err
    file.write_text(file.read_text("utf-8") + "# ours\n", "utf-8")
    edited = [main(["ci", "init", "circleci"]), "# ours" in file.read_text("utf-8")]
    forced = [main(["ci", "init", "circleci", "--force"]), "# ours" in file.read_text("utf-8")]

    assert [0, 0, 0, 5] == codes
    assert "requirements.lock does not name stellwerk" in said
    assert [5, True] == edited
    assert [0, False] == forced


def test_a_file_lies_at_the_root_of_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder below nothing is written, and without a lock there is nothing to install."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "below").mkdir()
    codes = []
    for folder in (tmp_path, tmp_path / "below"):
        monkeypatch.chdir(folder)
        codes.append(main(["ci", "init", "jenkins"]))

    assert [4, 2] == codes
    assert [] == list(tmp_path.rglob("Jenkinsfile"))


def test_names_of_what_is_not_there_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is there. A pipeline file to come refuses nothing, and neither does one that cannot be imported here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.lock").write_text("stellwerk\n", "utf-8")
    early = [main(["ci", "init", "gitlab", *more]) for more in (["--pipeline", "dealy"], ["--endpoint", "dealy"])]
    (tmp_path / "stellwerk.toml").write_text(DECLARED, "utf-8")
    file = tmp_path / "pipeline.py"
    file.write_text("import no_such_module_anywhere\n", "utf-8")
    early.append(main(["ci", "init", "gitlab", "--pipeline", "dealy"]))
    (tmp_path / "flights.py").write_text(PIPELINE, "utf-8")
    (tmp_path / "stellwerk.toml").write_text(DECLARED + '[project]\npipeline = "flights.py"\n', "utf-8")
    capsys.readouterr()

    refused = [main(["ci", "init", "gitlab", *more]) for more in (["--pipeline", "dealy"], ["--endpoint", "dealy"])]
    said = capsys.readouterr().err
    accepted = main(["ci", "init", "gitlab", "--pipeline", "delay", "--endpoint", "delay"])

    assert [0, 4, 0] == early
    assert ([4, 4], 0) == (refused, accepted)
    assert "flights.py defines no pipeline 'dealy' (it defines delay)" in said
    assert "stellwerk.toml declares no endpoint 'dealy' (it declares delay)" in said


DECLARED = """
[endpoint.delay]
purpose = "Late?"
owner = "anna"

[endpoint.delay.goal]
auroc = { floor = 0.6 }

"""
PIPELINE = """
import stellwerk as sw


@sw.step
def one() -> int:
    return 1


@sw.pipeline
def delay():
    return one()
"""
