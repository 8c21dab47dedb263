"""One recorded process: its runs, what belongs to which, and when the next one begins. What is watched is in `starting`.

A run holds one set of parameters. They are said when the first thing is measured; when a notebook then gives one of
them another value and measures again, that is another run, which has read and executed what the one before had.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from stellwerk.core.clock import SystemClock, milliseconds
from stellwerk.core.names import new_id
from stellwerk.tracking import rules
from stellwerk.tracking.model import Status
from stellwerk.workspace.recording import blocks, estimating
from stellwerk.workspace.recording.cells import Cell, constants, history, presentable
from stellwerk.workspace.recording.origin import Origin
from stellwerk.workspace.recording.pen import Pen
from stellwerk.workspace.spelling import key, number, spelled

MOST_FILES, MOST_CELLS, MOST_MODELS = 500, 2000, 20
"""Inputs, cells and settings of estimators of one class that one run names."""
PER_RECORD = 100
PARENT_TAG = "mlflow.parentRunId"

P = ParamSpec("P")


def _quiet(method: Callable[Concatenate[Session, P], None]) -> Callable[Concatenate[Session, P], None]:
    """Taking a note is never worth an error in the code that is noted."""

    @functools.wraps(method)
    def noted(self: Session, /, *given: P.args, **more: P.kwargs) -> None:
        if not self.on or self._process != os.getpid():
            return
        try:
            with self._turn:
                method(self, *given, **more)
        except Exception as problem:  # noqa: BLE001 - whatever it is, the user's code goes on
            self.problems.append(f"{type(problem).__name__}: {problem}")

    return noted


class Session:
    """Notes of this process. Safe for many threads; nothing of it raises.

    Args:
        pen: Where notes go.
        environment: The document of the environment lock; asked for once, in the thread of the pen's caller.
        within: The run of a process that started this one.
    """

    def __init__(self, pen: Pen, origin: Origin, environment: bytes, *, user: str = "", within: str = "") -> None:
        self.on = True
        self.problems: list[str] = []
        self.runs: list[str] = []
        self._pen, self._origin, self._environment, self._user, self._within = pen, origin, environment, user, within
        self._process, self._turn = os.getpid(), threading.RLock()
        self._now: dict[str, str] = {}
        """Parameters as they are now; `_said` is what the run was told of them."""
        self._said: dict[str, str] = {}
        self._measured = False
        self._models: dict[str, list[dict[str, str]]] = {}
        self._steps: Counter[str] = Counter()
        self._files: dict[str, dict[str, Any]] = {}
        self._written: set[str] = set()
        self._cells: list[Cell] = []
        self._error = ""
        with self._turn:
            self._begin()

    @property
    def run(self) -> str:
        """The run that is written at this moment."""
        return self.runs[-1]

    # What is noted

    @_quiet
    def opened(self, path: str, writes: bool) -> None:
        """A file is about to be opened. What the process wrote itself is no input."""
        if writes:
            self._written.add(path)
        elif path not in self._written and path not in self._files:
            self._use(path, {"kind": "read", "path": path, "at": milliseconds()})

    @_quiet
    def used(self, source: object) -> None:
        """Something was read by a library that opens files itself."""
        text = os.fspath(source) if isinstance(source, os.PathLike) else source
        if not isinstance(text, str) or not text or "\n" in text or len(text) > 4096:
            return
        if "://" not in text:
            path = str(Path(text).absolute())
            if Path(path).is_file() and path not in self._written and path not in self._files:
                self._use(path, {"kind": "read", "path": path, "at": milliseconds()})
        elif text not in self._files:
            self._use(text, {"kind": "address", "address": bare(text)})

    @_quiet
    def dataset(self, name: str, digest: str) -> None:
        """A version of a dataset of the workspace was read."""
        if name not in self._files:
            self._use(name, {"kind": "dataset", "name": name, "digest": digest})

    @_quiet
    def parameters(self, given: Mapping[str, Any]) -> None:
        """Parameters have these values now."""
        for name, value in given.items():
            text = spelled(value)
            if presentable(name, value) and key(name) == name and len(text) <= rules.MAX_PARAM:
                self._now[name] = text
        if self._measured and not self._changed():
            self._say(self._now)

    @_quiet
    def cell(self, number: int, text: str) -> None:
        """A cell begins to run."""
        self._cells.append(Cell(number=number, text=text))
        self._pen.write(self.run, {"kind": "cell", "number": number}, text.encode("utf-8", "replace"))
        self.parameters(constants(text))

    @_quiet
    def ran(self, number: int, status: Status, error: str = "", shown: int = 0) -> None:
        """It ended."""
        for place in range(len(self._cells) - 1, -1, -1):
            if self._cells[place].number == number:
                self._cells[place] = replace(self._cells[place], status=status, error=error, shown=shown)
                self._pen.write(self.run, _ran(self._cells[place]))
                break
        self._error = error

    @_quiet
    def fitted(self, estimator: Any, seconds: float) -> None:
        """An estimator was fitted."""
        name = type(estimator).__name__
        params = {key(label): spelled(value) for label, value in estimating.params(estimator)}
        found = estimating.numbers(estimator)
        block = blocks.inside()
        if block is None:
            self._measure()
            prefix = self._model(name, params)
            if prefix:
                self._say({f"{prefix}.{label}": text for label, text in params.items()})
        else:
            block.params(params)
        self._point(f"{name}/fit_seconds", seconds)
        for label, values in found.items():
            for value in values:
                self._point(f"{name}/{label}", value)

    @_quiet
    def measured(self, name: str, value: Any, what: str) -> None:
        """A number was computed of something that has a name."""
        figure = number(value)
        if figure is not None:
            if blocks.inside() is None:
                self._measure()
            self._point(key(f"{name}/{what}" if what else name), figure)

    @_quiet
    def failed(self, error: str) -> None:
        """The process ends by an exception."""
        self._error = error

    def end(self, status: Status) -> None:
        """Nothing more is noted."""
        if not self.on or self._process != os.getpid():
            return
        self._finish(status)
        self.on = False

    @property
    def state(self) -> Status:
        """How the process stands if it ends now: as its last cell did."""
        if not self._cells:
            return "failed" if self._error else "finished"
        last = self._cells[-1].status
        return "interrupted" if last in ("running", "interrupted") else "failed" if last == "failed" else "finished"

    # For runs that a `with` statement begins

    @_quiet
    def block_begins(self, run: Any) -> None:
        """What is measured from here on belongs to that run."""
        run.tag(**{PARENT_TAG: self.run})

    @_quiet
    def block_ends(self, run: Any) -> None:
        """It used what was read, and it was given what stands now; what it said itself stays."""
        blocks.inside(run).say(run, self._now)  # type: ignore[union-attr]
        run.use(self._files.values())

    # What becomes of it

    def _begin(self) -> None:
        now = SystemClock().now()
        run, origin = new_id(now), self._origin
        tags = {"mlflow.source.name": str(origin.path or origin.name), "stellwerk.recorded": "auto"}
        if origin.shell is not None:
            tags["mlflow.source.type"] = "NOTEBOOK"
        if self.runs or self._within:
            tags["stellwerk.after" if self.runs else PARENT_TAG] = self.runs[-1] if self.runs else self._within
        self.runs.append(run)
        self._said, self._measured, self._models = {}, False, {}
        self._steps.clear()
        self._pen.write(
            run,
            {
                "kind": "begin", "experiment": origin.name, "name": rules.random_name(), "user": self._user,
                "start": milliseconds(), "tags": tags,
            },
        )  # fmt: skip
        self._pen.write(run, {"kind": "environment"}, self._environment)
        for record in self._files.values():
            self._pen.write(run, record)
        for cell in self._cells:
            self._pen.write(run, {"kind": "cell", "number": cell.number}, cell.text.encode("utf-8", "replace"))
            if cell.status != "running":
                self._pen.write(run, _ran(cell))

    def _finish(self, status: Status) -> None:
        self._say(self._now if not self._changed() else {})
        if self._error:
            self._pen.write(self.run, {"kind": "failed", "error": self._error})
        if self._cells:
            self._pen.write(self.run, {"kind": "file", "path": "notebook/cells.py"}, history(self._cells).encode())
        if self._origin.path is not None:
            folder = "notebook" if self._origin.shell is not None else "script"
            path = self._origin.path
            self._pen.write(self.run, {"kind": "copy", "path": f"{folder}/{path.name}", "from": str(path)})
        self._pen.write(self.run, {"kind": "end", "status": status, "end": milliseconds()})

    def _measure(self) -> None:
        """Something is measured under the parameters as they are now."""
        if self._changed():
            self._finish("finished")
            self._begin()
        if not self._measured:
            self._measured = True
            self._say(self._now)

    def _changed(self) -> bool:
        """Whether a parameter that was said has another value now."""
        return any(self._said[name] != text for name, text in self._now.items() if name in self._said)

    def _say(self, params: Mapping[str, str]) -> None:
        fresh = [(name, text) for name, text in params.items() if name not in self._said]
        self._said.update(fresh)
        for start in range(0, len(fresh), PER_RECORD):
            self._pen.write(self.run, {"kind": "log", "params": dict(fresh[start : start + PER_RECORD])})

    def _model(self, name: str, params: dict[str, str]) -> str:
        """The name of an estimator's settings in this run; empty where they were said, or are too many."""
        known = self._models.setdefault(name, [])
        if params in known or len(known) >= MOST_MODELS:
            return ""
        known.append(params)
        return name if len(known) == 1 else f"{name}-{len(known)}"

    def _use(self, name: str, record: dict[str, Any]) -> None:
        if len(self._files) >= MOST_FILES:
            return
        self._files[name] = record
        self._pen.write(self.run, record)

    def _point(self, name: str, value: float) -> None:
        block = blocks.inside()
        if block is not None:
            block.log(name, value)
            return
        self._pen.point(self.run, name, value, self._steps[name])
        self._steps[name] += 1


def _ran(cell: Cell) -> dict[str, Any]:
    """How a cell ended, as a record."""
    return {"kind": "ran", "number": cell.number, "status": cell.status, "error": cell.error, "shown": cell.shown}


def bare(address: str) -> str:
    """An address without who asks and what was signed."""
    scheme, _, rest = address.partition("://")
    place = rest.partition("?")[0].partition("#")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
