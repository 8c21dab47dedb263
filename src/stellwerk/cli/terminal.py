"""Drawing on a terminal with rich: blocks, spinners, lines that are redrawn. Loaded only where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.status import Status
from rich.table import Table as Grid
from rich.text import Text

from stellwerk.cli import words
from stellwerk.cli.output import Block, Drawing, Line, Table, Tone, spans, visible
from stellwerk.cli.progress import BRIEF, Lines, Progress
from stellwerk.core.clock import monotonic

STYLES: dict[Tone, str] = {
    "plain": "", "strong": "bold", "dim": "dim", "good": "green", "warn": "yellow", "bad": "red",
}  # fmt: skip
MARKS: dict[str, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "done": ("✓", "green"),
    "cached": ("✓", "cyan"),
    "failed": ("✗", "red"),
    "skipped": ("–", "dim"),
    "omitted": ("–", "dim"),
}
SPINNER, REFRESHES = "dots", 10
GAP, WRAPPED = 2, 16
"""Space between columns, and how narrow a column of words may become before others are left out."""


def console(stream: IO[str]) -> Console:
    """A console that shows text as it is."""
    return Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=False)


def draw(stream: IO[str], blocks: Iterable[Block]) -> None:
    """Show blocks one below the other."""
    screen = console(stream)
    for block in blocks:
        if isinstance(block, Drawing):
            for line in block.lines:
                screen.print(text(line), no_wrap=True, overflow="ellipsis")
        else:
            screen.print(_grid(block, screen.width) if isinstance(block, Table) else text(block))


def text(line: Line) -> Text:
    """A line as rich text."""
    return Text.assemble(*((visible(piece.text), STYLES[piece.tone]) for piece in spans(line)))


def _grid(table: Table, width: int) -> Grid:
    rows = [tuple(map(text, row)) for row in table.rows]
    titles = table.header or ("",) * max(map(len, rows), default=0)
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim", show_header=bool(table.header))
    kept = _fitting(
        table, [max([len(title), *(row[i].cell_len for row in rows)]) for i, title in enumerate(titles)], width
    )
    for index in kept:
        right = index in table.right
        firm = right or index in table.firm
        grid.add_column(titles[index], justify="right" if right else "left", overflow="fold", no_wrap=firm)
    for row in rows:
        grid.add_row(*(row[index] for index in kept))
    return grid


def _fitting(table: Table, widths: list[int], width: int) -> list[int]:
    """The columns that are shown: without the spare ones where it is too wide. Those that may wrap count for less."""
    kept = list(range(len(widths)))
    firm = {*table.right, *table.firm}
    for spare in table.spare:
        needed = sum(widths[i] if i in firm else min(widths[i], WRAPPED) for i in kept) + GAP * (len(kept) - 1)
        if needed > width:
            kept.remove(spare)
    return kept


@contextmanager
def spinning(stream: IO[str], words: str) -> Iterator[None]:
    """A spinner that vanishes."""
    with Status(Text(words, "dim"), console=console(stream), spinner=SPINNER):
        yield


@contextmanager
def counting(stream: IO[str], what: str) -> Iterator[Callable[[int, int], None]]:
    """A spinner with the files and bytes that are done; it vanishes."""
    began = monotonic()
    with Status(Text(what, "dim"), console=console(stream), spinner=SPINNER) as status:

        def told(files: int, size: int) -> None:
            speed = f"  {words.size(round(size / max(monotonic() - began, 0.001)))}/s" if size else ""
            status.update(Text(f"{what}  {words.count(files, 'file')}  {words.size(size)}{speed}", "dim"))

        yield told


class _Live:
    """Lines redrawn in place."""

    def __init__(self) -> None:
        self._lines: dict[str, Progress] = {}
        self._spinner = Spinner(SPINNER, style="cyan")

    def put(self, line: Progress) -> None:
        self._lines[line.name] = line

    def __rich__(self) -> RenderableType:
        grid = Grid.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=1)
        grid.add_column(min_width=24)
        grid.add_column(justify="right", min_width=8)
        grid.add_column()
        for line in tuple(self._lines.values()):
            grid.add_row(*self._row(line))
        return grid

    def _row(self, line: Progress) -> tuple[RenderableType, ...]:
        name = visible(line.name)
        if line.state == "running":
            elapsed = line.seconds + (monotonic() - line.since if line.since is not None else 0.0)
            return self._spinner, Text(name, "bold"), Text(words.took(elapsed)), Text(visible(line.note), "dim")
        mark, style = MARKS[line.state]
        time = words.took(line.seconds) if line.seconds >= BRIEF else ""
        note = "  ".join(part for part in (line.state if line.state != "done" else "", visible(line.note)) if part)
        quiet = "dim" if line.state in ("waiting", "skipped", "omitted") else ""
        return (
            Text(mark, style),
            Text(name, quiet),
            Text(time, "dim"),
            Text("" if quiet and not line.note else note, "dim"),
        )


@contextmanager
def live_lines(stream: IO[str]) -> Iterator[Lines]:
    """Lines of progress that stay on the screen when the work is over."""
    lines = _Live()
    # Not redirected by rich: steps have their own streams, and what they print belongs into their logs.
    live = Live(
        lines,
        console=console(stream),
        refresh_per_second=REFRESHES,
        redirect_stdout=False,
        redirect_stderr=False,
        vertical_overflow="crop",
    )
    try:
        with live:
            yield lines
    finally:
        stream.write("\n")
        stream.flush()
