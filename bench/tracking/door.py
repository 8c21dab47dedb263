"""MLflow's own client against MLflow's server and against Stellwerk's, in turn, in one run.

    python bench/tracking/door.py --client PYTHON [--rounds 2] [--metrics 300] [--batches 20] [--runs 50]
                                  [--many 2000] [--points 100000]

PYTHON is the interpreter of an environment with `mlflow`, whose client and server are used. MLflow's server has one
worker and no jobs, on SQLite; Stellwerk's is the one of this environment. Each question is asked of both within one
round, the order changing from round to round. Prints one JSON object: for each question the seconds of each server
(the smallest of the rounds), the processor seconds of the server alone, and MLflow's time divided by ours. `client` is
what the same calls cost against a server that answers nothing and keeps nothing: what no server can go below.
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLIENT = """
import json, logging, sys, time
url, wanted = sys.argv[1], json.loads(sys.argv[2])
import mlflow
from mlflow.entities import Metric, Param
mlflow.set_tracking_uri(url)
logging.disable(logging.CRITICAL)
client, took = mlflow.MlflowClient(), {}
nothing = wanted.get("nothing")
home = "0"
def run():
    return "0" * 32 if nothing else client.create_run(home).info.run_id
one = run()
client.log_metric(one, "warm", 1.0)
def clock(name, work):
    begun = time.perf_counter(); work(); took[name] = time.perf_counter() - begun
def single():
    for step in range(wanted["metrics"]): client.log_metric(one, "m", step * .5, timestamp=1000 + step, step=step)
def batch():
    for number in range(wanted["batches"]):
        first = number * 1000
        client.log_batch(one, metrics=[Metric("b", i * .5, first + i, first + i) for i in range(1000)])
def runs():
    for number in range(wanted["runs"]):
        made = run()
        client.log_batch(made, metrics=[Metric(f"m{i}", i + number, 1, 0) for i in range(10)],
                         params=[Param(f"p{i}", str(number)) for i in range(10)])
        if not nothing: client.set_terminated(made)
clock("log one metric", single)
clock("log a batch of 1,000", batch)
clock("make a run with 10 parameters and 10 metrics", runs)
if not nothing:
    home = client.create_experiment(f"many {time.time()}")
    for number in range(wanted["many"]):
        made = run()
        client.log_batch(made, metrics=[Metric("auc", number / 1000, 1, 0)], params=[Param("depth", str(number % 10))])
    for first in range(0, wanted["points"], 1000):
        client.log_batch(one, metrics=[Metric("long", i * .5, i, i) for i in range(first, first + 1000)])
    def search():
        found = client.search_runs([home], "metrics.auc > 0.1 and params.depth = '3'", order_by=["metrics.auc DESC"])
        assert found
    def listing():
        token = None
        while True:
            found = client.search_runs([home], max_results=1000, page_token=token)
            token = found.token
            if not token: break
    def history():
        assert wanted["points"] == len(client.get_metric_history(one, "long"))
    clock("search with a filter and an order", search)
    clock("list all runs", listing)
    clock("read a history", history)
print(json.dumps(took))
"""


class Nothing(http.server.BaseHTTPRequestHandler):
    """A server that answers every request with an empty object."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # one packet an answer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
        self.wfile.flush()

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def cpu(pid: int) -> float:
    """Processor seconds of a process and of those below it."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if os.getpgid(int(entry.name)) == pid:
                total += (int(fields[11]) + int(fields[12])) / ticks
    return total


def rss(pid: int) -> float:
    """MiB of memory that a process and those below it have to themselves (PSS)."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.getpgid(int(entry.name)) != pid:
                    continue
                lines = (entry / "smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


@contextmanager
def serving(command: list[str], folder: Path, port: int, told: dict[str, Any]) -> Iterator[int]:
    """A server in a process group of its own, from its first answer on."""
    begun = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).read()
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - begun > 120:
                    raise SystemExit((folder / "log").read_text()) from None
                time.sleep(0.02)
        told["first answer, s"] = round(time.perf_counter() - begun, 2)
        told["at rest, MiB"] = round(rss(process.pid), 1)
        yield process.pid
        told["afterwards, MiB"] = round(rss(process.pid), 1)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def commands(client: str, port: int, folder: Path) -> dict[str, list[str]]:
    """How each server is started."""
    return {
        "mlflow": [
            client, "-m", "mlflow", "server", "--port", str(port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
        ],
        "stellwerk": [sys.executable, "-m", "stellwerk", "up", "--port", str(port)],
    }  # fmt: skip


def ask(client: str, url: str, wanted: dict[str, Any]) -> dict[str, float]:
    """Run the client's questions; seconds of each."""
    environment = {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_ENABLE_ASYNC_LOGGING": "false"}
    done = subprocess.run(
        [client, "-W", "ignore", "-c", CLIENT, url, json.dumps(wanted)],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--client", required=True)
    for name, usual in (
        ("rounds", 2),
        ("metrics", 300),
        ("batches", 20),
        ("runs", 50),
        ("many", 2000),
        ("points", 100_000),
    ):
        parser.add_argument(f"--{name}", type=int, default=usual)
    options = vars(parser.parse_args())
    client, rounds = options.pop("client"), options.pop("rounds")
    seconds: dict[str, dict[str, list[float]]] = {
        name: defaultdict(list) for name in ("mlflow", "stellwerk", "client")
    }
    servers: dict[str, list[dict[str, Any]]] = defaultdict(list)
    nothing = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=nothing.serve_forever, daemon=True).start()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    for number in range(rounds):
        floor = ask(client, f"http://127.0.0.1:{nothing.server_port}", {**options, "nothing": True})
        for name in ("mlflow", "stellwerk")[:: 1 if number % 2 else -1]:
            folder, port, told = Path(tempfile.mkdtemp()), free_port(), dict[str, Any]()
            if name == "stellwerk":
                subprocess.run(
                    [sys.executable, "-m", "stellwerk", "init"], cwd=folder, check=True, capture_output=True
                )
            with serving(commands(client, port, folder)[name], folder, port, told) as pid:
                before = cpu(pid)
                for question, took in ask(client, f"http://127.0.0.1:{port}", options).items():
                    seconds[name][question].append(took)
                told["processor, s"] = round(cpu(pid) - before, 2)
            servers[name].append(told)
            shutil.rmtree(folder)
        for question, took in floor.items():
            seconds["client"][question].append(took)
    answers = {
        question: {
            **{name: round(min(of[question]), 3) for name, of in seconds.items() if question in of},
            "ratio": round(min(theirs) / min(seconds["stellwerk"][question]), 1),
        }
        for question, theirs in seconds["mlflow"].items()
    }
    print(json.dumps({"asked": options, "seconds": answers, "servers": servers}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
