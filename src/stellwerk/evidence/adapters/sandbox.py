"""Running tasks in sandboxed processes. The walls are in `confinement`, the inside in `sandbox_child`."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stellwerk.core import canonical, errors
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.evidence.adapters import confinement
from stellwerk.evidence.adapters.sandbox_child import ARRAY, JOB, OUT
from stellwerk.evidence.ports import Layers, Limits
from stellwerk.evidence.scan import scan_files

MAX_TALK = 4096
MAX_FILES = 1000
_LOOK_SECONDS = 0.2
_SOURCE = Path(__file__).resolve().parents[3]
_SCREENED_BYTES = 2 << 30
_KEPT = ("LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
_FIXED = {
    "LANG": "C.UTF-8",
    # One thread: answers do not depend on the machine, and address space stays countable.
    "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # scikit-learn imports pandas, pandas imports pyarrow
    "OPENBLAS_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "JOBLIB_MULTIPROCESSING": "0",
    "LOKY_MAX_CPU_COUNT": "1",
}


class Sandbox:
    """A `Worker` that starts one confined process per task.

    Args:
        tasks: Entries `module:function` by task name; a function takes (request, files, folder for its own files).
        unscreened: Tasks that exist to look at files of any format; all others get plain data only.
        paths: Where entries are found beside installed packages.
        allow_unsandboxed: Run without walls where the kernel has none, instead of refusing.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, str],
        unscreened: Collection[str] = (),
        paths: Sequence[Path] = (),
        allow_unsandboxed: bool = False,
    ) -> None:
        self._tasks, self._unscreened = dict(tasks), frozenset(unscreened)
        self._paths = (_SOURCE, *paths)
        self._allow_unsandboxed = allow_unsandboxed
        self.layers: Layers = confinement.probe()

    def run(self, task: str, request: dict[str, Any], files: Mapping[str, Path], limits: Limits) -> dict[str, Any]:
        """See `Worker.run`."""
        if task not in self._tasks:
            raise Invalid(f"there is no task {task!r} (known: {', '.join(sorted(self._tasks))})", code="unknown-task")
        if not (self.layers.landlock_abi or self.layers.seccomp or self._allow_unsandboxed):
            raise Unavailable(
                "this kernel offers neither Landlock nor seccomp, so models cannot be run safely",
                code="no-sandbox",
                hint="run on Linux 5.13 or later, or set STELLWERK_ALLOW_UNSANDBOXED=1 and answer for it",
            )
        found = {name: _regular(name, path) for name, path in files.items()}
        if task not in self._unscreened:
            screen(found)
        room = Path(tempfile.mkdtemp(prefix="stellwerk-"))
        try:
            return self._run(task, request, found, limits, room)
        finally:
            shutil.rmtree(room, ignore_errors=True)

    def _run(
        self, task: str, request: dict[str, Any], files: Mapping[str, Path], limits: Limits, room: Path
    ) -> dict[str, Any]:
        (room / OUT).mkdir(mode=0o700)
        job = {
            "entry": self._tasks[task],
            "request": request,
            "files": {name: str(path) for name, path in files.items()},
            "limits": asdict(limits),
            "layers": asdict(self.layers),
        }
        (room / JOB).write_bytes(canonical.dumps(job))
        with _Folder(room / OUT) as out:
            ended = _watch(self._start(room), out, limits)
            return _answer(task, ended, out, limits)

    def _start(self, room: Path) -> _Process:
        read_end, write_end = os.pipe()
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | _FIXED
        environment |= {"HOME": str(room / OUT), "TMPDIR": str(room / OUT)}
        environment["PYTHONPATH"] = os.pathsep.join(map(str, self._paths))
        try:
            # -P: the current folder is no place for modules; -s: neither is the user's own.
            process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "stellwerk.evidence.adapters.sandbox_child", room, str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=room / OUT,
                env=environment,
                pass_fds=(write_end,),
                start_new_session=True,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return _Process(process, read_end)


def screen(files: Mapping[str, Path]) -> None:
    """Refuse files that are not plain data, before any process sees them. Frames of Parquet files are enough here."""
    for name, path in files.items():
        with path.open("rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(0)
            head = handle.read(4)
            handle.seek(max(size - 4, 0))
            if head == b"PAR1" and handle.read(4) == b"PAR1":
                continue
            if size > _SCREENED_BYTES:
                raise Refused(f"file {name!r} is too large to be read completely", code="unreadable-format")
            handle.seek(0)
            report = scan_files({name: handle.read()})
        if not report.clean:
            raise Refused(
                f"file {name!r} is not plain data: {'; '.join(f.reason for f in report.findings[:3])}",
                code="executable-format" if report.format_class == "executable" else "unreadable-format",
                hint="store the model in a format that holds no code, such as skops or safetensors",
            )


def _regular(name: str, path: Path) -> Path:
    real = path.resolve()
    if not real.is_file():
        raise NotFound(f"file {name!r} for the task does not exist")
    return real


class _Process:
    """A started child with the end of its answer pipe."""

    def __init__(self, process: subprocess.Popen[bytes], channel: int) -> None:
        self.popen, self.channel = process, channel

    def kill(self) -> None:
        """End the whole process group; there is nobody in it who could refuse."""
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self.popen.kill()


class _Ended:
    """What is left of a child: its answer, the end of what it printed, its exit code, and why it was killed."""

    def __init__(self) -> None:
        self.answer, self.talk = bytearray(), bytearray()
        self.code = 0
        self.killed: str | None = None


class _Folder:
    """The child's own files, reached through one descriptor: no link that the child made is ever followed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Folder:
        self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def excess(self, limits: Limits) -> bool:
        """Whether the files together are more or larger than allowed."""
        total, count = 0, 0
        with os.scandir(self._fd) as entries:
            for entry in entries:
                count += 1
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
                if count > MAX_FILES or total > limits.output_bytes:
                    return True
        return False

    def read(self, name: str, limits: Limits) -> bytes:
        """A regular file of this folder, never more than allowed."""
        if "/" in name or name in {"", ".", ".."}:
            raise Refused("the task names a file outside its folder", code="sandbox-output")
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._fd)
        except OSError as cause:
            raise Refused(
                f"the task answers with a file that cannot be read: {cause.strerror}", code="sandbox-output"
            ) from cause
        with os.fdopen(file, "rb") as handle:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_size > limits.output_bytes:
                raise Refused("the task answers with more than it may, or with no plain file", code="sandbox-output")
            return handle.read(limits.output_bytes)


def _watch(process: _Process, out: _Folder, limits: Limits) -> _Ended:
    """Read until the child ends, and kill it when it takes too long or writes too much."""
    ended = _Ended()
    deadline = monotonic() + limits.wall_seconds
    talk = process.popen.stdout
    if talk is None:
        raise errors.Bug("the child was started without a pipe for its output")
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.channel, selectors.EVENT_READ, ended.answer)
            selector.register(talk.fileno(), selectors.EVENT_READ, ended.talk)
            while selector.get_map() and ended.killed is None:
                left = deadline - monotonic()
                for key, _ in selector.select(max(min(left, _LOOK_SECONDS), 0)):
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        selector.unregister(key.fd)
                    key.data.extend(chunk)
                del ended.talk[:-MAX_TALK]
                if left <= 0:
                    ended.killed = "sandbox-time"
                elif len(ended.answer) > limits.output_bytes or out.excess(limits):
                    ended.killed = "sandbox-output"
        if ended.killed is None:
            try:
                process.popen.wait(max(deadline - monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                ended.killed = "sandbox-time"
    finally:
        if process.popen.poll() is None:
            process.kill()
        ended.code = process.popen.wait()
        talk.close()
        os.close(process.channel)
    return ended


_LIMIT_TEXTS = {
    "sandbox-time": "took longer than it may",
    "sandbox-output": "wrote more than it may",
    "sandbox-memory": "asked for more memory than it may",
}


def _answer(task: str, ended: _Ended, out: _Folder, limits: Limits) -> dict[str, Any]:
    if ended.killed is None and ended.code in {-signal.SIGXCPU, -signal.SIGXFSZ}:
        ended.killed = "sandbox-time" if ended.code == -signal.SIGXCPU else "sandbox-output"
    if ended.killed is None and ended.code == -signal.SIGABRT and b"memory allocation of" in ended.talk:
        # Compiled code gives up instead of raising.
        ended.killed = "sandbox-memory"
    if ended.killed is not None:
        raise Refused(f"the task {task!r} {_LIMIT_TEXTS[ended.killed]} and was stopped", code=ended.killed)
    try:
        document = canonical.loads(bytes(ended.answer))
    except Invalid as cause:
        last = _plain(ended.talk.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1])
        how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
        raise Refused(f"the task {task!r} ended without an answer ({how}): {last}", code="sandbox-died") from cause
    if isinstance(document, dict) and isinstance(document.get("error"), dict):
        raise _error(task, document["error"])
    if not isinstance(document, dict) or not isinstance(document.get("answer"), dict) or out.excess(limits):
        raise Refused(f"the task {task!r} gave no answer that can be read", code="sandbox-output")
    unpacked: dict[str, Any] = _unpack(document["answer"], out, limits)
    return unpacked


def _unpack(value: Any, out: _Folder, limits: Limits) -> Any:
    if isinstance(value, list):
        return [_unpack(item, out, limits) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {ARRAY}:
        return _array(out.read(str(value[ARRAY]), limits))
    return {key: _unpack(item, out, limits) for key, item in value.items()}


def _array(data: bytes) -> Any:
    """An array from npy bytes that were checked as strictly as a model's."""
    import io

    import numpy as np

    from stellwerk.models import npy

    npy.header(data)
    return np.load(io.BytesIO(data), allow_pickle=False)


def _error(task: str, told: Mapping[str, Any]) -> StellwerkError:
    """The task's own error. Everything in it was written behind the walls, so it is text and nothing more."""
    kind, code = str(told.get("class")), _plain(str(told.get("code")))[:60]
    message, hint = _plain(str(told.get("message"))), _plain(str(told.get("hint", "")))
    if code == "sandbox-memory":
        return Refused(f"the task {task!r} {_LIMIT_TEXTS[code]}", code=code)
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, StellwerkError):
        return known(message, code=code, hint=hint)
    return Invalid(f"the task {task!r} failed: {_plain(kind)[:60]}: {message}", code="task-failed")


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)[:1000]
