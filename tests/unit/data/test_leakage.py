"""Leakage: what knows the answer is found, what is merely good or lucky is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from stellwerk.core.errors import Invalid
from stellwerk.data import association
from stellwerk.data.leakage import (
    duplicates_across,
    entity_overlap,
    leaks,
    single_feature,
    target_copy,
    time_order,
)
from stellwerk.data.model import LeakageFinding, Task

SIZE = 400


def named(findings: tuple[LeakageFinding, ...]) -> list[tuple[str, str, str]]:
    return [(finding.check, finding.column, finding.severity) for finding in findings]


@pytest.fixture
def table() -> pl.DataFrame:
    random = Random(1)
    late = [random.random() < 0.3 for _ in range(SIZE)]
    return pl.DataFrame(
        {
            "noise": [random.random() for _ in late],
            "good": [y + random.gauss(0, 1) for y in late],
            "carrier": [random.choice(["AA", "B6", "UA"]) for _ in late],
            "row": [f"N{number}" for number in range(SIZE)],
            "late": late,
            "delay": [random.gauss(60 if y else 0, 30) for y in late],
            "class": [random.choice("abc") for _ in late],
        }
    )


# --- one feature


def test_clean_tables_have_no_findings(table: pl.DataFrame) -> None:
    """Noise, honest predictors and names of rows leak nothing, whatever the task."""
    features = ["noise", "good", "carrier", "row"]

    assert () == leaks(table, target="late", task="binary", features=features)
    assert () == leaks(table, target="class", task="multiclass", features=features)
    assert () == leaks(table, target="delay", task="regression", features=features)


@pytest.mark.parametrize(
    ("severity", "leak"),
    [
        ("refuse", pl.col("delay").rank() + 1000 * pl.col("late")),
        ("refuse", -1000 * pl.col("late").cast(pl.Float64) - pl.col("noise")),
        ("refuse", pl.when("late").then(pl.col("noise"))),
        ("refuse", pl.when("late").then(pl.lit("X")).otherwise("carrier")),
        ("refuse", pl.when("late").then(pl.col("noise")).otherwise(float("nan"))),
        ("warn", pl.col("late") + 0.3 * (pl.col("good") - pl.col("late"))),
    ],
)
def test_a_feature_that_knows_a_binary_target(severity: str, leak: pl.Expr, table: pl.DataFrame) -> None:
    """By rank in either direction, by category and by being empty."""
    found = single_feature(table.with_columns(leak=leak), target="late", task="binary", features=["noise", "leak"])

    assert [("single-feature", "leak", severity)] == named(found)
    assert 0.98 < found[0].value <= 1


@pytest.mark.parametrize(
    ("severity", "task", "target", "leak"),
    [
        ("refuse", "multiclass", "class", pl.col("class") + pl.col("carrier")),
        # The borders between bins blur what the number knows exactly.
        ("warn", "multiclass", "class", pl.col("class").rank("dense") * 10 + pl.col("noise")),
        ("refuse", "multiclass", "class", pl.when(pl.col("class") != "b").then(pl.col("class").rank("dense"))),
        ("refuse", "regression", "delay", pl.col("delay") * 3 + pl.col("noise")),
        ("refuse", "regression", "delay", (pl.col("delay") / 20).exp()),
        ("refuse", "regression", "delay", pl.when(pl.col("noise") > 0.1).then(-pl.col("delay"))),
    ],
)
def test_a_feature_that_knows_other_targets(
    severity: str, task: Any, target: str, leak: pl.Expr, table: pl.DataFrame
) -> None:
    """By category, by bins, by line and by any monotone curve, with or without gaps."""
    found = single_feature(table.with_columns(leak=leak), target=target, task=task, features=["noise", "leak"])

    assert [("single-feature", "leak", severity)] == named(found)


def test_means_of_few_values_are_seen(table: pl.DataFrame) -> None:
    """A category can explain an amount, though it has no order."""
    steps = table.with_columns(
        amount=pl.col("carrier").replace_strict({"AA": 5.0, "B6": 90.0, "UA": 20.0}) + pl.col("noise")
    )

    assert [("single-feature", "carrier", "refuse")] == named(
        single_feature(steps, target="amount", task="regression", features=["carrier", "good"])
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=40, max_size=80))
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    """Checked against counting all pairs, ties as one half."""
    ones = [x for x, y in rows if y]
    zeros = [x for x, y in rows if not y]
    if min(len(ones), len(zeros)) < 12:
        return
    pairs = sum((one > zero) + (one == zero) / 2 for one in ones for zero in zeros) / (len(ones) * len(zeros))
    frame = pl.DataFrame({"x": [float(x) + number * 1e-9 * 0 for number, (x, _) in enumerate(rows)]})

    found = association.auc(frame, pl.Series([y for _, y in rows]))["x"]

    # The reading by rate may find more than the reading by rank, but never less.
    assert found >= max(pairs, 1 - pairs) - 1e-12


def test_information_is_what_counting_says() -> None:
    """Against a table worked out by hand: 100 rows, one bit, of which a quarter is lost."""
    x = ["a"] * 50 + ["b"] * 50
    y = ["u"] * 40 + ["v"] * 10 + ["u"] * 10 + ["v"] * 40
    plain = 1 - 0.7219280948873623
    correction = (1 + 1 - 3) / 200 / 0.6931471805599453
    entropy = 1 + 1 / 200 / 0.6931471805599453

    found = association.information(pl.DataFrame({"x": x}), pl.Series(y))["x"]

    assert (plain + correction) / entropy == pytest.approx(found, abs=1e-12)


def _small_table(seed: int) -> pl.DataFrame:
    random = Random(seed)
    size = random.randrange(3, 24)
    return pl.DataFrame(
        {f"f{number}": [random.random() for _ in range(size)] for number in range(15)}
        | {"c": [random.choice("abcd") for _ in range(size)], "id": [str(number) for number in range(size)]}
        | {"y": [random.randrange(2) for _ in range(size)]}
    )


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_small_tables_are_not_accused(task: Task) -> None:
    """Random features of few rows are not found to leak, however many there are, but for one table in a thousand."""
    accused = [seed for seed in range(1_000) if leaks(_small_table(seed), target="y", task=task)]

    assert len(accused) <= 1, accused


def test_few_rows_that_say_little_are_not_accused_by_a_lucky_category() -> None:
    """Ten rows in two groups that name the classes: one table in some hundred does that by chance."""
    frame = pl.DataFrame(
        {"c": ["a"] * 5 + ["b"] * 5, "y": [0] * 5 + [1] * 5} | {f"x{n}": [n] * 10 for n in range(15)}
    )

    assert {} == association.information(frame.drop("y"), frame["y"])


def test_a_target_with_nulls_is_refused() -> None:
    """The checks cannot be evaluated without answers."""
    with pytest.raises(Invalid) as caught:
        single_feature(pl.DataFrame({"y": [1, None], "x": [1, 2]}), target="y", task="binary")

    assert "target-null" == caught.value.code


# --- copies


@pytest.mark.parametrize(
    ("target", "copy"),
    [
        ("late", pl.col("late").cast(pl.Int8)),
        ("late", pl.when("late").then(pl.lit("yes")).otherwise(pl.lit("no"))),
        ("late", pl.when(pl.col("noise") > 0.05).then(pl.col("late"))),
        ("delay", pl.col("delay")),
        ("delay", -pl.col("delay") / 60 + 273.15),
        ("class", pl.col("class").str.to_uppercase()),
        ("class", pl.col("class").rank("dense")),
    ],
)
def test_copies_of_the_target_are_refused(target: str, copy: pl.Expr, table: pl.DataFrame) -> None:
    """Under another name, in another unit, with other words, with gaps."""
    found = target_copy(table.with_columns(copy=copy), target=target, features=["noise", "carrier", "row", "copy"])

    assert [("target-copy", "copy", "refuse")] == named(found)


def test_a_copy_is_reported_once(table: pl.DataFrame) -> None:
    """A copy needs no further proof by the strength of a single feature."""
    found = leaks(
        table.with_columns(copy="late"), target="late", task="binary", features=["noise", "carrier", "copy"]
    )

    assert [("target-copy", "copy", "refuse")] == named(found)


# --- across a split


def test_duplicates_across_parts_are_counted() -> None:
    """The share of gate rows whose features were seen before, with rows to look at."""
    frame = pl.DataFrame({"x": [1.0, 2.0, None, 1.0, None, 9.0], "c": ["a", "b", None, "a", None, "a"]})
    labels = pl.Series(["train", "train", "select", "gate", "gate", "gate"])

    found = duplicates_across(frame, labels=labels, features=["x", "c"])

    assert [("duplicates-across", "", "refuse")] == named(found)
    assert 2 / 3 == found[0].value
    assert "row 4, 5" in found[0].message
    assert () == duplicates_across(frame, labels=labels, features=["x", "c"], limit=0.7)


def test_entities_on_both_sides_are_refused() -> None:
    """An entity belongs to one side; rows without entity belong to none."""
    frame = pl.DataFrame({"a": ["x", "y", None, "x", None, "z"], "b": [1, 1, 1, 1, 1, 1]})
    labels = pl.Series(["train", "select", "train", "gate", "gate", "gate"])

    found = entity_overlap(frame, labels=labels, entity=["a", "b"])

    assert [("entity-overlap", "a + b", "refuse")] == named(found)
    assert 1 / 3 == found[0].value
    assert "row 4" in found[0].message
    assert () == entity_overlap(frame.with_columns(b=pl.int_range(6)), labels=labels, entity=["a", "b"])


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["train", "select", "gate"])), max_size=20))
def test_training_must_end_before_the_gate(rows: list[tuple[int, str]]) -> None:
    """Found exactly when some training row is not strictly before the first gate row."""
    frame = pl.DataFrame(rows, schema={"t": pl.Int64, "part": pl.String}, orient="row")
    gate = [t for t, part in rows if part == "gate"]
    train = [t for t, part in rows if part == "train"]
    wrong = bool(gate) and any(t >= min(gate) for t in train)

    assert wrong == bool(time_order(frame, time="t", labels=frame["part"]))


def test_events_after_the_prediction_are_refused() -> None:
    """A feature from the future is named with its rows; no event is no fault."""
    noon = datetime(2013, 1, 1, 12, tzinfo=UTC)
    frame = pl.DataFrame(
        {"at": [noon] * 4, "weather_at": [noon, noon + timedelta(hours=1), None, noon - timedelta(hours=1)]}
    )

    found = time_order(frame, time="at", event_times=["weather_at"])

    assert [("time-order", "weather_at", "refuse")] == named(found)
    assert (0.25, True) == (found[0].value, "1 rows: row 2" in found[0].message)


@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("unknown-column", {"time": "att"}),
        ("invalid-time-column", {"time": "word"}),
        ("invalid-time-column", {"time": "at", "event_times": ["word"]}),
    ],
)
def test_times_that_cannot_be_compared_are_refused(code: str, options: dict[str, Any]) -> None:
    """A check that cannot be evaluated is an error, not a pass."""
    with pytest.raises(Invalid) as caught:
        time_order(pl.DataFrame({"at": [1, 2], "word": ["a", "b"]}), **options)

    assert code == caught.value.code


def test_all_checks_together(table: pl.DataFrame) -> None:
    """With a split, every check runs, and findings survive their JSON form."""
    frame = table.with_columns(t=pl.int_range(SIZE), who=pl.int_range(SIZE) % 7)
    labels = pl.Series(["gate" if number % 2 else "train" for number in range(SIZE)])

    found = leaks(
        frame,
        target="late",
        task="binary",
        features=["carrier", "noise"],
        labels=labels,
        entity=["who"],
        time="t",
    )
    adapter = TypeAdapter(tuple[LeakageFinding, ...])

    assert [("entity-overlap", "who", "warn"), ("time-order", "t", "refuse")] == named(found)
    assert [("entity-overlap", "who", "refuse")] == named(
        leaks(frame, target="late", task="binary", features=["noise"], labels=labels, entity=["who"])
    )
    assert found == adapter.validate_json(adapter.dump_json(found))


@pytest.mark.parametrize("name", ["*", "^y$", "^x$", "y", "answer", "feature", "0"])
def test_hostile_names_are_only_names(name: str, table: pl.DataFrame) -> None:
    """Names that polars could read as patterns or that we use inside are found like others."""
    frame = table.with_columns(leak=pl.col("late") * 100 + pl.col("noise")).rename({"leak": name})

    assert [("single-feature", name, "refuse")] == named(
        leaks(frame, target="late", task="binary", features=[name, "noise", "carrier"])
    )
