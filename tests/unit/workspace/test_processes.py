"""How processes are named, so that nobody takes the dead for alive."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stellwerk.workspace.layout import process_alive, this_process


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """A process that has said its name and waits."""
    program = "from stellwerk.workspace.layout import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as process:
        yield process
        process.kill()


def test_a_process_lives_until_it_ends(other: subprocess.Popen[str]) -> None:
    """Also where nobody has asked how it ended, so that its number is still there."""
    assert other.stdout is not None
    name = other.stdout.readline().strip()
    assert process_alive(name)

    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)

    assert not process_alive(name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says when a process began")
def test_a_number_that_was_given_again_is_another_process() -> None:
    """Numbers come round; when a process began does not."""
    name, _, born = this_process().rpartition(".")
    began, _, boot = born.partition("-")

    assert process_alive(f"{name}.{born}")
    assert not process_alive(f"{name}.{int(began) - 1}-{boot}")
    assert not process_alive(f"{name}.{began}-{'0' * len(boot)}")


def test_what_this_machine_cannot_know_is_taken_for_alive() -> None:
    """Processes of other machines, and names of another kind; those that earlier versions gave are understood."""
    assert process_alive("another-machine:1.5-12345678")
    assert process_alive("no name of ours")
    assert process_alive(f"{platform.node()}:{os.getpid()}")
    assert not process_alive(f"{platform.node()}:{2**22 + 1}")
