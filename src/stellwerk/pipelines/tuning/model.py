"""The values of tuning: budgets, what is asked for, trials and how they ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from stellwerk.core.arguments import named
from stellwerk.core.clock import parse_duration
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import Encoded, Stored
from stellwerk.pipelines.tuning.space import Space, document, parse, recall, walk

Goal = Literal["minimize", "maximize"]
Search = Literal["tpe", "random", "grid", "cmaes", "nsga2"]
SEARCHES: tuple[Search, ...] = ("tpe", "random", "grid", "cmaes", "nsga2")
Stopping = Literal["median", "hyperband", "asha"]
STOPPINGS: tuple[Stopping, ...] = ("median", "hyperband", "asha")
State = Literal["running", "done", "pruned", "failed"]
MAX_TRIALS = 100_000
MAX_WORKERS = 256
VALUE = "value"
"""What the only objective is called where the step returns a number."""


@named
@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may be spent: a number of trials, a time, or whichever is over first.

    Args:
        trials: How many, also those that fail and those that are pruned.
        time: Such as `10m`: no trial begins when the trials took this long, shared among the workers.
    """

    trials: int | None = None
    time: str = ""

    def __post_init__(self) -> None:
        number = self.trials
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise _wrong(f"trials is {number!r} (expected a whole number)")
        if number is not None and not 1 <= number <= MAX_TRIALS:
            raise _wrong(f"trials is {number} (expected 1 to {MAX_TRIALS:,})")
        if not isinstance(self.time, str) or (number is None and not self.time):
            raise _wrong("a budget has a number of trials, a time such as '10m', or both")
        if self.time and parse_duration(self.time).total_seconds() <= 0:
            raise _wrong(f"time is {self.time!r} (expected more than nothing)")

    @property
    def seconds(self) -> float | None:
        """The time in seconds."""
        return parse_duration(self.time).total_seconds() if self.time else None


@named
@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """When a trial that reports is ended early.

    Args:
        kind: `median` ends what is worse than the median of the others at the same step; `hyperband` and `asha`
            (successive halving) let the best share at growing steps go on.
        first: The step before which nothing is ended.
        most: The step at which a trial would end by itself (hyperband); found from the first trials by default.
        eta: One in so many goes on (hyperband, asha).
        startup: How many trials run to their end first (median).
    """

    kind: Stopping = "median"
    first: int = 1
    most: int | None = None
    eta: int = 3
    startup: int = 5

    def __post_init__(self) -> None:
        if self.kind not in STOPPINGS:
            raise _wrong(f"the pruner is {self.kind!r} (expected {', '.join(STOPPINGS)})")
        numbers = {"first": (self.first, 0), "eta": (self.eta, 2), "startup": (self.startup, 0)}
        numbers |= {"most": (self.most, 1)} if self.most is not None else {}
        for what, (value, least) in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise _wrong(f"{what} of the pruner is {value!r} (expected a whole number from {least})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is sought: a number, and whether little or much of it is good."""

    metric: str = VALUE
    goal: Goal = "minimize"

    def better(self, first: float, second: float) -> bool:
        """Whether the first of two values is the better one."""
        return first < second if self.goal == "minimize" else first > second


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything that decides which parameters are tried next, besides what became of those before."""

    space: Space
    objectives: tuple[Objective, ...] = (Objective(),)
    search: Search = "tpe"
    pruning: Pruning | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise _wrong(f"the search is {self.search!r} (expected {', '.join(SEARCHES)})")
        for one in self.objectives:
            if one.goal not in ("minimize", "maximize") or not isinstance(one.metric, str) or not one.metric:
                raise _wrong(f"an objective is {one!r} (expected a name, and minimize or maximize)")
        names = [one.metric for one in self.objectives]
        if not names or len(set(names)) != len(names):
            raise _wrong(f"the objectives are {names} (expected different names)")
        if len(names) > 1 and self.pruning is not None:
            raise _wrong("trials with several objectives cannot be pruned: which is worse is not known half-way")
        if len(names) > 1 and self.search == "cmaes":
            raise _wrong("cmaes seeks one objective (expected nsga2, tpe, random or grid for several)")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise _wrong(f"the seed is {self.seed!r} (expected a whole number from 0 to 2^32 - 1)")

    def document(self) -> dict[str, Any]:
        """As JSON: part of what names a study."""
        pruning = self.pruning
        return {
            "space": document(self.space),
            "objectives": [{"metric": one.metric, "goal": one.goal} for one in self.objectives],
            "search": self.search,
            "pruning": None
            if pruning is None
            else {
                "kind": pruning.kind, "first": pruning.first, "most": pruning.most, "eta": pruning.eta,
                "startup": pruning.startup,
            },
            "seed": self.seed,
        }  # fmt: skip

    def searched(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What of the parameters of a run was searched."""
        return walk(self.space, recall(self.space, params))

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Setup:
        """The value of a document."""
        return cls(
            space=parse(said["space"]),
            objectives=tuple(Objective(**one) for one in said["objectives"]),
            search=said["search"],
            pruning=None if said["pruning"] is None else Pruning(**said["pruning"]),
            seed=said["seed"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One trial as it stands.

    Args:
        epoch: Counts who had it, from 1: whoever holds an older one can no longer end it.
        params: What was chosen for it.
        values: One for each objective, once it is done.
        reports: What it reported on the way, by step.
        held: Whether somebody may still be at work on it.
    """

    number: int
    epoch: int
    run: str
    params: dict[str, Any]
    state: State
    started_at: datetime
    ended_at: datetime | None = None
    values: tuple[float, ...] = ()
    reports: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0
    cached: bool = False
    held: bool = False
    error: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a trial ended.

    Args:
        outputs: What the step made, to be kept; with `known` what is kept already.
        key: The step key; what is known under it costs nothing.
    """

    state: State
    values: tuple[float, ...] = ()
    reports: tuple[tuple[int, float], ...] = ()
    outputs: dict[str, Encoded] = field(default_factory=dict)
    known: dict[str, Stored] = field(default_factory=dict)
    cached: bool = False
    key: str = ""
    log: str = ""
    error: str = ""
    seconds: float = 0.0


def _wrong(what: str) -> Invalid:
    return Invalid(f"this cannot be tuned: {what}", code="invalid-tuning")
