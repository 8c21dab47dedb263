"""Reading is strict: one reading or none, with the place where it went wrong. Parquet bytes depend on values only."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.data.reading import frame_from_parquet, frame_to_parquet, parse_table, read_table


def csv(text: str | bytes, name: str = "t.csv") -> dict[str, list[Any]]:
    data = text.encode() if isinstance(text, str) else text
    return parse_table(data, name=name).to_dict(as_series=False)


def refusal(data: bytes, name: str = "t.csv") -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse_table(data, name=name)
    return caught.value


# --- delimited text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_found_out(delimiter: str, end: str) -> None:
    """The same table reads the same with any delimiter, line end and with or without a byte order mark."""
    text = end.join(delimiter.join(row) for row in [("a", "b"), ("1", "x,y;z"[:1]), ("2", "w")]) + end

    assert {"a": [1, 2], "b": ["x", "w"]} == csv(text)
    assert {"a": [1, 2], "b": ["x", "w"]} == csv(b"\xef\xbb\xbf" + text.encode())


def test_decimal_commas_do_not_mislead() -> None:
    """The header decides about the delimiter, not the values."""
    assert {"a": ["1,5", "2,5"], "b": [2, 3]} == csv("a;b\n1,5;2\n2,5;3\n")


@pytest.mark.parametrize("word", ["", "NA", "NaN", "null", "None", " NA ", '""'])
def test_words_for_nothing(word: str) -> None:
    """The usual words for a missing value are nulls, and do not spoil the type of a column."""
    assert {"a": [1, None], "b": ["x", None]} == csv(f"a,b\n1,x\n{word},{word}\n")


@pytest.mark.parametrize(
    ("expected", "cells"),
    [
        ([1, -2, 3], ["1", "-2", "+3"]),
        ([1.5, 200.0, -0.5], ["1.5", "2e2", "-.5"]),
        (["007", "10", "12"], ["007", "10", "12"]),
        (["12345678901234567890", "1", "2"], ["12345678901234567890", "1", "2"]),
        ([9223372036854775807, 1, 2], ["9223372036854775807", "1", "2"]),
        ([True, False, True], ["true", "False", "TRUE"]),
        ([date(2013, 1, 2), None, date(2013, 12, 31)], ["2013-01-02", "", "2013-12-31"]),
        (["2013-01-02", "2013-02-30", ""], ["2013-01-02", "2013-02-30", "x"]),
        ([datetime(2013, 1, 2, 3, 4), None, None], ["2013-01-02 03:04", "", ""]),
        ([datetime(2013, 1, 2, 3, 4, 5, tzinfo=UTC), None, None], ["2013-01-02T03:04:05Z", "", ""]),
        ([datetime(2013, 1, 2, 1, 4, 5, tzinfo=UTC), None, None], ["2013-01-02T03:04:05+02:00", "", ""]),
        (["1", "x", "2.5"], ["1", "x", "2.5"]),
        (["a b", " c", "d "], ["a b", " c", "d "]),
    ],
)
def test_types_are_those_that_lose_nothing(expected: list[Any], cells: list[str]) -> None:
    """Columns become numbers, booleans or times only if every value does, without loss; codes stay text."""
    if cells[-1] == "x":
        expected = [*expected[:2], "x"]

    assert expected == csv("k,v\n" + "".join(f"k,{cell}\n" for cell in cells))["v"]


def test_quotes_hold_delimiters_and_lines() -> None:
    """Quoted fields may hold anything; blank lines outside them are skipped, those inside kept."""
    assert {"a": ["x,1\n\ny", 'say "hi"'], "b": [1, 2]} == csv('a,b\n"x,1\n\ny",1\n\n"say ""hi""",2\n\n')


def test_blank_lines_are_skipped() -> None:
    """Lines without anything are no rows."""
    assert {"a": [1, 2], "b": [3, 4]} == csv("\n\na,b\n1,3\n\n2,4\n\n\n")


def test_a_header_without_a_name_gets_one() -> None:
    """An index column as pandas writes it can be read."""
    assert {"column_1": [0, 1], "a": ["x", "y"]} == csv(",a\n0,x\n1,y\n")


@pytest.mark.parametrize(
    ("code", "part", "data"),
    [
        ("empty-table", "", b""),
        ("empty-table", "", b" \n\n"),
        ("empty-table", "", b"a,b\n"),
        ("empty-table", "", b"a,b\n\n\n"),
        ("duplicate-column", "'a'", b"a,b,a\n1,2,3\n"),
        ("duplicate-column", "'a'", b"a, a\n1,2\n"),
        ("missing-header", "1.5", b"1.5,2\n3,4\n"),
        ("ragged-rows", "line 3 has 3 fields (expected 2", b"a,b\n1,2\n1,2,3\n"),
        ("ragged-rows", "line 2 has 1 fields (expected 2", b"a,b\n1\n1,2\n"),
        ("ragged-rows", "line 5 has 1 fields", b'\na,b\n"x\ny",2\n3\n'),
        ("malformed-csv", "line 2", b'a,b\n"x,2\n3,4\n'),
        ("malformed-csv", "", b'a,b\n"x"y,2\n'),
        ("not-utf8", "byte offset 6: byte 0xfc", b"a,b\n1,\xfc\n"),
        ("not-utf8", "byte offset 9: byte 0xfc", b"\xef\xbb\xbfa,b\n1,\xfc\n"),
        ("not-utf8", "UTF-16", "a,b\n1,2\n".encode("utf-16")),
        ("unknown-format", "zero byte at offset 5", b"a,b\n1\x00,2\n"),
        ("unknown-format", "gzip", b"\x1f\x8b\x08\x00abc"),
        ("unknown-format", "Excel", b"PK\x03\x04abc"),
        ("too-many-columns", "20,001", b",".join(b"c%d" % i for i in range(20_001)) + b"\n"),
    ],
)
def test_bad_text_is_refused_with_its_place(code: str, part: str, data: bytes) -> None:
    """Every refusal has its code, says where, and what to do."""
    error = refusal(data)

    assert code == error.code
    assert part in error.message
    assert error.hint


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)), max_size=6)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=8))
def test_what_is_read_is_what_was_written(rows: list[tuple[str, str]]) -> None:
    """Any text written with quotes comes back, except words for nothing; nothing else is raised than `Invalid`."""
    import csv as standard

    buffer = io.StringIO(newline="")
    writer = standard.writer(buffer, quoting=standard.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("ä", "b"), *[("x" + a, "x" + b) for a, b in rows]])

    found = parse_table(buffer.getvalue().encode(), name="t.csv")

    assert [("x" + a, "x" + b) for a, b in rows] == found.rows()


def rows_or_code(data: bytes, name: str) -> int | str:
    try:
        return parse_table(data, name=name).height
    except Invalid as error:
        return error.code


@given(st.binary(max_size=60), st.sampled_from(["t.csv", "t.jsonl", "t", "t.parquet"]))
def test_any_bytes_give_a_table_or_a_refusal(data: bytes, name: str) -> None:
    """Reading never fails in another way than by `Invalid` with a code, and a table has rows."""
    assert rows_or_code(data, name)


@given(st.text(alphabet='a1",;\n\r \t|.-', max_size=40))
def test_any_punctuation_gives_a_table_or_a_refusal(text: str) -> None:
    """The same for text full of the characters that matter."""
    assert rows_or_code(text.encode(), "t.csv")


# --- other formats


def test_json_lines() -> None:
    """One object per line; missing keys are nulls, ISO texts are times."""
    data = b'{"a": 1, "t": "2013-01-01T10:00:00Z"}\n\n{"b": "x"}\n'

    assert {"a": [1, None], "t": [datetime(2013, 1, 1, 10, tzinfo=UTC), None], "b": [None, "x"]} == csv(
        data, "t.jsonl"
    )


@pytest.mark.parametrize(
    ("code", "part", "data"),
    [
        ("duplicate-column", "line 2", b'{"a": 1}\n{"a": 1, "a": 2}\n'),
        ("malformed-json", "line 2", b'{"a": 1}\nx\n'),
        ("malformed-json", "line 1", b'[{"a": 1}]\n'),
        ("malformed-json", "NaN", b'{"a": NaN}\n'),
        ("malformed-json", "line 1", b"[" * 100_000),
        ("malformed-json", "", b'{"a": [1]}\n{"a": 3}\n'),
        ("empty-table", "", b"{}\n"),
    ],
)
def test_bad_json_lines_are_refused(code: str, part: str, data: bytes) -> None:
    """JSON is read as strictly as CSV."""
    error = refusal(data, "t.jsonl")

    assert code == error.code
    assert part in error.message


def test_content_decides_where_the_name_does_not() -> None:
    """An unknown ending is no obstacle, and a Parquet file is one under any name."""
    frame = pl.DataFrame({"a": [1], "b": ["x"]})

    assert {"a": [1]} == csv(b'  {"a": 1}\n', "t.log")
    assert {"a": [1], "b": ["x"]} == csv(b"a,b\n1,x\n", "t.dat")
    assert frame.equals(parse_table(frame_to_parquet(frame), name="t.csv"))


def test_broken_parquet_is_refused() -> None:
    """Neither half a file nor another file under that name is read."""
    whole = frame_to_parquet(pl.DataFrame({"a": list(range(100))}))

    assert "malformed-parquet" == refusal(whole[:-20], "t.parquet").code
    assert "malformed-parquet" == refusal(whole[:60] + b"\xff" * 40 + whole[100:-60] + bytes(60), "t.parquet").code
    assert "malformed-parquet" == refusal(b"a,b\n1,2\n", "t.parquet").code


def test_files(tmp_path: Path) -> None:
    """Files are read by path; what is no file is refused without showing where it would have been."""
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")

    assert {"a": [1], "b": [2]} == read_table(tmp_path / "t.csv").to_dict(as_series=False)
    with pytest.raises(NotFound) as missing:
        read_table(tmp_path / "none.csv")
    with pytest.raises(Invalid) as folder:
        read_table(tmp_path)
    assert ("file-not-found", "not-a-file") == (missing.value.code, folder.value.code)
    assert str(tmp_path) not in missing.value.message + folder.value.message


# --- Parquet


frames = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
        st.one_of(st.none(), st.floats()),
        st.one_of(st.none(), st.text(max_size=5)),
        st.one_of(st.none(), st.booleans()),
        st.one_of(st.none(), st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))),
    ),
    max_size=20,
).map(
    lambda rows: pl.DataFrame(
        rows,
        schema={"i": pl.Int64, "f": pl.Float64, "s": pl.String, "b": pl.Boolean, "t": pl.Datetime("us")},
        orient="row",
    )
)


@given(frames, st.integers(0, 20))
def test_equal_tables_have_equal_bytes(frame: pl.DataFrame, cut: int) -> None:
    """Chunks, slices and flags in memory do not show in the bytes, and the table comes back."""
    data = frame_to_parquet(frame)
    chunked = pl.concat([frame.head(cut), frame.slice(cut)], rechunk=False)
    sliced = pl.concat([frame, frame])[frame.height :]

    assert data == frame_to_parquet(chunked)
    assert data == frame_to_parquet(sliced)
    assert data == frame_to_parquet(frame_from_parquet(data))
    assert frame.equals(frame_from_parquet(data))


def test_equal_values_have_equal_bytes() -> None:
    """NaN and zero have one form; categories do not depend on what the process saw before."""
    signs = [pl.DataFrame({"x": [0.0, float("nan")]}), pl.DataFrame({"x": [-0.0, -float("nan")]})]
    ab = pl.Series(["b", "a"], dtype=pl.Categorical)
    ba = pl.Series(["z", "a", "b", "a"], dtype=pl.Categorical)[2:]

    assert frame_to_parquet(signs[0]) == frame_to_parquet(signs[1])
    assert frame_to_parquet(ab.to_frame("c")) == frame_to_parquet(ba.to_frame("c"))
    assert {"c": ["b", "a"]} == frame_from_parquet(frame_to_parquet(ab.to_frame("c"))).to_dict(as_series=False)


def test_columns_without_a_name_are_not_kept() -> None:
    """Parquet would invent a name."""
    with pytest.raises(Invalid) as caught:
        frame_to_parquet(pl.DataFrame({"": [1]}))

    assert "unnamed-column" == caught.value.code


@pytest.mark.parametrize("name", ["*", "^x$", "a.b", "x y", "ä"])
def test_hostile_names_survive(name: str) -> None:
    """Names that polars could read as patterns are written and read as they are."""
    frame = pl.DataFrame({name: [1.5, None], "x": ["a", "b"]})

    assert frame.equals(frame_from_parquet(frame_to_parquet(frame)))
