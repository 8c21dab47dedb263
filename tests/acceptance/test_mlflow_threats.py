"""What broke MLflow's servers (CVE classes, by root cause) finds nothing to break here.

A real server runs under an audit hook that notes every file it opens, every program it starts, every address it connects
to and every class that a pickle asks for, while hostile requests arrive.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

HOOK = """
import os, sys
_log = os.open(os.environ["NOTED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_begun = False
def _note(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, (str, bytes)):
            writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            os.write(_log, f"{'write' if writes else 'read'} {os.fsdecode(path)!r}\\n".encode())
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect"):
        os.write(_log, f"{event} {arguments!r}\\n".encode("utf-8", "replace"))
sys.addaudithook(_note)
"""
SPELLINGS = [
    "../secret", "..%2fsecret", "%2e%2e/secret", "%252e%252e%252fsecret", "..%5csecret", "..\\secret", "....//secret",
    "/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "C:\\secret", "file:///etc/passwd", "a/../../secret", "a\x00b",
    "..;/secret", "%c0%ae%c0%ae/secret", ".", "..", "~/secret", "$HOME/secret", "a/./../../secret",
]  # fmt: skip
DOWNLOAD = "/api/2.0/mlflow/model-versions/get-download-uri"
PLACES = [
    "file:///etc", "file://localhost/etc", "FILE:/etc", "/etc", "etc", "", "s3://b/../../x", "mlflow-artifacts:/../..",
    "mlflow-artifacts:/%2e%2e/x", "runs:/x/../..", "models:/m/1/../..", "http://h/#/../x", "http://h/?a=/../x",
    "dbfs:/../x", "http://169.254.169.254/latest", "gopher://127.0.0.1:22/", "file:etc", "\\\\host\\share",
]  # fmt: skip


class Bomb:
    """Runs a program when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch pwned",)


@dataclass
class Watched:
    """A server and what it did."""

    url: str
    folder: Path
    noted: Path
    before: int = 0

    def send(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """One request, with the path as it is written here."""
        pool = urllib3.HTTPConnectionPool(*self.url.removeprefix("http://").split(":"), retries=False)  # type: ignore[arg-type]
        return pool.request(method, path, assert_same_host=False, **options)

    def post(self, path: str, **body: Any) -> urllib3.BaseHTTPResponse:
        return self.send("POST", f"/api/2.0/mlflow/{path}", json=body)

    def did(self) -> list[str]:
        """What was noted since the server answered for the first time."""
        return self.noted.read_text("utf-8", "replace").splitlines()[self.before :]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder, hooks = tmp_path_factory.mktemp("watched"), tmp_path_factory.mktemp("hooks")
    (folder.parent / "secret").write_text("canary")
    (hooks / "sitecustomize.py").write_text(textwrap.dedent(HOOK))
    create(folder, Settings(actor="anna"))
    environment = {
        **os.environ, "PYTHONPATH": f"{hooks}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "NOTED": str(hooks / "noted"), "STELLWERK_STATE": str(folder / "state"), "STELLWERK_ACTOR": "anna",
    }  # fmt: skip
    command = [sys.executable, "-m", "stellwerk", "up", "--port", "0"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    where = folder / ".stellwerk" / "server.json"
    try:
        deadline = time.monotonic() + 60
        while not where.is_file():
            assert process.poll() is None
            assert time.monotonic() < deadline
        watched = Watched(json.loads(where.read_text())["url"], folder, hooks / "noted")
        assert 200 == watched.send("GET", "/health").status
        watched.before = len(watched.did())
        yield watched
    finally:
        process.terminate()
        process.wait()


def test_no_path_leads_out(server: Watched) -> None:
    """CVE-2023-1177 and its thirteen successors: each spelling, at each call that takes a path."""
    run = json.loads(server.post("runs/create", experiment_id="0").data)["run"]["info"]["run_id"]
    home = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts"
    for spelling in SPELLINGS:
        asked = {"run_id": run, "path": spelling}
        answers = [
            server.send("GET", "/api/2.0/mlflow/artifacts/list", fields=asked),
            server.send("GET", "/get-artifact", fields=asked),
            server.send("GET", "/api/2.0/mlflow-artifacts/artifacts", fields={"path": spelling}),
            server.send(
                "GET", "/model-versions/get-artifact", fields={"name": "m", "version": "1", "path": spelling}
            ),
            server.post("runs/log-metric", run_id=run, key=spelling, value=1, timestamp=1),
        ]
        raw = spelling.replace("\\", "%5c").replace("\x00", "%00").replace(" ", "%20")
        for method in ("GET", "PUT", "DELETE"):
            answers.append(server.send(method, f"{home}/{raw}", body=b"x" if method == "PUT" else None))
        for answer in answers:
            assert answer.status < 500, (spelling, answer.data)
            assert b"canary" not in answer.data
            assert b"root:" not in answer.data
    assert "canary" == (server.folder.parent / "secret").read_text()


def test_no_address_is_followed(server: Watched) -> None:
    """CVE-2023-6974, 2025-11201, 2026-2614: wherever an address is given, with every flag that could excuse it."""
    server.post("registered-models/create", name="p", tags=[{"key": "mlflow.prompt.is_prompt", "value": "true"}])
    tag = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    for number, place in enumerate(PLACES):
        made = server.post("experiments/create", name=f"e{number}", artifact_location=place)
        version = server.post("model-versions/create", name="p", source=place, tags=tag)
        assert max(made.status, version.status) < 500
        if version.status == 200:
            found = json.loads(version.data)["model_version"]["version"]
            assert 200 == server.send("GET", DOWNLOAD, fields={"name": "p", "version": found}).status
        if made.status == 200:
            identity = json.loads(made.data)["experiment_id"]
            run = json.loads(server.post("runs/create", experiment_id=identity).data)["run"]["info"]["run_id"]
            for path in ("artifacts/list", "runs/get"):
                assert server.send("GET", f"/api/2.0/mlflow/{path}", fields={"run_id": run}).status < 500
            assert server.send("GET", "/get-artifact", fields={"run_id": run, "path": "x"}).status in (400, 404)
    refused = server.post("model-versions/create", name="p", source="file:///etc/passwd", tags=tag)
    assert 400 == refused.status


def test_no_model_is_opened(server: Watched) -> None:
    """CVE-2024-37052 to 37061: a pickle is bytes, at every call that touches it."""
    run = json.loads(server.post("runs/create", experiment_id="0").data)["run"]["info"]["run_id"]
    home = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/model"
    document = """
flavors: {python_function: {loader_module: os, env: "; touch pwned"}}
x: !!python/object/apply:os.system ["touch pwned"]
"""
    files = {"model.pkl": pickle.dumps(Bomb()), "MLmodel": document.encode(), "conda.yaml": b"- pip: [; touch pwned]"}
    for name, data in files.items():
        assert 200 == server.send("PUT", f"{home}/{name}", body=data).status
        assert data == server.send("GET", f"{home}/{name}").data
    said = {"artifact_path": "model", "flavors": {}, "run_id": run, "utc_time_created": "2026-01-01"}
    assert 200 == server.post("runs/log-model", run_id=run, model_json=json.dumps(said)).status
    server.post("registered-models/create", name="bomb")
    assert 200 == server.post("model-versions/create", name="bomb", source=f"runs:/{run}/model", run_id=run).status
    asked = {"name": "bomb", "version": "1", "path": "model.pkl"}
    assert pickle.dumps(Bomb()) == server.send("GET", "/model-versions/get-artifact", fields=asked).data
    about = server.send("POST", "/api/v1/models.about", json={"name": "bomb"})
    both = server.send("POST", "/api/v1/models.compare", json={"first": "bomb@1", "second": "bomb@1"})
    assert (200, 403) == (about.status, both.status), (about.data, both.data)
    assert 200 == server.send("GET", "/models/bomb").status
    assert not list(server.folder.rglob("pwned"))


def test_files_are_never_shown(server: Watched) -> None:
    """CVE-2023-6568 and the viewers of 2026: a page in an artifact is handed over as a file, whatever its name says."""
    run = json.loads(server.post("runs/create", experiment_id="0").data)["run"]["info"]["run_id"]
    for name in ("page.html", "image.svg", "x.xml", 'a"b.html', "a%0d%0aX-Evil: 1.html", "page.xhtml"):
        path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{name}".replace(" ", "%20").replace('"', "%22")
        if server.send("PUT", path, body=b"<script>alert(1)</script>").status != 200:
            continue
        answer = server.send("GET", path)
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert "nosniff" == answer.headers["X-Content-Type-Options"]
        assert "html" not in answer.headers["Content-Type"]
        assert "X-Evil" not in answer.headers
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_names_are_one_thing(server: Watched) -> None:
    """CVE-2024-3099: a name that is written with escapes is another name, or none; it never reaches a third one."""
    assert 200 == server.post("registered-models/create", name="prod-model").status
    for name in ("prod%2Dmodel", "prod%2dmodel", "PROD-MODEL", "prod-model ", "prod\u2010model", "prod-model\u200b"):
        server.post("registered-models/create", name=name, description="other")
        found = json.loads(
            server.send("GET", "/api/2.0/mlflow/registered-models/get", fields={"name": "prod-model"}).data
        )
        assert "other" != found["registered_model"].get("description")


def test_what_the_server_did(server: Watched) -> None:
    """Over all of that (this test is the last): nothing was started, nothing unpickled, nobody called, and files were
    written below the workspace alone."""
    did = server.did()
    assert len(did) > 100
    for line in did:
        event, _, what = line.partition(" ")
        assert event in ("read", "write"), line
        if event == "write":
            path = (server.folder / what.strip("'\"")).resolve()
            assert path.is_relative_to(server.folder.resolve()) or path == Path("/dev/null"), line
        else:
            assert "/secret" not in what, line
            assert "/etc/passwd" not in what, line
