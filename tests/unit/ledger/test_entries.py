"""Entries: one spelling, strict reading."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core import canonical
from stellwerk.core.errors import Corrupt
from stellwerk.ledger import rules
from stellwerk.ledger.model import Entry


def entry(**changes: Any) -> Entry:
    values: dict[str, Any] = {
        "sequence": 7,
        "at": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "workspace": "default",
        "actor": "anna",
        "kind": "run.finished",
        "subject": "run:x",
        "body": {"b": 1, "a": [1.5, None]},
        **changes,
    }
    return Entry(**values)


def test_golden_entry() -> None:
    """An entry has these bytes in version 1, for ever."""
    expected = (
        b'{"actor":"anna","at":"2026-01-02T03:04:05.000678Z","body":{"a":[1.5,null],"b":1},'
        b'"format":"stellwerk-entry/1","kind":"run.finished","sequence":7,"subject":"run:x","workspace":"default"}'
    )

    assert expected == rules.entry_bytes(entry())
    assert entry() == rules.parse_entry(expected)


@given(
    body=st.dictionaries(
        st.text(max_size=3),
        st.none() | st.booleans() | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
        max_size=3,
    ),
    sequence=st.integers(0, 2**53 - 1),
    texts=st.lists(st.text(max_size=5), min_size=4, max_size=4),
    at=st.datetimes(timezones=st.timezones(), min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),
)
def test_entries_come_back(body: dict[str, Any], sequence: int, texts: list[str], at: datetime) -> None:
    """What was written is read as it was."""
    workspace, actor, kind, subject = texts
    texts_ = {"workspace": workspace, "actor": actor, "kind": kind, "subject": subject}
    made = entry(body=body, sequence=sequence, at=at, **texts_)

    # In UTC, as Python calls times unequal that another zone's change of clock makes ambiguous.
    expected = entry(body=body, sequence=sequence, at=at.astimezone(UTC), **texts_)
    assert expected == rules.parse_entry(rules.entry_bytes(made))


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": "7"},
        {"sequence": -1},
        {"sequence": 7.5},
        {"sequence": True},
        {"at": "2026-01-02"},
        {"at": 5},
        {"actor": None},
        {"kind": 5},
        {"subject": ["x"]},
        {"workspace": {}},
        {"body": None},
        {"body": []},
        {"format": "stellwerk-entry/2"},
        {"format": None},
        {"extra": 1},
        None,
    ],
    ids=str,
)
def test_other_entries_are_corrupt(change: dict[str, Any] | None) -> None:
    """A wrong type, an unknown or missing field, another version or spelling is `Corrupt`; nothing else escapes."""
    document = canonical.loads(rules.entry_bytes(entry()))
    changed = canonical.dumps({**document, **change}) if change else canonical.dumps({"format": document["format"]})

    for read in (rules.parse_entry, rules.stored_entry):
        with pytest.raises(Corrupt) as caught:
            read(changed)
        assert "corrupt-entry" == caught.value.code


@given(data=st.binary(max_size=30) | st.text(max_size=30).map(str.encode) | st.sampled_from([b"5", b"[]", b'"x"']))
def test_no_other_bytes_are_entries(data: bytes) -> None:
    """Whatever they are."""
    for read in (rules.parse_entry, rules.stored_entry):
        with pytest.raises(Corrupt):
            read(data)


def test_only_the_canonical_spelling_is_an_entry() -> None:
    """White space, or another way to write a time or a number, is damage, since nobody writes it.

    From its own table a book reads it all the same: there the tree proves every byte.
    """
    data = rules.entry_bytes(entry())

    for old, new in ((b",", b", "), (b".000678Z", b".000678+00:00"), (b":7,", b":7.0,"), (b"1.5", b"1.50")):
        assert old in data
        with pytest.raises(Corrupt):
            rules.parse_entry(data.replace(old, new, 1))
    assert entry() == rules.stored_entry(data.replace(b",", b", "))
