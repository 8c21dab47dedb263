"""Proof, release, answers and labels."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stellwerk.core.errors import Conflict
from stellwerk.monitoring.model import Outcome
from stellwerk.testing import worlds
from stellwerk.testing.workspaces.life import Life
from stellwerk.testing.workspaces.runs import Runs
from stellwerk.testing.worlds import ENDPOINT
from stellwerk.workspace.facade import Workspace


class Releases(Runs):
    """What is proven is released, answers, and is judged by what it answered."""

    def test_what_was_declared_is_known(self, life: Life, data: Workspace, place: Path) -> None:
        """Declarations come back as they were made; making one again changes nothing."""
        assert (worlds.declared(place),) == data.endpoints()
        assert worlds.declared(place) == data.declare(worlds.declared(place))

    def test_the_verdict_has_its_reasons(self, life: Life) -> None:
        """Clear, at the first attempt, with bounds for every goal; the rare depot goes to people."""
        verdict = life.verdict

        assert ("clear", 1, life.first.model.digest) == (verdict.outcome, verdict.attempt, verdict.model)
        assert {"pass"} == {reason.outcome for reason in verdict.reasons}
        assert (("depot", worlds.RARE),) == verdict.routed
        assert {"auroc", "latency_p99_ms"} == set(verdict.metrics)
        assert verdict.valid_until > verdict.given_at

    def test_the_release_holds(self, life: Life, data: Workspace) -> None:
        """It names its verdict and model, has a lease, and turns the signal clear."""
        release, state = life.release, data.signal(ENDPOINT)

        assert ("active", life.verdict.id, life.verdict.routed) == (release.status, release.verdict, release.routed)
        assert timedelta(days=30) == release.expires_at - release.granted_at
        assert (release,) == data.releases(ENDPOINT)
        assert "clear" == state.signal
        assert state.token is not None
        assert (release.id, release.model) == (state.token.release, state.token.model)

    def test_a_verdict_is_used_once(self, life: Life, data: Workspace) -> None:
        """The same verdict gives no second release."""
        with pytest.raises(Conflict) as caught:
            data.release(ENDPOINT)

        assert "verdict-used" == caught.value.code

    def test_answers_name_their_model(self, life: Life) -> None:
        """Whoever is not steered to people gets an answer; each answer has a name and its model's digest."""
        answered = [item for item in life.answers if item["prediction"] is not None]

        assert {life.release.model} == {item["model"] for item in life.answers}
        assert 60 == len({item["id"] for item in life.answers})
        assert len(answered) > 30
        assert all(item["steered"] for item in life.answers if item["prediction"] is None)
        rare = [k for k, depot in enumerate(life.asked.get_column("depot")) if depot == worlds.RARE]
        assert all("depot" in str(life.answers[k]["steered"]) for k in rare)

    def test_labels_are_kept_once(self, life: Life, data: Workspace) -> None:
        """New, repeated, contradicting and unknown outcomes are told apart; the first label stays."""
        known = worlds.outcomes([str(item["id"]) for item in life.answers], life.asked, data.now())
        report = data.outcomes(ENDPOINT, known)
        other = Outcome(prediction=known[0].prediction, label=not known[0].label, observed_at=data.now())
        again = data.outcomes(ENDPOINT, [*known, other])
        stranger = Outcome(prediction=f"{'0' * 26}-0", label=True, observed_at=data.now())

        assert (60, 0, 0, 0) == (report.accepted, report.repeated, report.conflicts, report.unknown)
        assert (0, 60, 1, None) == (again.accepted, again.repeated, again.conflicts, again.batch)
        assert 1 == data.outcomes(ENDPOINT, [stranger]).unknown

    def test_production_is_judged(self, life: Life, data: Workspace) -> None:
        """Predictions are counted; labels younger than their delay prove nothing; nothing is renewed for them."""
        found = data.assess(ENDPOINT)
        renewal = data.renew(ENDPOINT)

        assert (60, 0, life.release.id) == (found.predictions, found.labelled, found.release)
        assert not renewal.decision.renew
        assert life.release.expires_at == renewal.release.expires_at
        assert "unproven" in {reason.outcome for reason in renewal.decision.reasons}

    def test_cases_are_decided_once(self, life: Life, data: Workspace) -> None:
        """What was steered to people waits in the inbox, is decided, and then is gone from it."""
        steered = {str(item["id"]) for item in life.answers if item["steered"]}
        cases = data.inbox(endpoint=ENDPOINT, limit=200)
        decided = data.decide(cases[0].id, "late", reason="the driver said so")

        assert steered
        assert steered == {case.id for case in cases}
        assert ("decided", "late", worlds.OWNER) == (decided.status, decided.decision, decided.decided_by)
        assert cases[0].id not in {case.id for case in data.inbox(limit=200)}
        with pytest.raises(Conflict) as caught:
            data.decide(cases[0].id, "in time")
        assert "case-decided" == caught.value.code
