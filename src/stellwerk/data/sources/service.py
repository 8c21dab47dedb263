"""Pinning sources and reading what was pinned. Whatever a reader answers is compared with the pin before it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import polars as pl

from stellwerk.core import digest as digests
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, NotFound, StellwerkError, Unavailable
from stellwerk.data.reading import parse_table
from stellwerk.data.sources import rows, rules
from stellwerk.data.sources.model import Change, Content, Part, Pinned, Source, SourceReport
from stellwerk.data.sources.ports import Reader

Readers = Callable[[str], Reader]
"""The reader of a kind. Raises `Invalid` for a kind that nobody reads."""


def pin(source: Source, readers: Readers) -> tuple[Pinned, pl.DataFrame]:
    """Read all parts that are there now, and say what they are."""
    reader = readers(source.kind)
    parts: list[Part] = []
    frames: list[pl.DataFrame] = []
    for name in _names(reader, source):
        content = _read(reader, source, name, "")
        frame, digest, size = _weigh(content, name)
        frames.append(_alike(frame, frames, source, name))
        form: Literal["bytes", "rows"] = "bytes" if isinstance(content.data, bytes) else "rows"
        parts.append(Part(name=name, version=content.version, form=form, digest=digest, size=size, rows=frame.height))
    if not parts:
        raise _gone(source, "it has no parts")
    whole = pl.concat(frames) if len(frames) > 1 else frames[0]
    pinned = Pinned(source=str(source), columns=columns(whole), rows=whole.height, parts=tuple(parts))
    return pinned, whole


def batches(pinned: Pinned, readers: Readers) -> Iterator[tuple[Part, pl.DataFrame]]:
    """The rows that were pinned, part by part, each proven before it is given.

    Raises:
        NotFound: `source-gone`: a part is not there any more.
        Conflict: `source-changed`: a part holds something else now. Other rows are never given.
    """
    source = rules.parse(pinned.source)
    reader = readers(source.kind)
    for part in pinned.parts:
        try:
            content = _read(reader, source, part.name, part.version)
        except NotFound as cause:
            raise _gone(source, f"{part.name!r}: {cause.message}") from cause
        frame, what = _compare(part, content)
        if what:
            raise Conflict(
                f"{source} changed since it was pinned: of {part.name!r}, {what}",
                code="source-changed",
                hint="`stellwerk data verify` lists all changes; refer to it again for a version of what is there now",
            )
        if columns(frame) != pinned.columns:
            raise Conflict(
                f"{part.name!r} of {source} has the pinned bytes, but is now read with other columns",
                code="source-read-differently",
                hint="another version of the library reads it differently: refer to the source again",
            )
        yield part, frame


def frame(pinned: Pinned, readers: Readers) -> pl.DataFrame:
    """All rows that were pinned."""
    found = [table for _, table in batches(pinned, readers)]
    return pl.concat(found) if len(found) > 1 else found[0]


def verify(pinned: Pinned, readers: Readers) -> SourceReport:
    """Compare every part with what was pinned. A difference is a finding, not an error."""
    source = rules.parse(pinned.source)
    reader = readers(source.kind)
    changes = []
    for part in pinned.parts:
        try:
            _, what = _compare(part, _read(reader, source, part.name, part.version))
        except NotFound:
            what = "it is gone"
        except Invalid as problem:
            what = f"it can no longer be read: {problem.message}"
        if what:
            changes.append(Change(part=part.name, what=what))
    return SourceReport(source=pinned.source, parts=len(pinned.parts), rows=pinned.rows, changes=tuple(changes))


def columns(table: pl.DataFrame) -> tuple[tuple[str, str], ...]:
    """Names and types of a table's columns, as a dataset version has them."""
    return tuple((name, str(kind)) for name, kind in table.schema.items())


def _names(reader: Reader, source: Source) -> tuple[str, ...]:
    try:
        found = tuple(reader.list(source))
    except StellwerkError:
        raise
    except Exception as cause:  # readers of third parties raise what they like
        raise _failed(source, cause) from cause
    if not all(isinstance(name, str) for name in found):
        raise _failed(source, TypeError("names"))
    return rules.names(found)


def _read(reader: Reader, source: Source, name: str, version: str) -> Content:
    try:
        found = reader.read(source, name, version)
    except StellwerkError:
        raise
    except Exception as cause:  # readers of third parties raise what they like
        raise _failed(source, cause) from cause
    known = isinstance(found, Content) and isinstance(found.data, bytes | pl.DataFrame)
    if not known or not isinstance(found.version, str):
        raise _failed(source, TypeError("content"))
    return found


def _failed(source: Source, cause: Exception) -> Unavailable:
    # Its text is not repeated: it may name what opens a door.
    return Unavailable(
        f"the reader of {source.kind!r} failed with a {type(cause).__name__}",
        code="reader-failed",
        hint="tell whoever made the reader; STELLWERK_DEBUG=1 shows the trace",
    )


def _compare(part: Part, content: Content) -> tuple[pl.DataFrame, str]:
    """The rows of a part, and what is different about them. Bytes are parsed only when they are the pinned ones."""
    if isinstance(content.data, bytes) and part.form == "bytes":
        what = rules.difference(part, digest=digests.of_bytes(content.data), content=content)
        return (pl.DataFrame(), what) if what else (parse_table(content.data, name=part.name), "")
    table, digest, _ = _weigh(content, part.name)
    return table, rules.difference(part, digest=digest, content=content)


def _weigh(content: Content, name: str) -> tuple[pl.DataFrame, Digest, int]:
    """Rows, digest and size of what a reader found."""
    if isinstance(content.data, bytes):
        return parse_table(content.data, name=name), digests.of_bytes(content.data), len(content.data)
    table = content.data if content.ordered else rows.in_order(content.data)
    if not table.width or not table.height:
        raise Invalid(f"{name!r} has no rows", code="empty-table")
    return table, rows.digest(table), 0


def _alike(table: pl.DataFrame, before: Sequence[pl.DataFrame], source: Source, name: str) -> pl.DataFrame:
    if before and columns(table) != columns(before[0]):
        raise Invalid(
            f"{name!r} of {source} has other columns than the part before it: "
            f"{_differ(columns(before[0]), columns(table))}",
            code="mixed-columns",
            hint="refer to parts that are one table; Parquet keeps its types, CSV has them guessed file by file",
        )
    return table


def _differ(old: tuple[tuple[str, str], ...], new: tuple[tuple[str, str], ...]) -> str:
    gone, come = dict(old), dict(new)
    parts = [f"lacks {c}" for c in gone if c not in come] + [f"adds {c}" for c in come if c not in gone]
    parts += [f"{c} is {come[c]}, was {gone[c]}" for c in gone if c in come and come[c] != gone[c]]
    return ", ".join(parts[:8]) or "the order of columns"


def _gone(source: Source, why: str) -> NotFound:
    return NotFound(
        f"{source} is not there: {why}",
        code="source-gone",
        hint="`stellwerk data verify` says what is missing; `stellwerk data import` keeps a copy while it is there",
    )
