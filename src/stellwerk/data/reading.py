"""Reading tables from files and writing them as Parquet. What a table must hold is the contract's business.

Text is read strictly: what has no single reading is refused with the line, never repaired.
"""

from __future__ import annotations

import codecs
import io
import json
from pathlib import Path
from typing import Any, Literal

import polars as pl

from stellwerk.core.errors import Invalid, NotFound, Unavailable
from stellwerk.data.columns import nameless
from stellwerk.data.delimited import as_times, check_width, no_rows, read_delimited

Format = Literal["csv", "parquet", "jsonl"]

_ROW_GROUP = 2**17
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "a zip or Excel file",
    b"(\xb5/\xfd": "zstd",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"ARROW1": "an Arrow file",
}
_BOMS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def read_table(path: Path) -> pl.DataFrame:
    """Read CSV, Parquet or JSON lines, told apart by content and, between texts, by the file's ending.

    Raises:
        NotFound: There is no such file.
        Invalid: The file is no table; the code says why, the message where.
        Unavailable: The file cannot be read now.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as cause:
        raise NotFound(f"there is no file {path.name!r}", code="file-not-found", hint="check the path") from cause
    except IsADirectoryError as cause:
        raise Invalid(f"{path.name!r} is a folder (expected a file)", code="not-a-file") from cause
    except OSError as cause:
        raise Unavailable(f"{path.name!r} cannot be read: {cause.strerror}", code="unreadable-file") from cause
    return parse_table(data, name=path.name)


def parse_table(data: bytes, *, name: str) -> pl.DataFrame:
    """Read a table from the bytes of a file called `name`, as `read_table` does."""
    match _format(data, name):
        case "parquet":
            frame = frame_from_parquet(data)
        case "jsonl":
            frame = _json_lines(_utf8(data, name))
        case _:
            frame = read_delimited(_utf8(data, name), name=name)
    if not frame.width or not frame.height:
        raise no_rows(name)
    return frame


def frame_to_parquet(frame: pl.DataFrame) -> bytes:
    """Parquet bytes that depend on the table's values only, whatever chunks and caches it has in memory.

    Categories are written as plain text, because their numbers differ from process to process; NaN and zero get
    one form each. Another version of the writer may choose other bytes for the same table.
    """
    if "" in frame.columns:
        raise Invalid("a column has no name", code="unnamed-column", hint="name it before keeping the table")
    plain = [_plain(nameless(series)).alias(series.name) for series in frame.rechunk().get_columns()]
    buffer = io.BytesIO()
    pl.DataFrame(plain).write_parquet(
        buffer, compression="zstd", compression_level=3, statistics=True, row_group_size=_ROW_GROUP
    )
    return buffer.getvalue()


def frame_from_parquet(data: bytes) -> pl.DataFrame:
    """Read Parquet bytes; anything else is `Invalid`.

    A file made to do harm can make the reader ask for more memory than there is, which ends the process: bytes
    from strangers belong into a worker that may die.
    """
    try:
        width = len(pl.read_parquet_schema(io.BytesIO(data)))
        check_width(width)
        return pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.DuplicateError as cause:
        raise Invalid("the Parquet file repeats a column name", code="duplicate-column") from cause
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, MemoryError) as cause:
        raise Invalid(f"not a readable Parquet file: {_first_line(cause)}", code="malformed-parquet") from cause


def _plain(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Categorical:
        return series.cast(pl.String)
    if series.dtype.is_float():
        zero, nan = (pl.lit(value, dtype=series.dtype) for value in (0.0, float("nan")))
        x = pl.col("x")
        return pl.select(series).select(
            pl.when(x == 0).then(zero).when(x.is_nan()).then(nan).otherwise(x).alias("x")
        )["x"]
    return series


# --- telling formats apart


def _format(data: bytes, name: str) -> Format:
    if not data or data.isspace():
        raise no_rows(name)
    if data.startswith(b"PAR1"):
        return "parquet"
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise Invalid(
                f"{name!r} is {what} (expected CSV, Parquet or JSON lines)",
                code="unknown-format",
                hint="unpack or export it first",
            )
    ending = name.rpartition(".")[2].lower()
    if ending in {"parquet", "pq"}:
        raise Invalid(f"{name!r} does not begin like a Parquet file", code="malformed-parquet")
    if ending in {"jsonl", "ndjson", "json"}:
        return "jsonl"
    if ending in {"csv", "tsv", "txt", "psv", "data"}:
        return "csv"
    return "jsonl" if data.lstrip(codecs.BOM_UTF8).lstrip()[:1] == b"{" else "csv"


def _utf8(data: bytes, name: str) -> bytes:
    """The bytes of a text without a byte order mark."""
    for bom, encoding in _BOMS.items():
        if data.startswith(bom):
            raise _not_utf8(name, 0, f"it looks like {encoding}")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise _not_utf8(name, cause.start, f"byte 0x{data[cause.start]:02x}") from cause
    if b"\0" in data:
        raise Invalid(
            f"{name!r} is not text: it holds a zero byte at offset {data.index(0)}",
            code="unknown-format",
            hint="export it as CSV, Parquet or JSON lines",
        )
    return data.removeprefix(codecs.BOM_UTF8)


def _not_utf8(name: str, offset: int, why: str) -> Invalid:
    return Invalid(
        f"{name!r} is not UTF-8 at byte offset {offset}: {why}",
        code="not-utf8",
        hint="save it as UTF-8, for example with `iconv -f WINDOWS-1252 -t UTF-8`",
    )


# --- JSON lines


def _json_lines(data: bytes) -> pl.DataFrame:
    """One object per line; texts that are all ISO times become times."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            _json_object(line, number)
    try:
        frame = pl.read_ndjson(data, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as cause:
        raise _malformed_json(_first_line(cause)) from cause
    check_width(frame.width)
    timed = (as_times(series) if series.dtype == pl.String else None for series in frame.get_columns())
    return pl.DataFrame(
        [series if times is None else times for series, times in zip(frame.get_columns(), timed, strict=True)]
    )


def _json_object(line: bytes, number: int) -> None:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(found)
        if len(result) != len(found):
            raise Invalid(
                f"line {number} names a column twice", code="duplicate-column", hint="keep one of the two values"
            )
        return result

    def constant(word: str) -> float:
        raise _malformed_json(f"line {number}: {word} is not JSON")

    try:
        value = json.loads(line, object_pairs_hook=pairs, parse_constant=constant)
    except Invalid:
        raise
    except (ValueError, RecursionError) as cause:
        raise _malformed_json(f"line {number}: {cause}") from cause
    if not isinstance(value, dict):
        raise _malformed_json(f"line {number} is not an object")


def _malformed_json(why: str) -> Invalid:
    return Invalid(
        f"not readable JSON lines: {why}",
        code="malformed-json",
        hint="write one object per line, for example with `jq -c '.[]'`",
    )


def _first_line(cause: BaseException) -> str:
    return str(cause).partition("\n")[0][:200]
