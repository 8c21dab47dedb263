"""Runs and their facts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from stellwerk.core.digest import Digest

Status = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a run used."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution. A pipeline run has step runs as children."""

    id: str
    experiment: str
    name: str
    kind: str
    """`pipeline`, or the kind of the step: data, features, train, evaluate, …"""
    status: Status
    started_at: datetime
    started_by: str
    ended_at: datetime | None = None
    parent: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Digest] = field(default_factory=dict)
    outputs: dict[str, Digest] = field(default_factory=dict)
    code: Digest | None = None
    environment: Digest | None = None
    step_key: Digest | None = None
    cached: bool = False
    """The outputs were taken from an earlier run with the same step key."""
    process: str | None = None
    """`machine:process id` while running, to notice a run whose process died."""
    cost: Cost = field(default_factory=Cost)
    error: str = ""
    log: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMemory:
    """The result of a step under its key: the cache that every machine shares."""

    step_key: Digest
    outputs: dict[str, Digest]
    media: dict[str, str]
    run: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """That a run used or made an artifact: the edges of every trace."""

    digest: Digest
    role: Literal["used", "made"]
    run: str
    label: str
    """The argument or output name."""
