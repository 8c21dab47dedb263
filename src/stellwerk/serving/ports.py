"""What serving asks of others: lease tokens, models, and a log that keeps what it accepted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from stellwerk.core.digest import Digest
from stellwerk.models.model import Signature
from stellwerk.serving.model import PredictionBatch, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Tokens(Protocol):
    """Brings lease tokens. Answers from memory or a local file at once: it never waits for the control plane."""

    def current(self, endpoint: str) -> Mapping[str, Any] | None:
        """The newest token as minted; None when there is no release, which is stop at once.

        Raises `Unavailable` when nothing can be learnt: then the last token is used until it ends.
        """
        ...


class Loaded(Protocol):
    """A model ready to answer. Safe for many threads."""

    @property
    def digest(self) -> Digest: ...

    @property
    def signature(self) -> Signature: ...

    def predict(self, columns: Mapping[str, Sequence[Scalar]]) -> NDArray[np.float64]:
        """Probabilities (rows, classes), or values (rows,). Columns that are no inputs are ignored."""
        ...


class Models(Protocol):
    """Turns digests into models."""

    def load(self, digest: Digest) -> Loaded:
        """Read a model and verify every byte of it against the digest (law 4). Raises `Corrupt` or `NotFound`."""
        ...


class Log(Protocol):
    """Takes predictions. Safe for many threads; one process writes."""

    def append(self, record: PredictionBatch) -> None:
        """Keep a record; it is durable when this returns (law 7). Raises `Unavailable`, and then it is not kept."""
        ...

    def check(self) -> None:
        """Raise `Unavailable` if nothing could be appended at present."""
        ...


class Records(Protocol):
    """The part of the log that is not sealed yet, as encoded batches. Safe beside a writer in any process."""

    def rotate(self) -> str | None:
        """End the file that is being written and name it; None when it is empty. `Unavailable` in other processes."""
        ...

    def pending(self) -> tuple[str, ...]:
        """Files that have ended, oldest first. Names are never used twice."""
        ...

    def read(self, name: str) -> Iterator[bytes]:
        """The records of an ended file. Raises `Corrupt` where one is damaged, `NotFound` when it is gone."""
        ...

    def discard(self, name: str) -> None:
        """Remove an ended file, which is sealed by now. Removing again changes nothing."""
        ...

    def unsealed(self) -> Iterator[bytes]:
        """All records that are here at the moment of the call, oldest first."""
        ...
