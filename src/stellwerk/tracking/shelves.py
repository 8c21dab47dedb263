"""Where runs and step results are kept."""

from __future__ import annotations

from stellwerk.ledger.shelf import Shelf
from stellwerk.tracking.model import Claim, Experiment, Link, Run, StepMemory, Study

RUNS = Shelf(
    "runs",
    Run,
    key=("id",),
    index=("experiment", "status", "parent", "started_at"),
    together=("experiment", "started_at", "id"),
)
STEPS = Shelf("step_results", StepMemory, key=("step_key",))
LINKS = Shelf("artifact_links", Link, key=("digest", "role", "run", "label"), index=())
EXPERIMENTS = Shelf("experiments", Experiment, key=("id",), index=("name", "stage"))
STUDIES = Shelf("studies", Study, key=("id",), index=("created_at",), weak=True)
CLAIMS = Shelf("trial_claims", Claim, key=("study", "number"), index=("run",), weak=True)
