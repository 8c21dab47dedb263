"""Which commit of which branch runs here, as the CI says it or as git does. What is done with it is said elsewhere.

This is the one module that reads the variables of CI systems: those of GitHub Actions (and Gitea, Forgejo), GitLab CI,
CircleCI and Jenkins.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from stellwerk.workspace.adapters.git_state import state

System = Literal["github", "gitlab", "circleci", "jenkins", ""]

COMMIT, BRANCH, REPOSITORY = "mlflow.source.git.commit", "mlflow.source.git.branch", "mlflow.source.git.repoURL"
"""The tags in which MLflow's clients say the same, so that every search and comparison knows them already."""
REQUEST, DIRTY, BUILD = "ci.request", "git.dirty", "ci.url"
MAX_EVENT = 4 << 20
_SAID = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A state of a code repository, and the build that looks at it.

    Attributes:
        target: The branch that the merge request wants to change.
        request: Number of the merge request.
        dirty: Files that the commit knows are not as it left them.
        url: Where people see the build.
    """

    commit: str = ""
    branch: str = ""
    target: str = ""
    request: str = ""
    repository: str = ""
    dirty: bool = False
    system: System = ""
    url: str = ""


def read(folder: Path, environment: Mapping[str, str] | None = None) -> Revision:
    """What is known of the code in a folder. The commit is git's own word where there is git, for that is what runs."""
    source = os.environ if environment is None else environment
    said, found = of_ci(source), state(folder)
    return Revision(
        commit=found.commit or said.commit,
        branch=said.branch or found.branch,
        target=said.target,
        request=said.request,
        repository=_without_secrets(said.repository or found.origin),
        dirty=found.dirty,
        system=said.system,
        url=said.url,
    )


def tags(folder: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tags by which a run is found again as that of a commit, a branch and a merge request."""
    found = read(folder, environment)
    named = {
        COMMIT: found.commit,
        BRANCH: found.branch,
        REPOSITORY: found.repository,
        REQUEST: found.request,
        DIRTY: "true" if found.dirty else "",
        BUILD: found.url,
    }
    return {name: text[:_SAID] for name, text in named.items() if text}


def of_ci(source: Mapping[str, str]) -> Revision:
    """What the variables of a CI system say; nothing outside of one."""
    if source.get("GITHUB_ACTIONS") == "true" or source.get("GITHUB_SHA"):
        return _github(source)
    if source.get("GITLAB_CI") == "true" or source.get("CI_COMMIT_SHA"):
        return _gitlab(source)
    if source.get("CIRCLECI") == "true" or source.get("CIRCLE_SHA1"):
        return _circleci(source)
    if source.get("JENKINS_URL") or source.get("GIT_COMMIT"):
        return _jenkins(source)
    return Revision()


def _github(source: Mapping[str, str]) -> Revision:
    server, slug = source.get("GITHUB_SERVER_URL", ""), source.get("GITHUB_REPOSITORY", "")
    request = re.fullmatch(r"refs/pull/(\d{1,12})/(?:merge|head)", source.get("GITHUB_REF", ""))
    number = request[1] if request else _number_of_event(source.get("GITHUB_EVENT_PATH", ""))
    build = source.get("GITHUB_RUN_ID", "")
    branch = source.get("GITHUB_HEAD_REF") or ("" if request else source.get("GITHUB_REF_NAME", ""))
    return Revision(
        commit=source.get("GITHUB_SHA", ""),
        branch=branch,
        target=source.get("GITHUB_BASE_REF", ""),
        request=number,
        repository=f"{server}/{slug}" if server and slug else "",
        system="github",
        url=f"{server}/{slug}/actions/runs/{build}" if server and slug and build else "",
    )


def _number_of_event(path: str) -> str:
    """The number of the pull request that an event is about; events of other kinds, and none, say nothing."""
    try:
        with Path(path).open("rb") as file:
            document = json.loads(file.read(MAX_EVENT))
        number = (document.get("pull_request") or document.get("issue") or {}).get("number")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return str(number) if isinstance(number, int) and not isinstance(number, bool) and number > 0 else ""


def _gitlab(source: Mapping[str, str]) -> Revision:
    return Revision(
        commit=source.get("CI_COMMIT_SHA", ""),
        branch=source.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") or source.get("CI_COMMIT_BRANCH", ""),
        target=source.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", ""),
        request=source.get("CI_MERGE_REQUEST_IID", ""),
        repository=source.get("CI_PROJECT_URL", ""),
        system="gitlab",
        url=source.get("CI_JOB_URL", ""),
    )


def _circleci(source: Mapping[str, str]) -> Revision:
    request = re.search(r"/(?:pull|merge_requests)/(\d{1,12})$", source.get("CIRCLE_PULL_REQUEST", ""))
    return Revision(
        commit=source.get("CIRCLE_SHA1", ""),
        branch=source.get("CIRCLE_BRANCH", ""),
        request=request[1] if request else "",
        repository=source.get("CIRCLE_REPOSITORY_URL", ""),
        system="circleci",
        url=source.get("CIRCLE_BUILD_URL", ""),
    )


def _jenkins(source: Mapping[str, str]) -> Revision:
    branch = source.get("CHANGE_BRANCH") or source.get("GIT_BRANCH") or source.get("BRANCH_NAME", "")
    return Revision(
        commit=source.get("GIT_COMMIT", ""),
        branch=branch.removeprefix("origin/"),
        target=source.get("CHANGE_TARGET", ""),
        request=source.get("CHANGE_ID", ""),
        repository=source.get("GIT_URL", ""),
        system="jenkins",
        url=source.get("BUILD_URL", ""),
    )


def _without_secrets(url: str) -> str:
    """An address as it may be written down: runners put their token into that of the repository."""
    parts = urlsplit(url)
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
