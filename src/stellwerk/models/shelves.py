"""Where registered models, their versions and their aliases are kept."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.models.model import Alias, ModelVersion, ProtectedAlias, RegisteredModel

MODELS = Shelf("registered_models", RegisteredModel, key=("name",))
"""A model that has versions and is missing here was never described: what is said of it follows from its versions."""
VERSIONS = Shelf("model_versions", ModelVersion, key=("name", "version"), index=("digest", "created_at"))
ALIASES = Shelf("model_aliases", Alias, key=("name", "alias"))
PROTECTED = Shelf("protected_aliases", ProtectedAlias, key=("alias",))
