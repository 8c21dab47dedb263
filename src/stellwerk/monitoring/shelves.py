"""Where outcomes, baselines, assessments and alarms are kept."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.monitoring.model import AlarmRecord, Assessment, BaselineRecord, OutcomeBatch

OUTCOMES = Shelf("outcome_batches", OutcomeBatch, key=("endpoint", "number"))
BASELINES = Shelf("baselines", BaselineRecord, key=("endpoint", "model"))
ASSESSMENTS = Shelf("assessments", Assessment, key=("id",), index=("endpoint", "release"))
ALARMS = Shelf("alarms", AlarmRecord, key=("id",), index=("endpoint", "release", "status"))
