"""The one sensible next step."""

from __future__ import annotations

from typing import Any

import pytest

from stellwerk.cli.viewing import Step, urgent
from stellwerk.governance.model import EndpointCard


def card(name: str, **changes: Any) -> EndpointCard:
    facts: dict[str, Any] = {
        "name": name, "purpose": "p", "owner": "anna", "deputy": "", "risk_class": "limited",
        "environment": "production",
        "signal": "clear", "why": "", "fallback": "refuse", "release": None, "history": (), "lease_left_days": 10.0,
        "lease_used": 0.5, "quality": None, "risk": None, "drift": (), "predictions": 0, "label_coverage": None,
        "audit_share": None, "routed": (), "open_cases": 0, "alarms": (), "next_step": "do",
        "next_command": f"c {name}",
    }  # fmt: skip
    return EndpointCard(**(facts | changes))


@pytest.mark.parametrize(
    ("expected", "cards"),
    [
        ("b", [card("a"), card("b", signal="stop"), card("c", signal="caution")]),
        ("c", [card("a"), card("c", signal="caution")]),
        ("b", [card("a", lease_left_days=9.0), card("b", lease_left_days=1.0)]),
        ("a", [card("idle", signal="clear", next_command="", lease_left_days=0.1), card("a")]),
        ("idle", [card("idle", next_command="")]),
    ],
)
def test_the_most_urgent_endpoint_comes_first(expected: str, cards: list[EndpointCard]) -> None:
    """Stop before caution before clear; the shorter lease first; nothing to do comes last."""
    assert expected == urgent(tuple(cards)).endpoint


def test_a_step_is_the_cards_own() -> None:
    """What the board says is what `next` says."""
    assert Step(endpoint="a", step="prove it", command="stellwerk prove a") == urgent(
        (card("a", next_step="prove it", next_command="stellwerk prove a"),)
    )
