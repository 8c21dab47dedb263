"""Step keys: one digest that names what a step would do, so that every machine shares one cache.

A key covers the code closure of the step, its parameters, its inputs (bytes and how they are read), the environment
lock, the seed, the kind and the outputs. It covers no time, no machine and no retries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.pipelines.model import Environment, Stored

FORMAT = "stellwerk-step/1"


def step_key(
    *,
    code: Digest,
    params: Mapping[str, Any],
    inputs: Mapping[str, Stored | Sequence[Stored]],
    environment: Digest,
    kind: str,
    outputs: Sequence[str],
    seed: int | None = None,
    execution: str = "",
) -> Digest:
    """The key of one task. An argument whose maker ran once per seed or item is a sequence.

    The number of seeds is no part of it: raising `seeds` from 5 to 10 keeps the five results there are.

    Args:
        execution: The one execution whose result this is; empty where every execution may use it.
    """
    return canonical.digest(
        {
            **({"execution": execution} if execution else {}),
            "format": FORMAT,
            "code": code,
            "params": dict(params),
            "inputs": {
                name: _stored(value) if isinstance(value, Stored) else [_stored(item) for item in value]
                for name, value in inputs.items()
            },
            "environment": environment,
            "seed": seed,
            "kind": kind,
            "outputs": list(outputs),
        }
    )


def _stored(value: Stored) -> dict[str, str]:
    # The media type counts: the same bytes read as text and as a number are different inputs.
    return {"digest": value.digest, "media": value.media}


def environment_key(engine: Digest, own: Environment | None, locks: Mapping[str, Digest]) -> Digest:
    """What stands for the environment of a step: the engine's lock, or what the step declares of its own.

    Args:
        locks: The digest of each lock file by its path, so that what it says counts and not where it lies.
    """
    if own is None:
        return engine
    base = {} if own.lock or own.image else {"engine": engine}
    lock = {"lock": locks[own.lock]} if own.lock else {}
    said = {name: text for name in ("extra", "python", "image") if (text := getattr(own, name))}
    return canonical.digest({**base, **lock, **said})


def wait_code(closures: Iterable[Digest]) -> Digest:
    """What stands for the code of a wait: all code of the plan, so that a decision holds for no other."""
    return canonical.digest({"builtin": "wait", "version": 1, "closures": sorted(set(closures))})
