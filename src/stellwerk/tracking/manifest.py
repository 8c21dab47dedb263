"""Artifacts by path, and uploads in parts: rows that name bytes. The bytes are in the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from stellwerk.core.digest import Digest
from stellwerk.ledger.shelf import Shelf
from stellwerk.tracking import paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One name in the tree of artifacts.

    Attributes:
        folder: Path of the folder that it is in; empty at the root.
        digest: Its bytes; None for a folder.
        size: Length in bytes.
        media: Its type, where whoever logged it said so.
    """

    folder: str
    name: str
    digest: Digest | None = None
    size: int = 0
    media: str = ""
    logged_at: datetime

    @property
    def path(self) -> str:
        """Folder and name."""
        return paths.join(self.folder, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A long file that arrives in parts. What was sent is named when it is completed; nothing is known before.

    Attributes:
        path: Where the file will be.
        parts: How many parts were announced, numbered from 1.
        digest: The whole, once it was completed: whoever missed the answer may ask again.
    """

    id: str
    path: str
    parts: int
    begun_at: datetime
    expires_at: datetime
    digest: Digest | None = None


ARTIFACTS = Shelf("artifacts", Artifact, key=("folder", "name"))
UPLOADS = Shelf("artifact_uploads", Upload, key=("id",), index=("expires_at",), weak=True)
