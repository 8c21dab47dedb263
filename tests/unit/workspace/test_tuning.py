"""Tuning against a workspace: trials are runs, what is known costs nothing, and the gate is never seen."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import stellwerk as sw
from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines.loading import load
from stellwerk.tracking.model import OPEN
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

pytest.importorskip("optuna", reason="needs the extra hpo")

STEPS = """
import os
from pathlib import Path

import polars as pl

import stellwerk as sw

SPACE = {"x": sw.space.real(-4, 4), "n": sw.space.whole(1, 3)}


@sw.step
def hill(x: float, n: int = 1, notes: str = "", base: float = 0.0) -> float:
    if notes:
        with open(notes, "a") as file:
            file.write(f"{x} {n}\\n")
    for step in range(1, 4):
        sw.report(step, (x - 1) ** 2 + n + 3 - step)
    return (x - 1) ** 2 + n + base


@sw.step(outputs=("loss", "size", "parts"))
def several(x: float, table: pl.DataFrame) -> dict:
    return {"loss": x * x + table.height, "size": {"metrics": {"bytes": 10 - x}}, "parts": table.head(1)}


@sw.step
def broken(x: float) -> float:
    raise ValueError(f"no hill at {x}")


@sw.step
def moody(n: int) -> float:
    if n == 2:
        raise ValueError("not two")
    return float("nan") if n == 3 else float(n)


@sw.step(timeout="1h")
def limited(n: int) -> float:
    return float(os.getpid())


@sw.step(kind="data")
def rows(count: int) -> pl.DataFrame:
    numbers = pl.Series(range(count))
    return pl.DataFrame({"a": numbers, "b": numbers * 7919 % 10007, "y": numbers % 2})


@sw.step
def mean(table: pl.DataFrame) -> pl.DataFrame:
    return table.mean()


@sw.step
def score(table: pl.DataFrame, x: float) -> float:
    return x * x + table.height * 0


@sw.pipeline
def found(count: int = 3000, trials: int = 4):
    parts = sw.split(rows(count), target="y", exclude=["a"], entity=["a"])
    sw.gate(parts["gate"], name="later", target="y")
    tuned = sw.tune(score, {"x": sw.space.real(-1, 1)}, trials, given={"table": parts["train"]})
    return {"best": tuned["best"], "report": tuned["report"], "value": tuned["value"], "gate": mean(parts["gate"])}


@sw.pipeline
def peeks(what: str = "gate"):
    parts = sw.split(rows(3000), target="y", exclude=["a"], entity=["a"])
    seen = mean(parts["gate"]) if what == "mean" else parts[what]
    if what == "train":
        sw.gate(parts["train"], name="sealed", target="y")
    return sw.tune(score, {"x": sw.space.real(-1, 1)}, 4, given={"table": seen})["best"]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def steps(place: Path) -> Any:
    file = place / "steps_to_tune.py"
    file.write_text(textwrap.dedent(STEPS))
    return load(file)


@pytest.fixture(scope="module")
def workspace(place: Path) -> Iterator[sw.Workspace]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STELLWERK_ACTOR", "anna")
        patch.setenv("STELLWERK_STATE", "")
        create(place, Settings(actor="anna"))
        with sw.connect(place) as opened:
            yield opened


def test_trials_are_runs_of_one_study(workspace: sw.Workspace, steps: Any) -> None:
    """With parameters, value, status and duration; the study has the best of them, and its pictures as files."""
    found = sw.tune(steps.hill, steps.SPACE, 8, given={"base": 2.0}, workspace=workspace)
    trials = workspace.runs(parent=found.run)
    page = workspace.run_page(found.run)

    assert 8 == len(trials) == len(found.trials)
    assert {"trial"} == {run.kind for run in trials}
    assert {"finished"} == {run.status for run in trials}
    assert {str(number) for number in range(8)} == {run.tags["trial"] for run in trials}
    assert min(run.metrics["value"] for run in trials) == found.value == found.output()
    assert {"x", "n", "base", "notes"} == set(trials[0].params)
    assert {"x", "n"} == set(found.params)
    assert ("study", "finished", "hill") == (page.run.kind, page.run.status, page.experiment)
    assert {"tuning/history.svg", "tuning/parallel.svg", "tuning/report.json"} <= {one.path for one in page.files}
    assert page.study is not None
    assert 8 == len(page.study.trials)
    assert () == workspace.verify().findings


def test_what_was_sought_is_not_sought_again(workspace: sw.Workspace, steps: Any, tmp_path: Path) -> None:
    """The same question executes nothing; a larger budget goes on with it; another one knows what is equal."""
    notes = tmp_path / "notes.txt"

    def executed(budget: int, **options: Any) -> tuple[int, Any]:
        before = len(notes.read_text().splitlines()) if notes.exists() else 0
        tuned = sw.tune(steps.hill, steps.SPACE, budget, given={"notes": str(notes)}, workspace=workspace, **options)
        return len(notes.read_text().splitlines()) - before, tuned

    first, whole = executed(6)
    again, same = executed(6)
    more, larger = executed(9)
    other, named = executed(6, pruner="median")

    assert (6, 0, 3, 0) == (first, again, more, other)
    assert (whole.run, whole.report) == (same.run, same.report)
    assert [one.params for one in whole.trials] == [one.params for one in larger.trials[:6]]
    assert larger.run != whole.run
    assert 6 == named.report["trials"]["cached"]
    assert whole.value == named.value


def test_a_step_may_return_more_than_a_number(workspace: sw.Workspace, steps: Any) -> None:
    """Objectives are outputs or metrics by name; what the best trial made can be had."""
    table = pl.DataFrame({"a": [1, 2, 3]})
    space = {"x": sw.space.real(0, 1)}
    options: dict[str, Any] = {"given": {"table": table}, "workspace": workspace}
    one = sw.tune(steps.several, space, 6, metric="loss", **options)
    both = sw.tune(steps.several, space, 12, metric=["loss", "bytes"], search="nsga2", **options)

    assert one.output("parts").equals(table.head(1))
    assert one.value == one.params["x"] ** 2 + 3
    assert 12 == len(both.report["front"])  # little of one is much of the other
    assert ["bytes", "loss"] == sorted(workspace.runs(parent=both.run)[0].metrics)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_reports_and_is_pruned(workspace: sw.Workspace, steps: Any, workers: int) -> None:
    """In this process and in others: what is worse than the median ends at its first step, and says so."""
    pruner = sw.Pruning(kind="median", first=0, startup=3)
    found = sw.tune(steps.hill, steps.SPACE, 10, pruner=pruner, seed=4, workers=workers, workspace=workspace)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]

    assert pruned
    assert all(trial.reports[-1][0] <= 3 for trial in pruned)
    assert all([1, 2, 3] == [step for step, _ in t.reports] for t in found.trials if t.state == "done")
    assert len(pruned) == found.report["trials"]["pruned"]
    assert "trial.pruned" in workspace.runs(f"attributes.run_id = '{pruned[0].run}'")[0].tags
    assert 12.0 == steps.hill(4.0, 2, "", 1.0)  # outside of a trial, reporting does nothing


def test_failures_are_trials(workspace: sw.Workspace, steps: Any) -> None:
    """A trial that fails has its error; where all fail the search does, and says why."""
    space = {"n": sw.space.whole(1, 4)}
    found = sw.tune(steps.moody, space, 9, search="grid", workspace=workspace)

    assert ["done", "failed", "failed", "done"] == [trial.state for trial in found.trials]
    assert "not two" in found.trials[1].error
    assert "nan" in found.trials[2].error
    with pytest.raises(Invalid, match="no hill at") as caught:
        sw.tune(steps.broken, {"x": sw.space.real(0, 1)}, 20, workspace=workspace)
    assert "all-trials-failed" == caught.value.code


def test_a_step_with_limits_runs_in_a_process_of_its_own(workspace: sw.Workspace, steps: Any) -> None:
    """Where alone they can be kept."""
    found = sw.tune(steps.limited, {"n": sw.space.whole(1, 1)}, 1, workspace=workspace)

    assert os.getpid() != found.value


def test_a_pipeline_tunes(workspace: sw.Workspace, steps: Any) -> None:
    """Its study is part of its run; a second execution is cached; another budget is another node, and goes on."""
    first = workspace.run(steps.found.plan())
    second = workspace.run(steps.found.plan())
    third = workspace.run(steps.found.plan(trials=7))
    (study,) = [run for run in workspace.runs(parent=first.run.id) if run.kind == "study"]

    def result(name: str, ran: Any = third) -> Any:
        return canonical.loads(workspace._caller.blobs.get(Digest(ran.report.results[name][0].digest)))

    assert second.cached
    assert "finished" == study.status
    assert 4 == len(workspace.runs(parent=study.id))
    assert {"tune:score": "done"}.items() <= {task.task: task.status for task in third.report.tasks}.items()
    assert 7 == result("report")["trials"]["all"]
    assert result("best")["x"] ** 2 == result("value")
    assert 3 == sum(run.status not in OPEN for run in workspace.runs(parent=_study_of(workspace, third)))


def _study_of(workspace: sw.Workspace, ran: Any) -> str:
    (study,) = [run for run in workspace.runs(parent=ran.run.id) if run.kind == "study"]
    return study.id


@pytest.mark.parametrize("what", ["gate", "mean", "train"])
def test_a_pipeline_cannot_tune_on_its_gate(steps: Any, what: str) -> None:
    """Neither on the gate, nor on what was made of it, nor on what is sealed as one: refused before anything runs."""
    with pytest.raises(Refused) as caught:
        steps.peeks.plan(what=what)

    assert "gate-in-tuning" == caught.value.code
    assert "comes from" in caught.value.message


def test_no_search_sees_a_gate_set(workspace: sw.Workspace, steps: Any) -> None:
    """Known by lineage where no plan shows it: the gate itself, what was sealed, and what was made of it."""
    ran = workspace.run(steps.found.plan(count=3100))
    named = {run.name: run for run in workspace.runs(parent=ran.run.id)}
    split, gate, mean = named["split"], named["gate:later"], named["mean"]

    def frame(digest: str) -> pl.DataFrame:
        return pl.read_parquet(workspace._caller.blobs.get(Digest(digest)))

    def search(table: pl.DataFrame) -> Any:
        return sw.tune(steps.score, {"x": sw.space.real(-1, 1)}, 2, given={"table": table}, workspace=workspace)

    for digest in (split.outputs["gate"], gate.outputs["features"], mean.outputs["value"]):
        with pytest.raises(Refused) as caught:
            search(frame(digest))
        assert "gate-in-tuning" == caught.value.code
        assert "gate set" in caught.value.message
    for digest in (split.outputs["train"], split.outputs["select"]):
        assert 2 == len(search(frame(digest)).trials)


def test_models_are_measured_on_the_selection_part(workspace: sw.Workspace, tmp_path: Path) -> None:
    """A step that returns a model needs no metric of its own; the winner is the one that `evaluate` prefers."""
    file = tmp_path / "trees.py"
    file.write_text(
        textwrap.dedent("""
        import polars as pl
        import stellwerk as sw

        @sw.step(kind="train")
        def tree(table: pl.DataFrame, depth: int = 2) -> sw.Model:
            from sklearn.tree import DecisionTreeRegressor
            return sw.fit(DecisionTreeRegressor(max_depth=depth, random_state=0), table, target="y")
    """)
    )
    train = pl.DataFrame({"a": [n / 50 for n in range(100)], "y": [float(n // 25 % 2) + n / 1e4 for n in range(100)]})
    found = sw.tune(
        load(file).tree, {"depth": sw.space.whole(1, 4)}, 9, search="grid", given={"table": train}, select=train,
        workspace=workspace,
    )  # fmt: skip

    assert {"depth": 4} == found.params
    assert 0.01 > found.value
    assert "y" == found.output().signature.target


@pytest.mark.parametrize(
    ("order", "code", "said"),
    [
        (lambda s: (s.hill.function, s.SPACE, 3), "wrong-type", "no step"),
        (lambda s: (s.hill, {"z": sw.space.whole(1, 2)}, 3), "unknown-argument", "'z'"),
        (lambda s: (s.hill, {"n": sw.space.whole(1, 2)}, 3), "missing-argument", "'x'"),
        (lambda s: (s.hill, s.SPACE, 0), "invalid-tuning", "trials is 0"),
        (lambda s: (s.hill, s.SPACE, "soon"), "invalid-duration", "soon"),
        (lambda s: (s.hill, s.SPACE, 3, {"x": 1.0}), "wrong-arguments", "searched and given"),
        (lambda s: (s.score, {"x": sw.space.real(0, 1)}, 3, {"table": object()}), "unsupported-value", "'table'"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    workspace: sw.Workspace, steps: Any, order: Any, code: str, said: str
) -> None:
    """Before anything runs, with what was expected."""
    step, space, budget, *given = order(steps)
    before = workspace.runs()
    with pytest.raises(Invalid) as caught:
        sw.tune(step, space, budget, given=given[0] if given else None, workspace=workspace)

    assert code == caught.value.code
    assert said in caught.value.message
    assert before == workspace.runs()


def test_outside_of_a_pipeline_a_workspace_is_needed(steps: Any) -> None:
    """Because somebody has to keep the trials."""
    with pytest.raises(Invalid, match="where to keep its trials"):
        sw.tune(steps.hill, steps.SPACE, 3)
