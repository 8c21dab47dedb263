"""One comment on a merge request, updated in place: which one is ours, and when nothing has to be said."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlsplit

from stellwerk.core.errors import Invalid
from stellwerk.workspace.ports import Comment, Gallery, Target, Thread
from stellwerk.workspace.revision import of_ci

_KEPT = re.compile(r"<!-- picture ([0-9a-f]{64}) (/uploads/[0-9a-f]{16,128}/[A-Za-z0-9._-]{1,100}) -->")
"""How our comment remembers which picture is where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Pictures by title with their addresses, and the lines by which the next build knows them again."""

    images: Mapping[str, str] = field(default_factory=dict)
    hidden: str = ""


Posted = Literal["written", "edited", "unchanged"]


def target(source: Mapping[str, str], token: str = "") -> Target | None:
    """The merge request that a build is about; None where it is about none.

    Args:
        token: Instead of the one that the CI gives.

    Raises:
        Invalid: `invalid-forge`: what the CI says is no address, no project or no number.
    """
    said = of_ci(source)
    if not said.request:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,11}", said.request):
        raise _unsound("the number of the merge request", said.request)
    if said.system == "gitlab":
        return Target(
            forge="gitlab",
            api=_address(source.get("CI_API_V4_URL", "")),
            project=_project(source.get("CI_PROJECT_ID", "")),
            number=int(said.request),
            token=token or source.get("GITLAB_TOKEN", ""),
        )
    return Target(
        forge="github",
        api=_address(source.get("GITHUB_API_URL", "") or "https://api.github.com"),
        project=_project(source.get("GITHUB_REPOSITORY", "") or _slug(said.repository)),
        number=int(said.request),
        token=token or source.get("GITHUB_TOKEN", ""),
    )


def mine(thread: Thread, marker: str) -> Comment | None:
    """Our comment that begins with the marker.

    Whoever else writes the marker into a comment owns that comment and could change it later, so it is not ours.
    """
    me = thread.me()
    return next((one for one in thread.comments() if one.author == me and one.text.startswith(marker)), None)


def post(thread: Thread, known: Comment | None, text: str) -> tuple[Comment, Posted]:
    """Make our comment say this text, or write it where there is none yet."""
    if known is None:
        return thread.write(text), "written"
    if _same(known.text, text):
        return known, "unchanged"
    return thread.edit(known.id, text), "edited"


def show(gallery: Gallery, pictures: Mapping[str, tuple[str, str]], known: Comment | None) -> Shown:
    """Pictures where the comment can show them; those that our comment shows already are not kept again.

    Args:
        pictures: Name of the file → (title, SVG).
    """
    there = dict(_KEPT.findall(known.text)) if known else {}
    images, hidden = {}, []
    for name, (title, svg) in pictures.items():
        data = svg.encode()
        digest = hashlib.sha256(data).hexdigest()
        where = there.get(digest) or gallery.keep(name, data, "image/svg+xml")
        images[title] = where
        hidden.append(f"<!-- picture {digest} {where} -->")
    return Shown(images=images, hidden="\n".join(hidden))


def _same(one: str, other: str) -> bool:
    """Whether texts are equal but for the ends of their lines, which forges change."""
    return [line.rstrip() for line in one.strip().splitlines()] == [
        line.rstrip() for line in other.strip().splitlines()
    ]


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise _unsound("the address of the API", url)
    return url.rstrip("/")


def _project(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}(/[A-Za-z0-9_.-]{1,200})*", text) or ".." in text.split("/"):
        raise _unsound("the project", text)
    return text


def _slug(repository: str) -> str:
    """`owner/name` of the address of a repository at GitHub."""
    found = re.search(r"[/:]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(?:\.git)?/?$", repository)
    return found[1] if found else ""


def _unsound(what: str, got: str) -> Invalid:
    return Invalid(
        f"{what} is {quote(got[:60], safe=' /:.-_')!r} in the variables of this build",
        code="invalid-forge",
        hint="--post works in builds of merge requests at GitHub and GitLab",
    )
