"""The table of runs as people use it: what its address says, and where each of its links leads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import urlencode

from stellwerk.tracking.tables import ENTITIES, ColumnLine, Row, RunTable
from stellwerk.web.ui import words

SIZES = (50, 100, 200)
FIXED = {"run_name": "Name", "status": "Status", "start_time": "Started, UTC"}
"""Columns that are always there and can be ordered by."""
ATTRIBUTES = ("user_id", "kind", "run_id", "parent")
"""Further columns that every run has."""
TITLES = {"metrics": "Metrics", "params": "Parameters", "tags": "Tags", "": "Run"}
_ORDER = re.compile(r"(.*?)(?:\s+(ASC|DESC))?\s*", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r'[`"](.*)[`"]', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the address of a table says."""

    path: str = "/"
    where: str = ""
    order: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    """None where nobody chose."""
    page: int = 1
    size: int = SIZES[0]

    def query(self, **changes: object) -> str:
        """The same address with something changed; it goes back to the first page unless told otherwise."""
        then = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]
        pairs = [("where", then.where)] if then.where else []
        pairs += [("order", one) for one in then.order]
        pairs += [("column", one) for one in (then.columns or ("",) if then.columns is not None else ())]
        pairs += [("page", str(then.page))] if then.page > 1 else []
        pairs += [("size", str(then.size))] if then.size != SIZES[0] else []
        return self.path + ("?" + urlencode(pairs, errors="replace") if pairs else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of a column."""

    name: str
    label: str
    group: str
    link: str
    """Orders by it, or the other way round."""
    sorted: str
    """`ascending`, `descending` or nothing."""
    numeric: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A run in the table."""

    row: Row
    took: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A column that can be chosen."""

    name: str
    label: str
    chosen: bool
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything the drawing needs."""

    fixed: tuple[Head, ...]
    heads: tuple[Head, ...]
    groups: tuple[tuple[str, int], ...]
    lines: tuple[Line, ...]
    choices: tuple[tuple[str, tuple[Choice, ...]], ...]
    first: int
    before: str
    after: str


def read(pairs: Iterable[tuple[str, str]], path: str = "/") -> Asked:
    """What an address says; what makes no sense in it is left out."""
    listed = list(pairs)

    def of(name: str) -> list[str]:
        return [value for key, value in listed if key == name]

    def number(name: str, least: int, most: int, otherwise: int) -> int:
        text = (of(name) or [""])[-1]
        return min(max(int(text), least), most) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise

    columns = of("column")
    return Asked(
        path=path,
        where=(of("where") or [""])[-1].strip(),
        order=tuple(one.strip() for one in of("order") if one.strip())[:10],
        columns=tuple(dict.fromkeys(one for one in columns if one)) if columns else None,
        page=number("page", 1, 10_000_000, 1),
        size=number("size", 1, 400, SIZES[0]),
    )


def listing(table: RunTable, asked: Asked, known: Sequence[ColumnLine], now: datetime) -> Listing:
    """Lay out a table."""
    by_column = [words_of([row.cells[index] for row in table.rows]) for index in range(len(table.columns))]
    heads = tuple(
        _head(name, asked, numeric=numeric) for name, (numeric, _) in zip(table.columns, by_column, strict=True)
    )
    lines = tuple(
        Line(row=row, took=took(row, now), cells=tuple(texts[place] for _, texts in by_column))
        for place, row in enumerate(table.rows)
    )
    return Listing(
        fixed=tuple(_head(name, asked, numeric=False, label=label) for name, label in FIXED.items()),
        heads=heads,
        groups=_groups(heads),
        lines=lines,
        choices=choices(table.columns, known),
        first=(asked.page - 1) * asked.size + 1,
        before=asked.query(page=asked.page - 1) if asked.page > 1 else "",
        after=asked.query(page=asked.page + 1) if table.more and table.rows else "",
    )


def words_of(values: Sequence[float | str | None]) -> tuple[bool, list[str]]:
    """A column as texts, and whether it is one of numbers."""
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, float | int) or value in ("NaN", "Infinity", "-Infinity") for value in there):
        return True, words.column(values)
    texts = ["" if value is None else str(value) for value in values]
    return bool(there) and all(_looks_numeric(text) for text in texts if text), texts


def choices(chosen: Sequence[str], known: Sequence[ColumnLine]) -> tuple[tuple[str, tuple[Choice, ...]], ...]:
    """All columns there are, by kind, and those chosen that the newest runs do not have."""
    counts = {one.name: one.runs for one in known}
    names = [*counts, *(name for name in chosen if name not in counts and name not in ATTRIBUTES)]
    found: list[tuple[str, tuple[Choice, ...]]] = []
    for group in (*ENTITIES.values(), ""):
        mine = [name for name in names if _split(name)[0] == group] + (list(ATTRIBUTES) if not group else [])
        made = tuple(
            Choice(name=name, label=_split(name)[1], chosen=name in chosen, runs=counts.get(name, 0)) for name in mine
        )
        found += [(TITLES[group], made)] if made else []
    return tuple(found)


def took(row: Row, now: datetime) -> str:
    """How long a run took, or has taken so far."""
    end = row.ended_at or (now if row.status == "running" else None)
    return words.took((end - row.started_at).total_seconds()) if end else ""


def _head(name: str, asked: Asked, *, numeric: bool, label: str = "") -> Head:
    first = asked.order[0] if asked.order else "start_time DESC"
    match = _ORDER.fullmatch(first)
    here = match is not None and match[1].strip() == name
    down = here and match is not None and (match[2] or "").upper() == "DESC"
    group, title = _split(name)
    start_down = numeric or name == "start_time"
    turned = f"{name} DESC" if (not down if here else start_down) else name
    return Head(
        name=name,
        label=label or title,
        group=TITLES.get(group, ""),
        link=asked.query(order=(turned,)),
        sorted="descending" if down else "ascending" if here else "",
        numeric=numeric,
    )


def _groups(heads: Sequence[Head]) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for head in heads:
        if found and found[-1][0] == head.group:
            found[-1] = (head.group, found[-1][1] + 1)
        else:
            found.append((head.group, 1))
    return tuple(found)


def _split(name: str) -> tuple[str, str]:
    group, dot, key = name.partition(".")
    if not dot or group not in TITLES:
        return "", name
    quoted = _QUOTED.fullmatch(key)
    return group, quoted[1] if quoted else key


def _looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
