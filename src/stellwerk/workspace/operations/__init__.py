"""Everything that can be asked of a workspace, one function each, by noun. The table itself is in `calls`.

An operation is loaded when it is first used, with those of its module; `table` loads them all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import NotFound
from stellwerk.workspace import calls

if TYPE_CHECKING:
    from stellwerk.workspace.operations.artifacts import delete_artifacts as delete_artifacts
    from stellwerk.workspace.operations.artifacts import get_artifact as get_artifact
    from stellwerk.workspace.operations.artifacts import list_artifacts as list_artifacts
    from stellwerk.workspace.operations.artifacts import log_artifact as log_artifact
    from stellwerk.workspace.operations.artifacts import show_files as show_files
    from stellwerk.workspace.operations.blobs import blob_lengths as blob_lengths
    from stellwerk.workspace.operations.blobs import join_blobs as join_blobs
    from stellwerk.workspace.operations.changes import begin_preview as begin_preview
    from stellwerk.workspace.operations.changes import begin_promotion as begin_promotion
    from stellwerk.workspace.operations.changes import change as change
    from stellwerk.workspace.operations.changes import close_preview as close_preview
    from stellwerk.workspace.operations.changes import end_promotion as end_promotion
    from stellwerk.workspace.operations.changes import propose_promotion as propose_promotion
    from stellwerk.workspace.operations.changes import settle_promotion as settle_promotion
    from stellwerk.workspace.operations.data import add_data as add_data
    from stellwerk.workspace.operations.data import confirm_contract as confirm_contract
    from stellwerk.workspace.operations.data import diff_data as diff_data
    from stellwerk.workspace.operations.data import forget_data as forget_data
    from stellwerk.workspace.operations.data import get_contract as get_contract
    from stellwerk.workspace.operations.data import get_data as get_data
    from stellwerk.workspace.operations.data import list_data as list_data
    from stellwerk.workspace.operations.data import log_of_data as log_of_data
    from stellwerk.workspace.operations.data import record_data as record_data
    from stellwerk.workspace.operations.data import table_of_data as table_of_data
    from stellwerk.workspace.operations.data import untrack_data as untrack_data
    from stellwerk.workspace.operations.executions import advance_execution as advance_execution
    from stellwerk.workspace.operations.executions import ask_execution as ask_execution
    from stellwerk.workspace.operations.executions import beat_execution as beat_execution
    from stellwerk.workspace.operations.executions import begin_execution as begin_execution
    from stellwerk.workspace.operations.executions import due_executions as due_executions
    from stellwerk.workspace.operations.executions import get_execution as get_execution
    from stellwerk.workspace.operations.executions import leave_execution as leave_execution
    from stellwerk.workspace.operations.executions import list_executions as list_executions
    from stellwerk.workspace.operations.executions import pass_over_execution as pass_over_execution
    from stellwerk.workspace.operations.executions import remembered_steps as remembered_steps
    from stellwerk.workspace.operations.executions import take_execution as take_execution
    from stellwerk.workspace.operations.foreign import find_foreign as find_foreign
    from stellwerk.workspace.operations.foreign import name_foreign as name_foreign
    from stellwerk.workspace.operations.foreign import remember_foreign as remember_foreign
    from stellwerk.workspace.operations.grants import add_grant as add_grant
    from stellwerk.workspace.operations.grants import list_grants as list_grants
    from stellwerk.workspace.operations.grants import revoke_grant as revoke_grant
    from stellwerk.workspace.operations.ground import collect as collect
    from stellwerk.workspace.operations.ground import fsck as fsck
    from stellwerk.workspace.operations.ground import scrub as scrub
    from stellwerk.workspace.operations.ground import verify as verify
    from stellwerk.workspace.operations.ledger import entry_text as entry_text
    from stellwerk.workspace.operations.ledger import entry_texts as entry_texts
    from stellwerk.workspace.operations.ledger import list_keys as list_keys
    from stellwerk.workspace.operations.ledger import newest_checkpoint as newest_checkpoint
    from stellwerk.workspace.operations.ledger import prove_consistency as prove_consistency
    from stellwerk.workspace.operations.ledger import prove_inclusion as prove_inclusion
    from stellwerk.workspace.operations.ledger import rotate_key as rotate_key
    from stellwerk.workspace.operations.ledger import signed_checkpoints as signed_checkpoints
    from stellwerk.workspace.operations.logging import begin_run as begin_run
    from stellwerk.workspace.operations.logging import end_run as end_run
    from stellwerk.workspace.operations.logging import log_points as log_points
    from stellwerk.workspace.operations.logging import log_run as log_run
    from stellwerk.workspace.operations.models import about_model as about_model
    from stellwerk.workspace.operations.models import alias_model as alias_model
    from stellwerk.workspace.operations.models import compare as compare
    from stellwerk.workspace.operations.models import delete_model as delete_model
    from stellwerk.workspace.operations.models import describe_model as describe_model
    from stellwerk.workspace.operations.models import get_model as get_model
    from stellwerk.workspace.operations.models import history_of_model as history_of_model
    from stellwerk.workspace.operations.models import list_aliases as list_aliases
    from stellwerk.workspace.operations.models import list_models as list_models
    from stellwerk.workspace.operations.models import list_protected as list_protected
    from stellwerk.workspace.operations.models import protect_alias as protect_alias
    from stellwerk.workspace.operations.models import register_model as register_model
    from stellwerk.workspace.operations.models import seal_gate as seal_gate
    from stellwerk.workspace.operations.models import unalias_model as unalias_model
    from stellwerk.workspace.operations.models import unprotect_alias as unprotect_alias
    from stellwerk.workspace.operations.offers import beat_attempt as beat_attempt
    from stellwerk.workspace.operations.offers import claim_attempt as claim_attempt
    from stellwerk.workspace.operations.offers import collect_attempts as collect_attempts
    from stellwerk.workspace.operations.offers import end_attempt as end_attempt
    from stellwerk.workspace.operations.offers import list_workers as list_workers
    from stellwerk.workspace.operations.offers import offer_attempt as offer_attempt
    from stellwerk.workspace.operations.offers import withdraw_attempts as withdraw_attempts
    from stellwerk.workspace.operations.pages import columns_of_runs as columns_of_runs
    from stellwerk.workspace.operations.pages import compare_runs as compare_runs
    from stellwerk.workspace.operations.pages import curves_of_runs as curves_of_runs
    from stellwerk.workspace.operations.pages import list_experiments as list_experiments
    from stellwerk.workspace.operations.pages import overview_of_models as overview_of_models
    from stellwerk.workspace.operations.pages import page_of_model as page_of_model
    from stellwerk.workspace.operations.pages import table_of_runs as table_of_runs
    from stellwerk.workspace.operations.production import assess as assess
    from stellwerk.workspace.operations.production import decide_case as decide_case
    from stellwerk.workspace.operations.production import delegate_case as delegate_case
    from stellwerk.workspace.operations.production import duel as duel
    from stellwerk.workspace.operations.production import get_case as get_case
    from stellwerk.workspace.operations.production import list_cases as list_cases
    from stellwerk.workspace.operations.production import record_outcomes as record_outcomes
    from stellwerk.workspace.operations.rebuilds import list_rebuilds as list_rebuilds
    from stellwerk.workspace.operations.rebuilds import record_rebuild as record_rebuild
    from stellwerk.workspace.operations.recording import describe_run as describe_run
    from stellwerk.workspace.operations.releases import declare_endpoint as declare_endpoint
    from stellwerk.workspace.operations.releases import lease_token as lease_token
    from stellwerk.workspace.operations.releases import list_endpoints as list_endpoints
    from stellwerk.workspace.operations.releases import list_releases as list_releases
    from stellwerk.workspace.operations.releases import prove as prove
    from stellwerk.workspace.operations.releases import release as release
    from stellwerk.workspace.operations.releases import renew as renew
    from stellwerk.workspace.operations.releases import signal as signal
    from stellwerk.workspace.operations.releases import stop as stop
    from stellwerk.workspace.operations.runs import close_runs as close_runs
    from stellwerk.workspace.operations.runs import empty_bin as empty_bin
    from stellwerk.workspace.operations.runs import finish_run as finish_run
    from stellwerk.workspace.operations.runs import get_run as get_run
    from stellwerk.workspace.operations.runs import record_run as record_run
    from stellwerk.workspace.operations.runs import remembered_step as remembered_step
    from stellwerk.workspace.operations.runs import search_runs as search_runs
    from stellwerk.workspace.operations.runs import start_run as start_run
    from stellwerk.workspace.operations.sources import import_data as import_data
    from stellwerk.workspace.operations.sources import refer_data as refer_data
    from stellwerk.workspace.operations.sources import verify_data as verify_data
    from stellwerk.workspace.operations.steps import gather_run as gather_run
    from stellwerk.workspace.operations.steps import media_of_value as media_of_value
    from stellwerk.workspace.operations.steps import runs_of_step as runs_of_step
    from stellwerk.workspace.operations.subjects import erase_subject as erase_subject
    from stellwerk.workspace.operations.subjects import find_subject as find_subject
    from stellwerk.workspace.operations.triggers import add_trigger as add_trigger
    from stellwerk.workspace.operations.triggers import apply_triggers as apply_triggers
    from stellwerk.workspace.operations.triggers import claim_firing as claim_firing
    from stellwerk.workspace.operations.triggers import fire_trigger as fire_trigger
    from stellwerk.workspace.operations.triggers import get_firing as get_firing
    from stellwerk.workspace.operations.triggers import list_firings as list_firings
    from stellwerk.workspace.operations.triggers import list_triggers as list_triggers
    from stellwerk.workspace.operations.triggers import look_for_causes as look_for_causes
    from stellwerk.workspace.operations.triggers import pause_trigger as pause_trigger
    from stellwerk.workspace.operations.triggers import remove_trigger as remove_trigger
    from stellwerk.workspace.operations.triggers import resume_trigger as resume_trigger
    from stellwerk.workspace.operations.triggers import settle_firing as settle_firing
    from stellwerk.workspace.operations.triggers import show_trigger as show_trigger
    from stellwerk.workspace.operations.tuning import claim_trial as claim_trial
    from stellwerk.workspace.operations.tuning import find_study as find_study
    from stellwerk.workspace.operations.tuning import finish_trial as finish_trial
    from stellwerk.workspace.operations.tuning import list_trials as list_trials
    from stellwerk.workspace.operations.tuning import open_study as open_study
    from stellwerk.workspace.operations.tuning import release_trials as release_trials
    from stellwerk.workspace.operations.tuning import renew_trials as renew_trials
    from stellwerk.workspace.operations.tuning import retake_trial as retake_trial
    from stellwerk.workspace.operations.views import board as board
    from stellwerk.workspace.operations.views import dossier as dossier
    from stellwerk.workspace.operations.views import run_page as run_page
    from stellwerk.workspace.operations.views import story as story
    from stellwerk.workspace.operations.views import trace as trace
    from stellwerk.workspace.operations.waits import look_at_wait as look_at_wait
    from stellwerk.workspace.operations.waits import open_wait as open_wait
    from stellwerk.workspace.operations.webhooks import add_webhook as add_webhook
    from stellwerk.workspace.operations.webhooks import list_webhooks as list_webhooks
    from stellwerk.workspace.operations.webhooks import remove_webhook as remove_webhook
    from stellwerk.workspace.operations.webhooks import try_webhook as try_webhook

_MODULES = {
    "artifacts": ("delete_artifacts", "get_artifact", "list_artifacts", "log_artifact", "show_files"),
    "blobs": ("blob_lengths", "join_blobs"),
    "changes": (
        "begin_preview", "begin_promotion", "change", "close_preview", "end_promotion",
        "propose_promotion", "settle_promotion",
    ),
    "data": (
        "add_data", "confirm_contract", "diff_data", "forget_data", "get_contract", "get_data",
        "list_data", "log_of_data", "record_data", "table_of_data", "untrack_data",
    ),
    "executions": (
        "advance_execution", "ask_execution", "beat_execution", "begin_execution", "due_executions",
        "get_execution", "leave_execution", "list_executions", "pass_over_execution",
        "remembered_steps", "take_execution",
    ),
    "foreign": ("find_foreign", "name_foreign", "remember_foreign"),
    "grants": ("add_grant", "list_grants", "revoke_grant"),
    "ground": ("collect", "fsck", "scrub", "verify"),
    "ledger": (
        "entry_text", "entry_texts", "list_keys", "newest_checkpoint", "prove_consistency",
        "prove_inclusion", "rotate_key", "signed_checkpoints",
    ),
    "logging": ("begin_run", "end_run", "log_points", "log_run"),
    "models": (
        "about_model", "alias_model", "compare", "delete_model", "describe_model", "get_model",
        "history_of_model", "list_aliases", "list_models", "list_protected", "protect_alias",
        "register_model", "seal_gate", "unalias_model", "unprotect_alias",
    ),
    "offers": (
        "beat_attempt", "claim_attempt", "collect_attempts", "end_attempt", "list_workers",
        "offer_attempt", "withdraw_attempts",
    ),
    "pages": (
        "columns_of_runs", "compare_runs", "curves_of_runs", "list_experiments",
        "overview_of_models", "page_of_model", "table_of_runs",
    ),
    "production": (
        "assess", "decide_case", "delegate_case", "duel", "get_case", "list_cases",
        "record_outcomes",
    ),
    "rebuilds": ("list_rebuilds", "record_rebuild"),
    "recording": ("describe_run",),
    "releases": (
        "declare_endpoint", "lease_token", "list_endpoints", "list_releases", "prove", "release",
        "renew", "signal", "stop",
    ),
    "runs": (
        "close_runs", "empty_bin", "finish_run", "get_run", "record_run", "remembered_step",
        "search_runs", "start_run",
    ),
    "sources": ("import_data", "refer_data", "verify_data"),
    "steps": ("gather_run", "media_of_value", "runs_of_step"),
    "subjects": ("erase_subject", "find_subject"),
    "triggers": (
        "add_trigger", "apply_triggers", "claim_firing", "fire_trigger", "get_firing",
        "list_firings", "list_triggers", "look_for_causes", "pause_trigger", "remove_trigger",
        "resume_trigger", "settle_firing", "show_trigger",
    ),
    "tuning": (
        "claim_trial", "find_study", "finish_trial", "list_trials", "open_study", "release_trials",
        "renew_trials", "retake_trial",
    ),
    "views": ("board", "dossier", "run_page", "story", "trace"),
    "waits": ("look_at_wait", "open_wait"),
    "webhooks": ("add_webhook", "list_webhooks", "remove_webhook", "try_webhook"),
}  # fmt: skip
"""Where each is; the imports above say the same to those who check types, and a test that both are whole."""
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"there is no operation {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


def table() -> dict[str, calls.Operation[..., Any]]:
    """All operations by their names."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")
    return calls.OPERATIONS


def find(name: str) -> calls.Operation[..., Any]:
    """The operation of a name. Raises `NotFound`."""
    if name not in table():
        raise NotFound(f"no operation {name!r}")
    return calls.OPERATIONS[name]
