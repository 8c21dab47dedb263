"""What judging a model needs from outside: somebody who runs it safely, and somebody who knows its origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stellwerk.core.digest import Digest
from stellwerk.evidence.model import CheckResult, GateSet

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model said to the gate cases, and how fast."""

    scores: NDArray[Any]
    """(n, k) class probabilities in the order of the signature, or (n,) values."""
    seconds: NDArray[Any]
    """Latencies of single-case calls."""


class Examiner(Protocol):
    """Runs and inspects models where they can do no harm. Loads the very bytes that the digest names."""

    def answers(self, model: Digest, features: Digest) -> Answers:
        """Predictions for a Parquet blob, computed in the sandboxed worker."""
        ...

    def walls(self) -> dict[str, Any]:
        """What kept the models in while they were asked; for the evidence."""
        ...

    def scan(self, model: Digest) -> tuple[CheckResult, ...]:
        """What the files of a model are, without loading them."""
        ...

    def labels(self, model: Digest, gate: GateSet, plain: bytes) -> NDArray[Any]:
        """Opened gate labels as class indices of the model's signature, or as numbers."""
        ...

    def columns(self, features: Digest, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Columns of a Parquet blob as text, for slices. Raises `Invalid` for one that does not exist."""
        ...

    def groups(self, features: Digest, columns: Sequence[str] | None) -> NDArray[Any] | None:
        """The group of each case: its values in these columns and, where there is one time column, its day."""
        ...

    def contract(self, model: Digest, gate: GateSet) -> tuple[CheckResult, ...]:
        """Whether the gate cases are what the model's signature and the data contracts promise."""
        ...

    def provenance(self, model: Digest) -> tuple[CheckResult, ...]:
        """Whether everything behind the model is known and kept."""
        ...

    def leakage(self, model: Digest) -> tuple[CheckResult, ...]:
        """Whether the data behind the model were cut and searched for leaks."""
        ...

    def own_results(self, model: Digest) -> tuple[CheckResult, ...]:
        """Whether every step behind the model was computed in this workspace."""
        ...

    def steps(self, model: Digest, kinds: Sequence[str]) -> tuple[CheckResult, ...]:
        """Whether steps of each of these kinds ran for the model: one result named `step:<kind>` for each."""
        ...


class Progress(Protocol):
    """Told what is happening, for people who wait."""

    def __call__(self, text: str) -> None: ...
