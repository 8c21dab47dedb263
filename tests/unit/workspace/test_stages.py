"""The stages of an existing `dvc.yaml` run as steps: the same files as DVC makes, each stage only when it has to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.model import Encoded
from stellwerk.pipelines.values import STANDARD
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

YAML = """
vars:
  - words: {hello: Guten Tag}
stages:
  prepare:
    cmd: sh scripts/prepare.sh ${count}
    deps: [scripts]
    params: [count]
    outs: [data/numbers.txt]
  part:
    foreach: [odd, even]
    do:
      cmd:
        - grep -n "" ../data/numbers.txt > /dev/null
        - awk -v want=${item} '{ if (($1 % 2 == 1) == (want == "odd")) print }' ../data/numbers.txt > ${item}.txt
      wdir: parts
      deps: [../data/numbers.txt]
      outs: ["${item}.txt"]
  report:
    cmd: (echo "${words.hello}"; cat parts/odd.txt parts/even.txt) > report.txt
    deps: [parts/odd.txt, parts/even.txt]
    metrics:
      - report.txt: {cache: false}
"""
FLOW = """
import stellwerk as sw


@sw.step
def lines(file):
    return file.read_text().splitlines()


@sw.pipeline
def taken():
    made = sw.stages()
    return {"lines": lines(made["report.txt"])}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "scripts").mkdir(parents=True)
    create(folder, Settings(actor="anna"))
    (folder / "scripts" / "prepare.sh").write_text("mkdir -p data; seq 1 $1 > data/numbers.txt\n")
    (folder / "dvc.yaml").write_text(YAML)
    (folder / "params.yaml").write_text("count: 5\n")
    (folder / "flow.py").write_text(FLOW)
    return folder


def run(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The lines of the report, and how each step ended."""
    plan = find_pipelines(load(folder / "flow.py"))["taken"].plan()
    with sw.connect(folder, actor="anna") as workspace:
        ran = workspace.run(plan)
        stored = ran.report.results["lines"][0]
        data = workspace._caller.blobs.get(stored.digest)
    return STANDARD.decode(Encoded(media=stored.media, data=data)), {t.task: t.status for t in ran.report.tasks}


def test_stages_run_as_steps(project: Path) -> None:
    """In order, with templates filled in; nothing unchanged runs again; a parameter executes what uses it."""
    first, _ = run(project)
    again, known = run(project)
    (project / "params.yaml").write_text("count: 3\n")
    fewer, changed = run(project)

    assert ["Guten Tag", "1", "3", "5", "2", "4"] == first == again
    assert {"cached"} == set(known.values())
    assert ["Guten Tag", "1", "3", "2"] == fewer
    assert "done" == changed["prepare"]
    assert not (project / "report.txt").exists()  # the project's folder is left alone


def test_dvc_makes_the_same(project: Path, tmp_path: Path) -> None:
    """The real one, where it is installed."""
    dvc = os.environ.get("STELLWERK_TEST_DVC")
    if not dvc or shutil.which("git") is None:
        pytest.skip("needs DVC: STELLWERK_TEST_DVC names its program")
    theirs = tmp_path / "theirs"
    shutil.copytree(project, theirs, ignore=shutil.ignore_patterns(".stellwerk"))
    (theirs / "parts").mkdir()
    for command in (["git", "init", "-q"], [dvc, "init", "-q"], [dvc, "repro", "-q"]):
        subprocess.run(command, cwd=theirs, check=True, capture_output=True)

    assert (theirs / "report.txt").read_text().splitlines() == run(project)[0]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("deps: [scripts]", "deps: [gone.txt]", "no-such-file"),
        ("${count}", "${unknown}", "unknown-value"),
        ("outs: [data/numbers.txt]", "outs: [../elsewhere.txt]", "invalid-path"),
        ("deps: [scripts]", "deps: [report.txt]", "cyclic-plan"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(project: Path, old: str, new: str, code: str) -> None:
    """While it is planned, with the stage."""
    (project / "dvc.yaml").write_text(YAML.replace(old, new))

    with pytest.raises(sw.StellwerkError) as refused:
        find_pipelines(load(project / "flow.py"))["taken"].plan()

    assert code == refused.value.code
    assert "prepare" in refused.value.message
