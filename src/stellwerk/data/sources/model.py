"""Sources and what was found there. How names are read and pins written is in `rules`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from stellwerk.core.digest import Digest

if TYPE_CHECKING:
    import polars as pl

FORMAT: Literal["stellwerk-source/1"] = "stellwerk-source/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Names rows that live elsewhere.

    Attributes:
        kind: Who can read them: `file`, `https`, `s3`, `sql`, `delta`, … or the name of a third party's reader.
        location: Where they are, in the words of that kind, without credentials.
        pin: Which state of them, where the name itself says so: a version id, a digest, a snapshot; else empty.
    """

    kind: str
    location: str
    pin: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.location}{pin_mark(self.kind) + self.pin if self.pin else ''}"


_MARKS = {
    **dict.fromkeys(("file", "http", "https"), "#sha256="),
    **dict.fromkeys(("delta", "iceberg"), "@"),
    **dict.fromkeys(("sql", "sqlite"), ""),
    "s3": "?versionId=",
}


def pin_mark(kind: str) -> str:
    """What stands between location and pin in the text of a source; empty for kinds whose names have no pin."""
    return _MARKS.get(kind, "#")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a reader found: bytes of a table file, or rows.

    Attributes:
        version: What the other side calls this state: a version id, an ETag, a snapshot; empty where it has no word.
        ordered: Whether the order of rows means something. Rows in no order are put into one.
    """

    data: bytes | pl.DataFrame
    version: str = ""
    ordered: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of a source as it was when it was pinned, such as a file of a folder.

    Attributes:
        name: What the reader calls it; unique within the source.
        version: What the other side called its state.
        form: What the digest is of: the `bytes` of a file, or `rows` by `stellwerk-rows/1`.
        size: Bytes of the file; 0 for rows.
    """

    name: str
    version: str
    form: Literal["bytes", "rows"]
    digest: Digest
    size: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A source with everything needed to prove later that its rows are the same (`docs/formats/source.md`)."""

    source: str
    columns: tuple[tuple[str, str], ...]
    rows: int
    parts: tuple[Part, ...]
    format: Literal["stellwerk-source/1"] = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A part that is not what was pinned."""

    part: str
    what: str
    """A sentence: it is gone, its size differs, its content differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What a comparison of a pinned source with what is there now found."""

    source: str
    parts: int
    rows: int
    changes: tuple[Change, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether every part is what was pinned."""
        return not self.changes
