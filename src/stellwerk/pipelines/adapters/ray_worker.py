"""What a Ray worker does with an attempt: it forks a child for it, as on any machine. The other end is in `ray`.

What comes and goes is JSON and the bytes of encoded values; Ray itself pickles no more than strings and bytes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import StellwerkError
from stellwerk.pipelines.adapters import exchange
from stellwerk.pipelines.adapters.pool import Pool
from stellwerk.pipelines.model import Attempt, Failure, Outcome, Resources

_POOLS: dict[tuple[str, ...], Pool] = {}
_PLENTY = Resources(cpus=1 << 20, gpus=1 << 20)


def run(document: bytes, *values: bytes) -> list[bytes]:
    """Run an attempt to its end; JSON, then the bytes of its outputs in the order in which the JSON names them."""
    asked = canonical.loads(document)
    _move(asked)
    attempt = _attempt(asked, list(values))
    codecs = tuple(asked["codecs"])
    pool = _POOLS.setdefault(codecs, Pool(codecs=codecs, capacity=_PLENTY))
    try:
        pool.start(attempt)
        ended = None
        while ended is None or ended.attempt != attempt.id:
            ended = pool.wait(None)
    except StellwerkError as error:
        return [canonical.dumps({"error": [type(error).__name__, error.message, error.code, error.hint]})]
    return _answer(ended.outcome)


def _attempt(asked: Mapping[str, Any], values: list[bytes]) -> Attempt:
    inputs = {name: [values.pop(0) for _ in asked["attempt"]["inputs"][name]] for name in asked["order"]}
    attempt = exchange.from_description(asked["attempt"], inputs)
    return replace(
        attempt,
        file=str(_here(attempt.file, asked["project"])) if attempt.file else "",
        resources=Resources(gpus=attempt.resources.gpus),  # the rest Ray has reserved
    )


def _move(asked: Mapping[str, Any]) -> None:
    """Look for modules where the process that asks does, and be in its folder, as far as these are here."""
    path = [str(_here(entry, asked["project"])) for entry in asked["path"]]
    sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
    if not asked["project"] and Path(asked["cwd"]).is_dir():
        os.chdir(asked["cwd"])


def _here(path: str, project: str) -> Path:
    """A path of the machine that asks on this one: Ray has put the project where this process started."""
    if project and Path(path).is_relative_to(project):
        return _START / Path(path).relative_to(project)
    return Path(path)


_START = Path.cwd()


def _answer(outcome: Outcome | Failure) -> list[bytes]:
    facts = {"log": outcome.log.encode("utf-8", "replace").decode(), "seconds": outcome.seconds}
    if isinstance(outcome, Failure):
        return [canonical.dumps({**facts, "failure": exchange.texts(outcome)})]
    kinds = [[name, value.media] for name, value in outcome.outputs.items()]
    used = {"cpu_seconds": outcome.cpu_seconds, "peak_memory": outcome.peak_memory}
    return [canonical.dumps({**facts, **used, "outputs": kinds}), *(value.data for value in outcome.outputs.values())]
