"""Artifacts through the door of MLflow, over a real socket: whole, in parts, in ranges, and never out of the tree."""

from __future__ import annotations

import json
import re
import socket
from email.message import Message
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
import urllib3

from stellwerk.core.digest import of_bytes
from stellwerk.web.doors.mlflow.files import disposition, media_type
from stellwerk.workspace.rooms import Rooms

TREE = "/api/2.0/mlflow-artifacts"
FILES = f"{TREE}/artifacts"


@pytest.fixture(scope="module")
def rooms(shared_rooms: Rooms) -> Rooms:
    return shared_rooms


@pytest.fixture(scope="module")
def url(address: str) -> str:
    return address


@pytest.fixture
def run(rooms: Rooms) -> str:
    return rooms.logbook.create("0", name="fit").run.id


def send(url: str, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
    return urllib3.request(method, url + path, retries=False, **options)


def refused(answer: urllib3.BaseHTTPResponse) -> str:
    assert 400 == answer.status, answer.data
    found = answer.json()
    assert {"error_code", "message"} == set(found)
    return f"{found['error_code']}: {found['message']}"


def raw(url: str, request: str, body: bytes = b"") -> tuple[int, bytes]:
    """An answer to a request line that no client would send."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as line:
        line.sendall(
            f"{request} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n".encode("latin-1")
            + body
        )
        answer = b""
        while piece := line.recv(65_536):
            answer += piece
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


class TestTree:
    """The tree under `mlflow-artifacts:/`."""

    @pytest.mark.parametrize("root", ["/api", "/ajax-api"])
    def test_files_go_and_come_back(self, url: str, rooms: Rooms, root: str) -> None:
        """Under both roots; lists show one level, and lengths of files."""
        files = f"{root}/2.0/mlflow-artifacts/artifacts"
        top = root.strip("/")
        assert 200 == send(url, "PUT", f"{files}/{top}/a.txt", body=b"0").status
        assert b"{}" == send(url, "PUT", f"{files}/{top}/dir/b.txt", body=b"11").data

        assert b"0" == send(url, "GET", f"{files}/{top}/a.txt").data
        assert b"11" == send(url, "GET", f"{files}/{top}/dir/b.txt").data
        listed = send(url, "GET", files, fields={"path": top}).json()
        assert {
            "files": [{"path": "a.txt", "is_dir": False, "file_size": 1}, {"path": "dir", "is_dir": True}]
        } == listed
        assert listed == send(url, "GET", files, fields={"path": f"{top}/."}).json()
        assert listed == send(url, "GET", files, fields={"path": f"./{top}"}).json()
        assert [{"path": "b.txt", "is_dir": False, "file_size": 2}] == send(
            url, "GET", files, fields={"path": f"{top}/dir/"}
        ).json()["files"]
        assert {"path": top, "is_dir": True} in send(url, "GET", files).json()["files"]
        assert {"files": []} == send(url, "GET", files, fields={"path": "nowhere"}).json()
        assert of_bytes(b"11") == rooms.artifacts.get(f"{top}/dir/b.txt").digest

    def test_what_is_deleted_is_gone(self, url: str) -> None:
        """A file, and a folder with everything below, also where the path ends with a separator."""
        for name in ("x", "y/z"):
            send(url, "PUT", f"{FILES}/del/run/{name}", body=b"1")

        assert 200 == send(url, "DELETE", f"{FILES}/del/run/x").status
        assert 404 == send(url, "GET", f"{FILES}/del/run/x").status
        assert 200 == send(url, "DELETE", f"{FILES}/del/run/").status
        assert 404 == send(url, "GET", f"{FILES}/del/run/y/z").status
        assert 404 == send(url, "DELETE", f"{FILES}/del/run").status

    @pytest.mark.parametrize("path", ["", ".", "/", "%2e%2e", "safe", "safe/"])
    def test_a_whole_experiment_is_not_deleted(self, url: str, path: str) -> None:
        """P6."""
        send(url, "PUT", f"{FILES}/safe/run/x", body=b"1")

        assert raw(url, f"DELETE {FILES}/{path}")[0] == 400
        assert 200 == send(url, "GET", f"{FILES}/safe/run/x").status

    @pytest.mark.parametrize(
        "path",
        [
            *("../x", "%2e%2e/x", "%2e%2e%2fx", "%252e%252e%252fx", "..%5cx", "a/%2e%2e/x", "./x", "/etc/passwd"),
            *("%2fetc/passwd", "%c0%ae%c0%ae/x", "a%00", "a%00.txt", "C:/x", "C:%5cx", "~/x", "$HOME/x", "file:/x"),
            *("a%23b", "a%0db", "a%09b", "a%e2%80%8bb", "e%cc%81", "a.", "a%20", "x" * 256),
            *("x/" * 1001 + "x", "x" * 60_000, "%ef%bc%8e%ef%bc%8e/x", "a//b"),
        ],
        ids=lambda path: path[:30],
    )  # fmt: skip
    def test_no_spelling_leaves_the_tree(self, url: str, rooms: Rooms, path: str) -> None:
        """P1, P2, P7, P10: put, got, deleted, in parts, presigned: one answer, and nothing is kept."""
        before = rooms.database.size()
        for request in (
            *(f"{method} {FILES}/{path}" for method in ("GET", "PUT", "DELETE")),
            f"GET {TREE}/presigned/{path}",
            *([] if path == "./x" else [f"GET {FILES}?path={path}"]),
            f"GET /get-artifact?run_id=x&path={path}",
        ):
            status, body = raw(url, request, b"1" if request.startswith("PUT") else b"")
            assert (400, "Invalid path") == (status, json.loads(body)["message"]), request
            assert "INVALID_PARAMETER_VALUE" == json.loads(body)["error_code"]
        for act in ("create", "complete", "abort"):
            answer = send(
                url,
                "POST",
                f"{TREE}/mpu/{act}/m",
                json={"path": f"x/{'..'}", "num_parts": 1, "upload_id": "u", "parts": []},
            )
            assert "INVALID_PARAMETER_VALUE: Invalid path" == refused(answer)
        assert before == rooms.database.size()

    @pytest.mark.parametrize(
        "name", ["ü ä.txt", "日本.bin", "100%", "a%20b", "dog%step%1%timestamp%2%2f3.png", "..;", "a+b&c=d?e", "None"]
    )
    def test_odd_names_stay_what_they_are(self, url: str, name: str) -> None:
        """Decoded once, and no more (P8, P9)."""
        assert 200 == send(url, "PUT", f"{FILES}/odd/{quote(name)}", body=name.encode()).status

        assert name.encode() == send(url, "GET", f"{FILES}/odd/{quote(name)}").data
        assert name in [one["path"] for one in send(url, "GET", FILES, fields={"path": "odd"}).json()["files"]]
        shown = send(url, "GET", f"{TREE}/presigned/odd/{quote(name)}").json()
        assert name.encode() == urllib3.request("GET", shown["url"], headers=shown["headers"]).data

    def test_an_upload_that_breaks_off_leaves_nothing(self, url: str, rooms: Rooms) -> None:
        """Neither a row nor an entry."""
        before, place = rooms.database.size(), urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=10) as line:
            line.sendall(
                f"PUT {FILES}/broken/off HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1000\r\n\r\nabc".encode()
            )
        for _ in range(3):
            assert 404 == send(url, "GET", f"{FILES}/broken/off").status
        assert before == rooms.database.size()

    def test_files_and_folders_do_not_share_a_name(self, url: str) -> None:
        """That is a conflict, which clients do not send again."""
        send(url, "PUT", f"{FILES}/mix/a", body=b"1")

        for path in ("mix/a/b", "mix"):
            answer = send(url, "PUT", f"{FILES}/{path}", body=b"1")
            assert (409, "RESOURCE_CONFLICT") == (answer.status, answer.json()["error_code"])
        assert "directory" in refused(send(url, "GET", f"{FILES}/mix"))


class TestDownloads:
    """What goes out."""

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            *(("a.txt", "text/plain"), ("b.pkl", "application/octet-stream"), ("c.png", "image/png")),
            *(("d.pdf", "application/pdf"), ("MLmodel", "text/plain"), ("mlproject", "text/plain")),
            *(("x.html", "text/plain"), ("x.htm", "text/plain"), ("x.json", "text/plain")),
            *(("a.csv.gz", "application/octet-stream"), ("x", "application/octet-stream")),
        ],
    )  # fmt: skip
    def test_a_file_is_kept_and_not_shown(self, url: str, name: str, kind: str) -> None:
        """As an attachment of its name, whose type nobody guesses."""
        send(url, "PUT", f"{FILES}/kinds/{name}", body=b"<script>alert(1)</script>")
        answer = send(url, "GET", f"{FILES}/kinds/{name}")

        assert kind == answer.headers["Content-Type"] == media_type(name)
        assert "nosniff" == answer.headers["X-Content-Type-Options"]
        assert f"attachment; filename={name}" == answer.headers["Content-Disposition"]

    @pytest.mark.parametrize(
        "name",
        ['a"b.txt', "a\\b", "a b;c.txt", "a\r\nX: y", "ü.txt", "日本.txt", "日本", "%41.txt", "'", "a,b", "\x1b[2J"],
    )  # fmt: skip
    def test_names_do_not_break_out_of_the_header(self, name: str) -> None:
        """P12: whatever is in them, there is one line, and the parameter is the name where it can be."""
        header = disposition(name)
        read = Message()
        read["content-disposition"] = header

        assert re.fullmatch("[ -~]+", header)
        assert "attachment" == read.get_content_disposition()
        if "\r" not in name and "\x1b" not in name:
            assert name == (unquote(header.partition("filename*=UTF-8''")[2]) or read.get_filename())

    def test_ranges(self, url: str) -> None:
        """As parallel downloads ask for them."""
        data = bytes(range(256)) * 20_000
        send(url, "PUT", f"{FILES}/big/file", body=data)
        for header, wanted in (
            ("bytes=0-9", data[:10]),
            ("bytes=5000000-", data[5_000_000:]),
            ("bytes=-7", data[-7:]),
        ):
            answer = send(url, "GET", f"{FILES}/big/file", headers={"Range": header})
            assert (206, wanted) == (answer.status, answer.data)
        assert 416 == send(url, "GET", f"{FILES}/big/file", headers={"Range": "bytes=6000000-"}).status
        head = send(url, "HEAD", f"{FILES}/big/file")
        assert (200, str(len(data))) == (head.status, head.headers["Content-Length"])
        assert 404 == send(url, "HEAD", f"{FILES}/big/nothing").status


class TestParts:
    """Long files in parts."""

    def begin(self, url: str, folder: str, parts: int, path: str = "/home/anna/long.bin") -> dict[str, Any]:
        answer = send(url, "POST", f"{TREE}/mpu/create/{folder}", json={"path": path, "num_parts": parts})
        assert 200 == answer.status, answer.data
        found: dict[str, Any] = answer.json()
        return found

    @pytest.mark.parametrize("path", ["/home/anna/long.bin", "C:\\Users\\anna\\long.bin", "long.bin"])
    def test_parts_are_joined(self, url: str, rooms: Rooms, path: str) -> None:
        """In order, whenever they arrive; the name is that of the client's file."""
        parts = [b"1" * 3_000_000, b"2" * 3_000_000, b"3"]
        upload = self.begin(url, "mpu/run", 3, path)
        sent = []
        for credential, data in reversed(list(zip(upload["credentials"], parts, strict=True))):
            answer = urllib3.request("PUT", credential["url"], body=data, headers=credential["headers"])
            assert 200 == answer.status
            number = credential["part_number"]
            sent.append({"part_number": number, "etag": answer.headers["ETag"], "url": credential["url"]})
        body = {"path": path, "upload_id": upload["upload_id"], "parts": sent}
        for _ in range(2):  # an answer may be lost
            assert 200 == send(url, "POST", f"{TREE}/mpu/complete/mpu/run", json=body).status

        assert of_bytes(b"".join(parts)) == rooms.artifacts.get("mpu/run/long.bin").digest
        rooms.artifacts.delete("mpu/run/long.bin")

    def test_what_is_wrong_is_refused(self, url: str, rooms: Rooms) -> None:
        """Parts that are missing, doubled, invented or too many; other paths; aborted and unknown uploads."""
        upload = self.begin(url, "mpu/wrong", 2)
        one, two = (
            {"part_number": number, "etag": urllib3.request("PUT", credential["url"], body=b"1").headers["ETag"]}
            for number, credential in enumerate(upload["credentials"], 1)
        )
        body = {"path": "long.bin", "upload_id": upload["upload_id"], "parts": [one, two]}
        complete = f"{TREE}/mpu/complete/mpu/wrong"
        for parts in ([one], [one, one], [one, two, {**two, "part_number": 3}], [one, {**two, "etag": "abc"}]):
            refused(send(url, "POST", complete, json={**body, "parts": parts}))
        refused(send(url, "POST", complete, json={**body, "parts": [one, {**two, "etag": of_bytes(b"never")}]}))
        refused(send(url, "POST", f"{TREE}/mpu/complete/mpu/other", json=body))
        refused(send(url, "POST", complete, json={**body, "path": "other.bin"}))
        for number in ("0", "3", "01", "-1", "x", "9" * 5000):
            refused(send(url, "PUT", f"{TREE}/mpu/parts/{upload['upload_id']}/{number}", body=b"1"))
        refused(send(url, "POST", f"{TREE}/mpu/create/mpu/wrong", json={"path": "x", "num_parts": 10_001}))
        assert 404 == send(url, "PUT", f"{TREE}/mpu/parts/{'0' * 32}/1", body=b"1").status

        assert 200 == send(url, "POST", f"{TREE}/mpu/abort/mpu/wrong", json=body).status
        assert 404 == send(url, "POST", complete, json=body).status
        assert rooms.artifacts.find("mpu/wrong/long.bin") is None

    def test_addresses_are_those_that_the_client_reached(self, url: str) -> None:
        """By the name that it used; what it sent of itself it is told to send again."""
        port = urlsplit(url).port
        send(url, "PUT", f"{FILES}/where/a b", body=b"12")
        headers = {"Host": f"localhost:{port}", "Authorization": "Bearer key"}
        shown = send(url, "GET", f"{TREE}/presigned/where/a%20b", headers=headers).json()

        assert {
            "url": f"http://localhost:{port}{FILES}/where/a%20b",
            "headers": {"Authorization": "Bearer key"},
            "file_size": 2,
        } == shown
        assert 404 == send(url, "GET", f"{TREE}/presigned/where").status


class TestRuns:
    """The artifacts of a run, by the path that the run sees."""

    def test_lists_and_files(self, url: str, run: str) -> None:
        """Paths are relative to the run's root."""
        for name in ("a.txt", "dir/b.txt"):
            send(url, "PUT", f"{FILES}/0/{run}/artifacts/{name}", body=name.encode())

        def listed(**asked: str) -> Any:
            return send(url, "GET", "/api/2.0/mlflow/artifacts/list", fields={"run_id": run, **asked}).json()

        home = f"mlflow-artifacts:/0/{run}/artifacts"
        some = [{"path": "a.txt", "is_dir": False, "file_size": 5}, {"path": "dir", "is_dir": True}]
        assert {"root_uri": home, "files": some} == listed() == listed(path="")
        assert [{"path": "dir/b.txt", "is_dir": False, "file_size": 9}] == listed(path="dir")["files"]
        assert [] == listed(path="nothing")["files"]
        for key in ("run_id", "run_uuid"):
            answer = send(url, "GET", "/get-artifact", fields={key: run, "path": "dir/b.txt"})
            assert (b"dir/b.txt", "nosniff") == (answer.data, answer.headers["X-Content-Type-Options"])
        assert 404 == send(url, "GET", "/get-artifact", fields={"run_id": run, "path": "c"}).status
        assert 404 == send(url, "GET", "/get-artifact", fields={"run_id": "0" * 26, "path": "c"}).status
        assert "run_id" in refused(send(url, "GET", "/get-artifact", fields={"path": "c"}))
        assert "run_id" in refused(send(url, "GET", "/api/2.0/mlflow/artifacts/list"))

    @pytest.mark.parametrize("token", ["x", "eyJvZmZzZXQiOiAtMX0=", "../.."])
    def test_forged_tokens(self, url: str, run: str, token: str) -> None:
        """P11."""
        asked = {"run_id": run, "page_token": token}
        assert "page token" in refused(send(url, "GET", "/api/2.0/mlflow/artifacts/list", fields=asked))

    def test_a_page_sends_small_files(self, url: str, run: str) -> None:
        """Told what is missing in MLflow's words."""
        path = "/ajax-api/2.0/mlflow/upload-artifact"

        def sent(body: bytes | None = None, **asked: str) -> urllib3.BaseHTTPResponse:
            query = "&".join(f"{key}={quote(value)}" for key, value in asked.items())
            return send(url, "POST", f"{path}?{query}", body=body)

        assert "Request must specify run_uuid." in refused(sent())
        assert "Request must specify path." in refused(sent(run_uuid=run))
        assert "Request must specify path." in refused(sent(run_uuid=run, path=""))
        assert "Invalid path" in refused(sent(run_uuid=run, path="../test.txt"))
        assert "Request must specify data." in refused(sent(run_uuid=run, path="test.txt"))
        assert "too large" in refused(sent(bytes(10 * 1024 * 1024 + 1), run_uuid=run, path="test.txt"))
        assert 200 == sent(b"hello world", run_uuid=run, path="test.txt").status
        found = send(url, "GET", "/get-artifact", fields={"run_uuid": run, "path": "test.txt"})
        assert b"hello world" == found.data

    @pytest.mark.parametrize(
        "home", ["s3://bucket/x", "file:///etc", "/etc", "mlflow-artifacts://other/x", "http://h/"]
    )
    def test_other_places_are_not_opened(self, url: str, rooms: Rooms, home: str) -> None:
        """P3: an address is for clients; this server follows none."""
        experiment = rooms.experiments.create(f"at {home}", location=home)
        run = rooms.logbook.create(experiment.id).run.id

        assert "not kept here" in refused(send(url, "GET", "/get-artifact", fields={"run_id": run, "path": "passwd"}))
        assert "not kept here" in refused(send(url, "GET", "/api/2.0/mlflow/artifacts/list", fields={"run_id": run}))

    def test_a_place_of_its_own_in_the_tree(self, url: str, rooms: Rooms) -> None:
        """Where an experiment was told to keep its files."""
        experiment = rooms.experiments.create("elsewhere", location="mlflow-artifacts:/team/delay")
        run = rooms.logbook.create(experiment.id).run.id
        send(url, "PUT", f"{FILES}/team/delay/{run}/artifacts/a", body=b"1")

        assert b"1" == send(url, "GET", "/get-artifact", fields={"run_id": run, "path": "a"}).data
