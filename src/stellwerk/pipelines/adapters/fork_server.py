"""The fork server of `pool.Pool`: a small process with one thread that forks a child for each attempt.

Start it with `python -P -m stellwerk.pipelines.adapters.fork_server FD PARENT`. It runs no code of users itself: for
each pipeline file it forks a *template*, which loads the file and then forks the children. A template in which
forking would not be safe (threads, open files or connections, processes of its own) says so and ends.

Messages are JSON in datagrams over a socket; values and answers pass through the folders described in `exchange`.
Nothing outlives the process at the other end of the socket.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import selectors
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from stellwerk.core import canonical
from stellwerk.pipelines import loading, source
from stellwerk.pipelines.adapters import endings, exchange, invocation
from stellwerk.pipelines.adapters.child import die_with, end, perform, prepare
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.model import Closure
from stellwerk.pipelines.values import codec_from

MAX_MESSAGE = 1 << 17
_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE_SECONDS = 1.0
_THREADS_OF_OPENBLAS = (
    "scipy_openblas_get_num_threads64_",
    "scipy_openblas_get_num_threads",
    "openblas_get_num_threads64_",
    "openblas_get_num_threads",
)


_HARMLESS_THREADS = {
    "jemalloc_bg_thd",  # jemalloc holds its locks over a fork, and starts these anew
    "polars-ooc-clea",  # waits for spilled files to remove; holds nothing while it waits
}
"""What the threads of libraries are called that a forked process does not miss."""


class _Over(BaseException):
    """The process at the other end is gone."""


@dataclass(slots=True, kw_only=True)
class _Forked:
    """A child: an attempt with its folder, or a template without one."""

    id: str
    pid: int
    watched: int
    folder: Path | None = None


@dataclass(slots=True, kw_only=True)
class _Loaded:
    """What a template has loaded: modules that may be edited, prints, a handler, and the closures of functions."""

    printed: bytes
    modules: tuple[Any, ...]
    handler: Any
    closures: dict[str, Closure] = field(default_factory=dict)

    def edited(self) -> bool:
        """Whether the text of a loaded module is no longer what was loaded."""
        return any(source.edited(module) for module in self.modules)

    def closure(self, function: str, file: str) -> Closure | None:
        """The closure of a function; None where the child has to find out itself, and to tell why it cannot."""
        if function not in self.closures:
            with contextlib.suppress(Exception):
                self.closures[function] = closure(loading.resolve(function, file))
        return self.closures.get(function)


def main() -> None:
    """Serve until the parent hangs up, or dies."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGTERM, _told)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # nothing is lost when a child is killed
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    die_with(int(sys.argv[2]), signal.SIGTERM)
    gc.freeze()
    _Server(control).serve()


def _told(*_: object) -> None:
    raise _Over


class _Server:
    """Forks on request, watches what it forked, and tells how it ended."""

    def __init__(self, control: socket.socket, loaded: _Loaded | None = None) -> None:
        self._control = control
        self._loaded = loaded
        self._forked: dict[str, _Forked] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> NoReturn:
        """Go on until the other end is gone; then end all that was forked, and this process."""
        try:
            while True:
                for key, _ in self._selector.select():
                    self._take() if key.data is None else self._ended(key.data)
        except (_Over, OSError):
            pass
        except KeyboardInterrupt:
            pass
        finally:
            self._close()
            os._exit(0)

    def _take(self) -> None:
        data, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 2)
        if not data:
            raise _Over
        message = canonical.loads(data)
        try:
            match message["do"]:
                case "attempt":
                    self._attempt(message, descriptors[0])
                case "template":
                    self._template(message, descriptors[0])
                case "signal":
                    self._signal(message)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _tell(self, **facts: Any) -> None:
        self._control.send(canonical.dumps(facts))

    # What is forked

    def _attempt(self, message: Mapping[str, Any], log: int) -> None:
        known = None
        if self._loaded is not None:
            if self._loaded.edited():
                return self._tell(about="stale", id=message["id"])
            known = self._loaded.closure(message["function"], message["file"])
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._child(message, log, parent, known)
        return self._watch(message["id"], pid, Path(message["folder"]))

    def _template(self, message: Mapping[str, Any], control: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(message, control, parent)
        self._watch(message["id"], pid, None)

    def _watch(self, name: str, pid: int, folder: Path | None) -> None:
        forked = _Forked(id=name, pid=pid, watched=os.pidfd_open(pid), folder=folder)
        self._forked[name] = forked
        self._selector.register(forked.watched, selectors.EVENT_READ, forked)

    def _signal(self, message: Mapping[str, Any]) -> None:
        forked = self._forked.get(message["id"])
        if forked is not None:
            _send_signal(forked, message["number"])

    def _ended(self, forked: _Forked) -> None:
        # It is not reaped before its group is killed, so that its number stays its own.
        os.waitid(os.P_PID, forked.pid, os.WEXITED | os.WNOWAIT)
        _send_signal(forked, signal.SIGKILL)
        _, ended, usage = os.wait4(forked.pid, 0)
        _reap_group(forked.pid)
        self._selector.unregister(forked.watched)
        os.close(forked.watched)
        del self._forked[forked.id]
        if not any(other.folder for other in self._forked.values()):
            self._end_strays()
        if forked.folder is not None:
            status = os.waitstatus_to_exitcode(ended)
            self._tell(about="ended", id=forked.id, status=status, used=endings.used(usage))

    def _end_strays(self) -> None:
        """End what left its group: processes whose own parents are gone come back to this one."""
        spared = {forked.pid for forked in self._forked.values()}
        while strays := _children() - spared:
            for stray in strays:
                flags = 0
                try:
                    os.kill(stray, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                except (
                    PermissionError
                ):  # it runs as somebody else: it ends when it likes, and is reaped at a later call
                    spared.add(stray)
                    flags = os.WNOHANG
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(stray, flags)

    def _close(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for forked in self._forked.values():
            if forked.folder is not None:
                _send_signal(forked, signal.SIGKILL)
            else:  # a template ends by itself, with its children; one that still loads does not listen
                _wait_for(forked.watched, _PATIENCE_SECONDS)
                _send_signal(forked, signal.SIGKILL)
            os.waitpid(forked.pid, 0)
            _reap_group(forked.pid)
            if forked.folder is not None:  # whose owner is gone
                shutil.rmtree(forked.folder, ignore_errors=True)
        self._forked.clear()
        self._end_strays()

    # In what was forked

    def _child(self, message: Mapping[str, Any], log: int, parent: int, known: Closure | None) -> NoReturn:
        """Run an attempt, and never return into what was forked."""
        try:
            _alone(parent, log, self._loaded.handler if self._loaded else signal.SIG_DFL)
            folder = Path(message["folder"])
            request = exchange.receive(folder)
            if self._loaded is None:
                _move(message, request.path)
            elif self._loaded.printed:
                os.write(1, self._loaded.printed)
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed()  # as a fresh process would; `random` does so itself
            if message.get("walls"):
                prepare(request.attempt, folder)
                _function(message["walls"])(request.attempt, folder)
            end(perform(request, folder, known), folder)
        except BaseException as error:  # noqa: BLE001  # the parent reads the status, and the reason in the log
            with contextlib.suppress(Exception):
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(1)

    def _become(self, message: Mapping[str, Any], control: int, parent: int) -> NoReturn:
        """Load a file, tell whether children can be forked from here, and do so."""
        try:
            line = socket.socket(fileno=os.dup(control))
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            die_with(parent, signal.SIGTERM)
            _close_all(line.fileno())
            with _printing() as printed:
                _move(message, tuple(message["path"]))
                before = _descriptors()
                why = _load(message)
                why = why or _unfit(before)
            line.send(canonical.dumps({"about": "loaded", "why": why}))
            if not why:
                own = [module for module in list(sys.modules.values()) if _edits(module)]
                handler = signal.signal(signal.SIGTERM, _told)
                gc.collect()
                gc.freeze()
                _Server(line, _Loaded(printed=printed(), modules=tuple(own), handler=handler)).serve()
        except BaseException:  # noqa: BLE001, S110  # the other end sees that it is gone
            pass
        finally:
            os._exit(1)


def _alone(parent: int, log: int, handler: Any) -> None:
    """Be a process of its own: its group, its end with its parent, its prints, and nothing of the server's."""
    os.setsid()
    die_with(parent)
    signal.signal(signal.SIGTERM, handler)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _close_all()


def _close_all(keep: int = -1) -> None:
    """Close what was inherited. The objects that had it are never collected: nothing returns to where they are."""
    for name in _descriptors():
        if int(name) > 2 and int(name) != keep:
            with contextlib.suppress(OSError):  # that of the listing itself
                os.close(int(name))


def _move(message: Mapping[str, Any], path: tuple[str, ...]) -> None:
    """Go where the process that asks is: folder, environment, search path."""
    os.chdir(message["cwd"])
    if message["environ"] is not None:
        os.environ.clear()
        os.environ.update(message["environ"])
    sys.path[:] = path
    loading.enter_child()


@contextlib.contextmanager
def _printing() -> Iterator[Any]:
    """Catch what is printed while a file is loaded: every child says it again, as if it had loaded the file."""
    kept = os.memfd_create("prints")
    os.dup2(kept, 1)
    os.dup2(kept, 2)
    os.close(kept)
    said = [b""]
    yield lambda: said[0]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    size = os.lseek(1, 0, os.SEEK_END)
    said[0] = os.pread(1, min(size, invocation.MAX_LOG), max(0, size - invocation.MAX_LOG))
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)


def _function(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def _load(message: Mapping[str, Any]) -> str:
    try:
        for reference in message["codecs"]:
            codec_from(reference)
        loading.resolve(message["function"], message["file"])
    except BaseException as error:  # noqa: BLE001  # the child raises it again, and tells it
        return f"it cannot be loaded: {type(error).__name__}"
    return ""


def _unfit(before: set[str]) -> str:
    """Why children forked from here could go wrong; empty if they would not."""
    if threading.active_count() > 1:
        return "it starts threads when it is loaded"
    names = [name for name in _threads() if name not in _HARMLESS_THREADS]
    if len(names) > 1 + _openblas_threads():
        return f"a library starts threads when it is loaded: {', '.join(sorted(set(names)))}"
    if _descriptors() - before:
        return "it opens files or connections when it is loaded"
    if _children():
        return "it starts processes when it is loaded"
    return ""


def _threads() -> list[str]:
    found = []
    for path in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            found.append((path / "comm").read_text("utf-8", "replace").strip())
    return found


def _openblas_threads() -> int:
    """Threads of OpenBLAS, which ends them before a fork and starts them again when they are needed."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
        found = {line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line}
    count = 0
    for path in found:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(path)
            name = next((name for name in _THREADS_OF_OPENBLAS if hasattr(library, name)), None)
            count += max(0, getattr(library, name)() - 1) if name else 0
    return count


def _edits(module: Any) -> bool:
    """Whether a module is of the project, so that its text may change; from here on it is watched."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and source.own(file) and not source.edited(module)


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


def _children() -> set[int]:
    """The processes whose parent is this one."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()
    try:
        return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()}
    except OSError:
        return {int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) == os.getpid()}


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _send_signal(forked: _Forked, number: int) -> None:
    try:
        os.killpg(forked.pid, number)
    except ProcessLookupError:  # it has not made its group yet
        with contextlib.suppress(ProcessLookupError):
            os.kill(forked.pid, number)
    except PermissionError:
        pass


def _reap_group(group: int) -> None:
    """Wait for the rest of a killed group, which comes back to this process."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def _wait_for(descriptor: int, seconds: float) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        selector.select(seconds)


if __name__ == "__main__":
    main()
