"""One comment on a merge request, updated in place: which one is ours, and when nothing has to be said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote, urlsplit

from stellwerk.core.errors import Invalid
from stellwerk.workspace.ports import Comment, Target, Thread
from stellwerk.workspace.revision import of_ci

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


def post(thread: Thread, marker: str, text: str) -> tuple[Comment, Posted]:
    """Make one comment say this text: ours that begins with the marker, or a new one.

    Whoever else writes the marker into a comment owns that comment and could change it later, so it is not used.
    """
    me = thread.me()
    mine = [one for one in thread.comments() if one.author == me and one.text.startswith(marker)]
    if not mine:
        return thread.write(text), "written"
    if _same(mine[0].text, text):
        return mine[0], "unchanged"
    return thread.edit(mine[0].id, text), "edited"


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
