"""Triggers: what begins runs by itself, and the queue from which runners take them."""

from __future__ import annotations

from stellwerk.triggers.declaration import Declared
from stellwerk.triggers.model import Applied, Firing, Limits, Made, Source, TriggerLine
from stellwerk.workspace.calls import operation
from stellwerk.workspace.rooms import Rooms


@operation("triggers.list", "runs:read")
def list_triggers(rooms: Rooms) -> tuple[TriggerLine, ...]:
    """All triggers by name, without their secrets, with the times to come and their newest firings."""
    return tuple(map(rooms.triggers.line, rooms.triggers.all()))


@operation("triggers.add", "runs:write", changes=True)
def add_trigger(
    rooms: Rooms,
    name: str,
    pipeline: str,
    on: Source,
    params: dict[str, str] | None = None,
    limits: Limits | None = None,
    secret: str = "",
) -> Made:
    """Make a trigger. The secret of incoming deliveries is made unless it is given, and told this once."""
    return rooms.triggers.create(name, pipeline, on, params=params, limits=limits, secret=secret)


@operation("triggers.apply", "runs:write", changes=True)
def apply_triggers(rooms: Rooms, declared: tuple[Declared, ...], prune: bool = False) -> tuple[Applied, ...]:
    """Make triggers as a project file declares them; with `prune`, take away what is not declared."""
    return tuple(rooms.triggers.apply(declared, prune=prune))


@operation("triggers.show", "runs:read")
def show_trigger(rooms: Rooms, name: str, limit: int = 20) -> TriggerLine:
    """One trigger with its newest firings."""
    return rooms.triggers.line(rooms.triggers.get(name), shown=max(1, min(limit, 1000)))


@operation("triggers.pause", "runs:write", changes=True)
def pause_trigger(rooms: Rooms, name: str) -> TriggerLine:
    """Let nothing fire a trigger; what waits is run all the same."""
    return rooms.triggers.line(rooms.triggers.pause(name))


@operation("triggers.resume", "runs:write", changes=True)
def resume_trigger(rooms: Rooms, name: str) -> TriggerLine:
    """Let a trigger be fired again. What happened meanwhile does not count."""
    return rooms.triggers.line(rooms.triggers.resume(name))


@operation("triggers.remove", "runs:write", changes=True)
def remove_trigger(rooms: Rooms, name: str) -> TriggerLine:
    """Take a trigger away, and what waits in its queue. What it fired stays in the ledger."""
    return rooms.triggers.line(rooms.triggers.remove(name))


@operation("triggers.fire", "runs:write", changes=True)
def fire_trigger(rooms: Rooms, name: str, why: str = "") -> Firing:
    """Fire a trigger now, by hand."""
    return rooms.triggers.fire(name, why)


@operation("triggers.firings", "runs:read")
def list_firings(rooms: Rooms, name: str = "", limit: int = 20) -> tuple[Firing, ...]:
    """Firings of one trigger or of all, those that are due last first."""
    return tuple(rooms.triggers.firings(name=name, limit=max(1, min(limit, 1000))))


@operation("triggers.firing", "runs:read")
def get_firing(rooms: Rooms, firing: str) -> Firing:
    """One firing: its causes, and what became of it."""
    return rooms.triggers.firing(firing)


@operation("triggers.look", "runs:write", changes=True)
def look_for_causes(rooms: Rooms) -> int:
    """Look for what fires triggers, and note which runs have ended; says how many firings that made."""
    rooms.queue.reconcile()
    return rooms.lookout.look()


@operation("triggers.claim", "runs:write", changes=True)
def claim_firing(rooms: Rooms, runner: str, only: tuple[str, ...] = ()) -> Firing | None:
    """Take the next firing that is due, to begin its run within the lease; none where nothing is due."""
    return rooms.queue.claim(runner[:200], only)


@operation("triggers.settle", "runs:write", changes=True)
def settle_firing(rooms: Rooms, firing: str, epoch: int, problem: str = "", again: bool = False) -> Firing:
    """Say that the process which should run a firing has ended. What its run became is looked up."""
    return rooms.queue.settle(firing, epoch, problem=problem, again=again)
