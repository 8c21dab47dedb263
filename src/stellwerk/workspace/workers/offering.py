"""The executor that offers attempts to workers on other machines, through the workspace alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Refused
from stellwerk.pipelines.adapters import endings
from stellwerk.pipelines.model import BUILTIN, Attempt, Ended, Failure, Offer, Outcome, Resources
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.workers import forms

LOOK = 0.2
"""Seconds between two looks at what workers have ended."""
MANY = 10_000
"""Attempts that may be offered at the same time: how much room there is, only the workers know."""
AWAITED = timedelta(seconds=10)
"""After so long without a word of any worker, somebody is told."""


class Workers:
    """Offers attempts; whoever runs `stellwerk worker` on this workspace takes them.

    Args:
        execution: The id of the execution whose attempts these are.
        sources: The tree of the project's files, which workers check out.
        scarce: Names of what else these attempts need; how much there is of it, only the workers know.
        alone: Is called, once, when no worker was heard of for a while.
    """

    def __init__(
        self,
        caller: Caller,
        execution: str,
        sources: str,
        *,
        scarce: Collection[str] = (),
        alone: Callable[[], None] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._caller, self._execution, self._sources, self._pause = caller, execution, sources, pause
        self._capacity = Resources(cpus=MANY, gpus=MANY, custom=dict.fromkeys(scarce, MANY))
        self._alone = alone
        self._since: datetime | None = None
        """When the first attempt was offered."""
        self._offered: dict[str, Attempt] = {}
        self._ended: deque[Ended] = deque()

    def capacity(self) -> Resources:
        return self._capacity

    def start(self, attempt: Attempt) -> None:
        if attempt.function.startswith(BUILTIN) or attempt.environment is not None:
            raise Refused(
                f"step {attempt.node!r} needs the engine's own machine, and cannot be offered to workers",
                code="limits-not-kept",
            )
        unknown = sorted(set(attempt.resources.custom) - set(self._capacity.custom))
        if unknown:
            raise Refused(
                f"step {attempt.node!r} needs {', '.join(unknown)}, which workers are not asked for",
                code="limits-not-kept",
            )
        # What the engine made a moment ago may still wait to be kept with other things, and workers need it now.
        given = {forms.digest_of(value): value.data for values in attempt.inputs.values() for value in values}
        self._caller.blobs.put_many([data for name, data in given.items() if not self._caller.blobs.has(name)])
        document = self._caller.blobs.put(forms.written(attempt, self._sources))
        arguments = {
            "execution": self._execution,
            "attempt": attempt.id,
            "document": document,
            "needs": attempt.resources.amounts(),
        }
        self._caller.call(ops.offer_attempt, arguments)
        self._offered[attempt.id] = attempt
        self._since = self._since or self._caller.clock.now()

    def wait(self, timeout: float | None) -> Ended | None:
        until = None if timeout is None else monotonic() + timeout
        while self._ended or self._offered:
            if self._ended:
                return self._ended.popleft()
            self._look()
            if not self._ended:
                if until is not None and monotonic() >= until:
                    return None
                self._pause(LOOK if until is None else min(LOOK, max(0.0, until - monotonic())))
        return None

    def _look(self) -> None:
        found: tuple[Offer, ...] = self._caller.call(ops.collect_attempts, {"execution": self._execution})
        self._heed(bool(found))
        for offer in found:
            attempt = self._offered.pop(offer.attempt, None)
            if attempt is not None:
                self._ended.append(Ended(attempt=attempt.id, outcome=self._outcome(offer, attempt)))

    def _heed(self, heard: bool) -> None:
        """Tell somebody, once, when there seems to be no worker."""
        if heard:
            self._alone = None
        elif self._alone and self._since and self._caller.clock.now() - self._since >= AWAITED:
            alone, self._alone = self._alone, None
            if not self._caller.call(ops.list_workers, {}):
                alone()

    def _outcome(self, offer: Offer, attempt: Attempt) -> Outcome | Failure:
        if offer.outcome is None:
            return Failure(
                code="worker-lost",
                message=f"worker {offer.worker!r} was not heard of while it ran step {attempt.node!r}",
            )
        return forms.heard(self._caller.blobs.get(offer.outcome), self._caller.blobs.get)

    def stop(self, attempt: str) -> None:
        stopped = self._offered.pop(attempt, None)
        if stopped is not None:
            self._caller.call(ops.withdraw_attempts, {"execution": self._execution, "attempts": (attempt,)})
            self._ended.append(Ended(attempt=attempt, outcome=endings.cancelled(stopped)))

    def close(self) -> None:
        self._ended.clear()
        if self._offered:
            self._offered.clear()
            self._caller.call(ops.withdraw_attempts, {"execution": self._execution})
