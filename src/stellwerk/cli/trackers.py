"""What came of taking over a tracker, and of giving back, for people: counts, facts, and what was not kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stellwerk.cli import words
from stellwerk.cli.output import Block, Span, Table, dim, strong

if TYPE_CHECKING:
    from stellwerk.workspace.mlflow.model import Problem, TrackerImport

SHOWN = 20
"""Problems that are listed for people; `--json` has them all."""
KINDS = (
    "experiments",
    "runs",
    "continued runs",
    "points",
    "logged models",
    "registered models",
    "versions",
    "aliases",
    "files",
)


def imported(done: TrackerImport) -> list[Block]:
    """What came of an import."""
    blocks = counts(done.made, done.known, "new", "here before")
    facts = [f"{done.made.get('bytes', 0):,} bytes of artifacts, in {words.took(done.seconds)}"]
    facts += [
        f"{words.count(count, what)} with artifacts elsewhere, not copied" for what, count in done.remote.items()
    ]
    facts += [f"{words.count(done.bare, 'run')} without a folder of artifacts"] if done.bare else []
    facts += [f"left out: {', '.join(f'{count:,} {what}' for what, count in done.left_out.items())}"] * bool(
        done.left_out
    )
    return [*blocks, *map(dim, facts), *problems(done.problems)]


def counts(made: Mapping[str, int], known: Mapping[str, int], new: str, old: str) -> list[Block]:
    """How many of each kind there were, as a table."""
    rows = tuple(
        (strong(kind), f"{made.get(kind, 0):,}", f"{known.get(kind, 0):,}")
        for kind in KINDS
        if made.get(kind) or known.get(kind)
    )
    return [Table(header=("", new, old), right=(1, 2), rows=rows)] if rows else []


def problems(found: tuple[Problem, ...]) -> list[Block]:
    """What was not kept, as far as people read it."""
    if not found:
        return []
    rows = tuple((Span(one.kind, "warn"), one.where, one.name, one.reason) for one in found[:SHOWN])
    table = Table(header=("not kept", "of", "name", "reason"), firm=(0,), rows=rows)
    more: list[Block] = [dim(f"and {len(found) - SHOWN:,} more; --json has them all")]
    return ["", table, *(more if len(found) > SHOWN else [])]
