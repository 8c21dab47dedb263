"""What measuring needs from outside: encryption of gate labels, and a place where models can do no harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Sealer(Protocol):
    """Authenticated encryption under a key of the workspace. The key never leaves it."""

    def seal(self, data: bytes) -> bytes:
        """Encrypt; equal data gives different bytes each time."""
        ...

    def open(self, sealed: bytes) -> bytes:
        """Decrypt. Raises `Corrupt` for bytes that were changed or sealed elsewhere."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one task may use. `memory_bytes` is address space beyond the interpreter; reading tables needs 512 MiB."""

    wall_seconds: float = 120.0
    cpu_seconds: int = 120
    memory_bytes: int = 2 << 30
    output_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Which walls the kernel offers. Zero and false mean that there is none."""

    landlock_abi: int
    seccomp: bool
    rlimits: bool


class Worker(Protocol):
    """Runs a registered task in a process that may read only `files`, has no network, bounded memory and time.

    Files are screened first: one that is executable or unreadable is refused before any process starts, except for
    tasks that were registered to look at such files.
    """

    def run(self, task: str, request: dict[str, Any], files: Mapping[str, Path], limits: Limits) -> dict[str, Any]:
        """The task's answer: JSON, in which numpy arrays may stand for lists.

        Raises:
            Refused: `executable-format`, `sandbox-time`, `sandbox-memory`, `sandbox-output`, `sandbox-died`.
            Invalid: `task-failed`, with what the task said; or the task's own error.
            Unavailable: `no-sandbox`.
        """
        ...
