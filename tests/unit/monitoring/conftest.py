"""A workspace on disk, a clock that stands still, and a log of predictions whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.models.model import Column, Signature
from stellwerk.monitoring.model import Baseline, Outcome
from stellwerk.monitoring.service import Monitoring
from stellwerk.store.adapters.local import LocalFolder

START = datetime(2026, 1, 5, tzinfo=UTC)
MODEL = of_bytes(b"model")
SIGNATURE = Signature(
    inputs=(
        Column(name="distance", kind="number"),
        Column(name="carrier", kind="category"),
        Column(name="departure", kind="time"),
    ),
    target="late",
    task="binary",
    classes=("no", "yes"),
)


@dataclass
class StandingClock:
    """Time that only moves when a test moves it."""

    instant: datetime = START

    def now(self) -> datetime:
        return self.instant


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A batch as serving would hand it out."""

    id: str
    at: datetime
    count: int
    columns: Mapping[str, Sequence[Any]]
    scores: Sequence[Any]
    release: str = "r1"
    model: Digest = MODEL
    steered: Mapping[int, object] = field(default_factory=dict)


class Log:
    """A log of predictions in memory."""

    def __init__(self) -> None:
        self.kept: list[Logged] = []

    def batches(self, endpoint: str, since: datetime, until: datetime) -> Iterator[Logged]:
        return (batch for batch in self.kept if since <= batch.at < until)

    def sizes(self, endpoint: str, batches: Collection[str]) -> Mapping[str, int]:
        return {batch.id: batch.count for batch in self.kept if batch.id in batches}


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Inputs, scores of a calibrated model, and the truth."""

    columns: dict[str, list[Any]]
    scores: list[float]
    labels: list[str]


def draw(n: int, rng: np.random.Generator, *, decay: float = 0.0, shift: float = 0.0) -> Cases:
    """Cases of a world in which the share `decay` of the truth has become a matter of chance."""
    distance = rng.normal(shift, 1.0, n)
    carrier = rng.choice(["AA", "UA", "DL"], n, p=[0.5, 0.3, 0.2])
    logits = 1.5 * distance + np.where(carrier == "UA", 0.5, 0.0) - 0.5
    scores = 1 / (1 + np.exp(-logits))
    truth = np.where(rng.random(n) < decay, rng.random(n) < 0.5, rng.random(n) < scores)
    return Cases(
        columns={
            "distance": distance.tolist(),
            "carrier": carrier.tolist(),
            "departure": [f"2026-01-{1 + k % 28:02d}T00:00:00Z" for k in range(n)],
        },
        scores=scores.tolist(),
        labels=["yes" if late else "no" for late in truth],
    )


@dataclass
class World:
    """One workspace with its log, and the means to fill it."""

    monitoring: Monitoring
    log: Log
    clock: StandingClock
    database: Database
    blobs: LocalFolder
    truth: dict[str, str] = field(default_factory=dict)

    def other(self, workspace: str = "w") -> Monitoring:
        """A further process on the same database."""
        return Monitoring(WorkspaceBook(self.database, workspace, "bob"), self.blobs, self.clock, self.log)

    def entries(self, *kinds: str) -> list[Any]:
        return self.database.entries("w", kinds=kinds)

    def serve(
        self, cases: Cases, *, at: datetime, size: int = 100, apart: timedelta = timedelta(hours=1)
    ) -> list[str]:
        """Log cases in batches, one batch after the other; returns their ids."""
        names = []
        for start in range(0, len(cases.labels), size):
            rows = slice(start, start + size)
            scores = cases.scores[rows]
            batch = Logged(
                id=f"b{len(self.log.kept):06d}",
                at=at + apart * (start // size),
                count=len(scores),
                columns={name: tuple(values[rows]) for name, values in cases.columns.items()},
                scores=tuple(scores),
            )
            self.log.kept.append(batch)
            fresh = [f"{batch.id}-{row}" for row in range(batch.count)]
            self.truth.update(zip(fresh, cases.labels[rows], strict=True))
            names += fresh
        return names

    def answers(self, names: Sequence[str], *, delay: timedelta = timedelta(hours=12)) -> list[Outcome]:
        """The truth about predictions, as it becomes known."""
        times = {batch.id: batch.at for batch in self.log.kept}
        return [
            Outcome(prediction=name, label=self.truth[name], observed_at=times[name.rpartition("-")[0]] + delay)
            for name in names
        ]

    def baseline(self, **options: Any) -> Baseline:
        """What was true at release, from 4,000 cases of the same world."""
        reference = draw(4000, np.random.default_rng(7))
        _, made = self.monitoring.make_baseline(
            "delay",
            MODEL,
            signature=SIGNATURE,
            columns=reference.columns,
            scores=reference.scores,
            labels=reference.labels,
            **options,
        )
        return made


def build(folder: Path) -> World:
    clock, log = StandingClock(), Log()
    database = Database(folder / "book.sqlite", clock)
    database.create("test")
    blobs = LocalFolder(folder / "blobs")
    monitoring = Monitoring(WorkspaceBook(database, "w", "anna"), blobs, clock, log)
    return World(monitoring=monitoring, log=log, clock=clock, database=database, blobs=blobs)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = build(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[[], World]]:
    """As many workspaces as a property test asks for."""
    made: list[World] = []

    def another() -> World:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(build(folder))
        return made[-1]

    yield another
    for one in made:
        one.database.close()


@pytest.fixture
def cases() -> Callable[..., Cases]:
    return draw
