"""Read-only check of a blob folder. Shares no code with the writer: it knows only the written format and the hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from stellwerk.store.model import Damage


def check_blobs(root: Path) -> list[Damage]:
    """Every file in a blob folder against its name. Returns damage; an empty list is a clean folder."""
    found: list[Damage] = []
    objects = root / "sha256"
    if not objects.is_dir():
        return [Damage(where=objects.name, problem="the folder of blobs is missing")]
    for folder in sorted(objects.iterdir()):
        for file in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
            name = f"sha256/{folder.name}/{file.name}"
            if not re.fullmatch(r"[0-9a-f]{64}", file.name) or folder.name != file.name[:2]:
                found.append(Damage(where=name, problem="a file that is no blob"))
                continue
            hasher = hashlib.sha256()
            with file.open("rb") as content:
                while chunk := content.read(1 << 20):
                    hasher.update(chunk)
            if hasher.hexdigest() != file.name:
                found.append(Damage(where=name, problem=f"content hashes to {hasher.hexdigest()}"))
    incoming = root / "incoming"
    if incoming.is_dir():
        found += [
            Damage(where=f"incoming/{file.name}", problem="unfinished write", severity="note")
            for file in sorted(incoming.iterdir())
        ]
    return found


def check_references(root: Path, referenced: Iterable[tuple[str, str]]) -> list[Damage]:
    """Every (digest, who refers to it) must have its blob."""
    found = []
    for digest, who in referenced:
        name = digest.removeprefix("sha256:")
        if not (root / "sha256" / name[:2] / name).is_file():
            found.append(Damage(where=who, problem=f"refers to missing blob {digest}"))
    return found
