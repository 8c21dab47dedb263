"""Sweep files of Weights & Biases: what they mean here, and what is refused by its name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.tuning import sweeps
from stellwerk.pipelines.tuning.model import Objective, Pruning
from stellwerk.pipelines.tuning.space import Choice, Real, Whole, choice, size

WHOLE: dict[str, Any] = {
    "program": "train.py",
    "name": "demo",
    "method": "bayes",
    "metric": {"name": "val/loss", "goal": "maximize"},
    "run_cap": 12,
    "parameters": {
        "rate": {"distribution": "log_uniform_values", "min": "1e-4", "max": 0.1},
        "old": {"distribution": "log_uniform", "min": -3, "max": 0},
        "depth": {"min": 2, "max": 8},
        "share": {"min": 0.0, "max": 1},
        "step": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
        "kind": {"values": ["a", "b"]},
        "fixed": {"value": 3},
        "optimizer": {"parameters": {"name": {"values": ["sgd", "adam"]}, "decay": {"value": 0.5}}},
    },
    "early_terminate": {"type": "hyperband", "min_iter": 3, "eta": 2},
}


def changed(**more: Any) -> dict[str, Any]:
    return {key: value for key, value in {**WHOLE, **more}.items() if value is not None}


def test_a_file_is_read() -> None:
    """Every kind of parameter, nested ones by their path."""
    sweep = sweeps.read(WHOLE)

    assert ("demo", "train.py", "tpe", 12) == (sweep.name, sweep.program, sweep.search, sweep.cap)
    assert Objective(metric="val/loss", goal="maximize") == sweep.objective
    assert Pruning(kind="asha", first=3, eta=2) == sweep.pruning
    assert Real(low=1e-4, high=0.1, log=True) == sweep.space["rate"]
    assert Real(low=math.exp(-3), high=1.0, log=True) == sweep.space["old"]
    assert Whole(low=2, high=8) == sweep.space["depth"]
    assert Real(low=0.0, high=1.0) == sweep.space["share"]
    assert Real(low=0.0, high=1.0, step=0.25) == sweep.space["step"]
    assert choice(["a", "b"]) == sweep.space["kind"]
    assert choice([3]) == sweep.space["fixed"]
    assert isinstance(sweep.space["optimizer.name"], Choice)
    assert 2 == len(sweep.notes)  # TPE for bayes, successive halving for hyperband


def test_brackets_count_back_from_the_last_iteration() -> None:
    """As theirs: max_iter / eta^s is the first."""
    sweep = sweeps.read(changed(early_terminate={"type": "hyperband", "max_iter": 27, "s": 2}))

    assert Pruning(kind="asha", first=3, eta=3) == sweep.pruning


def test_a_grid_has_an_end() -> None:
    """The product of the values; a range of whole numbers is one, a range of others is not."""
    parameters = {"a": {"values": [1, 2, 3]}, "b": {"min": 1, "max": 4}}

    assert 12 == size(sweeps.read(changed(method="grid", parameters=parameters)).space)
    with pytest.raises(Invalid, match="no steps"):
        size(sweeps.read(changed(method="grid", parameters={"c": {"min": 0.0, "max": 1.0}})).space)


PARAMS = {"rate": 0.5, "flag": True, "off": False, "optimizer.name": "sgd", "optimizer.decay": 0.1}
NESTED = "{'name': 'sgd', 'decay': 0.1}"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            None,
            ["/usr/bin/env", "py", "train.py", "--rate=0.5", "--flag=True", "--off=False", f"--optimizer={NESTED}"],
        ),
        (["${program}", "${args_no_hyphens}"], ["train.py", "rate=0.5", "flag=True", "off=False", f"optimizer={NESTED}"]),
        (["x", "${args_no_boolean_flags}"], ["x", "--rate=0.5", "--flag", f"--optimizer={NESTED}"]),
        (
            ["${args_no_equals}"],
            ["--rate", "0.5", "--flag", "True", "--off", "False", "--optimizer", NESTED],
        ),
        (
            ["x", "${args_json}"],
            ["x", '{"rate": 0.5, "flag": true, "off": false, "optimizer": {"name": "sgd", "decay": 0.1}}'],
        ),
        (["x", "--at=${envvar:STELLWERK_NOBODY_SAYS}"], ["x", "--at=STELLWERK_NOBODY_SAYS"]),
    ],
)  # fmt: skip
def test_the_command_line_is_theirs(command: list[str] | None, line: list[str]) -> None:
    """Each macro becomes arguments of a list, whatever characters they hold."""
    sweep = sweeps.read(changed(command=command))

    assert line == sweeps.argv(sweep, PARAMS, interpreter="py")


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"method": "annealing"}, "invalid-sweep", "annealing"),
        ({"metric": None}, "invalid-sweep", "bayes needs a metric"),
        ({"metric": {"goal": "minimize"}}, "invalid-sweep", "expected a name"),
        ({"parameters": {}}, "invalid-sweep", "no parameters"),
        ({"parameters": {"a": {"min": 1}}}, "invalid-sweep", "neither value"),
        ({"parameters": {"a": {"min": "low", "max": 3}}}, "invalid-sweep", "'low'"),
        ({"parameters": {"a b": {"value": 1}}}, "invalid-sweep", "'a b'"),
        ({"parameters": {"a": 3}}, "invalid-sweep", "parameter a"),
        ({"parameters": {"a": {"distribution": "normal", "mu": 0}}}, "sweep-not-supported", "'mu'"),
        ({"parameters": {"a": {"distribution": "beta"}}}, "sweep-not-supported", "'beta'"),
        ({"parameters": {"a": {"values": [1], "probabilities": [1]}}}, "sweep-not-supported", "'probabilities'"),
        ({"early_terminate": {"type": "envelope"}}, "sweep-not-supported", "'envelope'"),
        ({"early_terminate": {"type": "hyperband"}}, "invalid-sweep", "min_iter"),
        ({"run_cap": 0}, "invalid-sweep", "run_cap"),
        ({"command": ["${args_json_file}"]}, "sweep-not-supported", "${args_json_file}"),
        ({"command": ["x${args}"]}, "sweep-not-supported", "each alone"),
        ({"launch": {}}, "sweep-not-supported", "'launch'"),
    ],
)
def test_what_cannot_be_done_alike_is_refused(change: dict[str, Any], code: str, said: str) -> None:
    """By its name, and with what there is instead."""
    with pytest.raises(Invalid) as caught:
        sweeps.read(changed(**change))

    assert code == caught.value.code
    assert said in caught.value.message
