"""Progress: one line per step, whatever seeds, retries and failures there are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from stellwerk.cli.progress import Phases, Progress, Steps, plain_lines
from stellwerk.pipelines.model import Event, EventKind, Failure, Node, Plan

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PLAN = Plan(
    name="delay",
    nodes=(
        Node(id="dataset:flights", step="dataset:flights", kind="input", function="builtin:dataset"),
        Node(id="prepare", step="prepare", kind="features", function="m:prepare"),
        Node(id="train", step="train", kind="train", function="m:train", seeds=2),
    ),
)


class Kept:
    """Keeps what was put."""

    def __init__(self) -> None:
        self.lines: dict[str, Progress] = {}

    def put(self, line: Progress) -> None:
        self.lines[line.name] = line

    def states(self) -> dict[str, tuple[str, str]]:
        return {name: (line.state, line.note) for name, line in self.lines.items()}


def event(kind: EventKind, node: str, **facts: Any) -> Event:
    return Event(kind=kind, at=NOW, node=node, task=node, **facts)


def test_every_step_is_there_from_the_start() -> None:
    """One sees what is to come."""
    lines = Kept()

    Steps(PLAN, lines)

    assert {
        "dataset:flights": ("waiting", ""),
        "prepare": ("waiting", ""),
        "train": ("waiting", ""),
    } == lines.states()


def test_a_step_with_seeds_is_one_line() -> None:
    """It is done when all seeds are, and counts until then."""
    lines = Kept()
    steps = Steps(PLAN, lines)

    steps(event("node-started", "train", seed=0))
    steps(event("node-finished", "train", seed=0))
    half = lines.states()["train"]
    steps(event("node-started", "train", seed=1))
    steps(event("node-finished", "train", seed=1))

    assert ("running", "1 of 2 seeds") == half
    assert ("done", "2 seeds") == lines.states()["train"]


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        ("cached", ("node-cached", "node-cached")),
        ("done", ("node-cached", "node-finished")),
        ("failed", ("node-finished", "node-failed")),
        ("skipped", ("node-skipped", "node-skipped")),
    ],
)
def test_the_worst_seed_decides(state: str, kinds: tuple[EventKind, EventKind]) -> None:
    """A step is cached only if all of it was; it failed if any of it did."""
    lines = Kept()
    steps = Steps(PLAN, lines)

    for seed, kind in enumerate(kinds):
        steps(event(kind, "train", seed=seed))

    assert state == lines.lines["train"].state


def test_tracebacks_of_the_users_code_are_kept() -> None:
    """And those without frames are not: they would only repeat the error."""
    steps = Steps(PLAN, Kept())

    for text in ("Traceback (most recent call last):\n  File ...", "stellwerk.core.errors.Refused: no"):
        failure = Failure(code="step-failed", message="no", traceback=text)
        steps(event("node-failed", "prepare", failure=failure))

    assert ["Traceback (most recent call last):\n  File ..."] == steps.tracebacks


def test_an_interrupted_step_says_so() -> None:
    """Ctrl-C leaves no line that looks as if it still ran."""
    lines = Kept()

    def work() -> None:
        with Steps(PLAN, lines) as steps:
            steps(event("node-started", "prepare"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()

    assert ("failed", "interrupted") == lines.states()["prepare"]
    assert ("waiting", "") == lines.states()["train"]


def test_events_about_nothing_known_are_ignored() -> None:
    """Progress of the whole has no line of its own."""
    lines = Kept()
    steps = Steps(PLAN, lines)
    before = lines.states()

    steps(Event(kind="progress", at=NOW, done=1, total=3))

    assert before == lines.states()


def test_phases_end_when_the_next_begins() -> None:
    """Work that says what it does is a list of lines."""
    lines = Kept()

    with Phases(lines) as phases:
        phases("scanning")
        phases("asking the model")
        during = lines.states()

    assert {"scanning": ("done", ""), "asking the model": ("running", "")} == during
    assert ("done", "") == lines.states()["asking the model"]


def test_a_phase_in_which_something_fails_failed() -> None:
    """The line says where it went wrong."""
    lines = Kept()

    def work() -> None:
        with Phases(lines) as phases:
            phases("scanning")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        work()

    assert ("failed", "") == lines.states()["scanning"]


def test_a_log_gets_each_line_once_when_it_ends() -> None:
    """CI logs are read from top to bottom."""
    said: list[str] = []
    lines = plain_lines(said.append)

    lines.put(Progress(name="train"))
    lines.put(Progress(name="train", state="running", since=0.0))
    lines.put(Progress(name="train", state="done", seconds=4.2, note="3 seeds"))
    lines.put(Progress(name="evaluate", state="cached"))

    assert ["train: done in 4.2 s, 3 seeds", "evaluate: cached"] == said


@pytest.mark.parametrize(
    ("place", "typed"),
    [
        ("", "stellwerk worker"),
        ("https://stellwerk.example", "stellwerk -w https://stellwerk.example worker"),
        ("my work", "stellwerk -w 'my work' worker"),
    ],
)
def test_a_run_without_workers_says_what_to_type(place: str, typed: str) -> None:
    """One line, also in a log, with the workspace as it was named."""
    said: list[str] = []
    steps = Steps(PLAN, plain_lines(said.append), place)

    steps(Event(kind="workers-awaited", at=NOW))

    assert [f"--on workers: no worker has taken a step so far; start one on this workspace: {typed}"] == said
