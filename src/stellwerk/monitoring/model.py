"""Outcomes, baselines, assessments, alarms and renewals as values. How they follow is in the other modules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from stellwerk.core.digest import Digest
from stellwerk.releases.model import Goal, Reason

Label = str | bool | int | float
Task = Literal["binary", "multiclass", "regression"]
AlarmKind = Literal["quality", "risk", "drift", "contract", "labels"]
Severity = Literal["note", "caution", "stop"]

SEVERITIES: tuple[Severity, ...] = ("note", "caution", "stop")
SCORE = "(score)"
"""The name under which the model's own answers are watched like a column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The truth about one prediction, as it became known."""

    prediction: str
    label: Label
    observed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeBatch:
    """Outcomes that arrived together; they are one blob, so that no personal data enters the ledger.

    `number` counts the batches of an endpoint from 0: of two outcomes for one prediction the earlier batch wins.
    """

    id: str
    endpoint: str
    number: int
    recorded_at: datetime
    count: int
    first_prediction: str
    last_prediction: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeReport:
    """What became of outcomes that were sent.

    Attributes:
        batch: Where the new ones are; None if there were none.
        accepted: New outcomes, those of unknown predictions included.
        repeated: Known already with the same label; nothing to do.
        conflicts: Known already with another label; the first one stays.
        unknown: Accepted, but the log has no such prediction yet; they count as soon as it has.
        examples: Up to five predictions in conflict and up to five unknown ones.
    """

    batch: OutcomeBatch | None
    accepted: int
    repeated: int
    conflicts: int
    unknown: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnBaseline:
    """How one column looked at release.

    Attributes:
        counts: Rows per bin. Numbers: one bin up to each edge, one above, one of missing values. Categories: one per
            value, one of all others, one of missing values.
        edges: Upper ends of the bins of numbers.
        values: The categories that have a bin.
        quantiles: Of numbers, at evenly spaced levels.
        past: How much more than chance alone the PSI of each past block was: what moves without being drift.
    """

    name: str
    kind: Literal["number", "category"]
    rows: int
    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    past: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One metric with one-sided bounds, each at level `alpha`."""

    metric: str
    estimate: float
    lower: float | None
    upper: float | None
    se: float | None
    n: int
    alpha: float
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What was true at release, for everything later to be compared with.

    Attributes:
        loss: brier, or absolute-error clipped at `scale`; always within [0, 1].
        risk_estimate: Mean loss on the reference.
        risk_upper: U_S, its upper bound at level `risk_delta`: what the risk tracker compares with.
        expected: The label-free estimate of `metric` on the reference, None for regression.
        expected_spread: Its standard deviation over past blocks; 0 without blocks.
    """

    endpoint: str
    model: Digest
    made_at: datetime
    task: Task
    classes: tuple[str, ...]
    rows: int
    columns: tuple[ColumnBaseline, ...]
    loss: Literal["brier", "absolute-error"]
    scale: float
    risk_estimate: float
    risk_upper: float
    risk_delta: float
    metric: str
    measures: tuple[Measure, ...]
    expected: float | None = None
    expected_spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRecord:
    """Which blob holds the baseline of a model on an endpoint."""

    endpoint: str
    model: Digest
    digest: Digest
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an endpoint is watched.

    Attributes:
        label_delay: D; only predictions at least this old are judged by their labels.
        tolerance: ε of the risk tracker, in units of the loss.
        delta: δ_T: probability that the risk tracker ever alarms while nothing is wrong.
        alpha: Level of every single bound. Whoever tries to renew for the k-th time lowers it.
        goals: The owner's numbers; those that labels can measure are measured.
        groups: Columns that, with the day, name predictions which share more than chance (the weather at an airport
            in one hour): all bounds come from the spread between groups, and a group is one bet of the risk tracker.
            Empty for the day alone, None where cases are independent.
        window: Width of the windows; None for calendar months in UTC.
        restart: The risk tracker begins anew this often, so that a late harm is seen as fast as an early one.
        lookback: Only labels of this age or younger prove anything; None for all since the release.
        recent: Drift is judged on predictions of this span before now; None for all since the release.
        drift_alpha: False discovery rate over the columns of one assessment.
        effect_floor: Drift smaller than this is never material, however significant.
        estimate_margin: Fall of the label-free estimate that counts, unless the goal has a margin.
        expected_coverage: Share of mature predictions that should have labels; 0 where nothing is expected.
    """

    label_delay: timedelta = timedelta(days=1)
    tolerance: float = 0.01
    delta: float = 0.01
    alpha: float = 0.05
    goals: tuple[Goal, ...] = ()
    groups: tuple[str, ...] | None = None
    window: timedelta | None = None
    restart: timedelta = timedelta(days=7)
    lookback: timedelta | None = None
    recent: timedelta | None = None
    drift_alpha: float = 0.05
    effect_floor: float = 0.1
    estimate_margin: float = 0.02
    expected_coverage: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskState:
    """The risk tracker T1 (Podkopaev & Ramdas 2022), over labels in the order of their predictions.

    Attributes:
        lower: Best lower confidence bound of the mean loss so far, at level `delta`.
        upper: Upper confidence bound of the mean loss of all these labels, at level `alpha`, for one look.
        limit: U_S + ε: the mean loss that the release allows.
        evidence: The largest e-value so far against "the mean loss is within the limit"; alarm at 1/δ.
        alarm_label: Number of the label at which it alarmed, from 1.
        alarm_at: When that label's prediction was given.
        pessimistic: Mean loss if every mature prediction without a label had the loss 1.
    """

    labels: int
    estimate: float | None
    lower: float
    upper: float
    limit: float
    delta: float
    evidence: float
    alarm_label: int | None = None
    alarm_at: datetime | None = None
    pessimistic: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One month, or one span of the width asked for. `measure` is None where there are too few labels."""

    start: datetime
    end: datetime
    predictions: int
    matured: int
    labelled: int
    measure: Measure | None = None
    mean_loss: float | None = None
    positive_rate: float | None = None
    mean_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFinding:
    """How far one column has moved since release.

    Attributes:
        statistic: Population stability index.
        limit: What chance and the past allow, at the level left after correcting for the number of columns.
        effect: Numbers: Wasserstein distance in standard deviations. Categories: largest change of a share.
        n: Recent predictions compared.
    """

    column: str
    statistic: float
    limit: float
    effect: float
    significant: bool
    material: bool
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFree:
    """What quality to expect from the scores alone. It may warn; it never renews.

    `estimate` is the measure at release plus the change of the expected value since then.
    """

    metric: str
    estimate: float
    at_release: float
    margin: float
    fell: bool
    n: int
    assumes: str = (
        "calibrated scores, an unchanged relation between inputs and truth, no inputs unlike those at release"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something a person should know. A caution slows the signal down; a stop asks to end the release."""

    kind: AlarmKind
    severity: Severity
    text: str
    at: datetime
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRecord:
    """An alarm as it is kept: raised once per release and kind, cleared when an assessment no longer finds it."""

    id: str
    endpoint: str
    release: str
    kind: AlarmKind
    severity: Severity
    text: str
    numbers: dict[str, float]
    status: Literal["open", "cleared"]
    raised_at: datetime
    assessment: str
    cleared_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Whether the owner's first metric is proven worse than at release.

    Look k is judged at δ·6/(π²k²), so that P(false alarm) stays below δ however often one looks.

    Attributes:
        now: The metric over all labels since the release.
        at_release: Its bound at release on the side that promises least.
        margin: What the owner tolerates.
        proven: Whether the bound of `now` lies beyond `at_release` and the margin.
    """

    now: Measure
    at_release: float
    margin: float
    look: int
    proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What the log and the labels say about a release at one moment.

    Attributes:
        withheld: Predictions that people decided instead; their labels do not count here.
        matured: The others that are old enough to be judged.
        labelled: Those of them that have a label.
        coverage: labelled / matured; None without mature predictions.
        delay: Seconds within which nine of ten of these labels were known; None without labels.
        foreign_labels: Labels that the model cannot give; they count as loss 1.
        unusable_scores: Predictions whose score is no number, or no probability; they count as loss 1.
        proof: Mean loss of the labels that count for a renewal.
        measures: The owner's metrics over the same labels.
        decline: The first of them over all labels since the release, at the level that is left for this look.
        notes: What could not be judged, and why.
        digest: The blob with this assessment, in which this field is null.
    """

    id: str
    endpoint: str
    release: str
    model: Digest
    at: datetime
    since: datetime
    predictions: int
    matured: int
    labelled: int
    coverage: float | None
    delay: float | None
    withheld: int
    foreign_labels: int
    unusable_scores: int
    risk: RiskState
    proof: Measure | None
    measures: tuple[Measure, ...]
    windows: tuple[Window, ...]
    drift: tuple[DriftFinding, ...]
    label_free: LabelFree | None
    alarms: tuple[Alarm, ...]
    decline: Decline | None = None
    notes: tuple[str, ...] = ()
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalFacts:
    """Everything a renewal is decided by. Only labels of this lease prove fitness.

    Attributes:
        labels: Labelled predictions that count.
        labels_required: What the plan says a proof needs.
        coverage: Share of mature predictions with a label.
        proof: Mean loss with bounds.
        risk_at_release: R: the mean loss measured at release.
        risk_limit: An absolute limit of the mean loss, where one was set.
        alarms: Those open for this release.
        lease: Length of the lease that ends.
        cap: The longest that owner and policy allow.
        audit_share: Share of predictions that will get a label.
    """

    labels: int
    labels_required: int
    coverage: float | None
    expected_coverage: float
    goals: tuple[Goal, ...]
    measures: tuple[Measure, ...]
    at_release: tuple[Measure, ...]
    proof: Measure | None
    risk_at_release: float
    tolerance: float
    risk_limit: float | None
    alarms: tuple[Alarm, ...]
    contracts_green: bool
    owner: str
    plan_current: bool
    policy_current: bool
    lease: timedelta
    cap: timedelta
    label_delay: timedelta
    traffic_per_day: float
    audit_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalDecision:
    """Whether a lease goes on, for how long, and every reason for it.

    Attributes:
        length: Of the next lease; None unless renewed.
        labels_missing: Further labels that would probably settle what is unproven.
        audit_share: Share of predictions to label so that the next proof is in time; None if no share is enough.
    """

    renew: bool
    length: timedelta | None
    reasons: tuple[Reason, ...]
    labels_missing: int | None = None
    audit_share: float | None = None
