"""Which room has which tables: they are there from the start, but the code of a room is loaded when it is entered."""

from __future__ import annotations

from stellwerk.ledger import roster

TABLES = {
    "stellwerk.access.shelves": ("grants", "result_grants"),
    "stellwerk.data.shelves": ("contracts", "dataset_versions", "foreign_digests"),
    "stellwerk.delivery.shelves": ("webhooks",),
    "stellwerk.evidence.shelves": ("evidence", "gate_openings", "gate_sets", "plans"),
    "stellwerk.ledger.vault": ("subject_keys",),
    "stellwerk.models.shelves": (
        "model_aliases", "model_versions", "protected_aliases", "registered_models", "registered_values",
        "version_values",
    ),
    "stellwerk.monitoring.shelves": ("alarms", "assessments", "baselines", "outcome_batches"),
    "stellwerk.pipelines.shelves": ("execution_tasks", "executions", "offered_attempts", "waits"),
    "stellwerk.releases.shelves": ("endpoints", "releases", "verdicts"),
    "stellwerk.reviews.shelves": ("cases", "cases_taken"),
    "stellwerk.serving.shelves": ("prediction_segments",),
    "stellwerk.tracking.adapters.schema": ("metric_points", "model_points", "run_values", "span_counts"),
    "stellwerk.tracking.evaluations": ("evaluation_datasets", "evaluation_records", "evaluation_values"),
    "stellwerk.tracking.logged": ("logged_models", "logged_values"),
    "stellwerk.tracking.manifest": ("artifact_uploads", "artifacts"),
    "stellwerk.tracking.scorers": ("scorer_versions", "scorers"),
    "stellwerk.tracking.shelves": (
        "artifact_links", "experiments", "runs", "step_results", "studies", "trial_claims",
    ),
    "stellwerk.tracking.tallies": ("trace_tallies",),
    "stellwerk.tracking.traced": (
        "assessment_values", "trace_assessments", "trace_links", "trace_values", "traces",
    ),
    "stellwerk.triggers.shelves": ("trigger_arrivals", "trigger_firings", "triggers"),
}  # fmt: skip


def announce() -> None:
    """Tell the ledger of all tables."""
    roster.later(TABLES)
