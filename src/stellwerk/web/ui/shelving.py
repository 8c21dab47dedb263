"""The page of a model as people use it: what its address says, and where its links lead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from stellwerk.web.ui import words

SIZE = 100
"""Versions on one page."""
MOST_PAGES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the address of a model's page says."""

    path: str
    as_of: str = ""
    """As it was typed."""
    page: int = 1

    @property
    def first(self) -> int:
        """The place of the first version on this page, from 1."""
        return (self.page - 1) * SIZE + 1

    def query(self, *, page: int = 1) -> str:
        """The address of another page of the same versions."""
        then = replace(self, page=page)
        pairs = [("as_of", then.as_of)] if then.as_of else []
        pairs += [("page", str(then.page))] if then.page > 1 else []
        return then.path + ("?" + urlencode(pairs, errors="replace") if pairs else "")


def read(pairs: Iterable[tuple[str, str]], name: str) -> Asked:
    """Read an address; what cannot be a number of a page is the first page."""
    last = dict(pairs)
    page = last.get("page", "")
    number = int(page) if page.isascii() and page.isdigit() and len(page) < 8 else 1
    return Asked(
        path=words.page("models", name) or "/models",
        as_of=last.get("as_of", "").strip(),
        page=min(max(number, 1), MOST_PAGES),
    )
