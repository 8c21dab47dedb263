"""Listening: on this machine only, on a port that is free, with an end."""

from __future__ import annotations

import socket
import threading
import urllib.parse

import pytest

from stellwerk.cli.listening import bound, loopback, within
from stellwerk.core.errors import Refused, Unavailable


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("::1", "[::1]"),
    ],
)
def test_this_machine_is_served(address: str, host: str) -> None:
    """However it is spelled."""
    assert address == loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org", "", "127.1"]
)
def test_other_machines_are_refused(host: str) -> None:
    """Nobody is asked who they are yet, so nobody else may come in."""
    with pytest.raises(Refused) as caught:
        loopback(host)

    assert ("not-loopback", True) == (caught.value.code, bool(caught.value.hint))


def test_port_zero_finds_a_free_one() -> None:
    """And the address says which."""
    with bound("127.0.0.1", 0) as (listener, url):
        assert f"http://127.0.0.1:{listener.getsockname()[1]}" == url
        assert 0 != urllib.parse.urlsplit(url).port


def test_a_port_in_use_is_said_clearly() -> None:
    """With a way out."""
    with bound("127.0.0.1", 0) as (listener, _):
        second = bound("127.0.0.1", listener.getsockname()[1])
        with pytest.raises(Unavailable) as caught:
            second.__enter__()

    assert ("port-in-use", True) == (caught.value.code, "--port 0" in caught.value.hint)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_ipv6_address_is_written_with_brackets() -> None:
    """Otherwise nobody could call it."""
    try:
        with bound("::1", 0) as (_, url):
            assert url.startswith("http://[::1]:")
    except Unavailable as missing:
        pytest.skip(missing.message)


def test_work_has_a_limit() -> None:
    """The end of a server must not wait for what does not end."""
    never = threading.Event()
    done: list[int] = []

    assert within(5.0, lambda: done.append(1))
    assert not within(0.01, never.wait)
    never.set()
    assert [1] == done
