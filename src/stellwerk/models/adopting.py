"""Adopting registered models that another registry kept: their versions under the numbers that they had there.

What is here already stays as it is, so adopting twice changes nothing. A number that was taken away here stays away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stellwerk.core.errors import Refused
from stellwerk.ledger.ports import Book, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.models import keeping, naming
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.models.ports import Releases
from stellwerk.models.shelves import ALIASES, MODELS, VERSIONS

Outcome = Literal["made", "same", "taken"]
"""Whether something is here now by this call, was here before, or means something else here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What came of a model: of itself, of its versions by number, and of its aliases by name."""

    model: Outcome
    versions: Mapping[int, Outcome]
    aliases: Mapping[str, Outcome]


class Adoption:
    """Use cases of adopting for one workspace and actor."""

    def __init__(self, book: Book, releases: Releases) -> None:
        self._book, self._releases = book, releases

    def adopt(
        self,
        model: RegisteredModel,
        versions: Sequence[ModelVersion],
        aliases: Mapping[str, int],
        origin: Mapping[str, Any],
    ) -> Adopted:
        """Enter a model, its versions and its aliases, all in one change.

        A model of the same name here gets the versions whose numbers were never given; what is said of it stays.
        """
        naming.model_name(model.name)
        with self._book.write() as tx:
            known = keeping.find_model(tx, model.name)
            there = known or evolve(model, workspace=tx.workspace, last=keeping.used(self._book, model.name))
            outcomes: dict[int, Outcome] = {}
            fresh: list[ModelVersion] = []
            for version in sorted(versions, key=lambda one: one.version):
                outcomes[version.version] = self._version(tx, there, version, fresh)
            last = max([there.last, *(version.version for version in fresh)])
            if known is None:
                MODELS.insert(tx, evolve(there, last=last))
                tx.record(
                    "model.created", f"model:{model.name}", {"tags": sorted(model.tags), "origin": dict(origin)}
                )
            elif fresh:
                MODELS.put(tx, evolve(there, last=last))
            for version in fresh:
                VERSIONS.insert(tx, version)
                told = {"name": version.name, "version": version.version, "run": version.run_id}
                told |= {"source": version.source, "origin": dict(origin)}
                told |= {"digest": version.digest, "format": version.format} if version.digest else {}
                about = version.digest or f"{version.name}@{version.version}"
                tx.record("model.imported", f"model:{about}", told)
            moved = {alias: self._alias(tx, model.name, alias, number) for alias, number in aliases.items()}
        return Adopted(model="same" if known else "made", versions=outcomes, aliases=moved)

    def _version(
        self, tx: Transaction, model: RegisteredModel, version: ModelVersion, fresh: list[ModelVersion]
    ) -> Outcome:
        known = VERSIONS.find(tx, model.name, version.version)
        if known is not None:
            same = (known.source, known.run_id, known.created_at) == (
                version.source,
                version.run_id,
                version.created_at,
            )
            return "same" if same else "taken"
        if version.version <= model.last:
            return "taken"
        fresh.append(evolve(version, workspace=tx.workspace, user=version.user or tx.actor))
        return "made"

    def _alias(self, tx: Transaction, name: str, alias: str, number: int) -> Outcome:
        known = ALIASES.find(tx, name, alias)
        version = VERSIONS.find(tx, name, number)
        if known is not None:
            return "same" if known.version == number else "taken"
        if version is None:
            return "taken"
        try:
            keeping.move_alias(tx, self._releases, version, alias)
        except Refused:  # protected: nothing is released by being imported
            return "taken"
        return "made"
