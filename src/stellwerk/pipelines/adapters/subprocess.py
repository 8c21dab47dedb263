"""The executor that starts a fresh Python for each attempt, with limits of time and memory. The child is in `child`.

The limits keep honest steps in bounds; they are no wall against hostile code, which runs as the same user.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from stellwerk.core.clock import monotonic
from stellwerk.pipelines.adapters import bridge, endings
from stellwerk.pipelines.adapters.processes import GRACE_SECONDS, Job, Process, Processes
from stellwerk.pipelines.adapters.turns import here
from stellwerk.pipelines.model import Environment, Resources

_GONE_SECONDS = 2.0
_COMMAND = ("-P", "-m", "stellwerk.pipelines.adapters.child")


class Subprocess(Processes):
    """Runs steps in child processes.

    Args:
        codecs: `module:name` of further codecs, asked before the standard ones.
        grace: Seconds between asking a child that is over its time to end, and killing it.
        capacity: What attempts share; by default the CPUs that this process may use.
        interpreter: Gives the interpreter of an environment that a step declares; without it, such steps are refused.
    """

    def __init__(
        self,
        *,
        codecs: tuple[str, ...] = (),
        grace: float = GRACE_SECONDS,
        capacity: Resources | None = None,
        interpreter: Callable[[Environment], Path] | None = None,
    ) -> None:
        super().__init__(capacity=capacity or here(), codecs=codecs, grace=grace)
        self._interpreter = interpreter
        self.keeps_environments = interpreter is not None

    def _start(self, job: Job, log: int) -> Process:
        own = job.attempt.environment
        python = self._interpreter(own) if own is not None and self._interpreter is not None else sys.executable
        return Child(
            [str(python), *_COMMAND, str(job.folder)],
            log=log,
            environment=environment() if own is None else bridge.environment(fresh=True),
            ended=lambda status, spent: self._pump().call(lambda: self.ended(job, status, spent)),
        )


class Child:
    """A fresh process and its group; a thread of its own waits for it.

    Args:
        ended: Is called, in that thread, when nothing of the group is left.
    """

    def __init__(
        self,
        command: list[str],
        *,
        log: int,
        environment: Mapping[str, str],
        ended: Callable[[int, endings.Used], None],
    ) -> None:
        self._ended = ended
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
        self._there = True
        threading.Thread(target=self._watch, daemon=True).start()

    def signal(self, number: int) -> None:
        with self._lock:
            if self._there:
                try:
                    os.killpg(self._process.pid, number)
                except (ProcessLookupError, PermissionError):  # nobody is left
                    pass

    def _watch(self) -> None:
        # The dead child is not reaped at once, so that its number stays its own until the group is killed.
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self.signal(signal.SIGKILL)
        with self._lock:
            _, status, usage = os.wait4(self._process.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._there = False
        _await_group(self._process.pid)
        self._ended(self._process.returncode, endings.used(usage))


def _await_group(group: int) -> None:
    """Wait until the rest of a killed group is gone, which the system does in its own time."""
    until, turn = monotonic() + _GONE_SECONDS, threading.Event()
    while monotonic() < until:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        turn.wait(0.002)


def environment() -> dict[str, str]:
    """This process's environment, in which a child finds Stellwerk also where it is not installed."""
    found = dict(os.environ)
    home = Path(__file__).resolve().parents[3]
    if not {"site-packages", "dist-packages"} & set(home.parts):
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), found.get("PYTHONPATH", "")]))
    return found
