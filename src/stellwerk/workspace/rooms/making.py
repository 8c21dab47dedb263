"""Beginning a workspace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from stellwerk.core.clock import ReplayClock, SystemClock
from stellwerk.core.errors import Conflict
from stellwerk.core.names import name as checked_name
from stellwerk.evidence.adapters.sealing import create_sealing_key
from stellwerk.ledger.adapters.ed25519 import FileSigner, create_key
from stellwerk.ledger.database import WorkspaceBook
from stellwerk.workspace import layout as folders
from stellwerk.workspace.books import open_database
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.stores import check_address, open_bucket


def create(
    root: Path,
    settings: Settings,
    *,
    workspace: str = "default",
    clock: Literal["system", "replay"] = "system",
    server: Literal["sqlite", "postgresql"] = "sqlite",
    bucket: str = "",
) -> Layout:
    """Make a workspace in a folder. Killed half-way it is made again; an existing one is a `Conflict`."""
    checked_name(workspace, what="workspace")
    if (root / folders.FOLDER / "format.json").exists():
        raise Conflict("there is a workspace here already", code="already-exists")
    bucket = bucket and check_address(bucket)
    layout = folders.prepare(root, workspace=workspace, clock=clock, server=server, bucket=bucket)
    create_key(layout.signing_key)
    create_sealing_key(layout.sealing_key)
    if clock == "replay":
        ReplayClock(layout.folder / "clock.json").set(SystemClock().now())
    database = open_database(layout, settings, layout.make_clock())
    database.create(layout.identity)
    book = WorkspaceBook(database, workspace, checked_name(settings.actor, what="actor"))
    signer = FileSigner(layout.signing_key)
    begun = book.entries(kinds=["workspace.created"], limit=1)
    if begun and begun[0].body.get("key") != signer.public_key.hex():
        raise Conflict("this database holds the book of another workspace", code="already-exists")
    if not begun:
        with book.write() as tx:
            tx.record(
                "workspace.created",
                f"workspace:{workspace}",
                {"key": signer.public_key.hex(), "key_id": signer.key_id, "clock": clock},
            )
    origin = database.open()
    database.close()
    layout = replace(layout, identity=origin)
    if bucket:
        store = open_bucket(bucket, settings)
        store.claim(origin)
        store.close()
    folders.finish(layout)
    return layout
