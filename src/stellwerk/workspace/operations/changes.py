"""What merge requests show, and what is promoted by commits."""

from __future__ import annotations

from stellwerk.core.errors import Invalid
from stellwerk.governance.change.model import Change
from stellwerk.releases.promotion import Demand, Pointer, Proposal
from stellwerk.workspace import promoting
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
    from stellwerk.workspace import changing  # statistics, which nobody else of this module needs

    return changing.change(rooms, run=run, base=base, commit=commit, branch=branch, local=local)


@operation("promotions.propose", "releases:read")
def propose_promotion(
    rooms: Rooms, endpoint: str, environment: str = "", model: str = "", preview: int = 0, demand: Demand = "verdict"
) -> Proposal:
    """What a promotion would write, and what stands against it."""
    return promoting.propose(rooms, endpoint, environment, model, preview, demand)


@operation("promotions.begin", "releases:write", changes=True)
def begin_promotion(
    rooms: Rooms, pointer: Pointer, repository: str, branch: str, path: str, demand: Demand = "verdict"
) -> str:
    """Write down that a model goes to an environment by a commit; refused where the environment may not have it."""
    asked = promoting.propose(rooms, pointer.endpoint, pointer.environment, pointer.named, 0, demand)
    return promoting.begin(rooms, pointer, asked, repository=repository, branch=branch, path=path)


@operation("promotions.preview", "models:write", changes=True)
def begin_preview(rooms: Rooms, pointer: Pointer, preview: int, repository: str, branch: str, path: str) -> str:
    """Write down that a model becomes the preview of a merge request by a commit."""
    asked = promoting.propose(rooms, pointer.endpoint, "", pointer.named, _number(preview), "nothing")
    return promoting.begin(rooms, pointer, asked, repository=repository, branch=branch, path=path)


@operation("promotions.end", "models:write", changes=True)
def end_promotion(rooms: Rooms, promotion: str, commit: str = "", why: str = "") -> None:
    """Write down the commit that a promotion became, or why it became none."""
    promoting.end(rooms, promotion, commit=commit, why=why)


@operation("promotions.settle", "models:write", changes=True)
def settle_promotion(rooms: Rooms, pointer: Pointer, repository: str, path: str, commit: str) -> None:
    """Write down that the repository has what a process began that died before it could say so."""
    promoting.settle(rooms, pointer, repository=repository, path=path, commit=commit)


@operation("promotions.close", "models:write", changes=True)
def close_preview(rooms: Rooms, preview: int, repository: str, branch: str, commit: str) -> None:
    """Write down that the preview of a merge request was taken away."""
    promoting.closed(rooms, preview=_number(preview), repository=repository, branch=branch, commit=commit)


def _number(preview: int) -> int:
    if not 0 < preview < 10**12:
        raise Invalid(f"{preview} is no number of a merge request", code="invalid-preview")
    return preview
