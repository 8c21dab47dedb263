"""Tabular models: signatures from data, and answers in the order the signature promises."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge

from stellwerk.core.errors import Invalid
from stellwerk.models.model import Column, Signature, Task
from stellwerk.models.tabular import TabularModel, class_name, infer_signature

ONE = (Column(name="x", kind="number"),)


def test_a_signature_is_inferred_with_vocabularies_by_frequency_then_name() -> None:
    """The same data gives the same signature, whatever its row order."""
    frame = pl.DataFrame(
        {
            "km": [1.5, 2.0, None, 4.0],
            "stops": [1, 2, 3, 4],
            "carrier": ["b", "a", "b", "c"],
            "holiday": [True, False, None, True],
            "day": pl.Series(["2013-01-01"] * 4).str.to_date(),
            "hour": [datetime(2013, 1, 1, tzinfo=UTC)] * 4,
            "late": [False, True, True, False],
        }
    )
    expected = Signature(
        inputs=(
            Column(name="km", kind="number"),
            Column(name="stops", kind="number"),
            Column(name="carrier", kind="category", vocabulary=("b", "a", "c")),
            Column(name="holiday", kind="boolean"),
            Column(name="day", kind="time"),
            Column(name="hour", kind="time"),
        ),
        target="late",
        task="binary",
        classes=("false", "true"),
    )

    assert (expected, ()) == infer_signature(frame, "late", "binary")
    assert (expected, ()) == infer_signature(frame.reverse(), "late", "binary")


def test_columns_that_cannot_be_used_are_left_out_with_the_reason() -> None:
    """Identifiers, empty and nested columns are no inputs, and the caller is told."""
    rows = 60
    frame = pl.DataFrame(
        {
            "x": list(range(rows)),
            "passenger": [f"p{i}" for i in range(rows)],
            "nothing": [None] * rows,
            "nested": [[1]] * rows,
            "skipped": ["a"] * rows,
            "y": [float(i) for i in range(rows)],
        }
    )

    signature, left_out = infer_signature(frame, "y", "regression", exclude=["skipped"])

    assert ONE == signature.inputs
    assert () == signature.classes
    assert ["passenger", "nothing", "nested"] == [item.column for item in left_out]
    assert "text with too many distinct values (60 in 60 rows)" == left_out[0].reason


def test_a_vocabulary_keeps_the_two_hundred_most_frequent() -> None:
    """Rare values become unknown instead of making the model wider."""
    values = [f"v{i:03}" for i in range(300) for _ in range(5 if i < 200 else 2)]
    frame = pl.DataFrame({"c": values, "y": [0.5] * len(values)})

    signature, _ = infer_signature(frame, "y", "regression")

    assert tuple(f"v{i:03}" for i in range(200)) == signature.inputs[0].vocabulary


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        ([0, 1, 1], "binary", ("0", "1")),
        (["no", "yes", None], "binary", ("no", "yes")),
        ([10, 9, 2], "multiclass", ("2", "9", "10")),
        ([1.0, 2.0, 1.0], "binary", ("1", "2")),
    ],
)
def test_classes_are_ordered_by_value(labels: list[Any], task: Task, classes: tuple[str, ...]) -> None:
    """Numbers are ordered as numbers, text as text; null is no class."""
    signature, _ = infer_signature(pl.DataFrame({"x": [1, 2, 3], "y": labels}), "y", task)

    assert classes == signature.classes


@pytest.mark.parametrize(("task", "labels"), [("binary", ["a", "b", "c"]), ("multiclass", ["a", "a", "a"])])
def test_classes_must_fit_the_task(task: Task, labels: list[str]) -> None:
    """Three classes are not binary, one class is nothing to learn."""
    with pytest.raises(Invalid) as caught:
        infer_signature(pl.DataFrame({"x": [1, 2, 3], "y": labels}), "y", task)

    assert "wrong-classes" == caught.value.code


def test_a_target_that_is_not_there_is_refused() -> None:
    """The name is checked before anything is learnt."""
    with pytest.raises(Invalid) as caught:
        infer_signature(pl.DataFrame({"x": [1]}), "y", "regression")

    assert "missing-column" == caught.value.code


def test_probabilities_follow_the_order_of_the_signature() -> None:
    """An estimator sorts its classes as it likes; callers see the signature's order."""
    x = np.arange(12.0)
    estimator = LogisticRegression().fit(x[:, None], np.array(["early", "late", "on time"] * 4))
    model = TabularModel(
        estimator=estimator,
        signature=Signature(inputs=ONE, target="y", task="multiclass", classes=("on time", "late", "early")),
    )

    expected = estimator.predict_proba(x[:, None])[:, [2, 1, 0]]

    np.testing.assert_array_equal(expected, model.predict_proba({"x": x}))
    np.testing.assert_array_equal(expected[3], model.answer({"x": 3.0}))
    assert {"on time", "late", "early"} >= set(model.predict({"x": x}))


def test_a_class_the_estimator_never_saw_has_probability_zero() -> None:
    """A rare class may be missing from one fold; the shape of the answer does not change."""
    model = TabularModel(
        estimator=DummyClassifier(strategy="prior").fit([[0.0], [1.0]], [0, 1]),
        signature=Signature(inputs=ONE, target="y", task="multiclass", classes=("0", "1", "2")),
    )

    assert [[0.5, 0.5, 0.0]] == model.predict_proba({"x": [7.0]}).tolist()


def test_a_regression_answers_values() -> None:
    """Values come back one per row, and one for a record."""
    model = TabularModel(
        estimator=Ridge(alpha=0.0).fit([[0.0], [1.0]], [1.0, 3.0]),
        signature=Signature(inputs=ONE, target="y", task="regression"),
    )

    np.testing.assert_allclose([1.0, 5.0], model.predict({"x": [0.0, 2.0]}))
    np.testing.assert_allclose([5.0], model.answer({"x": 2}))
    with pytest.raises(Invalid) as caught:
        model.predict_proba({"x": [0.0]})
    assert "wrong-task" == caught.value.code


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        (Signature(inputs=ONE, target="y", task="binary", classes=("no", "yes")), "wrong-classes"),
        (Signature(inputs=ONE, target="x", task="binary", classes=("0", "1")), "invalid-signature"),
        (Signature(inputs=(*ONE, *ONE), target="y", task="binary", classes=("0", "1")), "invalid-signature"),
        (Signature(inputs=(), target="y", task="binary", classes=("0", "1")), "invalid-signature"),
        (
            Signature(inputs=(*ONE, Column(name="z", kind="number")), target="y", task="binary", classes=("0", "1")),
            "invalid-signature",
        ),
    ],
)
def test_an_estimator_must_fit_its_signature(signature: Signature, code: str) -> None:
    """Other classes, widths and repeated names are found when the model is put together, not when it is asked."""
    estimator = LogisticRegression().fit([[0.0], [1.0]], [0, 1])

    with pytest.raises(Invalid) as caught:
        TabularModel(estimator=estimator, signature=signature)

    assert code == caught.value.code


@pytest.mark.parametrize(
    ("value", "name"), [(True, "true"), (np.bool_(False), "false"), (1, "1"), (2.0, "2"), (2.5, "2.5"), ("a", "a")]
)
def test_class_names_do_not_depend_on_the_type_that_carries_them(value: Any, name: str) -> None:
    """Labels keep one name through polars, numpy and JSON."""
    assert name == class_name(value)
