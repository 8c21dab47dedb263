"""Attempts that are offered to workers elsewhere, and what workers say of them."""

from __future__ import annotations

from stellwerk.core.digest import Digest
from stellwerk.pipelines.model import Offer
from stellwerk.workspace.calls import operation
from stellwerk.workspace.operations.kept import must_be_kept
from stellwerk.workspace.rooms import Rooms


@operation("attempts.offer", "runs:write", changes=True)
def offer_attempt(
    rooms: Rooms, execution: str, attempt: str, document: Digest, needs: dict[str, float], priority: int = 0
) -> Offer:
    """Let some worker do an attempt of an execution."""
    must_be_kept(rooms, [document])
    return rooms.offers.offer(execution, attempt, document=document, needs=needs, priority=priority)


@operation("attempts.claim", "runs:write", changes=True)
def claim_attempt(rooms: Rooms, worker: str, capacity: dict[str, float]) -> Offer | None:
    """Give a worker the most urgent attempt that it has room for, with a lease."""
    return rooms.offers.claim(worker, capacity)


@operation("attempts.beat", "runs:write", changes=True)
def beat_attempt(rooms: Rooms, offer: str, epoch: int) -> Offer:
    """Say that the worker of an attempt is alive."""
    return rooms.offers.beat(offer, epoch)


@operation("attempts.end", "runs:write", changes=True)
def end_attempt(rooms: Rooms, offer: str, epoch: int, outcome: Digest) -> Offer:
    """Say how an attempt came out, by the document of its outcome."""
    must_be_kept(rooms, [outcome])
    return rooms.offers.end(offer, epoch, outcome)


@operation("attempts.collect", "runs:write", changes=True)
def collect_attempts(rooms: Rooms, execution: str) -> tuple[Offer, ...]:
    """What workers have ended of an execution, and what was lost with them; each once."""
    return tuple(rooms.offers.collect(execution))


@operation("attempts.workers", "runs:read")
def list_workers(rooms: Rooms) -> tuple[str, ...]:
    """The workers that have an attempt of any execution now, by name."""
    return tuple(rooms.offers.workers())


@operation("attempts.withdraw", "runs:write", changes=True)
def withdraw_attempts(rooms: Rooms, execution: str, attempts: tuple[str, ...] | None = None) -> int:
    """Take back what nobody needs any more."""
    return rooms.offers.withdraw(execution, attempts)
