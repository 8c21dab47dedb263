"""AutoML for tables: what is found, what is said of it, and what may not be chosen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import stellwerk as sw
from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines.loading import load
from stellwerk.workspace import automl
from stellwerk.workspace.adapters.estimators import estimator
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

pytest.importorskip("optuna", reason="needs the extra hpo")
pytest.importorskip("sklearn", reason="needs the extra sklearn")


def rings(count: int, seed: int) -> pl.DataFrame:
    """Two classes that no line parts."""
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(count, 2))
    label = np.where((x**2).sum(axis=1) + chance.normal(size=count) / 4 > 1.4, "out", "in")
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "group": [str(n % 3) for n in range(count)], "where": label})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sw.Workspace]:
    monkeypatch.setenv("STELLWERK_ACTOR", "anna")
    monkeypatch.setenv("STELLWERK_STATE", "")
    create(tmp_path, Settings(actor="anna"))
    with sw.connect(tmp_path) as opened:
        yield opened


def test_what_a_line_cannot_do_is_found_and_told_honestly(workspace: sw.Workspace) -> None:
    """A tree wins over the linear model, by bounds on rows that did not choose it; all trials are counted."""
    found = sw.automl(
        rings(400, 1), select=rings(200, 2), target="where", budget=6, families=("linear", "boosting"),
        workspace=workspace,
    )  # fmt: skip
    said, model = found["report"], found["model"]

    assert "boosting" == said["chosen"]["params"]["family"]
    assert said["better_than_linear"]["lower"] > 0
    assert said["selected"]["value"] <= said["held_out"]["value"] + 1e-9
    assert said["baselines"]["linear"] > said["held_out"]["value"]
    assert 6 == said["trials"]["all"]
    assert {"forest", "extra", "lightgbm", "xgboost"} == set(said["not_searched"])
    assert ["in", "out"] == list(model.signature.classes)
    (study,) = workspace.runs("attributes.kind = 'study'")
    assert 6 == len(workspace.runs(parent=study.id))


def test_where_a_line_is_as_good_it_is_chosen() -> None:
    """Of equals on the selection part the linear model wins, and no bound says that anything is better."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=300)
    table = pl.DataFrame({"a": x, "y": 2 * x + chance.normal(size=300)})
    leading = [{"params": {"family": "forest", "trees": 20, "leaf": 5, "share": 1.0}, "values": [1.0], "number": 0}]
    found = {"leading": leading, "best": {"values": [1.0]}, "trials": {"all": 1}}
    judged = automl.judged(
        train=table[:200], select=table[200:], found=found, task="regression", target="y", exclude=[],
        families=["forest"],
    )  # fmt: skip

    assert {"family": "linear"} == judged["report"]["chosen"]["params"]
    assert 0 >= (judged["report"]["better_than_linear"]["lower"] or 0)


def test_a_pipeline_uses_it_and_never_shows_it_the_gate(tmp_path: Path, workspace: sw.Workspace) -> None:
    """Its model is registered like any other; the gate in place of a part is refused before anything runs."""
    file = tmp_path / "searching.py"
    file.write_text(
        textwrap.dedent("""
        import numpy as np
        import polars as pl
        import stellwerk as sw

        @sw.step(kind="data")
        def rows() -> pl.DataFrame:
            chance = np.random.default_rng(3)
            x = chance.normal(size=(500, 2))
            return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": x[:, 0] * 2 + chance.normal(size=500)})

        @sw.pipeline
        def found(select: str = "select"):
            parts = sw.split(rows(), target="y")
            model = sw.automl(parts["train"], select=parts[select], target="y", budget=2, families=["linear"])
            return {"model": sw.evaluate(model["model"], parts["select"]), "report": model["report"]}
    """)
    )
    module = load(file)
    ran = workspace.run(module.found.plan())
    again = workspace.run(module.found.plan())

    assert ran.model is not None
    assert ("found", 1) == (ran.model.name, ran.model.version)
    assert again.cached
    with pytest.raises(Refused) as caught:
        module.found.plan(select="gate")
    assert "gate-in-tuning" == caught.value.code


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("family", [*automl.STORABLE, *automl.OTHERS])
def test_every_family_fits_what_is_drawn_from_its_space(family: str, task: str) -> None:
    """With gaps in the data; and what may be released has a form here."""
    if family in automl.OTHERS:
        pytest.importorskip(automl.OTHERS[family])
    from stellwerk.models.adapters import skops_format
    from stellwerk.pipelines.tuning.space import drawn
    from stellwerk.workspace.evaluating import scores_of

    table = rings(120, 4).with_columns(a=pl.when(pl.col("b") > 1).then(None).otherwise(pl.col("a")))
    target = "where" if task == "binary" else "b"
    params: dict[str, Any] = {**drawn(automl.space([family]), seed=0, number=0), "trees": 10, "rounds": 10}
    model = automl.fit(params, table, target=target, task=task, exclude=[])

    assert 120 == len(scores_of(model, table))
    if family in automl.STORABLE:
        kept = skops_format.load(skops_format.save(model))
        assert np.allclose(scores_of(model, table), scores_of(kept, table))
    assert estimator(task, params) is not None


@pytest.mark.parametrize("families", [[], ["magic"], ["lightgbm"]])
def test_families_that_cannot_be_searched_are_refused(families: list[str]) -> None:
    """Also where nothing that is searched could be released."""
    with pytest.raises(Invalid) as caught:
        sw.automl(None, select=None, target="y", budget=3, families=families)

    assert "unknown-family" == caught.value.code


@pytest.mark.parametrize(
    ("given", "words"),
    [({"train": [1]}, "train is a list"), ({"select": "x"}, "select is a str"), ({"exclude": "b"}, "exclude is 'b'")],
)
def test_what_is_no_table_is_refused(workspace: sw.Workspace, given: dict[str, Any], words: str) -> None:
    """By the name of the argument, before anything is tried."""
    table = rings(20, 6)
    with pytest.raises(Invalid) as caught:
        sw.automl(**{"train": table, "select": table, "target": "where", "budget": 1, "workspace": workspace} | given)

    assert "wrong-type" == caught.value.code
    assert words in caught.value.message


def test_every_class_is_in_every_fold() -> None:
    """Where it has rows enough; and every row is measured once."""
    table = rings(101, 5)
    parts = automl.folds(table, "where", "binary")

    assert list(range(101)) == sorted(row for _, held in parts for row in held)
    assert all(2 == table[held]["where"].n_unique() for _, held in parts)
