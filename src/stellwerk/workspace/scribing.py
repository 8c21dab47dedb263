"""The run behind an integration: which one it is. How words and numbers of frameworks are spelled is in `spelling`."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Mapping
from typing import Any

from stellwerk.tracking import rules
from stellwerk.tracking.model import Status
from stellwerk.workspace import telling
from stellwerk.workspace.spelling import key, number, spelled

LOGGER = logging.getLogger("stellwerk.log")


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
            made, text = key(str(name)), spelled(value)
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
        numbers = {key(str(name)): found for name, value in metrics.items() if (found := number(value)) is not None}
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
