"""A real server under requests made of its own descriptions: no 5xx, nothing that hangs, answers as described.

Runs where `schemathesis` is installed, in whatever environment: `STELLWERK_SCHEMATHESIS` names the program, else it is
looked for on the path. `STELLWERK_FUZZ_SECONDS` says how long each description is tried; `make fuzz` tries ten minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

PROGRAM = os.environ.get("STELLWERK_SCHEMATHESIS") or shutil.which("schemathesis")
SECONDS = int(os.environ.get("STELLWERK_FUZZ_SECONDS", "20"))
SLOWEST = 30
"""Seconds after which a request hangs."""

UNREAD = "store.collect|models.page|views.run|views.trace"
CONFIGURATION = """
# In a query everything is text: what looks like a wrong type there is a right value.
[[operations]]
include-method = "GET"
checks.negative_data_rejection.enabled = false
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="schemathesis is not installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@dataclass(frozen=True, slots=True)
class Target:
    """A server with some things in it."""

    url: str
    folder: Path
    log: Path
    known: dict[str, list[str]]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder, log = tmp_path_factory.mktemp("fuzzed"), tmp_path_factory.mktemp("log") / "log"
    create(folder, Settings(actor="anna"))
    command = [sys.executable, "-m", "stellwerk", "up", "--port", "0"]
    with log.open("wb") as errors:
        server = subprocess.Popen(command, cwd=folder, stdout=errors, stderr=errors)
    where = folder / ".stellwerk" / "server.json"
    try:
        deadline = time.monotonic() + 60
        while not where.is_file():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline
        url = json.loads(where.read_text())["url"]
        yield Target(url, folder, log, seeded(url))
    finally:
        server.terminate()
        server.wait()


def seeded(url: str) -> dict[str, list[str]]:
    """Makes some of each thing, so that requests get further than to look for one; answers their ids by field."""

    def ask(path: str, **body: Any) -> Any:
        answer = urllib3.request("POST", f"{url}/api/{path}", json=body)
        assert 200 == answer.status, answer.data
        return answer.json()

    found: dict[str, list[str]] = {
        "experiment_id": ["0"], "key": ["a"], "alias": ["best"], "version": ["1"], "path": ["a/b.txt"],
    }  # fmt: skip
    for number in range(4):
        run = ask("2.0/mlflow/runs/create", experiment_id="0")["run"]["info"]
        place = f"{url}/api/2.0/mlflow-artifacts/artifacts/{run['artifact_uri'].removeprefix('mlflow-artifacts:/')}"
        urllib3.request("PUT", f"{place}/a/b.txt", body=b"bytes")
        urllib3.request("PUT", f"{place}/model/MLmodel", body=b"flavors: {}")
        points = [{"key": "a", "value": step, "timestamp": step, "step": step} for step in range(20)]
        ask("2.0/mlflow/runs/log-batch", run_id=run["run_id"], metrics=points)
        name = f"m{number}"
        ask("2.0/mlflow/registered-models/create", name=name)
        source = f"runs:/{run['run_id']}/model"
        ask("2.0/mlflow/model-versions/create", name=name, source=source, run_id=run["run_id"])
        ask("2.0/mlflow/registered-models/alias", name=name, alias="best", version="1")
        made = {
            "experiment_id": ask("2.0/mlflow/experiments/create", name=name)["experiment_id"],
            "run_id": run["run_id"],
            "name": name,
            "model_id": ask("2.0/mlflow/logged-models", experiment_id="0")["model"]["info"]["model_id"],
            "trace_id": ask("2.0/mlflow/traces", experiment_id="0", timestamp_ms=number)["trace_info"]["request_id"],
            "dataset_id": ask("3.0/mlflow/datasets/create", name=name)["dataset"]["dataset_id"],
        }
        for field, value in made.items():
            found.setdefault(field, []).append(value)
    twins = {"run_uuid": "run_id", "request_id": "trace_id", "metric_key": "key", "run": "run_id", "model": "name"}
    found |= {twin: found[field] for twin, field in twins.items()}
    return found | {f"{field}s": found[field] for field in ("run_id", "experiment_id", "trace_id", "request_id")}


def aimed(node: Any, known: dict[str, list[str]]) -> Any:
    """The same description, in which known fields may also have values of things that are there."""
    if isinstance(node, list):
        return [aimed(one, known) for one in node]
    if not isinstance(node, dict):
        return node
    if "in" in node and isinstance(node.get("name"), str) and node["name"] in known:
        return {**node, "schema": hit(node["schema"], known[node["name"]])}
    found = {key: aimed(value, known) for key, value in node.items()}
    if isinstance(node.get("properties"), dict):
        found["properties"] |= {
            name: hit(schema, known[name]) for name, schema in node["properties"].items() if name in known
        }
    return found


def hit(schema: dict[str, Any], values: list[str]) -> dict[str, Any]:
    """A schema of texts, or of a list of them, of which some are given."""
    if "items" in schema:
        return {**schema, "items": hit(schema["items"], values)}
    if "string" not in schema.get("type", ()):
        return schema
    # Every text is still right, which must not be so plain that the values are left away as superfluous.
    return {**schema, "anyOf": [{"enum": values}, {"pattern": "[\\s\\S]*"}, {"not": {"type": "string"}}]}


@pytest.mark.parametrize(
    ("document", "options"),
    [
        # Filters, names and ids have rules that no schema says, a method that a path does not know is 404 here, and a
        # dataset is still there after its records were deleted.
        ("mlflow.json", ("--exclude-checks", "positive_data_acceptance,unsupported_method,use_after_free")),
        # Garbage collection answers 503 while a server runs. Tuples within tuples, as in the answers of the others,
        # are more than schemathesis reads.
        (
            "../openapi.json",
            ("--exclude-checks", "positive_data_acceptance", "--exclude-path-regex", UNREAD),
        ),
    ],
    ids=["mlflow", "operations"],
)
def test_the_server_withstands_what_its_description_allows_and_forbids(
    target: Target, tmp_path: Path, document: str, options: tuple[str, ...]
) -> None:
    """Whatever is sent: a status and an answer that are described, in time; what breaks the rules is refused."""
    described = urllib3.request("GET", f"{target.url}/api/v1/openapi/{document}").json()
    (tmp_path / "described.json").write_text(json.dumps(aimed(described, target.known)))
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    command = [
        str(PROGRAM), "run", "described.json", "--url", target.url, "--max-time", str(SECONDS), "--continue-on-failure",
        "--phases", "coverage,fuzzing,stateful", "--request-timeout", str(SLOWEST), "--no-shrink", "--no-color",
        "--generation-database", "none", "--warnings", "off", *options,
    ]  # fmt: skip

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS * 3 + 300)

    print(done.stdout[-100_000:])
    assert 0 == done.returncode, done.stdout[-20_000:] + done.stderr[-2000:]
    assert 200 == urllib3.request("GET", f"{target.url}/health").status


def test_the_workspace_is_whole_afterwards(target: Target) -> None:
    """The ledger verifies, every blob is there, and the server has written down no fault of its own."""
    for word in ("verify", "fsck"):
        command = [sys.executable, "-m", "stellwerk", word]
        done = subprocess.run(command, cwd=target.folder, capture_output=True, text=True)
        assert 0 == done.returncode, done.stdout + done.stderr
    assert "Traceback" not in target.log.read_text("utf-8", "replace")
