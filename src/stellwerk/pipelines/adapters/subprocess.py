"""The executor that runs each attempt in a child process with limits of time and memory. The child is in `child`.

The limits keep honest steps in bounds; they are no wall against hostile code, which runs as the same user.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from stellwerk.core import canonical
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Invalid, Refused, Unavailable
from stellwerk.pipelines.adapters import invocation
from stellwerk.pipelines.model import BUILTIN, Attempt, Encoded, Failure, Outcome

MAX_ANSWER = 1 << 22
GRACE_SECONDS = 2.0
_COMMAND = ("-P", "-m", "stellwerk.pipelines.adapters.child")


class Subprocess:
    """Runs steps in child processes.

    Args:
        codecs: `module:name` of further codecs, asked before the standard ones.
        grace: Seconds between asking a child that is over its time to end, and killing it.
    """

    def __init__(self, *, codecs: tuple[str, ...] = (), grace: float = GRACE_SECONDS) -> None:
        self._codecs = codecs
        self._grace = grace

    def run(self, attempt: Attempt) -> Outcome | Failure:
        if attempt.function.startswith(BUILTIN):
            raise Refused(f"built-in step {attempt.node!r} only runs in process", code="limits-not-kept")
        if attempt.function.startswith("__main__:"):
            return Failure(
                code="step-not-importable",
                message=f"step {attempt.node!r} is defined in a session without a file",
                hint="move it to a file, or declare neither timeout nor memory",
            )
        with tempfile.TemporaryDirectory(prefix="stellwerk-step-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            started = monotonic()
            child = _Child(self._request(attempt, folder), self._grace)
            in_time = child.wait(attempt.timeout)
            seconds = monotonic() - started
            judged = _judge(child, attempt, folder) if in_time else _timed_out(attempt)
            return replace(judged, log=child.log, seconds=seconds)

    def _request(self, attempt: Attempt, folder: Path) -> bytes:
        inputs: dict[str, list[tuple[str, str]]] = {}
        count = 0
        for argument, values in attempt.inputs.items():
            for value in values:
                (folder / f"in-{count}").write_bytes(value.data)
                inputs.setdefault(argument, []).append((value.media, f"in-{count}"))
                count += 1
        return canonical.dumps(
            {
                "node": attempt.node,
                "function": attempt.function,
                "file": attempt.file,
                "code": [attempt.code.digest, attempt.code.parts] if attempt.code else None,
                "inputs": inputs,
                "listed": sorted(attempt.listed),
                "params": attempt.params,
                "seed": attempt.seed,
                "outputs": attempt.outputs,
                "memory": attempt.memory,
                "codecs": self._codecs,
                "folder": str(folder),
                "path": [entry for entry in sys.path if isinstance(entry, str)],
                "parent": os.getpid(),
            }
        )


class _Child:
    """A running child and everything it started; read to the end by threads of their own."""

    def __init__(self, request: bytes, grace: float) -> None:
        self._grace = grace
        try:
            self._process = subprocess.Popen(
                [sys.executable, *_COMMAND],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as cause:
            raise Unavailable(f"no process can be started: {cause.strerror}", code="no-process") from cause
        self._answer, self._log, self._dropped = bytearray(), bytearray(), False
        self._exited = threading.Event()
        self._threads = [_thread(self._read_answer), _thread(self._read_log), _thread(self._watch)]
        _thread(lambda: _send(self._process.stdin, request))

    @property
    def answer(self) -> bytes:
        return bytes(self._answer)

    @property
    def log(self) -> str:
        return invocation.clip(bytes(self._log), self._dropped)

    @property
    def status(self) -> int:
        return self._process.returncode

    def wait(self, timeout: float | None) -> bool:
        """Wait for the end, and leave nothing running, whatever happens. False if the time was over before."""
        try:
            return self._exited.wait(timeout)
        finally:
            if not self._exited.is_set():
                self._signal(signal.SIGTERM)
                self._exited.wait(self._grace)
            self._signal(signal.SIGKILL)
            self._exited.wait()
            self._process.wait()
            for thread in self._threads:
                thread.join(self._grace)  # a process that left the group may keep the pipe open

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):  # nobody is left
            pass

    def _watch(self) -> None:
        # The dead child is not reaped here, so that its number stays its own until the group is killed.
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()
        self._exited.set()

    def _read_answer(self) -> None:
        for chunk in _chunks(self._process.stdout):
            if len(self._answer) <= MAX_ANSWER:
                self._answer += chunk

    def _read_log(self) -> None:
        for chunk in _chunks(self._process.stderr):
            self._log += chunk
            if len(self._log) > 2 * invocation.MAX_LOG:
                del self._log[: -invocation.MAX_LOG]
                self._dropped = True


def _thread(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def _chunks(pipe: IO[bytes] | None) -> Any:
    if pipe is None:
        return
    with pipe:
        while chunk := os.read(pipe.fileno(), 1 << 16):
            yield chunk


def _send(pipe: IO[bytes] | None, data: bytes) -> None:
    if pipe is None:
        return
    try:
        with pipe:
            pipe.write(data)
    except BrokenPipeError:  # the child is dead, which its status says better
        pass


def _environment() -> dict[str, str]:
    """This process's environment, in which the child finds Stellwerk also where it is not installed."""
    environment = dict(os.environ)
    home = Path(__file__).resolve().parents[3]
    if not {"site-packages", "dist-packages"} & set(home.parts):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), environment.get("PYTHONPATH", "")]))
    return environment


def _timed_out(attempt: Attempt) -> Failure:
    return Failure(
        code="step-timeout",
        message=f"step {attempt.node!r} took longer than its limit of {attempt.timeout:g} seconds and was stopped",
        hint="raise its timeout",
    )


def _judge(child: _Child, attempt: Attempt, folder: Path) -> Outcome | Failure:
    """What the end of a child means."""
    if child.status == 0 and child.answer:
        try:
            return _read(canonical.loads(child.answer), folder)
        except (Invalid, OSError, KeyError, TypeError, ValueError):
            return Failure(
                code="step-failed", message=f"step {attempt.node!r} disturbed the answer of its own process"
            )
    # Native code that gets no memory ends its process, after saying so.
    if attempt.memory is not None and child.status < 0 and invocation.out_of_memory(child.log):
        return invocation.memory_failure(attempt)
    if child.status < 0:
        name = signal.Signals(-child.status).name
        hint = "the system may have run out of memory" if name == "SIGKILL" else "native code of a library crashed"
        return Failure(
            code="step-killed", message=f"the process of step {attempt.node!r} was killed by {name}", hint=hint
        )
    return Failure(
        code="step-failed",
        message=f"the process of step {attempt.node!r} ended with status {child.status} before the step returned",
    )


def _read(answer: Mapping[str, Any], folder: Path) -> Outcome | Failure:
    if "failure" in answer:
        return Failure(**answer["failure"])
    outputs = {
        name: Encoded(media=media, data=(folder / Path(file).name).read_bytes())
        for name, (media, file) in answer["outputs"].items()
    }
    return Outcome(outputs=outputs)
