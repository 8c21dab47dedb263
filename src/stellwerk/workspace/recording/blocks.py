"""Runs that a `with` statement begins inside of a recorded process: what is measured there belongs to them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

TELLING = "stellwerk.workspace.telling"


class Witness(Protocol):
    """Whoever notes what a process does. Nothing of it raises."""

    def block_begins(self, run: Any) -> None:
        """A `with` statement begins a run."""
        ...

    def block_ends(self, run: Any) -> None:
        """It is about to end."""
        ...


WITNESSES: list[Witness] = []


class Block:
    """What is noted for one such run. Parameters are said at its end: what the script says itself comes first."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._params: dict[str, str] = {}
        self._steps: Counter[str] = Counter()

    def params(self, params: Mapping[str, str]) -> None:
        """Parameters of an estimator; the first one's stay."""
        for name, text in params.items():
            self._params.setdefault(name, text)

    def log(self, name: str, value: float) -> None:
        """One value of a metric."""
        self._run.log({name: value}, step=self._steps[name])
        self._steps[name] += 1

    def say(self, run: Any, also: Mapping[str, str]) -> None:
        """Say the parameters that it was not told of itself."""
        fresh = {name: text for name, text in {**also, **self._params}.items() if name not in run.given}
        items = list(fresh.items())
        for start in range(0, len(items), 100):
            run.params(**dict(items[start : start + 100]))


_BLOCKS: WeakKeyDictionary[Any, Block] = WeakKeyDictionary()


def inside(run: Any = None) -> Block | None:
    """The innermost such run that goes on at this moment, or that of a run; None outside of all."""
    if run is None:
        telling = sys.modules.get(TELLING)
        run = telling.active() if telling is not None and hasattr(telling, "active") else None
    if run is None:
        return None
    if run not in _BLOCKS:
        _BLOCKS[run] = Block(run)
    return _BLOCKS[run]
