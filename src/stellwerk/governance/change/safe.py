"""Foreign words in Markdown: names of metrics, columns and branches, messages of errors. Nothing in them may act.

There is one rule: whatever was not written here stands in a code span or in a fenced block. Inside of those, GitHub and
GitLab render no HTML, no link, no image, no mention and no reference; all that is left to do is to keep it inside.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 120
"""Characters of a name that are shown."""
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
"""Categories of characters that steer or hide: controls, directions, surrogates, what is not assigned."""


def visible(text: str) -> str:
    """Text with what steers or hides replaced by a sign that can be seen; line feeds and tabs stay."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in _HIDDEN else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def code(text: str, *, most: int = LONGEST) -> str:
    """A code span on one line that holds the text and nothing else.

    A bar would end the cell of a table even inside of a code span, so a sign stands there that looks alike.
    """
    plain = " ".join(visible(text).split())
    plain = plain if len(plain) <= most else plain[: most - 1] + "…"
    plain = plain.replace("|", "\N{DIVIDES}") or "–"
    fence = "`" * (_longest(plain) + 1)
    pad = " " if plain[0] == "`" or plain[-1] == "`" else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def block(text: str, language: str = "text") -> str:
    """A fenced block that holds the text and nothing else."""
    plain = visible(text).rstrip("\n")
    fence = "`" * max(3, _longest(plain) + 1)
    return f"{fence}{language}\n{plain}\n{fence}"


def _longest(text: str) -> int:
    """The longest run of backticks: a fence has to be longer."""
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
