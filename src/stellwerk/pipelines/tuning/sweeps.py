"""Sweep files of Weights & Biases as spaces, searches and command lines. What cannot be done alike is refused by name.

The keys are those of their reference (docs.wandb.ai/models/sweeps/sweep-config-keys). Running is left to others.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.tuning.model import MAX_TRIALS, Goal, Objective, Pruning, Search
from stellwerk.pipelines.tuning.space import Dimension, Space, choice, real, whole

SEARCHES: dict[str, Search] = {"grid": "grid", "random": "random", "bayes": "tpe"}
COMMAND = ("${env}", "${interpreter}", "${program}", "${args}")
"""What is called where the file has no `command`."""
IGNORED = ("name", "description", "entity", "project", "controller")
"""Keys that say nothing about the search."""
_KEYS = {"program", "method", "metric", "parameters", "early_terminate", "command", "run_cap", *IGNORED}
_DISTRIBUTIONS = "categorical, constant, int_uniform, uniform, q_uniform, log_uniform, log_uniform_values"
_NAME = re.compile(r"[A-Za-z_][\w\-]{0,120}")
_VARIABLE = re.compile(r"\$\{envvar:([A-Za-z_][A-Za-z0-9_]*)\}")
_MACRO = re.compile(r"\$\{[^}]*\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep file asks for.

    Args:
        space: Dimensions by path: `optimizer.rate` for a nested parameter.
        cap: How many runs, if the file says so.
        notes: What of the file is done in another way, in sentences.
    """

    name: str
    program: str
    search: Search
    objective: Objective | None
    space: Space
    pruning: Pruning | None = None
    command: tuple[str, ...] = COMMAND
    cap: int | None = None
    notes: tuple[str, ...] = field(default=())


def read(document: Any) -> Sweep:
    """A sweep from what a YAML file holds. Raises `Invalid` (`invalid-sweep`, `sweep-not-supported`)."""
    said = _mapping(document, "the file")
    if unknown := sorted(set(map(str, said)) - _KEYS):
        raise _unsupported(f"the key {unknown[0]!r}", f"known are {', '.join(sorted(_KEYS))}")
    method = said.get("method")
    if method not in SEARCHES:
        raise _wrong(f"method is {method!r} (expected grid, random or bayes)")
    notes = []
    if method == "bayes":
        notes.append("bayes is a search by TPE (Optuna) here, not by a Gaussian process")
    objective = _objective(said.get("metric"), method, notes)
    space = dict(_space(_mapping(said.get("parameters"), "parameters"), ""))
    if not space:
        raise _wrong("there are no parameters")
    pruning = _pruning(said.get("early_terminate"), notes)
    if pruning is not None and objective is None:
        raise _wrong("early_terminate needs a metric")
    return Sweep(
        name=str(said.get("name") or said.get("project") or ""),
        program=str(said.get("program") or ""),
        search=SEARCHES[method],
        objective=objective,
        space=space,
        pruning=pruning,
        command=_command(said.get("command")),
        cap=_cap(said.get("run_cap")),
        notes=tuple(notes),
    )


def _objective(said: Any, method: str, notes: list[str]) -> Objective | None:
    if said is None:
        if method == "bayes":
            raise _wrong("bayes needs a metric with a name")
        return None
    metric = _mapping(said, "metric")
    goal: Goal = metric.get("goal", "minimize")
    if not isinstance(metric.get("name"), str) or goal not in ("minimize", "maximize"):
        raise _wrong(f"metric is {dict(metric)} (expected a name, and goal minimize or maximize)")
    if "target" in metric:
        notes.append("metric.target ends nothing here: the sweep goes on to its run_cap")
    return Objective(metric=metric["name"], goal=goal)


def _pruning(said: Any, notes: list[str]) -> Pruning | None:
    if said is None:
        return None
    asked = _mapping(said, "early_terminate")
    if asked.get("type") != "hyperband":
        raise _unsupported(f"early_terminate of type {asked.get('type')!r}", "hyperband is")
    eta = int(_number(asked.get("eta", 3), "early_terminate.eta"))
    if "min_iter" in asked:
        first = int(_number(asked["min_iter"], "early_terminate.min_iter"))
    elif "max_iter" in asked:
        brackets = int(_number(asked.get("s", 3), "early_terminate.s"))
        first = int(_number(asked["max_iter"], "early_terminate.max_iter") / eta**brackets)
    else:
        raise _wrong("early_terminate needs min_iter, or max_iter and s")
    notes.append(
        "hyperband is asynchronous successive halving (Optuna) here: at each rung the best one in eta goes on"
    )
    return Pruning(kind="asha", first=max(first, 1), eta=max(eta, 2))


def _space(said: Mapping[Any, Any], path: str) -> list[tuple[str, Dimension]]:
    found: list[tuple[str, Dimension]] = []
    for name, constraint in said.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _wrong(f"{name!r} is no name of a parameter")
        here = f"{path}{name}"
        rule = _mapping(constraint, f"parameter {here}")
        if "parameters" in rule:
            found += _space(_mapping(rule["parameters"], f"parameters of {here}"), f"{here}.")
        else:
            found.append((here, _dimension(here, rule)))
    return found


def _dimension(name: str, rule: Mapping[Any, Any]) -> Dimension:
    known = {"value", "values", "min", "max", "distribution", "q"}
    if unknown := sorted(set(map(str, rule)) - known):
        raise _unsupported(f"{unknown[0]!r} of parameter {name}", f"known are {', '.join(sorted(known))}")
    kind = rule.get("distribution") or _guessed(name, rule)
    try:
        match kind:
            case "constant":
                return choice([rule["value"]])
            case "categorical":
                return choice(list(rule["values"]))
            case "int_uniform":
                return whole(int(_number(rule["min"], name)), int(_number(rule["max"], name)))
            case "uniform":
                return real(_number(rule["min"], name), _number(rule["max"], name))
            case "q_uniform":
                return real(
                    _number(rule["min"], name), _number(rule["max"], name), step=_number(rule.get("q", 1), name)
                )
            case "log_uniform":
                ends = math.exp(_number(rule["min"], name)), math.exp(_number(rule["max"], name))
                return real(*ends, log=True)
            case "log_uniform_values":
                return real(_number(rule["min"], name), _number(rule["max"], name), log=True)
    except KeyError as cause:
        raise _wrong(f"parameter {name} is {kind} and has no {cause}") from cause
    except TypeError as cause:
        raise _wrong(f"parameter {name} is {kind} and does not fit: {cause}") from cause
    raise _unsupported(f"the distribution {kind!r} of parameter {name}", f"supported are {_DISTRIBUTIONS}")


def _guessed(name: str, rule: Mapping[Any, Any]) -> str:
    if "values" in rule:
        return "categorical"
    if "value" in rule:
        return "constant"
    if {"min", "max"} <= set(rule):
        ends = (rule["min"], rule["max"])
        return "int_uniform" if all(isinstance(end, int) and not isinstance(end, bool) for end in ends) else "uniform"
    raise _wrong(f"parameter {name} has neither value, values, nor min and max")


def _command(said: Any) -> tuple[str, ...]:
    if said is None:
        return COMMAND
    if not isinstance(said, list) or not said:
        raise _wrong(f"command is {said!r} (expected a list)")
    parts = tuple(str(part) for part in said)
    supported = {"${env}", "${interpreter}", "${program}", *_ARGUMENTS}
    for part in parts:
        for macro in _MACRO.findall(part):
            if not _VARIABLE.fullmatch(macro) and (macro not in supported or macro != part):
                raise _unsupported(f"{macro} in command", f"supported are {', '.join(sorted(supported))}, each alone")
    return parts


def _cap(said: Any) -> int | None:
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= MAX_TRIALS:
        raise _wrong(f"run_cap is {said!r} (expected a whole number from 1)")
    return said


# The command line of one trial


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with their paths opened: `{"a.b": 1}` is `{"a": {"b": 1}}`."""
    opened: dict[str, Any] = {}
    for path, value in params.items():
        *above, name = path.split(".")
        place = opened
        for part in above:
            place = place.setdefault(part, {})
        place[name] = value
    return opened


_ARGUMENTS = (
    "${args}", "${args_no_equals}", "${args_no_hyphens}", "${args_no_boolean_flags}", "${args_json}",
    "${args_append_hydra}", "${args_override_hydra}",
)  # fmt: skip


def arguments(macro: str, params: Mapping[str, Any]) -> list[str]:
    """What a macro of arguments becomes, as an agent of theirs writes it."""
    match macro:
        case "${args_no_equals}":
            return [part for name, value in params.items() for part in (f"--{name}", str(value))]
        case "${args_no_hyphens}":
            return [f"{name}={value}" for name, value in params.items()]
        case "${args_no_boolean_flags}":
            return [
                f"--{name}" if value is True else f"--{name}={value}"
                for name, value in params.items()
                if value is not False
            ]
        case "${args_json}":
            return [json.dumps(dict(params))]
        case "${args_append_hydra}":
            return [f"+{name}={value}" for name, value in params.items()]
        case "${args_override_hydra}":
            return [f"++{name}={value}" for name, value in params.items()]
    return [f"--{name}={value}" for name, value in params.items()]


def argv(sweep: Sweep, params: Mapping[str, Any], *, interpreter: str) -> list[str]:
    """The argument list of one trial. No shell ever reads it."""
    opened = nested(params)
    line: list[str] = []
    for part in sweep.command:
        if part == "${env}":
            line.append("/usr/bin/env")
        elif part == "${interpreter}":
            line.append(interpreter)
        elif part == "${program}":
            line.append(sweep.program)
        elif part in _ARGUMENTS:
            line += arguments(part, opened)
        else:
            line.append(_VARIABLE.sub(lambda found: os.environ.get(found[1], found[1]), part))
    return line


def _mapping(said: Any, what: str) -> Mapping[Any, Any]:
    if not isinstance(said, Mapping):
        raise _wrong(f"{what} is {said!r} (expected a mapping)"[:200])
    return said


def _number(said: Any, name: str) -> float:
    """A number; YAML reads `1e-4` as text."""
    if isinstance(said, str):
        try:
            said = float(said)
        except ValueError:
            pass
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not math.isfinite(said):
        raise _wrong(f"{name} has {said!r} (expected a number)")
    return said


def _wrong(what: str) -> Invalid:
    return Invalid(f"this is no sweep: {what}", code="invalid-sweep")


def _unsupported(what: str, instead: str) -> Invalid:
    return Invalid(f"{what} is not supported ({instead})", code="sweep-not-supported")
