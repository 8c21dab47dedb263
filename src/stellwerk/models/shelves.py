"""Where model versions and aliases are kept."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.models.model import Alias, ModelVersion

VERSIONS = Shelf("model_versions", ModelVersion, key=("name", "version"), index=("digest", "created_at"))
ALIASES = Shelf("model_aliases", Alias, key=("name", "alias"))
