"""Shipping with a search for a model: an honest word about what it was worth, and a project that is one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from stellwerk.cli.shipping import _searched, _told
from stellwerk.core.errors import Conflict, Invalid, Unavailable
from stellwerk.workspace import shipping, templates
from stellwerk.workspace.facade import connect
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

FOUND: dict[str, Any] = {
    "loss": "log_loss", "trials": {"all": 40}, "searched": ["linear", "boosting"], "held_out": {"value": 0.5},
    "selected": {"value": 0.48}, "baselines": {"linear": 0.52, "constant": 0.69},
    "better_than_linear": {"by": 0.02, "lower": 0.01, "upper": 0.03},
}  # fmt: skip


def table(folder: Path, rows: int = 300) -> Path:
    """Rows that a linear model understands."""
    rng = np.random.default_rng(3)
    dose = rng.uniform(0, 10, rows).round(2)
    better = rng.random(rows) < 1 / (1 + np.exp(-(dose - 5)))
    file = folder / "trial.csv"
    pl.DataFrame({"dose": dose, "better": better}).write_csv(file)
    return file


def text(blocks: Any) -> str:
    return repr(blocks)


def test_without_optuna_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that cannot be made is refused before a project is written, with what to install."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(Unavailable, match="Optuna") as refused:
        shipping.prepare(table(tmp_path), tmp_path / "project", target="better", owner="anna", automl="2")

    assert "stellwerk[hpo]" in refused.value.hint
    assert not (tmp_path / "project").exists()


def test_a_search_is_shipped_and_says_what_it_was_worth(tmp_path: Path) -> None:
    """The model that was found is the one that is proven; what the search reports is told, with what was held out."""
    pytest.importorskip("optuna")
    file, folder = table(tmp_path), tmp_path / "project"
    order = shipping.prepare(file, folder, target="better", owner="anna", automl="2")
    create(folder, Settings(actor="anna"))

    with connect(folder, actor="anna") as workspace:
        shipped = shipping.ship(workspace, order, file, folder, say=lambda _: None)
        (parent,) = workspace.runs("kind = 'pipeline'")
        kinds = {run.kind for run in workspace.runs(parent=parent.id)}

    found = shipped.search
    assert found is not None
    assert ("stellwerk-automl/1", 2) == (found["format"], found["trials"]["all"])
    assert {"tune", "gate", "split"} <= kinds
    assert shipped.verdict.model == shipped.model.digest
    shown = text(_told(shipped))
    assert "2 trials of linear, forest, extra, boosting" in shown
    assert "held out" in shown
    assert "where it was chosen" in shown


@pytest.mark.parametrize(
    ("lower", "said"), [(0.01, "'better'"), (0.0, "not shown to be better"), (-0.01, "not shown to be better")]
)
def test_better_is_said_only_where_it_is_shown(lower: float, said: str) -> None:
    """An estimate above nothing is no proof: the bound decides."""
    shown = text(_searched({**FOUND, "better_than_linear": {"by": 0.02, "lower": lower, "upper": 0.03}}))

    assert said in shown
    assert "0.52" in shown


def test_what_has_no_bounds_is_not_better() -> None:
    """Too few rows to say: nothing is claimed."""
    shown = text(_searched({**FOUND, "better_than_linear": {"by": 0.02, "lower": None, "upper": None}}))

    assert "not shown to be better" in shown


@pytest.mark.parametrize("budget", ["soon", "0", "-3", "1.5", "10 m", "0m", "100001"])
def test_a_budget_that_is_none_writes_nothing(tmp_path: Path, budget: str) -> None:
    """It is refused before a file is written."""
    with pytest.raises(Invalid):
        shipping.prepare(table(tmp_path), tmp_path / "project", target="better", owner="anna", automl=budget)

    assert not (tmp_path / "project").exists()


def test_another_budget_writes_the_pipeline_anew(tmp_path: Path) -> None:
    """As with every other option: unless somebody has edited it. Without a search the note is what it always was."""
    file, folder = table(tmp_path), tmp_path / "project"

    def prepared(automl: str) -> str:
        shipping.prepare(file, folder, target="better", owner="anna", automl=automl)
        return (folder / "pipeline.py").read_text()

    assert "boosted" in prepared("")
    assert "automl" not in json.loads((folder / ".stellwerk" / shipping.NOTE).read_text())["order"]
    assert "budget=7" in prepared("7")
    assert "budget='10m'" in prepared("10m")
    (folder / "pipeline.py").write_text("# mine\n")
    with pytest.raises(Conflict, match="somebody has edited them"):
        prepared("20m")


@pytest.mark.parametrize("task", list(templates.MODELS))
@pytest.mark.parametrize("automl", ["", "3", "10m"])
def test_what_is_written_is_a_pipeline(task: str, automl: str) -> None:
    """It is Python, and what is not used is not there."""
    order = templates.Order(name="a-b", target="y", task=task, owner="anna", rows=100, automl=automl)

    written = templates.pipeline(order)

    compile(written, "pipeline.py", "exec")
    assert bool(automl) == ("sw.automl(" in written)
    assert bool(automl) != ("def boosted" in written)
