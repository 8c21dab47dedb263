"""Blobs over HTTP keep the contract of the store, whole or many at once, and take nothing that is not what it says."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Corrupt, Invalid, NotFound, Unavailable
from stellwerk.store import framing, sync
from stellwerk.store.framing import MEDIA, BlobLimits, frame
from stellwerk.testing import worlds
from stellwerk.testing.blobs import BlobsContract
from stellwerk.testing.fakes import MemoryBlobs
from stellwerk.workspace.adapters.http_blobs import HttpBlobs
from stellwerk.workspace.adapters.line import Line
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture(scope="module")
def kept() -> MemoryBlobs:
    """What the server has."""
    return MemoryBlobs(chunk=65_536)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, kept: MemoryBlobs) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    rooms = Rooms(create(folder, Settings(actor="anna")), Settings(actor="anna"))
    own, rooms.blobs = rooms.blobs, kept  # type: ignore[assignment]
    with worlds.served(rooms) as address:
        yield address
    rooms.blobs = own
    rooms.close()


@pytest.fixture
def blobs(url: str) -> HttpBlobs:
    return HttpBlobs(Line(url, pause=0.0))


def send(url: str, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
    return urllib3.request(method, f"{url}/api/v1/{path}", retries=False, **options)


class TestOverHttp(BlobsContract):
    """The contract, through a real server."""

    @pytest.fixture(autouse=True)
    def _kept(self, kept: MemoryBlobs) -> None:
        type(self).kept = kept

    def flip(self, blobs: Any, digest: Digest, position: int) -> None:
        self.kept.flip(digest, position)  # type: ignore[attr-defined]


class TestMany:
    """Thousands of blobs in a handful of requests."""

    def test_many_go_and_come_back(self, blobs: HttpBlobs, kept: MemoryBlobs) -> None:
        """In order, with empty ones, equal ones and one that is too long to travel with others."""
        items = [b"%d" % number for number in range(2_000)] + [b"", b"7", bytes(framing.BLOB_LIMITS.framed_bytes + 1)]
        names = blobs.put_many(items)

        assert [of_bytes(item) for item in items] == names
        assert items == list(blobs.get_many(names))
        assert {of_bytes(item): len(item) for item in items} == blobs.lengths([*names, of_bytes(b"never")])

    def test_one_that_is_missing_is_said(self, blobs: HttpBlobs) -> None:
        """Before anything is sent."""
        with pytest.raises(NotFound):
            list(blobs.get_many([blobs.put(b"here"), of_bytes(b"never")]))

    def test_one_that_is_damaged_is_said(self, blobs: HttpBlobs, kept: MemoryBlobs) -> None:
        """What comes before it may arrive, the damaged bytes never do."""
        names = blobs.put_many([b"first", b"second", b"third"])
        kept.flip(names[0], 0)
        with pytest.raises(Corrupt):
            list(blobs.get_many(names))

        kept.put(b"first")
        kept.flip(names[2], 0)
        with pytest.raises((Corrupt, Unavailable)):
            list(blobs.get_many(names))

    @pytest.mark.parametrize("cut", [1, 39, 41, 44])
    def test_a_stream_that_ends_early_is_refused(self, url: str, kept: MemoryBlobs, cut: int) -> None:
        """Whatever was complete may be kept; it is not acknowledged."""
        body = frame(b"whole") + frame(b"halved")
        answer = send(
            url, "POST", "blobs/batch", body=body[: -len(frame(b"halved")) + cut], headers={"Content-Type": MEDIA}
        )

        assert (422, "truncated-frames") == (answer.status, answer.json()["code"])
        assert not kept.has(of_bytes(b"halved"))

    def test_a_frame_that_lies_is_refused(self, url: str, kept: MemoryBlobs) -> None:
        """Bytes under another name are not kept."""
        body = frame(b"a good one")[:32] + frame(b"something else")[32:]
        answer = send(url, "POST", "blobs/batch", body=body, headers={"Content-Type": MEDIA})

        assert (422, "digest-mismatch") == (answer.status, answer.json()["code"])
        assert not kept.has(of_bytes(b"something else"))

    def test_a_frame_that_is_too_long_is_refused_at_its_head(self, url: str) -> None:
        """Nobody waits for bytes that will not be taken."""
        body = bytes(32) + (1 << 60).to_bytes(8, "big")
        answer = send(url, "POST", "blobs/batch", body=body, headers={"Content-Type": MEDIA})

        assert (413, "too-large") == (answer.status, answer.json()["code"])

    @pytest.mark.parametrize(
        ("path", "document"),
        [
            ("blobs/fetch", {"digests": ["sha256:x"]}),
            ("blobs/fetch", {"digests": [7]}),
            ("blobs/fetch", {"digest": []}),
            ("blobs/fetch", []),
            ("blobs/reachable", {"datasets": "all"}),
            ("blobs.lengths", {"digests": ["../x"]}),
        ],
    )
    def test_bad_questions_are_refused(self, url: str, path: str, document: Any) -> None:
        """With a reason, and not with a failure."""
        answer = send(url, "POST", path, json=document)

        assert 422 == answer.status
        assert answer.json()["code"] in ("invalid-digest", "invalid-arguments", "invalid-document")

    def test_too_many_at_once_are_refused(self, url: str) -> None:
        """Lists have an end."""
        names = [of_bytes(b"%d" % number) for number in range(framing.BLOB_LIMITS.batch_blobs + 1)]

        for path in ("blobs/fetch", "blobs.lengths"):
            assert 413 == send(url, "POST", path, json={"digests": names}).status


class TestLong:
    """A blob that is sent in parts."""

    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sync, "PART", 100_000)
        monkeypatch.setattr(sync, "SMALL", 1_000)

    def test_an_interrupted_one_goes_on(self, blobs: HttpBlobs, kept: MemoryBlobs) -> None:
        """What arrived is not sent again, and the whole has its name."""
        source, data = MemoryBlobs(), random.Random(1).randbytes(1_050_000)
        digest = source.put(data)
        here = [data[at : at + 100_000] for at in range(0, 400_000, 100_000)]
        blobs.put_many(here)
        sent: list[Digest] = []

        class Watched(HttpBlobs):
            def put(self, data: bytes) -> Digest:
                sent.append(of_bytes(data))
                return super().put(data)

        done = sync.copy(source, Watched(blobs._line), {digest: len(data)})

        assert (1, len(data), ()) == (done.blobs, done.bytes, done.lost)
        assert data == kept.get(digest)
        assert 7 == len(sent)
        assert not {of_bytes(part) for part in here} & set(sent)

    def test_parts_that_are_not_there_are_said(self, blobs: HttpBlobs) -> None:
        """Nothing is joined."""
        with pytest.raises(NotFound):
            blobs.join([blobs.put(b"a"), of_bytes(b"never")])
        assert of_bytes(b"abc") == blobs.join([blobs.put(b"ab"), blobs.put(b"c")])
        assert of_bytes(b"") == blobs.join([])


class TestAlone:
    """One blob at a time, of any length."""

    def test_wrong_bytes_leave_nothing(self, url: str, kept: MemoryBlobs) -> None:
        """Not even under the name that they would have."""
        answer = send(url, "PUT", f"blobs/{of_bytes(b'promised')}", body=b"other")

        assert (422, "digest-mismatch") == (answer.status, answer.json()["code"])
        assert not kept.has(of_bytes(b"other"))
        assert not kept.has(of_bytes(b"promised"))

    def test_half_a_body_leaves_nothing(self, url: str, kept: MemoryBlobs) -> None:
        """A client that goes away in the middle of a stream has put no blob."""
        place = urlsplit(url)
        with socket.create_connection((str(place.hostname), int(place.port or 0))) as line:
            head = "POST /api/v1/blobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
            line.sendall(head.encode() + b"half of it")
        size = len(list(kept))
        send(url, "GET", "now")

        assert size == len(list(kept))
        assert not kept.has(of_bytes(b"half of it"))

    @pytest.mark.parametrize(
        ("asked", "status", "said", "body"),
        [
            ("bytes=0-2", 206, "bytes 0-2/10", b"012"),
            ("bytes=8-", 206, "bytes 8-9/10", b"89"),
            ("bytes=-3", 206, "bytes 7-9/10", b"789"),
            ("bytes=5-500", 206, "bytes 5-9/10", b"56789"),
            ("bytes=10-", 416, "bytes */10", b""),
            ("bytes=5-2", 416, "bytes */10", b""),
            ("bytes=0-1,4-5", 200, None, b"0123456789"),
            ("lines=1-2", 200, None, b"0123456789"),
        ],
    )
    def test_ranges(self, url: str, blobs: HttpBlobs, asked: str, status: int, said: str | None, body: bytes) -> None:
        """As in RFC 9110; what we do not understand is answered whole."""
        digest = blobs.put(b"0123456789")
        answer = send(url, "GET", f"blobs/{digest}", headers={"Range": asked})

        assert (status, said, body) == (answer.status, answer.headers.get("Content-Range"), answer.data)

    def test_a_server_that_is_gone_is_unavailable(self) -> None:
        """After a few attempts, with a hint."""
        blobs = HttpBlobs(Line("http://127.0.0.1:9", pause=0.0))

        for act in (lambda: blobs.put(b"x"), lambda: blobs.get(of_bytes(b"x")), lambda: blobs.put_stream([b"x"])):
            with pytest.raises(Unavailable) as caught:
                act()
            assert "server-unreachable" == caught.value.code

    def test_redirects_are_not_followed(self) -> None:
        """Another host is not the one that was asked, whoever says so."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            line = Line(f"http://127.0.0.1:{port}", pause=0.0)

            import threading

            def answer() -> None:
                connection, _ = server.accept()
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")
                connection.close()

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(Unavailable) as caught:
                line.request("GET", "/")
            thread.join()
        assert "server-answer" == caught.value.code


class TestFrames:
    """Laws of the framing."""

    @given(items=st.lists(st.binary(max_size=50), max_size=10), cut=st.integers(1, 60))
    def test_frames_are_read_however_they_are_cut(self, items: list[bytes], cut: int) -> None:
        """What was framed comes back in order, in pieces of any length."""
        whole = b"".join(map(frame, items))

        assert items == list(framing.read(whole[at : at + cut] for at in range(0, len(whole), cut)))

    @given(items=st.lists(st.binary(max_size=20), min_size=1, max_size=5), data=st.data())
    def test_no_changed_byte_goes_unnoticed(self, items: list[bytes], data: st.DataObject) -> None:
        """A flipped bit anywhere is refused."""
        whole = bytearray(b"".join(map(frame, items)))
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))

        with pytest.raises(Invalid):
            list(framing.read([bytes(whole)]))

    def test_limits_hold(self) -> None:
        """Of blobs, of bytes together and of one."""
        limits = BlobLimits(framed_bytes=10, batch_bytes=12, batch_blobs=3)

        assert 3 == len(list(framing.read([frame(b"1234") * 3], limits)))
        for stream in (frame(b"") * 4, frame(b"1234") * 3 + frame(b"1"), frame(b"12345678901")):
            with pytest.raises(Invalid) as caught:
                list(framing.read([stream], limits))
            assert "too-large" == caught.value.code


def test_what_a_ledger_leads_to_is_listed(url: str, blobs: HttpBlobs) -> None:
    """An empty workspace needs nothing; an unknown dataset is said."""
    assert set() == blobs.reachable([])
    with pytest.raises(NotFound):
        blobs.reachable(["nobody"])
    assert json.loads(send(url, "POST", "blobs.lengths", json={"digests": []}).data) == {}
