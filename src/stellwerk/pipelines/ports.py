"""What the execution of plans needs from others: blobs, a journal, executors, names resolved, waits watched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from stellwerk.core.digest import Digest
from stellwerk.pipelines.model import Attempt, Ended, Event, Resources, StepResult, Stored, Verdict

Request = Literal["", "pause", "cancel"]
"""What somebody wants of an execution that is under way."""


class Blobs(Protocol):
    """Bytes by digest."""

    def put_many(self, items: Iterable[bytes]) -> list[Digest]:
        """Keep bytes durably and name them, in order; keeping the same bytes again is a no-op."""
        ...

    def get(self, digest: Digest) -> bytes:
        """The bytes of this name, verified. `NotFound`, or `Corrupt`."""
        ...


class Journal(Protocol):
    """The step cache and the book of an execution. Safe for two threads."""

    def lookup(self, key: Digest) -> StepResult | None:
        """The result committed under a key. A result whose bytes are gone is no result: answer None."""
        ...

    def write(self, events: Sequence[Event]) -> Mapping[str, StepResult]:
        """Take note of what happened, in order, in one transaction; their bytes are kept already.

        Results of `node-finished` events are committed under their keys, unless there is one: steps run at least once,
        *results* exactly once. A committed result whose bytes are gone is replaced.

        Returns:
            By task the results that were there first, where they differ.

        Raises:
            Conflict: `execution-taken`, if another engine has taken over. Nothing was written. Any exception ends the
                execution, because nothing may happen unrecorded.
        """
        ...

    def request(self) -> Request:
        """What somebody wants; asked now and then, it also says that this engine is alive."""
        ...


class Elsewhere(Protocol):
    """Asks another workspace for results that this one does not have."""

    def find(self, key: Digest, outputs: Sequence[str]) -> StepResult | None:
        """A result under a key, with the bytes of exactly these outputs kept here by now.

        Nothing is raised: where nobody answers, or what comes does not fit, there is no result.
        """
        ...


class Executor(Protocol):
    """Runs attempts of steps, perhaps several at the same time."""

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


class Resolver(Protocol):
    """Knows what names mean at this moment."""

    def dataset(self, name: str, version: int | None, as_of: datetime | None) -> Stored:
        """The bytes of a dataset version: this one, the newest at a time, or the newest. `NotFound` otherwise."""
        ...

    def file(self, path: str) -> Stored:
        """A file of the project, kept as it is now. `NotFound` if there is none."""
        ...

    def pin(self, builtin: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of a built-in step with every name made definite, such as `flights` with its version.

        What it returns is part of the step key and is what the step is called with, so that a built-in step that
        reads something besides its inputs is executed again when that changes.
        """
        ...


class Waits(Protocol):
    """Knows what persons have decided, and which events and times have come."""

    def open(self, key: Digest, task: str, params: Mapping[str, Any], about: Sequence[Stored]) -> str:
        """Begin to wait, once for each key; returns the name of the case, if it is one."""
        ...

    def verdict(self, key: Digest, params: Mapping[str, Any]) -> Verdict | None:
        """How it came out, if it is decided by now."""
        ...
