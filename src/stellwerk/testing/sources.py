"""What every reader of sources must do: a contract suite, to be run over each, also over those of third parties.

Subclass `SourceContract` in a test module and give it two fixtures: `reader`, and `place`, which holds a table, knows
the source that names it, and can change and remove it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from stellwerk.core.errors import Conflict, NotFound, StellwerkError
from stellwerk.data.sources import rules, service
from stellwerk.data.sources.model import Source
from stellwerk.data.sources.ports import Reader

ROWS = pl.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "weight": [0.5, None, -1.25, 1e16],
        "depot": ["Nord", "Süd, \"West\"", None, "Nord"],
    }
)  # fmt: skip
"""What a place holds at first."""

OTHERS = ROWS.with_columns(weight=pl.lit(7.5))
"""What it holds after a change: as many rows, in the same columns."""


class Place(Protocol):
    """Somewhere rows live, as a test needs it."""

    @property
    def source(self) -> str:
        """The source that names what is there, as people write it."""
        ...

    def fill(self, rows: pl.DataFrame) -> None:
        """Hold exactly these rows from now on. Called with `ROWS` before each test."""
        ...

    def remove(self) -> None:
        """Hold nothing any more, under this name, in any state."""
        ...


class SourceContract:
    """The promises of the `Reader` port."""

    @pytest.fixture(autouse=True)
    def filled(self, place: Place) -> None:
        place.fill(ROWS)

    def readers(self, reader: Reader) -> service.Readers:
        """Every kind is read by the one under test."""
        return lambda kind: reader

    def source(self, place: Place) -> Source:
        return rules.parse(place.source)

    def test_parts_have_names(self, reader: Reader, place: Place) -> None:
        """There is at least one part; each is named once, alike on each call."""
        first, second = (rules.names(reader.list(self.source(place))) for _ in range(2))

        assert first
        assert first == second

    def test_all_rows_are_read(self, reader: Reader, place: Place) -> None:
        """What the place holds comes back: columns, types, values, nulls."""
        pinned, rows = service.pin(self.source(place), self.readers(reader))

        assert_frame_equal(ROWS, rows, check_row_order=False)
        assert (ROWS.height, ("id", "weight", "depot")) == (pinned.rows, tuple(name for name, _ in pinned.columns))

    def test_the_same_rows_have_the_same_pin(self, reader: Reader, place: Place) -> None:
        """Pinning twice gives the same bytes; they can be read back."""
        first, second = (service.pin(self.source(place), self.readers(reader))[0] for _ in range(2))

        assert [part.digest for part in first.parts] == [part.digest for part in second.parts]
        assert first == rules.read(rules.write(first))

    def test_what_was_pinned_is_read(self, reader: Reader, place: Place) -> None:
        """By the pin come the same rows in the same order, and a comparison finds no change."""
        pinned, rows = service.pin(self.source(place), self.readers(reader))

        assert_frame_equal(rows, service.frame(pinned, self.readers(reader)))
        assert service.verify(pinned, self.readers(reader)).ok

    def test_other_rows_are_never_given(self, reader: Reader, place: Place) -> None:
        """After a change, the old rows come, where the place keeps them, or an error that says so; never the new ones."""
        pinned, rows = service.pin(self.source(place), self.readers(reader))
        place.fill(OTHERS)
        report = service.verify(pinned, self.readers(reader))

        if report.ok:
            assert_frame_equal(rows, service.frame(pinned, self.readers(reader)))
        else:
            assert {change.part for change in report.changes} <= {part.name for part in pinned.parts}
            with pytest.raises((Conflict, NotFound)) as caught:
                service.frame(pinned, self.readers(reader))
            assert caught.value.code in ("source-changed", "source-gone")

    def test_a_change_has_another_pin(self, reader: Reader, place: Place) -> None:
        """A source without a pin in its name is what is there now."""
        before, _ = service.pin(self.source(place), self.readers(reader))
        place.fill(OTHERS)
        after, rows = service.pin(self.source(place), self.readers(reader))

        assert_frame_equal(OTHERS, rows, check_row_order=False)
        assert [part.digest for part in before.parts] != [part.digest for part in after.parts]

    def test_what_is_gone_is_missed(self, reader: Reader, place: Place) -> None:
        """After it was removed, neither the name nor the pin gives rows; a comparison says what is missing."""
        pinned, _ = service.pin(self.source(place), self.readers(reader))
        place.remove()

        with pytest.raises(NotFound) as caught:
            service.frame(pinned, self.readers(reader))
        assert "source-gone" == caught.value.code
        assert not service.verify(pinned, self.readers(reader)).ok
        with pytest.raises(NotFound):
            service.pin(self.source(place), self.readers(reader))

    def test_a_part_that_was_never_there(self, reader: Reader, place: Place) -> None:
        """Names that nobody listed are refused, also those that climb."""
        for name in ("never-there", "../never-there", "/etc/passwd", ""):
            with pytest.raises(StellwerkError):
                reader.read(self.source(place), name)

    def test_many_read_at_once(self, reader: Reader, place: Place) -> None:
        """Four threads with one reader get the same rows."""
        pinned, rows = service.pin(self.source(place), self.readers(reader))

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: service.frame(pinned, self.readers(reader)), range(8)))

        assert 8 == len(found)
        for table in found:
            assert_frame_equal(rows, table)
