"""Reading `stellwerk.toml`: what an owner declares of each endpoint. Unknown keys are refused."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from stellwerk.core.clock import parse_duration
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.names import name as checked_name
from stellwerk.releases.model import EndpointSpec, Goal, LeaseRule, SliceRule, Steering
from stellwerk.releases.rules import unsound

FALLBACKS = ("previous", "human", "refuse")
RISKS = ("minimal", "limited", "high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project file."""

    name: str
    pipeline: str
    """The Python file with the pipelines, relative to the project's folder."""
    endpoints: dict[str, EndpointSpec]
    triggers: dict[str, Any] = field(default_factory=dict)
    """The tables of triggers as they stand there; what they say is read by `triggers.declaration`."""
    resources: dict[str, Any] = field(default_factory=dict)
    """The table of what the machine has, as it stands there; what it says is read by `pipelines.stock`."""
    results_from: str = ""
    """Folder, relative to the project's, or URL of the workspace that is asked for results of steps."""

    def endpoint(self, name: str) -> EndpointSpec:
        """The declaration of an endpoint. Raises `NotFound` with the nearest name."""
        found = self.endpoints.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.endpoints, n=1)
            raise NotFound(
                f"stellwerk.toml declares no endpoint {name!r} (it declares {', '.join(self.endpoints) or 'none'})",
                code="unknown-endpoint",
                hint=f"did you mean {near[0]!r}?" if near else f"add [endpoint.{name}]",
            )
        return found


def parse(text: str) -> Project:
    """Read a project file. All problems of one table are reported at once."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise Invalid(f"stellwerk.toml is not TOML: {cause}", code="invalid-project") from cause
    _known("stellwerk.toml", document, ("project", "endpoint", "trigger", "results", "resources"))
    project = document.get("project", {})
    _known("[project]", project, ("name", "pipeline"))
    results = document.get("results", {})
    _known("[results]", results, ("from",))
    endpoints = {
        checked_name(name, what="endpoint"): _endpoint(name, table)
        for name, table in _table("endpoint", document.get("endpoint", {})).items()
    }
    return Project(
        name=_text("[project]", project, "name", "project"),
        pipeline=_text("[project]", project, "pipeline", "pipeline.py"),
        endpoints=endpoints,
        triggers=dict(_table("trigger", document.get("trigger", {}))),
        resources=dict(_table("[resources]", document.get("resources", {}))),
        results_from=_text("[results]", results, "from", ""),
    )


def _endpoint(name: str, table: Any) -> EndpointSpec:
    where = f"[endpoint.{name}]"
    _known(
        where,
        _table(where, table),
        ("purpose", "owner", "deputy", "risk", "policy", "fallback", "traffic_per_day", "environment", "label_delay",
         "groups", "goal", "slices", "lease", "steering", "subject"),
    )  # fmt: skip
    missing = [key for key in ("purpose", "owner", "goal") if not table.get(key)]
    if missing:
        raise Invalid(
            f"{where} lacks {', '.join(missing)}", code="invalid-project", hint="every decision has an owner"
        )
    lease, steering = table.get("lease", {}), table.get("steering", {})
    _known(f"{where} lease", lease, ("max",))
    _known(f"{where} steering", steering, ("audit", "review"))
    review = steering.get("review", {})
    _known(f"{where} steering.review", review, ("queue", "due"))
    declared = EndpointSpec(
        name=name,
        purpose=_text(where, table, "purpose"),
        owner=_text(where, table, "owner"),
        deputy=_text(where, table, "deputy", ""),
        risk=_choice(where, table, "risk", RISKS, "limited"),
        policy=_texts(where, table, "policy", ("base@1",)),
        fallback=_choice(where, table, "fallback", FALLBACKS, "refuse"),
        goals=_goals(f"{where} goal", table["goal"]),
        slices=_slices(f"{where} slices", table.get("slices", {})),
        lease=LeaseRule(
            maximum=_duration(f"{where} lease", lease, "max", timedelta(days=30)),
        ),
        steering=Steering(
            audit=_audit(where, steering),
            review_queue=_text(where, review, "queue", "review"),
            review_due=_duration(where, review, "due", timedelta(hours=4)),
        ),
        label_delay=_duration(where, table, "label_delay", timedelta(days=1)),
        traffic_per_day=int(_number(where, table, "traffic_per_day", 1000)),
        environment=_text(where, table, "environment", "production"),
        groups=_texts(where, table, "groups", ()) if "groups" in table else None,
        subject=_text(where, table, "subject", ""),
    )
    problem = unsound(declared)
    if problem:
        raise Invalid(f"{where} {problem}", code="invalid-project")
    return declared


def _goals(where: str, table: Any) -> tuple[Goal, ...]:
    goals = []
    for metric, numbers in _table(where, table).items():
        _known(f"{where}.{metric}", _table(f"{where}.{metric}", numbers), ("floor", "ceiling", "margin"))
        values = {key: _number(f"{where}.{metric}", numbers, key) for key in numbers}
        goals.append(Goal(metric=metric, **values))
    return tuple(goals)


def _slices(where: str, table: Any) -> SliceRule:
    rest = {key: value for key, value in _table(where, table).items() if key not in ("by", "unproven")}
    return SliceRule(
        by=_texts(where, table, "by", ()),
        goals=_goals(where, rest),
        unproven=_choice(where, table, "unproven", ("human", "refuse"), "human"),
    )


def _audit(where: str, steering: Mapping[str, Any]) -> Any:
    audit = steering.get("audit", "auto")
    if audit == "auto":
        return audit
    if isinstance(audit, bool) or not isinstance(audit, (int, float)) or not 0 < audit <= 1:
        raise Invalid(
            f"{where} steering.audit is {audit!r} (expected 'auto' or a share above 0 up to 1)",
            code="invalid-project",
            hint="where anything is decided automatically, a random share goes to people",
        )
    return float(audit)


def _table(where: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise Invalid(f"{where} must be a table, got {type(value).__name__}", code="invalid-project")
    return value


def _known(where: str, table: Any, allowed: Iterable[str]) -> None:
    allowed = tuple(allowed)
    unknown = [key for key in _table(where, table) if key not in allowed]
    if unknown:
        near = difflib.get_close_matches(unknown[0], allowed, n=1)
        raise Invalid(
            f"{where} has unknown keys: {', '.join(unknown)} (known: {', '.join(allowed)})",
            code="invalid-project",
            hint=f"did you mean {near[0]!r}?" if near else "remove them",
        )


_MISSING: Any = object()


def _text(where: str, table: Mapping[str, Any], key: str, default: Any = _MISSING) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise Invalid(f"{where} {key} must be text, got {value!r}", code="invalid-project")
    return value


def _texts(where: str, table: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = table.get(key, default)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise Invalid(f"{where} {key} must be a list of texts, got {value!r}", code="invalid-project")
    return tuple(value)


def _choice(where: str, table: Mapping[str, Any], key: str, choices: tuple[str, ...], default: str) -> Any:
    value = table.get(key, default)
    if value not in choices:
        raise Invalid(f"{where} {key} is {value!r} (expected {', '.join(choices)})", code="invalid-project")
    return value


def _number(where: str, table: Mapping[str, Any], key: str, default: Any = _MISSING) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Invalid(f"{where} {key} must be a finite number, got {value!r}", code="invalid-project")
    return float(value)


def _duration(where: str, table: Mapping[str, Any], key: str, default: timedelta) -> timedelta:
    value = table.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise Invalid(f"{where} {key} must be a duration such as '30d', got {value!r}", code="invalid-project")
    return parse_duration(value)
