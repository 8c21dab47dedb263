"""What commands show, as values: pieces of text with a tone, tables, drawings; and how they look as plain text.

Which stream they go to is in `screen`, how they look on a terminal in `terminal`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, Literal, NamedTuple, TypeAlias

Tone = Literal["plain", "strong", "dim", "good", "warn", "bad"]
_ANSI: dict[Tone, str] = {"plain": "", "strong": "1", "dim": "2", "good": "32", "warn": "33", "bad": "31"}
TONES: dict[str, Tone] = {
    "clear": "good", "pass": "good", "finished": "good", "active": "good", "confirmed": "good", "good": "good",
    "caution": "warn", "unproven": "warn", "interrupted": "warn", "draft": "warn", "warn": "warn",
    "waiting": "warn", "paused": "warn",
    "stop": "bad", "fail": "bad", "failed": "bad", "stopped": "bad", "error": "bad", "bad": "bad",
}  # fmt: skip
"""How states are coloured, wherever they appear."""


class Span(NamedTuple):
    """A piece of text and how it should strike the eye."""

    text: str
    tone: Tone = "plain"


Line: TypeAlias = "str | Span | tuple[str | Span, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells. Without header it is a list of facts.

    Attributes:
        right: Columns whose cells end at the right, such as numbers.
        firm: Columns that a narrow terminal must not wrap, such as times; those in `right` never are.
        spare: Columns that a narrow terminal leaves out, the first one first.
    """

    rows: tuple[tuple[Line, ...], ...]
    header: tuple[str, ...] = ()
    right: tuple[int, ...] = ()
    firm: tuple[int, ...] = ()
    spare: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Lines that lose their meaning when they are wrapped: a narrow terminal cuts them off."""

    lines: tuple[Line, ...]


Block: TypeAlias = "Line | Table | Drawing"


def state(text: str) -> Span:
    """A word such as `clear` or `failed` in its colour."""
    return Span(text, TONES.get(text, "plain"))


def dim(text: str) -> Span:
    """A piece of text that may be overlooked."""
    return Span(text, "dim")


def strong(text: str) -> Span:
    """A piece of text to look at first."""
    return Span(text, "strong")


def spans(line: Line) -> tuple[Span, ...]:
    """The pieces of a line."""
    if isinstance(line, (str, Span)):
        line = (line,)
    return tuple(piece if isinstance(piece, Span) else Span(piece) for piece in line)


def visible(text: str) -> str:
    """Text without anything that could steer a terminal; line breaks stay."""
    text = text.replace("\t", "    ")
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def colourful(stream: IO[str]) -> bool:
    """Whether a stream is a terminal that shows colour, and nobody minds (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, tone: Tone, stream: IO[str]) -> str:
    """Text in its colour, if the stream shows any."""
    return f"\x1b[{_ANSI[tone]}m{text}\x1b[0m" if tone != "plain" and colourful(stream) else text


def plain(block: Block) -> list[str]:
    """A block as lines of plain text; columns are aligned, and no line ends in spaces."""
    if isinstance(block, Drawing):
        return [text for line in block.lines for text in plain(line)]
    if not isinstance(block, Table):
        return visible("".join(piece.text for piece in spans(block))).split("\n")
    cells = [tuple(_cell(cell) for cell in row) for row in ((block.header,) if block.header else ()) + block.rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))] if cells else []
    return [
        "  ".join(
            text.rjust(width) if i in block.right else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _cell(cell: Line) -> str:
    return " ".join(visible("".join(piece.text for piece in spans(cell))).split("\n"))
