"""Logging from a script: `with stellwerk.run("fit") as run: run.log(loss=0.3)`.

The caller only puts numbers into a queue. A thread makes them durable in the outbox of this machine a few times a second,
and sends them to the workspace when it can be reached. Whatever happens to the network, the workspace or this process,
what was made durable arrives, once.
"""

from __future__ import annotations

import atexit
import base64
import getpass
import logging
import operator
import os
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from stellwerk.core.clock import SystemClock, milliseconds, monotonic
from stellwerk.core.errors import Conflict, Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.core.names import new_id
from stellwerk.tracking import rules, segments
from stellwerk.tracking.adapters.outbox import Outbox, Record, held
from stellwerk.tracking.logbook import PARENT_TAG
from stellwerk.tracking.model import Point, Status
from stellwerk.workspace import operations as ops
from stellwerk.workspace import sampling
from stellwerk.workspace.calls import Operation
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.recording import blocks, sending

LOGGER = logging.getLogger("stellwerk.log")
OUTBOX = Path(".stellwerk") / "outbox"
EVERY_SECONDS = 0.1
"""What was logged is durable after this long."""
MANY, TOO_MANY = 20_000, 500_000
"""Waiting points at which the thread is woken, and at which the caller helps it."""
PER_RECORD = 50_000
AT_ONCE = 64
"""Records that are read from the outbox together."""
LARGEST = 2**63 - 1
RETRY_SECONDS = (1.0, 60.0)
"""Between attempts to reach the workspace: at first, and at most."""
CLOSE_SECONDS = 30.0
"""How long the end of a run waits for the workspace; what is left then stays in the outbox."""


class ActiveRun:
    """A run that is being logged. Safe for many threads. Made by `stellwerk.run`.

    Args:
        place: A folder of a workspace, or its URL.
        experiment: Name of its experiment; one that is not there yet is made.
        outbox: Folder for what was not sent yet; by default `.stellwerk/outbox` in the folder of the project.
        offline: Send nothing now; `stellwerk runs --send` does it later.
        machine: Gets hold of what is looked at while the run runs, if anything is.
        tick: When.
    """

    def __init__(
        self,
        place: str,
        *,
        experiment: str,
        name: str = "",
        tags: Mapping[str, str] | None = None,
        outbox: Path | None = None,
        offline: bool = False,
        machine: sampling.Find | None = None,
        tick: sampling.Tick | None = None,
    ) -> None:
        now = SystemClock().now()
        self.id = new_id(now)
        self.name = name or rules.random_name()
        self._place, self._offline = place, offline
        self._box = Outbox(outbox or _home(place) / OUTBOX, self.id)
        self._queue: deque[tuple[str, float, int, int]] = deque()
        self._said: deque[dict[str, Any]] = deque()
        self.given: dict[str, str] = {}
        self._step = -1
        self._turn, self._wake, self._closing = threading.Lock(), threading.Event(), threading.Event()
        self._kept = 0
        self._pending: deque[Record] = deque()
        self._process = os.getpid()
        self._problem: StellwerkError | None = None
        self._ended = self._rejected = False
        self._keys: set[str] = set()
        begun = {
            "experiment": experiment, "name": self.name, "user": _user(), "start": rules.milliseconds(now),
            "tags": {"mlflow.source.name": sys.argv[0] or "python", **(tags or {})},
        }  # fmt: skip
        rules.check_tags(tuple(begun["tags"].items()))  # type: ignore[attr-defined]
        self._box.append({"kind": "begin", **begun})
        self._thread = threading.Thread(target=self._work, name=f"stellwerk {self.id}", daemon=True)
        self._thread.start()
        tick = tick or sampling.Every(sampling.DEFAULT_SECONDS)
        self._sampler = sampling.Sampler(machine, self._read, tick) if machine else None
        atexit.register(self._leave)

    def log(self, metrics: Mapping[str, float] | None = None, /, *, step: int | None = None, **more: float) -> None:
        """Log values of metrics: `run.log(loss=0.3)`, `run.log({"val/loss": 0.3}, step=7)`.

        Takes microseconds: nothing is written before it returns. Without a step, the next one is taken.

        Raises:
            Conflict: `run-ended`, as `params` and `tag` do.
        """
        if self._process != os.getpid():
            return  # a process that was forked off: the run belongs to the one that began it
        if self._ended:
            raise self._over()
        if step is None:
            step = self._step + 1
        elif type(step) is not int or not -LARGEST <= step <= LARGEST:
            step = _step(step)
        self._step = step
        at, add = milliseconds(), self._queue.append
        for values in (metrics, more):
            if values:
                for key, value in values.items():
                    if key not in self._keys:
                        rules.check_points([Point(key, 0.0, 0)], path="")
                        self._keys.add(key)
                    add((key, float(value), at, step))
        waiting = len(self._queue)
        if waiting >= MANY:
            self._wake.set()
            if waiting >= TOO_MANY:
                self._keep()  # the disk is slower than the caller, who waits for it and not for the network

    def params(self, /, **params: Any) -> None:
        """Say what the run was given. A parameter is said once; another value is another run."""
        if self._ended:
            raise self._over()
        said = {key: rules.spelled(value) for key, value in params.items()}
        rules.check_params(tuple(said.items()))
        self._said.append({"kind": "log", "params": said})
        self.given.update(said)

    def tag(self, /, **tags: str) -> None:
        """Attach words to the run."""
        if self._ended:
            raise self._over()
        rules.check_tags(tuple(tags.items()))
        self._said.append({"kind": "log", "tags": tags})

    def use(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Say what was read, in the records of `recording.sending`."""
        self._said.extend(map(dict, records))

    def flush(self) -> None:
        """Return when everything that was logged is durable on this machine. Raises `Unavailable` where it cannot be."""
        if self.here:
            self._keep()

    def finish(self, status: Status = "finished", *, seconds: float = CLOSE_SECONDS) -> bool:
        """End the run. Returns whether the workspace has all of it; if not, the rest is in the outbox.

        Args:
            seconds: How long to wait for the workspace.
        """
        if self._ended or not self.here:
            return False
        if self._sampler:
            self._sampler.stop()
        self._said.append({"kind": "end", "status": status, "end": milliseconds()})
        self._ended = True
        try:
            self._keep()
        except Unavailable as problem:
            self._complain(problem)
        self._closing.set()
        self._wake.set()
        self._thread.join(seconds)
        atexit.unregister(self._leave)
        done = not self._thread.is_alive() and not self._pending and self._box.acknowledged >= self._kept + 1
        if not self._thread.is_alive():
            if done:
                self._box.discard(rejected=self._rejected)
            self._box.close()
        if not done and not self._offline:
            LOGGER.warning(
                "run %s is kept on this machine, the workspace has %d of %d parts of it (%s): `stellwerk runs --send`",
                self.id, self._box.acknowledged, self._kept + 1, self._problem or "it did not answer in time",
            )  # fmt: skip
        return done and not self._rejected

    @property
    def here(self) -> bool:
        """Whether this process logs it, and not the one that it was forked off."""
        return self._process == os.getpid()

    @property
    def running(self) -> bool:
        """Whether it can be logged to from here."""
        return self.here and not self._ended

    def _over(self) -> Conflict:
        return Conflict(f"run {self.name!r} has already ended, nothing can be logged to it", code="run-ended")

    def __enter__(self) -> ActiveRun:
        _ACTIVE.append(self)
        for one in blocks.WITNESSES:
            one.block_begins(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ValueError):
            _ACTIVE.remove(self)
        for one in blocks.WITNESSES:
            one.block_ends(self)
        stopped = kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit))
        self.finish("interrupted" if stopped else "finished" if kind is None else "failed")

    def _leave(self) -> None:
        """The interpreter ends, and nobody ended the run."""
        self.finish("failed" if getattr(sys, "last_value", None) is not None else "finished")

    def _read(self, readings: Mapping[str, float], step: int) -> None:
        """Keep what was read of the machine, whose steps are not those of the script."""
        if not self._ended:
            at = milliseconds()
            self._queue.extend((key, value, at, step) for key, value in readings.items())

    def _keep(self) -> None:
        """Make durable what waits."""
        with self._turn:
            self._pending += [*self._drained(), *self._words()]
            while self._pending:
                self._box.append(*self._pending[0])
                self._pending.popleft()  # only now: a full disk must not cost what was logged
                self._kept += 1

    def _drained(self) -> Iterator[Record]:
        take = self._queue.popleft
        left = len(self._queue)
        while left:
            count = min(left, PER_RECORD)
            left -= count
            rows: dict[str, list[tuple[int, int, float]]] = defaultdict(list)
            for _ in range(count):
                key, value, at, step = take()
                rows[key].append((at, step, value))
            yield {"kind": "points"}, segments.encode({key: segments.series(found) for key, found in rows.items()})

    def _words(self) -> Iterator[Record]:
        while self._said:
            yield self._said.popleft(), b""

    def _work(self) -> None:
        """The thread: durable first, then sent."""
        line, pause, next_try = _Line(self._place), RETRY_SECONDS[0], 0.0
        with line:
            while True:
                closing = self._closing.is_set()
                try:
                    self._keep()
                except Unavailable as problem:
                    self._complain(problem)
                except Exception:  # the thread must not end while something may still be logged
                    LOGGER.exception("run %s: what is logged cannot be kept", self.id)
                if not self._offline and monotonic() >= next_try:
                    try:
                        while records := self._waiting():
                            for record in records:
                                self._rejected |= not line.send(self.id, record)
                                self._box.acknowledge()
                        pause = RETRY_SECONDS[0]
                    except StellwerkError as problem:
                        self._complain(problem)
                        line.drop()
                        next_try, pause = monotonic() + pause, min(2 * pause, RETRY_SECONDS[1])
                if closing:
                    return
                self._wake.wait(EVERY_SECONDS)
                self._wake.clear()

    def _waiting(self) -> Sequence[Record]:
        with self._turn:  # what is written meanwhile is not half seen
            return list(self._box.waiting(AT_ONCE)) if self._box.acknowledged < self._kept + 1 else ()

    def _complain(self, problem: StellwerkError) -> None:
        if self._problem is None or self._problem.code != problem.code:
            LOGGER.warning("run %s: %s (%s); what is logged stays on this machine", self.id, problem, problem.code)
        self._problem = problem


class _Line:
    """A workspace that is opened when it is needed, and again when it was lost."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._workspace: Any = None

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_error: object) -> None:
        self.drop()

    def send(self, run: str, record: Record) -> bool:
        """Send one record; False where the workspace will never take it. Raises `Unavailable` where it may later."""
        says, data = record
        kind = says.get("kind")
        arguments = {key: value for key, value in says.items() if key != "kind"}
        if kind == "points":
            arguments = {"segment": base64.b64encode(data).decode()}
        try:
            if kind in _KINDS:
                self._caller().call(_KINDS[str(kind)], {"run": run, **arguments})
            else:
                sending.send(self._caller(), run, says, data)
        except (Invalid, Conflict, NotFound) as problem:
            LOGGER.error("run %s: the workspace does not take what was logged: %s (%s)", run, problem, problem.code)
            return False
        return True

    def drop(self) -> None:
        """Let go of the workspace."""
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None

    def _caller(self) -> Caller:
        if self._workspace is None:
            from stellwerk.workspace.facade import connect

            self._workspace = connect(self._place)
        caller: Caller = self._workspace._caller
        return caller


_KINDS: dict[str, Operation[..., Any]] = {
    "begin": ops.begin_run,
    "log": ops.log_run,
    "points": ops.log_points,
    "end": ops.end_run,
}
_ACTIVE: list[ActiveRun] = []


def run(
    name: str = "",
    *,
    experiment: str = "default",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    workspace: str | Path | None = None,
    offline: bool | None = None,
    system: bool | float | None = None,
) -> ActiveRun:
    """Begin a run that is logged; use it in a `with` statement, or call its `finish`.

    Args:
        name: Its name; without one, one is made up.
        experiment: Name of the experiment; one that is not there yet is made.
        workspace: A folder or a URL; by default `STELLWERK_ROOT`, or the workspace of the current folder.
        offline: Keep everything on this machine until `stellwerk runs --send`; by default what `STELLWERK_OFFLINE` says.
        system: Log what the machine does, as metrics `system/…`, every ten seconds, or every so many; by default what
            `STELLWERK_SYSTEM_METRICS` says.

    Raises:
        NotFound: `no-workspace`: the folder has none. Whether a server answers is not asked: if it does not, what is
            logged waits.
        Unavailable: `needs-extra`: `system` was asked for, and psutil is not installed.
    """
    from stellwerk.workspace.settings import read

    settings = read()
    place = str(workspace or settings.root or ".")
    seconds = sampling.seconds(system, setting=settings.system_metrics)
    begun = ActiveRun(
        place,
        experiment=experiment,
        name=name,
        tags={**({PARENT_TAG: settings.parent_run} if settings.parent_run else {}), **(tags or {})},
        offline=settings.offline if offline is None else offline,
        machine=_machine(asked=system is not None) if seconds else None,
        tick=sampling.Every(seconds) if seconds else None,
    )
    if params:
        begun.params(**params)
    return begun


def _machine(*, asked: bool) -> sampling.Find | None:
    """The machine we run on; where it cannot be read, only a script that asked for it itself is stopped."""
    try:
        return sampling.local()
    except Unavailable as problem:
        if asked:
            raise
        LOGGER.warning("%s: %s", problem, problem.hint)
        return None


def log(metrics: Mapping[str, float] | None = None, /, *, step: int | None = None, **more: float) -> None:
    """Log values of metrics to the innermost run that a `with` statement has begun. Raises `Invalid` outside of one."""
    if not _ACTIVE:
        raise no_run()
    _ACTIVE[-1].log(metrics, step=step, **more)


def active() -> ActiveRun | None:
    """The innermost run that a `with` statement of this process has begun."""
    return next((run for run in reversed(_ACTIVE) if run.running), None)


def no_run() -> Invalid:
    """What is raised where a run is needed and none has begun."""
    return Invalid("there is no run to log to", code="no-run", hint='with stellwerk.run("name"): … begins one')


def send(place: str | Path = ".", *, outbox: Path | None = None, only: Collection[str] = ()) -> dict[str, int]:
    """Send what runs logged on this machine while the workspace was out of reach.

    A run whose process is gone without ending it is ended as interrupted. One that is logged at this moment is left to
    the process that does.

    Args:
        only: These runs, and no others.

    Returns:
        How many records of which run were sent.
    """
    folder = outbox or _home(str(place)) / OUTBOX
    sent: dict[str, int] = {}
    with _Line(str(place)) as line:
        for one in [run for run in held(folder) if not only or run in only]:
            with _opened(folder, one) as box:
                if box is None:
                    continue
                rejected = False
                sent[one] = 0
                while records := list(box.waiting(AT_ONCE)):
                    for record in records:
                        rejected |= not line.send(one, record)
                        box.acknowledge()
                        sent[one] += 1
                for record in sending.missing(box.all()):
                    rejected |= not line.send(one, record)
                box.discard(rejected=rejected)
    return sent


@contextmanager
def _opened(folder: Path, run: str) -> Iterator[Outbox | None]:
    try:
        box = Outbox(folder, run, begun=True)
    except Conflict:  # it is being written, or was sent meanwhile
        yield None
        return
    try:
        yield box
    finally:
        box.close()


def _home(place: str) -> Path:
    """Where the outbox of a workspace is: in its folder, or in the one that this script runs in."""
    if "://" in place:
        return Path.cwd()
    from stellwerk.workspace.layout import find

    return find(Path(place)).root


def _step(step: Any) -> int:
    try:
        found: int = operator.index(step)
    except TypeError as cause:
        raise Invalid(f"a step is an integer, got {step!r}", code="invalid-number") from cause
    if not -LARGEST <= found <= LARGEST:
        raise Invalid("a step must fit into 64 bits", code="invalid-number")
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
