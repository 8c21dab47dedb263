"""CI files that are there, as steps: what each system's words mean here, and that nothing is passed over in silence."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.delivery.ci.model import Order
from stellwerk.delivery.ci.systems import SYSTEMS
from stellwerk.delivery.ci.taking import gitlab, take
from stellwerk.delivery.ci.taking.model import Command, Taken, Wait
from stellwerk.delivery.ci.taking.writing import render


def gitlab_file(text: str) -> Taken:
    return take(text.encode(), ".gitlab-ci.yml")


def workflow(text: str) -> Taken:
    return take(text.encode(), "ci.yml", system="github")


def jenkinsfile(text: str) -> Taken:
    return take(text.encode(), "Jenkinsfile")


def step(taken: Taken, name: str) -> Command:
    found = next(one for one in taken.steps if one.name == name)
    assert isinstance(found, Command)
    return found


def outcome(taken: Taken, construct: str) -> str:
    return next(one.outcome for one in taken.findings if one.construct == construct)


def test_jobs_of_gitlab_inherit_as_there() -> None:
    """`extends` merges mappings and replaces lists, `default` fills in, `!reference` and anchors are resolved."""
    taken = gitlab_file("""
stages: [one, two]
variables: {A: global, B: global}
default: {before_script: [echo first]}
.base: &base {retry: 1, variables: {B: base, C: base}, script: [echo base]}
.more: {extends: .base, variables: {C: more}}
a: {extends: [.more], stage: one, variables: {D: own}}
b: {<<: *base, stage: two, before_script: [], script: [!reference [a, script], echo b]}
c: {extends: .base, stage: two, inherit: {variables: [A], default: false}}
""")

    assert {"A": "global", "B": "base", "C": "more", "D": "own"} == step(taken, "a").environment
    assert "echo first\necho base" == step(taken, "a").script
    assert "echo base\necho b" == step(taken, "b").script
    assert {"A": "global", "B": "base", "C": "base"} == step(taken, "c").environment
    assert "echo base" == step(taken, "c").script
    assert [1, 1, 1] == [step(taken, name).retries for name in "abc"]


def test_needs_and_stages_of_gitlab_order_steps() -> None:
    """Without `needs` a job waits for all earlier stages; files come from where `artifacts` left them."""
    taken = gitlab_file("""
stages: [one, two, three]
a: {stage: one, script: [x], artifacts: {paths: [a.txt]}}
b: {stage: one, script: [x]}
c: {stage: two, script: [x], needs: []}
d: {stage: three, script: [x], needs: [{job: a, artifacts: false}, {job: gone, optional: true}]}
e: {stage: three, script: [x], dependencies: [b]}
f: {stage: three, script: [x]}
""")

    said = {one.name: (one.after, one.takes) for one in taken.steps if isinstance(one, Command)}
    assert ((), ()) == said["a"] == said["c"]
    assert (("a",), ()) == said["d"]
    assert (("a", "b", "c"), ()) == said["e"]
    assert (("b", "c"), ("a",)) == said["f"]


def test_copies_of_a_job() -> None:
    """A matrix is multiplied out, each copy with its variables; who needs the job waits for all of them."""
    taken = gitlab_file("""
a: {stage: build, script: [x], parallel: {matrix: [{S: ["1", "2"], T: t}, {S: "3"}]}}
b: {stage: build, script: [x], parallel: 2}
c: {stage: test, needs: [a], script: [x]}
""")

    assert {"S": "2", "T": "t"} == step(taken, "a-2-t").environment
    assert {"CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "2"} == step(taken, "b-2").environment
    assert ("a-1-t", "a-2-t", "a-3") == step(taken, "c").after


def test_somebody_is_asked() -> None:
    """What is started by hand waits for a case, in each system."""
    one = gitlab_file("a: {script: [x]}\nb: {stage: deploy, when: manual, script: [x]}")
    two = workflow("on: push\njobs: {a: {environment: live, steps: [{run: x}]}}")
    three = jenkinsfile("pipeline { stages { stage('A') { input { message 'Now?' } steps { sh 'x' } } } }")

    for taken, name in ((one, "b"), (two, "a"), (three, "a")):
        wait = next(item for item in taken.steps if isinstance(item, Wait))
        assert wait.name in step(taken, name).after
    assert "Now?" == next(item for item in three.steps if isinstance(item, Wait)).question


def test_variables_of_the_system_are_told() -> None:
    """A script that reads what only its system sets is not taken over in silence."""
    taken = gitlab_file('variables: {W: "$CI_PROJECT_DIR/$A", A: "1"}\na: {script: ["echo $CI_COMMIT_SHA $A $HOME"]}')

    assert "left" == outcome(taken, "a: $CI_COMMIT_SHA")
    assert "left" == outcome(taken, "variables.W: $CI_PROJECT_DIR")
    assert not [one for one in taken.findings if "HOME" in one.construct or "$A" in one.construct]
    assert 'export W="$CI_PROJECT_DIR/$A"\n' in step(taken, "a").script


def stages(*texts: str) -> Taken:
    """A Jenkinsfile with stages A, B, …, each of these steps."""
    said = "\n".join(f"stage('{name}') {{ steps {{ {text} }} }}" for name, text in zip("ABCD", texts, strict=False))
    return jenkinsfile(f"pipeline {{ stages {{ {said} }} }}")


@pytest.mark.parametrize(
    "asking",
    ["input 'Really?'", "input message: 'Really?', ok: 'Yes'", "input(message: 'Really?')",
     "timeout(time: 1, unit: 'HOURS') { input 'Really?' }"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["of the stage", "of its own"])
def test_a_stage_that_begins_with_a_question_waits(asking: str, place: str) -> None:
    """Where `input` is the first step, in whatever form, nothing behind it runs before somebody said so."""
    taken = stages("sh 'build'", f"{asking}; sh 'deploy'") if place == "of the stage" else stages(
        "sh 'build'", asking, "sh 'deploy'"
    )  # fmt: skip

    wait = next(one for one in taken.steps if isinstance(one, Wait))
    deploy = step(taken, "b" if place == "of the stage" else "c")
    assert ("Really?", ("a",)) == (wait.question, wait.after)
    assert (("approve-b",), ("a",), "deploy") == (deploy.after, deploy.takes, deploy.script)
    assert "changed" == outcome(taken, "stage 'B' › input")
    assert "left" not in {one.outcome for one in taken.findings}


@pytest.mark.parametrize(
    "asking",
    ["sh 'prepare'; input 'Really?'", "echo 'x'; timeout(5) { input 'Really?' }", "dir('x') { input 'Really?' }",
     "script { def who = input(message: 'Really?') }", "def who = input(message: 'Really?')",
     "catchError { input message: 'Really?' }"],
)  # fmt: skip
def test_a_stage_that_asks_in_its_midst_is_left_out(asking: str) -> None:
    """With the reason; nothing of it runs unasked, and what follows it waits for somebody all the same."""
    taken = stages("sh 'build'", f"{asking}; sh 'deploy'", "sh 'tell'")

    assert ["a", "approve-b", "c"] == [one.name for one in taken.steps]
    assert (("approve-b",), ("a",)) == (step(taken, "c").after, step(taken, "c").takes)
    assert {"left"} == {outcome(taken, name) for name in ("stage 'B'", "stage 'B' › input")}
    assert ["a"] == [one.name for one in stages("sh 'build'", *[f"{asking}; sh 'deploy'"] * 2).steps]


def test_a_word_about_input_is_no_question() -> None:
    """A command or a name with that word in it asks nobody."""
    taken = stages("sh 'cat input (1)'; script { run(input) }; sh 'x.input ()'")

    assert ["a"] == [one.name for one in taken.steps]


IN_JENKINS = """pipeline {
  environment { KEY = credentials('key') }
  stages { stage('A') { steps {
    withCredentials([string(credentialsId: 'a', variable: 'TOKEN')]) { sh 'rm -rf "$TOKEN/build"' }
    sh 'rm -rf "$WORKSPACE/build" $KEY ${BUILD_ID:-none}'
    sh "echo ${currentBuild.number}"
    withEnv(['BUILD_TAG=x']) { sh 'echo $BUILD_TAG' }
  } } }
}"""
IN_GITLAB = """
variables: {CI_OWN: x, BELOW: $CI_BUILDS_DIR/x}
a:
  secrets: {TOKEN: {vault: x}}
  script:
    - CI_HERE="$PWD"
    - ': "${CI_ELSE:=x}"'
    - rm -rf $CI_PROJECT_DIR/build $TOKEN "$CI_HERE" "$CI_ELSE" $CI_OWN ${CI_JOB_ID:-none} \\$CI_JOB_NAME
"""
IN_GITHUB = """
on: push
jobs: {a: {steps: [{run: rm -rf "$GITHUB_WORKSPACE/build" $GITHUB_JOB_X}]}}
"""


@pytest.mark.parametrize(
    ("taken", "names"),
    [
        (jenkinsfile(IN_JENKINS), ["TOKEN", "WORKSPACE", "KEY", "GROOVY_CURRENTBUILD_NUMBER"]),
        (gitlab_file(IN_GITLAB), ["CI_BUILDS_DIR", "CI_PROJECT_DIR", "TOKEN"]),
        (workflow(IN_GITHUB), ["GITHUB_WORKSPACE", "GITHUB_JOB_X"]),
    ],
    ids=["jenkins", "gitlab", "github"],
)
def test_a_script_stops_where_variables_are_not_set(taken: Taken, names: list[str], tmp_path: Path) -> None:
    """In a shell: before its first command, whichever variable is missing; with all of them it runs to its end."""
    found = step(taken, "a")
    script = f'rm() {{ echo removes "$@"; }}\n{found.script}\necho ended\n'

    def ran(given: list[str]) -> tuple[int, str, str]:
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", 'eval "$SCRIPT"'],
            env={"PATH": "/usr/bin:/bin", "SCRIPT": script, **found.environment, **dict.fromkeys(given, "/nowhere")},
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    for name in names:
        status, out, said = ran([one for one in names if one != name])
        assert (True, "") == (status != 0, out)
        assert f"{name}: parameter null or not set" in said
    status, out, said = ran(names)
    assert (0, True) == (status, out.endswith("ended\n")), said
    assert "removes -rf /nowhere/build" in out


@pytest.mark.parametrize(
    "keyword",
    ["only: [main]", "services: [redis]", "trigger: x", "pages: true", "environment: live", "allow_failure: true",
     "after_script: [x]", "id_tokens: {A: {aud: x}}", "secrets: {}", "frobnicate: 1", "rules: [{if: $X}]",
     "coverage: /x/", "tags: [gpu]"],
)  # fmt: skip
def test_what_is_not_known_is_said(keyword: str) -> None:
    """Every keyword without a meaning here is named with its line and a reason, however odd it is."""
    taken = gitlab_file(f"a:\n  script: [x]\n  {keyword}")

    found = next(one for one in taken.findings if one.construct == f"a.{keyword.partition(':')[0]}")
    assert ("left", 3) == (found.outcome, found.line)
    assert found.why


def test_jobs_that_cannot_be_taken_over_are_left_out() -> None:
    """Those that never run, run after a failure, or lead in a circle; what needs them says so."""
    taken = gitlab_file("""
a: {script: [x], when: on_failure}
b: {script: [x], rules: [{when: never}]}
c: {script: [x], needs: [d]}
d: {script: [x], needs: [c]}
e: {script: [x], stage: nowhere}
f: {extends: .gone, script: [x], needs: [a]}
.loop: {extends: .loop, script: [x]}
g: {extends: .loop}
""")

    assert ["f", "g"] == [one.name for one in taken.steps]
    assert {"left"} == {outcome(taken, name) for name in ("a.when", "b", "c", "d", "e", "f.needs a", "f.extends")}


def test_expressions_of_github() -> None:
    """What the file knows is put in; what only GitHub knows stops the script where it is missing, and is told."""
    taken = workflow("""
on: {workflow_dispatch: {inputs: {depth: {default: "6"}}}}
env: {A: "1", B: "${{ github.sha }}"}
jobs:
  a:
    strategy: {matrix: {v: ["3.11", "3.12"], exclude: [{v: "3.11"}], include: [{v: "3.12", w: x}, {v: "4"}]}}
    steps:
      - run: echo ${{ matrix.v }} ${{ inputs.depth }} ${{ steps.x.outputs.y }} ${{ env.A }}
""")

    assert ["a-3-12-x", "a-4"] == [one.name for one in taken.steps]
    found = step(taken, "a-3-12-x")
    assert {"A": "1"} == found.environment
    assert 'export B="${GITHUB_SHA:?}"' in found.script
    assert "echo 3.12 ${depth:?} ${STEPS_X_OUTPUTS_Y:?} ${A:?}" in found.script
    assert [("depth", "6")] == [(one.name, one.default) for one in taken.parameters]
    assert "left" == outcome(taken, "a.steps[1]: ${{ steps.x.outputs.y }}")


def test_steps_of_a_job_of_github_are_one_script() -> None:
    """In order, each in a shell of its own with its folder and variables; actions that are known are translated."""
    taken = workflow("""
on: push
jobs:
  a:
    steps:
      - uses: actions/checkout@v4
      - {uses: actions/setup-python@v5, with: {python-version: "3.12"}}
      - run: make
      - {run: "cd x\\nmake", working-directory: a b, env: {K: 'v"$'}}
      - {uses: actions/upload-artifact@v4, with: {name: out, path: "dist\\n*.txt"}}
      - {uses: some/action@v1}
      - {run: print(1), shell: python}
      - {run: rm -rf /, if: failure()}
  b: {needs: a, steps: [{uses: actions/download-artifact@v4}, {run: ls}]}
  c: {needs: a, uses: ./other.yml}
""")

    found = step(taken, "a")
    assert 'make\n(\ncd "a b"\nexport K="v\\"\\$"\ncd x\nmake\n)' == found.script
    assert ("3.12", ("dist", "*.txt")) == (found.python, found.gives)
    assert (("a",), ()) == (step(taken, "b").takes, step(taken, "b").after)
    left = {one.construct for one in taken.findings if one.outcome == "left"}
    assert {"a.steps[6].uses some/action@v1", "a.steps[7].shell", "a.steps[8].if", "c.uses", "on.push"} == left


def test_stages_of_jenkins() -> None:
    """One after another with one folder; parallel ones side by side, and the next waits for all of them."""
    taken = jenkinsfile("""
pipeline {
  agent any // a comment
  environment { A = 'x'; B = "${A}/${env.HOME}"; C = credentials('c') }
  parameters { string(name: 'DEPTH', defaultValue: '6') }
  stages {
    stage('One') { steps { sh 'make'; dir('d') { sh '''cd e
      make''' } } }
    stage('Two') { parallel {
      stage('L') { options { retry(3) } steps { sh "lint $DEPTH \\$HOME ${params.DEPTH}" } }
      stage('R') { steps { timeout(time: 5, unit: 'MINUTES') { sh script: 'test', label: 'x' } } }
    } }
    stage('Three') { when { branch 'main' } steps { echo "${DEPTH} done"; script { if (x) { sh '}' } } } }
  }
  post { always { junit 'x.xml' } }
}""")

    one, left, right, three = (step(taken, name) for name in ("one", "l", "r", "three"))
    assert 'export B="${A:?}/${HOME:?}"\nmake\n(\ncd "d"\n(\ncd e\n      make\n)\n)' == one.script
    assert {"A": "x"} == one.environment
    assert left.script.endswith("lint ${DEPTH} $HOME ${DEPTH}")
    assert (2, "300s") == (left.retries, right.timeout)
    assert (("one",), ("one",), ("l", "r")) == (left.takes, right.takes, three.takes)
    assert ((".",), ()) == (left.gives, three.gives)
    said = {one.construct: one.outcome for one in taken.findings}
    assert "left" == said["stage 'Three' › when branch"] == said["stage 'Three' › script"] == said["environment › C"]


def test_a_matrix_of_jenkins() -> None:
    """Its stages run once for each combination of its axes."""
    taken = jenkinsfile("""pipeline { stages { stage('M') { matrix {
        axes { axis { name 'P'; values 'a', 'b' } axis { name 'Q'; values 'c' } }
        stages { stage('S') { steps { sh 'echo $P' } } }
    } } } }""")

    assert [{"P": "a", "Q": "c"}, {"P": "b", "Q": "c"}] == [
        dict(one.environment) for one in taken.steps if isinstance(one, Command)
    ]


@pytest.mark.parametrize("system", ["github", "gitlab", "jenkins"])
def test_what_we_write_can_be_read(system: str) -> None:
    """The file that `ci init` writes comes back as steps that run the same commands, and needs no word about them."""
    text = SYSTEMS[system].render(Order(name="x", endpoints=("delay",), release=True))

    taken = take(text.encode(), SYSTEMS[system].path.rpartition("/")[2], system=system)

    scripts = "\n".join(one.script for one in taken.steps if isinstance(one, Command))
    assert "stellwerk run" in scripts
    assert "stellwerk prove delay" in scripts
    assert "stellwerk release delay" in scripts
    assert any(isinstance(one, Wait) for one in taken.steps)
    assert not [one for one in taken.findings if one.why == "this keyword is not known"]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        (".gitlab-ci.yml", "a: &x [1]\nb: *y", "line 2"),
        (".gitlab-ci.yml", "a: 1\na: 2", "line 2"),
        (".gitlab-ci.yml", "[1, 2]", "no mapping"),
        (".gitlab-ci.yml", "", "no mapping"),
        (".gitlab-ci.yml", "a: [", "line"),
        (".gitlab-ci.yml", "{" * 100, "deeper"),
        (".gitlab-ci.yml", "a: \xff", "character"),
        ("Jenkinsfile", "node { sh 'x' }", "no `pipeline"),
        ("Jenkinsfile", "pipeline {\n stages {", "line 2: a block is never closed"),
        ("Jenkinsfile", "pipeline {\n }\n}", "line 3"),
        ("Jenkinsfile", "pipeline { x '''", "never closed"),
        ("Jenkinsfile", "pipeline " + "{ a " * 100, "deeper"),
        ("Jenkinsfile", "pipeline { a " + "[" * 100, "deeper"),
        ("readme.txt", "a: 1", "no CI file"),
    ],
)
def test_files_that_cannot_be_read_say_where(name: str, text: str, line: str) -> None:
    """Never a trace, and never a guess."""
    data = text.encode("latin-1") if "\xff" in text else text.encode()
    if line == "character":
        line = "UTF-8"
    with pytest.raises(Invalid) as caught:
        take(data, name)

    assert line in caught.value.message


def test_a_bomb_of_aliases_is_refused() -> None:
    """An alias counts as often as it is used, before anything is expanded."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))

    with pytest.raises(Invalid, match="counted as often as used"):
        gitlab_file(bomb)


def test_a_file_full_of_open_comments_is_read_once() -> None:
    """A text or comment that is never closed costs one look, not one for each place where it might begin."""
    with pytest.raises(Invalid):
        jenkinsfile("pipeline { /*" + "/*" * 400_000)
    with pytest.raises(Invalid):
        jenkinsfile("pipeline { ''' " + "''' \"\"\" " * 100_001)


WORDS = st.sampled_from(
    ["script", "stages", "needs", "extends", "jobs", "steps", "run", "uses", "on", "matrix", "parallel", "rules", "when",
     "manual", "variables", "artifacts", "paths", "a", "b", ".x", "strategy", "include", "${{ a.b }}", "${{",
     "environment", "default", "image", "retry", "timeout", "if", "env", "with", "stage", "inherit", "build", "test"]
)  # fmt: skip
SHAPES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(WORDS, st.none(), st.booleans(), st.integers(0, 3), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=5)),
    max_leaves=25,
)


@given(SHAPES, st.sampled_from(["github", "gitlab"]))
def test_any_yaml_gives_steps_or_an_error(value: Any, system: str) -> None:
    """Whatever shape a file has: an error of ours, or steps in an order, of which Python can be made."""
    import yaml

    try:
        taken = take(yaml.safe_dump(value).encode(), "x.yml", system=system)
    except Invalid:
        return

    ast.parse(render(taken, name="x"))
    seen: set[str] = set()
    for one in taken.steps:
        assert {*one.after, *(one.takes if isinstance(one, Command) else ())} <= seen
        seen.add(one.name)


PARTS = st.lists(
    st.sampled_from(
        ["pipeline", "stages", "stage('x')", "steps", "sh", "{", "}", "(", ")", "[", "]", "'a'", '"${b}"', "'''", "\n",
         ";", ":", ",", "=", "a", "when", "parallel", "input", "message", "/*", "//", "matrix", "environment", "1", "+",
         "script", "post", "always", "options", "retry(3)", "\\", "$", "é"]
    ),
    max_size=40,
)  # fmt: skip


@given(PARTS)
def test_any_jenkinsfile_gives_steps_or_an_error(parts: list[str]) -> None:
    """The same for whatever looks a little like Groovy."""
    for text in (" ".join(parts), "pipeline { stages { stage('a') { steps { " + " ".join(parts) + " } } } }"):
        try:
            taken = jenkinsfile(text)
        except Invalid:
            continue
        ast.parse(render(taken, name="x"))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("90", 90), ("1h 30m", 5400), ("3 hours 20 minutes", 12000), ("1 day", 86400), ("1h, 5 sec", 3605), ("", None),
     ("never", None), ("5 fortnights", None)],
)  # fmt: skip
def test_times_of_gitlab(said: str, seconds: int | None) -> None:
    """As its documentation writes them."""
    assert seconds == gitlab.duration(said)


def test_scripts_come_out_as_they_went_in() -> None:
    """Quotes, backslashes and odd names survive the way through YAML, a plan and Python."""
    script = 'echo \'a"""b\' \\\n  "$X" # ${Y} {z}'
    indented = script.replace("\n", "\n      ")
    taken = gitlab_file(f"outputs:\n  script:\n    - |\n      {indented}\nclass: {{script: [x\\\\]}}")

    tree = ast.parse(render(taken, name="Ä b"))
    constants = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]

    assert f"{script}\n" in constants
    assert "x\\\\\n" in constants
