"""Read-only check of a blob folder. Shares no code with the writer: it knows only the written format and the hash."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from stellwerk.store.model import Damage


def check_blobs(root: Path) -> list[Damage]:
    """Every file in a blob folder against its name. Returns damage; an empty list is a clean folder."""
    found: list[Damage] = []
    objects = root / "sha256"
    if not objects.is_dir():
        return [Damage(where=objects.name, problem="the folder of blobs is missing")]
    for folder in _inside(objects, found):
        if not stat.S_ISDIR(folder.lstat().st_mode):
            found.append(Damage(where=f"sha256/{folder.name}", problem="a file that is no blob"))
            continue
        for file in _inside(folder, found):
            problem = _problem(folder, file)
            if problem:
                found.append(Damage(where=f"sha256/{folder.name}/{file.name}", problem=problem))
    incoming = root / "incoming"
    if incoming.is_dir():
        found += [
            Damage(where=f"incoming/{file.name}", problem="unfinished write", severity="note")
            for file in _inside(incoming, found)
        ]
    return found


def _inside(folder: Path, found: list[Damage]) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except OSError as cause:
        found.append(Damage(where=folder.name, problem=f"cannot be listed: {os.strerror(cause.errno or 0)}"))


def _problem(folder: Path, file: Path) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", file.name) or folder.name != file.name[:2]:
        return "a file that is no blob"
    hasher = hashlib.sha256()
    try:
        # Looked at before it is opened: a planted pipe would block, a planted link would lead out of the store.
        if not stat.S_ISREG(file.lstat().st_mode):
            return "not a regular file"
        with file.open("rb") as content:
            while chunk := content.read(1 << 20):
                hasher.update(chunk)
    except FileNotFoundError:
        return ""  # taken away while we looked; whether it was needed is for `check_references`
    except OSError as cause:
        return f"cannot be read: {os.strerror(cause.errno or 0)}"
    return "" if hasher.hexdigest() == file.name else f"content hashes to {hasher.hexdigest()}"


def check_references(root: Path, referenced: Iterable[tuple[str, str]]) -> list[Damage]:
    """Every (digest, who refers to it) must have its blob."""
    found = []
    for digest, who in referenced:
        name = digest.removeprefix("sha256:")
        if not (root / "sha256" / name[:2] / name).is_file():
            found.append(Damage(where=who, problem=f"refers to missing blob {digest}"))
    return found
