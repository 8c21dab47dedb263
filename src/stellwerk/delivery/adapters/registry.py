"""The registry as deliveries ask about it."""

from __future__ import annotations

from stellwerk.delivery.model import Said
from stellwerk.ledger.ports import Book
from stellwerk.models.model import ModelVersion, RegisteredModel
from stellwerk.models.shelves import MODELS, VERSIONS


class RegistryNow:
    """What is said of models and versions at the moment."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def model(self, name: str) -> Said | None:
        with self._book.read() as reader:
            return _said(MODELS.find(reader, name))

    def version(self, name: str, number: int) -> Said | None:
        with self._book.read() as reader:
            return _said(VERSIONS.find(reader, name, number))


def _said(found: RegisteredModel | ModelVersion | None) -> Said | None:
    match found:
        case None:
            return None
        case RegisteredModel():
            return Said(description=found.description, tags=found.tags)
        case ModelVersion():
            return Said(description=found.description, tags=found.tags, source=found.source, run_id=found.run_id)
