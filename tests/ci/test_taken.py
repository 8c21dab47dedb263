"""CI files of others, taken over and executed: what a job left is where the next one looks for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stellwerk import connect
from stellwerk.cli.main import main

GITLAB = """
stages: [make, use]
variables: {WHERE: "here-$NUMBER", NUMBER: "1"}
.files:
  script:
    - mkdir -p out/deep
    - echo "$WHERE ${NUMBER}" > out/deep/a.txt
    - cp in.txt b.log
make: {extends: .files, stage: make, artifacts: {paths: [out/, "*.log"]}}
copies:
  stage: make
  parallel: {matrix: [{N: ["x", "y"]}]}
  script: ["echo {N} > $N.num"]
  artifacts: {paths: [$N.num]}
use:
  stage: use
  script:
    - test "$(cat out/deep/a.txt)" = "here-1 1"
    - test "$(cat b.log)" = content
    - test "$(cat x.num y.num | wc -l)" = 2
    - true | false || exit 0
    - exit 1
"""
GITHUB = """
on: {workflow_dispatch: {inputs: {depth: {default: "6"}}}}
env: {WHERE: here}
jobs:
  make:
    strategy: {matrix: {n: [x, y]}}
    steps:
      - uses: actions/checkout@v4
      - run: mkdir out
      - run: echo "$WHERE ${{ matrix.n }} ${{ inputs.depth }} $K" > ${{ matrix.n }}.txt
        working-directory: out
        env: {K: 'a "b"'}
      - {uses: actions/upload-artifact@v4, with: {name: "made-${{ matrix.n }}", path: out}}
  use:
    needs: make
    steps:
      - {uses: actions/download-artifact@v4, with: {path: out}}
      - run: |
          cd out
          export LEFT=1
          test "$(cat x.txt y.txt | sort | tr '\\n' ,)" = 'here x 6 a "b",here y 6 a "b",'
      - run: test -z "$LEFT" && test "$(cat in.txt)" = content && test -f out/x.txt
"""
JENKINS = """
pipeline {
  agent any
  environment { WHERE = 'here'; BOTH = "${WHERE}-\\$" }
  parameters { string(name: 'DEPTH', defaultValue: '6') }
  stages {
    stage('Make') { steps { sh 'mkdir out'; dir('out') { sh 'echo "$WHERE $BOTH" > a.txt' }
      sh "echo ${params.DEPTH} > depth.txt" } }
    stage('Both') { parallel {
      stage('L') { steps { sh 'cp out/a.txt l.txt' } }
      stage('R') { steps { withEnv(["N=${DEPTH}1"]) { sh 'test $N = 61 && touch r.txt && exit 0' } } }
    } }
    stage('Use') { steps { sh '''
      test "$(cat l.txt)" = 'here here-$'
      test -f r.txt -a "$(cat depth.txt)" = 6 -a "$(cat in.txt)" = content
    ''' } }
  }
}
"""


@pytest.mark.parametrize(
    ("name", "text", "steps"),
    [(".gitlab-ci.yml", GITLAB, 4), ("ci.yml", GITHUB, 3), ("Jenkinsfile", JENKINS, 4)],
    ids=["gitlab", "github", "jenkins"],
)
def test_what_is_taken_over_runs(
    name: str,
    text: str,
    steps: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Scripts, variables, matrices and files of all three systems mean what they meant; a second time all is known."""
    (tmp_path / "in.txt").write_text("content\n", "utf-8")
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)

    codes = [main(words) for words in (["init"], ["ci", "import", f".ci/{name}"], ["run"], ["run"])]
    said = capsys.readouterr()

    assert [0, 0, 0, 0] == codes, said.err
    assert f"{steps} steps" in said.out
    assert f"0 of {steps} tasks cached" in said.out
    assert f"{steps} of {steps} tasks cached" in said.out


def test_a_script_that_fails_fails_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the first command, also within a pipe; what it should have left is not missed before that."""
    script = "a: {script: ['false | cat', 'touch reached'], artifacts: {paths: [x]}}\n"
    (tmp_path / ".gitlab-ci.yml").write_text(script, "utf-8")
    monkeypatch.chdir(tmp_path)

    codes = [main(words) for words in (["init"], ["ci", "import", ".gitlab-ci.yml"], ["run"])]
    said = capsys.readouterr().err

    assert [0, 0, 2] == codes
    assert "ended with status 1" in said
    assert "Cannot stat" not in said


QUESTIONS = """
pipeline {
  stages {
    stage('Make') { steps { sh 'echo 1 > made.txt' } }
    stage('Look') { steps { input 'Is it a good one?' } }
    stage('Ship') { steps { timeout(time: 1, unit: 'DAYS') { input message: 'Really?' }
      sh 'test "$(cat made.txt)" = 1; cp made.txt shipped.txt' } }
    stage('Tell') { steps { sh 'cat shipped.txt' } }
  }
}
"""


def test_questions_among_the_steps_of_jenkins_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after the other, before anything behind them runs; the files of earlier stages are there afterwards."""
    (tmp_path / "Jenkinsfile").write_text(QUESTIONS, "utf-8")
    monkeypatch.chdir(tmp_path)

    codes = [main(words) for words in (["init"], ["ci", "import", "Jenkinsfile"], ["run"])]
    status = []
    for _ in range(2):
        codes.append(main(["ci", "approve"]))
        with connect() as workspace:
            status.append(workspace.executions()[0].status)
    said = capsys.readouterr()

    assert [0, 0, 0, 3, 0] == codes, said.err
    assert ["waiting", "done"] == status
    assert said.err.index("approved: Is it a good one?") < said.err.index("approved: Really?")


ASKS = """
import stellwerk as sw


@sw.step
def number() -> int:
    return 7


@sw.step
def twice(value: int) -> int:
    return 2 * value


@sw.pipeline
def doubled():
    value = number()
    for question in ("Is it a good one?", "Really?")[:{times}]:
        answer = sw.wait_for_person(question, about=value)
        with sw.after(answer):
            value = twice(value)
    return value
"""


@pytest.mark.parametrize(("times", "codes"), [(1, [0, 0, 0, 0, 0, 0]), (2, [0, 0, 0, 3, 0, 0])])
def test_an_approval_in_the_ci_is_the_answer(
    times: int, codes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It decides what the newest run asks, whichever asked it first, and nothing that is asked only afterwards."""
    (tmp_path / "pipeline.py").write_text(ASKS.replace("{times}", str(times)), "utf-8")
    monkeypatch.chdir(tmp_path)

    ended = [main(words) for words in (["init"], ["run"], ["run"], *[["ci", "approve", "--reason", "build 7"]] * 3)]
    with connect() as workspace:
        open_cases = workspace.inbox()
        newest, older = workspace.executions()
    said = capsys.readouterr()

    assert codes == ended
    assert () == open_cases
    assert ("done", "waiting") == (newest.status, older.status)
    assert "approved: Is it a good one?" in said.err
    assert said.out.endswith("nothing waits\n")


def test_nothing_is_approved_that_another_commit_asked(
    project: Path, commit: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that finds no run of its own commit ends with 4, and the question of the older one stays open."""
    (project / "pipeline.py").write_text(ASKS.replace("{times}", "1"), "utf-8")
    monkeypatch.chdir(project)
    commit("one")
    before = [main(["init"]), main(["run"])]
    (project / "readme.txt").write_text("more", "utf-8")
    commit("two")

    ended = main(["ci", "approve"])
    with connect() as workspace:
        open_cases = workspace.inbox()

    assert [0, 0, 4] == [*before, ended]
    assert 1 == len(open_cases)
    assert "no-run-of-commit" in capsys.readouterr().err
