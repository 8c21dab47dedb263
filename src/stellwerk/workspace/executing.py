"""Executors by name, as they are given on the command line: `pool`, `pool:4`, `ray`, `ray://host:10001`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.adapters import turns
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.values import STANDARD
from stellwerk.workspace import codecs

if TYPE_CHECKING:
    from stellwerk.pipelines.model import Environment
    from stellwerk.pipelines.ports import Executor
    from stellwerk.pipelines.stock import Stock

MAX_WORKERS = 1024
NAMES = "in-process, subprocess, subprocess:N, pool, pool:N, sandbox, sandbox:N, workers, ray, ray:HOST:PORT, ray://HOST:PORT"


def executor(
    name: str,
    here: InProcess | None = None,
    *,
    project: Path | None = None,
    interpreter: Callable[[Environment], Path] | None = None,
    workers: Callable[[], Executor] | None = None,
    stock: Stock | None = None,
) -> Executor:
    """The executor of a name; whoever asks for it closes it.

    Args:
        name: `in-process` calls steps here; `subprocess` starts a Python for each, `pool` forks one from a warm
            server, `sandbox` one with walls around it, these with `:N` at a time; `ray` uses a cluster of its own on
            this machine, `ray:HOST:PORT`, `ray:auto` and `ray://HOST:PORT` one that is there; `workers` offers steps to
            whoever runs `stellwerk worker` on this workspace.
        here: The one of this process, which built-in steps run in.
        interpreter: Gives the interpreter of an environment that a step declares, on this machine.
        workers: Makes the executor that offers attempts to workers of this workspace.
        stock: What was declared of this machine. Clusters that are there know themselves what they have.
        project: The folder that is sent to the nodes of a cluster on other machines.
    """
    check(name)
    kind, _, rest = name.partition(":")
    match kind:
        case "in-process":
            return here or InProcess(codecs=STANDARD.with_first(codecs.MODEL), stock=stock)
        case "subprocess":
            from stellwerk.pipelines.adapters.subprocess import Subprocess

            capacity = turns.here(_count(name, rest), stock)
            return Subprocess(codecs=(codecs.REFERENCE,), interpreter=interpreter, capacity=capacity)
        case "pool":
            from stellwerk.pipelines.adapters.pool import Pool

            count = _count(name, rest)
            return Pool(codecs=(codecs.REFERENCE,), interpreter=interpreter, workers=count, stock=stock)
        case "sandbox":
            from stellwerk.pipelines.adapters.pool import Pool
            from stellwerk.workspace import walls

            walls.demand()
            count = _count(name, rest)
            return Pool(codecs=(codecs.REFERENCE,), workers=count, stock=stock, walls=walls.REFERENCE)
        case "workers" if workers is not None:
            return workers()
        case "ray":
            from stellwerk.pipelines.adapters.ray import Ray

            address = name if rest.startswith("//") else rest
            own = {} if address or stock is None else _of_ray(stock)
            return Ray(address, codecs=(codecs.REFERENCE,), project=project if address else None, **own)
        case _:
            raise _unknown(name)


def check(name: str) -> None:
    """Refuse what is no name of an executor. Raises `Invalid` (`unknown-executor`)."""
    kind, colon, rest = name.partition(":")
    match kind:
        case "in-process" | "workers" if not colon:
            return
        case "subprocess" | "pool" | "sandbox":
            _count(name, rest)
        case "ray" if rest or not colon:
            return
        case _:
            raise _unknown(name)


def _of_ray(stock: Stock) -> dict[str, Any]:
    """What a cluster that is started here is told to have."""
    return {"resources": {name: amount for name, amount in stock.custom.items() if amount}}


def _count(name: str, text: str) -> int | None:
    if name.endswith(":"):
        raise _unknown(name)
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:5]) <= MAX_WORKERS:
        raise _unknown(name)
    return int(text)


def _unknown(name: str) -> Invalid:
    return Invalid(
        f"there is no executor {name[:60]!r} (expected one of {NAMES}; N from 1 to {MAX_WORKERS})",
        code="unknown-executor",
    )
