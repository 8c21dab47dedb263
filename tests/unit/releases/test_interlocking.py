"""Laws 2 and 5 where releases are granted, renewed, stopped and resumed; the book tells every step."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stellwerk.core import canonical
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, StellwerkError
from stellwerk.evidence.shelves import OPENINGS, PLANS
from stellwerk.ledger import rules as ledger_rules
from stellwerk.releases import signals
from stellwerk.releases.model import Release, SignalState, Steering
from stellwerk.releases.shelves import RELEASES, VERDICTS
from stellwerk.testing.releases import NOW, Box, an_endpoint

DAY = timedelta(days=1)


def signal(box: Box) -> SignalState:
    """What serving would make of the token."""
    return signals.judge(
        box.interlocking.token("delay", "w"),
        workspace="w",
        endpoint="delay",
        environment="production",
        now=box.clock.now(),
        keys=[box.signer.public_key],
        verifier=box.verifier,
    )


def refused(box: Box, verdict: Any, model: int = 1) -> str:
    with pytest.raises(StellwerkError) as caught:
        box.interlocking.grant(verdict, box.model(model), labels_to_renew=500)
    assert [] == box.interlocking.history("delay")
    assert [] == box.kinds("release.granted")
    return caught.value.code


def test_a_clear_verdict_becomes_a_signed_release(box: Box) -> None:
    """The release names model, verdict and lease; its statement verifies; the signal turns clear."""
    assert "stop" == signal(box).signal
    release = box.grant()
    envelope = canonical.loads(box.blobs.get(release.statement))
    statement = ledger_rules.unseal(envelope, box.signer.public_key, box.verifier)

    assert ("active", NOW, NOW + 30 * DAY) == (release.status, release.granted_at, release.expires_at)
    assert release.model.removeprefix("sha256:") == statement["subject"][0]["digest"]["sha256"]
    assert release.id == statement["predicate"]["release"]["id"]
    assert ["release.granted"] == box.kinds()
    assert "clear" == signal(box).signal
    assert release == box.interlocking.active("delay")


@pytest.mark.parametrize("outcome", ["stop", "unproven"])
def test_only_clear_is_released(box: Box, outcome: Any) -> None:
    """Law 2: no other verdict leads to a release, and the signal stays at stop."""
    assert "not-clear" == refused(box, box.verdict(outcome=outcome))
    assert "stop" == signal(box).signal


@pytest.mark.parametrize("late", [timedelta(0), DAY])
def test_an_expired_verdict_is_not_released(box: Box, late: timedelta) -> None:
    """From the instant at which the first evidence ends, nothing is released."""
    verdict = box.verdict()
    box.clock.advance(verdict.valid_until - NOW + late)

    assert "not-clear" == refused(box, verdict)


def test_a_verdict_is_for_its_model(box: Box) -> None:
    """Another model than the one proven is not released."""
    assert "not-clear" == refused(box, box.verdict(1), model=2)


def test_a_verdict_that_the_book_does_not_hold_is_not_released(box: Box) -> None:
    """Neither an invented verdict, nor one that differs from what was recorded, such as an unproven one made clear."""
    true = box.verdict(outcome="unproven")

    assert "not-found" == refused(box, replace(true, id="invented", outcome="clear"))
    assert "not-clear" == refused(box, replace(true, outcome="clear"))


def test_the_plan_must_be_frozen_before_the_gate_was_opened(box: Box) -> None:
    """Without the frozen plan, without the opening, or opened first: no release (law 2)."""
    verdict = box.verdict()
    with box.book.read() as reader:
        plan, opening = PLANS.get(reader, verdict.plan), OPENINGS.select(reader)[0]

    def change(kind: str, act: Any) -> None:
        with box.book.write() as tx:
            act(tx)
            tx.record(f"test.{kind}", "test:1")

    change("later", lambda tx: PLANS.put(tx, replace(plan, frozen_at=opening.opened_at + timedelta(microseconds=1))))
    assert "plan-not-frozen" == refused(box, verdict)
    change("gone", lambda tx: PLANS.remove(tx, verdict.plan))
    assert "plan-not-frozen" == refused(box, verdict)
    change("back", lambda tx: PLANS.put(tx, plan))
    change("closed", lambda tx: OPENINGS.remove(tx, opening.gate, opening.gate_version, opening.plan))
    assert "plan-not-frozen" == refused(box, verdict)
    change("other", lambda tx: OPENINGS.put(tx, replace(opening, attempt=opening.attempt + 1)))
    assert "plan-not-frozen" == refused(box, verdict)


def test_a_verdict_is_used_once(box: Box) -> None:
    """While its release runs or was superseded, a verdict permits no second one."""
    verdict = box.verdict(1)
    box.interlocking.grant(verdict, box.model(1), labels_to_renew=500)
    with pytest.raises(Conflict) as running:
        box.interlocking.grant(verdict, box.model(1), labels_to_renew=500)
    box.grant(2)
    with pytest.raises(Conflict) as superseded:
        box.interlocking.grant(verdict, box.model(1), labels_to_renew=500)

    assert ["verdict-used", "verdict-used"] == [running.value.code, superseded.value.code]


def test_the_next_release_supersedes(box: Box) -> None:
    """One endpoint has one active release; the former one names its successor."""
    first = box.grant(1)
    box.clock.advance(DAY)
    second = box.grant(2)
    old, new = box.interlocking.history("delay")

    assert ("superseded", "active") == (old.status, new.status)
    assert (first.id, second.id) == (new.supersedes, box.interlocking.active("delay").id)  # type: ignore[union-attr]
    assert ["release.granted", "release.superseded", "release.granted"] == box.kinds()
    token = signal(box).token
    assert token is not None
    assert second.model == token.model


def test_a_stop_falls_back_to_the_previous_release_while_it_holds(box: Box) -> None:
    """`previous`: the one before takes over with its own model; a further stop goes further back."""
    first, second, third = (box.grant(number) for number in (1, 2, 3))
    stopped, instead = box.interlocking.stop("delay", "drill")
    token = signal(box).token

    assert (third.id, "stopped", second.id) == (stopped.id, stopped.status, instead.id if instead else None)
    assert token is not None
    assert second.model == token.model
    assert first.id == box.interlocking.stop("delay", "again")[1].id  # type: ignore[union-attr]
    assert None is box.interlocking.stop("delay", "and again")[1]
    assert "stop" == signal(box).signal
    assert 2 == box.kinds().count("release.resumed")
    with pytest.raises(NotFound) as caught:
        box.interlocking.stop("delay", "once more")
    assert "no-release" == caught.value.code


def test_a_previous_release_whose_lease_is_over_does_not_come_back(box: Box) -> None:
    """Falling back is no renewal: an ended lease stays ended."""
    box.grant(1)
    box.clock.advance(29 * DAY)
    box.grant(2)
    box.clock.advance(DAY)

    assert None is box.interlocking.stop("delay", "drill")[1]
    assert "stop" == signal(box).signal


@pytest.mark.parametrize("fallback", ["human", "refuse"])
def test_other_fallbacks_bring_nothing_back(box: Box, fallback: str) -> None:
    """Only `previous` resumes a release."""
    box.grant(1)
    box.grant(2)
    box.interlocking.declare(an_endpoint(fallback=fallback))

    assert None is box.interlocking.stop("delay", "drill")[1]
    assert "stop" == signal(box).signal


def test_a_stopped_release_never_comes_back_by_falling_back(box: Box) -> None:
    """What was stopped for harm stays stopped when its successor is stopped too."""
    box.grant(1)
    second = box.grant(2)
    box.interlocking.stop("delay", "harm", harmful=True)
    box.grant(3)

    assert second.id != box.interlocking.stop("delay", "drill")[1].id  # type: ignore[union-attr]
    assert "stopped" == box.interlocking.release_of(second.id).status


def test_a_harmless_stop_may_be_undone_and_a_harmful_one_may_not(box: Box) -> None:
    """A person's stop leaves the verdict usable while it is valid; proven harm burns it for good."""
    verdict = box.verdict(1)
    box.interlocking.grant(verdict, box.model(1), labels_to_renew=500)
    box.interlocking.stop("delay", "drill")
    again = box.interlocking.grant(verdict, box.model(1), labels_to_renew=500)
    box.interlocking.stop("delay", "losses exceed the limit", harmful=True)
    with pytest.raises(Conflict) as caught:
        box.interlocking.grant(verdict, box.model(1), labels_to_renew=500)

    assert "active" == again.status
    assert "verdict-used" == caught.value.code
    assert "stop" == signal(box).signal


def test_after_proven_harm_only_fresh_cases_clear_the_same_model(box: Box) -> None:
    """Another plan over cases that were sealed before the harm proves nothing against it; later cases may (law 5)."""
    gate = box.seal(range(10_000, 11_000))
    box.grant(1)
    box.clock.advance(DAY)
    box.interlocking.stop("delay", "losses exceed the limit", harmful=True)
    box.clock.advance(DAY)
    model = box.model(1)
    plan, opening = box.opened(gate, model=model.digest, reason="security")
    verdict = box.keep(plan=plan, attempt=opening.attempt, model=model.digest)
    with pytest.raises(Refused) as caught:
        box.interlocking.grant(verdict, model, labels_to_renew=500)

    assert "not-clear" == caught.value.code
    assert "stop" == signal(box).signal
    assert "active" == box.grant(2).status
    assert "active" == box.grant(1).status


def test_a_stop_needs_a_reason(box: Box) -> None:
    """Without one nothing happens."""
    box.grant()
    with pytest.raises(Invalid) as caught:
        box.interlocking.stop("delay", "  ")

    assert "missing-reason" == caught.value.code
    assert "clear" == signal(box).signal


def test_a_renewal_extends_and_clears_the_caution(box: Box) -> None:
    """From now on, never shortening what was granted; the reason and the facts are in the book."""
    box.grant()
    box.interlocking.caution("delay", "losses rise")
    box.clock.advance(25 * DAY)
    renewed = box.interlocking.renew("delay", 30 * DAY, "labels prove fitness", {"labels": 700})
    shorter = box.interlocking.renew("delay", DAY, "labels prove fitness", {"labels": 700})

    assert NOW + 55 * DAY == renewed.expires_at == shorter.expires_at
    assert "" == renewed.caution
    assert 700 == box.book.entries(kinds=["release.renewed"])[0].body["labels"]


@pytest.mark.parametrize("length", [timedelta(0), -DAY, timedelta(days=30, microseconds=1), 91 * DAY])
def test_a_renewal_is_within_what_owner_and_policy_allow(box: Box, length: timedelta) -> None:
    """The owner allows 30 days, the policy 90: neither is exceeded, and the lease stays as it was."""
    before = box.grant()
    with pytest.raises(Invalid) as caught:
        box.interlocking.renew("delay", length, "x", {})

    assert "invalid-lease" == caught.value.code
    assert before == box.interlocking.active("delay")


@pytest.mark.parametrize("days", [30, 31])
def test_an_ended_lease_is_not_renewed(box: Box, days: int) -> None:
    """From the very instant of its end a lease can only be replaced by a new proof (law 5)."""
    box.grant()
    box.clock.advance(days * DAY)
    with pytest.raises(Refused) as caught:
        box.interlocking.renew("delay", DAY, "x", {})

    assert "lease-ended" == caught.value.code
    assert "stop" == signal(box).signal


def test_a_lease_that_is_not_renewed_runs_out(box: Box) -> None:
    """Recording that fitness was not proven changes nothing but the book; time does the rest."""
    release = box.grant()
    box.interlocking.not_renewed("delay", ["12 labels, 500 are needed"])
    box.clock.advance(30 * DAY - timedelta(microseconds=1))
    before = signal(box).signal
    box.clock.advance(timedelta(microseconds=1))

    assert ("clear", "stop") == (before, signal(box).signal)
    assert release == box.interlocking.active("delay")
    assert "release.not-renewed" in box.kinds()


def test_a_caution_is_told_once(box: Box) -> None:
    """The first reason stays, the second writes nothing; the signal shows it."""
    box.grant()
    box.interlocking.caution("delay", "losses rise")
    again = box.interlocking.caution("delay", "losses rise further")
    state = signal(box)

    assert "losses rise" == again.caution == state.why
    assert "caution" == state.signal
    assert ["signal.caution"] == box.kinds("signal.")


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan"), float("inf")])
def test_an_endpoint_always_sends_somebody_to_people(box: Box, share: float) -> None:
    """Law 11 where endpoints are declared: an audit share of nothing, or of nonsense, is Invalid."""
    with pytest.raises(Invalid):
        box.interlocking.declare(an_endpoint(steering=Steering(audit=share)))

    assert an_endpoint() == box.interlocking.endpoint("delay")


def test_declaring_the_same_again_writes_nothing(box: Box) -> None:
    """An equal declaration is no news; a changed one is."""
    box.interlocking.declare(an_endpoint())
    box.interlocking.declare(an_endpoint(owner="ben"))

    assert 2 == len(box.kinds("endpoint."))


@pytest.mark.parametrize("act", ["grant", "renew", "stop", "caution"])
def test_a_change_that_fails_leaves_no_trace(box: Box, act: str) -> None:
    """Law 7: where the entry cannot be written, neither is the row."""
    release = box.grant(1)
    verdict = box.verdict(2)
    before = (box.interlocking.history("delay"), box.database.size())

    class Broken(Exception):
        """The book fails at its last moment."""

    original = type(box.database).write

    def failing(self: Any, *who: Any) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def inner() -> Any:
            with original(self, *who) as tx:
                yield tx
                raise Broken

        return inner()

    acts = {
        "grant": lambda: box.interlocking.grant(verdict, box.model(2), labels_to_renew=500),
        "renew": lambda: box.interlocking.renew("delay", 20 * DAY, "x", {}),
        "stop": lambda: box.interlocking.stop("delay", "drill"),
        "caution": lambda: box.interlocking.caution("delay", "x"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(box.database), "write", failing)
        with pytest.raises(Broken):
            acts[act]()

    assert before == (box.interlocking.history("delay"), box.database.size())
    assert release == box.interlocking.active("delay")


def test_the_shelves_hold_what_the_book_tells(box: Box) -> None:
    """Releases and verdicts are found by id, and foreign workspaces see nothing (law 10)."""
    release = box.grant()
    other = type(box.book)(box.database, "other", "eve")
    with other.read() as reader:
        assert (None, None) == (RELEASES.find(reader, release.id), VERDICTS.find(reader, release.verdict))

    assert isinstance(box.interlocking.release_of(release.id), Release)
    assert (
        release.verdict == box.interlocking.verdict(release.verdict).id == box.interlocking.latest_verdict("delay").id
    )  # type: ignore[union-attr]
