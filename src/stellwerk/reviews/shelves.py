"""Where cases are kept."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.reviews.model import Case, Taken

CASES = Shelf("cases", Case, key=("id",), index=("endpoint", "status", "kind", "due_at"))
TAKEN = Shelf("cases_taken", Taken, key=("source",))
