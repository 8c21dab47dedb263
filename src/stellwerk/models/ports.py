"""What the registry asks of the rooms around it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from stellwerk.core.digest import Digest
from stellwerk.core.search import Clause, Order
from stellwerk.ledger.ports import Reader, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A logged model, as far as the registry must know it.

    Attributes:
        location: Where its files are, such as `mlflow-artifacts:/1/models/m-1/artifacts`.
        run_id: The run that logged it, if any.
    """

    location: str
    run_id: str = ""


class LoggedModels(Protocol):
    """Models that runs logged, which versions are made of."""

    def find(self, model_id: str) -> Logged | None:
        """The logged model of an id, or None."""
        ...

    def registered(self, tx: Transaction, model_id: str, name: str, version: int) -> None:
        """Note, within the change that registers it, which version a logged model became. Unknown ids are left alone."""
        ...


class Files(Protocol):
    """Files that runs logged into this workspace."""

    def tree(self, source: str) -> Digest | None:
        """The tree of the files that a source or location names as they are now, or None where they are elsewhere."""
        ...


class KnownRuns(Protocol):
    """The runs of the workspace."""

    def __call__(self, run_id: str) -> bool:
        """Whether there is a run of this id."""
        ...


class Releases(Protocol):
    """What endpoints may run."""

    def clear(self, digest: Digest) -> bool:
        """Whether a release of these bytes holds now."""
        ...

    def named(self, digest: Digest) -> bool:
        """Whether there ever was a release of these bytes."""
        ...


class Finder(Protocol):
    """An index of models and versions by what is said of them.

    Prompts, and their versions, are only found where they are asked for.
    """

    def models(
        self,
        reader: Reader,
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        prompts: bool,
        limit: int,
        offset: int,
    ) -> list[str]:
        """Names of models that meet all conditions, in order; then by name."""
        ...

    def versions(
        self,
        reader: Reader,
        *,
        where: Sequence[Clause],
        order: Sequence[Order],
        prompts: bool,
        limit: int,
        offset: int,
    ) -> list[tuple[str, int]]:
        """Names and numbers of versions that meet all conditions, in order; then by name, the newest first."""
        ...

    def newest(self, reader: Reader, names: Collection[str]) -> Mapping[str, Sequence[int]]:
        """By model, the newest version of each stage, the oldest first."""
        ...

    def counts(self, reader: Reader, names: Collection[str]) -> Mapping[str, int]:
        """By model, how many versions there are."""
        ...
