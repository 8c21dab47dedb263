"""How long a release lasts and whom it sends to people; when a renewal is due; what a verdict permits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.releases import policies as catalogue
from stellwerk.releases import rules
from stellwerk.releases.model import Goal, LeaseRule, SliceRule, Steering
from stellwerk.testing.releases import NOW, an_endpoint

BASE = catalogue.find(("base@1",))
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("risk", "owner", "days"),
    [("minimal", 365, 180), ("limited", 365, 90), ("high", 365, 30), ("high", 7, 7), ("limited", 90, 90)],
)
def test_a_lease_is_the_shorter_of_owner_and_policy(risk: Any, owner: int, days: int) -> None:
    """The risk class caps it, the owner may ask for less."""
    endpoint = an_endpoint(risk=risk, lease=LeaseRule(maximum=owner * DAY))

    assert days * DAY == rules.lease(endpoint, BASE, 500).length == rules.longest(endpoint, BASE)


def test_the_audit_share_yields_the_labels_a_renewal_needs() -> None:
    """Labels needed by traffic and the days in which they can still mature: 290 of 1,000 a day for 29 days are 1 %."""
    assert pytest.approx(0.01) == rules.lease(an_endpoint(), BASE, 290).audit_share
    assert 0.25 == rules.lease(an_endpoint(steering=Steering(audit=0.25)), BASE, 290).audit_share
    assert 1.0 == rules.lease(an_endpoint(label_delay=40 * DAY), BASE, 290).audit_share


@given(
    labels=st.integers(1, 10**9),
    traffic=st.integers(1, 10**9),
    days=st.integers(1, 400),
    delay=st.integers(0, 500),
)
def test_somebody_always_goes_to_people(labels: int, traffic: int, days: int, delay: int) -> None:
    """Law 11: whatever the numbers, the share is above 0 and at most 1."""
    endpoint = an_endpoint(
        traffic_per_day=traffic, lease=LeaseRule(maximum=days * DAY), label_delay=delay * DAY, risk="minimal"
    )

    assert 0 < rules.lease(endpoint, BASE, labels).audit_share <= 1


@given(length=st.integers(1, 400), elapsed=st.integers(0, 400 * 24))
@example(length=5, elapsed=96)
@example(length=5, elapsed=95)
def test_a_renewal_is_due_in_the_last_fifth(length: int, elapsed: int) -> None:
    """From four fifths on, and not before."""
    now = NOW + timedelta(hours=elapsed)

    assert (elapsed >= length * 24 * 0.8) == rules.due_for_renewal(NOW, NOW + length * DAY, now)


def test_a_sound_declaration_has_no_problem() -> None:
    """The smallest and a full one; an empty one has one."""
    full = an_endpoint(
        goals=(Goal(metric="auroc", floor=0.6, margin=0.01), Goal(metric="latency_p99_ms", ceiling=50)),
        slices=SliceRule(by=("a",), goals=(Goal(metric="auroc", floor=0.5, ceiling=0.99),)),
    )

    assert ["", ""] == [rules.unsound(an_endpoint()), rules.unsound(full)]
    assert "goal" in rules.unsound(an_endpoint(goals=()))


def test_unknown_policies_are_errors() -> None:
    """A policy that nobody wrote is never an empty one."""
    with pytest.raises(NotFound) as caught:
        catalogue.find(("base@1", "gdpr@9"))

    assert "unknown-policy" == caught.value.code
    assert "gdpr@9" in caught.value.message


@pytest.mark.parametrize("name", ["steps@1", "steps@1()", "steps@1( , )", "base@1(train)", "steps@1(tr ain)"])
def test_kinds_of_steps_belong_to_policies_that_demand_them(name: str) -> None:
    """A policy of steps without any would demand nothing; one that demands none has no use for them."""
    with pytest.raises(Invalid):
        catalogue.find((name,))

    assert rules.unsound(an_endpoint(policy=(name,)))


def test_a_policy_of_steps_says_their_kinds() -> None:
    """In the order in which they are named, each once, over all policies."""
    found = catalogue.find(("base@1", "steps@1(clean, test,clean)", "steps@1(train, test)"))

    assert ("clean", "test", "train") == catalogue.steps(found)
    assert timedelta(days=180) == catalogue.requirements(found)["steps"]
    assert "" == rules.unsound(an_endpoint(policy=("base@1", "steps@1(clean)")))
    with pytest.raises(NotFound):
        catalogue.find(("steps@2(clean)",))
    with pytest.raises(NotFound):
        catalogue.find(("steps@1(clean",))
