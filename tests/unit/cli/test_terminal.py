"""Drawing on a terminal: nothing is interpreted, and a narrow one keeps what matters."""

from __future__ import annotations

import io
import re

import pytest

from stellwerk.cli import terminal
from stellwerk.cli.output import Block, Drawing, Table
from stellwerk.cli.progress import Progress

RUNS = Table(
    header=("run", "kind", "status"),
    firm=(0, 2),
    spare=(1,),
    rows=(("01kjm6jm0095qxq81sp5bdh9by", "pipeline", "finished"),),
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, width: int, *blocks: Block) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    terminal.draw(stream, blocks)
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()]


def test_a_wide_terminal_shows_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out without need."""
    assert [
        "run                         kind      status",
        "01kjm6jm0095qxq81sp5bdh9by  pipeline  finished",
    ] == drawn(monkeypatch, 80, RUNS)


def test_a_narrow_terminal_leaves_out_what_is_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids stay whole, so that they can be copied."""
    assert ["run                         status", "01kjm6jm0095qxq81sp5bdh9by  finished"] == drawn(
        monkeypatch, 40, RUNS
    )


def test_words_wrap_below_their_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long finding stays readable."""
    table = Table(rows=(("floor:auroc", "AUROC is too low by far"),))

    assert ["floor:auroc  AUROC is too", "             low by far"] == drawn(monkeypatch, 28, table)


def test_a_drawing_is_cut_off_and_not_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrapped line would break the tree below it."""
    assert ["├─ verified an…", "└─ b"] == drawn(monkeypatch, 15, Drawing(lines=("├─ verified and long", "└─ b")))


def test_a_table_without_columns_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rows and no header is no error."""
    assert [] == [line for line in drawn(monkeypatch, 80, Table(rows=())) if line]


def test_lines_of_progress_stay_on_the_screen() -> None:
    """After the work the last state of each line is there, once."""
    stream = Terminal()

    with terminal.live_lines(stream) as lines:
        lines.put(Progress(name="prepare", state="running"))
        lines.put(Progress(name="prepare", state="done", seconds=1.25))
        lines.put(Progress(name="train", state="cached", note="3 seeds"))
        lines.put(Progress(name="evaluate", state="failed"))

    end = stream.getvalue()
    assert [1, 1, 1] == [end.count(text) for text in ("1.2 s", "cached  3 seeds", "failed")]
    assert [True, True] == ["✓" in end, "✗" in end]
