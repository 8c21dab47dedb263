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
