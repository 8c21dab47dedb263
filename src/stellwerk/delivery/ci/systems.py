"""The systems whose files are written: where each file lies, how it is made, and whether somebody has edited it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from stellwerk.delivery.ci import circleci, github, gitlab, jenkins
from stellwerk.delivery.ci.model import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """One system's file.

    Attributes:
        path: From the root of the repository.
        comment: What a line of comment begins with.
    """

    path: str
    render: Callable[[Order], str]
    comment: str = "#"

    def write(self, order: Order, command: str) -> str:
        """The whole file, headed by the command that made it and a digest that tells whether it was edited since."""
        text = self.render(order)
        return (
            f"{self.comment} Written by `{command}` ({_digest(text)}).\n"
            f"{self.comment} Yours to edit; that command replaces it only while nobody has. See docs/guide/ci.md.\n{text}"
        )

    def untouched(self, text: str) -> bool:
        """Whether a file is as some version of this program wrote it."""
        first, _, rest = text.partition("\n")
        said = re.fullmatch(rf"{self.comment} Written by `stellwerk ci init [^`]*` \(([0-9a-f]{{16}})\)\.", first)
        return said is not None and said[1] == _digest(rest.partition("\n")[2])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


SYSTEMS: dict[str, Writer] = {
    "github": Writer(path=github.PATH, render=github.render),
    "gitlab": Writer(path=gitlab.PATH, render=gitlab.render),
    "circleci": Writer(path=circleci.PATH, render=circleci.render),
    "jenkins": Writer(path=jenkins.PATH, render=jenkins.render, comment="//"),
}
