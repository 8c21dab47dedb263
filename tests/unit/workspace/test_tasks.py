"""Sandboxed tasks: exactly the model that was named answers, and what is not plain data never gets that far."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import Ridge

from stellwerk.core import digest
from stellwerk.core.errors import Corrupt, Invalid, Refused
from stellwerk.evidence.adapters.sandbox import Sandbox
from stellwerk.evidence.ports import Limits
from stellwerk.models.adapters import skops_format
from stellwerk.models.model import Column, Signature
from stellwerk.models.tabular import TabularModel, encode
from stellwerk.workspace import tasks

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the walls are Linux system calls")

LIMITS = Limits(wall_seconds=60.0, cpu_seconds=60, memory_bytes=1 << 30, output_bytes=16 << 20)
SIGNATURE = Signature(
    inputs=(
        Column(name="km", kind="number"),
        Column(name="carrier", kind="category", vocabulary=("UA", "AA", "DL")),
        Column(name="holiday", kind="boolean"),
        Column(name="at", kind="time"),
    ),
    target="late",
    task="binary",
    classes=("no", "yes"),
)


@pytest.fixture(scope="module")
def worker() -> Sandbox:
    return Sandbox(tasks=tasks.TASKS, unscreened=tasks.UNSCREENED)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    random = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "km": random.normal(size=500),
            "carrier": random.choice(["UA", "AA", "DL", "??"], 500),
            "holiday": random.random(500) < 0.1,
            "at": pl.Series(random.integers(0, 10**9, 500) * 1_000_000).cast(pl.Datetime("us")),
        }
    )


@pytest.fixture(scope="module")
def model(frame: pl.DataFrame) -> TabularModel:
    labels = np.where(frame["km"].to_numpy() > 0, "yes", "no")
    estimator = HistGradientBoostingClassifier(max_iter=20, categorical_features=[1], random_state=0)
    return TabularModel(estimator=estimator.fit(encode(SIGNATURE, frame), labels), signature=SIGNATURE)


def stored(model: TabularModel, folder: Path) -> tuple[dict[str, str], dict[str, Path]]:
    files = skops_format.save(model)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: digest.of_bytes(content) for name, content in files.items()}, {
        name: folder / name for name in files
    }


def test_the_sandbox_answers_as_the_model_does(
    worker: Sandbox, model: TabularModel, frame: pl.DataFrame, tmp_path: Path
) -> None:
    """Probabilities are bit for bit those computed here; single-row calls are timed."""
    digests, files = stored(model, tmp_path)
    frame.write_parquet(tmp_path / "rows.parquet")

    answer = worker.run(
        "predict",
        {"model": digests, "rows": "rows", "latency_samples": 30},
        {**files, "rows": tmp_path / "rows.parquet"},
        LIMITS,
    )

    np.testing.assert_array_equal(model.predict_proba(frame), answer["probabilities"])
    assert ["no", "yes"] == answer["classes"]
    assert (30,) == answer["latencies"].shape
    assert (answer["latencies"] > 0).all()


def test_a_regression_answers_values(worker: Sandbox, tmp_path: Path) -> None:
    """Values come back as a column of numbers."""
    one = Signature(inputs=(Column(name="x", kind="number"),), target="y", task="regression")
    model = TabularModel(estimator=Ridge(alpha=0.0).fit([[0.0], [1.0]], [1.0, 3.0]), signature=one)
    digests, files = stored(model, tmp_path)
    pl.DataFrame({"x": [0.0, 2.0]}).write_parquet(tmp_path / "rows.parquet")

    answer = worker.run(
        "predict", {"model": digests, "rows": "rows"}, {**files, "rows": tmp_path / "rows.parquet"}, LIMITS
    )

    np.testing.assert_allclose([1.0, 5.0], answer["values"])
    assert (0,) == answer["latencies"].shape


def test_a_model_is_tried_on_a_made_up_row(worker: Sandbox, model: TabularModel, tmp_path: Path) -> None:
    """The smoke test says what was loaded and that it answers."""
    digests, files = stored(model, tmp_path)

    answer = worker.run("load_check", {"model": digests}, files, LIMITS)

    assert "HistGradientBoostingClassifier" == answer["estimator"]
    np.testing.assert_allclose(1.0, answer["answer"].sum())


def test_other_bytes_than_the_digest_says_are_not_loaded(
    worker: Sandbox, model: TabularModel, tmp_path: Path
) -> None:
    """A file that was exchanged for another valid one is noticed behind the walls."""
    digests, files = stored(model, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    one = Signature(inputs=(Column(name="x", kind="number"),), target="y", task="regression")
    _, exchanged = stored(TabularModel(estimator=Ridge().fit([[0.0], [1.0]], [0, 1]), signature=one), other)

    with pytest.raises(Corrupt) as caught:
        worker.run("load_check", {"model": digests}, {**files, "model.skops": exchanged["model.skops"]}, LIMITS)

    assert "model-digest-mismatch" == caught.value.code


def test_rows_that_do_not_fit_are_the_callers_mistake(worker: Sandbox, model: TabularModel, tmp_path: Path) -> None:
    """The error of the encoder arrives as it was."""
    digests, files = stored(model, tmp_path)
    pl.DataFrame({"km": ["far"]}).write_parquet(tmp_path / "rows.parquet")

    with pytest.raises(Invalid) as caught:
        worker.run(
            "predict", {"model": digests, "rows": "rows"}, {**files, "rows": tmp_path / "rows.parquet"}, LIMITS
        )

    assert "missing-column" == caught.value.code


@pytest.mark.parametrize("task", ["predict", "load_check"])
def test_a_pickle_is_refused_before_the_sandbox(
    task: str, worker: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is called and whatever digest is given: no process starts."""
    path = tmp_path / "model.skops"
    path.write_bytes(pickle.dumps({"harmless": True}))
    request = {"model": {"model.skops": digest.of_bytes(path.read_bytes())}, "rows": "model.skops"}
    monkeypatch.setattr(Sandbox, "_start", lambda *_: pytest.fail("a process was started"))

    with pytest.raises(Refused) as caught:
        worker.run(task, request, {"model.skops": path}, LIMITS)

    assert "unreadable-format" == caught.value.code


@pytest.mark.parametrize(
    ("content", "expected"),
    [(pickle.dumps({"a": 1}), "executable"), (b'{"a": 1}', "data-only"), (b"\xff\0", "refused")],
)
def test_scanning_happens_behind_the_walls_too(
    content: bytes, expected: str, worker: Sandbox, tmp_path: Path
) -> None:
    """The report is the one of the scanner, as JSON."""
    (tmp_path / "file").write_bytes(content)

    answer: Mapping[str, Any] = worker.run("scan", {}, {"file": tmp_path / "file"}, LIMITS)

    assert expected == answer["format_class"]
    assert answer["clean"] is (expected == "data-only")
    assert answer["clean"] is (answer["findings"] == [])
