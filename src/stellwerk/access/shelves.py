"""Where grants are kept."""

from __future__ import annotations

from stellwerk.access.model import Grant
from stellwerk.ledger.shelf import Shelf

GRANTS = Shelf("grants", Grant, key=("actor",))
