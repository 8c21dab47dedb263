"""The registry as deliveries ask about it."""

from __future__ import annotations

from typing import Any

from stellwerk.delivery.model import Said
from stellwerk.ledger import documents
from stellwerk.ledger.ports import Book
from stellwerk.models import shelves


class RegistryNow:
    """What is said of models and versions at the moment."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def model(self, name: str) -> Said | None:
        shelf = getattr(shelves, "MODELS", None)
        if shelf is None:
            return None
        with self._book.read() as reader:
            return _said(shelf.find(reader, name))

    def version(self, name: str, number: int) -> Said | None:
        with self._book.read() as reader:
            return _said(shelves.VERSIONS.find(reader, name, number))


def _said(found: Any) -> Said | None:
    if found is None:
        return None
    told = documents.dump(found)
    return Said(**{key: told[key] for key in ("description", "tags", "source", "run_id") if told.get(key)})
