"""A script logs to a server, and both are killed again and again: what the script knows to be durable is there, once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
import urllib3

from stellwerk.core.errors import StellwerkError
from stellwerk.workspace import telling
from stellwerk.workspace.layout import find
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

KILLS = int(os.environ.get("STELLWERK_KILLS", "8"))
SCRIPT = """
import sys
from pathlib import Path
from stellwerk.workspace.telling import ActiveRun
run = ActiveRun(sys.argv[1], experiment="kills", outbox=Path(sys.argv[2]))
print(run.id, flush=True)
step = 0
while True:
    for _ in range(20):
        run.log({"a": float(step), "b": -float(step)}, step=step)
        step += 1
    run.flush()
    print(step, flush=True)
"""


class Server:
    """`stellwerk up` on one port, started again after each kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "STELLWERK_ACTOR": "anna", "STELLWERK_STATE": ""}
        self.port = 0
        self.start()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        where = self.folder / ".stellwerk" / "server.json"
        where.unlink(missing_ok=True)
        command = [sys.executable, "-m", "stellwerk", "up", "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(OSError, ValueError, KeyError, urllib3.exceptions.HTTPError):
                url = json.loads(where.read_text())["url"]
                if urllib3.request("GET", f"{url}/health", retries=False, timeout=2).status == 200:
                    self.port = int(url.rpartition(":")[2])
                    return
            assert self.process.poll() is None
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def killed_script(server: Server, outbox: Path, chance: random.Random) -> tuple[str, int]:
    """A script that logs until it is killed, and perhaps its server before it; its run, and how many steps it knew."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), server.url, str(outbox)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    run, durable = process.stdout.readline().strip(), 0
    lines = chance.randint(0, 60)
    loses = chance.randint(0, 2 * lines)
    for number in range(lines):
        durable = int(process.stdout.readline())
        if number == loses:
            server.kill()
    process.kill()
    process.wait()
    process.stdout.close()
    return run, durable


@pytest.mark.parametrize("name", ["outbox.write", "outbox.synced", "outbox.acknowledged"])
@pytest.mark.parametrize("nth", [1, 2, 7])
def test_a_script_is_killed_at_every_step(tmp_path: Path, name: str, nth: int) -> None:
    """Before a record is written, after it is durable, and after the workspace has acknowledged it."""
    create(tmp_path, Settings(actor="anna"))
    environment = {
        **os.environ,
        "STELLWERK_FAIL": f"{name}:kill:{nth}",
        "STELLWERK_ACTOR": "anna",
        "STELLWERK_STATE": "",
    }
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), ".", "outbox"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert -signal.SIGKILL == process.returncode
    lines = process.stdout.split()
    telling.send(tmp_path, outbox=tmp_path / "outbox")
    rooms = Rooms(find(tmp_path), Settings(actor="anna"))
    try:
        runs = rooms.runs.search()
        assert len(runs) <= 1
        for run in runs:
            steps = [point.step for point in rooms.logbook.history(run.id, "a")]
            assert steps == list(range(len(steps)))
            assert len(steps) >= (int(lines[-1]) if len(lines) > 1 else 0)
            assert "interrupted" == run.status
    finally:
        rooms.close()


@pytest.mark.slow
def test_scripts_and_servers_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In turn and at once, at random moments; then everything that waits is sent, and every point is there once."""
    monkeypatch.setenv("STELLWERK_STATE", "")
    chance = random.Random(KILLS)
    create(tmp_path / "workspace", Settings(actor="anna"))
    server = Server(tmp_path / "workspace")
    outbox, durable = tmp_path / "outbox", dict[str, int]()
    try:
        for _ in range(KILLS):
            if chance.random() < 0.2:
                server.kill()
            run, steps = killed_script(server, outbox, chance)
            durable[run] = steps
            if server.process.poll() is not None:
                server.start()
            if chance.random() < 0.5:
                with suppress(StellwerkError):
                    telling.send(server.url, outbox=outbox)
        telling.send(server.url, outbox=outbox)
    finally:
        server.kill()
    rooms = Rooms(find(tmp_path / "workspace"), Settings(actor="anna"))
    try:
        for run, steps in durable.items():
            for key, sign in (("a", 1.0), ("b", -1.0)):
                found = rooms.logbook.history(run, key)
                assert [(step, sign * step) for step in range(len(found))] == [(one.step, one.value) for one in found]
                assert len(found) >= steps
            assert "interrupted" == rooms.logbook.get(run).run.status
        assert not list(outbox.glob("*.log"))
    finally:
        rooms.close()
