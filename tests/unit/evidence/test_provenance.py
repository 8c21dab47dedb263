"""What stands behind a model: own results are told from those that another workspace gave."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.evidence.provenance import Origin, origin, own_results, provenance, step_of
from stellwerk.tracking.model import ORIGIN_RUN, ORIGIN_WORKSPACE, Run

MODEL, TABLE = of_bytes(b"model"), of_bytes(b"table")
THEIRS = {ORIGIN_WORKSPACE: "stellwerk/0123456789abcdef", ORIGIN_RUN: "01k"}
OWN = Run(
    id="1", experiment="0", name="train", kind="train", status="finished", started_at=datetime(2026, 1, 1, tzinfo=UTC),
    started_by="anna", inputs={"table": TABLE}, outputs={"value": MODEL}, code=MODEL, environment=MODEL,
)  # fmt: skip


def behind(*makers: Run) -> Origin:
    made = {MODEL: list(makers)}
    return origin(MODEL, lambda digest: made.get(digest, []), lambda digest: digest == TABLE)


def there(_digest: Digest) -> bool:
    return True


def test_a_result_of_another_workspace_is_named() -> None:
    """It fails where own results are demanded, and is counted where they are not."""
    taken = replace(OWN, cached=True, tags=THEIRS)

    (found,) = own_results(behind(taken))

    assert ("own-results", "fail") == (found.name, found.outcome)
    assert "train from stellwerk/0123456789abcdef" in found.text
    assert "1 of them with results that another workspace gave" in provenance(MODEL, behind(taken), there)[0].text


def test_what_was_computed_here_counts() -> None:
    """Also where another workspace had given the same bytes before; and nothing is proven of what nobody made."""
    for makers in ((OWN,), (replace(OWN, id="0", cached=True, tags=THEIRS), OWN)):
        assert "pass" == own_results(behind(*makers))[0].outcome
    assert "unproven" == own_results(behind())[0].outcome
    assert "another workspace" not in provenance(MODEL, behind(OWN), there)[0].text


TESTED = replace(OWN, id="2", name="unit", kind="test", inputs={}, outputs={})


@pytest.mark.parametrize(
    ("routes", "outcome"),
    [
        ([], "unproven"),
        ([[], []], "unproven"),
        ([[TESTED]], "pass"),
        ([[replace(TESTED, cached=True)]], "pass"),
        ([[], [TESTED]], "pass"),
        ([[replace(TESTED, status="failed")], [TESTED]], "fail"),
        ([[TESTED], [replace(TESTED, status="failed")]], "pass"),
        ([[TESTED, replace(TESTED, status="interrupted")]], "fail"),
        ([[TESTED, replace(TESTED, status="running")]], "unproven"),
        ([[replace(TESTED, status="waiting"), replace(TESTED, status="failed")]], "fail"),
    ],
)
def test_the_newest_route_with_steps_of_a_kind_decides(routes: list[list[Run]], outcome: str) -> None:
    """All of them must have finished there; what nobody ran is unproven, and what failed is no proof."""
    found = step_of("test", routes)

    assert ("step:test", outcome) == (found.name, found.outcome)
    assert "'test'" in found.text
