"""The statistics give the known answers of the methods reference and of independent libraries.

A tolerance is half a unit of the last digit printed in the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, special, stats
from scipy.spatial.distance import jensenshannon
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from stellwerk.core.errors import Invalid
from stellwerk.evidence.statistics import (
    ageing,
    agreement,
    auc,
    betting,
    bounds,
    calibration,
    drift,
    paired,
    power,
    resampling,
    sequential,
)

Y = [0] * 5 + [1] * 5
A = [0.1, 0.4, 0.35, 0.2, 0.3, 0.8, 0.65, 0.38, 0.9, 0.7]
B = [0.2, 0.3, 0.6, 0.1, 0.45, 0.7, 0.4, 0.5, 0.8, 0.35]
FOLDS = [0.012, 0.008, -0.003, 0.015, 0.006, 0.011, 0.002, 0.009, 0.013, 0.004]
REPEATS = [(0.02, 0.01), (0.03, 0.0), (0.01, 0.02), (0.015, 0.025), (0.005, 0.02)]
FORECAST_Y, FORECAST_P = [1, 1, 0, 0, 0, 1], [0.9, 0.8, 0.3, 0.6, 0.1, 0.45]
BREACH_AGES, BREACHES = [3, 5, 5, 6, 8, 8, 8, 10, 10, 12, 12, 12], [1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0]
ROUNDED_Z = float(stats.norm.sf(1.645))
"""The reference prints the survival bounds for z = 1.645; with all digits of z the second is .55748."""

VECTORS: list[tuple[str, str, Callable[[], float]]] = [
    ("DeLong AUC of a", ".96", lambda: auc.paired_delong(Y, A, B).auc_a),
    ("DeLong AUC of b", ".80", lambda: auc.paired_delong(Y, A, B).auc_b),
    ("DeLong SE", ".176635", lambda: auc.paired_delong(Y, A, B).se),
    ("DeLong z", ".905822", lambda: auc.paired_delong(Y, A, B).z),
    ("DeLong p", ".365030", lambda: auc.paired_delong(Y, A, B).p_two_sided),
    ("McNemar exact", ".0241195", lambda: paired.mcnemar(8, 21).exact),
    ("McNemar mid-p", ".0161248", lambda: paired.mcnemar(8, 21).mid_p),
    ("McNemar continuity", ".0258576", lambda: paired.mcnemar(8, 21).chi2_corrected),
    ("Tango T", ".874136", lambda: paired.tango(21, 25, 1000, margin=0.01).statistic),
    ("Tango p", ".191022", lambda: paired.tango(21, 25, 1000, margin=0.01).p),
    ("Nadeau–Bengio t", "3.025682", lambda: paired.nadeau_bengio(FOLDS, test_to_train=1 / 9).statistic),
    ("Nadeau–Bengio p", ".007173", lambda: paired.nadeau_bengio(FOLDS, test_to_train=1 / 9).p),
    ("5×2cv t", "1.675416", lambda: paired.five_by_two(REPEATS).t),
    ("5×2cv p of t", ".154703", lambda: paired.five_by_two(REPEATS).p_t),
    ("5×2cv F", "2.228070", lambda: paired.five_by_two(REPEATS).f),
    ("5×2cv p of F", ".194861", lambda: paired.five_by_two(REPEATS).p_f),
    ("Noether", "28.86", lambda: paired.noether_pairs(alpha=0.05, beta=0.05, gamma=0.75)),
    ("mSPRT", "46.9826", lambda: sequential.msprt(0.02, n=5000, variance=0.09, mixing=0.0004)),
    ("asymptotic CS", ".0288192", lambda: float(sequential.asymptotic_half_width(0.3, 1000, rho=0.1, alpha=0.05))),
    ("EB lower", ".287338", lambda: sequential.empirical_bernstein([0, 1, 0, 0, 1] * 40, alpha=0.05).lower[-1]),
    ("PSI limit", ".0203028", lambda: drift.psi_limit(10, 5000, 1000, alpha=0.05)),
    ("PSI limit, small", ".338", lambda: drift.psi_limit(10, 100, 100, alpha=0.05)),
    ("Clopper–Pearson upper", ".0192692", lambda: bounds.clopper_pearson_upper(3, 400, alpha=0.05)),
    ("Clopper–Pearson lower", ".813125", lambda: bounds.clopper_pearson_lower(172, 200, alpha=0.05)),
    ("Hoeffding–Bentkus", ".0539807", lambda: bounds.hoeffding_bentkus(0.03, 500, 0.05)),
    ("Spiegelhalter", "-.481373", lambda: calibration.spiegelhalter(FORECAST_Y, FORECAST_P).statistic),
    ("ADWIN", ".207692", lambda: drift.adwin_cut(500, 100, variance=0.09, delta=0.002, n=600)),
    ("KM at 3", ".9167", lambda: ageing.kaplan_meier(BREACH_AGES, BREACHES, alpha=0.05).at(3)[0]),
    ("KM at 5", ".8333", lambda: ageing.kaplan_meier(BREACH_AGES, BREACHES, alpha=0.05).at(5)[0]),
    ("KM lower at 3", ".6370", lambda: ageing.kaplan_meier(BREACH_AGES, BREACHES, alpha=ROUNDED_Z).at(3)[1]),
    ("KM lower at 5", ".5574", lambda: ageing.kaplan_meier(BREACH_AGES, BREACHES, alpha=ROUNDED_Z).at(5)[1]),
    ("KM lower at 5, full z", ".55748", lambda: ageing.kaplan_meier(BREACH_AGES, BREACHES, alpha=0.05).at(5)[1]),
    ("CBPE accuracy", ".78", lambda: calibration.expected_accuracy([0.9, 0.8, 0.3, 0.6, 0.1])),
    ("look-back days", "56.92", lambda: ageing.look_back(labels_per_day=40, drift=0.0005, alpha=0.05).days),
    ("look-back width", ".042692", lambda: ageing.look_back(labels_per_day=40, drift=0.0005, alpha=0.05).half_width),
    ("Erlang C", ".596432", lambda: agreement.erlang_c(servers=4, load=3.2)),
    ("α at attempt 1", ".0304", lambda: power.alpha_at_attempt(0.05, 1)),
    ("α at attempt 2", ".0076", lambda: power.alpha_at_attempt(0.05, 2)),
    ("α at attempt 3", ".0034", lambda: power.alpha_at_attempt(0.05, 3)),
    ("power of 800 cases", ".87", lambda: power.ceiling_power(800, rate=0.03, ceiling=0.05, alpha=0.05)),
    ("audit share", ".010", lambda: _share(required=800, cases_per_day=5000, lease=30, delay=14)),
]


def _share(**arguments: float) -> float:
    share = ageing.audit_share(required=int(arguments.pop("required")), **arguments).share
    assert share is not None
    return share


@pytest.mark.parametrize(("printed", "compute"), [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS])
def test_the_reference_vectors_hold_to_their_last_digit(printed: str, compute: Callable[[], float]) -> None:
    """Every printed digit of the reference comes out."""
    digits = len(printed.partition(".")[2])

    assert pytest.approx(float(printed), abs=0.5 * 10**-digits + 1e-12) == compute()


def test_noether_asks_for_29_pairs() -> None:
    """28.86 pairs are 29."""
    assert 29 == math.ceil(paired.noether_pairs(alpha=0.05, beta=0.05, gamma=0.75))


def test_paired_sample_sizes() -> None:
    """7 708 cases for a mean, 5 139 for right/wrong answers."""
    assert 7708 == power.paired_mean_n(sigma=0.3, margin=0.01, alpha=0.05, power=0.9)
    assert 5139 == power.paired_binary_n(discordant=0.06, margin=0.01, alpha=0.05, power=0.9)


def test_e_bh_rejects_the_three_largest() -> None:
    """Of seven e-values 110, 60 and 25 pass 7/(k·0.1)."""
    e = np.array([60, 3, 25, 0.4, 110, 1.2, 8])

    assert [60, 25, 110] == e[drift.e_benjamini_hochberg(e, alpha=0.1)].tolist()


def test_zero_breaches_need_29_origins() -> None:
    """0.9 at 95 % is proven by 29 origins without breach and not by 28; 0.95 by 59."""

    def proven(n: int, q: float) -> float | None:
        return ageing.kaplan_meier([90.0] * n, [0] * n, alpha=0.05).proven_age(q)

    assert (None, 90.0) == (proven(28, 0.1), proven(29, 0.1))
    assert (None, 90.0) == (proven(58, 0.05), proven(59, 0.05))


def test_p99_needs_299_cases() -> None:
    """With 298 cases the largest is no upper bound of the 99 % quantile yet, with 299 it is."""
    assert 299 == power.quantile_n(0.99, alpha=0.05)
    assert bounds.quantile_bounds(np.arange(298.0), 0.99, alpha=0.05).upper is None
    assert 298.0 == bounds.quantile_bounds(np.arange(299.0), 0.99, alpha=0.05).upper


# Other libraries


def _scored(n: int = 400, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(2, 3, n), 2)
    return (rng.random(n) < p).astype(int), p


def test_auc_agrees_with_scikit_learn_on_ties() -> None:
    """AUC with many tied scores."""
    y, p = _scored()

    assert pytest.approx(metrics.roc_auc_score(y, p), abs=1e-12) == auc.auc(y, p)


def test_delong_agrees_with_its_definition() -> None:
    """The midrank form gives the variance of the O(mn) definition."""
    y, p = _scored(120)
    kernel = (p[y == 1][:, None] > p[y == 0]) + 0.5 * (p[y == 1][:, None] == p[y == 0])
    variance = kernel.mean(1).var(ddof=1) / kernel.shape[0] + kernel.mean(0).var(ddof=1) / kernel.shape[1]

    estimate, se = auc.delong(y, p)

    assert pytest.approx((kernel.mean(), math.sqrt(variance)), abs=1e-12) == (estimate, se)


def test_clopper_pearson_agrees_with_scipy() -> None:
    """One-sided exact bounds, edges included."""
    for k, n in ((0, 7), (1, 7), (7, 7), (42, 97)):
        result = stats.binomtest(k, n, alternative="greater").proportion_ci(0.95, "exact")
        mirrored = stats.binomtest(k, n, alternative="less").proportion_ci(0.95, "exact")

        assert pytest.approx(result.low, abs=1e-9) == bounds.clopper_pearson_lower(k, n, alpha=0.05)
        assert pytest.approx(mirrored.high, abs=1e-9) == bounds.clopper_pearson_upper(k, n, alpha=0.05)


def test_wilson_agrees_with_scipy() -> None:
    """A two-sided interval of 90 % is two one-sided bounds of 95 %."""
    for k, n in ((0, 9), (3, 9), (9, 9)):
        interval = stats.binomtest(k, n).proportion_ci(0.9, "wilson")

        assert pytest.approx((interval.low, interval.high), abs=1e-9) == bounds.wilson(k, n, alpha=0.05)


def test_newcombe_agrees_with_his_paper() -> None:
    """Newcombe 1998, table II, method 10: 56/70 - 48/80 has the 95 % interval .0524 to .3339."""
    found = bounds.newcombe_difference(56, 70, 48, 80, alpha=0.025)

    assert pytest.approx((0.0524, 0.3339), abs=5e-5) == (found.lower, found.upper)


def test_mean_bounds_agree_with_the_t_interval() -> None:
    """From 200 cases on, Student's t; a tail to the right widens the upper bound by Hall's term only."""
    even = np.random.default_rng(1).normal(size=150)
    for losses in (np.concatenate([even, -even]), np.random.default_rng(1).exponential(size=300)):
        interval = stats.ttest_1samp(losses, 0).confidence_interval(0.9)
        widening = max(0.0, stats.skew(losses)) * (2 * stats.norm.ppf(0.95) ** 2 + 1) / (6 * math.sqrt(300))

        found = bounds.mean_bounds(losses, alpha=0.05)

        assert found.se is not None
        assert pytest.approx((interval.low, interval.high + widening * found.se), abs=1e-9) == (
            found.lower,
            found.upper,
        )


def test_bca_agrees_with_scipy() -> None:
    """BCa bounds of a mean and of a median of pairs, up to the noise of resampling."""
    rng = np.random.default_rng(5)
    x, y = rng.exponential(size=80), rng.exponential(size=80)
    metrics_of_pairs: list[Callable[..., float]] = [
        lambda a, b: float(np.mean(a - b)),
        lambda a, b: float(np.mean(a) / np.mean(b)),
    ]
    for metric in metrics_of_pairs:
        scipys = stats.bootstrap(
            (x, y), metric, paired=True, confidence_level=0.9, n_resamples=9999, rng=1, vectorized=False
        )
        interval = scipys.confidence_interval

        found = resampling.bca(metric, [x, y], alpha=0.05, seed=2)

        assert found.se is not None
        assert pytest.approx((interval.low, interval.high), abs=0.08 * found.se) == (found.lower, found.upper)


def test_mean_and_generic_bca_agree() -> None:
    """The vectorised mean draws the same resamples as the general form."""
    x = np.random.default_rng(6).exponential(size=60)
    fast, slow = resampling.bca_mean(x, alpha=0.1), resampling.bca(np.mean, [x], alpha=0.1)

    assert pytest.approx((slow.lower, slow.upper), abs=1e-12) == (fast.lower, fast.upper)


def test_mcnemar_agrees_with_the_binomial_test() -> None:
    """Exact p for several counts, a tie included."""
    for b, c in ((0, 5), (4, 4), (3, 17), (60, 41)):
        assert pytest.approx(stats.binomtest(b, b + c).pvalue, abs=1e-12) == paired.mcnemar(b, c).exact


def test_tango_is_the_score_test() -> None:
    """T is (b - c - nδ)/√(n(p12 + p21 - δ²)) at the likelihood's maximum under H0, and its bounds invert it."""
    for b, c, n, margin in ((7, 1, 21, 0.1), (40, 20, 160, 0.05), (0, 6, 50, 0.2), (21, 25, 1000, 0.0)):

        def loss(p21: float, b: int = b, c: int = c, n: int = n, delta: float = -margin) -> float:
            p12 = p21 + delta
            return -float(special.xlogy(b, p12) + special.xlogy(c, p21) + special.xlogy(n - b - c, 1 - p12 - p21))

        best = optimize.minimize_scalar(
            loss, bounds=(margin, (1 + margin) / 2), method="bounded", options={"xatol": 1e-12}
        ).x
        expected = (b - c + n * margin) / math.sqrt(n * (2 * best - margin - margin**2))
        limits = paired.tango_bounds(b, c, n, alpha=0.05)
        assert limits.lower is not None

        assert pytest.approx(expected, abs=1e-4) == paired.tango(b, c, n, margin=margin).statistic
        assert pytest.approx(0.05, abs=1e-8) == paired.tango(b, c, n, margin=-limits.lower).p


def test_drift_statistics_agree_with_scipy() -> None:
    """Jensen–Shannon, Kolmogorov–Smirnov, Wasserstein, χ² and Benjamini–Hochberg."""
    rng = np.random.default_rng(9)
    a, b = rng.normal(size=500), rng.normal(0.3, 1.2, size=300)
    p, q = rng.integers(0, 30, 8), rng.integers(1, 30, 8)
    chi = stats.chi2_contingency(np.array([p, q])[:, (p + q) > 0], correction=False)
    p_values = rng.random(40) ** 2

    assert pytest.approx(jensenshannon(p, q)) == drift.jensen_shannon(p, q)
    assert pytest.approx(stats.ks_2samp(a, b).statistic) == drift.kolmogorov_smirnov(a, b).statistic
    assert pytest.approx(stats.ks_2samp(a, b).pvalue, rel=0.15) == drift.kolmogorov_smirnov(a, b).p
    assert pytest.approx(stats.wasserstein_distance(a, b) / a.std()) == drift.wasserstein(a, b)
    assert pytest.approx((chi.statistic, chi.pvalue)) == (drift.chi_square(p, q).statistic, drift.chi_square(p, q).p)
    assert (stats.false_discovery_control(p_values) <= 0.1).tolist() == drift.benjamini_hochberg(
        p_values, alpha=0.1
    ).tolist()


def test_proper_scores_agree_with_scikit_learn() -> None:
    """Brier score and log loss."""
    y, p = _scored()
    p = np.clip(p, 0.01, 0.99)

    assert pytest.approx(metrics.brier_score_loss(y, p)) == calibration.brier(y, p)
    assert pytest.approx(metrics.log_loss(y, p)) == calibration.log_loss(y, p)


def test_recalibration_agrees_with_scikit_learn() -> None:
    """Slope and intercept of an unpenalised logistic regression on the logit."""
    y, p = _scored(800)
    p = np.clip(p, 0.02, 0.98) ** 1.5
    logits = np.log(p / (1 - p))[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(logits, y)

    found = calibration.recalibrate(y, p)

    assert pytest.approx((model.intercept_[0], model.coef_[0, 0]), abs=1e-5) == (found.intercept, found.slope)


def test_kappa_agrees_with_scikit_learn() -> None:
    """Cohen's κ with text labels; its error agrees with the bootstrap."""
    rng = np.random.default_rng(2)
    a = rng.choice(["cat", "dog", "owl"], 300)
    b = np.where(rng.random(300) < 0.7, a, rng.choice(["cat", "dog", "owl"], 300))
    drawn = [metrics.cohen_kappa_score(a[i], b[i]) for i in rng.integers(0, 300, (300, 300))]

    found = agreement.cohen_kappa(a, b, alpha=0.05)

    assert pytest.approx(metrics.cohen_kappa_score(a, b)) == found.estimate
    assert pytest.approx(np.std(drawn), rel=0.15) == found.se


def test_expected_auc_agrees_with_weighted_scikit_learn() -> None:
    """Each case as a positive of weight p and a negative of weight 1 - p."""
    _, p = _scored(200)
    n = len(p)
    expected = metrics.roc_auc_score(
        np.repeat([1, 0], n), np.concatenate([p, p]), sample_weight=np.concatenate([p, 1 - p])
    )

    assert pytest.approx(expected) == calibration.expected_auc(p)


# What must not be claimed


def test_perfect_separation_does_not_prove_a_perfect_model() -> None:
    """AUC 1.0 over 20 pairs is bounded by the exact 0.05^(1/20), also next to it."""
    perfect = auc.auc_bounds([0] * 20 + [1] * 30, range(50), alpha=0.05)

    assert 1.0 == perfect.estimate
    assert pytest.approx(0.05 ** (1 / 20)) == perfect.lower
    assert 1.0 == perfect.upper


def test_equal_models_are_not_proven_equal_for_free() -> None:
    """Identical rankings still leave 1 - 0.05^(1/5) on either side."""
    found = auc.paired_delong(Y, A, A)
    limits = found.bounds(0.05)

    assert (0.0, 0.0, 1.0) == (found.difference, found.se, found.p_two_sided)
    assert pytest.approx((0.05**0.2 - 1, 1 - 0.05**0.2)) == (limits.lower, limits.upper)


def test_a_perfect_model_against_a_constant_one() -> None:
    """Both are constant over pairs, so DeLong's error is 0; p follows from the exact bound."""
    y = [0] * 10 + [1] * 10
    found = auc.paired_delong(y, list(range(20)), [0.5] * 20)

    assert (0.5, 0.0) == (found.difference, found.se)
    assert pytest.approx(2 * 1.5**-10) == found.p_two_sided
    limits = found.bounds(found.p_two_sided / 2)
    assert limits.lower is not None
    assert pytest.approx(0.0, abs=1e-9) == limits.lower


def test_losses_that_never_varied_have_no_bounds_without_a_range() -> None:
    """A hundred zero losses prove nothing about an unlimited loss, and 3/n about one within [0, 1]."""
    unknown = bounds.mean_bounds([0.0] * 100, alpha=0.05)
    known = bounds.mean_bounds([0.0] * 100, alpha=0.05, support=(0, 1))

    assert (None, None) == (unknown.lower, unknown.upper)
    assert pytest.approx((0.0, bounds.clopper_pearson_upper(0, 100, alpha=0.05))) == (known.lower, known.upper)


@pytest.mark.parametrize(
    ("code", "compute"),
    [
        ("one-class", lambda: auc.auc([1, 1], [0.1, 0.2])),
        ("one-class", lambda: auc.delong([0, 0], [0.1, 0.2])),
        ("one-class", lambda: auc.paired_delong([0, 0], [0.1, 0.2], [0.1, 0.2])),
        ("one-class", lambda: auc.auc_bounds([0, 0], [0.1, 0.2], alpha=0.05)),
        ("one-class", lambda: agreement.cohen_kappa(["a"], ["a"], alpha=0.05)),
        ("one-class", lambda: calibration.expected_auc([1.0, 1.0])),
        ("too-few-cases", lambda: auc.paired_delong([0, 0, 1], [1, 2, 3], [1, 2, 3])),
        ("too-few-cases", lambda: bounds.mean_bounds([1.0], alpha=0.05)),
        ("too-few-cases", lambda: bounds.clopper_pearson(0, 0, alpha=0.05)),
        ("invalid-sample", lambda: auc.auc([0, 1], [0.1, float("nan")])),
        ("invalid-sample", lambda: auc.auc([0, 1], [0.1, 0.2, 0.3])),
        ("invalid-sample", lambda: bounds.mean_bounds(["a", "b"], alpha=0.05)),
        ("outside-domain", lambda: auc.auc([0, 2], [0.1, 0.2])),
        ("outside-domain", lambda: sequential.empirical_bernstein([0.5, 1.5], alpha=0.05)),
        ("outside-domain", lambda: betting.EProcess.begin(limit=0.1).update([-0.1])),
        ("outside-domain", lambda: bounds.clopper_pearson_lower(5, 4, alpha=0.05)),
        ("outside-domain", lambda: bounds.mean_bounds([0.0, 2.0], alpha=0.05, support=(0, 1))),
        ("invalid-level", lambda: bounds.clopper_pearson_lower(1, 4, alpha=0.0)),
        ("invalid-level", lambda: betting.EProcess.begin(limit=0.0)),
        ("undefined-metric", lambda: resampling.bca(lambda x: math.nan, [np.arange(3)], alpha=0.05)),
        ("no-variation", lambda: paired.nadeau_bengio([0.1, 0.1], test_to_train=1)),
        ("no-variation", lambda: drift.wasserstein([1, 1], [2, 2])),
        ("no-fit", lambda: calibration.recalibrate([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])),
    ],
)
def test_what_cannot_be_computed_says_so(code: str, compute: Callable[[], object]) -> None:
    """A statistic without meaning is an error with a code, never a number."""
    with pytest.raises(Invalid) as caught:
        compute()

    assert code == caught.value.code
