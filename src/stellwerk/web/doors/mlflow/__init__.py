"""The door of MLflow: its unmodified client finds experiments, runs, models and artifacts here.

Written from MLflow's public client and REST reference (versions 2.22 to 3.17). `wire` reads and spells, `calls` makes
routes of functions, and each other module holds the calls of one noun.
"""

from __future__ import annotations

from typing import Any

from stellwerk.web.doors.mlflow import (
    artifacts,
    assessments,
    bulk,
    calls,
    evaluations,
    experiments,
    logged_models,
    openapi,
    otlp,
    registry,
    runs,
    scorers,
    server,
    trace_metrics,
    traces,
    webhooks,
    workspaces,
)
from stellwerk.web.routing import Guard, GuardedRoute
from stellwerk.workspace.rooms import Rooms

TABLES: tuple[calls.Calls, ...] = (
    experiments.CALLS,
    runs.CALLS,
    artifacts.TREE,
    artifacts.OF_RUNS,
    logged_models.CALLS,
    registry.CALLS,
    bulk.CALLS,
    evaluations.CALLS,
    scorers.CALLS,
    webhooks.CALLS,
    traces.CALLS,
    traces.OLD_CALLS,
    trace_metrics.CALLS,
    assessments.CALLS,
)
"""Every call with a JSON answer, but those about workspaces: these alone are asked outside of any."""


def described(rooms: Rooms, guard: Guard) -> dict[str, Any]:
    """The description of all routes, as OpenAPI."""
    return openapi.describe(routes(rooms, guard))


def routes(rooms: Rooms, guard: Guard) -> list[GuardedRoute]:
    """All routes of the door."""
    here = workspaces.inside(rooms, guard)
    return [
        *calls.routes([workspaces.CALLS], rooms, guard),
        *calls.routes(TABLES, rooms, here),
        *artifacts.routes(rooms, here),
        *traces.routes(rooms, here),
        *otlp.routes(rooms, here),
        *server.routes(),
    ]
