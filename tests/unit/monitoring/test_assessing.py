"""Assessments of a release that runs: what counts, what is alarming, what is told, and that it is told once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.ledger import documents
from stellwerk.ledger.shelf import evolve
from stellwerk.models.model import Column, Signature
from stellwerk.monitoring.model import Assessment, Outcome, Settings
from stellwerk.releases.model import Goal

DAY = timedelta(days=1)
GOALS = (Goal(metric="auroc", floor=0.7, margin=0.01),)
QUIET = Settings(goals=GOALS, tolerance=0.02)


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def live(world: Any, cases: Any, n: int, *, labelled: float = 1.0, days: int = 20, **kind: Any) -> list[str]:
    """Serve n cases over some days, let their truth become known, and move the clock behind it."""
    start = world.clock.instant
    names = world.serve(cases(n, rng(n), **kind), at=start, size=100, apart=days * DAY / (n // 100))
    world.monitoring.record_outcomes("delay", world.answers(names[: int(labelled * len(names))]))
    world.clock.instant = start + days * DAY + 2 * DAY
    return names


def assessed(world: Any, baseline: Any, since: datetime, asked: Settings = QUIET, **more: Any) -> Assessment:
    found: Assessment = world.monitoring.assess(
        "delay", release="r1", baseline=baseline, since=since, settings=asked, **more
    )
    return found


def essence(found: Assessment) -> Assessment:
    """What does not depend on when and by whom it was assessed."""
    return evolve(found, id="", digest=None)


def test_a_healthy_release_is_quiet(world: Any, cases: Any) -> None:
    """Numbers, no alarms, and the ledger has both."""
    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 6000)

    found = assessed(world, baseline, since)

    assert () == found.alarms
    assert (6000, 6000, 6000, 1.0, 0) == (
        found.predictions,
        found.matured,
        found.labelled,
        found.coverage,
        found.withheld,
    )
    assert found.risk.estimate == pytest.approx(baseline.risk_estimate, abs=0.01)
    assert found.risk.lower < found.risk.estimate < found.risk.upper
    assert found.measures[0].estimate == pytest.approx(baseline.measures[0].estimate, abs=0.02)
    assert found.delay == 12 * 3600
    assert not any(finding.material for finding in found.drift)
    assert found.label_free is not None
    assert not found.label_free.fell
    [entry] = world.entries("endpoint.assessed")
    assert repr(found.risk.estimate) == entry.body["risk"]["estimate"]
    assert (found.digest, []) == (entry.body["digest"], entry.body["alarms"])


def test_an_assessment_is_kept_whole(world: Any, cases: Any) -> None:
    """Row and blob hold what was returned; the newest comes first; other workspaces see none."""
    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 500)

    first = assessed(world, baseline, since)
    world.clock.instant += DAY
    second = assessed(world, baseline, since)

    assert [second, first] == world.other().assessments("delay")
    assert first == world.other().assessment(first.id)
    assert first.digest is not None
    assert evolve(first, digest=None) == documents.parse(Assessment, world.blobs.get(first.digest))
    assert [] == world.other("elsewhere").assessments("delay")


def test_decay_raises_caution_and_a_broken_floor_asks_for_a_stop(world: Any, cases: Any) -> None:
    """A loss beyond what the release allows slows down; only a limit proven broken asks for more."""
    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 6000, decay=0.4)

    worse, slow = assessed(world, baseline, since, evolve(QUIET, goals=())).alarms
    _, near = assessed(world, baseline, since, evolve(QUIET, goals=(Goal(metric="auroc", floor=0.67),))).alarms
    lost, stop = assessed(world, baseline, since, evolve(QUIET, goals=(Goal(metric="auroc", floor=0.79),))).alarms

    assert ("quality", "caution") == (worse.kind, worse.severity)
    assert ("quality", "stop") == (lost.kind, lost.severity)
    assert ("risk", "caution") == (slow.kind, slow.severity)
    assert ("risk", "caution") == (near.kind, near.severity)
    assert ("risk", "stop") == (stop.kind, stop.severity)
    assert "auroc is at most" in stop.text
    assert slow.numbers["evidence"] >= 100


def test_an_alarm_is_told_once_and_cleared_when_it_is_gone(world: Any, cases: Any) -> None:
    """Drift comes, stays, becomes worse and goes: one entry each, and none in between."""
    since, baseline = world.clock.instant, world.baseline()
    recent = evolve(QUIET, recent=10 * DAY, tolerance=0.5)
    shifted = world.serve(cases(2000, rng(1), shift=0.4), at=since, apart=timedelta(hours=6))
    world.monitoring.record_outcomes("delay", world.answers(shifted))
    world.clock.instant = since + 6 * DAY
    assessed(world, baseline, since, recent)
    assessed(world, baseline, since, recent)
    opened = world.monitoring.open_alarms("delay", "r1")
    # Scores squeezed together: the same order, but the model expects less of itself.
    worse = cases(2000, rng(2), shift=1.5)
    world.serve(evolve_scores(worse, 0.45, 0.55), at=world.clock.instant)
    world.clock.instant += 2 * DAY
    assessed(world, baseline, since, recent)
    escalated = world.monitoring.open_alarms("delay")
    world.clock.instant += 9 * DAY
    world.serve(cases(2000, rng(3)), at=world.clock.instant)
    world.clock.instant += 2 * DAY
    last = assessed(world, baseline, since, recent)

    told = [(entry.kind, entry.body["kind"], entry.body.get("severity")) for entry in world.entries("alarm.")]
    assert [
        ("alarm.raised", "drift", "note"),
        ("alarm.raised", "drift", "caution"),
        ("alarm.cleared", "drift", None),
    ] == told
    assert ["note"] == [record.severity for record in opened]
    assert ["caution"] == [record.severity for record in escalated]
    assert [opened[0].id] == [record.id for record in escalated]
    assert [] == world.monitoring.open_alarms("delay")
    assert [("cleared", last.at)] == [
        (record.status, record.cleared_at) for record in world.monitoring.alarms("delay")
    ]


def evolve_scores(cases: Any, low: float, high: float) -> Any:
    return evolve(cases, scores=[low + (high - low) * score for score in cases.scores])


def test_drift_alone_is_a_note(world: Any, cases: Any) -> None:
    """A shift of the inputs that the model can handle is worth knowing, not slowing down."""
    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 4000, labelled=0.0, shift=0.5)

    [alarm] = assessed(world, baseline, since).alarms

    assert ("drift", "note") == (alarm.kind, alarm.severity)
    assert {"distance", "(score)"} == set(alarm.numbers)


def test_young_predictions_do_not_count(world: Any, cases: Any) -> None:
    """Only predictions older than the label delay are judged, or early labels would decide."""
    since, baseline = world.clock.instant, world.baseline()
    names = world.serve(cases(4800, rng()), at=since, size=100, apart=timedelta(hours=1))
    world.monitoring.record_outcomes("delay", world.answers(names))
    world.clock.instant = since + 2 * DAY

    found = assessed(world, baseline, since, evolve(QUIET, label_delay=DAY))

    # Batches of hour 0 to 24 are at least a day old.
    assert (4800, 2500, 2500) == (found.predictions, found.matured, found.labelled)


def test_late_labels_count_when_they_come(world: Any, cases: Any) -> None:
    """The same release, judged again with more labels, is judged as if they had always been there."""
    since, baseline = world.clock.instant, world.baseline()
    names = live(world, cases, 3000, labelled=0.5)

    half = assessed(world, baseline, since)
    world.monitoring.record_outcomes("delay", world.answers(names[1500:]))
    whole = assessed(world, baseline, since)

    assert (1500, 0.5) == (half.labelled, half.coverage)
    assert (3000, 1.0) == (whole.labelled, whole.coverage)
    assert half.risk.pessimistic is not None
    assert half.risk.pessimistic > 0.5
    assert whole.risk.pessimistic == pytest.approx(whole.risk.estimate)


def test_missing_labels_are_reported(world: Any, cases: Any) -> None:
    """Where every prediction should get a label and half of them do not, renewal is at risk."""
    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 3000, labelled=0.5)
    weekly = evolve(QUIET, window=7 * DAY)

    [few] = assessed(world, baseline, since, evolve(weekly, expected_coverage=1.0)).alarms
    [ended] = assessed(world, baseline, since, weekly).alarms

    assert ("labels", "note") == (few.kind, few.severity)
    assert "1,500 of 3,000 mature predictions have a label, expected 100.0%" in few.text
    assert ("labels", "note") == (ended.kind, ended.severity)
    assert "no label has arrived for the last window, though earlier ones have some" == ended.text


def test_labels_that_the_model_cannot_give_count_as_wrong(world: Any, cases: Any) -> None:
    """A new class, or a misspelled one, is never a right answer, and somebody is told."""
    since, baseline = world.clock.instant, world.baseline()
    names = world.serve(cases(1000, rng()), at=since)
    sent = [evolve(o, label="maybe") if k < 100 else o for k, o in enumerate(world.answers(names))]
    world.monitoring.record_outcomes("delay", sent)
    world.clock.instant += 5 * DAY

    found = assessed(world, baseline, since)

    assert (1000, 100, 900) == (found.labelled, found.foreign_labels, found.measures[0].n)
    assert found.risk.estimate == pytest.approx(0.1 + 0.9 * baseline.risk_estimate, abs=0.02)
    assert ("labels", "caution") in {(alarm.kind, alarm.severity) for alarm in found.alarms}


def test_scores_that_are_none_count_as_wrong(world: Any, cases: Any) -> None:
    """A model that answers with something else than a probability breaks its contract."""
    since, baseline = world.clock.instant, world.baseline()
    good = cases(1000, rng())
    broken = evolve(good, scores=[None if k < 10 else 7.0 if k < 20 else s for k, s in enumerate(good.scores)])
    names = world.serve(broken, at=since)
    world.monitoring.record_outcomes("delay", world.answers(names))
    world.clock.instant += 5 * DAY

    found = assessed(world, baseline, since)

    assert (20, 980) == (found.unusable_scores, found.measures[0].n)
    assert found.risk.estimate == pytest.approx(0.02 + 0.98 * baseline.risk_estimate, abs=0.02)
    [alarm] = [alarm for alarm in found.alarms if alarm.kind == "contract"]
    assert ("caution", "20 of 1,000 scores are not usable") == (alarm.severity, alarm.text)


def test_columns_that_cannot_be_compared_are_a_broken_contract(world: Any, cases: Any) -> None:
    """A column that is gone, and one of numbers that holds text."""
    since, baseline = world.clock.instant, world.baseline()
    good = cases(500, rng())
    world.serve(evolve(good, columns={"distance": ["far"] * 500}), at=since)
    world.clock.instant += 5 * DAY

    [alarm] = assessed(world, baseline, since).alarms

    assert ("contract", "caution") == (alarm.kind, alarm.severity)
    assert "carrier is not in the log; distance holds something that is no number" == alarm.text


def test_a_log_without_inputs_is_said_not_to_be_judged(world: Any, cases: Any) -> None:
    """Whoever does not log inputs is told what that costs; scores are watched all the same."""
    since, baseline = world.clock.instant, world.baseline()
    world.serve(evolve(cases(500, rng()), columns={}), at=since)
    world.clock.instant += 5 * DAY

    found = assessed(world, baseline, since)

    assert ["(score)"] == [finding.column for finding in found.drift]
    assert () == found.alarms
    assert "drift of inputs was not judged: the log holds no inputs" in found.notes


def test_nothing_served_is_nothing_found(world: Any) -> None:
    """An endpoint that nobody called is assessed without any alarm, estimate or division by zero."""
    since, baseline = world.clock.instant, world.baseline()
    world.clock.instant += DAY

    found = assessed(world, baseline, since)

    assert (0, 0, None, None, None, ()) == (
        found.predictions,
        found.labelled,
        found.coverage,
        found.risk.estimate,
        found.proof,
        found.alarms,
    )
    assert "drift was not judged: 0 recent predictions, 50 are needed" in found.notes


def test_only_this_model_and_this_time_count(world: Any, cases: Any) -> None:
    """Predictions of another model, or from before the release, prove nothing about it."""
    before, baseline = world.clock.instant, world.baseline()
    live(world, cases, 1000, days=5)
    since = world.clock.instant
    live(world, cases, 600, days=5)
    world.log.kept[-1] = evolve(world.log.kept[-1], model=of_bytes(b"another"))

    assert 500 == assessed(world, baseline, since).predictions
    assert 1500 == assessed(world, baseline, before).predictions


def test_what_people_decided_is_no_risk_of_the_model(world: Any, cases: Any) -> None:
    """Withheld cases all get labels and are the hard ones: counting them would distort the risk."""

    class Steer:
        def __init__(self, withheld: bool) -> None:
            self.withheld = withheld

    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 1000, days=5)
    steered = {row: Steer(withheld=row < 30) for row in range(50)}
    world.log.kept = [evolve(batch, steered=steered) for batch in world.log.kept]

    found = assessed(world, baseline, since)

    assert (1000, 300, 700, 700) == (found.predictions, found.withheld, found.matured, found.labelled)


def test_only_recent_labels_prove_anything(world: Any, cases: Any) -> None:
    """With a look-back, what is older than it still counts for the alarm, but no longer for a renewal."""
    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 3000, days=30)

    found = assessed(world, baseline, since, evolve(QUIET, lookback=12 * DAY))

    # 100 cases a day: ten days of them, and the hour at which the last twelve days begin.
    assert found.proof is not None
    assert (3000, 1000, 1000) == (found.risk.labels, found.proof.n, found.measures[0].n)


def test_windows_are_months_or_as_wide_as_asked(world: Any, cases: Any) -> None:
    """They cover the release without gap or overlap, and their labels add up."""
    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 6000, days=60)

    months = assessed(world, baseline, since).windows
    weeks = assessed(world, baseline, since, evolve(QUIET, window=7 * DAY)).windows

    assert ["01-05", "02-01", "03-01"] == [f"{window.start:%m-%d}" for window in months]
    assert 9 == len(weeks)
    for found in (months, weeks):
        assert since == found[0].start
        assert world.clock.instant == found[-1].end
        assert all(a.end == b.start for a, b in pairwise(found))
        assert 6000 == sum(window.predictions for window in found) == sum(window.labelled for window in found)
    first = months[0].measure
    assert first is not None
    assert ("auroc", months[0].labelled) == (first.metric, first.n)
    assert first.lower is not None
    assert first.upper is not None
    assert first.lower < first.estimate < first.upper
    assert months[0].positive_rate == pytest.approx(months[0].mean_score, abs=0.05)


def test_many_classes_and_numbers_are_judged_too(world: Any) -> None:
    """Tuples of probabilities by accuracy, values by their error; a wrong model alarms in both."""
    source = rng(5)
    truth = source.integers(0, 3, 3000)
    sure = np.where(np.arange(3) == truth[:, None], 0.8, 0.1)
    signature = Signature(
        inputs=(Column(name="x", kind="number"),), target="y", task="multiclass", classes=("a", "b", "c")
    )
    numbers = Signature(inputs=signature.inputs, target="y", task="regression")
    x, value = source.normal(size=3000), source.normal(size=3000)
    noise = source.normal(size=3000)
    since = world.clock.instant
    for signature_, good, bad, labels in (
        (signature, [tuple(row) for row in sure], [tuple(row) for row in sure[:, [1, 0, 2]]], truth_names(truth)),
        (numbers, (value + 0.3 * noise).tolist(), (value + noise).tolist(), value.tolist()),
    ):
        for scores, expected in ((good, ()), (bad, ("quality", "risk"))):
            world.clock.instant = since
            world.log.kept.clear()
            endpoint = f"{signature_.task}-{len(expected)}"
            _, baseline = world.monitoring.make_baseline(
                endpoint, of_bytes(b"model"), signature=signature_, columns={"x": x}, scores=good, labels=labels
            )
            world.serve(Plain(columns={"x": x.tolist()}, scores=scores, labels=labels), at=since)
            names = [f"{batch.id}-{row}" for batch in world.log.kept for row in range(batch.count)]
            world.monitoring.record_outcomes(endpoint, world.answers(names))
            world.clock.instant = since + 5 * DAY

            found = world.monitoring.assess(
                endpoint, release="r1", baseline=baseline, since=since, settings=Settings(tolerance=0.03)
            )

            assert expected == tuple(alarm.kind for alarm in found.alarms if alarm.kind != "drift")
            assert 3000 == found.measures[0].n


class Plain:
    """Cases of another shape."""

    def __init__(self, **facts: Any) -> None:
        self.__dict__.update(facts)


def truth_names(truth: np.ndarray) -> list[str]:
    return ["abc"[index] for index in truth]


def test_a_baseline_of_another_endpoint_is_refused(world: Any) -> None:
    """Comparing with the wrong reference would prove anything."""
    baseline = world.baseline()

    with pytest.raises(Invalid) as caught:
        world.monitoring.assess(
            "price", release="r1", baseline=baseline, since=world.clock.instant, settings=Settings()
        )

    assert "wrong-baseline" == caught.value.code


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_order_of_labels_does_not_matter(worlds: Callable[[], Any], cases: Any, random: Any, parts: int) -> None:
    """Whichever label comes first and in whichever batches, the assessment is the same; so with the log."""
    plain, mixed = worlds(), worlds()
    found = []
    for world in (plain, mixed):
        since, baseline = world.clock.instant, world.baseline()
        names = world.serve(cases(600, rng(), decay=0.5), at=since)
        sent: list[Outcome] = world.answers(names)
        if world is mixed:
            random.shuffle(sent)
            random.shuffle(world.log.kept)
        for part in range(parts):
            world.monitoring.record_outcomes("delay", sent[part::parts])
        world.clock.instant += 5 * DAY
        found.append(essence(assessed(world, baseline, since)))

    assert found[0] == found[1]
    assert found[0].risk.alarm_label is not None


def test_nothing_is_half_written(world: Any, cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an alarm cannot be kept, neither row nor entry of the assessment is there (law 7)."""
    since, baseline = world.clock.instant, world.baseline()
    live(world, cases, 2000, shift=1.0)
    monkeypatch.setattr("stellwerk.monitoring.service._raise", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        assessed(world, baseline, since)

    assert [] == world.monitoring.assessments("delay")
    assert [] == world.entries("endpoint.", "alarm.")


@pytest.mark.slow
def test_a_large_release_is_assessed_fast(world: Any) -> None:
    """150,000 predictions with 20 columns and their labels take less than four times as long as sorting the columns."""
    n, source = 150_000, rng(1)
    inputs = tuple(Column(name=f"x{k}", kind="number" if k < 14 else "category") for k in range(20))
    signature = Signature(inputs=inputs, target="y", task="binary", classes=("0", "1"))
    columns = {
        column.name: source.normal(size=n).tolist()
        if column.kind == "number"
        else [f"v{value}" for value in source.integers(0, 30, n)]
        for column in inputs
    }
    scores = source.beta(1, 3, n)
    labels = [int(value) for value in source.random(n) < scores]
    since = world.clock.instant
    reference = {name: values[:20000] for name, values in columns.items()}
    _, baseline = world.monitoring.make_baseline(
        "delay",
        of_bytes(b"model"),
        signature=signature,
        columns=reference,
        scores=scores[:20000],
        labels=labels[:20000],
    )
    facts = Plain(columns=columns, scores=scores.tolist(), labels=labels)
    names = world.serve(facts, at=since, size=50, apart=timedelta(minutes=20))
    world.monitoring.record_outcomes("delay", world.answers(names))
    world.clock.instant += 60 * DAY

    began = time.process_time()
    found = assessed(world, baseline, since)
    taken = time.process_time() - began
    began = time.process_time()
    for values in columns.values():
        sorted(values)
    sorting = time.process_time() - began

    assert (150_000, 150_000) == (found.predictions, found.labelled)
    assert taken < 4 * sorting
