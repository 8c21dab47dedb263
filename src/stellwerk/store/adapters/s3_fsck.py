"""Read-only check of a store in a bucket. Shares no code with the writer: it knows only the written format."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import obstore
from obstore import exceptions

from stellwerk.core.errors import Unavailable
from stellwerk.store.model import Damage

PORTION = 8 << 20
_KEY = re.compile(r"(sha256|lists|chunks)/([0-9a-f]{2})/(\2[0-9a-f]{62})")
_KNOWN = ("stellwerk-store.json",)
_SILENT = ("incoming/", "quarantine/")


class BucketCatalogue:
    """Every object below a prefix, read and judged. Raises `Unavailable` where that cannot be done.

    Attributes:
        damage: What was found; empty for a whole store.
    """

    def __init__(self, store: Any, name: str) -> None:
        self._store, self._name = store, name
        self.damage: list[Damage] = []
        self._objects: dict[str, set[str]] = {"sha256": set(), "lists": set(), "chunks": set()}
        self._bad: set[str] = set()
        try:
            self._check()
        except (exceptions.BaseError, OSError, ValueError) as cause:
            raise Unavailable(
                f"{name} cannot be read to its end",
                code="s3-unavailable",
                hint="nothing was changed; try again later",
            ) from cause

    def holds(self, digest: str) -> bool:
        """Whether a blob is there, damaged or not."""
        name = digest.removeprefix("sha256:")
        return name in self._objects["sha256"] or name in self._objects["lists"]

    def read(self, digest: str, limit: int) -> bytes | None:
        """A short whole blob."""
        name = digest.removeprefix("sha256:")
        if name not in self._objects["sha256"]:
            return None
        try:
            answer = obstore.get(self._store, f"sha256/{name[:2]}/{name}")
            data = bytes(answer.bytes()) if answer.meta["size"] <= limit else b""
        except (exceptions.BaseError, OSError) as cause:
            raise Unavailable(
                f"{self._name} cannot be read", code="s3-unavailable", hint="try again later"
            ) from cause
        return data if hashlib.sha256(data).hexdigest() == name else None

    def close(self) -> None:
        """Nothing is held."""

    def _check(self) -> None:
        keys = sorted(item["path"] for page in obstore.list(self._store, chunk_size=1000) for item in page)
        for key in keys:
            found = _KEY.fullmatch(key)
            if found:
                self._objects[found[1]].add(found[3])
            elif key not in _KNOWN and not key.startswith(_SILENT):
                self._report(key, "an object that is no blob")
            elif key.startswith("incoming/"):
                self._report(key, "unfinished upload", note=True)
        for kind in ("sha256", "chunks"):
            for name in sorted(self._objects[kind]):
                actual = self._digest(f"{kind}/{name[:2]}/{name}")
                if actual != name:
                    self._bad.add(f"{kind}/{name}")
                    self._report(f"{kind}/{name[:2]}/{name}", f"content hashes to {actual}")
        for name in sorted(self._objects["lists"]):
            problem = self._problem_of_list(name)
            if problem:
                self._report(f"lists/{name[:2]}/{name}", problem)

    def _digest(self, key: str) -> str:
        hasher = hashlib.sha256()
        for portion in self._portions(key):
            hasher.update(portion)
        return hasher.hexdigest()

    def _portions(self, key: str) -> Iterator[bytes]:
        for portion in obstore.get(self._store, key).stream(min_chunk_size=PORTION):
            yield bytes(portion)

    def _problem_of_list(self, name: str) -> str:
        try:
            document = json.loads(b"".join(self._portions(f"lists/{name[:2]}/{name}")))
            chunks = [(str(item["digest"]).removeprefix("sha256:"), int(item["size"])) for item in document["chunks"]]
            readable = document["format"] == "stellwerk-chunks/1"
        except (ValueError, KeyError, TypeError):
            readable = False
        if not readable or not chunks:
            return "the list of chunks is damaged"
        whole = hashlib.sha256()
        for chunk, size in chunks:
            if chunk not in self._objects["chunks"]:
                return f"chunk {chunk} is missing"
            if f"chunks/{chunk}" in self._bad:
                return f"chunk {chunk} is damaged"
            read = 0
            for portion in self._portions(f"chunks/{chunk[:2]}/{chunk}"):
                whole.update(portion)
                read += len(portion)
            if read != size:
                return f"chunk {chunk} has {read} bytes, not {size}"
        return "" if whole.hexdigest() == name else f"content hashes to {whole.hexdigest()}"

    def _report(self, where: str, problem: str, *, note: bool = False) -> None:
        self.damage.append(Damage(where=where, problem=problem, severity="note" if note else "error"))
