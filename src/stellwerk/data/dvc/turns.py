"""Two tools, one dataset: which states of a DVC repository become versions. Pure decisions.

States come from DVC in the order of its history; versions are what the dataset already has. A version comes from DVC
if its source says so; all others are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stellwerk.core.digest import Digest

Turn = Literal["new", "same", "behind"]
_SOURCE = re.compile(r"(?:git (?P<commit>[0-9a-f]{40,64})(?P<changed>\+)?|dvc) (?P<path>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class State:
    """A tree, and the words that say where it came from."""

    tree: Digest
    source: str


def source(path: str, *, directory: bool, commit: str = "", changed: bool = False) -> str:
    """Where a version came from: `git <commit> <path>`, with `+` behind the commit for what is not committed yet, or
    `dvc <path>` outside of git. The path of a folder ends in `/`."""
    named = path + "/" if directory else path
    return f"git {commit}{'+' if changed else ''} {named}" if commit else f"dvc {named}"


def origin(text: str) -> tuple[str, bool] | None:
    """Path, and whether it is a folder, of a version that came from DVC; None for others."""
    match = _SOURCE.fullmatch(text)
    return (match["path"].removesuffix("/"), match["path"].endswith("/")) if match else None


def present(state: State, versions: Sequence[State]) -> Turn:
    """What to do with the present state of a path.

    `behind`: DVC has what we had before our last changes, so there is nothing to import but something to export.
    """
    if versions and versions[-1].tree == state.tree:
        return "same"
    ours = 0
    while ours < len(versions) and origin(versions[-1 - ours].source) is None:
        ours += 1
    # The last version that came from DVC counts too: our changes began there.
    since = versions[-1 - ours :] if ours and ours < len(versions) else versions[len(versions) - ours :]
    return "behind" if ours and any(version.tree == state.tree for version in since) else "new"


def history(states: Sequence[State], versions: Sequence[State]) -> tuple[list[State], int]:
    """The states that become versions, in order, and how many cannot any more: versions are never put in between.

    States up to the last one that is a version already are done, so an import that was interrupted goes on where it
    stopped.
    """
    sources = {version.source: number for number, version in enumerate(versions)}
    trees = {version.tree: number for number, version in enumerate(versions)}
    known = [number for number, state in enumerate(states) if sources.get(state.source) is not None]
    if not known:
        known = [number for number, state in enumerate(states) if state.tree in trees]
    begin = known[-1] + 1 if known else 0
    reached = -1
    if known:
        last = states[known[-1]]
        reached = sources.get(last.source, trees.get(last.tree, -1))
    late = sum(1 for state in states[:begin] if state.tree not in trees)
    fresh: list[State] = []
    for state in states[begin:]:
        current = fresh[-1].tree if fresh else versions[reached].tree if reached >= 0 else None
        if state.tree == current:
            continue
        later = [number for number in range(reached + 1, len(versions)) if versions[number].tree == state.tree]
        if later and not fresh:
            reached = later[0]
        else:
            fresh.append(state)
    return fresh, late
