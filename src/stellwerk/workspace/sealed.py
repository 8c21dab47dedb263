"""Whether data comes from a gate set: nothing may be chosen by what it is judged by (requirement R019).

Known by lineage: what a split gave as its gate, what a gate step sealed, the sealed features, and everything that was
made of these by runs. Rows that somebody copied outside of every run are not known by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Refused
from stellwerk.evidence.shelves import GATES
from stellwerk.workspace.rooms import Rooms

FARTHEST = 10_000
"""Artifacts that are followed."""


def refuse(rooms: Rooms, inputs: Mapping[str, Digest]) -> None:
    """Raises `Refused` (`gate-in-tuning`) where an input comes from a gate set."""
    for label, digest in inputs.items():
        why = origin(rooms, digest)
        if why:
            raise Refused(
                f"the input {label!r} of tuning comes from a gate set: {why}",
                code="gate-in-tuning",
                hint="tune on the outputs `train` and `select` of sw.split; the gate only judges what was chosen",
            )


def origin(rooms: Rooms, digest: Digest) -> str:
    """Which gate set an artifact comes from, in words; empty where it comes from none."""
    with rooms.book.read() as reader:
        sealed = {gate.features: f"{gate.name}@{gate.version}" for gate in GATES.select(reader)}
    waiting, seen = [digest], {digest}
    while waiting:
        one = waiting.pop()
        if one in sealed:
            return f"it holds the cases of the gate set {sealed[one]}"
        for run in rooms.runs.users(one):
            if run.kind == "gate":
                return f"run {run.id} sealed it"
        for run in rooms.runs.makers(one):
            if run.kind == "split" and run.outputs.get("gate") == one:
                return f"run {run.id} split it off as the gate"
            new = set(run.inputs.values()) - seen
            waiting += new
            seen |= new
        if len(seen) > FARTHEST:
            raise Refused(
                f"more than {FARTHEST:,} artifacts lie behind the input, so that it cannot be seen where it comes from",
                code="gate-in-tuning",
            )
    return ""
