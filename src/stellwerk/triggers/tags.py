"""How the tags of a run say what it was begun for."""

from __future__ import annotations

from collections.abc import Mapping

TAG = "stellwerk.firing"
"""The tag of a run that names the firing which it was begun for, and the epoch of its claim: `id.epoch`."""
CAUSE_TAG = "stellwerk.cause"
"""The tag of a run that was begun within another one's firing."""


def firing_of(tags: Mapping[str, str]) -> str:
    """The id of the firing that a run was begun for, or within, as its tags say; empty where there is none."""
    return tags.get(TAG, "").partition(".")[0] or tags.get(CAUSE_TAG, "")
