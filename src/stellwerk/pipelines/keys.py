"""Step keys: one digest that names what a step would do, so that every machine shares one cache.

A key covers the code closure of the step, its parameters, its inputs (bytes and how they are read), the environment
lock, the seed, the kind and the outputs. It covers no time, no machine and no retries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.pipelines.model import Stored

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
) -> Digest:
    """The key of one task. An argument whose maker ran once per seed is a sequence.

    The number of seeds is no part of it: raising `seeds` from 5 to 10 keeps the five results there are.
    """
    return canonical.digest(
        {
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
