"""Triggers of a workspace: what begins runs by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stellwerk.workspace import operations as ops
from stellwerk.workspace.nouns.asking import call

if TYPE_CHECKING:
    from stellwerk.triggers.declaration import Declared
    from stellwerk.triggers.model import Applied, Firing, Limits, Made, Source, TriggerLine
    from stellwerk.workspace.ports import Caller


class Triggers:
    """`workspace.triggers`: what begins runs by itself."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> tuple[TriggerLine, ...]:
        """All triggers by name, with the times to come and their newest firings."""
        return call(self._caller, ops.list_triggers)

    def add(
        self,
        name: str,
        pipeline: str,
        on: Source,
        *,
        params: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        secret: str = "",
    ) -> Made:
        """Make a trigger. The secret of incoming deliveries is made unless it is given, and told this once."""
        asked = {"name": name, "pipeline": pipeline, "on": on, "params": dict(params or {}), "limits": limits}
        return call(self._caller, ops.add_trigger, **asked, secret=secret)

    def apply(self, declared: Sequence[Declared], *, prune: bool = False) -> tuple[Applied, ...]:
        """Make triggers as a project file declares them; with `prune`, take away what is not declared."""
        return call(self._caller, ops.apply_triggers, declared=tuple(declared), prune=prune)

    def show(self, name: str, *, limit: int = 20) -> TriggerLine:
        """One trigger with its newest firings."""
        return call(self._caller, ops.show_trigger, name=name, limit=limit)

    def pause(self, name: str) -> TriggerLine:
        """Let nothing fire a trigger; what waits is run all the same."""
        return call(self._caller, ops.pause_trigger, name=name)

    def resume(self, name: str) -> TriggerLine:
        """Let a trigger be fired again. What happened meanwhile does not count."""
        return call(self._caller, ops.resume_trigger, name=name)

    def remove(self, name: str) -> TriggerLine:
        """Take a trigger away, and what waits in its queue."""
        return call(self._caller, ops.remove_trigger, name=name)

    def fire(self, name: str, *, why: str = "") -> Firing:
        """Fire a trigger now, by hand."""
        return call(self._caller, ops.fire_trigger, name=name, why=why)

    def firings(self, name: str = "", *, limit: int = 20) -> Sequence[Firing]:
        """Firings of one trigger or of all, those that are due last first."""
        return call(self._caller, ops.list_firings, name=name, limit=limit)

    def look(self) -> int:
        """Look for what fires triggers; how many firings that made. `stellwerk triggers run` does it by itself."""
        return call(self._caller, ops.look_for_causes)
