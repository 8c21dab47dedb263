"""Documents: typed values become JSON and come back as they were, or are refused; nothing changes on the way."""

from __future__ import annotations

import enum
import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid
from stellwerk.ledger import documents


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    label: Literal["x", "y"] = "x"
    weight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    count: int | None = None
    flag: bool = False
    at: datetime | None = None
    takes: timedelta = timedelta()
    inner: Inner | None = None
    parts: tuple[Inner, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


SAFE = 2**53 - 1
finite = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, label=st.sampled_from(["x", "y"]), weight=finite)
instants = st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1))
facts = st.recursive(
    st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.text(max_size=5),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=3), deeper, max_size=3),
    max_leaves=5,
)
outers = st.builds(
    Outer,
    name=st.text(max_size=8),
    count=st.none() | st.integers(-SAFE, SAFE),
    flag=st.booleans(),
    at=st.none() | instants,
    takes=st.timedeltas(min_value=timedelta(days=-1000), max_value=timedelta(days=40_000)),
    inner=st.none() | inners,
    parts=st.lists(inners, max_size=3).map(tuple),
    tags=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    numbers=st.dictionaries(st.text(max_size=3), finite, max_size=3),
    facts=st.dictionaries(st.text(max_size=3), facts, max_size=3),
)


@given(value=outers)
def test_values_come_back(value: Outer) -> None:
    """Through data, and through canonical text, every field keeps its value."""
    assert value == documents.load(Outer, documents.dump(value))
    assert value == documents.parse(Outer, documents.text(value))
    assert value == documents.load(Outer, canonical.loads(documents.text(value)))
    assert documents.text(value) == canonical.dumps(json.loads(json.dumps(documents.dump(value)))).decode()


def test_the_form_of_times() -> None:
    """Instants are RFC 3339, durations ISO 8601."""
    value = Outer(name="a", at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), takes=timedelta(days=30, hours=4))

    document = documents.dump(value)

    assert ("2026-01-02T03:04:05Z", "P30DT4H") == (document["at"], document["takes"])


def test_not_a_number_is_never_null() -> None:
    """A missing number and a number that is none are different facts: one is kept, the other refused."""
    for number in (math.nan, math.inf, -math.inf):
        value = Outer(name="a", facts={"score": number})

        assert repr(number) == repr(documents.dump(value)["facts"]["score"])
        with pytest.raises(Invalid):
            documents.text(value)


class Colour(enum.StrEnum):
    RED = "red"


def test_containers_and_keys() -> None:
    """Containers of values are dumped as such; sets in one order; whole numbers as keys become their digits."""
    assert [{"label": "x", "weight": 0.0}] == documents.dump((Inner(),))
    assert {"a": {"label": "y", "weight": 1.5}} == documents.dump_as(
        dict[str, Inner], {"a": Inner(label="y", weight=1.5)}
    )
    assert ["a", "b", "c"] == documents.dump(frozenset("cab"))
    assert {"1": None, "-2": "red"} == documents.dump({1: None, -2: Colour.RED})


@pytest.mark.parametrize(
    "value",
    [
        Outer(name="\ud800"),
        Outer(name="a", tags={"\ud800": "x"}),
        Outer(name="a", tags={"x": "\udfff"}),
        Outer(name="a", facts={"x": object()}),
        Outer(name="a", facts={"x": b"\xff"}),
        Outer(name="a", facts={"x": {1.5: 2}}),
        Outer(name="a", facts={"x": {True: 2}}),
        Outer(name="a", facts={"x": {1: "int", "1": "text"}}),
    ],
    ids=lambda value: re.sub(r"0x\w+", "...", ascii(value)),
)
def test_what_has_no_form_is_invalid(value: Outer) -> None:
    """Nothing is replaced, guessed or dropped; no error of a library escapes."""
    with pytest.raises(Invalid):
        documents.dump(value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a", "count": "many"}, "count"),
        ({"name": "a", "inner": {"label": "z"}}, "inner.label"),
        ({"name": "a", "parts": [{}, {"weight": "heavy"}]}, "parts.1.weight"),
        ({"name": "a", "at": "noon"}, "at"),
        ([], "dictionary"),
        (None, "dictionary"),
    ],
)
def test_wrong_fields_are_named(data: Any, words: str) -> None:
    """`load` says which field is wrong, by its path, in our own error."""
    with pytest.raises(Invalid, match=words.replace(".", r"\.")) as caught:
        documents.load(Outer, data)

    assert "invalid-document" == caught.value.code


@pytest.mark.parametrize(
    "data",
    [
        {"name": "a", "count": False},
        {"name": "a", "count": "1"},
        {"name": "a", "at": 0},
        {"name": "a", "flag": "yes"},
    ],
)
def test_what_a_stranger_sends_is_what_it_is(data: Any) -> None:
    """No `false` is a number there and no number a time; what is right is read the same."""
    with pytest.raises(Invalid):
        documents.load_exactly(Outer, data)

    right = documents.load(Outer, {"name": "a", "at": "2026-01-01T00:00:00Z"})
    assert right == documents.load_exactly(Outer, documents.dump(right))


def test_every_wrong_field_is_named_at_once() -> None:
    """Somebody who corrects a document is told all of it."""
    with pytest.raises(Invalid) as caught:
        documents.load(Outer, {"count": "x", "flag": "perhaps"})

    assert all(field in str(caught.value) for field in ("name", "count", "flag"))


@pytest.mark.parametrize("text", ["", "{", "nonsense", b"\xff", '{"name":"\\ud800"}', "[" * 5000])
def test_text_that_is_no_json_is_invalid(text: str | bytes) -> None:
    """Malformed text is `Invalid`, whatever is wrong with it."""
    with pytest.raises(Invalid):
        documents.parse(Outer, text)


def test_schemas_name_every_field() -> None:
    """The JSON Schema of a type has its fields."""
    assert set(Outer.__dataclass_fields__) == set(documents.schema(Outer)["properties"])
