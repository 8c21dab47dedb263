"""What follows of runs, verdicts and steps, without reading anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.governance.change import rules
from stellwerk.governance.change.model import Judged, StepLine
from stellwerk.releases.model import Reason, Verdict
from stellwerk.tracking.model import Cost, Run

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def run(name: str, **facts: Any) -> Run:
    known: dict[str, Any] = {"experiment": "1", "kind": "train", "status": "finished", "started_at": NOW}
    return Run(id=f"id of {name}", name=name, started_by="anna", **(known | facts))


def verdict(outcome: Any = "clear", **facts: Any) -> Verdict:
    known: dict[str, Any] = {
        "id": "v", "endpoint": "delay", "model": of_bytes(b"m"), "plan": of_bytes(b"p"), "attempt": 1,
        "outcome": outcome, "reasons": (), "routed": (), "n_needed": None, "evidence": (), "given_at": NOW,
        "valid_until": NOW + timedelta(days=1),
    }  # fmt: skip
    return Verdict(**(known | facts))


def planned(*names: str) -> list[dict[str, str]]:
    return [{"id": name, "function": f"pipeline:{name}", "kind": "train"} for name in names]


def test_steps_stand_in_the_order_of_the_plan() -> None:
    """Turns of loops and seeds with their node; inputs are no steps; what is in no plan comes last."""
    children = [
        run("extra"),
        run("train[1]#0"),
        run("train[0]#0"),
        run("clean", cached=True),
        run("model", kind="register"),
    ]
    nodes = [{"id": "flights", "function": "builtin:dataset"}, *planned("clean", "train", "late")]

    found = rules.steps(children, nodes, {}, finished=True)

    assert [
        ("clean", "cached"), ("train[0]#0", "ran"), ("train[1]#0", "ran"), ("late", "skipped"), ("extra", "ran"),
    ] == [(step.name, step.status) for step in found]  # fmt: skip
    assert {"pipeline:train"} == {step.function for step in found if step.name.startswith("train")}


def test_what_a_failed_run_did_not_reach_is_not_skipped() -> None:
    """Only a run that ended well skips by conditions."""
    children = [run("clean", status="failed", error="no", step_key=of_bytes(b"k"), cost=Cost(wall_seconds=2.0))]

    failed, late = rules.steps(children, planned("clean", "late"), {"id of clean": "the log"})

    assert ("failed", "no", "the log", of_bytes(b"k"), 2.0) == (
        failed.status, failed.error, failed.log, failed.key, failed.seconds,
    )  # fmt: skip
    assert "not reached" == late.status


@pytest.mark.parametrize(
    ("status", "model", "verdicts", "failed", "expected"),
    [
        ("finished", "delay@2", ["clear"], False, "clear"),
        ("finished", "delay@2", ["clear", "unproven"], False, "unproven"),
        ("finished", "delay@2", ["clear", "unproven", "stop"], False, "stop"),
        ("finished", "delay@2", [], False, "unproven"),
        ("finished", "", ["clear"], False, "unproven"),
        ("finished", "delay@2", ["clear"], True, "stop"),
        ("failed", "delay@2", ["clear"], False, "stop"),
        ("interrupted", "delay@2", ["clear"], False, "stop"),
        ("running", "delay@2", ["clear"], False, "unproven"),
        ("scheduled", "delay@2", ["clear"], False, "unproven"),
    ],
)
def test_nothing_that_is_missing_is_clear(
    status: Any, model: str, verdicts: list[Any], failed: bool, expected: str
) -> None:
    """The worst of all verdicts; a failed step or run is a stop; no verdict, no model and no end are unproven."""
    judged = [Judged(endpoint=f"e{at}", outcome=one, why="so") for at, one in enumerate(verdicts)]
    steps = [StepLine(name="train", kind="train", status="failed")] if failed else []

    outcome, why = rules.outcome(run("delay", status=status), model, judged, steps)

    assert expected == outcome
    assert why


def test_a_verdict_expires_with_its_evidence() -> None:
    """Then it proves nothing; a stop stays one."""
    late = NOW + timedelta(days=1)

    assert ["clear", "unproven", "stop"] == [
        rules.judged(verdict(), NOW).outcome, rules.judged(verdict(), late).outcome,
        rules.judged(verdict("stop"), late).outcome,
    ]  # fmt: skip


def test_a_verdict_says_how_many_checks_passed() -> None:
    """What did not pass comes first."""
    reasons = tuple(Reason(check=one, outcome=one, text=one) for one in ("pass", "fail", "unproven", "pass"))  # type: ignore[arg-type]

    assert "1 failed, 1 unproven, 2 of 4 checks passed" == rules.judged(verdict(reasons=reasons), NOW).why
    assert "its one check passed" == rules.judged(replace(verdict(), reasons=reasons[:1]), NOW).why


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [(0.1, 0.2, "better"), (-0.2, -0.1, "worse"), (-0.1, 0.1, "not distinguishable"), (0.0, 0.1, "not distinguishable"),
     (None, 0.1, ""), (0.1, None, ""), (None, None, "")],
)  # fmt: skip
def test_an_interval_is_judged_by_its_sides(lower: Any, upper: Any, expected: str) -> None:
    """Only one that lies wholly on one side of zero says anything; one without an end says nothing."""
    assert expected == rules.judgement(lower, upper)


def test_what_differs_is_told_once() -> None:
    """New, gone and changed values; equal ones are left out, and an empty text is a value."""
    found = rules.changed({"a": 1, "b": 2, "c": "", "d": [1]}, {"a": 1, "b": 3, "d": [1], "e": ""})

    assert [("b", "2", "3"), ("c", "", ""), ("e", "", "")] == [(one.name, one.before, one.after) for one in found]


def test_code_that_differs_is_told_by_part() -> None:
    """Of steps that both ran; steps that came or went are no change of code."""
    one, two = of_bytes(b"1"), of_bytes(b"2")
    before = {"train": {"p:train": one, "p:old": one}, "gone": {"p:gone": one}, "same": {"p:same": one}}
    after = {"train": {"p:train": two, "p:new": one}, "new": {"p:new": one}, "same": {"p:same": one}}

    (found,) = rules.code(before, after)

    assert ("train", ("p:new added", "p:old removed", "p:train changed")) == (found.step, found.parts)
