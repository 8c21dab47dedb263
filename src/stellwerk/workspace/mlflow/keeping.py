"""Files of another tracker come into the store; which of them may, and where they belong in the tree of artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.store.ports import Blobs
from stellwerk.tracking import paths
from stellwerk.tracking.adopting import Kept
from stellwerk.workspace.mlflow.model import Folder, FoundFile, Problem, Unread
from stellwerk.workspace.mlflow.tally import Tally

SMALL = 1 << 20
"""Files up to this length are put into the store together."""
BATCH_BYTES = 32 << 20


class Keeping:
    """Puts files of several folders into the store: small ones together, large ones as streams."""

    def __init__(self, tally: Tally, blobs: Blobs) -> None:
        self._tally, self._blobs = tally, blobs
        self._small: list[tuple[str, str, bytes]] = []
        self._bytes = 0
        self._kept: dict[str, list[Kept]] = {}

    def take(self, where: str, place: str, folder: Folder) -> None:
        """Read a folder into a place of the tree of artifacts."""
        self._kept[where] = []
        match folder.state:
            case "none":
                self._tally.bare += where.startswith("run ")
            case "elsewhere":
                self._tally.remote[where.partition(" ")[0]] += 1
            case "refused":
                self._tally.problems.append(Problem(kind="artifact", where=where, name="", reason=folder.reason))
            case "here":
                taken: set[str] = set()
                for one in folder.files:
                    if isinstance(one, Problem):
                        self._tally.problems.append(replace(one, where=where))
                    elif self._fits(one, where, place, taken):
                        self._read(where, f"{place}/{one.path}", one)

    def finish(self) -> Mapping[str, list[Kept]]:
        """What was kept, by where it belongs."""
        self._flush()
        return self._kept

    def _fits(self, file: FoundFile, where: str, place: str, taken: set[str]) -> bool:
        try:
            paths.read(f"{place}/{file.path}")
            above = file.path
            if above in taken or f"{above}/" in taken:
                raise Invalid("it is there twice, or as a folder too", code="invalid-path")
            while "/" in above:
                above = above.rpartition("/")[0]
                if above in taken:
                    raise Invalid("it is below a file", code="invalid-path")
        except Invalid as refused:
            self._tally.problems.append(Problem(kind="artifact", where=where, name=file.path, reason=refused.message))
            return False
        taken.add(file.path)
        above = file.path
        while "/" in above:
            above = above.rpartition("/")[0]
            taken.add(f"{above}/")
        return True

    def _read(self, where: str, path: str, file: FoundFile) -> None:
        try:
            self._put(where, path, file)
        except Unread as cause:
            self._tally.problems.append(Problem(kind="artifact", where=where, name=file.path, reason=str(cause)))

    def _put(self, where: str, path: str, file: FoundFile) -> None:
        if file.size > SMALL:
            size = 0

            def counted() -> Iterable[bytes]:
                nonlocal size
                for chunk in file.chunks():
                    size += len(chunk)
                    yield chunk

            digest = self._blobs.put_stream(counted())
            self._kept[where].append(Kept(path, digest, size))
            return
        data = b"".join(file.chunks())
        self._small.append((where, path, data))
        self._bytes += len(data)
        if self._bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        small, self._small, self._bytes = self._small, [], 0
        digests: Sequence[Digest] = self._blobs.put_many([data for _, _, data in small]) if small else []
        for (where, path, data), digest in zip(small, digests, strict=True):
            self._kept[where].append(Kept(path, digest, len(data)))
