"""The bytes come first: the book never names what the store does not hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound, Refused
from stellwerk.store.many import here
from stellwerk.tracking.model import StepMemory
from stellwerk.workspace.rooms import Rooms


def must_be_kept(rooms: Rooms, digests: Iterable[Digest]) -> None:
    """Raises `NotFound` for the first digest without bytes."""
    wanted = dict.fromkeys(digests)
    found = here(rooms.blobs, wanted)
    for digest in wanted:
        if digest not in found:
            raise NotFound(f"the store holds no {digest}", hint="put the bytes before what refers to them")


def still_kept(rooms: Rooms, memories: Sequence[StepMemory]) -> list[StepMemory]:
    """Those of which the store holds all that the step gave; garbage may have been collected since."""
    found = here(rooms.blobs, {digest for memory in memories for digest in memory.outputs.values()})
    return [memory for memory in memories if found.issuperset(memory.outputs.values())]


def result_must_be_kept(rooms: Rooms, outputs: Mapping[str, Digest] | None, memory: StepMemory | None) -> None:
    """As `must_be_kept`, for what a run gave, and for what is remembered of it."""
    must_be_kept(rooms, [*(outputs or {}).values(), *(memory.outputs.values() if memory else ())])


def must_be_its_own(
    memory: StepMemory, outputs: Mapping[str, Digest] | None, *, step_keys: Collection[Digest | None]
) -> None:
    """Raises `Refused` for a memory under a step key that is none of the run's, or of what the run did not give."""
    if memory.step_key not in step_keys or not set(memory.outputs.values()) <= set((outputs or {}).values()):
        raise Refused(
            "a run may only be remembered under its own step key, by its own outputs", code="foreign-memory"
        )
