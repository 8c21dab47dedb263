"""The one way out: asking a URL that somebody else chose, without becoming their hand inside our network.

Every request resolves the name once, checks all addresses, and connects to the address that was checked.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from stellwerk.core.errors import Invalid, NotFound, Refused, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Iterable[str]]
"""Host and port to addresses."""

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?")
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Places inside our own network that may be asked all the same.

    Attributes:
        hosts: Names, exactly as URLs write them.
        networks: Networks of addresses.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Allowance:
        """From texts such as `lake.internal` and `10.2.0.0/16`. Raises `Invalid`."""
        hosts, networks = set(), []
        for text in filter(None, (text.strip() for text in texts)):
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError:
                if "/" in text or not _HOST.fullmatch(text):
                    raise Invalid(
                        f"{text[:60]!r} is neither a host nor a network (expected a name or 10.2.0.0/16)",
                        code="invalid-setting",
                    ) from None
                hosts.add(text.lower())
        return cls(hosts=frozenset(hosts), networks=tuple(networks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A successful answer."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer to something that was sent, whatever it says."""

    status: int
    data: bytes = b""
    """How it begins."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    scheme: str
    host: str
    port: int
    path: str


def system_resolve(host: str, port: int) -> list[str]:
    """What the machine's resolver says."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def safe_fetch(
    url: str,
    *,
    most: int,
    seconds: float,
    allow: Allowance | None = None,
    headers: Mapping[str, str] | None = None,
    redirects: int = 0,
    resolve: Resolve = system_resolve,
    trust: ssl.SSLContext | None = None,
) -> Fetched:
    """GET a URL.

    Args:
        most: Bytes of the answer beyond which it is refused.
        seconds: For each request from the first byte sent to the last one received, however slowly they come.
        allow: Places inside our own network that may be asked. By default only public addresses are.
        redirects: How many to follow; each is checked like the first.

    Raises:
        Invalid: `invalid-url`, or `too-large`.
        Refused: `private-address`, or `redirected`.
        NotFound: `nothing-there`: the server says 404 or 410.
        Unavailable: no answer, another status, or not in time.
    """
    allow = allow or Allowance()
    for _ in range(redirects + 1):
        target = _parse(url)
        address = _checked(target, allow, resolve)
        status, found, data = _exchange(target, address, most, seconds, dict(headers or {}), trust)
        if status not in _REDIRECTS:
            return _judged(target, status, found, data)
        url = urljoin(url, found.get("location", ""))
    raise Refused(
        f"{target.host} answered with a redirect, which is not followed",
        code="redirected",
        hint="name the address that the redirect leads to",
    )


def safe_post(
    url: str,
    data: bytes,
    *,
    most: int,
    seconds: float,
    allow: Allowance | None = None,
    headers: Mapping[str, str] | None = None,
    resolve: Resolve = system_resolve,
    trust: ssl.SSLContext | None = None,
) -> Answered:
    """POST bytes to a URL. Redirects are not followed; they are an answer like any other.

    Args:
        most: How many bytes of the answer are read.
        seconds: From the first byte sent to the last one received, however slowly they come.
        allow: Places inside our own network that may be asked, and those that may be asked without encryption.

    Raises:
        Invalid: `invalid-url`.
        Refused: `private-address`, or `unencrypted`.
        Unavailable: no answer, or not in time.
    """
    target, address = _admitted(url, allow or Allowance(), resolve)
    status, found, body = _exchange(target, address, most, seconds, dict(headers or {}), trust, send=data)
    return Answered(status=status, headers=found, data=body)


def check_post(url: str, *, allow: Allowance | None = None, resolve: Resolve = system_resolve) -> None:
    """Raise what `safe_post` would raise before it sends."""
    _admitted(url, allow or Allowance(), resolve)


def _admitted(url: str, allow: Allowance, resolve: Resolve) -> tuple[_Target, str]:
    target = _parse(url)
    plain = Refused(f"{target.host} is only sent to with https", code="unencrypted", hint="https://…")
    inner = target.scheme == "https" or target.host.lower() in allow.hosts
    if not inner and not allow.networks:
        raise plain
    address = _checked(target, allow, resolve)
    if not inner and all(ipaddress.ip_address(address.partition("%")[0]) not in one for one in allow.networks):
        raise plain
    return target, address


def _parse(url: str) -> _Target:
    """One parser for checking and for connecting; what two parsers might read differently is refused."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid("it cannot be read") from None
    if parts.scheme not in _PORTS:
        raise _invalid(f"the scheme {parts.scheme[:20]!r} is not http or https")
    if "@" in parts.netloc:
        raise _invalid("it holds credentials")
    if "\\" in url or not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise _invalid("it has characters that a URL must encode")
    host = parts.hostname or ""
    if not (_HOST.fullmatch(host) or _literal(host)):
        raise _invalid("its host is not a name or an address")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(scheme=parts.scheme, host=host, port=port or _PORTS[parts.scheme], path=path)


def _invalid(why: str) -> Invalid:
    return Invalid(
        f"this URL cannot be fetched: {why}", code="invalid-url", hint="for example https://host/table.csv"
    )


def _literal(host: str) -> bool:
    try:
        return "%" not in host and bool(ipaddress.IPv6Address(host))
    except ValueError:
        return False


def _checked(target: _Target, allow: Allowance, resolve: Resolve) -> str:
    """The address to connect to. All that the name resolves to must be allowed, because any could be taken."""
    try:
        found = list(resolve(target.host, target.port))
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
    except (OSError, ValueError, UnicodeError) as cause:
        raise Unavailable(f"the host {target.host} has no address", code="unknown-host") from cause
    if not addresses:
        raise Unavailable(f"the host {target.host} has no address", code="unknown-host")
    if target.host.lower() not in allow.hosts:
        for text, address in zip(found, addresses, strict=True):
            known = any(address in network for network in allow.networks)
            if not known and ("%" in text or not public(address)):
                raise Refused(
                    f"{target.host} is inside this network, where sources are not fetched from",
                    code="private-address",
                    hint="whoever runs this can allow it with STELLWERK_SOURCE_HOSTS",
                )
    return found[0]


def public(address: Address) -> bool:
    """Whether an address is one of the open network; one that stands for another is judged as that one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped or any(address in network for network in _NAT64):
            return public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        tunnels = [address.sixtofour, *(address.teredo or ())]
        if not all(public(inner) for inner in tunnels if inner):
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _exchange(
    target: _Target,
    address: str,
    most: int,
    seconds: float,
    headers: dict[str, str],
    trust: ssl.SSLContext | None,
    send: bytes | None = None,
) -> tuple[int, dict[str, str], bytes]:
    try:
        raw = socket.create_connection((address, target.port), timeout=seconds)
    except OSError as cause:
        raise Unavailable(f"no answer from {target.host}", code="no-answer") from cause
    line = _Line(raw, seconds)
    try:
        answer = _ask(line, target, most, headers, trust, send)
    except ssl.SSLCertVerificationError as cause:
        raise Refused(
            f"{target.host} has no certificate that this machine trusts for that name", code="untrusted-server"
        ) from cause
    except (OSError, http.client.HTTPException, ValueError) as cause:
        if isinstance(cause, Invalid):
            raise
        raise line.problem(target.host) from cause
    finally:
        line.close()
    if line.late.is_set():
        raise line.problem(target.host)  # an answer that was cut can look like one that ended
    return answer


class _Line:
    """A connection that is cut after some seconds. Timeouts of sockets begin anew with each byte; this one does not."""

    def __init__(self, stream: socket.socket, seconds: float) -> None:
        self.stream, self.seconds, self.late = stream, seconds, threading.Event()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def _cut(self) -> None:
        self.late.set()
        try:
            socket.socket.shutdown(self.stream, socket.SHUT_RDWR)
        except OSError:
            pass

    def problem(self, host: str) -> Unavailable:
        if self.late.is_set():
            return Unavailable(f"{host} took longer than {self.seconds:g} s", code="too-slow")
        return Unavailable(f"no answer from {host}", code="no-answer")

    def close(self) -> None:
        self._timer.cancel()
        self.stream.close()


def _ask(
    line: _Line,
    target: _Target,
    most: int,
    headers: dict[str, str],
    trust: ssl.SSLContext | None,
    send: bytes | None,
) -> tuple[int, dict[str, str], bytes]:
    if target.scheme == "https":
        context = trust or ssl.create_default_context()
        # The name is verified, though the connection goes to the address that was checked.
        secured = context.wrap_socket(line.stream, server_hostname=target.host, do_handshake_on_connect=False)
        line.stream = secured
        secured.do_handshake()
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = line.stream
    host = f"[{target.host}]" if ":" in target.host else target.host
    port = "" if target.port == _PORTS[target.scheme] else f":{target.port}"
    fixed = {"Host": host + port, "Accept-Encoding": "identity", "Connection": "close"}
    connection.request("GET" if send is None else "POST", target.path, body=send, headers={**headers, **fixed})
    with connection.getresponse() as answer:
        found = {name.lower(): value for name, value in answer.getheaders()}
        if send is not None:
            return answer.status, found, _beginning(answer, most)
        return answer.status, found, _body(answer, most) if answer.status == 200 else b""


def _beginning(answer: http.client.HTTPResponse, most: int) -> bytes:
    """The first bytes of an answer. That it came is all that counts, so one that breaks off is no failure."""
    found = b""
    try:
        while len(found) < most and (part := answer.read1(most - len(found))):
            found += part
    except (OSError, http.client.HTTPException):
        pass
    return found


def _body(answer: http.client.HTTPResponse, most: int) -> bytes:
    expected = answer.length
    if expected is None and not answer.chunked:
        raise http.client.HTTPException("no length: an answer that was cut off would look whole")
    if (expected or 0) > most:
        raise Invalid(f"the answer has {expected:,} bytes (at most {most:,} are fetched)", code="too-large")
    parts, size = [], 0
    while part := answer.read1(_CHUNK):
        size += len(part)
        if size > most:
            raise Invalid(f"the answer has more than {most:,} bytes", code="too-large")
        parts.append(part)
    if expected is not None and size != expected:
        raise http.client.IncompleteRead(b"", expected - size)
    return b"".join(parts)


def _judged(target: _Target, status: int, headers: dict[str, str], data: bytes) -> Fetched:
    if status == 200:
        if headers.get("content-encoding", "identity") != "identity":
            raise Unavailable(f"{target.host} sent the answer compressed, unasked", code="no-answer")
        return Fetched(data=data, headers=headers)
    if status in (404, 410):
        raise NotFound(f"{target.host} has nothing under this address", code="nothing-there")
    if status in (401, 403):
        raise Refused(f"{target.host} does not give this to us (status {status})", code="not-given")
    raise Unavailable(f"{target.host} answered with status {status}", code="no-answer")
