"""What a worker does: it pulls attempts, runs them in processes of their own, and says how they came out.

It knows the workspace and nothing else: the code comes as a tree from the store and is verified against the closure that
the step key was made of, inputs and outputs pass by digest.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stellwerk.core.clock import monotonic
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, StellwerkError
from stellwerk.pipelines.model import Ended, Failure, Offer
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.stock import SHARED
from stellwerk.store import service as trees
from stellwerk.workspace import operations as ops
from stellwerk.workspace.patience import Patient
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.workers import forms

BEAT = 8.0
"""Seconds between two signs of life; a lease lasts thirty."""
LOOK = 0.5
"""Seconds between two questions whether there is something to do."""

Said = Callable[[Offer, str], None]
"""Told what happens to an attempt: `claimed`, `done`, `failed`, `lost`."""


class Worker:
    """One worker, for as long as it is let.

    Args:
        name: Names this worker to others: `machine:process id`.
        executor: Runs the attempts; its capacity says for how many there is room.
        idle: Seconds without anything to do after which it ends; None for never.
        beat: Seconds between two signs of life, which a thread of its own gives: also while inputs are fetched and
            outputs are kept, however long that takes.
    """

    def __init__(
        self,
        caller: Caller,
        executor: Executor,
        *,
        name: str,
        idle: float | None = None,
        beat: float = BEAT,
        said: Said | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._caller, self._executor, self._name, self._idle = Patient(caller, pause), executor, name, idle
        self._said = said or (lambda offer, what: None)
        self._pause = pause
        self._beat_seconds = beat
        self._claimed: dict[str, Offer] = {}
        self._taken: deque[str] = deque()
        """Attempts that are not with this worker any more, as their sign of life was answered."""
        self._folders = tempfile.TemporaryDirectory(prefix="stellwerk-worker-", ignore_cleanup_errors=True)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End as soon as what is under way has ended."""
        self._stopped.set()

    def work(self) -> int:
        """Work until stopped or idle for too long; how many attempts were brought to their end."""
        done, since, over = 0, monotonic(), threading.Event()
        heart = threading.Thread(target=self._live, args=(over,), name="stellwerk-worker", daemon=True)
        with self._folders:
            heart.start()
            try:
                while self._claimed or not self._over(since):
                    if self._room() and not self._stopped.is_set() and self._claim():
                        since = monotonic()
                        continue
                    while self._taken:
                        self._executor.stop(self._taken.popleft())
                    ended = self._executor.wait(LOOK) if self._claimed else self._pause(LOOK)
                    if ended is not None:
                        done += self._end(ended)
                        since = monotonic()
            finally:
                over.set()
                self._executor.close()
        heart.join(self._beat_seconds)
        return done

    def _over(self, since: float) -> bool:
        return self._stopped.is_set() or (self._idle is not None and monotonic() - since > self._idle)

    def _room(self) -> bool:
        return len(self._claimed) < max(1, int(self._executor.capacity().cpus))

    def _free(self) -> dict[str, float]:
        """What there is and nobody has. CPUs and memory are shared out by the executor, to one after the other."""
        free = self._executor.capacity().amounts()
        for offer in self._claimed.values():
            for name, amount in offer.needs.items():
                if name in free and name not in SHARED:
                    free[name] = max(0.0, free[name] - amount)
        return free

    def _claim(self) -> bool:
        arguments = {"worker": self._name, "capacity": self._free()}
        offer: Offer | None = self._caller.call(ops.claim_attempt, arguments)
        if offer is None:
            return False
        self._claimed[offer.id] = offer  # two executions may have attempts of one name
        self._said(offer, "claimed")
        try:
            document = self._caller.blobs.get(offer.document)
            attempt = forms.read(document, self._caller.blobs.get, self._code(forms.sources_of(document)))
            self._executor.start(replace(attempt, id=offer.id))
        except StellwerkError as error:
            message = f"worker {self._name} cannot run it: {error.message}"
            failure = Failure(code="step-not-importable", message=message, hint=error.hint)
            self._end(Ended(attempt=offer.id, outcome=failure))
        return True

    def _code(self, sources: str) -> Path:
        """The project's files, checked out once for each tree."""
        folder = Path(self._folders.name) / (sources.removeprefix("sha256:")[:32] or "none")
        if not folder.exists():
            fresh = folder.with_name(folder.name + ".new")
            fresh.mkdir()
            for path, entry in trees.walk(self._caller.blobs, Digest(sources)) if sources else ():
                if entry.kind == "file":
                    place = fresh / path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(self._caller.blobs.get(entry.digest))
            fresh.rename(folder)
        return folder

    def _live(self, over: threading.Event) -> None:
        """Say for each attempt that its worker is alive, in a thread of its own."""
        while not over.wait(self._beat_seconds):
            for attempt, offer in list(self._claimed.items()):
                try:
                    self._caller.call(ops.beat_attempt, {"offer": offer.id, "epoch": offer.epoch})
                except Conflict:  # somebody else has it, or nobody needs it any more
                    self._taken.append(attempt)
                except StellwerkError:  # the workspace is away for a moment: it is said again
                    break

    def _end(self, ended: Ended) -> int:
        offer = self._claimed[ended.attempt]
        try:
            return self._told(offer, ended)
        finally:
            del self._claimed[ended.attempt]

    def _told(self, offer: Offer, ended: Ended) -> int:
        outcome = self._caller.blobs.put(forms.told(ended.outcome, self._caller.blobs.put))
        try:
            self._caller.call(ops.end_attempt, {"offer": offer.id, "epoch": offer.epoch, "outcome": outcome})
        except Conflict:
            self._said(offer, "lost")
            return 0
        self._said(offer, "failed" if isinstance(ended.outcome, Failure) else "done")
        return 1
