"""Plans, gate sets, check results and evidence. Results are computed in `quality` and judged a floor above."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from stellwerk.core.digest import Digest

CheckKind = Literal["floor", "ceiling", "guardrail", "success", "slice", "requirement"]
CheckOutcome = Literal["pass", "fail", "unproven"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSet:
    """Cases kept apart to judge models on. Labels are encrypted; only `prove` opens them, and each opening counts."""

    name: str
    version: int
    target: str
    task: Literal["binary", "multiclass", "regression"]
    features: Digest
    """Parquet of the inputs, readable by everybody."""
    labels: Digest
    """Parquet of the labels, encrypted."""
    commitment: Digest
    """Digest of the plain labels' Parquet with a secret salt, so that a later exchange would show."""
    rows: int
    marks: Digest
    """Eight bytes of hash per case, sorted: shows which cases two gate sets share."""
    sealed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A plan that opened a gate set. The same plan opens it once, however often it is resumed."""

    gate: str
    gate_version: int
    plan: Digest
    attempt: int
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGoal:
    """One number a model is judged by."""

    metric: str
    floor: float | None = None
    ceiling: float | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that decides a verdict, frozen in the ledger before the gate set is opened (law 2)."""

    endpoint: str
    environment: str
    model: Digest
    champion: Digest | None
    """The model that runs today, to be compared with on the same cases."""
    gate: str
    gate_version: int
    gate_features: Digest
    gate_commitment: Digest
    goals: tuple[PlannedGoal, ...]
    slice_by: tuple[str, ...]
    slice_goals: tuple[PlannedGoal, ...]
    slice_unproven: Literal["human", "refuse"]
    policy: tuple[str, ...]
    required: tuple[str, ...]
    """Kinds of evidence the policies demand."""
    groups: tuple[str, ...] | None
    """Columns that, with the day, name cases which share more than chance; None where cases are independent."""
    reason: str
    """first | improvement | retrain | security | cost"""
    alpha: float = 0.05
    power: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One question of a plan, answered with bounds."""

    name: str
    kind: CheckKind
    outcome: CheckOutcome
    text: str
    """One plain sentence with the numbers."""
    metric: str = ""
    estimate: float | None = None
    lower: float | None = None
    upper: float | None = None
    limit: float | None = None
    n: int = 0
    n_needed: int | None = None
    """Further cases that would probably settle an unproven check."""
    method: str = ""
    slice: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A dated, signed measurement about one digest."""

    id: str
    kind: str
    """quality | file-scan | latency | contract | provenance | leakage | own-results | steps | fitness | rebuild"""
    subject: Digest
    plan: Digest | None
    results: tuple[CheckResult, ...]
    observed_at: datetime
    max_age: timedelta
    """After this it no longer counts (law 5)."""
    facts: dict[str, Any] = field(default_factory=dict)
    statement: Digest | None = None
    """The DSSE envelope of the in-toto statement, a blob."""
