"""The CI files that are written, run: by a runner of GitLab's files, and step by step in a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml


def stellwerk(project: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["stellwerk", *words], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def pipeline_of_gitlab(
    node_modules: Path, project: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    runner = node_modules / "gitlab-ci-local" / "src" / "index.js"
    return subprocess.run(
        ["node", runner, "--force-shell-executor"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_gitlab_runs_the_file(
    node_modules: Path, project: Path, environment: dict[str, str], commit: Callable[[str], None]
) -> None:
    """Green, then a red step, which ends the job with the exit code of `run`, and comes home by its key."""
    if shutil.which("rsync") is None:
        pytest.skip("needs rsync")
    assert 0 == stellwerk(project, environment, "ci", "init", "gitlab").returncode
    commit("a pipeline")

    green = pipeline_of_gitlab(node_modules, project, environment)
    left = (project / "reports" / "workspace.tar").exists()
    pipeline = project / "pipeline.py"
    pipeline.write_text(pipeline.read_text("utf-8").replace("of: int = 5", "of: int = 0"), "utf-8")
    commit("a slip")
    red = pipeline_of_gitlab(node_modules, project, environment)

    assert 0 == green.returncode, green.stdout
    assert "PASS" in green.stdout
    assert "0 of 2 tasks cached" in green.stdout
    assert not left
    assert 0 != red.returncode
    assert re.search(r"numbers: (cached|done)", red.stdout)
    assert "ZeroDivisionError" in red.stdout
    key = re.findall(r"stellwerk step fetch (sha256:[0-9a-f]{64})", red.stdout)[0]
    home = [
        stellwerk(project, environment, *words)
        for words in (
            ["restore", "reports/workspace.tar", "home"],
            ["-w", "home", "step", "run", key, "--kept"],
            ["-w", "home", "step", "fetch", key, "--into", "step"],
        )
    ]
    assert [0, 0, 0] == [one.returncode for one in home], home
    assert "the same outcome" in home[1].stdout
    assert "code, inputs and environment are those of the step key" in home[1].stdout
    assert [*range(10)] == json.loads((project / "step" / "inputs" / "values.json").read_bytes())
    assert re.search(r"FAIL\W+2\b", re.sub(r"\x1b\[[0-9;]*m", "", red.stdout)), red.stdout


def test_github_runs_the_scripts(project: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """Every `run:` in order in a shell as GitHub starts it; the exit code of a proof is that of its step."""
    (project / "stellwerk.toml").write_text(DECLARED, "utf-8")
    assert 0 == stellwerk(project, environment, "ci", "init", "github").returncode
    workflow = yaml.safe_load((project / ".github" / "workflows" / "stellwerk.yml").read_text("utf-8"))
    path = tmp_path / "path"
    path.touch()
    here = {**environment, "GITHUB_PATH": str(path), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "POST": ""}
    codes = {}

    for step in workflow["jobs"]["prove"]["steps"]:
        if "run" not in step:
            continue
        added = path.read_text("utf-8").split()
        ended = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=project,
            env={**here, "PATH": os.pathsep.join([*reversed(added), here["PATH"]])},
            capture_output=True,
            text=True,
            check=False,
        )
        codes[step["name"]] = (ended.returncode, ended.stderr)

    assert 0 == codes["Install from the lock"][0], codes
    assert 0 == codes["Run the pipeline"][0], codes
    assert 4 == codes["Prove shares"][0], codes
    assert 0 == codes["Report"][0], codes
    assert "shares" in (tmp_path / "summary").read_text("utf-8")
    listed = json.loads(stellwerk(project, environment, "runs", "--json").stdout)
    assert ["finished"] == [run["status"] for run in listed]


@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_a_preview_comes_with_a_merge_request_and_goes_with_it(
    system: str, project: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """The jobs in a shell: a commit to the environment repository, nothing where it is there, another one on close."""
    address, repository = "https://git.example.com/anna/environments.git", tmp_path / "environments.git"
    (tmp_path / ".gitconfig").write_text(f'[url "{repository}"]\n\tinsteadOf = {address}\n', "utf-8")
    (project / "pipeline.py").write_text(TRAINED, "utf-8")
    (project / "stellwerk.toml").write_text(DECLARED.replace("shares", "late"), "utf-8")
    path = tmp_path / "path"
    path.touch()
    here = {**environment, "GITHUB_PATH": str(path), "CI_MERGE_REQUEST_IID": "12", "STELLWERK_GIT_TOKEN": "secret"}

    def git(*words: str) -> str:
        told = ["git", "-C", str(repository), *words]
        return subprocess.run(told, env=environment, capture_output=True, text=True, check=True, input="").stdout

    def play(job: str) -> list[str]:
        """What stands in the environment repository after a job, and how many commits led to it."""
        for script, variables in scripts_of(system, project, job):
            # The proof has its say in the test above.
            if "stellwerk prove" not in script and "stellwerk ci report" not in script:
                paths = os.pathsep.join([*path.read_text("utf-8").split(), here["PATH"]])
                subprocess.run(
                    ["bash", "-e", "-c", script], cwd=project, env={**here, **variables, "PATH": paths}, check=True
                )
        return [*git("ls-tree", "-r", "--name-only", "main").split(), git("rev-list", "--count", "main").strip()]

    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(repository)], env=environment, check=True)
    git("mktree")
    git("update-ref", "refs/heads/main", git(*IDENTITY, "commit-tree", "-m", "Begin", EMPTY).strip())
    assert 0 == stellwerk(project, environment, "ci", "init", system, "--previews", address).returncode

    begun = play("prove")
    made = [play("preview"), play("preview")]
    closing = {"github": "close", "gitlab": "close-preview"}[system]
    closed = [play(closing), play(closing)]

    assert ["1"] == begun
    assert [["previews/pr-12/late.toml", "2"]] * 2 == made
    assert [["3"]] * 2 == closed


def scripts_of(system: str, project: Path, job: str) -> list[tuple[str, dict[str, str]]]:
    """What a job runs, each with its variables as the system fills them in."""
    if system == "gitlab":
        found = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))[job]
        lines = [line for line in (*found["before_script"], *found["script"]) if "stellwerk prove" not in line]
        return [("\n".join(lines), {})]
    workflow = yaml.safe_load((project / ".github" / "workflows" / "stellwerk.yml").read_text("utf-8"))
    known = {"${{ github.event.pull_request.number }}": "12", "${{ secrets.STELLWERK_GIT_TOKEN }}": "secret"}
    return [
        (step["run"], {name: known.get(text, "") for name, text in step.get("env", {}).items()})
        for step in workflow["jobs"][job]["steps"]
        if "run" in step and not step.get("if")
    ]


EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
IDENTITY = ("-c", "user.name=ben", "-c", "user.email=ben@example.test")
TRAINED = """
import polars as pl
import stellwerk as sw
from sklearn.linear_model import LogisticRegression


@sw.step(kind="data")
def table() -> pl.DataFrame:
    return pl.DataFrame({"hour": [float(hour) for hour in range(40)], "late": [hour > 20 for hour in range(40)]})


@sw.step(kind="train")
def train(rows: pl.DataFrame) -> sw.Model:
    return sw.fit(LogisticRegression(), rows, target="late")


@sw.pipeline
def late():
    rows = table()
    return sw.evaluate(train(rows), rows)
"""

DECLARED = """
[project]
name = "shares"

[endpoint.shares]
purpose = "A share"
owner = "anna"
fallback = "refuse"

[endpoint.shares.goal]
auroc = { floor = 0.6, margin = 0.02 }
"""
