"""`stellwerk inbox`: what it suggests can be typed as it stands, and leads to the end of the run that waits."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from stellwerk.cli.main import main

PIPELINE = """
import stellwerk as sw


@sw.step
def ship(answer: str) -> str:
    return answer


@sw.pipeline
def asked():
    return ship(sw.wait_for_person("Ship it?", options=("ship it", "keep it"), deadline="3d"))
"""


def suggested(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The command that a command suggests last."""
    assert 0 == main([*words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next: ")]
    return shlex.split(lines[-1].removeprefix("next: "))[1:]


def test_suggestions_lead_from_a_waiting_run_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run names the inbox, the inbox the decision, the decision the run; each is typed as it was suggested."""
    (tmp_path / "pipeline.py").write_text(PIPELINE, "utf-8")
    monkeypatch.chdir(tmp_path)
    assert 0 == main(["init", "."])

    inbox = suggested(capsys, "run", "asked")
    decide = suggested(capsys, *inbox)
    resume = suggested(capsys, *decide)
    assert 0 == main(resume)

    assert (["inbox"], ["inbox", "decide"], "ship it", "resume") == (inbox, decide[:2], decide[3], resume[0])
    assert "finished" in capsys.readouterr().out
    assert 0 == main(["inbox", "--status", "decided"])
    assert decide[2] in capsys.readouterr().out
