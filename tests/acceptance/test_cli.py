"""The command line as people and machines meet it: real processes, from a CSV file to a served and traced answer."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import resource
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="models are judged in a Linux sandbox"),
]

SECONDS = 120.0
HEAVY = ("pydantic", "sqlalchemy", "numpy", "polars", "rich", "uvicorn", "starlette", "scipy", "sklearn")

PIPELINE = """
import polars as pl

import stellwerk as sw

print("the pipeline file is imported")


@sw.step(kind="features", outputs=("train", "select", "gate"))
def cut(loans: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {"train": loans[:1500], "select": loans[1500:2000], "gate": loans[2000:]}


@sw.step(kind="train")
def train(table: pl.DataFrame, depth: int = 2) -> sw.Model:
    from sklearn.tree import DecisionTreeClassifier

    return sw.fit(DecisionTreeClassifier(max_depth=depth, random_state=0), table, target="late")


@sw.step
def broken(table: pl.DataFrame) -> pl.DataFrame:
    print("about to fail")
    raise ValueError("the feed is empty")


@sw.step
def endless(table: pl.DataFrame) -> pl.DataFrame:
    import pathlib, time

    pathlib.Path("started").touch()
    while True:  # a signal that comes between two waits ends the next one
        time.sleep(0.05)


@sw.pipeline
def loan(depth: int = 2):
    loans = sw.contract("loans")(sw.dataset("loans"))
    parts = cut(loans)
    sw.gate(parts["gate"], name="loan", target="late")
    return sw.evaluate(train(parts["train"], depth=depth), parts["select"])


@sw.pipeline
def bad():
    return broken(sw.dataset("loans"))


@sw.pipeline
def hangs():
    return endless(sw.dataset("loans"))
"""

PROJECT = """
[project]
name = "loans"

[endpoint.loan]
purpose = "Will this loan be late?"
owner = "anna"
fallback = "refuse"
label_delay = "1d"

[endpoint.loan.goal]
auroc = { floor = FLOOR }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STELLWERK_")}
    return {**kept, "STELLWERK_ACTOR": "anna", **changes}


def stellwerk(folder: Path, *arguments: str, **changes: str) -> Said:
    done = subprocess.run(
        [sys.executable, "-m", "stellwerk", *arguments],
        cwd=folder, env=environment(**changes), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return Said(code=done.returncode, out=done.stdout, err=done.stderr)


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


def project(folder: Path, floor: float) -> None:
    (folder / "stellwerk.toml").write_text(PROJECT.replace("FLOOR", str(floor)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with data, a pipeline and a released model, made by commands alone."""
    folder = tmp_path_factory.mktemp("loans")
    draw = random.Random(7)
    rows = ["income,region,late"]
    for _ in range(4000):
        income = draw.gauss(0, 1)
        late = draw.random() < (0.85 if income < 0 else 0.15)
        rows.append(f"{income:.3f},{draw.choice(['north', 'south'])},{'yes' if late else 'no'}")
    (folder / "loans.csv").write_text("\n".join(rows) + "\n")
    (folder / "pipeline.py").write_text(PIPELINE)
    project(folder, 0.7)
    assert 0 == stellwerk(folder, "init", "--name", "loans").code
    assert 0 == stellwerk(folder, "data", "add", "loans", "loans.csv").code
    run = stellwerk(folder, "run", "loan", "--json")
    assert (0, "loan") == (run.code, run.data["model"]["name"]), run.err
    proved = stellwerk(folder, "prove", "loan", "--json")
    assert (0, "clear") == (proved.code, proved.data["outcome"]), proved.err
    released = stellwerk(folder, "release", "loan", "--json")
    assert (0, "active") == (released.code, released.data["status"]), released.err
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs."""

    process: subprocess.Popen[str]
    url: str

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it; it has five seconds."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=5)
        return self.process.returncode, err


@pytest.fixture
def servers() -> Iterator[Any]:
    """Starts servers, and leaves none behind."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, *arguments: str) -> Server:
        process = subprocess.Popen(
            [sys.executable, "-m", "stellwerk", *arguments, "--port", "0"],
            cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        return Server(process=process, url=found[0])

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_help_costs_next_to_nothing() -> None:
    """It imports nothing heavy, and takes at most sixteen times as long as Python itself."""
    code = (
        "import sys\nfrom stellwerk.cli.main import main\nmain(['--help'])\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr

    assert "[]\n" == loaded
    assert _cpu("-m", "stellwerk", "--help") <= 16 * _cpu("-c", "pass")


def _cpu(*arguments: str) -> float:
    """The least CPU seconds of several tries: others use this machine too."""
    seconds = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(seconds)


def test_running_again_executes_nothing(home: Path) -> None:
    """Steps that are known are not executed; the data stream holds data only, talk is on stderr."""
    again = stellwerk(home, "run", "loan", "--json")

    assert 0 == again.code
    assert again.data["cached"]
    assert "train: cached\n" in again.err
    assert "the pipeline file is imported" in again.err


def test_a_failing_step_shows_the_users_own_lines(home: Path) -> None:
    """The traceback, the error, and the run with its log."""
    failed = stellwerk(home, "run", "bad")
    newest = stellwerk(home, "runs", "--json", "--experiment", "bad", "--steps").data
    step = next(run for run in newest if run["name"] == "broken")
    asked = ("--where", "status = 'FAILED' AND run_name = 'broken'", "--order", "start_time DESC", "--json")
    assert [step["id"]] == [run["id"] for run in stellwerk(home, "runs", "--steps", *asked).data][:1]
    assert [] == stellwerk(home, "runs", *asked).data  # a step, and steps were not asked for
    page = stellwerk(home, "runs", step["id"])

    assert (2, "") == (failed.code, failed.out)
    assert "ValueError: the feed is empty" in failed.err
    assert 'raise ValueError("the feed is empty")' in failed.err
    assert "code: step-failed\n" in failed.err
    assert "failed" == step["status"]
    assert "about to fail" in page.out


@pytest.mark.parametrize(("code", "number"), [(130, signal.SIGINT), (143, signal.SIGTERM)])
def test_an_interrupted_run_is_ended_in_the_book(home: Path, code: int, number: int) -> None:
    """Ctrl-C and SIGTERM leave no run that looks as if it still ran."""
    mark = home / "started"
    mark.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "stellwerk", "run", "hangs"],
        cwd=home, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    while not mark.exists() and process.poll() is None:
        pass
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    runs = stellwerk(home, "runs", "--json", "--experiment", "hangs", "--steps").data

    assert code == process.returncode, err
    assert err.endswith("interrupted\n")
    assert "Traceback" not in err
    assert runs
    assert set() == {run["status"] for run in runs} & {"running", "finished"}


def test_verdicts_have_their_exit_codes(home: Path) -> None:
    """A floor that nothing reaches is a stop; one in between needs more cases, and says how many."""
    try:
        project(home, 0.99)
        stop = stellwerk(home, "prove", "loan", "--json")
        project(home, 0.84)
        unproven = stellwerk(home, "prove", "loan")
    finally:
        project(home, 0.7)
        stellwerk(home, "prove", "loan")

    assert (1, "stop") == (stop.code, stop.data["outcome"])
    assert 3 == unproven.code
    assert unproven.out.startswith("UNPROVEN  loan  loan@1")
    assert re.search(r"About [\d,]+ more labelled gate cases? would probably settle it", unproven.out)


def test_output_that_nobody_reads_is_no_error(home: Path) -> None:
    """A pipe that is closed early gets no trace, whatever is still to come."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "stellwerk", "runs", "--json"],
            cwd=home, env=environment(), stdout=closed, stderr=subprocess.PIPE, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip

    assert (128 + signal.SIGPIPE, "") == (done.returncode, done.stderr)


def test_a_full_disk_is_said_plainly(home: Path) -> None:
    """What the machine refuses is unavailable, not a bug."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stellwerk", "runs"],
            cwd=home, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip

    assert 8 == done.returncode
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("typed", "code"),
    [("runs >&-", 0), ("runs nosuch >&-", 4), ("nosuch 2>&-", 2), ("nosuch 2>/dev/full", 2), ("--version >&-", 0)],
)
def test_closed_streams_change_no_exit_code(home: Path, typed: str, code: int) -> None:
    """Whoever closes what we would print to still learns how it ended, without a trace."""
    done = subprocess.run(
        f"{sys.executable} -m stellwerk {typed}",
        cwd=home, env=environment(), shell=True, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip

    assert code == done.returncode, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("coloured", "changes"), [(True, {}), (False, {"NO_COLOR": "1"})])
def test_colour_is_for_terminals(home: Path, coloured: bool, changes: dict[str, str]) -> None:
    """Where somebody watches it is coloured, unless they mind; a pipe never is."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "stellwerk", "board"],
        cwd=home, env=environment(TERM="xterm-256color", COLUMNS="100", **changes),
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    text = _read_all(ours)
    process.wait(SECONDS)

    assert 0 == process.returncode
    assert "● clear" in text
    assert coloured == ("\x1b[32m" in text)
    assert "\x1b" not in stellwerk(home, "board").out


def _read_all(descriptor: int) -> str:
    parts = []
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:
        pass  # how a terminal says that its other end is closed
    os.close(descriptor)
    return b"".join(parts).decode()


def test_the_book_and_the_store_are_whole(home: Path) -> None:
    """Independent readers find nothing wrong."""
    verified, checked = stellwerk(home, "verify", "--json"), stellwerk(home, "fsck", "--json")

    assert (0, []) == (verified.code, verified.data["findings"])
    assert (0, []) == (checked.code, [damage for damage in checked.data if damage["severity"] == "error"])


def test_damage_has_its_exit_code(home: Path, tmp_path: Path) -> None:
    """One flipped byte in one blob: `fsck` and `trace` find it, and say 7."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(home), str(copy)], check=True)
    nodes = stellwerk(copy, "trace", "loan@1", "--json").data["graph"]["nodes"]
    table = next(node["digest"] for node in nodes if node["kind"] == "artifact").removeprefix("sha256:")
    blob = next((copy / ".stellwerk" / "blobs").rglob(f"*{table}*"))
    blob.chmod(0o600)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(bytes(data))

    checked = stellwerk(copy, "fsck", "--json")
    traced = stellwerk(copy, "trace", "loan@1")

    assert 7 == checked.code
    assert any(damage["severity"] == "error" for damage in checked.data)
    assert 7 == traced.code
    assert "✗" in traced.out


def test_a_dossier_is_written(home: Path, tmp_path: Path) -> None:
    """For an endpoint by name, as Markdown; to a folder or to stdout."""
    written = stellwerk(home, "dossier", "loan", "--out", str(tmp_path / "papers"), "--json")
    printed = stellwerk(home, "dossier", written.data["dossier"]["release"], "--out", "-")

    assert 0 == written.code
    files = [Path(file) for file in written.data["files"]]
    assert all(file.is_file() for file in files)
    assert printed.out.startswith("# Release dossier: loan@1 on loan\n")
    assert files[0].read_text("utf-8").partition("Made ")[0] == printed.out.partition("Made ")[0]
    assert sorted(file.name for file in files) == sorted(path.name for path in (tmp_path / "papers").iterdir())


def test_a_server_answers_and_ends_cleanly(home: Path, servers: Any) -> None:
    """One server per workspace; answers are sealed at its end and can be traced; no file is left behind."""
    server = servers(home, "up")
    announced = json.loads((home / ".stellwerk" / "server.json").read_text("utf-8"))
    answer = post(f"{server.url}/predict/loan", {"columns": {"income": [-1.0, 1.0], "region": ["north", "south"]}})
    second = stellwerk(home, "up", "--port", "0")
    remote = stellwerk(home, "-w", server.url, "board", "--json")
    code, err = server.end()
    prediction = answer["predictions"][0]["id"]
    traced = stellwerk(home, "trace", prediction)

    assert (server.url, server.process.pid) == (announced["url"], announced["pid"])
    assert ["yes", "no"] == [one["prediction"] for one in answer["predictions"]]
    assert 8 == second.code
    assert f"another server runs on this workspace, at {server.url}" in second.err
    assert "loan" == remote.data["endpoints"][0]["name"]
    assert (0, "ended\n") == (code, err)
    assert not (home / ".stellwerk" / "server.json").exists()
    assert [] == list((home / ".stellwerk" / "predictions" / "loan").glob("*log*"))
    assert 0 == traced.code
    assert "✓ segment sealed prediction log" in traced.out


def test_an_endpoint_can_be_served_alone(home: Path, servers: Any) -> None:
    """Inference without the control plane; Ctrl-C ends it; its answers are sealed too."""
    before = stellwerk(home, "board", "--json").data["endpoints"][0]["predictions"]
    server = servers(home, "serve", "loan")
    answer = post(f"{server.url}/predict", {"columns": {"income": [2.0], "region": ["north"]}})
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(f"{server.url}/api/v1/now", timeout=SECONDS)
    with missing.value:
        status = missing.value.code
    ended = server.end(signal.SIGINT)

    assert ("clear", 404) == (answer["signal"], status)
    assert (0, "ended\n") == ended
    assert before + 1 == stellwerk(home, "board", "--json").data["endpoints"][0]["predictions"]


def test_a_port_in_use_is_said_plainly(home: Path, servers: Any, tmp_path: Path) -> None:
    """With the exit code of things that may work later."""
    assert 0 == stellwerk(tmp_path, "init").code
    server = servers(home, "up")

    taken = stellwerk(tmp_path, "up", "--port", server.url.rpartition(":")[2])

    assert 8 == taken.code
    assert "code: port-in-use\n" in taken.err
    assert not (tmp_path / ".stellwerk" / "server.json").exists()
    assert 0 == server.end()[0]


def test_strangers_are_kept_out(home: Path, servers: Any) -> None:
    """A page that names another host gets no answer, from either server."""
    for arguments in (("up",), ("serve", "loan")):
        server = servers(home, *arguments)
        request = urllib.request.Request(f"{server.url}/v2/health/live", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=SECONDS)
        with refused.value:
            assert 403 == refused.value.code
        assert 0 == server.end()[0]
