"""Runs of pipelines in processes of their own: `stellwerk run …` by an argument list, with what it says kept."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL = 8 << 10
"""Bytes of the end of what a child said that are looked at."""
STOP_SECONDS = 10.0
_OWN = (
    "STELLWERK_JSON", "STELLWERK_FIRING", "STELLWERK_WITHIN", "STELLWERK_GOES_ON", "STELLWERK_FAIL",
    "STELLWERK_RUN_BACKFILL", "STELLWERK_RUN_SWEEP",
)  # fmt: skip
"""What is meant for this process and not for its children."""


class Child:
    """A command that is under way.

    Args:
        keeps: What it says is kept for `said`; else it goes where our own talk goes.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, keeps: bool = True
    ) -> None:
        inherited = {name: text for name, text in os.environ.items() if name not in _OWN}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stellwerk", *arguments],
            cwd=folder,
            env={**inherited, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._said if keeps else sys.stderr,
            stderr=subprocess.STDOUT,
        )

    def ended(self, within: float = 0.0) -> int | None:
        """Its exit code, negative where a signal killed it; None while it goes on.

        Args:
            within: Seconds to wait for it.
        """
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            return None

    def said(self) -> str:
        """The end of what it said."""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - TAIL))
        return self._said.read().decode("utf-8", "replace")

    def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        if self.ended() is None:
            self._process.terminate()
            if self.ended(STOP_SECONDS) is None:
                self._process.kill()
                self._process.wait()

    def close(self) -> None:
        """Let go of what it said."""
        self._said.close()


def problem(code: int, said: str) -> str:
    """Why a child failed, in its own words if it has any.

    Args:
        code: Its exit code, negative where a signal killed it.
    """
    lines = [line.strip() for line in said.splitlines()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{errors[-1][:400]} ({how})" if errors else f"it ended with {how}"
