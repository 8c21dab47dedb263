"""The thread that does everything an executor has to do."""

from __future__ import annotations

import os
import socket
import threading

from stellwerk.pipelines.adapters.pump import Pump

SECONDS = 20.0


def _pump() -> Pump:
    return Pump(lambda error: None)


def test_what_is_read_is_told_to_who_reads_it_now() -> None:
    """A number that is closed and given anew within one round belongs to who has it now."""
    pump, heard, over = _pump(), list[str](), threading.Event()
    (one, write_one), (other, write_other) = os.pipe(), os.pipe()
    fresh, write_fresh = os.pipe()

    def replace(mine: int, its: int) -> None:
        heard.append("first")
        os.read(mine, 1)
        pump.forget(its)
        os.dup2(fresh, its)  # closes what it was, as closing and opening would
        pump.read(its, lambda: heard.append("fresh"))
        pump.after(0.0, over.set)

    def begin() -> None:
        pump.read(one, lambda: replace(one, other))
        pump.read(other, lambda: replace(other, one))
        os.write(write_one, b"!")
        os.write(write_other, b"!")

    pump.call(begin)
    assert over.wait(SECONDS)
    pump.stop(SECONDS)
    for end in (one, other, fresh, write_one, write_other, write_fresh):
        os.close(end)

    assert ["first"] == heard


def test_a_call_after_the_end_writes_nowhere() -> None:
    """Whoever has the number of a closed descriptor by now finds nothing in it."""
    pump = _pump()
    pump.stop(SECONDS)
    ends = [end for _ in range(3) for end in socket.socketpair()]

    pump.call(lambda: None)
    found = [end for end in ends if _holds(end)]
    for end in ends:
        end.close()

    assert [] == found


def _holds(end: socket.socket) -> bool:
    end.setblocking(False)
    try:
        return bool(end.recv(1))
    except BlockingIOError:
        return False
