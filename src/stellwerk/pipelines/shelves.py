"""Where executions of plans are kept while they go on, and afterwards."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.pipelines.model import Execution, Offer, TaskState, Wait

EXECUTIONS = Shelf("executions", Execution, key=("id",), index=("status", "pipeline"))
TASKS = Shelf("execution_tasks", TaskState, key=("execution", "task"), index=("status",))
WAITS = Shelf("waits", Wait, key=("key",), index=("execution",))
OFFERS = Shelf("offered_attempts", Offer, key=("id",), index=("execution", "status"))
