"""Whose store a bucket holds: a marker that says so, which the first write makes."""

from __future__ import annotations

from stellwerk.core import canonical
from stellwerk.core.errors import Conflict, Corrupt, Invalid, Refused, Unavailable
from stellwerk.store.adapters.objects import Objects

FORMAT = "stellwerk-store-s3/1"
MARKER = "stellwerk-store.json"


class Marker:
    """The marker of one bucket, as one workspace sees it. Errors of the service are the caller's."""

    def __init__(self, objects: Objects, owner: str) -> None:
        self._objects, self._owner = objects, owner
        self.known = False
        """Whether it was looked at, and is one that we can read."""

    def claim(self, owner: str) -> None:
        """Belong to one workspace from now on, which alone may remove blobs. Raises `Conflict` if another's."""
        self.recognise(make=True)
        taken = Conflict(
            f"{self._objects.name} is the store of another workspace",
            code="store-owned",
            hint="give this workspace a prefix of its own",
        )
        etag = self._objects.head(MARKER).etag
        known = self._read()["owner"]
        if known not in ("", owner):
            raise taken
        if known != owner:
            try:
                self._objects.replace(MARKER, _bytes(owner), etag)
            except FileExistsError as cause:
                raise taken from cause
        self._owner = owner

    def must_be_ours(self) -> None:
        """Raises `Refused` where another workspace relies on what is here."""
        try:
            owner = self._read()["owner"]
        except FileNotFoundError:
            return
        if owner != self._owner:
            raise Refused(
                f"{self._objects.name} is the store of another workspace, which alone may remove from it",
                code="store-owned",
                hint="collect garbage in that workspace",
            )

    def recognise(self, *, make: bool = False) -> None:
        """Look once whether this is a store that we can read; a new one is begun by the first write."""
        if self.known:
            return
        try:
            self._read()
        except FileNotFoundError:
            if not make:
                return
            try:
                self._objects.put(MARKER, _bytes(""), create=True)
            except FileExistsError:
                self._read()
        self.known = True

    def _read(self) -> dict[str, str]:
        try:
            document = canonical.loads(self._objects.get(MARKER))
            found = {"format": str(document["format"]), "owner": str(document["owner"])}
        except (Invalid, KeyError, TypeError) as cause:
            raise Corrupt(f"{self._objects.name} holds no store that can be read", code="corrupt-store") from cause
        if found["format"] != FORMAT:
            raise Unavailable(
                f"this store has format {found['format'][:60]!r}, this version reads {FORMAT!r}",
                code="schema-mismatch",
            )
        return found


def _bytes(owner: str) -> bytes:
    return canonical.dumps({"format": FORMAT, "owner": owner})
