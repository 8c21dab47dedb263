"""Where grants are kept."""

from __future__ import annotations

from stellwerk.access.model import Grant, ResultGrant
from stellwerk.ledger.shelf import Shelf

GRANTS = Shelf("grants", Grant, key=("actor",))
RESULT_GRANTS = Shelf("result_grants", ResultGrant, key=("id",), index=("token_hash", "granted_at"), weak=True)
