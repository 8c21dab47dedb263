"""Whether probabilities mean what they say, and what they say about quality without labels. Ranking is in `auc`.

Labels are 0 or 1, probabilities are of label 1; both of shape (n,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.paired import Significance
from stellwerk.evidence.statistics.samples import Floats, binary, level, same_length, unit

CLIP = 1e-15
"""Probabilities are moved this far away from 0 and 1 before a logarithm; log loss is then at most 34.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """The logistic regression logit P(y=1) = intercept + slope·logit(p) (Cox 1958; Miller, Hui & Tierney 1991).

    Perfect calibration is slope 1 and intercept 0; a slope below 1 means overconfidence.

    Attributes:
        slope: Fitted slope.
        slope_se: Its standard error, from the observed information.
        intercept: Fitted intercept.
        intercept_se: Its standard error.
        n: Number of cases.
    """

    slope: float
    slope_se: float
    intercept: float
    intercept_se: float
    n: int

    def plausible(self, *, alpha: float) -> bool:
        """Whether both two-sided Wald intervals of level 1 - alpha contain slope 1 and intercept 0."""
        z = float(stats.norm.isf(level(alpha) / 2))
        return abs(self.slope - 1) <= z * self.slope_se and abs(self.intercept) <= z * self.intercept_se


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationError:
    """Binned calibration error, for display only: it depends on the bins.

    Attributes:
        plain: Σ (n_b/n)·|mean p - mean y|, biased upwards by noise.
        debiased: Root mean square over bins with the noise ȳ(1-ȳ)/(n_b-1) taken off (Kumar, Liang & Ma 2019), at
            least 0.
        bins: Number of bins used.
    """

    plain: float
    debiased: float
    bins: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Expected shares of all cases: true and false positives and negatives; they sum to 1."""

    tp: float
    fp: float
    tn: float
    fn: float


def brier_losses(y: ArrayLike, p: ArrayLike) -> Floats:
    """(p - y)² per case, in [0, 1]: their mean is the Brier score, their bounds those of any mean."""
    labels, chances = _cases(y, p)
    losses: Floats = (chances - labels) ** 2
    return losses


def brier(y: ArrayLike, p: ArrayLike) -> float:
    """The Brier score, the mean of (p - y)² (1950)."""
    return float(brier_losses(y, p).mean())


def log_losses(y: ArrayLike, p: ArrayLike) -> Floats:
    """-ln of the probability given to what happened, per case, in nats; p is clipped to [CLIP, 1 - CLIP]."""
    labels, chances = _cases(y, p)
    given = np.where(labels == 1.0, chances, 1.0 - chances)
    losses: Floats = -np.log(np.clip(given, CLIP, 1.0 - CLIP))
    return losses


def log_loss(y: ArrayLike, p: ArrayLike) -> float:
    """The mean of `log_losses`."""
    return float(log_losses(y, p).mean())


def spiegelhalter(y: ArrayLike, p: ArrayLike) -> Significance:
    """Test of calibration, Z = Σ(y-p)(1-2p)/√(Σ(1-2p)²·p(1-p)) (Spiegelhalter 1986), p two-sided.

    Raises:
        Invalid: `no-variation` if every probability is 0, ½ or 1, where Z is not defined.
    """
    labels, chances = _cases(y, p)
    tilt = 1.0 - 2.0 * chances
    variance = float((tilt**2 * chances * (1.0 - chances)).sum())
    if variance == 0.0:
        raise Invalid("every probability is 0, ½ or 1", code="no-variation")
    z = float(((labels - chances) * tilt).sum()) / math.sqrt(variance)
    return Significance(statistic=z, p=2.0 * float(stats.norm.sf(abs(z))), df=None)


def recalibrate(y: ArrayLike, p: ArrayLike) -> Recalibration:
    """Fit `Recalibration` by Newton's method with step halving; p is clipped to [CLIP, 1 - CLIP].

    Raises:
        Invalid: `no-fit` if the labels are separated by p, there is one class only, or p is constant.
    """
    labels, chances = _cases(y, p)
    logits = special.logit(np.clip(chances, CLIP, 1.0 - CLIP))
    centre, scale = float(logits.mean()), float(logits.std())
    if not scale > 1e-9 or not _overlap(labels, logits):
        raise Invalid(
            "the logistic recalibration has no solution: constant probabilities or separated labels",
            code="no-fit",
            hint="gather more cases",
        )
    beta, covariance = _newton(np.column_stack([np.ones_like(logits), (logits - centre) / scale]), labels)
    # Back from standardised logits: slope = b1/scale, intercept = b0 - b1·centre/scale.
    back = np.array([[1.0, -centre / scale], [0.0, 1.0 / scale]])
    (intercept, slope), errors = back @ beta, np.sqrt(np.diag(back @ covariance @ back.T))
    return Recalibration(
        slope=float(slope),
        slope_se=float(errors[1]),
        intercept=float(intercept),
        intercept_se=float(errors[0]),
        n=len(labels),
    )


def calibration_error(y: ArrayLike, p: ArrayLike, *, bins: int = 15) -> CalibrationError:
    """Expected calibration error over about equally filled bins of p; equal probabilities share a bin."""
    labels, chances = _cases(y, p)
    if bins < 1:
        raise Invalid(f"{bins} bins (expected at least 1)", code="outside-domain")
    edges = np.unique(np.quantile(chances, np.arange(1, bins) / bins, method="inverted_cdf"))
    member = np.searchsorted(edges, chances, side="left")
    sizes = np.bincount(member, minlength=len(edges) + 1)
    held = sizes > 0
    weight = sizes[held] / len(chances)
    rate, chance = (
        np.bincount(member, weights=part, minlength=len(sizes))[held] / sizes[held] for part in (labels, chances)
    )
    squared = (chance - rate) ** 2 - rate * (1.0 - rate) / np.maximum(1, sizes[held] - 1)
    return CalibrationError(
        plain=float((np.abs(chance - rate) * weight).sum()),
        debiased=math.sqrt(max(0.0, float((squared * weight).sum()))),
        bins=int(held.sum()),
    )


def expected_confusion(p: ArrayLike, *, threshold: float = 0.5) -> Confusion:
    """The confusion matrix to expect without labels, predicting 1 where p >= threshold (CBPE, NannyML).

    Assumes calibrated p, the same P(y|x) as at release and no shift to unseen regions; it cannot see concept drift
    and never renews a lease alone.
    """
    chances = unit(p, what="probabilities")
    unit([threshold], what="threshold")
    chosen = chances >= threshold
    n = len(chances)
    tp, fp = float(chances[chosen].sum()) / n, float((1.0 - chances[chosen]).sum()) / n
    tn, fn = float((1.0 - chances[~chosen]).sum()) / n, float(chances[~chosen].sum()) / n
    return Confusion(tp=tp, fp=fp, tn=tn, fn=fn)


def expected_accuracy(p: ArrayLike, *, threshold: float = 0.5) -> float:
    """The accuracy to expect without labels: the mean P(prediction is right) (CBPE); see `expected_confusion`."""
    found = expected_confusion(p, threshold=threshold)
    return found.tp + found.tn


def expected_auc(p: ArrayLike, score: ArrayLike | None = None) -> float:
    """The AUC to expect without labels, over all thresholds (CBPE); see `expected_confusion` for what it assumes.

    Each case counts as a positive with weight p and as a negative with weight 1 - p.

    Args:
        p: Calibrated probabilities.
        score: What the model ranks by, if that is not p.

    Raises:
        Invalid: `one-class` if every probability is 0 or every one is 1.
    """
    chances = unit(p, what="probabilities")
    ranked = chances if score is None else np.asarray(score, dtype=np.float64)
    same_length(chances, ranked, what="probabilities and scores")
    _, group = np.unique(ranked, return_inverse=True)
    up, down = np.bincount(group, weights=chances), np.bincount(group, weights=1.0 - chances)
    if not up.sum() > 0.0 or not down.sum() > 0.0:
        raise Invalid("every case is certain to be of one class", code="one-class")
    below = np.cumsum(down) - down / 2
    return float((up * below).sum() / (up.sum() * down.sum()))


def _cases(y: ArrayLike, p: ArrayLike) -> tuple[Floats, Floats]:
    labels, chances = binary(y).astype(np.float64), unit(p, what="probabilities")
    same_length(labels, chances, what="labels and probabilities")
    return labels, chances


def _overlap(labels: Floats, logits: Floats) -> bool:
    """Whether neither class lies entirely on one side of the other; ties at the border do not count as overlap."""
    high, low = logits[labels == 1.0], logits[labels == 0.0]
    return bool(len(high) and len(low) and high.min() < low.max() and low.min() < high.max())


def _newton(design: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Maximum-likelihood coefficients and their covariance; the likelihood is concave and has a maximum."""
    beta = np.zeros(design.shape[1])
    value = _deviance(design, labels, beta)
    for _ in range(100):
        fitted = special.expit(design @ beta)
        information = (design * (fitted * (1.0 - fitted))[:, None]).T @ design
        step = np.linalg.solve(information, design.T @ (labels - fitted))
        size = 1.0
        while (new := _deviance(design, labels, beta + size * step)) > value + 1e-12 * abs(value) and size > 1e-6:
            size /= 2
        beta, value = beta + size * step, new
        if float(np.abs(size * step).max()) < 1e-9:
            return beta, np.asarray(np.linalg.inv(information), dtype=np.float64)
    raise Invalid("the logistic recalibration did not converge", code="no-fit", hint="gather more cases")


def _deviance(design: Floats, labels: Floats, beta: Floats) -> float:
    linear = design @ beta
    return float((np.logaddexp(0.0, linear) - labels * linear).sum())
