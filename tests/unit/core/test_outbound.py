"""The one way out: where it does not go, whatever a URL, a name server or an answer says (threats S1 to S6)."""

from __future__ import annotations

import ast
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import stellwerk
from stellwerk.core.errors import Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.core.outbound import Allowance, check_post, public, safe_fetch, safe_post

LOOPBACK = Allowance.of(["127.0.0.0/8"])
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "v1"\r\n\r\nbody'
Answer = Callable[[socket.socket], None]


@contextmanager
def server(answer: Answer | bytes, context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """A server that reads one request after the other and answers as told; yields its port and what it was asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            try:
                stream = context.wrap_socket(stream, server_side=True) if context else stream
                asked.append(stream.recv(65536))
                stream.sendall(answer) if isinstance(answer, bytes) else answer(stream)
            except OSError:
                pass
            finally:
                stream.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def fetch(url: str, **options: object) -> bytes:
    return safe_fetch(url, **{"most": 1000, "seconds": 5.0, "allow": LOOPBACK, **options}).data  # type: ignore[arg-type]


def test_an_answer_comes_as_it_is() -> None:
    """Body and headers; the request names host, path and query, and nothing else of us."""
    with server(OK) as (port, asked):
        found = safe_fetch(f"http://127.0.0.1:{port}/a/b.csv?c=d", most=4, seconds=5, allow=LOOPBACK)

    assert (b"body", '"v1"') == (found.data, found.headers["etag"])
    assert asked[0].startswith(b"GET /a/b.csv?c=d HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in asked[0]
    assert b"ookie" not in asked[0]
    assert b"uthorization" not in asked[0]


INNER = [
    "127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "017700000001",
    "[::ffff:127.0.0.1]", "[::]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[::127.0.0.1]", "169.254.169.254",
    "[fd00:ec2::254]", "100.100.100.200", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fe80::1]",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "[ff02::1]", "[2001:0:7f00:1::]", "localhost.",
]  # fmt: skip


@pytest.mark.parametrize("host", INNER)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nothing_inside_is_asked(host: str, scheme: str) -> None:
    """Every spelling of an inner address is refused (or has no address here); nothing is connected to."""
    with pytest.raises((Refused, Unavailable)) as caught:
        fetch(f"{scheme}://{host}:1/x", allow=None)

    assert caught.value.code in ("private-address", "unknown-host")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.8.8.8", True), ("2606:4700::1", True), ("64:ff9b::808:808", True), ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False), ("::ffff:10.0.0.1", False), ("2002:a00:1::", False), ("64:ff9b::a00:1", False),
        ("64:ff9b:1::a00:1", False), ("::a00:1", False), ("2001:0:a00:1::", False), ("100.64.0.1", False),
    ],
)  # fmt: skip
def test_wrapped_addresses_are_unwrapped(text: str, expected: bool) -> None:
    """An IPv6 address that stands for an IPv4 one is judged as that one."""
    assert expected == public(ipaddress.ip_address(text))


URLS = [
    "ftp://example.com/x", "file:///etc/passwd", "gopher://example.com", "//example.com/x", "example.com", "",
    "http://", "http:///x", "http://a@127.0.0.1/", "http://user:pw@example.com/", "http://x\\@127.0.0.1/",
    "http://exa mple.com/", "http://example.com/\r\nX: y", "http://exämple.com/", "http://example.com:99999/",
    "http://[::1%eth0]/", "http://[::1/", "http://example.com/ü", "http://%31%32%37.0.0.1/", "http://a..b@c/",
    "http://exa\tmple.com/", "http://example。com/", "http://-x.com/",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_what_two_parsers_could_read_differently_is_refused(url: str) -> None:
    """No name is resolved for it, and the message does not repeat it."""

    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(f"{host} was resolved")

    with pytest.raises(Invalid) as caught:
        fetch(url, resolve=resolve)
    assert "invalid-url" == caught.value.code
    assert "pw" not in str(caught.value)


def test_the_address_that_was_checked_is_connected_to() -> None:
    """The name is resolved once: an answer that changes between check and use changes nothing."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    with server(OK) as (port, asked):
        data = fetch(f"http://rebinding.example:{port}/", resolve=lambda host, at: next(answers))

    assert b"body" == data
    assert f"Host: rebinding.example:{port}\r\n".encode() in asked[0]
    assert ["127.0.0.2"] == next(answers)


def test_one_inner_address_among_many_is_enough_to_refuse() -> None:
    """A name with a public and a private address could be either at the next question."""
    with pytest.raises(Refused) as caught:
        fetch("http://mixed.example/", allow=None, resolve=lambda host, port: ["8.8.8.8", "10.0.0.1"])
    assert "private-address" == caught.value.code


def test_an_allowed_host_is_that_host_only() -> None:
    """By name or by network; a name that only ends alike is not allowed."""
    inner = {"resolve": lambda host, port: ["127.0.0.1"]}
    with server(OK) as (port, _):
        assert b"body" == fetch(f"http://lake.internal:{port}/", allow=Allowance.of(["Lake.Internal"]), **inner)
        for host in ("my-lake.internal", "lake.internal.example", "internal"):
            with pytest.raises(Refused):
                fetch(f"http://{host}:{port}/", allow=Allowance.of(["lake.internal"]), **inner)
    with pytest.raises(Invalid):
        Allowance.of(["10.0.0.0/99"])


def test_redirects_are_not_followed_unasked() -> None:
    """Not at all by default; where they are followed, each is checked like the first, and their number is limited."""
    with server(OK) as (inside, asked):
        redirect = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inside}/\r\nContent-Length: 0\r\n\r\n".encode()
        allowed = Allowance.of(["door.example"])
        inner = {"allow": allowed, "resolve": lambda host, port: ["127.0.0.1"]}
        with server(redirect) as (port, _):
            for redirects, code in ((0, "redirected"), (3, "private-address")):
                with pytest.raises(Refused) as caught:
                    fetch(f"http://door.example:{port}/", redirects=redirects, **inner)
                assert code == caught.value.code
            assert b"body" == fetch(f"http://127.0.0.1:{port}/", redirects=1)
    assert 1 == len(asked)
    for scheme in ("file:///etc/passwd", "ftp://127.0.0.1/"):
        redirect = f"HTTP/1.1 301 x\r\nLocation: {scheme}\r\nContent-Length: 0\r\n\r\n".encode()
        with server(redirect) as (port, _), pytest.raises(Invalid):
            fetch(f"http://127.0.0.1:{port}/", redirects=3)


def test_too_much_is_refused() -> None:
    """Said beforehand or not, an answer beyond the limit is not read to its end."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + bytes(1024) + b"\r\n" * 1
    for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", chunked + b"400\r\n" + bytes(1024)):
        with server(answer) as (port, _), pytest.raises(Invalid) as caught:
            fetch(f"http://127.0.0.1:{port}/")
        assert "too-large" == caught.value.code


def test_too_many_headers_are_refused() -> None:
    """A server cannot fill our memory before the body."""
    with server(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10_000) as (port, _), pytest.raises(Unavailable):
        fetch(f"http://127.0.0.1:{port}/")


BROKEN = [
    b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", b"HTTP/1.1 200 OK\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nbody",
]  # fmt: skip


@pytest.mark.parametrize("answer", BROKEN)
def test_an_answer_that_is_not_whole_is_none(answer: bytes) -> None:
    """Cut off, without a length, compressed unasked, or an error: nothing is given."""
    with server(answer) as (port, _), pytest.raises(Unavailable) as caught:
        fetch(f"http://127.0.0.1:{port}/")
    assert "no-answer" == caught.value.code


def test_nothing_there_and_not_for_us_are_told_apart() -> None:
    """By class; and what the server wrote about it is not repeated."""
    for status, kind in ((404, NotFound), (410, NotFound), (401, Refused), (403, Refused)):
        answer = f"HTTP/1.1 {status} canary\r\nContent-Length: 6\r\nX-C: canary\r\n\r\ncanary".encode()
        with server(answer) as (port, _), pytest.raises(kind) as caught:
            fetch(f"http://127.0.0.1:{port}/")
        assert "canary" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("prefix", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"])
def test_a_slow_answer_ends(prefix: bytes) -> None:
    """Byte after byte before the head, in it or in the body: when the time is over, so is the connection."""
    stop = threading.Event()

    def drip(stream: socket.socket) -> None:
        stream.sendall(prefix)
        while not stop.wait(0.01):
            stream.sendall(b"X")

    try:
        with server(drip) as (port, _), pytest.raises(Unavailable) as caught:
            fetch(f"http://127.0.0.1:{port}/", seconds=0.2)
    finally:
        stop.set()
    assert "too-slow" == caught.value.code


# TLS


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server called `data.example`, and of a client that trusts it."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")]),
    )
    now = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=365 * 100))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("data.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    return serving, ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())


def test_the_name_is_verified_at_the_pinned_address(certified: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """TLS goes to the checked address and proves the name; another name, or an unknown authority, is refused."""
    serving, trust = certified
    here = {"resolve": lambda host, port: ["127.0.0.1"]}
    with server(OK, serving) as (port, asked):
        assert b"body" == fetch(f"https://data.example:{port}/", trust=trust, **here)
        for host, options in (("other.example", {"trust": trust}), ("data.example", {})):
            with pytest.raises(Refused) as caught:
                fetch(f"https://{host}:{port}/", **options, **here)
            assert "untrusted-server" == caught.value.code
    assert 1 == len([request for request in asked if request])


def test_a_silent_server_ends_also_before_the_handshake() -> None:
    """A peer that never speaks TLS costs the time that was given, and no more."""

    def silent(stream: socket.socket) -> None:
        while stream.recv(65536):
            continue

    with server(silent) as (port, _), pytest.raises(StellwerkError) as caught:
        fetch(f"https://127.0.0.1:{port}/", seconds=0.2)
    assert caught.value.code in ("too-slow", "no-answer")


# Nobody goes around it

CLIENTS = {"socket", "http", "urllib3", "requests", "httpx", "httpx2", "aiohttp", "ftplib", "smtplib", "telnetlib"}
KNOWN = {
    "core/outbound.py": "the way out itself",
    "workspace/adapters/line.py": "the caller's own server, which the caller names",
    "workspace/adapters/forges.py": "the forge that the CI names, with the token that the CI gives for it",
    "pipelines/tuning/trial.py": "a socket of the file system, on which a trial reports to its own search",
    "pipelines/adapters/pool.py": "a pair of sockets of the file system, with its own fork server",
    "pipelines/adapters/fork_server.py": "the other one of that pair",
    "pipelines/adapters/ray.py": "the user's own cluster, which the user names",
    "cli/listening.py": "listens; connects to nobody",
    "workspace/adapters/frameworks/lightgbm.py": "asks which of the caller's own machines this is; connects to nobody",
}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return {name for name in found if name.partition(".")[0] in CLIENTS or name == "urllib.request"}


def test_no_other_module_opens_connections() -> None:
    """Whoever needs a client for URLs uses `safe_fetch`; an exception has a reason here."""
    source = Path(stellwerk.__file__).parent
    found = {str(file.relative_to(source)) for file in source.rglob("*.py") if imports(file)}

    assert set() == {name for name in found if not name.startswith("testing/")} - KNOWN.keys()


# What is sent


def test_what_is_sent_arrives_and_any_answer_is_one() -> None:
    """Body and headers as given; of the answer its status and how it begins."""
    bodies: list[bytes] = []

    def refuse(stream: socket.socket) -> None:
        while not (asked[-1] + b"".join(bodies)).endswith(b"news"):  # may come apart from the headers
            bodies.append(stream.recv(100))
        stream.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 9\r\n\r\nelsewhere")

    with server(refuse) as (port, asked):
        url = f"http://127.0.0.1:{port}/hook?a=b"
        found = safe_post(url, b"news", most=4, seconds=5, allow=LOOPBACK, headers={"X-Id": "1"})

    assert (302, b"else", "http://10.0.0.1/") == (found.status, found.data, found.headers["location"])
    assert asked[0].startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert (asked[0] + b"".join(bodies)).endswith(b"\r\n\r\nnews")
    assert b"X-Id: 1\r\n" in asked[0]
    assert 1 == len(asked)


def test_an_answer_without_an_end_is_an_answer() -> None:
    """Nobody waits for what is not read."""
    with server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegins") as (port, _):
        cut = safe_post(f"http://127.0.0.1:{port}/", b"", most=100, seconds=5, allow=LOOPBACK)
        unread = safe_post(f"http://127.0.0.1:{port}/", b"", most=0, seconds=5, allow=LOOPBACK)

    assert (b"begins", b"") == (cut.data, unread.data)


@pytest.mark.parametrize("url", ["http://example.com/", "http://hooks.example:8080/"])
def test_strangers_are_sent_to_with_encryption_only(url: str) -> None:
    """Whether networks of our own are allowed or not; hosts of our own need none."""
    public_one = {"resolve": lambda _host, _port: ["93.184.215.14"]}
    for allow in (Allowance(), LOOPBACK, Allowance.of(["other.internal"])):
        with pytest.raises(Refused) as problem:
            check_post(url, allow=allow, **public_one)
        assert "unencrypted" == problem.value.code

    check_post(url.replace("http:", "https:"), **public_one)
    check_post(
        "http://lake.internal/", allow=Allowance.of(["lake.internal"]), resolve=lambda _host, _port: ["10.0.0.1"]
    )
    with pytest.raises(Refused):
        check_post("https://lake.internal/", allow=LOOPBACK, resolve=lambda _host, _port: ["10.0.0.1"])
