"""Pages of the documentation as blocks, and a runner that performs one page in a folder of its own, block by block.

A fenced block is steered by an HTML comment on the line above it:

- `<!-- file: NAME -->`: the block is a file; it is written, not performed.
- `<!-- background -->`: a server; it goes on while the rest of the page is performed.
- `<!-- exit: 3 -->`: the commands end with this exit code instead of 0.
- `<!-- output -->`: a `text` block that shows what the block before it printed on stdout; `…` stands for anything.
- `<!-- no-run: REASON -->`: the block is only shown.

`python` blocks share one namespace, `bash` blocks run the real command line. Everything else is only shown.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60
_BLOCK = re.compile(
    r"(?:^<!-- (?P<marker>[^\n]*?) -->\n)?^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_MARKER = re.compile(r"(file|background|exit|output|no-run)(?:: (.+))?")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block.

    Attributes:
        line: Where its first line of text stands in the page, from 1.
        marker: Word of the comment above it, empty without one.
        value: What follows the word.
    """

    language: str
    text: str
    line: int
    marker: str = ""
    value: str = ""

    @property
    def performed(self) -> bool:
        """Whether somebody runs it."""
        return self.language in ("python", "bash") and self.marker not in ("file", "no-run")


def pages() -> list[Path]:
    """Every page that people read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        marker = _MARKER.fullmatch(match["marker"] or "")
        found.append(
            Block(
                language=match["language"],
                text=match["text"],
                line=text.count("\n", 0, match.start("text")) + 1,
                marker=marker[1] if marker else "",
                value=(marker[2] or "") if marker else "",
            )
        )
    return found


def perform(page: Path) -> None:
    """Run a page in the current folder. Raises `AssertionError` with page and line where it is not true."""
    sys.path.insert(0, str(Path.cwd()))  # as for any script that lies here
    runner = _Runner(page)
    try:
        for block in blocks(page):
            runner.block(block)
    finally:
        runner.end()


class _Runner:
    def __init__(self, page: Path) -> None:
        self._page = page
        self._space: dict[str, Any] = {"__name__": "page"}
        self._printed = ""
        self._servers: list[subprocess.Popen[str]] = []

    def block(self, block: Block) -> None:
        if block.marker == "file":
            Path(block.value).write_text(block.text, "utf-8")
        elif block.marker == "output":
            self._compare(block)
        elif block.performed and block.language == "python":
            with self._said() as said:
                # So many empty lines before it that a traceback names the line of the page.
                code = compile("\n" * (block.line - 1) + block.text, self._page.name, "exec")
                exec(code, self._space)
            self._printed = said.getvalue()
        elif block.performed and block.marker == "background":
            self._serve(block)
        elif block.performed:
            self._shell(block)

    def end(self) -> None:
        for server in self._servers:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=READY_SECONDS)

    @contextlib.contextmanager
    def _said(self) -> Iterator[io.StringIO]:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            yield said

    def _shell(self, block: Block) -> None:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text], capture_output=True, text=True, check=False
        )
        expected = int(block.value) if block.marker == "exit" else 0
        assert expected == ended.returncode, (
            f"{self._page.name}:{block.line} ended with {ended.returncode}, expected {expected}\n"
            f"{ended.stdout}{ended.stderr}"
        )
        self._printed = ended.stdout

    def _serve(self, block: Block) -> None:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {block.text.strip()}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._servers.append(server)
        ready, lines = threading.Event(), []

        def listen() -> None:
            for line in server.stderr or ():
                lines.append(line)
                if "serving on" in line:
                    ready.set()
            ready.set()

        threading.Thread(target=listen, daemon=True).start()
        ready.wait(READY_SECONDS)
        assert any("serving on" in line for line in lines), f"{self._page.name}:{block.line}\n{''.join(lines)}"

    def _compare(self, block: Block) -> None:
        pattern = ".*?".join(map(re.escape, block.text.strip().split("…")))
        assert re.fullmatch(pattern, self._printed.strip(), re.DOTALL), (
            f"{self._page.name}:{block.line} shows\n{block.text}\nprinted was\n{self._printed}"
        )


if __name__ == "__main__":
    perform(Path(sys.argv[1]))
