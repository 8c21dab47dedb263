"""Small real implementations of the ports of pipelines, and pipelines written to files as users write them."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import NotFound
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.subprocess import Subprocess
from stellwerk.pipelines.loading import load
from stellwerk.pipelines.model import Builtin, Encoded, Event, Plan, RunReport, StepResult, Stored, Verdict
from stellwerk.pipelines.ports import Request
from stellwerk.pipelines.service import execute
from stellwerk.pipelines.values import FILE_MEDIA, STANDARD
from stellwerk.testing.fakes import MemoryBlobs

START = datetime(2013, 1, 1, tzinfo=UTC)


class Ticking:
    """A clock that moves by a second each time it is read."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def now(self) -> datetime:
        return START + timedelta(seconds=next(self._ticks))


class Results(dict[Digest, StepResult]):
    """A journal in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.asked: list[Request] = []

    def lookup(self, key: Digest) -> StepResult | None:
        return self.get(key)

    def write(self, events: Sequence[Event]) -> dict[str, StepResult]:
        first = {}
        for event in events:
            if event.kind == "node-finished" and event.result is not None:
                kept = self.setdefault(Digest(event.key), event.result)
                if kept.outputs != event.result.outputs:
                    first[event.task] = kept
        self.events += events
        return first

    def request(self) -> Request:
        return self.asked.pop(0) if self.asked else ""


class Answers(dict[str, Verdict]):
    """Waits in memory: what is decided, by task."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: dict[Digest, str] = {}

    def open(self, key: Digest, task: str, params: Mapping[str, Any], about: Sequence[Stored]) -> str:
        self.opened.setdefault(key, task)
        return f"case of {task}"

    def verdict(self, key: Digest, params: Mapping[str, Any]) -> Verdict | None:
        return self.get(self.opened[key])


@dataclass
class Desk:
    """Everything an execution needs, in memory."""

    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    memory: Results = field(default_factory=Results)
    waits: Answers = field(default_factory=Answers)
    files: dict[str, bytes] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    datasets: dict[str, Stored] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    builtins: dict[str, Callable[..., Any]] = field(default_factory=dict)
    environment: Digest = field(default_factory=lambda: of_bytes(b"environment"))

    def file(self, path: str) -> Stored:
        if path not in self.files:
            raise NotFound(f"no file {path!r}")
        name = path.rpartition("/")[2]
        return Stored(digest=self.blobs.put(self.files[path]), media=f"{FILE_MEDIA}; name={name}")

    def dataset(self, name: str, version: int | None, as_of: datetime | None) -> Stored:
        if name not in self.datasets:
            raise NotFound(f"no dataset {name!r}")
        return self.datasets[name]

    def pin(self, builtin: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {**params, **({"version": self.pins[builtin]} if builtin in self.pins else {})}

    def keep(self, value: Any) -> Stored:
        encoded = STANDARD.encode(value)
        return Stored(digest=self.blobs.put(encoded.data), media=encoded.media)

    def execute(self, plan: Plan, **changes: Any) -> RunReport:
        ports: dict[str, Any] = {
            "blobs": self.blobs,
            "journal": self.memory,
            "resolver": self,
            "waits": self.waits,
            "executor": InProcess(builtins=self.builtins),
            "isolated": Subprocess(grace=0.2),
            "environment": self.environment,
            "clock": Ticking(),
            "builtins": [Builtin(name=name, version=1) for name in self.builtins],
            "watch": self.events.append,
            "patience": 0.0,
            "chance": lambda: 0.0,
            "pause": lambda seconds: self.pauses.append(round(seconds)),
        }
        return execute(plan, **{**ports, **changes})

    def values(self, report: RunReport, name: str = "result") -> list[Any]:
        return [
            STANDARD.decode(Encoded(media=stored.media, data=self.blobs.get(stored.digest)))
            for stored in report.results[name]
        ]

    def said(self, *kinds: str) -> list[str]:
        return [f"{event.kind} {event.task}".strip() for event in self.events if not kinds or event.kind in kinds]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[..., ModuleType]]:
    """Write a pipeline file and load it: `write(text)`, or `write(text, name="other")`. Loading is undone."""
    modules, path = set(sys.modules), list(sys.path)
    counter = itertools.count()

    def loaded(text: str, name: str = "pipeline", folder: str = "") -> ModuleType:
        where = tmp_path / (folder or f"version-{next(counter)}")
        where.mkdir(exist_ok=True)
        file = where / f"{name}.py"
        file.write_text(textwrap.dedent(text), "utf-8")
        return load(file)

    yield loaded
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path[:] = path
