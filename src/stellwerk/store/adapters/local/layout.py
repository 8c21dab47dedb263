"""Where what lies in a store's folder (`docs/formats/store.md`), and which of its sub-folders survive a power cut."""

from __future__ import annotations

from pathlib import Path

from stellwerk.core.digest import Digest, hex_of, parse
from stellwerk.store.adapters.local import disk, packs


class Layout:
    """The places of one store: `sha256/ab/<64 hex>`, `chunked/ab/<64 hex>`, `files/ab/<64 hex>`, `packs/`, `incoming/`.

    Attributes:
        objects: Blobs that are files.
        chunked: Lists of the chunks of large blobs.
        incoming: Writes under way.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects = root / "sha256"
        self.chunked = root / "chunked"
        self.packs = root / packs.FOLDER
        self.incoming = root / "incoming"
        self._durable: dict[Path, set[str]] = {}
        """Sub-folders, by folder, that this process knows to survive a power cut."""

    def make(self) -> None:
        """Make the folders that every store has."""
        with disk.disk():
            disk.make(self.objects)
            disk.make(self.incoming)
            disk.make(self.packs)

    def blob(self, digest: Digest) -> Path:
        """The file of a blob that is one."""
        name = hex_of(parse(digest))
        return self.objects / name[:2] / name

    def chunks(self, digest: Digest) -> Path:
        """The list of a blob's chunks."""
        name = hex_of(parse(digest))
        return self.chunked / name[:2] / name

    def copy(self, digest: Digest) -> Path:
        """A copy for readers of files, of a blob that is none."""
        name = hex_of(parse(digest))
        return self.root / "files" / name[:2] / name

    def temporary(self) -> Path:
        """A new name for a write under way."""
        return self.incoming / disk.temporary_name()

    def make_durable(self, folder: Path) -> None:
        """Make a sub-folder that survives a power cut."""
        parent = folder.parent
        if folder.name in self._durable.get(parent, ()):
            return
        folder.mkdir(exist_ok=True)
        present = {entry.name for entry in parent.iterdir()}
        if parent not in self._durable:
            disk.sync(self.root)
        disk.sync(parent)
        self._durable[parent] = present
