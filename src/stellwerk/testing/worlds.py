"""A small business for tests: parcels that are late or not, a project folder, a server, and callers with questions.

The truth is known, so that decay is real and improvement is possible. Promises are tested elsewhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import urllib3
import uvicorn

from stellwerk.core.clock import ReplayClock, monotonic
from stellwerk.monitoring.model import Outcome
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.releases.declaration import parse
from stellwerk.releases.model import EndpointSpec
from stellwerk.web.app import application
from stellwerk.workspace.facade import Workspace, connect
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.serving import Servers
from stellwerk.workspace.settings import read

ENDPOINT, DATASET, TARGET, OWNER = "tardy", "parcels", "late", "anna"
START, YEAR = datetime(2026, 3, 2, tzinfo=UTC), timedelta(days=365)
RARE = "West"
"""The depot of so few parcels that nothing can be proven about it."""

PIPELINE = '''\
"""Will this parcel be late?"""

import polars as pl

import stellwerk as sw


@sw.step(kind="train")
def train(table: pl.DataFrame, strength: float = 1.0) -> sw.Model:
    """A plain logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return sw.fit(LogisticRegression(C=strength, max_iter=500), table, target="late", exclude=["parcel"])


@sw.pipeline
def tardy(strength: float = 1.0):
    """Contract, split, model, evaluation, and a gate set."""
    table = sw.contract("parcels")(sw.dataset("parcels"))
    parts = sw.split(table, target="late", exclude=["parcel"])
    sw.gate(parts["gate"], name="tardy", target="late", task="binary")
    return sw.evaluate(train(parts["train"], strength), parts["select"])
'''

PROJECT = """\
[project]
name = "parcels"

[endpoint.tardy]
purpose = "Will this parcel be late?"
owner = "anna"
deputy = "ben"
fallback = "previous"
label_delay = "1d"
traffic_per_day = 200

[endpoint.tardy.goal]
auroc = { floor = 0.60, margin = 0.05 }
latency_p99_ms = { ceiling = 1000 }

[endpoint.tardy.slices]
by = ["depot"]
auroc = { floor = 0.50 }
unproven = "human"

[endpoint.tardy.lease]
max = "30d"

[endpoint.tardy.steering]
audit = 0.1
review = { queue = "desk", due = "4h" }
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """How parcels become late: by distance and weight, as strongly as the world is orderly.

    Attributes:
        order: 1 as at the beginning; less, and the truth is more of a coin toss.
        turned: Whether weight matters the other way round.
    """

    order: float = 1.0
    turned: bool = False

    def chance(self, table: pl.DataFrame) -> Any:
        """The true probability of each parcel."""
        distance, weight, depot = (table.get_column(name).to_numpy() for name in ("distance", "weight", "depot"))
        pull = 1.8 * distance + (1.4 if self.turned else -1.4) * weight + 0.4 * (depot == "South") - 0.3
        return 1 / (1 + np.exp(-self.order * pull))

    def parcels(self, count: int, seed: int, *, first: int = 0) -> pl.DataFrame:
        """Parcels with their truth."""
        rng = np.random.default_rng(seed)
        table = pl.DataFrame(
            {
                "parcel": np.arange(first, first + count),
                "distance": rng.normal(size=count).round(6),
                "weight": rng.normal(size=count).round(6),
                "depot": rng.choice(["North", "South", RARE], count, p=[0.6, 0.37, 0.03]),
            }
        )
        return table.with_columns(pl.Series(TARGET, rng.random(count) < self.chance(table)))


def project(folder: Path) -> Path:
    """Write the project's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.py").write_text(PIPELINE, "utf-8")
    (folder / "stellwerk.toml").write_text(PROJECT, "utf-8")
    return folder


def declared(folder: Path) -> EndpointSpec:
    """What the project's owner declares."""
    return parse((folder / "stellwerk.toml").read_text("utf-8")).endpoint(ENDPOINT)


def plan(folder: Path, **parameters: Any) -> Any:
    """The project's pipeline as a plan."""
    return find_pipelines(load(folder / "pipeline.py"))[ENDPOINT].plan(**parameters)


def workspace(folder: Path, *, replay: bool = True, database_url: str = "", bucket: str = "") -> Workspace:
    """A new workspace with the project in a folder, on simulated time unless told otherwise.

    With `database_url` the book is there; the caller sets `STELLWERK_DATABASE_URL` to the same. With `bucket` the
    blobs are there; the caller sets the credentials.
    """
    project(folder)
    create(
        folder,
        replace(read(), actor=OWNER, database_url=database_url),
        bucket=bucket,
        clock="replay" if replay else "system",
        server="postgresql" if database_url else "sqlite",
    )
    if replay:
        clock(folder).set(START)
    return connect(folder, actor=OWNER)


def clock(folder: Path) -> ReplayClock:
    """The simulated clock of a workspace."""
    return ReplayClock(folder / ".stellwerk" / "clock.json")


def first_release(live: Workspace, folder: Path, *, rows: int = 1400, seed: int = 1) -> Any:
    """Data, contract, run, proof, release: what most tests begin with."""
    live.data.add(DATASET, World().parcels(rows, seed))
    live.data.confirm(DATASET)
    live.run(plan(folder))
    live.declare(declared(folder))
    live.prove(ENDPOINT)
    return live.release(ENDPOINT)


def questions(table: pl.DataFrame) -> dict[str, list[Any]]:
    """Parcels as a caller sends them."""
    return table.select("distance", "weight", "depot").to_dict(as_series=False)


def outcomes(ids: list[str], table: pl.DataFrame, at: datetime) -> list[Outcome]:
    """What became of parcels that were asked about."""
    labels = table.get_column(TARGET).to_list()
    return [Outcome(prediction=name, label=late, observed_at=at) for name, late in zip(ids, labels, strict=True)]


Ask = Callable[[Mapping[str, list[Any]]], list[dict[str, Any]]]
"""Asks the endpoint about parcels: one answer with `id`, `prediction` and `steered` for each."""


def in_process(rooms: Rooms) -> Ask:
    """Callers of the endpoint in this process."""
    servers = Servers(rooms)

    def ask(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
        answer = servers[ENDPOINT].predict(columns)
        steered = {row: steer.reason for row, steer in answer.steered.items()}
        return [
            {"id": f"{answer.id}-{row}", "prediction": said, "steered": steered.get(row), "model": answer.model}
            for row, said in enumerate(answer.predictions)
        ]

    return ask


class Client:
    """HTTP without comfort: what a caller in another language does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = urllib3.PoolManager(retries=False, timeout=60.0)

    def post(self, path: str, body: Any) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Status, JSON body and headers of an answer."""
        response = self._pool.request("POST", self.url + path, json=body)
        return response.status, json.loads(response.data), response.headers

    def ask(self, columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
        """Ask the endpoint in the plain way; anything but an answer is an `AssertionError`."""
        status, body, _ = self.post(f"/predict/{ENDPOINT}", {"columns": columns})
        if status != 200:
            raise AssertionError(f"the endpoint answered {status}: {body}")
        return [{**item, "model": body["model"]} for item in body["predictions"]]

    def infer(self, columns: Mapping[str, list[Any]]) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Ask in the Open Inference Protocol."""
        tensors = [
            {
                "name": name,
                "datatype": "BYTES" if isinstance(values[0], str) else "FP64",
                "shape": [len(values)],
                "data": values,
            }
            for name, values in columns.items()
        ]
        return self.post(f"/v2/models/{ENDPOINT}/infer", {"inputs": tensors})


@contextmanager
def server(folder: Path, *, patience: float = 60.0, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """A server process of a workspace on a free port, as `stellwerk up` starts it; gives its URL."""
    address = folder / ".stellwerk" / "server.json"
    log = folder / ".stellwerk" / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(folder, "up", "--port", "0"),
            stdout=output,
            stderr=output,
            env={**os.environ, "STELLWERK_ACTOR": OWNER, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
    try:
        deadline = monotonic() + patience
        while not _is_of(address, process.pid):
            try:
                process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                if monotonic() < deadline:
                    continue
            raise AssertionError(f"the server did not start:\n{log.read_text('utf-8', 'replace')}")
        yield str(json.loads(address.read_text("utf-8"))["url"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def command(folder: Path, *words: str) -> list[str]:
    """A command line on a workspace."""
    return [sys.executable, "-m", "stellwerk", "--workspace", str(folder), *words]


def _is_of(address: Path, process: int) -> bool:
    """Whether a server's address was written by this process, and not by one that was killed before."""
    try:
        return bool(json.loads(address.read_text("utf-8"))["pid"] == process)
    except (OSError, ValueError, KeyError):
        return False


@contextmanager
def served(rooms: Rooms) -> Iterator[str]:
    """The same application in a thread of this process, for tests that look at both sides; gives its URL."""
    application_ = application(rooms, Servers(rooms))
    config = uvicorn.Config(application_, host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        while not running.started:
            if not thread.is_alive():
                raise AssertionError("the server did not start")
            time.sleep(0.01)
        port = running.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        thread.join(30)
