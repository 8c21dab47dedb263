"""Beginning and ending what records this process: finds the workspace, watches, and starts the courier."""

from __future__ import annotations

import atexit
import getpass
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from stellwerk.core.errors import NotFound, StellwerkError
from stellwerk.pipelines import environment
from stellwerk.tracking.model import Status
from stellwerk.workspace import layout, noticing
from stellwerk.workspace.recording import blocks, files, importing, notebooks, origin
from stellwerk.workspace.recording.pen import Pen
from stellwerk.workspace.recording.session import Session
from stellwerk.workspace.recording.training import Coats
from stellwerk.workspace.settings import Settings, read

OUTBOX = Path(layout.FOLDER) / "outbox"
WITHIN = "STELLWERK_WITHIN"
"""Which run a process belongs to that a recorded one started."""
LEAVE_SECONDS, LEAVE_KERNEL_SECONDS = 30.0, 4.0
"""How long the end waits for the courier: Jupyter kills a kernel that takes five seconds."""


class Recording:
    """What records this process, from `begin` to `end`."""

    def __init__(self, place: str, root: Path, found: origin.Origin, settings: Settings) -> None:
        self._place, self._box = place, root / OUTBOX
        self._offline, self._kernel = settings.offline, found.shell is not None
        self.shell = found.shell
        self._courier: subprocess.Popen[bytes] | None = None
        self._pen = Pen(self._box, self._wrote)
        self.session = Session(self._pen, found, environment.current().document, user=_user(), within=settings.within)
        os.environ[WITHIN] = self.session.run
        self._watch = files.Watch((str(root), str(found.folder)), self.session.opened)
        coats = Coats(self.session)
        self._stop: list[Callable[[], None]] = [
            importing.when_imported(
                {
                    "sklearn.base": coats.base,
                    "sklearn.metrics": coats.metrics,
                    "sklearn.model_selection": coats.validation,
                    "polars": coats.readers,
                    "pandas": coats.readers,
                }
            )
        ]
        files.watch(self._watch)
        blocks.WITNESSES.append(self.session)
        noticing.LISTENERS.append(self.session.dataset)
        if found.shell is not None:
            self._stop.append(notebooks.listen(found.shell, self.session))
        else:
            notebooks.arguments(self.session, found)
            self._except = sys.excepthook
            sys.excepthook = self._failed
        atexit.register(self._leave)
        os.register_at_fork(after_in_child=self._forked)

    def end(self, status: Status | None = None) -> bool:
        """Record nothing more. Returns whether the workspace has everything."""
        if not self.session.on:
            return True
        self.session.end(status or self.session.state)
        for stop in self._stop:
            stop()
        files.unwatch(self._watch)
        noticing.LISTENERS.remove(self.session.dataset)
        blocks.WITNESSES.remove(self.session)
        atexit.unregister(self._leave)
        os.environ.pop(WITHIN, None)
        self._pen.close(LEAVE_SECONDS)
        return self._delivered()

    def _delivered(self) -> bool:
        if self._courier is None:
            self._say("is kept on this machine")
            return False
        try:
            self._courier.stdin.close()  # type: ignore[union-attr]
            self._courier.wait(LEAVE_KERNEL_SECONDS if self._kernel else LEAVE_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            pass
        left = [run for run in self.session.runs if (self._box / f"{run}.log").exists()]
        if left and not self._kernel:
            self._say("was not sent yet")
        return not left

    def _say(self, what: str) -> None:
        why = f" ({self._pen.problem})" if self._pen.problem else ""
        print(f"stellwerk: what was recorded {what}{why}: `stellwerk runs --send`", file=sys.stderr)

    def _wrote(self, run: str, first: bool) -> None:
        """Something was written: in the thread of the pen."""
        if self._offline:
            return
        try:
            if self._courier is None:
                self._courier = _courier(self._place, self._box)
            _hand(self._courier, f"{run}\n".encode())
        except (OSError, ValueError):  # it is gone, or cannot be started: what is written stays in the outbox
            self._offline = self._courier is None

    def _leave(self) -> None:
        self.end()

    def _forked(self) -> None:
        """In a process that was forked off: the run belongs to the one that began it."""
        self.session.on = False
        files.unwatch(self._watch)
        if self._courier is not None:
            self._courier.stdin.close()  # type: ignore[union-attr]
            self._courier = None

    def _failed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """The script ends by an exception."""
        self._except(kind, error, trace)
        stopped = issubclass(kind, KeyboardInterrupt)
        self.session.failed(f"{kind.__name__}: {error}"[:2000])
        self.end("interrupted" if stopped else "failed")


_RECORDINGS: list[Recording] = []


@contextmanager
def paused() -> Iterator[None]:
    """What is done meanwhile is ours, and not the notebook's."""
    running = [one.session for one in _RECORDINGS if one.session.on]
    for session in running:
        session.on = False
    try:
        yield
    finally:
        for session in running:
            session.on = True


def environment_of_front_end() -> Mapping[str, str]:
    """What may say which notebook this is."""
    return os.environ


def begin(script: Path | None = None) -> Recording | None:
    """Record this process from here on. Says in one line why, where that is not possible; never raises.

    Args:
        script: What is about to run, where it is not the main module yet.
    """
    if _is_worker():
        return None
    try:
        settings = read()
        if not settings.auto:
            return None
        found = origin.Origin(path=script) if script is not None else origin.find(settings.notebook)
        place, root = _place(settings, found)
        recording = Recording(place, root, found, settings)
        _RECORDINGS.append(recording)
        return recording
    except NotFound as problem:
        print(f"stellwerk: nothing is recorded: {problem.message}; {problem.hint}", file=sys.stderr)
    except StellwerkError as problem:
        print(f"stellwerk: nothing is recorded: {problem.message}", file=sys.stderr)
    except Exception as problem:  # noqa: BLE001 - the user's code must run
        print(f"stellwerk: nothing is recorded: {type(problem).__name__}: {problem}", file=sys.stderr)
    return None


def _place(settings: Settings, found: origin.Origin) -> tuple[str, Path]:
    """The workspace, and the folder in which is kept what was not sent yet."""
    if "://" in settings.root:
        return settings.root, Path.cwd()
    try:
        root = layout.find(Path(settings.root or ".")).root
    except NotFound:
        if settings.root:
            raise
        root = layout.find(found.folder).root
    return str(root), root


def _is_worker() -> bool:
    """Whether this process was started by a recorded one to do a part of its work, and imports its script for that."""
    module: Any = sys.modules.get("multiprocessing.process")  # whoever was started by it has loaded it
    if module is None:
        return False
    return module.parent_process() is not None or getattr(module.current_process(), "_inheriting", False)


def _courier(place: str, box: Path) -> subprocess.Popen[bytes]:
    home = Path(__file__).resolve().parents[3]
    surroundings = dict(os.environ)
    surroundings["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), surroundings.get("PYTHONPATH", "")]))
    surroundings.pop("STELLWERK_AUTO", None)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "stellwerk.workspace.courier"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=surroundings,
        start_new_session=True,
        bufsize=0,  # without a buffer there is nothing that a process forked off would write, and no lock to wait for
    )
    asked = {"place": place, "outbox": str(box), "path": [one for one in sys.path if isinstance(one, str)]}
    _hand(process, json.dumps(asked).encode() + b"\n")
    return process


def _hand(process: subprocess.Popen[bytes], words: bytes) -> None:
    """Write all of it, whatever interrupts."""
    left = memoryview(words)
    while left:
        left = left[process.stdin.write(left) :]  # type: ignore[union-attr]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
