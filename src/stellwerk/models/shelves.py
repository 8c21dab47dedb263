"""Where registered models, their versions and their aliases are kept."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.ledger.sought import SoughtShelf
from stellwerk.models import search
from stellwerk.models.model import Alias, ModelVersion, ProtectedAlias, RegisteredModel

MODELS = SoughtShelf(
    "registered_models",
    RegisteredModel,
    key=("name",),
    said=search.said_of_model,
    values="registered_values",
    columns={"name": "name"},
)
"""A model that has versions and is missing here was never described: what is said of it follows from its versions."""
VERSIONS = SoughtShelf(
    "model_versions",
    ModelVersion,
    key=("name", "version"),
    index=("digest", "created_at"),
    said=search.said_of_version,
    values="version_values",
    columns={"name": "name", "version_number": "version"},
)
ALIASES = Shelf("model_aliases", Alias, key=("name", "alias"))
PROTECTED = Shelf("protected_aliases", ProtectedAlias, key=("alias",))
