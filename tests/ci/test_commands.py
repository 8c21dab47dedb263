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
