"""What a run was begun for, as its surroundings say."""

from __future__ import annotations

import pytest

from stellwerk.workspace import causing


@pytest.mark.parametrize(
    ("place", "left", "said"),
    [
        ({"name": "flow"}, {}, {}),
        ({"name": "flow month=2024-01", "parent": "r1"}, {}, {causing.WITHIN: "r1 month=2024-01"}),
        ({"name": "flow"}, {causing.WITHIN: "r1"}, {causing.WITHIN: "r1"}),
    ],
)
def test_only_a_backfill_says_what_a_run_is_part_of(
    place: dict[str, str], left: dict[str, str], said: dict[str, str]
) -> None:
    """Its variable is taken out of the environment; the run of a recorded process stands there for its children."""
    environment = dict(said)

    assert place == causing.place("flow", environment)
    assert left == environment
