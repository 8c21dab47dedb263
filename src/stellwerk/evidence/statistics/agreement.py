"""How far raters, or two versions of a model, agree, and whether cases wait for people. Rules are made elsewhere.

Labels may be of any kind that compares for equality; all arrays have shape (n,).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics.bounds import clopper_pearson, clopper_pearson_lower
from stellwerk.evidence.statistics.samples import Bounds, level, same_length


def cohen_kappa(a: ArrayLike, b: ArrayLike, *, alpha: float) -> Bounds:
    """Agreement of two raters beyond chance, κ = (p_o - p_e)/(1 - p_e) (Cohen 1960), with one-sided bounds.

    Standard error by Fleiss, Cohen & Everitt 1969. The lower bound is no better than the one of perfect agreement
    over the same cases, (alpha^(1/n) - p_e)/(1 - p_e), so that it never claims 1.

    Raises:
        Invalid: `one-class` if both raters only ever used one and the same label.
    """
    table = _table(a, b)
    n = int(table.sum())
    share = table / n
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    observed, expected = float(np.trace(share)), float(rows @ columns)
    if np.count_nonzero(rows + columns) < 2:
        raise Invalid("both raters used one label only", code="one-class", hint="include cases of other kinds")
    kappa = (observed - expected) / (1 - expected)
    joint = rows[None, :] + columns[:, None]
    own = float((np.diag(share) * (1 - np.diag(joint) * (1 - kappa)) ** 2).sum())
    other = (1 - kappa) ** 2 * float((share * joint**2).sum() - (np.diag(share) * np.diag(joint) ** 2).sum())
    variance = (own + other - (kappa - expected * (1 - kappa)) ** 2) / (n * (1 - expected) ** 2)
    se = math.sqrt(max(0.0, variance))
    half = float(stats.norm.isf(level(alpha))) * se
    best = (clopper_pearson_lower(n, n, alpha=alpha) - expected) / (1 - expected)
    return Bounds(
        estimate=kappa,
        lower=max(-1.0, min(kappa - half, best)),
        upper=min(1.0, kappa + half) if se > 0.0 else 1.0,
        se=se,
        alpha=alpha,
        n=n,
        method="cohen-kappa",
    )


def negative_flip_rate(y: ArrayLike, challenger: ArrayLike, champion: ArrayLike, *, alpha: float) -> Bounds:
    """P(champion right and challenger wrong), Yan et al. 2021, with exact bounds: a guardrail with a ceiling."""
    truth, new, old = np.asarray(y), np.asarray(challenger), np.asarray(champion)
    n = same_length(truth, new, old, what="labels")
    return clopper_pearson(int(((old == truth) & (new != truth)).sum()), n, alpha=alpha)


def churn(challenger: ArrayLike, champion: ArrayLike, *, alpha: float) -> Bounds:
    """P(predictions differ), Milani Fard et al. 2016, with exact bounds: a guardrail with a ceiling."""
    new, old = np.asarray(challenger), np.asarray(champion)
    n = same_length(new, old, what="predictions")
    return clopper_pearson(int((new != old).sum()), n, alpha=alpha)


def erlang_c(*, servers: int, load: float) -> float:
    """The probability that a case waits, with this many reviewers and offered load λ/μ (Erlang 1917).

    X/(Σ_{k<c} a^k/k! + X), X = (a^c/c!)·c/(c-a), by the stable recursion of Erlang B. 1 if load >= servers: the queue
    grows without end.
    """
    if servers < 1 or not (math.isfinite(load) and load >= 0.0):
        raise Invalid(f"{servers} reviewers, load {load}", code="outside-domain")
    if load >= servers:
        return 1.0
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked / (1.0 - load / servers * (1.0 - blocked))


def _table(a: ArrayLike, b: ArrayLike) -> NDArray[np.int64]:
    first, second = np.asarray(a), np.asarray(b)
    if first.ndim != 1 or not len(first):
        raise Invalid("no labels to compare", code="too-few-cases")
    n = same_length(first, second, what="labels")
    labels, member = np.unique(np.concatenate([first, second]), return_inverse=True)
    flat = member[:n] * len(labels) + member[n:]
    return np.bincount(flat, minlength=len(labels) ** 2).reshape(len(labels), len(labels)).astype(np.int64)
