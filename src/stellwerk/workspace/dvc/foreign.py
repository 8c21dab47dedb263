"""What this process computed is entered as it is; a server computes it again."""

from __future__ import annotations

from collections.abc import Sequence

from stellwerk.access.rules import require
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict
from stellwerk.data.model import ForeignDigest
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.workspace import operations as ops
from stellwerk.workspace.dvc.objects import Damaged, Object
from stellwerk.workspace.local import LocalCaller
from stellwerk.workspace.ports import Caller

AT_ONCE = 5_000


def remember(caller: Caller, found: Sequence[ForeignDigest]) -> None:
    """Enter foreign digests that this process has just computed from the bytes that it put into the store.

    A server is not asked to believe it: it reads the files again, and does not take folders.
    """
    if isinstance(caller, LocalCaller):
        if found:
            require(caller.rooms.grant, caller.rooms.actor, "data:write")
            caller.rooms.foreign.remember(found)
        return
    files = [one for one in found if not one.directory]
    for start in range(0, len(files), AT_ONCE):
        caller.call(ops.remember_foreign, {"found": tuple(files[start : start + AT_ONCE])})


def adopted(caller: Caller, copy: Object) -> Digest | None:
    """Keep an object of DVC's cache by linking its file; None where the store cannot, or the file may be written to.

    Raises:
        Damaged: it has other bytes than its name says, or changed while it was read.
    """
    before = copy.path.stat()
    if not isinstance(caller.blobs, LocalFolder) or before.st_mode & 0o222:
        return None
    for _ in copy.chunks():
        pass
    try:
        digest = caller.blobs.put_file(copy.path, adopt=True)
    except Conflict as changed:
        raise Damaged from changed
    after = copy.path.stat()
    if (before.st_mtime_ns, before.st_size, before.st_ino) != (after.st_mtime_ns, after.st_size, after.st_ino):
        raise Damaged
    return digest
