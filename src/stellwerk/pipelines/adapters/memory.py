"""How much memory there is for this process: the machine's, or less where a control group of Linux says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def there(root: Path = Path("/"), physical: int | None = None) -> int:
    """Bytes; 0 where the system does not say.

    Args:
        root: Where the system's files are.
        physical: What the machine has; by default the system is asked.
    """
    found = [_physical() if physical is None else physical, *_limits(root)]
    return min((amount for amount in found if amount > 0), default=0)


def _physical() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows, and systems that do not know
        return 0


def _limits(root: Path) -> Iterator[int]:
    """What this process's group may use, and each group that it is in, by version 2 and version 1."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _walk(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _walk(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")


def _walk(base: Path, path: str, name: str) -> Iterator[int]:
    # In a container the path may be that of the host, which is not there; its own group is then the base.
    group = base / path.lstrip("/")
    for folder in (group, *group.parents):
        text = _read(folder / name).strip()
        if text.isdigit():
            yield int(text)
        if folder == base:
            return


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except OSError:
        return ""
