"""Where sealed segments of the prediction log are listed."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.serving.model import SegmentInfo

SEGMENTS = Shelf("prediction_segments", SegmentInfo, key=("endpoint", "first"), index=("last",))
