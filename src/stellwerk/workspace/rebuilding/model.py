"""What is known of a run that is to be repeated, and what came of repeating it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.evidence.rebuilds import Facts
from stellwerk.evidence.reproduction import Grade
from stellwerk.models.model import ModelVersion
from stellwerk.pipelines.machine import Machine
from stellwerk.pipelines.model import Plan, Stored
from stellwerk.tracking.model import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The run behind a model version, as the ledger has it.

    Attributes:
        steps: What executed or recalled each task, by task, in the order of starting.
        inputs: What input nodes stood for.
        sources: The tree of the project's files.
        locks: The tree of its lock files, if it had any.
        environment: The environment lock as a document.
        machine: None for runs of versions that did not keep it.
        contracts: The contract that each contract step checked by.
        decided: What persons, events and times gave to the steps that waited for them, by task.
        archive: The model as it passed between steps.
        evaluation: What the last `evaluate` answered.
        judged: The table that it judged on.
        codes: Digest of the code closure by function.
    """

    version: ModelVersion
    run: Run
    plan: Plan
    steps: Mapping[str, Run]
    inputs: Mapping[str, Stored]
    sources: Digest
    locks: Digest | None
    environment: Mapping[str, Any]
    machine: Machine | None
    contracts: Mapping[str, Mapping[str, Any]]
    gates: Mapping[str, Mapping[str, Any]]
    decided: Mapping[str, Any]
    archive: Digest
    evaluation: Mapping[str, Any]
    judged: Digest
    codes: Mapping[str, Digest]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What came of rebuilding a model version.

    Attributes:
        run: The run that the ledger keeps of it.
        report: The digest of its report.
        evidence: The id of the signed evidence.
    """

    model: str
    grade: Grade
    facts: Facts
    run: str
    report: Digest
    evidence: str
    tasks: tuple[tuple[str, bool, float], ...] = field(default_factory=tuple)
    """Each task, whether it came out the same, and the seconds it took."""
