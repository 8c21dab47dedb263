"""Reading delimited text (CSV and its relatives): delimiter, header, shape, types. Files are opened in `reading`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

import polars as pl

from stellwerk.core.errors import Invalid
from stellwerk.data.columns import listed

MAX_COLUMNS = 20_000
DELIMITERS = (",", ";", "\t", "|")
NULLS = ("", "NA", "NaN", "nan", "null", "NULL", "None")

_SAMPLE_LINES = 200
_WHOLE = re.compile(r"[+-]?\d+")
_TIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
)


def read_delimited(data: bytes, *, name: str) -> pl.DataFrame:
    """Read UTF-8 bytes (without a byte order mark) as a table with a header; whatever is ambiguous is `Invalid`.

    A column becomes booleans, integers, floats, dates or times when every value reads so without loss; numbers
    with leading zeros and those too long for their type stay text. Blank lines are skipped.
    """
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    stripped = data.lstrip(b"\r\n")
    above, data = data[: len(data) - len(stripped)].count(b"\n"), stripped
    delimiter = _delimiter(data)
    header = _header(data, delimiter)
    columns = _column_names(header)
    blank, records = _shape(data, delimiter, len(header), above)
    if records == len(blank):
        raise no_rows(name)
    try:
        frame = pl.read_csv(
            data,
            separator=delimiter,
            quote_char='"' if b'"' in data else None,
            infer_schema=False,
            new_columns=[str(at) for at in range(len(header))],
        ).rechunk()
    except pl.exceptions.PolarsError as cause:
        raise _malformed(str(cause).partition("\n")[0][:200]) from cause
    if frame.height != records:
        raise _malformed(f"{records:,} records were counted but {frame.height:,} were read")
    if blank:
        frame = frame.with_row_index("row").filter(~pl.col("row").is_in(blank)).drop("row")
    result = _typed(frame)
    result.columns = columns
    return result


def check_width(width: int) -> None:
    """Refuse tables of more columns than anything behind can carry."""
    if width > MAX_COLUMNS:
        raise Invalid(
            f"the table has {width:,} columns (expected at most {MAX_COLUMNS:,})",
            code="too-many-columns",
            hint="is it transposed, or in need of another delimiter?",
        )


def no_rows(name: str) -> Invalid:
    """The error for a table with nothing in it."""
    return Invalid(f"{name!r} has no rows of data", code="empty-table", hint="give a table with a header and rows")


# --- shape


def _delimiter(data: bytes) -> str:
    """The delimiter that the header uses and most lines agree with; a comma for a single column."""
    lines = data[: 2**20].decode("utf-8", "ignore").splitlines()[:_SAMPLE_LINES]
    best, winner = (0.0, 0), ","
    for candidate in DELIMITERS:
        widths = [len(record) for record in _sample(lines, candidate) if record]
        if widths and widths[0] > 1:
            score = (round(widths.count(widths[0]) / len(widths), 2), widths[0])
            if score > best:
                best, winner = score, candidate
    return winner


def _sample(lines: list[str], delimiter: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines, delimiter=delimiter)
    except csv.Error:
        return  # the strict reading of the whole file says what is wrong, and where


def _header(data: bytes, delimiter: str) -> list[str]:
    reader = csv.reader(_lines(data), delimiter=delimiter, strict=True)
    try:
        return next(reader)
    except csv.Error as cause:
        raise _malformed(f"line {reader.line_num}: {cause}") from cause


def _lines(data: bytes) -> Iterator[str]:
    return iter(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline=""))


def _column_names(header: list[str]) -> list[str]:
    """The header without surrounding space; an empty name, as pandas writes it for an index, becomes `column_<n>`."""
    check_width(len(header))
    if all(_is_number(cell) for cell in header) and not all(_WHOLE.fullmatch(cell.strip()) for cell in header):
        raise Invalid(
            f"the first line holds numbers ({listed(header)}), not names of columns",
            code="missing-header",
            hint="add a first line that names the columns",
        )
    found = [cell.strip() or f"column_{at}" for at, cell in enumerate(header, 1)]
    seen: set[str] = set()
    for at, column in enumerate(found, 1):
        if column in seen:
            raise Invalid(
                f"column {column!r} appears twice, at position {found.index(column) + 1} and {at}",
                code="duplicate-column",
                hint="rename one of them",
            )
        seen.add(column)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shape(data: bytes, delimiter: str, width: int, above: int) -> tuple[list[int], int]:
    """The places of blank records below the header and the number of records; a ragged one is `Invalid`."""
    count = _quoted_widths(data, delimiter) if b'"' in data else _plain_widths(data, delimiter)
    blank: list[int] = []
    records = -1
    for line, fields in count:
        if fields == 0:
            blank.append(records)
        elif fields != width:
            raise Invalid(
                f"line {above + line} has {fields} fields (expected {width}, as in the header)",
                code="ragged-rows",
                hint=f"fields that contain {delimiter!r} must be quoted",
            )
        records += 1
    return blank, records


def _plain_widths(data: bytes, delimiter: str) -> Iterator[tuple[int, int]]:
    mark = delimiter.encode()
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        yield number, line.count(mark) + 1 if line and line != b"\r" else 0


def _quoted_widths(data: bytes, delimiter: str) -> Iterator[tuple[int, int]]:
    reader = csv.reader(_lines(data), delimiter=delimiter, strict=True)
    line = 1
    try:
        for record in reader:
            yield line, len(record)
            line = reader.line_num + 1
    except csv.Error as cause:
        raise _malformed(f"line {line}: {cause}") from cause


def _malformed(why: str) -> Invalid:
    return Invalid(f"not a readable CSV file: {why}", code="malformed-csv", hint="check the quotes around that place")


# --- types


def _typed(texts: pl.DataFrame) -> pl.DataFrame:
    """Columns of text as the narrowest type that every value has. Columns are named by position here."""
    bare = texts.select(pl.all().str.strip_chars()).select(pl.when(~pl.all().is_in(NULLS)).then(pl.all()))
    present = dict(zip(bare.columns, bare.count().row(0), strict=True))
    found: dict[str, pl.Series] = {}
    open_names = [at for at in bare.columns if present[at]]
    for reading in (_integers, _floats, _booleans):
        values = reading(bare.select(open_names))
        done = [at for at, count in zip(values.columns, values.count().row(0), strict=True) if count == present[at]]
        found |= {at: values.get_column(at) for at in done}
        open_names = [at for at in open_names if at not in found]
    found |= {at: times for at in open_names if (times := as_times(bare.get_column(at))) is not None}
    kept = bare.select(
        pl.when(pl.col(at).is_not_null()).then(texts.get_column(at)).alias(at)
        for at in bare.columns
        if at not in found
    )
    return pl.DataFrame([found[at] if at in found else kept.get_column(at) for at in bare.columns]).rechunk()


def _integers(bare: pl.DataFrame) -> pl.DataFrame:
    """A leading zero is part of a code, such as a postcode, and no number."""
    coded = pl.all().str.contains(r"^[+-]?0\d")
    return bare.select(pl.when(~coded).then(pl.all().cast(pl.Int64, strict=False)))


def _floats(bare: pl.DataFrame) -> pl.DataFrame:
    """Whole numbers of more than 15 digits are codes too: a float would change them."""
    coded = pl.all().str.contains(r"^[+-]?(0\d|\d{16,}$)")
    return bare.select(pl.when(~coded).then(pl.all().cast(pl.Float64, strict=False)))


def _booleans(bare: pl.DataFrame) -> pl.DataFrame:
    words = pl.all().str.to_lowercase()
    return bare.select(pl.when(words.is_in(["true", "false"])).then(words == "true"))


def as_times(text: pl.Series) -> pl.Series | None:
    """ISO dates or times, with a zone converted to UTC; None when not every value is one."""
    count = len(text) - text.null_count()
    first = text.drop_nulls().head(1).to_list()
    if not first or not re.match(r"\d{4}-\d\d-\d\d", first[0]):
        return None
    dates = text.str.to_date("%Y-%m-%d", strict=False)
    if dates.count() == count:
        return dates
    for form in _TIME_FORMATS:
        for zone in ("", "%#z"):
            times = text.str.to_datetime(form + zone, strict=False, time_unit="us", time_zone="UTC" if zone else None)
            if times.count() == count:
                return times
    return None
