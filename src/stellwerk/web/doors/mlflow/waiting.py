"""Answers that wait for spans which a client sends at the same time, from another thread. No thread waits with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool

from stellwerk.tracking.arrivals import Arrivals


class NotYet(Exception):
    """There is no answer before spans of a trace come, or time is up.

    Args:
        trace: The trace.
        seconds: How long the client can wait.
        look: Gives the answer as things are then, or raises this again; with True it must give one.
    """

    def __init__(self, trace: str, seconds: float, look: Callable[[bool], Any]) -> None:
        super().__init__(trace)
        self.trace, self.seconds, self.look = trace, seconds, look


async def settled(arrivals: Arrivals, wanted: NotYet) -> Any:
    """The answer, as soon as there is one."""
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    until = loop.time() + wanted.seconds
    with arrivals.awaited(wanted.trace, lambda: loop.call_soon_threadsafe(news.set)):
        # Looked at once more from here on: what came before anybody listened was not announced.
        while True:
            news.clear()
            try:
                return await run_in_threadpool(wanted.look, False)
            except NotYet:
                pass
            try:
                async with asyncio.timeout_at(until):
                    await news.wait()
            except TimeoutError:
                return await run_in_threadpool(wanted.look, True)
