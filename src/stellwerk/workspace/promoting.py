"""What may be promoted, and that it was: the workspace's half of a promotion. The repository's half is in `promotion`.

Each promotion has an id. The book holds what caused it (the release, the verdict or the wish), and what came of it.
"""

from __future__ import annotations

from stellwerk.core.errors import Conflict, NotFound, Refused
from stellwerk.core.names import name as checked_name
from stellwerk.core.names import new_id
from stellwerk.models.model import ModelVersion
from stellwerk.releases.model import Release
from stellwerk.releases.promotion import (
    Demand,
    Pointer,
    Proposal,
    demanded,
    environment_name,
    obstacle,
    preview_name,
    standing,
)
from stellwerk.releases.shelves import ENDPOINTS, VERDICTS
from stellwerk.workspace import viewing
from stellwerk.workspace.rooms import Rooms

MAX_WORDS = 500


def propose(rooms: Rooms, endpoint: str, environment: str, model: str, preview: int, demand: Demand) -> Proposal:
    """What would be written for an endpoint, and whether its environment may have it.

    Args:
        environment: Empty for the one that the endpoint was declared for.
        model: Empty for what is released, where that is demanded, and otherwise for the newest of the endpoint's name.
        preview: Number of a merge request; 0 for none. A preview demands nothing, and says what it is.
        demand: What the repository says that the environment demands.
    """
    checked_name(endpoint, what="endpoint")
    with rooms.book.read() as reader:
        declared = ENDPOINTS.find(reader, endpoint)
    if declared is None and not preview:
        raise NotFound(
            f"no endpoint {endpoint!r} is declared", code="unknown-endpoint", hint="`stellwerk prove` declares it"
        )
    own = declared is not None and not preview and environment in ("", declared.environment)
    named = preview_name(preview) if preview else environment or (declared.environment if declared else "")
    asked: Demand = "nothing" if preview else demanded(demand, own=own)
    released = _released(rooms, endpoint) if declared else None
    if asked == "release" and released is None:
        raise Refused(
            f"{named} demands a release that holds, and endpoint {endpoint!r} has none",
            code="not-promotable",
            hint=f"`stellwerk release {endpoint}` after a clear verdict",
        )
    version = _version(rooms, endpoint, model, released if asked == "release" else None)
    holds = released if released is not None and released.model == version.bytes() else None
    with rooms.book.read() as reader:
        known = VERDICTS.select(reader, model=version.bytes(), endpoint=endpoint, order="-id", limit=1)
    verdict = known[0] if known else None
    found = standing(holds, verdict, rooms.clock.now())
    pointer = Pointer(
        environment=environment_name(named),
        endpoint=endpoint,
        workspace=rooms.layout.workspace,
        model=version.name,
        version=version.version,
        digest=version.bytes(),
        standing=found,
        verdict=holds.verdict if holds else verdict.id if verdict else "",
        release=holds.id if holds else "",
    )
    return Proposal(pointer=pointer, demand=asked, obstacle=obstacle(found, asked))


def begin(rooms: Rooms, pointer: Pointer, proposal: Proposal, *, repository: str, branch: str, path: str) -> str:
    """Write down that a pointer will be committed, and why it may be; answers the promotion's id.

    Args:
        proposal: What would be written now; another pointer than it is a conflict.
    """
    if pointer != proposal.pointer:
        raise Conflict(
            f"what is known of {pointer.named} has changed meanwhile", code="promotion-conflict", hint="promote again"
        )
    if proposal.obstacle:
        raise Refused(
            f"{pointer.named} is not promoted to {pointer.environment}: {proposal.obstacle}",
            code="not-promotable",
            hint=f"`stellwerk prove {pointer.endpoint} --model {pointer.named}` says what is missing",
        )
    name = new_id(rooms.clock.now())
    causes = {"release": pointer.release, "verdict": pointer.verdict, "model": str(pointer.digest)}
    kind, cause = next((kind, cause) for kind, cause in causes.items() if cause)
    with rooms.book.write() as tx:
        tx.record(
            "promotion.begun",
            f"promotion:{name}",
            {
                "cause": f"{kind}:{cause}",
                "endpoint": pointer.endpoint,
                "environment": pointer.environment,
                "model": pointer.named,
                "digest": pointer.digest,
                "standing": pointer.standing,
                "demand": proposal.demand,
                "repository": repository[:MAX_WORDS],
                "branch": branch[:MAX_WORDS],
                "path": path[:MAX_WORDS],
            },
        )
    return name


def end(rooms: Rooms, promotion: str, *, commit: str, why: str) -> None:
    """Write down what came of a promotion, once: the commit, or why there is none."""
    entries = rooms.book.entries(subject=f"promotion:{promotion}")
    if not entries:
        raise NotFound(f"no promotion {promotion[:40]!r}", code="no-promotion")
    if len(entries) > 1:
        raise Conflict(f"promotion {promotion} has ended already", code="promotion-ended")
    body = {"endpoint": entries[0].body["endpoint"], "environment": entries[0].body["environment"]}
    body |= {"cause": f"entry:{entries[0].sequence}"}
    body |= {"commit": commit[:64]} if commit else {"why": why[:MAX_WORDS]}
    with rooms.book.write() as tx:
        tx.record("promotion.committed" if commit else "promotion.failed", f"promotion:{promotion}", body)


def settle(rooms: Rooms, pointer: Pointer, *, repository: str, path: str, commit: str) -> None:
    """End what was begun by a process that died before it could say so: the repository has it, seen at a commit."""
    about = {"digest": pointer.digest, "repository": repository[:MAX_WORDS], "path": path[:MAX_WORDS]}
    entries = rooms.book.entries(kinds=["promotion."])
    ended = {entry.subject for entry in entries if entry.kind != "promotion.begun"}
    for entry in entries:
        if entry.subject not in ended and all(entry.body.get(key) == value for key, value in about.items()):
            end(rooms, entry.subject.removeprefix("promotion:"), commit=commit, why="")


def closed(rooms: Rooms, *, preview: int, repository: str, branch: str, commit: str) -> None:
    """Write down that the preview of a merge request was taken away."""
    with rooms.book.write() as tx:
        tx.record(
            "promotion.closed",
            f"preview:{preview_name(preview)}",
            {
                "cause": "the merge request was closed",
                "environment": preview_name(preview),
                "repository": repository[:MAX_WORDS],
                "branch": branch[:MAX_WORDS],
                "commit": commit[:64],
            },
        )


def _released(rooms: Rooms, endpoint: str) -> Release | None:
    """The release of an endpoint, if its signal is not at stop: judged as serving judges it."""
    active = rooms.interlocking.active(endpoint)
    return active if active is not None and viewing.signal(rooms, endpoint).signal != "stop" else None


def _version(rooms: Rooms, endpoint: str, model: str, released: Release | None) -> ModelVersion:
    if released is None:
        return rooms.registry.find(model or endpoint)
    if not model:
        return rooms.registry.get(released.model_name, released.model_version)
    asked = rooms.registry.find(model)
    if asked.digest != released.model:
        raise Refused(
            f"{asked.name}@{asked.version} is not what is released at {endpoint!r}, which is "
            f"{released.model_name}@{released.model_version}",
            code="not-promotable",
            hint=f"prove it by `stellwerk prove {endpoint} --model {asked.name}@{asked.version}`, then release it",
        )
    return asked
