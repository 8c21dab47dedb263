"""What measuring needs from outside: encryption of gate labels."""

from __future__ import annotations

from typing import Protocol


class Sealer(Protocol):
    """Authenticated encryption under a key of the workspace. The key never leaves it."""

    def seal(self, data: bytes) -> bytes:
        """Encrypt; equal data gives different bytes each time."""
        ...

    def open(self, sealed: bytes) -> bytes:
        """Decrypt. Raises `Corrupt` for bytes that were changed or sealed elsewhere."""
        ...
