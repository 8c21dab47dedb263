"""Endpoints, policies, verdicts, releases, lease tokens, signals. How they follow from each other is in `rules`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from stellwerk.core.digest import Digest

Outcome = Literal["clear", "stop", "unproven"]
Signal = Literal["clear", "caution", "stop"]
Risk = Literal["minimal", "limited", "high"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One number of the business owner: a floor or a ceiling, and how much worse than today is tolerable."""

    metric: str
    floor: float | None = None
    ceiling: float | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRule:
    """Columns whose values are judged one by one, and what happens where no proof exists."""

    by: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()
    unproven: Literal["human", "refuse"] = "human"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRule:
    """How long a release may last."""

    maximum: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What happens to single predictions before they leave."""

    audit: float | Literal["auto"] = "auto"
    """Share sent to people at random; never 0 where anything is decided automatically (law 11)."""
    review_queue: str = "review"
    review_due: timedelta = timedelta(hours=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """What the owner declared in `stellwerk.toml`: one business decision."""

    name: str
    purpose: str
    owner: str
    deputy: str = ""
    risk: Risk = "limited"
    policy: tuple[str, ...] = ("base@1",)
    fallback: str = "refuse"
    """previous | human | refuse"""
    goals: tuple[Goal, ...] = ()
    slices: SliceRule = field(default_factory=SliceRule)
    lease: LeaseRule = field(default_factory=lambda: LeaseRule(maximum=timedelta(days=30)))
    steering: Steering = field(default_factory=Steering)
    label_delay: timedelta = timedelta(days=1)
    """After this the true answer of a prediction should be known; younger predictions are not judged."""
    traffic_per_day: int = 1000
    groups: tuple[str, ...] | None = None
    """Columns that, with the day, name cases which share more than chance; None where cases are independent."""
    environment: str = "production"
    subject: str = ""
    """Column that says whom a row is about; what is logged of it is encrypted under that person's key (law 12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Evidence that a policy demands."""

    evidence: str
    """Kind of evidence: quality, file-scan, latency, contract, provenance, leakage, own-results, rebuild, steps."""
    max_age: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A versioned set of requirements. An empty one refuses (law 3)."""

    name: str
    version: int
    requirements: tuple[Requirement, ...]
    lease_cap: dict[Risk, int]
    """Days a lease may last at most, by risk class."""
    steps: tuple[str, ...] = ()
    """Kinds of steps that must have run on the way to the model, or beside it in its pipeline."""

    def demands(self, evidence: str) -> bool:
        """Whether it demands evidence of this kind."""
        return any(requirement.evidence == evidence for requirement in self.requirements)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One line of a verdict: which check, how it came out, and the numbers behind it."""

    check: str
    outcome: Literal["pass", "fail", "unproven"]
    text: str
    n_needed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The computed answer to: may this model run on this endpoint?"""

    id: str
    endpoint: str
    model: Digest
    plan: Digest
    attempt: int
    outcome: Outcome
    reasons: tuple[Reason, ...]
    routed: tuple[tuple[str, str], ...]
    """Slices (column, value) without proof, whose cases go to people."""
    n_needed: int | None
    """Further labelled gate cases that would probably settle what is unproven."""
    evidence: tuple[Digest, ...]
    given_at: datetime
    valid_until: datetime
    """When the first piece of its evidence expires."""
    proven: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Slice column → values that were proven; one that the gate set never held is not among them."""
    metrics: dict[str, tuple[float | None, float | None, float | None]] = field(default_factory=dict)
    """Goal metric → (estimate, lower, upper) on the gate set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A signed permission for one model version on one endpoint, for a limited time."""

    id: str
    endpoint: str
    environment: str
    model: Digest
    model_name: str
    model_version: int
    verdict: str
    status: Literal["active", "superseded", "stopped"]
    granted_at: datetime
    granted_by: str
    expires_at: datetime
    lease_method: str
    audit_share: float
    routed: tuple[tuple[str, str], ...]
    risk_limit: float | None
    """Upper bound of the mean loss at release: what the risk tracker compares with."""
    statement: Digest
    """The signed in-toto statement, a blob."""
    proven: dict[str, tuple[str, ...]] = field(default_factory=dict)
    supersedes: str | None = None
    ended_at: datetime | None = None
    ended_why: str = ""
    harmful: bool = False
    """It was stopped because harm was proven: its verdict permits nothing any more."""
    caution: str = ""
    """Why the signal is at caution; empty when it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseToken:
    """A short-lived, signed statement that a release holds; serving checks it without asking anybody."""

    workspace: str
    endpoint: str
    environment: str
    release: str
    model: Digest
    mode: Literal["clear", "caution"]
    why: str
    not_before: datetime
    not_after: datetime
    audit_share: float
    routed: tuple[tuple[str, str], ...]
    proven: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Slice column → proven values. Where a column is named, every other value goes to people (law 3)."""
    steering: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalState:
    """What an endpoint shows, and why."""

    signal: Signal
    why: str
    token: LeaseToken | None = None
