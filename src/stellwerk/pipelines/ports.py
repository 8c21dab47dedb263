"""What the execution of plans needs from others: blobs, a step cache, an event sink, executors, names resolved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from stellwerk.core.digest import Digest
from stellwerk.pipelines.model import Attempt, Ended, Event, Failure, Outcome, Resources, StepResult, Stored


class Blobs(Protocol):
    """Bytes by digest."""

    def put(self, data: bytes) -> Digest:
        """Keep bytes durably and name them; keeping the same bytes again is a no-op."""
        ...

    def get(self, digest: Digest) -> bytes:
        """The bytes of this name, verified. `NotFound`, or `Corrupt`."""
        ...


class Memory(Protocol):
    """The step cache. Steps run at least once; *results* exactly once: the first one committed is the result."""

    def lookup(self, key: Digest) -> StepResult | None:
        """The result committed under a key. A result whose bytes are gone is no result: answer None."""
        ...

    def commit(self, key: Digest, result: StepResult) -> StepResult:
        """Keep a result in one conditional transaction, unless there is one; return the one that is kept.

        Committing again changes nothing. A kept result whose bytes are gone is replaced.
        """
        ...


class Recorder(Protocol):
    """Hears what happens, in order."""

    def record(self, event: Event) -> None:
        """Take note. An exception ends the execution, because nothing may happen unrecorded."""
        ...


class Executor(Protocol):
    """Runs attempts of steps, perhaps several at the same time, with the code that they name."""

    def capacity(self) -> Resources:
        """What it can share out among attempts that run at the same time."""
        ...

    def start(self, attempt: Attempt) -> None:
        """Take an attempt on; returns at once where attempts run elsewhere.

        Raises:
            Refused: `limits-not-kept`, if a declared limit cannot be kept.
        """
        ...

    def wait(self, timeout: float | None) -> Ended | None:
        """The next attempt that ended, in any order; None if none did in time, or none is under way."""
        ...

    def stop(self, attempt: str) -> None:
        """End an attempt, which still comes out of `wait`, as a `Failure` with code `step-cancelled`."""
        ...

    def close(self) -> None:
        """End everything; nothing is left running."""
        ...

    def run(self, attempt: Attempt) -> Outcome | Failure:
        """Run one attempt to its end: what the engine uses until it waits for several."""
        ...


class Resolver(Protocol):
    """Knows what names mean at this moment."""

    def dataset(self, name: str, version: int | None, as_of: datetime | None) -> Stored:
        """The bytes of a dataset version: this one, the newest at a time, or the newest. `NotFound` otherwise."""
        ...

    def pin(self, builtin: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a built-in step with every name made definite, such as `flights` with its version.

        What it returns is part of the step key and is what the step is called with, so that a built-in step that
        reads something besides its inputs is executed again when that changes.
        """
        ...
