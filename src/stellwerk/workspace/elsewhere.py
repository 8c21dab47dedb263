"""Asking another workspace for results of steps, under a grant of its owner. Granting is in `pipelines.lending`.

What comes is taken only if it is what was asked for: the outputs of the step, read in ways that we know, with the bytes
that their digests name. It counts for the execution that asked and is not remembered as a result of this workspace.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from stellwerk.core.errors import Corrupt, NotFound, StellwerkError, Unavailable
from stellwerk.pipelines.model import Node, StepResult, Stored
from stellwerk.pipelines.rules import travels
from stellwerk.pipelines.values import STANDARD
from stellwerk.workspace import codecs, declaring
from stellwerk.workspace.settings import read

if TYPE_CHECKING:
    from stellwerk.core.digest import Digest
    from stellwerk.pipelines.lending import Lent, LentOutput
    from stellwerk.store.ports import Blobs
    from stellwerk.workspace.ports import Caller
    from stellwerk.workspace.rooms import Rooms

LOGGER = logging.getLogger("stellwerk.workspace")
_BOOK, _RUN = re.compile(r"stellwerk/[0-9a-f]{16}"), re.compile(r"[0-9a-z]{1,64}")


class Source(Protocol):
    """Another workspace, asked with the token of a grant. Safe for one thread."""

    def find(self, key: Digest) -> Lent:
        """The result under a key. Raises `NotFound`, whatever the reason."""
        ...

    def open(self, key: Digest, position: int) -> Iterator[bytes]:
        """The bytes of one of its outputs, piece by piece. Raises `NotFound`, whatever the reason."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class Folder:
    """A workspace in a folder of this machine. Its owner's grant is asked for all the same."""

    def __init__(self, rooms: Rooms, token: str) -> None:
        self._rooms, self._token = rooms, token

    def find(self, key: Digest) -> Lent:
        return self._rooms.lending.find(self._token, key)

    def open(self, key: Digest, position: int) -> Iterator[bytes]:
        return self._rooms.lending.open(self._token, key, position)[1]

    def close(self) -> None:
        self._rooms.close()


class Borrowing:
    """Takes results of another workspace into this one's store. Whoever fails once is not asked again.

    Args:
        blobs: The store of this workspace.
        source: Opens the other workspace when it is first asked.
        place: Its address, for messages.
    """

    def __init__(self, blobs: Blobs, source: Callable[[], Source], place: str) -> None:
        self._blobs, self._open, self._place = blobs, source, place
        self._source: Source | None = None
        self._given_up = False
        self._codecs = STANDARD.with_first(codecs.MODEL)

    def find(self, key: Digest, outputs: Sequence[str]) -> StepResult | None:
        """The result under a key, with its bytes kept here by now; None where there is none."""
        if self._given_up:
            return None
        try:
            source = self._source = self._source or self._opened()
            return self._taken(source, key, outputs)
        except NotFound:
            pass
        except StellwerkError as problem:
            self._given_up = True
            LOGGER.warning("no more results are asked of %s: %s (%s)", self._place, problem.message, problem.code)
        return None

    def close(self) -> None:
        """Release what is held."""
        if self._source is not None:
            self._source.close()

    def _opened(self) -> Source:
        try:
            return self._open()
        except NotFound as cause:
            raise Unavailable(cause.message, code=cause.code) from cause

    def _taken(self, source: Source, key: Digest, outputs: Sequence[str]) -> StepResult:
        lent = source.find(key)
        self._check(lent, key, outputs)
        for position, output in enumerate(lent.outputs):
            if not self._blobs.has(output.digest):
                self._blobs.put_stream(_checked(source.open(key, position), output))
        stored = {one.name: Stored(digest=one.digest, media=one.media) for one in lent.outputs}
        return StepResult(outputs={name: stored[name] for name in outputs}, origin=lent.origin)

    def _check(self, lent: Lent, key: Digest, outputs: Sequence[str]) -> None:
        named = [one.name for one in lent.outputs]
        unread = [one.media for one in lent.outputs if not self._codecs.knows(one.media)]
        odd = not _BOOK.fullmatch(lent.origin.workspace) or not _RUN.fullmatch(lent.origin.run)
        if lent.key != key or named != sorted(outputs) or unread or odd:
            raise Corrupt("it answered something else than was asked", code="foreign-result")


def _checked(pieces: Iterator[bytes], output: LentOutput) -> Iterator[bytes]:
    """The same pieces. Raises before the last is kept, unless they are what they were called."""
    hasher, size = hashlib.sha256(), 0
    for piece in pieces:
        hasher.update(piece)
        size += len(piece)
        if size > output.size:
            break
        yield piece
    if size != output.size or "sha256:" + hasher.hexdigest() != output.digest:
        raise Corrupt("it sent other bytes than it named", code="foreign-result")


@contextmanager
def opened(caller: Caller) -> Iterator[Borrowing | None]:
    """Whoever is to be asked for results that the workspace of a caller lacks; None where nobody is."""
    settings = read()
    token = settings.results_token
    place = (settings.results_from or _declared(caller.home)) if token else ""
    if not place:
        yield None
        return
    found = Borrowing(caller.blobs, _source(place, caller.home, token), place.rpartition("@")[2])
    try:
        yield found
    finally:
        found.close()


def find(caller: Caller, node: Node, key: Digest) -> StepResult | None:
    """The result of a step that another workspace gives, if somebody is to be asked and it means the same there."""
    if not travels(node):
        return None
    with opened(caller) as others:
        return None if others is None else others.find(key, node.outputs)


def _source(place: str, home: Path, token: str) -> Callable[[], Source]:
    if "://" not in place:
        return lambda: _folder(home / place, token)
    from stellwerk.workspace.adapters.http_results import HttpResults

    return lambda: HttpResults(place, token)


def _folder(folder: Path, token: str) -> Source:
    from stellwerk.workspace.layout import find as layout_of
    from stellwerk.workspace.rooms import Rooms

    if not folder.is_dir():  # else a workspace above it would be found
        raise NotFound(f"there is no folder {str(folder)!r}", code="no-such-folder")
    return Folder(Rooms(layout_of(folder), read()), token)


def _declared(home: Path) -> str:
    """What the project file says."""
    found = declaring.project(home)
    return "" if found is None else found.results_from
