"""What differs between two folders of files, down to the rows and columns of tables among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from stellwerk.core.errors import Invalid
from stellwerk.data.model import TableDiff
from stellwerk.workspace.copies import FileChange

TABLES = (".csv", ".tsv", ".psv", ".txt", ".data", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")
"""Endings of files that are read as tables."""
_LARGEST_TABLE = 256 << 20
_MOST_TABLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesDiff:
    """What differs between two folders of files.

    Attributes:
        changes: Every file that differs.
        tables: For tables among them, what changed in their rows and columns.
    """

    old: str
    new: str
    changes: tuple[FileChange, ...]
    tables: tuple[tuple[str, TableDiff], ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    """Tables that could not be compared, and why."""


Tables = tuple[tuple[tuple[str, TableDiff], ...], tuple[tuple[str, str], ...]]
"""Tables among what differs, and those that could not be compared, and why."""
Content = Callable[[str], bytes]
"""The bytes of a file, by its path."""


def tables_of(changes: Iterable[FileChange], before: Content, after: Content) -> Tables:
    """What changed in the rows of tables that are different files, and which could not be compared."""
    tables: list[tuple[str, TableDiff]] = []
    unread: list[tuple[str, str]] = []
    for change in changes:
        path = change.path
        if change.change != "changed" or not path.lower().endswith(TABLES):
            continue
        if len(tables) + len(unread) >= _MOST_TABLES:
            unread.append((path, f"only {_MOST_TABLES} tables are compared at once"))
        elif max(change.old_size or 0, change.new_size or 0) > _LARGEST_TABLE:
            unread.append((path, f"larger than {_LARGEST_TABLE >> 20} MiB"))
        else:
            try:
                tables.append((path, _table_diff(path, before(path), after(path))))
            except Invalid as cause:
                unread.append((path, cause.message))
    return tuple(tables), tuple(unread)


def _table_diff(path: str, before: bytes, after: bytes) -> TableDiff:
    from stellwerk.data.comparing import compare
    from stellwerk.data.reading import parse_table

    name = path.rpartition("/")[2]
    return compare(parse_table(before, name=name), parse_table(after, name=name))
