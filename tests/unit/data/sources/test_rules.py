"""Names of sources and the bytes of pins."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing.parametric import dataframes

from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.data.sources import rows, rules
from stellwerk.data.sources.model import Part, Pinned, Source
from stellwerk.ledger.shelf import evolve

SOURCES = [
    ("file:/data/*.parquet", Source(kind="file", location="/data/*.parquet")),
    ("FILE:/a#b.csv", Source(kind="file", location="/a#b.csv")),
    ("https://host/x.csv?page=2#sha256=ab", Source(kind="https", location="//host/x.csv?page=2", pin="ab")),
    ("s3://bucket/a/b.csv?versionId=7", Source(kind="s3", location="//bucket/a/b.csv", pin="7")),
    ("delta:/lake/flights@12", Source(kind="delta", location="/lake/flights", pin="12")),
    ("iceberg:lake/air.flights@77", Source(kind="iceberg", location="lake/air.flights", pin="77")),
    ("sql:warehouse?query=SELECT '#;@'", Source(kind="sql", location="warehouse?query=SELECT '#;@'")),
    ("memo:things#3", Source(kind="memo", location="things", pin="3")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "source"), SOURCES)
def test_a_name_is_read_and_written(text: str, source: Source) -> None:
    """Kind, location and pin; the text comes back, with the kind in small letters."""
    assert source == rules.parse(text)
    assert text.lower() == str(source).lower()
    assert source == rules.parse(str(source))


@pytest.mark.parametrize(
    "text", ["", "file:", "x.csv", ":x", "file:a\nb", "file:a\0b", "https:" + "x" * 9000, "1a:b"]
)
def test_what_is_no_source_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(Invalid) as caught:
        rules.parse(text)
    assert "invalid-source" == caught.value.code


SECRETS = [
    "https://anna:canary@host/x.csv", "https://canary@host/x.csv", "s3://AK:canary@bucket/x", "https:\\\\u:canary@host",
    "https://host/x.csv?token=canary", "https://host/x?a=1&X-Amz-Signature=canary", "https://host/x?sig=canary",
    "https://host/x?access_key=canary", "https://host/x?API-Key=canary", "https://host/x?password=canary",
    "https://host/x?X-Goog-Credential=canary", "https://host/x?%74oken=canary", "https://anna%3Acanary%40host/x",
    "sql://anna:canary@host/db?query=SELECT 1", "ftp://u:canary@h/x", "https://host/x?client_secret=canary",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
def test_credentials_are_refused_and_not_repeated(text: str) -> None:
    """A source is kept and shown, so it must hold nothing that opens a door."""
    with pytest.raises(Invalid) as caught:
        rules.parse(text)
    assert "secret-in-source" == caught.value.code
    assert "canary" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("text", ["https://host/x?monkey=1&page=2", "https://host/key/x.csv", "https://host/a@b.csv"])
def test_plain_names_are_not_taken_for_credentials(text: str) -> None:
    """Words that only look alike are fine."""
    assert text == str(rules.parse(text))


PIN = Pinned(
    source="file:/x.csv",
    columns=(("x", "Int64"),),
    rows=1,
    parts=(Part(name="x.csv", version="", form="bytes", digest="sha256:" + "0" * 64, size=4, rows=1),),  # type: ignore[arg-type]
)


def test_a_pin_is_read_as_it_was_written() -> None:
    """Canonical bytes, both ways."""
    assert PIN == rules.read(rules.write(PIN))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", rules.write(PIN) + b"\n", rules.write(PIN).replace(b"/1", b"/2"),
        rules.write(PIN).replace(b'"rows":1,"source"', b'"more":1,"rows":1,"source"'),
        rules.write(evolve(PIN, parts=PIN.parts * 2)), rules.write(evolve(PIN, parts=())),
    ],
)  # fmt: skip
def test_what_is_no_pin_is_corrupt(data: bytes) -> None:
    """Other formats, fields and forms, and parts named twice, are not read."""
    with pytest.raises(Corrupt) as caught:
        rules.read(data)
    assert "corrupt-source" == caught.value.code


# The digest of rows

PLAIN = [pl.Int8, pl.Int64, pl.UInt64, pl.Float32, pl.Float64, pl.String, pl.Boolean, pl.Date, pl.Time, pl.Binary,
         pl.Datetime("us", "UTC"), pl.Duration("ms"), pl.Decimal(20, 3)]  # fmt: skip


@given(table=dataframes(max_cols=4, max_size=8, min_cols=1, allowed_dtypes=PLAIN), cut=st.integers(0, 8))
def test_the_digest_does_not_see_how_a_table_lies_in_memory(table: pl.DataFrame, cut: int) -> None:
    """Chunks and slices of the same rows have one digest."""
    chunked = pl.concat([table.slice(0, cut), table.slice(cut)], rechunk=False)

    assert rows.digest(table) == rows.digest(chunked)


@given(table=dataframes(max_cols=3, max_size=6, min_cols=1, allowed_dtypes=PLAIN), order=st.randoms())
def test_rows_in_no_order_have_one_order(table: pl.DataFrame, order: object) -> None:
    """However they are shuffled."""
    places = list(range(table.height))
    order.shuffle(places)  # type: ignore[attr-defined]

    assert rows.digest(rows.in_order(table)) == rows.digest(rows.in_order(table[places]))


@given(
    first=dataframes(cols=2, max_size=3, allowed_dtypes=[pl.Int8, pl.String]),
    second=dataframes(cols=2, max_size=3, allowed_dtypes=[pl.Int8, pl.String]),
)
def test_other_rows_have_another_digest(first: pl.DataFrame, second: pl.DataFrame) -> None:
    """Equal digests, equal tables."""
    same = first.schema == second.schema and first.equals(second)

    assert same == (rows.digest(first) == rows.digest(second))


def test_texts_do_not_run_together() -> None:
    """Where one text ends is part of the digest; null is not the empty text, nor zero."""
    tables = [
        pl.DataFrame({"a": ["ab", "c"]}), pl.DataFrame({"a": ["a", "bc"]}), pl.DataFrame({"a": ["", None]}),
        pl.DataFrame({"a": [None, ""]}), pl.DataFrame({"a": [0, None]}), pl.DataFrame({"a": [None, 0]}),
    ]  # fmt: skip

    assert 6 == len({rows.digest(table) for table in tables})


def test_golden_digests() -> None:
    """The digests of the format's page: they never change."""
    table = pl.DataFrame({"id": [1, 2], "weight": [0.5, None], "depot": ["Süd", None]})

    assert "sha256:70b7d35ca072b8a7bc581d2c276960ca437ca9cf05a91510dad293e8fcc2c9e8" == rows.digest(table)
    assert rows.digest(pl.DataFrame({"x": [0.0, float("nan")]})) == rows.digest(
        pl.DataFrame({"x": [-0.0, -float("nan")]})
    )


def test_nested_columns_are_refused() -> None:
    """A list has no single form."""
    with pytest.raises(Invalid) as caught:
        rows.digest(pl.DataFrame({"x": [[1], [2]]}))
    assert "nested-column" == caught.value.code
