"""Steps that misbehave, models that are bombs, plans with slips of the pen: told, closed, and nothing half done."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stellwerk.core.errors import Invalid, NotFound, Refused, StellwerkError
from stellwerk.models.model import Column, Signature
from stellwerk.pipelines.loading import load
from stellwerk.releases.model import Goal, SliceRule
from stellwerk.store import service as trees
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, ENDPOINT, World
from stellwerk.workspace import operations as ops
from stellwerk.workspace.facade import Workspace

WORLD = World()


def error_of(act: Callable[[], Any], kind: type[StellwerkError] = Invalid) -> StellwerkError:
    """What was raised: of the right class, with words and a hint."""
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.message
    assert caught.value.hint, f"{caught.value.code}: {caught.value.message}"
    return caught.value


# Steps

STEPS = '''
"""Pipelines whose steps misbehave."""

import polars as pl

import stellwerk as sw


@sw.step
def raises(table: pl.DataFrame) -> pl.DataFrame:
    return table.select("no such column")


@sw.step
def leaves(table: pl.DataFrame) -> pl.DataFrame:
    raise SystemExit(3)


@sw.step(timeout="1s")
def hangs(table: pl.DataFrame) -> pl.DataFrame:
    while True:
        pass


@sw.step
def answers_nonsense(table: pl.DataFrame):
    return object()


@sw.step(resources=sw.Resources(memory="1GiB"))
def eats(table: pl.DataFrame) -> pl.DataFrame:
    heap = []
    while True:
        heap.append(bytearray(64 << 20))


@sw.step(timeout="60s")
def dies(table: pl.DataFrame) -> pl.DataFrame:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


@sw.step(kind="train")
def one_class(table: pl.DataFrame) -> sw.Model:
    from sklearn.linear_model import LogisticRegression

    return sw.fit(LogisticRegression(), table.filter("late"), target="late")


def made(step):
    @sw.pipeline(name=step.name.replace("_", "-"))
    def chain():
        return step(sw.dataset("parcels"))

    return chain


CHAINS = {step.name: made(step) for step in (raises, leaves, hangs, answers_nonsense, eats, dies, one_class)}


@sw.pipeline(name="leaks")
def leaks():
    parts = sw.split(sw.dataset("leaky"), target="late")
    return sw.evaluate(one_class(parts["train"]), parts["select"])


@sw.pipeline(name="nowhere")
def nowhere():
    return raises(sw.dataset("no-such-dataset"))
'''


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("steps") / "misbehaving.py"
    file.write_text(STEPS, "utf-8")
    return load(file)


@pytest.mark.parametrize(
    ("step", "code", "words"),
    [
        ("raises", "step-failed", "no such column"),
        ("leaves", "step-failed", "SystemExit"),
        ("hangs", "step-timeout", "1 second"),
        ("answers_nonsense", "unsupported-value", "object"),
        ("eats", "step-memory", "memory"),
        ("dies", "step-killed", "SIGKILL"),
        ("one_class", "step-failed", "true"),
    ],
)
def test_steps_that_misbehave(house: Workspace, steps: Any, step: str, code: str, words: str) -> None:
    """The run fails with the step's own reason, everything is closed, nothing is registered or remembered."""
    models = house.models.list()
    with pytest.raises(StellwerkError) as caught:
        house.run(steps.CHAINS[step].plan())
    parent, *_ = [run for run in house.runs(experiment=step.replace("_", "-")) if run.parent is None]
    children = house.runs(parent=parent.id)

    assert code == caught.value.code
    assert words in caught.value.message
    assert "failed" == parent.status
    assert {"failed"} == {run.status for run in children if run.name == step}
    assert models == house.models.list()
    page = house.run_page(next(run.id for run in children if run.name == step))
    assert page.error
    with pytest.raises(StellwerkError):
        house.run(steps.CHAINS[step].plan())


def test_a_failed_step_shows_the_users_own_lines(house: Workspace, steps: Any) -> None:
    """The log of the failed step has the traceback in the user's file."""
    with pytest.raises(StellwerkError):
        house.run(steps.CHAINS["raises"].plan())
    parent = house.runs(experiment="raises")[-1]
    pages = [house.run_page(run.id) for run in house.runs(experiment="raises") if run.name == "raises" and run.parent]

    assert parent
    assert any('table.select("no such column")' in page.log for page in pages)


def test_a_certain_leak_is_refused(house: Workspace, steps: Any) -> None:
    """A copy of the target among the inputs stops the run at the split, by name."""
    leaky = WORLD.parcels(400, 9).with_columns(arrived_late=pl.col("late").cast(pl.Int8))
    house.data.add("leaky", leaky)
    error = error_of(lambda: house.run(steps.leaks.plan()), StellwerkError)

    assert "step-failed" == error.code
    assert "arrived_late" in error.message
    assert "--exclude" in error.hint


def test_a_dataset_that_is_not_there(house: Workspace, steps: Any) -> None:
    """The run ends as failed and says which dataset is missing."""
    error = error_of(lambda: house.run(steps.nowhere.plan()), NotFound)

    assert "no-such-dataset" in error.message
    assert {"failed"} == {run.status for run in house.runs(experiment="nowhere")}


# Models


class Bomb:
    """What unpickles into a file being made."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self._canary}",))


def hostile(canary: Path) -> dict[str, dict[str, bytes]]:
    """Model trees with a pickle in one of its disguises."""
    bomb = pickle.dumps(Bomb(canary))
    return {
        "bare": {"model.pkl": bomb},
        "beside": {"model.json": b"{}", "weights.bin": bomb},
        "renamed": {"model.json": bomb},
        "old protocol": {"model.pkl": pickle.dumps(Bomb(canary), protocol=0)},
    }


SIGNATURE = Signature(
    inputs=(Column(name="distance", kind="number"),), target="late", task="binary", classes=("false", "true")
)


@pytest.mark.parametrize("disguise", ["bare", "beside", "renamed", "old protocol"])
def test_a_pickle_is_judged_and_never_loaded(released: Path, house: Workspace, tmp_path: Path, disguise: str) -> None:
    """Registered as a model it gets the verdict stop with the reason; its payload never runs; the gate stays shut."""
    canary = tmp_path / "canary"
    files = hostile(canary)[disguise]
    caller = house._caller
    version = caller.call(
        ops.register_model,
        {
            "name": f"hostile-{disguise.replace(' ', '-')}",
            "digest": trees.put_files(caller.blobs, files),
            "signature": SIGNATURE,
            "layout": "pickle",
            "run": "",
        },
    )
    opened = [event for event in house.board().events if event.kind == "gate.opened"]
    verdict = house.prove(ENDPOINT, model=version.digest)
    scan = next(reason for reason in verdict.reasons if reason.check == "file-scan")

    assert ("stop", "fail") == (verdict.outcome, scan.outcome)
    assert "executable" in scan.text or "refused" in scan.text
    assert not canary.exists()
    assert opened == [event for event in house.board().events if event.kind == "gate.opened"]
    assert "not-clear" == error_of(lambda: house.release(ENDPOINT), Refused).code
    assert verdict == house.prove(ENDPOINT, model=version.digest)


def test_a_model_that_is_nothing(released: Path, house: Workspace) -> None:
    """A registered tree whose bytes are no model, or not there at all, is never clear."""
    caller = house._caller
    empty = trees.put_files(
        caller.blobs, {"model.json": b'{"format": "?"}', "estimator.skops": b"PK\x05\x06" + bytes(18)}
    )
    facts = {"signature": SIGNATURE, "layout": "skops", "run": ""}
    caller.call(ops.register_model, {"name": "nothing", "digest": empty, **facts})

    assert "clear" != house.prove(ENDPOINT, model="nothing").outcome
    with pytest.raises(NotFound):
        caller.call(ops.register_model, {"name": "gone", "digest": "sha256:" + "0" * 64, **facts})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"goals": (Goal(metric="aurok", floor=0.6),)}, "unknown-metric"),
        ({"goals": (Goal(metric="mae", ceiling=0.6),)}, "unknown-metric"),
        ({"slices": SliceRule(by=("dopot",), goals=(Goal(metric="auroc", floor=0.5),))}, "unknown-column"),
        ({"slices": SliceRule(by=("depot",), goals=(Goal(metric="rmse", ceiling=0.5),))}, "unknown-metric"),
        ({"policy": ("base@99",)}, "unknown-policy"),
    ],
)
def test_a_slip_of_the_pen_costs_no_attempt(
    released: Path, house: Workspace, changes: dict[str, Any], code: str
) -> None:
    """What a plan asks for is checked before the gate is opened."""
    right = worlds.declared(released)
    before = [entry for entry in gates(house) if entry == "gate.opened"]
    house.declare(replace(right, **changes))
    with pytest.raises(StellwerkError) as caught:
        house.prove(ENDPOINT, model=f"{ENDPOINT}@1")
    house.declare(right)

    assert code == caught.value.code
    assert before == [entry for entry in gates(house) if entry == "gate.opened"]


def gates(house: Workspace) -> list[str]:
    return [entry.kind for entry in house._caller.rooms.book.entries(kinds=["gate."])]  # type: ignore[attr-defined]


def test_what_was_missing_may_come_later(tmp_path: Path) -> None:
    """With a drafted contract the verdict is unproven; once it is confirmed, the same plan is clear at attempt 1."""
    with worlds.workspace(tmp_path) as house:
        house.data.add(DATASET, WORLD.parcels(1000, 1))
        (tmp_path / "pipeline.py").write_text(
            worlds.PIPELINE.replace('sw.contract("parcels")(sw.dataset("parcels"))', 'sw.dataset("parcels")'), "utf-8"
        )
        house.run(worlds.plan(tmp_path))
        house.declare(worlds.declared(tmp_path))
        first = house.prove(ENDPOINT)
        house.data.confirm(DATASET)
        second = house.prove(ENDPOINT)

        assert ("unproven", ["contract:data"]) == (
            first.outcome,
            [reason.check for reason in first.reasons if reason.outcome != "pass"],
        )
        assert ("clear", 1, first.plan) == (second.outcome, second.attempt, second.plan)
        assert second == house.prove(ENDPOINT)
        assert second.id == house.release(ENDPOINT).verdict


def test_missing_values_are_a_slice_like_any_other(tmp_path: Path) -> None:
    """Where nothing is proven about parcels without a depot, or of one never seen, people decide them (law 3)."""
    rows = WORLD.parcels(1200, 1).with_columns(
        depot=pl.when(pl.int_range(pl.len()) % 40 == 0).then(None).otherwise("depot")
    )
    patient = worlds.PIPELINE.replace(
        "sw.fit(LogisticRegression(C=strength, max_iter=500)",
        "from sklearn.impute import SimpleImputer\n    from sklearn.pipeline import make_pipeline\n\n"
        "    return sw.fit(make_pipeline(SimpleImputer(), LogisticRegression(C=strength, max_iter=500))",
    ).replace("return from", "from")
    with worlds.workspace(tmp_path) as house:
        (tmp_path / "pipeline.py").write_text(patient, "utf-8")
        house.data.add(DATASET, rows)
        house.data.confirm(DATASET)
        house.run(worlds.plan(tmp_path))
        house.declare(worlds.declared(tmp_path))
        verdict = house.prove(ENDPOINT)
        house.release(ENDPOINT)
        ask = worlds.in_process(house._caller.rooms)  # type: ignore[attr-defined]
        asked = {"distance": [0.1] * 4, "weight": [0.2] * 4, "depot": [None, worlds.RARE, "North", "Mars"]}
        answers = ask(asked)

    assert 2 == len(verdict.routed)
    assert [True, True, False, True] == [item["prediction"] is None for item in answers]
