"""Bringing the database of a workspace up to date. Its rooms cannot be opened before."""

from __future__ import annotations

import time
from dataclasses import dataclass

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Unavailable
from stellwerk.ledger import migrations
from stellwerk.workspace.books import open_database
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.settings import Settings

PATIENCE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What was done, or would be."""

    before: str
    after: str
    steps: tuple[str, ...]
    copy: str
    """Where everything was copied to before; empty where nothing was done."""


def preview(layout: Layout, settings: Settings) -> Migration:
    """What `migrate` would do. Nothing is changed."""
    database = open_database(layout, settings, layout.make_clock())
    try:
        before = database.schema()
        steps = migrations.pending(before)
    finally:
        database.close()
    after = steps[-1].to if steps else str(before)
    return Migration(before=str(before), after=after, steps=tuple(step.summary for step in steps), copy="")


def migrate(layout: Layout, settings: Settings) -> Migration:
    """Copy the database, and bring it up to date in one transaction. Waits for another process that does it."""
    database = open_database(layout, settings, layout.make_clock())
    deadline = monotonic() + PATIENCE_SECONDS
    try:
        while True:
            try:
                done = database.migrate()
                break
            except Unavailable as busy:
                if busy.code != "database-busy" or monotonic() > deadline:
                    raise
                time.sleep(0.2)
        database.open()
    finally:
        database.close()
    return Migration(
        before=done.before, after=done.after, steps=tuple(step.summary for step in done.steps), copy=done.copy
    )
