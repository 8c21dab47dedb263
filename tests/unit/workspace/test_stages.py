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
    ("old", "new", "code", "said"),
    [
        ("deps: [scripts]", "deps: [gone.txt]", "no-such-file", "`stellwerk data dvc import`"),
        ("${count}", "${unknown}", "unknown-value", "'prepare'"),
        ("outs: [data/numbers.txt]", "outs: [../elsewhere.txt]", "invalid-path", "'prepare'"),
        ("deps: [scripts]", "deps: [report.txt]", "cyclic-plan", "'prepare'"),
        ("params: [count]", "frozen: true", "frozen-stage", "'prepare' is frozen"),
        ("outs: [data", "oust: [data", "invalid-dvc-file", "'prepare' cannot have the key 'oust'"),
        ("outs: [data", "oust: [data", "invalid-dvc-file", "did you mean 'outs'?"),
        ("      wdir: parts", "      frozen: true\n      wdir: parts", "frozen-stage", "'part' is frozen"),
        ("    do:\n", "    always_changed: true\n    do:\n", "invalid-dvc-file", "inside `do`"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(project: Path, old: str, new: str, code: str, said: str) -> None:
    """While it is planned, with the stage."""
    (project / "dvc.yaml").write_text(YAML.replace(old, new))

    with pytest.raises(sw.StellwerkError) as refused:
        find_pipelines(load(project / "flow.py"))["taken"].plan()

    assert code == refused.value.code
    assert said in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize("name", ["prepare", "nope"])
def test_what_no_stage_gives_is_told_with_what_there_is(project: Path, name: str) -> None:
    """The paths of all outputs with their stages; a stage without outputs is named by its name."""
    (project / "dvc.yaml").write_text(YAML + "  look:\n    cmd: cat report.txt\n    deps: [report.txt]\n")
    (project / "flow.py").write_text(FLOW.replace("report.txt", name))

    with pytest.raises(sw.StellwerkError) as refused:
        find_pipelines(load(project / "flow.py"))["taken"].plan()

    assert "unknown-output" == refused.value.code
    assert f"gives no '{name}' (it gives data/numbers.txt of stage prepare, " in refused.value.message
    assert "report.txt of stage report, look)" in refused.value.message


def test_keys_that_change_nothing_are_taken(project: Path) -> None:
    """Descriptions, and what DVC does with an output once it is there."""
    (project / "dvc.yaml").write_text(
        YAML.replace(
            "    params: [count]\n    outs: [data/numbers.txt]",
            "    desc: counts\n    meta: {by: anna}\n    frozen: false\n    params: [count]\n"
            "    outs: [data/numbers.txt: {push: false, desc: numbers}]",
        )
    )

    assert "done" == run(project)[1]["prepare"]


def test_a_parameter_file_counts_as_a_whole(project: Path) -> None:
    """The stage finds all of it, and a change of what it does not name executes it too."""
    (project / "dvc.yaml").write_text(YAML.replace("sh scripts/", "grep -q far params.yaml; sh scripts/"))
    (project / "params.yaml").write_text("count: 5\nfar: 1\n")
    run(project)
    (project / "params.yaml").write_text("count: 5\nfar: 2\n")

    assert "done" == run(project)[1]["prepare"]


def test_what_stages_write_into_a_folder_belongs_to_it(project: Path) -> None:
    """A stage that depends on the folder waits for them, and takes none that an earlier run of DVC left there."""
    (project / "parts").mkdir()
    (project / "parts" / "odd.txt").write_text("old\n")
    (project / "parts" / "more.txt").write_text("more\n")
    before, name, stage = YAML.partition("  report:\n")
    stage = stage.replace("[parts/odd.txt, parts/even.txt]", "[parts]").replace("even.txt)", "*.txt)")
    (project / "dvc.yaml").write_text(before.replace("stages:\n", f"stages:\n{name}{stage}"))

    assert ["Guten Tag", "1", "3", "5", "2", "4", "more", "1", "3", "5"] == run(project)[0]
