"""Stellwerk: one store, one ledger, and an interlocking that computes whether a model may run, and until when.

Names are loaded on first use, so that `import stellwerk` costs next to nothing in a training container.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stellwerk._version import __version__

if TYPE_CHECKING:
    from stellwerk import integrations
    from stellwerk.core.errors import Bug, Conflict, Corrupt, Invalid, NotFound, Refused, StellwerkError, Unavailable
    from stellwerk.features.rules import asof
    from stellwerk.models.tabular import TabularModel as Model
    from stellwerk.monitoring.model import Outcome
    from stellwerk.pipelines.authoring import (
        after,
        command,
        contract,
        dataset,
        each,
        either,
        evaluate,
        file,
        gate,
        otherwise,
        pipeline,
        split,
        step,
        wait_for_event,
        wait_for_person,
        wait_until,
        when,
    )
    from stellwerk.pipelines.authoring.notebooks import marimo, notebook
    from stellwerk.pipelines.model import Backoff, Environment, Resources
    from stellwerk.pipelines.tuning import space
    from stellwerk.pipelines.tuning.authoring import tune
    from stellwerk.pipelines.tuning.model import Budget, Pruning
    from stellwerk.pipelines.tuning.reporting import report
    from stellwerk.workspace.automl import automl
    from stellwerk.workspace.dvc.stages import stages
    from stellwerk.workspace.exchange import output
    from stellwerk.workspace.facade import Workspace, connect
    from stellwerk.workspace.fitting import fit
    from stellwerk.workspace.telling import ActiveRun, log, run

_EXPORTS = {
    "ActiveRun": "stellwerk.workspace.telling:ActiveRun",
    "Backoff": "stellwerk.pipelines.model:Backoff",
    "Budget": "stellwerk.pipelines.tuning.model:Budget",
    "Bug": "stellwerk.core.errors:Bug",
    "Conflict": "stellwerk.core.errors:Conflict",
    "Corrupt": "stellwerk.core.errors:Corrupt",
    "Environment": "stellwerk.pipelines.model:Environment",
    "Invalid": "stellwerk.core.errors:Invalid",
    "Model": "stellwerk.models.tabular:TabularModel",
    "NotFound": "stellwerk.core.errors:NotFound",
    "Outcome": "stellwerk.monitoring.model:Outcome",
    "Pruning": "stellwerk.pipelines.tuning.model:Pruning",
    "Refused": "stellwerk.core.errors:Refused",
    "Resources": "stellwerk.pipelines.model:Resources",
    "StellwerkError": "stellwerk.core.errors:StellwerkError",
    "Unavailable": "stellwerk.core.errors:Unavailable",
    "Workspace": "stellwerk.workspace.facade:Workspace",
    "after": "stellwerk.pipelines.authoring:after",
    "asof": "stellwerk.features.rules:asof",
    "automl": "stellwerk.workspace.automl:automl",
    "command": "stellwerk.pipelines.authoring:command",
    "connect": "stellwerk.workspace.facade:connect",
    "contract": "stellwerk.pipelines.authoring:contract",
    "dataset": "stellwerk.pipelines.authoring:dataset",
    "each": "stellwerk.pipelines.authoring:each",
    "either": "stellwerk.pipelines.authoring:either",
    "evaluate": "stellwerk.pipelines.authoring:evaluate",
    "file": "stellwerk.pipelines.authoring:file",
    "fit": "stellwerk.workspace.fitting:fit",
    "gate": "stellwerk.pipelines.authoring:gate",
    "integrations": "stellwerk.integrations",
    "log": "stellwerk.workspace.telling:log",
    "marimo": "stellwerk.pipelines.authoring.notebooks:marimo",
    "notebook": "stellwerk.pipelines.authoring.notebooks:notebook",
    "otherwise": "stellwerk.pipelines.authoring:otherwise",
    "output": "stellwerk.workspace.exchange:output",
    "pipeline": "stellwerk.pipelines.authoring:pipeline",
    "report": "stellwerk.pipelines.tuning.reporting:report",
    "run": "stellwerk.workspace.telling:run",
    "space": "stellwerk.pipelines.tuning.space",
    "split": "stellwerk.pipelines.authoring:split",
    "stages": "stellwerk.workspace.dvc.stages:stages",
    "step": "stellwerk.pipelines.authoring:step",
    "tune": "stellwerk.pipelines.tuning.authoring:tune",
    "wait_for_event": "stellwerk.pipelines.authoring:wait_for_event",
    "wait_for_person": "stellwerk.pipelines.authoring:wait_for_person",
    "wait_until": "stellwerk.pipelines.authoring:wait_until",
    "when": "stellwerk.pipelines.authoring:when",
}


def __getattr__(name: str) -> Any:
    if name == "load_ipython_extension":  # what `%load_ext stellwerk` looks for
        return importlib.import_module("stellwerk.cli.magics").load_ipython_extension
    if name not in _EXPORTS:
        raise AttributeError(f"module 'stellwerk' has no attribute {name!r}")
    module, _, attribute = _EXPORTS[name].partition(":")
    value = importlib.import_module(module)
    value = getattr(value, attribute) if attribute else value
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})


__all__ = [
    "ActiveRun",
    "Backoff",
    "Budget",
    "Bug",
    "Conflict",
    "Corrupt",
    "Environment",
    "Invalid",
    "Model",
    "NotFound",
    "Outcome",
    "Pruning",
    "Refused",
    "Resources",
    "StellwerkError",
    "Unavailable",
    "Workspace",
    "__version__",
    "after",
    "asof",
    "automl",
    "command",
    "connect",
    "contract",
    "dataset",
    "each",
    "either",
    "evaluate",
    "file",
    "fit",
    "gate",
    "integrations",
    "log",
    "marimo",
    "notebook",
    "otherwise",
    "output",
    "pipeline",
    "report",
    "run",
    "space",
    "split",
    "stages",
    "step",
    "tune",
    "wait_for_event",
    "wait_for_person",
    "wait_until",
    "when",
]
