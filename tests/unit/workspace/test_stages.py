"""The stages of an existing `dvc.yaml` run as steps: the same files as DVC makes, each stage only when it has to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core import canonical
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.model import Encoded, document
from stellwerk.pipelines.values import STANDARD
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.steps.entry import Request

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
        (
            "params: [count]",
            "params: [cuont]",
            "unknown-value",
            "'cuont', which params.yaml has not; did you mean 'count'?",
        ),
        ("params: [count]", "params: [params.yaml: count]", "invalid-dvc-file", "'count' as parameters of"),
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


NAMED = """
stages:
  prepare:
    cmd: cat params.yaml far/*.* > all.txt
    params: [train.depth, "shape[1]", far/one.json: [a.b], far/two.toml: [x], far/three.yaml: ~, far/four.py: [y]]
    outs: [all.txt]
"""
FILES = {
    "params.yaml": "train: {depth: 5, rate: 1}\nshape: [1, 2]\n",
    "far/one.json": '{"a": {"b": {"1": 1}}, "c": 2}\n',
    "far/two.toml": "x = 2020-01-01\ny = 3\n",
    "far/three.yaml": "x: 1\ny: 2\n",
    "far/four.py": "x = 1\ny = 2\n",
}


@pytest.mark.parametrize(
    ("file", "old", "new", "status"),
    [
        ("params.yaml", "rate: 1", "rate: 2", "cached"),
        ("params.yaml", "{depth: 5, rate: 1}", "{rate: 1, depth: 5} # turned round", "cached"),
        ("params.yaml", "depth: 5", "depth: 6", "done"),
        ("params.yaml", "depth: 5", "depth: '5'", "done"),
        ("params.yaml", "[1, 2]", "[3, 2]", "cached"),
        ("params.yaml", "[1, 2]", "[1, 3]", "done"),
        ("far/one.json", '"c": 2', '"c": 3', "cached"),
        ("far/one.json", '"1": 1', '"1": 2', "done"),
        ("far/two.toml", "y = 3", "y = 4", "cached"),
        ("far/two.toml", "2020", "2021", "done"),
        ("far/three.yaml", "y: 2", "y: 3", "done"),
        ("far/four.py", "x = 1", "x = 2", "done"),
    ],
)
def test_of_a_parameter_file_what_a_stage_names_counts(
    project: Path, file: str, old: str, new: str, status: str
) -> None:
    """The stage finds all of it, but a change of what it does not name keeps its result."""
    parametrized(project)
    lines, _ = run(project)
    (project / file).write_text(FILES[file].replace(old, new))
    changed, statuses = run(project)

    assert sorted(lines) == sorted(line for text in FILES.values() for line in text.splitlines())
    assert status == statuses["prepare"]
    assert (lines == changed) == (status == "cached")


def parametrized(project: Path) -> None:
    (project / "far").mkdir()
    for name, text in FILES.items():
        (project / name).write_text(text)
    (project / "dvc.yaml").write_text(NAMED)
    (project / "flow.py").write_text(FLOW.replace("report.txt", "all.txt"))


def test_parameters_are_those_of_the_file_that_the_stage_finds(project: Path) -> None:
    """A file that is changed after the plan was made would be kept under parameters that it does not have."""
    plan = find_pipelines(load(project / "flow.py"))["taken"].plan()
    (project / "params.yaml").write_text("count: 6\n")

    with sw.connect(project, actor="anna") as workspace, pytest.raises(sw.StellwerkError) as refused:
        workspace.run(plan)

    assert "parameters-changed" == refused.value.code
    assert "'params.yaml' was changed after 'prepare' was planned" in refused.value.message


def test_a_stage_by_itself_has_the_same_key(project: Path) -> None:
    """So what the pipeline has computed is known where one step is executed, and explained without the file."""
    plan = find_pipelines(load(project / "flow.py"))["taken"].plan()
    with sw.connect(project, actor="anna") as workspace:
        ran = workspace.run(plan)
        (project / "plan.json").write_bytes(canonical.dumps(document(plan)))
        alone = workspace.steps.execute(Request(plan=str(project / "plan.json"), node="prepare", folder=project))
        (project / "params.yaml").write_text("count: 6\nfar: 1\n")
        reasons = workspace.explain(find_pipelines(load(project / "flow.py"))["taken"].plan(), step="prepare")

    assert alone.cached
    assert alone.key == next(task.key for task in ran.report.tasks if task.task == "prepare")
    assert all(line.startswith(("compared", "parameter")) for line in reasons[0].because)


def test_a_stage_that_failed_is_executed_again_with_the_file_that_it_found(project: Path, tmp_path: Path) -> None:
    """The key does not cover the file; the run that had the key tells which one it was."""
    (project / "dvc.yaml").write_text(YAML.replace("sh scripts/", "cat params.yaml; exit 3; sh scripts/"))
    (project / "params.yaml").write_text("count: 5\nfar: 1\n")
    plan = find_pipelines(load(project / "flow.py"))["taken"].plan()
    with sw.connect(project, actor="anna") as workspace:
        with pytest.raises(sw.StellwerkError, match="far: 1"):
            workspace.run(plan)
        failed = next(run for run in workspace.runs("status = 'failed'") if run.name == "prepare")
        found = workspace.steps.show(failed.id)
        ended = workspace.steps.again(found, project)
        fetched = workspace.steps.fetch(found, tmp_path / "fetched")

    assert {"params.yaml:count": "5"} == found.said.params["params"]
    assert ended.same
    assert "far: 1" in ended.error
    assert any(path.endswith("params.yaml") for _, path, _ in fetched.inputs)


def test_what_stages_write_into_a_folder_belongs_to_it(project: Path) -> None:
    """A stage that depends on the folder waits for them, and takes none that an earlier run of DVC left there."""
    (project / "parts").mkdir()
    (project / "parts" / "odd.txt").write_text("old\n")
    (project / "parts" / "more.txt").write_text("more\n")
    before, name, stage = YAML.partition("  report:\n")
    stage = stage.replace("[parts/odd.txt, parts/even.txt]", "[parts]").replace("even.txt)", "*.txt)")
    (project / "dvc.yaml").write_text(before.replace("stages:\n", f"stages:\n{name}{stage}"))

    assert ["Guten Tag", "1", "3", "5", "2", "4", "more", "1", "3", "5"] == run(project)[0]
