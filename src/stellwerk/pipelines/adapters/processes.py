"""What executors that give each attempt a process of its own have in common: turns, limits of time, prints, endings.

How a process is started, and signalled, is left to those who start it.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Refused, Unavailable
from stellwerk.pipelines.adapters import endings, exchange, invocation
from stellwerk.pipelines.adapters.pump import Pump
from stellwerk.pipelines.adapters.turns import Turns
from stellwerk.pipelines.model import BUILTIN, Attempt, Ended, Failure, Outcome, Resources

GRACE_SECONDS = 2.0
_CLOSING_SECONDS = 10.0


class Process(Protocol):
    """A process that was started for an attempt, with everything that it starts."""

    def signal(self, number: int) -> None:
        """Send a signal to all of it. Nothing happens if it is gone."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """An attempt that has its turn."""

    attempt: Attempt
    folder: Path
    log: int
    started: float
    process: Process | None = None
    printed: bytearray = field(default_factory=bytearray)
    dropped: bool = False
    verdict: Failure | None = None
    over: bool = False

    def read(self) -> bool:
        """Take in what was printed. False at the end."""
        try:
            chunk = os.read(self.log, 1 << 16)
        except BlockingIOError:  # somebody else has read it
            return True
        self.printed += chunk
        if len(self.printed) > 2 * invocation.MAX_LOG:
            del self.printed[: -invocation.MAX_LOG]
            self.dropped = True
        return bool(chunk)


class Processes(ABC):
    """Runs attempts in processes of their own, as many at a time as the capacity allows."""

    keeps_environments = False
    """Whether a step may declare an environment of its own."""

    def __init__(self, *, capacity: Resources, codecs: tuple[str, ...], grace: float) -> None:
        self._capacity = capacity
        self._codecs = codecs
        self._grace = grace
        self._turns = Turns(capacity)
        self._jobs: dict[str, Job] = {}
        self._ended: queue.SimpleQueue[Ended | BaseException] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._open = 0
        self._closed = False
        self._pumping: Pump | None = None

    # What the engine calls, from its own threads

    def capacity(self) -> Resources:
        return self._capacity

    def start(self, attempt: Attempt) -> None:
        if attempt.function.startswith(BUILTIN):
            raise Refused(f"built-in step {attempt.node!r} only runs in process", code="limits-not-kept")
        if attempt.environment is not None and not self.keeps_environments:
            raise _without_environments(attempt)
        self._turns.check(attempt)
        with self._lock:
            if self._closed:
                raise Unavailable("the executor was closed", code="executor-closed")
            self._open += 1
        if attempt.function.startswith("__main__:"):
            return self._tell(attempt, endings.without_file(attempt))
        return self._pump().call(lambda: self._admit(attempt))

    def wait(self, timeout: float | None) -> Ended | None:
        with self._lock:
            if not self._open:
                return None
        try:
            ended = self._ended.get(timeout=timeout)
        except queue.Empty:
            return None
        with self._lock:
            self._open -= 1
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def stop(self, attempt: str) -> None:
        self._pump().call(lambda: self._cancel(attempt))

    def close(self) -> None:
        with self._lock:
            closed, self._closed, self._open = self._closed, True, 0
        if self._pumping is not None and not closed:
            over = threading.Event()
            self._pumping.call(lambda: self._close(over))
            over.wait(_CLOSING_SECONDS)
            self._pumping.stop(_CLOSING_SECONDS)

    def _pump(self) -> Pump:
        with self._lock:
            if self._pumping is None:
                self._pumping = Pump(self._ended.put)
            return self._pumping

    def _tell(self, attempt: Attempt, outcome: Outcome | Failure) -> None:
        self._ended.put(Ended(attempt=attempt.id, outcome=outcome))

    # What starts processes calls, in the thread of the pump

    def ended(self, job: Job, status: int, used: endings.Used = (0.0, 0)) -> None:
        """Everything that the attempt started is gone; negative numbers are signals."""

        def judge(log: str) -> Outcome | Failure:
            judged = endings.judge(job.attempt, status, log, lambda: exchange.answered(job.folder))
            return (
                replace(judged, cpu_seconds=used[0], peak_memory=used[1]) if isinstance(judged, Outcome) else judged
            )

        self._finish(job, judge)

    def lost(self, job: Job, what: str) -> None:
        """What ran the attempt is gone before it could tell how it ended."""
        self._finish(job, lambda _: endings.lost(job.attempt, what))

    # What happens in the thread of the pump

    @abstractmethod
    def _start(self, job: Job, log: int) -> Process:
        """Start a process for an attempt, which prints to `log`; its end is told by `ended` or `lost`."""

    def _give_up(self) -> None:  # noqa: B027 - who holds nothing else gives up nothing
        """No process is left; give up everything else."""

    def _admit(self, attempt: Attempt) -> None:
        self._turns.add(attempt)
        self._next()

    def _next(self) -> None:
        while (attempt := self._turns.next()) is not None:
            try:
                self._begin(attempt)
            except BaseException as error:  # noqa: BLE001  # raised where somebody waits; others have their turn
                self._ended.put(error)

    def _begin(self, attempt: Attempt) -> None:
        folder = Path(tempfile.mkdtemp(prefix="stellwerk-step-"))
        log, writing = os.pipe()
        os.set_blocking(log, False)
        job = Job(attempt=attempt, folder=folder, log=log, started=monotonic())
        self._jobs[attempt.id] = job
        try:
            exchange.send(attempt, folder, codecs=self._codecs, parent=os.getpid())
            self._pump().read(log, lambda: self._listen(job))
            if attempt.timeout is not None:
                self._pump().after(attempt.timeout, lambda: self._end(job, endings.timed_out(attempt)))
            job.process = self._start(job, writing)
        except OSError as cause:
            self._forget(job)
            raise Unavailable(f"no process can be started: {cause.strerror}", code="no-process") from cause
        except BaseException:
            self._forget(job)
            raise
        finally:
            os.close(writing)

    def _listen(self, job: Job) -> None:
        if not job.read():
            self._pump().forget(job.log)

    def _cancel(self, attempt: str) -> None:
        waiting = self._turns.drop(attempt)
        if waiting is not None:
            self._tell(waiting, endings.cancelled(waiting))
            self._next()
        elif attempt in self._jobs:
            job = self._jobs[attempt]
            self._end(job, endings.cancelled(job.attempt))

    def _end(self, job: Job, verdict: Failure) -> None:
        """Ask the process to end, and kill it when it does not."""
        if job.over or job.verdict is not None or job.process is None:
            return
        job.verdict = verdict
        job.process.signal(signal.SIGTERM)
        self._pump().after(self._grace, lambda: self._kill(job))

    def _kill(self, job: Job) -> None:
        if not job.over and job.process is not None:
            job.process.signal(signal.SIGKILL)

    def _finish(self, job: Job, judge: Callable[[str], Outcome | Failure]) -> None:
        if job.over:
            return
        try:
            while job.read():  # what is still in the pipe
                pass
        except BlockingIOError:  # a process that got away may keep it open
            pass
        log = invocation.clip(bytes(job.printed), job.dropped)
        outcome = job.verdict or judge(log)
        self._forget(job)
        self._tell(job.attempt, replace(outcome, log=log, seconds=monotonic() - job.started))
        if not self._closed:
            self._next()

    def _forget(self, job: Job) -> None:
        job.over = True
        self._pump().forget(job.log)
        os.close(job.log)
        self._jobs.pop(job.attempt.id, None)
        self._turns.free(job.attempt.id)
        shutil.rmtree(job.folder, ignore_errors=True)

    def _close(self, over: threading.Event) -> None:
        self._turns.clear()
        for job in list(self._jobs.values()):
            self._kill(job)
        self._closing(over)

    def _closing(self, over: threading.Event) -> None:
        if self._jobs:
            self._pump().after(0.005, lambda: self._closing(over))
            return
        self._give_up()
        over.set()


def _without_environments(attempt: Attempt) -> Refused:
    return Refused(
        f"step {attempt.node!r} declares an environment of its own, which this executor cannot give it",
        code="limits-not-kept",
        hint="use the subprocess executor",
    )
