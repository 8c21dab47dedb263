"""Putting damaged copies out of the way: they are kept for whoever wants to look, and never read again."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from stellwerk.core.digest import Digest, hex_of
from stellwerk.core.errors import Corrupt
from stellwerk.store import packing
from stellwerk.store.adapters.local import disk, packs
from stellwerk.store.adapters.local.index import Index
from stellwerk.store.adapters.local.packs import PackReader, PackWriter
from stellwerk.store.packing import BLOB, CHUNK, Record


class Quarantine:
    """One look at every copy of a blob. The caller keeps writers away meanwhile."""

    def __init__(self, root: Path, index: Index, reader: PackReader) -> None:
        self._root, self._index, self._reader = root, index, reader

    def isolate(self, digest: Digest) -> bool:
        """Set aside each damaged copy of a blob, of its chunk list and of its chunks; says whether there was one."""
        name = hex_of(digest)
        wanted = {(bytes.fromhex(name), BLOB)}
        found = self._file(self._root / "sha256" / name[:2] / name, self._is_blob)
        found |= self._file(self._root / "files" / name[:2] / name, self._is_blob)
        pieces = self._root / "chunked" / name[:2] / name
        found |= self._file(pieces, self._is_list)
        if pieces.is_file():
            wanted |= {(piece.digest, CHUNK) for piece in packing.read_chunk_list(pieces.read_bytes())}
        for pack in sorted((self._root / packs.FOLDER).glob("*.pack")):
            found |= self._pack(pack, wanted)
        return found

    def _file(self, path: Path, whole: Callable[[Path], bool]) -> bool:
        if not os.path.lexists(path) or (not path.is_symlink() and path.is_file() and whole(path)):
            return False
        path.replace(self._place(path.name))
        disk.sync(path.parent)
        self._index.forget(str(path.relative_to(self._root)))
        return True

    def _is_blob(self, path: Path) -> bool:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == path.name

    def _is_list(self, path: Path) -> bool:
        try:
            packing.read_chunk_list(path.read_bytes())
        except Corrupt:
            return False
        return True

    def _pack(self, path: Path, wanted: set[tuple[bytes, int]]) -> bool:
        pack = f"{packs.FOLDER}/{path.name}"
        try:
            records = packs.read_records(path)
        except Corrupt:
            # Its own index is gone. What the store's index still finds whole in it is saved, maybe under the same name.
            os.link(path, self._place(path.name))
            if (
                self._rewrite(pack, [record for record in self._index.records(pack) if self._whole(pack, record)])
                != pack
            ):
                path.unlink()
            return True
        damaged = [r for r in records if (r.digest, r.kind) in wanted and not self._whole(pack, r)]
        if not damaged:
            return False
        for record in damaged:
            self._place(f"{record.digest.hex()}.record").write_bytes(self._reader.stored(pack, record))
        self._rewrite(pack, [record for record in records if record not in damaged])
        path.unlink()
        return True

    def _rewrite(self, pack: str, kept: list[Record]) -> str:
        name = ""
        if kept:
            writer = PackWriter(self._root / "incoming", self._root / packs.FOLDER)
            try:
                for record in sorted(kept, key=lambda record: (record.offset, record.stored)):
                    writer.append(record, self._reader.stored(pack, record))
                name = writer.close()
            finally:
                writer.discard()
            self._index.forget(pack)
            self._index.add(name, writer.records)
        else:
            self._index.forget(pack)
        self._reader.forget(pack)
        return name

    def _whole(self, pack: str, record: Record) -> bool:
        try:
            self._reader.content(pack, record)
        except Corrupt:
            return False
        return True

    def _place(self, name: str) -> Path:
        folder = self._root / "quarantine"
        disk.make(folder)
        return folder / f"{name}-{secrets.token_hex(4)}"
