"""`sync`, `push` and `pull`: what is wanted, then what is missing, then the copying. Run by whoever sits between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.store import sync
from stellwerk.store.sync import Loss, Plan, Watch
from stellwerk.workspace.places import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What became of a `sync`.

    Attributes:
        wanted: Blobs that the target should have.
        copied: Those that were missing there and are there now, or would be.
        lost: Those that could not be copied, and why.
    """

    source: str
    target: str
    wanted: int
    copied: int
    bytes: int
    lost: tuple[Loss, ...]


def look(source: Place, target: Place, datasets: Sequence[str] = (), *, by_target: bool = False) -> Plan:
    """What is to be copied. The ledger of the source decides, else that of the target, else everything goes.

    Args:
        by_target: The ledger of the target decides, although the source has one.
    """
    found = sync.plan(source.blobs, target.blobs, _wanted(source, target, datasets, by_target))
    # Without datasets some digests were never those of blobs, so that nothing can be said about what nobody has.
    return found if datasets else replace(found, wanted=found.wanted - len(found.nowhere), nowhere=())


def carry_out(source: Place, target: Place, plan: Plan, *, watch: Watch | None = None) -> Synced:
    """Copy what is missing. Interrupted, it can be begun again and goes on where it was."""
    done = sync.copy(source.blobs, target.blobs, plan.missing, watch=watch)
    nowhere = tuple(Loss(digest=digest, problem="neither place has it") for digest in plan.nowhere)
    return Synced(
        source=source.name,
        target=target.name,
        wanted=plan.wanted,
        copied=done.blobs,
        bytes=done.bytes,
        lost=(*done.lost, *nowhere),
    )


def promised(source: Place, target: Place, plan: Plan) -> Synced:
    """What `carry_out` would say if nothing went wrong."""
    nowhere = tuple(Loss(digest=digest, problem="neither place has it") for digest in plan.nowhere)
    return Synced(
        source=source.name,
        target=target.name,
        wanted=plan.wanted,
        copied=len(plan.missing),
        bytes=plan.bytes,
        lost=nowhere,
    )


def _wanted(source: Place, target: Place, datasets: Sequence[str], by_target: bool) -> set[Digest]:
    if source.ledger is not None and not by_target:
        return source.ledger(datasets, target.blobs)
    if target.ledger is not None:
        return target.ledger(datasets, source.blobs)
    if datasets:
        raise Invalid(
            "neither place has a ledger that knows datasets",
            code="no-ledger",
            hint="run it in the workspace that has them",
        )
    if source.listing is None:
        raise Invalid(f"{source.name} cannot list what it has", code="no-ledger")
    return set(source.listing())
