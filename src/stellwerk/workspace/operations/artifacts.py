"""Files by path. Their bytes go through the routes of blobs, and through the doors of others."""

from __future__ import annotations

from stellwerk.core.digest import Digest, parse
from stellwerk.core.errors import Invalid
from stellwerk.governance.model import FilePage
from stellwerk.tracking.manifest import Artifact
from stellwerk.workspace import filing
from stellwerk.workspace.calls import operation
from stellwerk.workspace.operations.kept import must_be_kept
from stellwerk.workspace.rooms import Rooms

MAX_LISTED = 10_000


@operation("artifacts.list", "runs:read")
def list_artifacts(rooms: Rooms, folder: str = "", limit: int = 1000, offset: int = 0) -> tuple[Artifact, ...]:
    """What is directly in a folder of the tree of artifacts, by name; at most 10,000 at once."""
    if not 0 < limit <= MAX_LISTED or offset < 0:
        raise Invalid(f"a page has 1 to {MAX_LISTED:,} artifacts", code="invalid-arguments")
    return tuple(rooms.artifacts.list(folder, limit=limit, offset=offset))


@operation("artifacts.get", "runs:read")
def get_artifact(rooms: Rooms, path: str) -> Artifact:
    """The file or folder of a path, with the digest of its bytes."""
    return rooms.artifacts.get(path)


@operation("artifacts.show", "runs:read")
def show_files(rooms: Rooms, run: str = "", model: str = "", path: str = "", offset: int = 0) -> FilePage:
    """A file of a run or of a logged model with a preview, or what is directly in a folder of it."""
    return filing.page(rooms, run=run, model=model, path=path, offset=offset)


@operation("artifacts.log", "runs:write", changes=True)
def log_artifact(rooms: Rooms, path: str, digest: Digest, media: str = "") -> Artifact:
    """Put bytes that are in the store under a path."""
    must_be_kept(rooms, [parse(digest)])
    return rooms.artifacts.log(path, digest, media=media)


@operation("artifacts.delete", "runs:write", changes=True)
def delete_artifacts(rooms: Rooms, path: str) -> int:
    """Take away a file, or a folder with everything below; answers how many files went."""
    return rooms.artifacts.delete(path)
