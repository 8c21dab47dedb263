"""Who wants to know which versions of datasets this process reads."""

from __future__ import annotations

from collections.abc import Callable

LISTENERS: list[Callable[[str, str], None]] = []
"""Told the name with its version, and the digest of the rows. Nothing of it raises."""


def tell(name: str, digest: str) -> None:
    """A version was read."""
    for listener in LISTENERS:
        listener(name, digest)
