"""Files by path: one tree of names for all runs, logged models and traces of a workspace.

A path is a key and never a place on a disk, so no path can lead out of anywhere. The bytes are in the store before a
row names them; other bytes under the same path replace the row, and the ledger keeps what was there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain

from stellwerk.core.clock import Clock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.store.ports import Blobs, Joining
from stellwerk.tracking import paths
from stellwerk.tracking.manifest import ARTIFACTS, UPLOADS, Artifact, Upload

MAX_PARTS = 10_000
"""Of one upload."""
UPLOAD_TIME = timedelta(days=1)
_SWEPT = 100
"""Expired uploads that are forgotten at once."""


class Artifacts:
    """Use cases of the tree for one workspace and actor. Paths are those of `paths.read`."""

    def __init__(self, book: Book, blobs: Blobs, clock: Clock) -> None:
        self._book, self._blobs, self._clock = book, blobs, clock

    def log(self, path: str, digest: Digest, *, media: str = "") -> Artifact:
        """Put bytes that are in the store under a path; the same bytes again change nothing.

        Raises `Conflict` (`path-taken`) where the path is a folder, or leads through a file, and `NotFound` for bytes
        that the store does not hold.
        """
        folder, name = paths.split(paths.read(path))
        artifact = Artifact(
            folder=folder,
            name=name,
            digest=digest,
            size=self._blobs.size(digest),
            media=media,
            logged_at=self._clock.now(),
        )
        with self._book.write() as tx:
            return _keep(tx, artifact)

    def get(self, path: str) -> Artifact:
        """The file or folder of a path. Raises `NotFound`."""
        found = self.find(path)
        if found is None:
            raise _missing(path)
        return found

    def find(self, path: str) -> Artifact | None:
        """The file or folder of a path, or None."""
        with self._book.read() as reader:
            return ARTIFACTS.find(reader, *paths.split(paths.read(path)))

    def list(self, folder: str = "", *, limit: int | None = None, offset: int = 0) -> list[Artifact]:
        """What is directly in a folder, by name; nothing where there is no folder."""
        inside = paths.read_folder(folder)
        with self._book.read() as reader:
            return ARTIFACTS.select(reader, folder=inside, limit=limit, offset=offset)

    def delete(self, path: str) -> int:
        """Take away a file, or a folder with everything below; returns how many files went. Folders above stay.

        Raises `NotFound`, and `Invalid` for a folder at the root: an experiment does not go by a slip of the hand.
        """
        wanted = paths.read_folder(path)
        if not wanted:
            raise Invalid("the root of all artifacts cannot be deleted", code="invalid-path")
        with self._book.write() as tx:
            top = ARTIFACTS.find(tx, *paths.split(wanted))
            if top is None:
                raise _missing(wanted)
            if top.digest is None and not top.folder:
                raise Invalid("a folder at the root cannot be deleted", code="invalid-path")
            ARTIFACTS.remove(tx, top.folder, top.name)
            files, size, waiting = 0, 0, [top]
            while waiting:
                artifact = waiting.pop()
                if artifact.digest is None:
                    waiting += ARTIFACTS.select(tx, folder=artifact.path)
                    ARTIFACTS.remove_all(tx, folder=artifact.path)
                else:
                    files, size = files + 1, size + artifact.size
            facts = {"path": wanted, "files": files, "bytes": size}
            tx.record("artifact.deleted", f"artifact:{wanted}", {**facts, "was": top.digest} if top.digest else facts)
        return files

    # A long file in parts

    def begin(self, path: str, *, parts: int) -> Upload:
        """Announce a file in parts. Its id is a secret of whoever asked, and is good for a day."""
        if not 1 <= parts <= MAX_PARTS:
            raise Invalid(f"an upload of {parts:,} parts (expected 1 to {MAX_PARTS:,})", code="invalid-arguments")
        now = self._clock.now()
        upload = Upload(
            id=secrets.token_hex(16), path=paths.read(path), parts=parts, begun_at=now, expires_at=now + UPLOAD_TIME
        )
        with self._book.write() as tx:
            for old in UPLOADS.select(tx, order="expires_at", limit=_SWEPT):
                if old.expires_at <= now:
                    UPLOADS.remove(tx, old.id)
            UPLOADS.insert(tx, upload)
            tx.record("artifact.upload-begun", f"artifact:{upload.path}", {"path": upload.path, "parts": parts})
        return upload

    def upload(self, upload_id: str) -> Upload:
        """An upload under way. Raises `NotFound` for an unknown one, and one that expired."""
        with self._book.read() as reader:
            return self._upload(reader, upload_id)

    def complete(self, upload_id: str, path: str, parts: Sequence[Digest]) -> Artifact:
        """Join the parts, in order, and log the whole. Asked again it answers the same.

        Raises `Invalid` where parts are missing or the upload belongs to another path.
        """
        upload = self.upload(upload_id)
        if upload.path != paths.read(path):
            raise Invalid("this upload belongs to another path", code="foreign-upload")
        if upload.digest is not None:
            return self.log(upload.path, upload.digest)
        if len(parts) != upload.parts:
            raise Invalid(f"{len(parts):,} parts of {upload.parts:,} were named", code="invalid-parts")
        missing = next((digest for digest in parts if not self._blobs.has(digest)), None)
        if missing is not None:
            raise Invalid(f"the part {missing} was never sent", code="invalid-parts")
        digest = self._joined(parts)
        folder, name = paths.split(upload.path)
        size, now = self._blobs.size(digest), self._clock.now()
        artifact = Artifact(folder=folder, name=name, digest=digest, size=size, logged_at=now)
        with self._book.write() as tx:
            self._upload(tx, upload_id)
            # First: where these bytes are there already nothing is recorded, and nothing may change.
            kept = _keep(tx, artifact)
            if kept is artifact:
                UPLOADS.put(tx, evolve(upload, digest=digest))
        return kept

    def abort(self, upload_id: str, path: str) -> None:
        """Forget an upload; the parts that were sent are garbage."""
        with self._book.write() as tx:
            upload = self._upload(tx, upload_id)
            if upload.path != paths.read(path):
                raise Invalid("this upload belongs to another path", code="foreign-upload")
            UPLOADS.remove(tx, upload_id)
            tx.record("artifact.upload-aborted", f"artifact:{upload.path}", {"path": upload.path})

    def _upload(self, reader: Reader, upload_id: str) -> Upload:
        found = UPLOADS.find(reader, upload_id)
        if found is None or found.expires_at <= self._clock.now():
            raise NotFound("no such upload, or it expired", code="unknown-upload", hint="begin it again")
        return found

    def _joined(self, parts: Sequence[Digest]) -> Digest:
        if len(parts) == 1:
            return parts[0]
        if isinstance(self._blobs, Joining):
            return self._blobs.join(parts)
        return self._blobs.put_stream(chain.from_iterable(map(self._blobs.stream, parts)))


def _keep(tx: Transaction, artifact: Artifact) -> Artifact:
    """Put a file where it belongs, with its folders and its entry; returns what stands there now."""
    there = ARTIFACTS.find(tx, artifact.folder, artifact.name)
    if there is not None and there.digest is None:
        raise Conflict(f"{artifact.path[:80]!r} is a folder", code="path-taken")
    if there is not None and there.digest == artifact.digest:
        return there
    if there is None:
        ARTIFACTS.insert_new(tx, list(_new_folders(tx, artifact)))
    ARTIFACTS.put(tx, artifact)
    facts = {"path": artifact.path, "digest": artifact.digest, "size": artifact.size}
    tx.record("artifact.logged", f"artifact:{artifact.path}", {**facts, "was": there.digest} if there else facts)
    return artifact


def _new_folders(reader: Reader, artifact: Artifact) -> Iterator[Artifact]:
    """The folders above a file that are not there yet."""
    inner = artifact.folder
    while inner:
        folder, name = paths.split(inner)
        there = ARTIFACTS.find(reader, folder, name)
        if there is not None:
            if there.digest is not None:
                raise Conflict(f"{inner[:80]!r} is a file", code="path-taken")
            return  # and so are all above it
        yield Artifact(folder=folder, name=name, logged_at=artifact.logged_at)
        inner = folder


def _missing(path: str) -> NotFound:
    return NotFound(f"no artifact {path[:80]!r}", code="unknown-artifact")
