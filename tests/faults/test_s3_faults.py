"""A bucket on bad days: what was acknowledged is there, nothing wrong is ever returned, and it goes on by itself."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Corrupt, NotFound, StellwerkError, Unavailable
from stellwerk.store.adapters.objects import Patience
from stellwerk.store.adapters.s3 import S3Blobs
from stellwerk.testing import buckets
from stellwerk.testing.faulty_http import Fault, Proxy, faulty

pytestmark = pytest.mark.faults

HASTY = Patience(connect=1.0, request=0.4, total=5.0, retries=4, pause=0.005)
ROUNDS = int(os.environ.get("STELLWERK_TEST_S3_ROUNDS", "150"))
DATA = bytes(range(256)) * 40
LONG = os.urandom(300_000)
PASSING: tuple[Fault, ...] = (
    "error-500", "slow-down-503", "hang", "slow", "reset", "truncate", "flip-answer", "lost-reply", "wrong-etag",
)  # fmt: skip
"""Faults of a moment: the next attempt may succeed."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with buckets.bucket_server() as url:
        yield url


@pytest.fixture(scope="module")
def between(endpoint: str) -> Iterator[tuple[str, Proxy]]:
    with faulty(endpoint) as (url, proxy):
        yield url, proxy


@pytest.fixture
def proxy(between: tuple[str, Proxy]) -> Iterator[Proxy]:
    between[1].calm()
    between[1].seen.clear()
    between[1].done.clear()
    yield between[1]
    between[1].calm()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"faults/{of_bytes(request.node.nodeid.encode())[-16:]}"


@pytest.fixture
def store(between: tuple[str, Proxy], proxy: Proxy, prefix: str) -> Iterator[S3Blobs]:
    """The store as seen through the proxy, which has said which store it is."""
    made = buckets.blobs(between[0], prefix, HASTY)
    made._chunk = made._whole = 65_536
    made.put(b"begin")
    proxy.seen.clear()
    yield made
    made.close()


@pytest.fixture
def truth(endpoint: str, prefix: str) -> Iterator[S3Blobs]:
    """The same store, seen without the proxy."""
    made = buckets.blobs(endpoint, prefix)
    yield made
    made.close()


class TestAMoment:
    """One request goes wrong, or two."""

    @pytest.mark.parametrize("fault", [*PASSING, "flip-request", "redirect"])
    def test_a_write_is_true_or_refused(self, store: S3Blobs, truth: S3Blobs, proxy: Proxy, fault: Fault) -> None:
        """What is acknowledged is there byte for byte, whatever happened to the request or to its answer."""
        proxy.next(fault, "PUT")
        try:
            store.put(DATA)
        except Unavailable:
            assert fault == "redirect"
        else:
            assert DATA == truth.get(of_bytes(DATA))

        assert [fault] == proxy.done
        proxy.calm()
        store.put(DATA)
        assert DATA == truth.get(of_bytes(DATA))

    @pytest.mark.parametrize("fault", PASSING)
    def test_a_long_write_is_true(self, store: S3Blobs, truth: S3Blobs, proxy: Proxy, fault: Fault) -> None:
        """So it is for a blob of many objects, wherever it strikes."""
        proxy.next(fault, "PUT", "HEAD", times=2)

        assert of_bytes(LONG) == store.put_stream([LONG])
        assert 2 == len(proxy.done)
        assert LONG == truth.get(of_bytes(LONG))

    @pytest.mark.parametrize("fault", PASSING)
    def test_a_read_is_true(self, store: S3Blobs, truth: S3Blobs, proxy: Proxy, fault: Fault) -> None:
        """The bytes, or after a while an error; never others."""
        for data in (DATA, LONG):
            truth.put(data)
        truth._chunk = 65_536
        proxy.next(fault, "GET", "HEAD")

        assert DATA == store.get(of_bytes(DATA))
        assert [fault] == proxy.done
        proxy.next(fault, "GET", "HEAD")
        assert LONG == b"".join(store.stream(of_bytes(LONG)))
        assert LONG[9:-9] == b"".join(store.stream(of_bytes(LONG), start=9, stop=len(LONG) - 9))

    def test_what_was_just_written_is_not_missing(self, store: S3Blobs, proxy: Proxy) -> None:
        """A service that does not see it yet is asked again, and in the end is said to be at fault."""
        store.put(DATA)
        proxy.next("missing", "GET", "HEAD", times=4)
        assert DATA == store.get(of_bytes(DATA))
        proxy.next("missing", "GET", "HEAD", times=3)
        assert store.has(of_bytes(DATA))

        proxy.always("missing", "GET", "HEAD")
        with pytest.raises(Unavailable):
            store.get(of_bytes(DATA))

    def test_a_damaged_upload_is_written_again(self, store: S3Blobs, truth: S3Blobs, proxy: Proxy) -> None:
        """Twice in a row."""
        proxy.next("flip-request", "PUT", times=2)
        store.put(DATA)

        assert 2 == len(proxy.done)
        assert DATA == truth.get(of_bytes(DATA))

    def test_an_error_inside_a_success_is_an_error(self, store: S3Blobs, truth: S3Blobs, proxy: Proxy) -> None:
        """What says 200 and wrote nothing acknowledges nothing."""
        proxy.next("error-in-200", "PUT")
        store.put(DATA)

        assert ["error-in-200"] == proxy.done
        assert DATA == truth.get(of_bytes(DATA))

    def test_nothing_is_ever_uploaded_in_parts(self, store: S3Blobs, proxy: Proxy) -> None:
        """So no completion can lie, and no forgotten parts cost money."""
        store.put_stream([LONG])
        store.put_many([DATA, LONG])

        writes = [request for request in proxy.seen if request.method in ("PUT", "POST")]
        assert len(writes) > 6
        assert {"", "delete"} == {request.path.partition("?")[2] for request in writes}

    def test_every_write_says_its_digest(self, store: S3Blobs, proxy: Proxy) -> None:
        """In the header by which the service verifies it, and only if there is no such object."""
        store.put(DATA)
        (put,) = [request for request in proxy.seen if request.method == "PUT"]
        headers = {key.lower(): value for key, value in put.headers.items()}

        assert "*" == headers["if-none-match"]
        assert 44 == len(headers["x-amz-checksum-sha256"])


class TestABadDay:
    """It goes wrong whatever one does, and then it is over."""

    @pytest.mark.parametrize(
        "fault",
        ["error-500", "slow-down-503", "hang", "slow", "reset", "truncate", "lost-reply", "expired", "redirect"],
    )
    def test_it_is_said_and_passes(self, store: S3Blobs, proxy: Proxy, fault: Fault) -> None:
        """`Unavailable`, with a hint and without a secret; the same store works when it is over."""
        kept = store.put(DATA)
        proxy.always(fault)
        acts = [lambda: store.get(kept), lambda: list(store)]
        if fault not in ("slow", "reset", "truncate"):  # the answer to a write has no body that could be cut
            acts.append(lambda: store.put(b"new" * 5000))
        for act in acts:
            with pytest.raises(Unavailable) as caught:
                act()
            assert caught.value.code in ("s3-unavailable", "s3-denied")
            assert caught.value.hint
            assert buckets.SECRET not in str(caught.value)
        proxy.calm()

        assert DATA == store.get(kept)
        assert [kept] == [digest for digest in store if digest != of_bytes(b"begin")] or fault == "lost-reply"

    def test_expired_credentials_are_named_and_not_tried_again(self, store: S3Blobs, proxy: Proxy) -> None:
        """They will not get better by asking."""
        proxy.always("expired")
        with pytest.raises(Unavailable) as caught:
            store.get(of_bytes(b"x"))

        assert "s3-denied" == caught.value.code
        assert "ExpiredToken" in caught.value.message
        assert 1 == len(proxy.seen)

    def test_bytes_that_never_arrive_whole_are_not_returned(self, store: S3Blobs, proxy: Proxy) -> None:
        """Damage on every way is an error, small or long."""
        names = [store.put(DATA), store.put(LONG)]
        proxy.always("flip-answer", "GET")
        for digest in names:
            with pytest.raises(Corrupt):
                store.get(digest)

    def test_bytes_that_are_never_kept_whole_are_not_acknowledged(
        self, store: S3Blobs, truth: S3Blobs, proxy: Proxy
    ) -> None:
        """And nobody can read them as if they were."""
        proxy.always("flip-request", "PUT")
        with pytest.raises(Unavailable) as caught:
            store.put(DATA)
        assert "s3-damages" == caught.value.code
        with pytest.raises(Corrupt):
            truth.get(of_bytes(DATA))

        proxy.calm()
        store.put(DATA)
        assert DATA == truth.get(of_bytes(DATA))

    def test_threads_do_not_pile_up(self, store: S3Blobs, proxy: Proxy) -> None:
        """Everybody who waits for a service that says nothing is told so, and no thread stays behind."""
        kept = store.put(DATA)
        list(store)
        before = threading.active_count()
        proxy.always("hang")
        problems: list[StellwerkError] = []

        def ask() -> None:
            try:
                store.get(kept)
            except StellwerkError as problem:
                problems.append(problem)

        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert ["s3-unavailable"] * 24 == [problem.code for problem in problems]
        proxy.end()  # the proxy's own threads wait, too
        proxy._ended.clear()
        proxy.calm()
        assert DATA == store.get(kept)
        assert before + 24 > threading.active_count()

    def test_signatures_do_not_follow_a_redirect(self, store: S3Blobs, proxy: Proxy) -> None:
        """Another host learns nothing that it could act with. (The client does follow, and sends a token of temporary
        credentials, which is worthless without the secret: `docs/guide/remotes.md` says so.)"""
        told: list[dict[str, str]] = []

        class Stranger(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told.append({key.lower(): value for key, value in self.headers.items()})
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_PUT = do_GET  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        stranger = HTTPServer(("127.0.0.1", 0), Stranger)
        thread = threading.Thread(target=stranger.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        proxy.elsewhere = f"http://localhost:{stranger.server_port}/"
        proxy.always("redirect")
        try:
            for act in (lambda: store.get(of_bytes(b"x")), lambda: store.put(b"y")):
                with pytest.raises((Unavailable, Corrupt, NotFound)):
                    act()
        finally:
            stranger.shutdown()
            thread.join()
            stranger.server_close()

        assert "redirect" in proxy.done
        assert [] == [headers for headers in told if "authorization" in headers]
        assert buckets.SECRET not in repr(told)


@pytest.mark.parametrize("seed", range(2))
def test_chaos(store: S3Blobs, truth: S3Blobs, proxy: Proxy, seed: int) -> None:
    """A third of all requests goes wrong: every acknowledged blob is there, every answer is true."""
    rolled = random.Random(seed)
    faults: tuple[Fault, ...] = (
        "error-500", "slow-down-503", "reset", "truncate", "flip-answer", "flip-request", "lost-reply", "wrong-etag",
    )  # fmt: skip
    proxy.chaos(seed, 0.33, faults)
    kept: dict[str, bytes] = {}
    refused = 0
    for number in range(ROUNDS):
        data = rolled.randbytes(rolled.choice([0, 1, 500, 70_000, 200_000]))
        try:
            if rolled.random() < 0.5 or not kept:
                digest = store.put(data) if number % 2 else store.put_stream([data[:7], data[7:]])
                kept[digest] = data
            else:
                asked = rolled.choice(sorted(kept))
                assert kept[asked] == store.get(asked)  # type: ignore[arg-type]
        except (Unavailable, Corrupt):
            refused += 1
    proxy.calm()

    assert set(faults) <= set(proxy.done)
    assert ROUNDS / 2 > refused
    assert kept == {digest: truth.get(digest) for digest in kept}  # type: ignore[arg-type]
    assert kept == {digest: store.get(digest) for digest in kept}  # type: ignore[arg-type]
