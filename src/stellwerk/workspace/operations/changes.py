"""What merge requests show, and what is promoted by commits."""

from __future__ import annotations

from stellwerk.governance.change.model import Change
from stellwerk.workspace import changing
from stellwerk.workspace.calls import Local, operation
from stellwerk.workspace.rooms import Rooms


@operation("views.change", "evidence:write")
def change(
    rooms: Rooms,
    run: str = "",
    base: str = "",
    commit: str = "",
    branch: str = "",
    local: Local = Local(False),  # noqa: B008
) -> Change:
    """What a run changes against a branch, a run or a model version: numbers, data, code, steps, verdict.

    Both models are asked their shared selection rows again, so whoever asks for it makes this machine work.
    """
    return changing.change(rooms, run=run, base=base, commit=commit, branch=branch, local=local)
