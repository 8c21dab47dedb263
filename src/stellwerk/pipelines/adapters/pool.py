"""The executor that forks a child for each attempt from a warm server. The server is in `fork_server`.

It is started once and loads each pipeline file once; where forking is not to be had or not safe, a fresh Python is
started instead, as `subprocess` does.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines.adapters.processes import GRACE_SECONDS, Job, Process
from stellwerk.pipelines.adapters.subprocess import Subprocess, environment
from stellwerk.pipelines.adapters.turns import here
from stellwerk.pipelines.model import Attempt, Environment, Resources
from stellwerk.pipelines.stock import Stock

MAX_TEMPLATES = 8
_COMMAND = ("-P", "-m", "stellwerk.pipelines.adapters.fork_server")
_MAX_MESSAGE = 1 << 16
_CLOSING_SECONDS = 5.0
_PAUSE_SECONDS = 0.002


class Pool(Subprocess):
    """Runs steps in children of a warm fork server.

    Args:
        workers: How many attempts run at the same time; by default as many as there are CPUs for this process.
        codecs: `module:name` of further codecs, asked before the standard ones.
        grace: Seconds between asking a child that is over its time to end, and killing it.
        interpreter: Gives the interpreter of an environment that a step declares; without it, such steps are refused.
        stock: What was declared of this machine.
        walls: `module:function` that a child calls with its attempt and folder before it loads the step's file, to
            give up what steps must not have. Files are then loaded by each child, never kept warm.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        codecs: tuple[str, ...] = (),
        grace: float = GRACE_SECONDS,
        capacity: Resources | None = None,
        interpreter: Callable[[Environment], Path] | None = None,
        stock: Stock | None = None,
        walls: str = "",
    ) -> None:
        super().__init__(
            codecs=codecs, grace=grace, capacity=capacity or here(workers, stock), interpreter=interpreter
        )
        self.walls = walls
        self._server: _Server | None = None

    @property
    def server(self) -> int | None:
        """The number of the server's process, once it was started."""
        return self._server.pid if self._server is not None else None

    def start(self, attempt: Attempt) -> None:
        if self.walls and (attempt.resources.gpus or attempt.environment is not None or not forks()):
            raise Refused(
                f"step {attempt.node!r} needs a Python of its own, around which there are no walls",
                code="limits-not-kept",
                hint="run it without the sandbox, or without GPU and environment of its own",
            )
        super().start(attempt)

    def _start(self, job: Job, log: int) -> Process:
        # What a GPU's driver keeps in a process does not survive a fork; another interpreter is never forked from here.
        if not forks() or job.attempt.resources.gpus or job.attempt.environment is not None:
            return super()._start(job, log)
        if self._server is None or self._server.gone:
            self._server = _Server(self)
        return self._server.start(job, log)

    def _give_up(self) -> None:
        if self._server is not None:
            self._server.close()
        super()._give_up()


def forks() -> bool:
    """Whether this system has what the fork server needs: forking, and processes that can be watched."""
    if not sys.platform.startswith("linux") or not Path("/proc/self/task").is_dir():
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


Key = tuple[object, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class _Forked:
    """An attempt that is to be forked, or was. Its end of the log is kept until then, to be sent again."""

    job: Job
    log: int
    key: Key
    server: _Server
    line: _Line | None = None
    over: bool = False

    def signal(self, number: int) -> None:
        if self.line is not None:
            self.line.send({"do": "signal", "id": self.job.attempt.id, "number": int(number)})
        elif not self.over:
            self.server.withdraw(self)

    def end(self) -> bool:
        """It needs nothing more. False if that was so before."""
        if not self.over:
            os.close(self.log)
            self.over, self.line = True, None
            return True
        return False


class _Line:
    """One end of a socket to a server or template, and the attempts that were sent over it."""

    def __init__(self, executor: Pool, end: socket.socket, heard: Callable[[Mapping[str, Any]], None]) -> None:
        self.running: dict[str, _Forked] = {}
        self._executor, self._end, self._heard = executor, end, heard
        self.gone: Callable[[], None] = self.close
        self._open = True
        self._unsent: deque[tuple[bytes, tuple[int, ...]]] = deque()
        end.setblocking(False)
        executor._pump().read(end.fileno(), self._read)

    def send(self, message: Mapping[str, Any], *descriptors: int) -> None:
        if not self._open:
            return
        data = canonical.dumps(dict(message))
        if len(data) > _MAX_MESSAGE:
            raise Invalid(
                "environment and search path of this process are too long for its pool", code="message-too-long"
            )
        if self._unsent or not self._sent(data, descriptors):
            if not self._unsent:
                self._executor._pump().after(_PAUSE_SECONDS, self._send_rest)
            self._unsent.append((data, tuple(map(os.dup, descriptors))))

    def _sent(self, data: bytes, descriptors: tuple[int, ...]) -> bool:
        """Send a message, unless so many are under way that the other end has to read some first."""
        try:
            socket.send_fds(self._end, [data], descriptors)
        except OSError as cause:
            if cause.errno in (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS):
                return False
            if not isinstance(cause, (BrokenPipeError, ConnectionResetError)):  # which reading will tell
                raise
        return True

    def _send_rest(self) -> None:
        while self._open and self._unsent and self._sent(*self._unsent[0]):
            for descriptor in self._unsent.popleft()[1]:
                os.close(descriptor)
        if self._unsent:
            self._executor._pump().after(_PAUSE_SECONDS, self._send_rest)

    def attempt(self, forked: _Forked, **facts: Any) -> None:
        """Have a child forked."""
        attempt = forked.job.attempt
        forked.line = self
        self.running[attempt.id] = forked
        self.send(
            {
                "do": "attempt",
                "id": attempt.id,
                "folder": str(forked.job.folder),
                "function": attempt.function,
                "file": attempt.file,
                **facts,
            },
            forked.log,
        )

    def close(self) -> None:
        if self._open:
            self._open = False
            self._executor._pump().forget(self._end.fileno())
            self._end.close()
            for _, descriptors in self._unsent:
                for descriptor in descriptors:
                    os.close(descriptor)
            self._unsent.clear()

    def _read(self) -> None:
        while self._open:
            try:
                data = self._end.recv(_MAX_MESSAGE)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self.gone()
                return
            self._heard(canonical.loads(data))


@dataclass(slots=True, kw_only=True, eq=False)
class _Template:
    """A process that has loaded a file, or tries to."""

    id: str
    line: _Line
    waiting: list[_Forked] = field(default_factory=list)
    loaded: bool = False
    unfit: bool = False
    stale: bool = False


class _Server:
    """The fork server as the executor sees it; everything happens in the thread of the pump."""

    def __init__(self, executor: Pool) -> None:
        self.gone = False
        self._executor = executor
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._environment = environment()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *_COMMAND, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._line = _Line(executor, ours, lambda message: self._heard(self._line, message))
        self._line.gone = self._lost
        self._templates: dict[Key, _Template] = {}
        self._count = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, job: Job, log: int) -> _Forked:
        attempt = job.attempt
        module = attempt.function.partition(":")[0]
        now = tuple(sorted(environment().items()))
        key = (attempt.file, module, tuple(sys.path), str(Path.cwd()), now)
        forked = _Forked(job=job, log=os.dup(log), key=key, server=self)
        try:
            self._submit(forked)
        except BaseException:
            forked.end()
            raise
        return forked

    def withdraw(self, forked: _Forked) -> None:
        """End an attempt whose file is still being loaded; a template that nobody waits for is not needed."""
        template = self._templates.get(forked.key)
        if template is not None and forked in template.waiting:
            template.waiting.remove(forked)
            if not template.waiting:
                self._line.send({"do": "signal", "id": template.id, "number": int(signal.SIGKILL)})
                self._drop(template)
        if forked.end():
            self._executor.ended(forked.job, 0)

    def close(self) -> None:
        """Hang up, which ends the server and all its templates."""
        for template in list(self._templates.values()):
            self._drop(template)
        self._line.close()
        self.gone = True
        try:
            self._process.wait(_CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _submit(self, forked: _Forked) -> None:
        if self._executor.walls:
            return self._unloaded(forked)
        template = self._templates.pop(forked.key, None) or self._load(forked)
        self._templates[forked.key] = template  # the one used last comes last
        if template.unfit:
            self._unloaded(forked)
        elif template.loaded:
            template.line.attempt(forked)
        else:
            template.waiting.append(forked)
        return self._forget_old()

    def _unloaded(self, forked: _Forked) -> None:
        """Have a child forked that loads the file itself."""
        environ = self._other_environment(forked.key)
        self._line.attempt(forked, cwd=forked.key[3], environ=environ, walls=self._executor.walls)

    def _load(self, forked: _Forked) -> _Template:
        attempt = forked.job.attempt
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._count += 1
        line = _Line(self._executor, ours, lambda message: self._heard(line, message, template))
        template = _Template(id=f"template-{self._count}", line=line)
        line.gone = lambda: self._without(template)
        with theirs:
            self._line.send(
                {
                    "do": "template",
                    "id": template.id,
                    "function": attempt.function,
                    "file": attempt.file,
                    "codecs": self._executor._codecs,
                    "path": [entry for entry in sys.path if isinstance(entry, str)],
                    "cwd": str(Path.cwd()),
                    "environ": self._other_environment(forked.key),
                },
                theirs.fileno(),
            )
        return template

    def _other_environment(self, key: Key) -> dict[str, str] | None:
        """The environment of a key, if it is not the one that the server was started with."""
        wanted: dict[str, str] = dict(key[4])  # type: ignore[call-overload]  # made in `start`
        return None if wanted == self._environment else wanted

    def _heard(self, line: _Line, message: Mapping[str, Any], template: _Template | None = None) -> None:
        match message["about"]:
            case "loaded" if template is not None:
                template.loaded, template.unfit = True, bool(message["why"])
                self._resubmit(template)
            case "stale" if template is not None:
                forked = line.running.pop(message["id"])
                self._drop(template)
                forked.line = None
                self._submit(forked)
            case "ended":
                forked = line.running.pop(message["id"])
                if template is not None and template.stale and not line.running:
                    line.close()
                if forked.end():
                    self._executor.ended(forked.job, message["status"], tuple(message["used"]))

    def _resubmit(self, template: _Template) -> None:
        waiting, template.waiting = template.waiting, []
        for forked in waiting:
            self._submit(forked)

    def _drop(self, template: _Template) -> None:
        """Use a template no more; it ends when its last child has."""
        template.stale = True
        self._templates = {key: other for key, other in self._templates.items() if other is not template}
        if not template.line.running:
            template.line.close()

    def _forget_old(self) -> None:
        for template in list(self._templates.values())[:-MAX_TEMPLATES]:
            if not template.waiting:
                self._drop(template)

    def _without(self, template: _Template) -> None:
        """A template is gone: it was unfit, its file ended it while being loaded, or somebody killed it."""
        template.line.close()
        self._lose(template.line, "the process")
        if not template.loaded and not template.stale:
            template.loaded = template.unfit = True
            self._resubmit(template)
        elif not template.unfit:
            self._drop(template)

    def _lost(self) -> None:
        self.gone = True
        self._line.close()
        self._process.wait()
        for template in list(self._templates.values()):
            for forked in template.waiting:
                template.line.running[forked.job.attempt.id] = forked
            self._drop(template)
            self._lose(template.line, "the fork server")
            template.line.close()
        self._lose(self._line, "the fork server")

    def _lose(self, line: _Line, what: str) -> None:
        running, line.running = list(line.running.values()), {}
        for forked in running:
            if forked.end():
                self._executor.lost(forked.job, what)
