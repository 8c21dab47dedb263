"""Trials of a study in memory: a real, small implementation of the port, for tests of what stands above it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from stellwerk.core.errors import Conflict
from stellwerk.pipelines.tuning.model import Ending, Trial


class MemoryTrials:
    """Keeps trials in a dict that several holders may share; each has a name."""

    def __init__(self, shared: dict[int, Trial] | None = None) -> None:
        self.kept: dict[int, Trial] = {} if shared is None else shared
        self._turn = threading.Lock()
        self._mine: dict[int, int] = {}
        self._now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=len(self.kept))

    def known(self) -> list[Trial]:
        with self._turn:
            return [self.kept[number] for number in sorted(self.kept)]

    def claim(self, number: int, params: Mapping[str, Any]) -> Trial:
        with self._turn:
            if number in self.kept:
                raise Conflict(f"trial {number} exists already", code="already-exists")
            return self._begin(number, dict(params), 1)

    def retake(self, trial: Trial) -> Trial | None:
        with self._turn:
            known = self.kept[trial.number]
            if known.held or known.state != "running" or known.epoch != trial.epoch:
                return None
            return self._begin(trial.number, trial.params, trial.epoch + 1)

    def finish(self, trial: Trial, ending: Ending) -> bool:
        with self._turn:
            known = self.kept[trial.number]
            if known.state != "running" or known.epoch != trial.epoch:
                return False
            self.kept[trial.number] = replace(
                known, state=ending.state, values=ending.values, reports=ending.reports, seconds=ending.seconds,
                cached=ending.cached, error=ending.error, ended_at=self._tick(), held=False,
            )  # fmt: skip
            return True

    def renew(self) -> None:
        """Leases do not run out here."""

    def release(self) -> None:
        self.lose()

    def lose(self) -> None:
        """Forget who holds what is running, as if their processes had died."""
        with self._turn:
            for number, trial in self.kept.items():
                if trial.state == "running":
                    self.kept[number] = replace(trial, held=False)

    def _begin(self, number: int, params: dict[str, Any], epoch: int) -> Trial:
        trial = Trial(
            number=number, epoch=epoch, run=f"run-{number}-{epoch}", params=params, state="running",
            started_at=self._tick(), held=True,
        )  # fmt: skip
        self.kept[number] = trial
        return trial

    def _tick(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now
