"""Where dataset versions and contracts are kept."""

from __future__ import annotations

from stellwerk.data.model import Contract, DatasetVersion, ForeignDigest
from stellwerk.ledger.shelf import Shelf

DATASETS = Shelf("dataset_versions", DatasetVersion, key=("name", "version"), index=("digest",))
CONTRACTS = Shelf("contracts", Contract, key=("name", "version"))
FOREIGN = Shelf("foreign_digests", ForeignDigest, key=("algorithm", "value"), index=("digest",), weak=True)
