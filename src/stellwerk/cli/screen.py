"""Where the words of a command go: data on stdout, talk on stderr, colour and movement only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from stellwerk.cli.output import Block, Span, dim, paint, plain, spans, strong, visible
from stellwerk.cli.progress import Lines, plain_lines


class Screen:
    """The two streams of a command."""

    def __init__(self, *, as_json: bool, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        # Kept, because steps run with `sys.stdout` and `sys.stderr` redirected into their logs.
        self._out, self._err = out or sys.stdout, err or sys.stderr
        self.as_json = as_json

    @property
    def lively(self) -> bool:
        """Whether talk goes to a terminal on which lines can be redrawn."""
        return self._err.isatty() and os.environ.get("TERM") != "dumb"

    def show(self, value: Any, *blocks: Block) -> None:
        """Put data on stdout: the value as JSON, or the blocks for people."""
        if self.as_json:
            from stellwerk.ledger import documents

            text = json.dumps(documents.dump(value), indent=2, ensure_ascii=False, allow_nan=False)
            self._out.write(text + "\n")
        elif self._out.isatty():
            from stellwerk.cli.terminal import draw

            draw(self._out, blocks)
        else:
            for block in blocks:
                self._out.writelines(text + "\n" for text in plain(block))
        self._out.flush()

    def say(self, *line: str | Span) -> None:
        """Talk on stderr."""
        words = "".join(paint(visible(piece.text), piece.tone, self._err) for piece in spans(line))
        self._err.write(words + "\n")
        self._err.flush()

    def suggest(self, command: str) -> None:
        """Say what to type next."""
        if not self.as_json:
            if self.lively:
                self.say("")
            self.say(dim("next: "), strong(command))

    @contextmanager
    def progress(self) -> Iterator[Lines]:
        """Lines of long work: redrawn in place on a terminal, written once each elsewhere."""
        if not self.lively:
            yield plain_lines(lambda text: self.say(text))
            return
        from stellwerk.cli.terminal import live_lines

        with live_lines(self._err) as lines:
            yield lines

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show that something is being done, as long as it lasts; nothing where nobody watches."""
        if not self.lively:
            yield
            return
        from stellwerk.cli.terminal import spinning

        with spinning(self._err, visible(text)):
            yield

    @contextmanager
    def counting(self, text: str) -> Iterator[Callable[[int, int], None]]:
        """Show how many files and bytes are done, where somebody watches. Gives what is to be told of them."""
        if not self.lively:
            yield lambda _files, _bytes: None
            return
        from stellwerk.cli.terminal import counting

        with counting(self._err, visible(text)) as told:
            yield told
