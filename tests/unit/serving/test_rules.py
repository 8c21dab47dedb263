"""Pure decisions: who is steered, how predictions are named, what a slice is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid
from stellwerk.core.names import new_id
from stellwerk.ledger import documents
from stellwerk.releases.model import LeaseToken
from stellwerk.serving import codec, inputs, rules
from stellwerk.serving.model import PredictionBatch, SegmentInfo, Steer
from stellwerk.testing.serving import SIGNATURE, START

MODEL = of_bytes(b"model")


def token(routed: tuple[tuple[str, str], ...] = (), share: float = 0.5, mode: Any = "clear") -> LeaseToken:
    return LeaseToken(
        workspace="ws", endpoint="delay", environment="production", release="r", model=MODEL, mode=mode, why="drift",
        not_before=START, not_after=START + timedelta(minutes=15), audit_share=share, routed=routed,
    )  # fmt: skip


@given(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)), st.integers(0, 99_999))
def test_a_prediction_id_is_read_back(at: datetime, row: int) -> None:
    """Naming and reading are inverse."""
    batch = new_id(at)

    assert (batch, row) == rules.parse_prediction_id(rules.prediction_id(batch, row))


@pytest.mark.parametrize(
    "text",
    ["", "x", "0" * 26, "0" * 26 + "-", "0" * 26 + "-01", "0" * 26 + "-1\n", "0" * 25 + "l-1", "0" * 26 + "--1",
     "0" * 26 + "-1234567", "0" * 26 + "-١"],
)  # fmt: skip
def test_other_texts_are_no_prediction_ids(text: str) -> None:
    """Exactly one spelling names a prediction."""
    with pytest.raises(Invalid):
        rules.parse_prediction_id(text)


@given(st.lists(st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1), timezones=st.just(UTC)), min_size=2))
def test_prefixes_sort_as_times_do(instants: list[datetime]) -> None:
    """Ids of later milliseconds begin with larger prefixes."""
    instants.sort()

    prefixes = [rules.time_prefix(instant) for instant in instants]

    assert sorted(prefixes) == prefixes
    assert all(new_id(at).startswith(prefix) for at, prefix in zip(instants, prefixes, strict=True))


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        ("OO", "OO", True), ("OO", "AA", False), ("oo", "OO", False),
        (3.0, "3", True), (3, "3.0", True), (3.0, "4", False), ("3", "3", True),
        (True, "true", True), (True, "True", True), (False, "true", False), (True, "1", False),
        (None, "null", True), (None, "None", True), (None, "", True), (None, "OO", False),
        (10**30, "1e30", True),
    ],
)  # fmt: skip
def test_values_meet_the_text_of_their_slice(value: Any, name: str, expected: bool) -> None:
    """The plan names slices by text, requests hold values."""
    assert expected == rules.is_slice((type(value), value), [name])


@given(
    carriers=st.lists(st.sampled_from(["AA", "OO", "UA", None]), min_size=1, max_size=30),
    share=st.floats(0.01, 1),
    mode=st.sampled_from(["clear", "caution"]),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1),
)
def test_steering_leaves_no_row_of_an_unproven_slice_to_the_model(
    carriers: list[str | None], share: float, mode: str, draws: list[float]
) -> None:
    """Slices first, then the audit by lot, then caution; and nothing else."""
    numbers = iter(draws * len(carriers))
    drawn: list[float] = []

    def draw() -> float:
        drawn.append(next(numbers))
        return drawn[-1]

    steered = rules.steer({"carrier": carriers}, len(carriers), token((("carrier", "OO"),), share, mode), draw)

    slices = [row for row, carrier in enumerate(carriers) if carrier == "OO"]
    assert slices == sorted(row for row, steer in steered.items() if steer.kind == "slice")
    others = [row for row in range(len(carriers)) if row not in slices]
    audited = [row for row, number in zip(others, drawn, strict=True) if number < share]
    assert audited == [
        row for row in others if steered.get(row) == Steer(kind="audit", reason="audit", probability=share)
    ]
    rest = {row for row in others if row not in audited}
    assert (rest if mode == "caution" else set()) == {r for r, steer in steered.items() if steer.kind == "caution"}


def test_integers_stand_for_categories_as_in_training() -> None:
    """`3` and `"3"` are the same category; times become text with a zone."""
    given_columns = {"distance": [1], "carrier": [3], "weekend": [None], "seen": [4]}

    assert {"distance": (1.0,), "carrier": ("3",), "weekend": (None,), "seen": (4,)} == inputs.coerce(
        given_columns, SIGNATURE, ["seen"]
    )


SCALARS = (
    st.none()
    | st.booleans()
    | st.text(max_size=5)
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCORES = st.none() | st.floats(0, 1) | st.tuples(st.floats(0, 1), st.none() | st.floats(0, 1))


@given(
    columns=st.dictionaries(st.text(max_size=5), st.lists(SCALARS, max_size=3).map(tuple), max_size=3),
    scores=st.lists(SCORES, max_size=3).map(tuple),
    answers=st.lists(st.none() | st.text(max_size=3) | st.floats(-1e9, 1e9), max_size=3).map(tuple),
    steered=st.dictionaries(
        st.integers(0, 99),
        st.builds(
            Steer,
            kind=st.sampled_from(["audit", "slice", "caution", "stop"]),
            reason=st.text(),
            probability=st.floats(0, 1),
        ),
        max_size=3,
    ),
)
def test_a_batch_is_read_back_as_it_was_logged(columns: Any, scores: Any, answers: Any, steered: Any) -> None:
    """One line of JSON per batch, the same for msgspec and for the documents of the book."""
    batch = PredictionBatch(
        id=new_id(START), at=START, workspace="ws", endpoint="delay", release="r", model=MODEL, signal="clear",
        audit_share=0.1, count=2, columns=columns, scores=scores, answers=answers, steered=steered, keys=("a", None),
    )  # fmt: skip

    data = codec.pack(batch)

    assert b"\n" not in data
    assert batch == codec.unpack(data)
    assert batch == documents.parse(PredictionBatch, data)


def test_a_segment_is_a_document() -> None:
    """Shelves can keep it."""
    info = SegmentInfo(endpoint="e", first="a", last="b", digest=MODEL, batches=1, predictions=2, sealed_at=START)

    assert info == documents.parse(SegmentInfo, documents.text(info))
