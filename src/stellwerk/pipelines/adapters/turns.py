"""Whose turn it is: sharing out what an executor has among attempts, first come, first served."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from stellwerk.core.errors import Refused
from stellwerk.pipelines.adapters import memory
from stellwerk.pipelines.model import Attempt, Resources
from stellwerk.pipelines.stock import SEEN, SHARED, Stock, meant


class Turns:
    """Attempts that wait, and what those that run have taken.

    CPUs and memory are there to be shared: an attempt that asks for more of them than there is takes all there is. Of
    everything else nobody gets more than there is.
    """

    def __init__(self, capacity: Resources) -> None:
        self._capacity = capacity.amounts()
        self._taken: dict[str, dict[str, float]] = {}
        self._waiting: deque[Attempt] = deque()

    def check(self, attempt: Attempt) -> None:
        """`Refused` with code `limits-not-kept` if the attempt needs what will never be there."""
        has = self._capacity
        for name, amount in attempt.resources.amounts().items():
            there = has.get(name, 0.0)
            if name not in SHARED and amount > there:
                raise Refused(
                    f"step {attempt.node!r} needs {amount:g} of {name}, and here are {there:g}",
                    code="limits-not-kept",
                    hint=f"{meant(name, has)}say what this machine has in [resources] of stellwerk.toml, or ask for less"
                    if name not in SEEN
                    else "execute it where they are, or ask for less",
                )

    def add(self, attempt: Attempt) -> None:
        """Put an attempt at the end of the queue."""
        self._waiting.append(attempt)

    def next(self) -> Attempt | None:
        """The first attempt in the queue, if what it needs is free; it has it until `free`."""
        if not self._waiting:
            return None
        needs = self._needs(self._waiting[0])
        for name, amount in needs.items():
            if amount and sum(taken.get(name, 0.0) for taken in self._taken.values()) + amount > self._capacity[name]:
                return None
        attempt = self._waiting.popleft()
        self._taken[attempt.id] = needs
        return attempt

    def free(self, attempt: str) -> None:
        """Give back what an attempt had."""
        del self._taken[attempt]

    def drop(self, attempt: str) -> Attempt | None:
        """Take an attempt out of the queue; None if it does not wait."""
        for waiting in self._waiting:
            if waiting.id == attempt:
                self._waiting.remove(waiting)
                return waiting
        return None

    def clear(self) -> None:
        """Forget all that wait."""
        self._waiting.clear()

    def _needs(self, attempt: Attempt) -> dict[str, float]:
        wanted = attempt.resources.amounts().items()
        return {name: min(amount, self._capacity[name]) for name, amount in wanted if name in self._capacity}


def here(workers: int | None = None, stock: Stock | None = None) -> Resources:
    """What this machine has.

    Args:
        workers: CPUs; by default those that this process may use.
        stock: What was declared of it: memory, which by default is all there is, and things by names of their own.
    """
    declared = stock or Stock()
    return Resources(
        cpus=workers or _cpus(), memory=declared.memory or _memory(), gpus=_gpus(), custom=declared.custom
    )


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> str:
    mebibytes = memory.there() >> 20
    return f"{mebibytes}MiB" if mebibytes else ""


def _gpus() -> int:
    """NVIDIA's devices, as far as this process may see them."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return len([name for name in shown.split(",") if name.strip() not in {"", "-1"}])
    return len([device for device in Path("/dev").glob("nvidia[0-9]*") if device.name[6:].isdigit()])
