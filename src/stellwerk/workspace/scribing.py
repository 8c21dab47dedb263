"""The run behind an integration: which one it is, and words and numbers of frameworks in the form that a run takes."""

from __future__ import annotations

import logging
import multiprocessing
import re
import struct
from collections.abc import Mapping
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.tracking import rules
from stellwerk.tracking.model import Status
from stellwerk.workspace import telling

LOGGER = logging.getLogger("stellwerk.log")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""Of an object in memory: another one in each process."""
_ODD = re.compile(r"[^/\w.\- :]")


class RunScribe:
    """Writes to the run it was given, else to the innermost that a `with` statement has begun, else to one of its own.

    Copies, which estimators make of their callbacks, write to the run that it was given; in another process they begin
    one.

    Args:
        begins: Whether it begins a run of its own where there is none.
    """

    def __init__(
        self,
        run: telling.ActiveRun | None = None,
        *,
        experiment: str = "default",
        name: str = "",
        begins: bool = True,
    ) -> None:
        self._given, self._experiment, self._name, self._begins = run, experiment, name, begins
        self._own: telling.ActiveRun | None = None
        self._rested = False

    def __deepcopy__(self, memo: object) -> RunScribe:
        return RunScribe(self._given, experiment=self._experiment, name=self._name, begins=self._begins)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_given": None, "_own": None}  # runs belong to a process

    @property
    def run(self) -> telling.ActiveRun:
        """The run that is written to; it is begun where there is none. Raises `Invalid` where none may be begun."""
        own = self._own if self._own and self._own.running else None
        found = own or self._given or telling.active()
        if found:
            return found
        if not self._begins:
            raise telling.no_run()
        self._own = telling.run(self._name, experiment=self._experiment)
        return self._own

    def begin(self) -> None:
        """Something new is trained: what went on with a run of its own before is over, and failed if nobody said so."""
        self.end("finished" if self._rested else "failed")
        _ = self.run

    def params(self, params: Mapping[str, Any]) -> None:
        """Keep what training was given. What the script said itself stays; so does what was said first."""
        run, kept = self.run, dict[str, str]()
        for name, value in params.items():
            made, text = key(name), spelled(value)
            known = run.given.get(made) or kept.get(made) or text
            if made and len(text) <= rules.MAX_PARAM and known == text:
                kept[made] = text
            else:
                LOGGER.debug("run %s: parameter %r is left out: it has another value, or is too long", run.id, name)
        if kept:
            run.params(**kept)

    def tags(self, tags: Mapping[str, str]) -> None:
        self.run.tag(**tags)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Keep those values that are numbers."""
        numbers = {key(name): number for name, value in metrics.items() if (number := _number(value)) is not None}
        numbers.pop("", None)
        if numbers:
            self.run.log(numbers, step=step)

    def rest(self) -> None:
        """Training is over, and more may come. Nothing of what was logged may be lost from here on."""
        if self._own is None:
            return
        self._rested = True
        if multiprocessing.parent_process() is not None:  # which ends without asking
            self.end()
        else:
            self._own.flush()

    def end(self, status: Status = "finished") -> None:
        """Training is over. Only a run of its own is ended."""
        own, self._own, self._rested = self._own, None, False
        if own is not None:
            own.finish(status)


def key(name: object) -> str:
    """A name as near to a framework's as a run takes it; empty where there is none."""
    made = _ODD.sub("_", str(name))[: rules.MAX_KEY]
    try:
        rules.check_key(made, "")
    except Invalid:
        made = re.sub(r"[/.]+", "_", made)
    return made


def spelled(value: Any) -> str:
    """A value as text: numbers as they were typed, objects without their place in memory."""
    if isinstance(value, float):
        return str(_short(value))
    try:
        text = rules.spelled(value)
    except (TypeError, ValueError):
        text = str(value)
    return _ADDRESS.sub("", text)


def _short(value: float) -> float:
    """A number that came through 32 bits as it was typed: 0.1 and not 0.10000000149011612."""
    try:
        packed = struct.pack("f", value)
        if struct.unpack("f", packed)[0] == value:
            return next(
                found for digits in range(1, 10) if struct.pack("f", found := float(f"{value:.{digits}g}")) == packed
            )
    except (OverflowError, StopIteration):  # no number of 32 bits; NaN
        pass
    return value


def _number(value: Any) -> float | None:
    """A number, also one of numpy or torch; None for anything else."""
    if isinstance(value, (str, bytes)):
        return None
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        return None
