"""How a database of an earlier version becomes one of this version, step by step.

Each step is a module with `upgrade(op)`, written with Alembic's operations for every database, and knows nothing of
today's tables: they may change again. Steps are loaded only when they are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from stellwerk.core.errors import Corrupt, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One change of the schema."""

    to: str
    """The schema that it makes."""
    summary: str
    """What becomes different, for whoever is asked to migrate."""
    module: str


STEPS = (
    Step(
        to="2",
        summary="the nodes of the Merkle tree lie in the order in which they are read; the file is a tenth smaller",
        module="stellwerk.ledger.migrations.nodes_in_order",
    ),
    Step(
        to="3",
        summary="runs are found by their metrics, parameters and tags",
        module="stellwerk.ledger.migrations.values_of_runs",
    ),
    Step(
        to="4",
        summary="experiments are things of their own; metrics have steps, times and bounds",
        module="stellwerk.ledger.migrations.experiments",
    ),
    Step(
        to="5",
        summary="traces, models and evaluation datasets are found by what is said of them",
        module="stellwerk.ledger.migrations.things_sought",
    ),
)
"""Append-only, in order. The first step leads from schema 1."""

FIRST = "1"
CURRENT = STEPS[-1].to


def pending(schema: str | None, steps: tuple[Step, ...] = STEPS) -> tuple[Step, ...]:
    """The steps from a schema to this version's. Raises `Unavailable` for one that a later version made."""
    known = [FIRST, *(step.to for step in steps)]
    if schema is None or not schema.isdecimal():
        raise Corrupt("the database does not say which schema it has", code="corrupt-database")
    if schema not in known:
        raise Unavailable(
            f"the database has schema {schema!r}, this version reads up to {known[-1]!r}",
            code="schema-mismatch",
            hint="use the version of Stellwerk that wrote it, or a later one",
        )
    return steps[known.index(schema) :]


def run(step: Step, connection: Any) -> None:
    """Take a step inside the open transaction of a connection."""
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    upgrade: Callable[[Operations], None] = import_module(step.module).upgrade
    upgrade(Operations(MigrationContext.configure(connection)))
