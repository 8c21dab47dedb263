"""Where two models are asked the same rows, and where not; then the reason is said. That they answer is in `changing`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.models.model import Column, ModelVersion, Signature
from stellwerk.workspace import pairing
from stellwerk.workspace.pairing import Evaluated, pair
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Rooms]:
    settings = Settings(actor="anna")
    found = Rooms(create(tmp_path, settings), settings)
    yield found
    found.close()


def evaluated(rooms: Rooms, version: int, table: pl.DataFrame, **facts: Any) -> Evaluated:
    signature: dict[str, Any] = {"target": "late", "task": "binary", "classes": ("false", "true")}
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    model = ModelVersion(
        workspace="w", name="delay", version=version, digest=of_bytes(b"%d" % version),
        signature=Signature(inputs=(Column(name="hour", kind="number"),), **(signature | facts)),
        format="skops", run_id="", seed=None, created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return Evaluated(model=model, table=rooms.blobs.put(buffer.getvalue()), metrics={})


def table(rows: int, *, first: int = 0, extra: bool = False) -> pl.DataFrame:
    made = pl.DataFrame(
        {"flight": range(first, first + rows), "late": [n % 3 == 0 for n in range(first, first + rows)]}
    )
    return made.with_columns(gate=pl.lit(1)) if extra else made


def test_models_of_different_questions_are_not_paired(rooms: Rooms) -> None:
    """Another target, another kind of answer or other classes."""
    one = evaluated(rooms, 1, table(100))
    for facts in ({"target": "early"}, {"task": "regression", "classes": ()}, {"classes": ("no", "yes")}):
        found = pair(rooms, one, evaluated(rooms, 2, table(100), **facts), None)
        assert "the two models answer different questions" == found.pairing.why_not
        assert () == found.metrics


def test_the_same_model_is_not_compared_with_itself(rooms: Rooms) -> None:
    """Byte for byte: there is no difference to bound."""
    one = evaluated(rooms, 1, table(100))

    assert "both are the same model, byte for byte" == pair(rooms, one, one, None).pairing.why_not


@pytest.mark.parametrize("shared", [0, 1, 49])
def test_too_few_shared_rows_give_no_interval(shared: int, rooms: Rooms) -> None:
    """The number is said."""
    one, two = evaluated(rooms, 1, table(100)), evaluated(rooms, 2, table(100, first=100 - shared))

    found = pair(rooms, one, two, None).pairing

    assert (0, f"only {shared} of 100 selection rows are those of the other run (at least 50 are needed)") == (
        found.rows, found.why_not,
    )  # fmt: skip


def test_columns_that_do_not_tell_rows_apart_match_nothing(rooms: Rooms) -> None:
    """Equal values in a few shared columns are no proof that a row is the same."""
    one = evaluated(rooms, 1, table(100, extra=True).drop("flight"))
    two = evaluated(rooms, 2, table(100))

    assert (
        "the columns that both tables have do not tell their rows apart"
        == pair(rooms, one, two, None).pairing.why_not
    )


def test_rows_are_matched_in_one_order(rooms: Rooms) -> None:
    """Whatever order the tables have: each pair is the same row, and none is taken twice."""
    mine = pl.concat([table(80), table(80).head(1)])  # one row twice
    theirs = table(100, extra=True).sample(fraction=1.0, shuffle=True, seed=1)
    one, two = evaluated(rooms, 1, mine), evaluated(rooms, 2, theirs)

    found = pairing._shared(rooms, mine, one, two, "late")

    assert 80 == found.mine.height
    assert found.mine.get_column("flight").equals(found.theirs.get_column("flight"))
    assert ["flight", "late", "gate"] == found.theirs.columns
    assert 2 == found.columns


def test_a_model_that_cannot_answer_is_said(rooms: Rooms) -> None:
    """No trace, no empty report: the reason stands where the intervals would."""
    one, two = evaluated(rooms, 1, table(100)), evaluated(rooms, 2, table(100))

    found = pair(rooms, one, two, None).pairing

    assert found.why_not.startswith("the models could not be asked: ")


def test_a_missing_group_is_said() -> None:
    """Intervals that take dependent rows as independent are too narrow."""
    frame = pl.DataFrame({"origin": ["a", None, "a"], "hour": [1, 2, 1]})

    groups, note = pairing._sorts(frame, ("origin", "hour"))
    none, said = pairing._sorts(frame, ("carrier",))

    assert groups is not None
    assert 2 == len(set(groups.tolist()))
    assert (None, "") == (none, note)
    assert "rows are taken as independent, because column carrier is missing" == said


def test_a_curve_begins_and_ends_in_the_corners() -> None:
    """And never falls, however many points there are; equal scores are one step."""
    rng = np.random.default_rng(1)
    for scores in (rng.random(5000), rng.integers(0, 3, 5000).astype(float), np.zeros(5000)):
        line = pairing._roc("a", rng.random(5000) < 0.3, scores)

        assert ((0.0, 0.0), (1.0, 1.0)) == ((line.x[0], line.y[0]), (line.x[-1], line.y[-1]))
        assert len(line.x) <= pairing.POINTS
        assert list(line.y) == sorted(line.y)
    assert ((0.0, 1.0), (0.0, 1.0)) == (line.x, line.y)
