"""What a CI file is ordered to do. How each system says it is in `github`, `gitlab`, `circleci` and `jenkins`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from stellwerk.core.errors import Invalid
from stellwerk.core.names import name as checked_name

System = Literal["github", "gitlab", "circleci", "jenkins"]
PYTHON = "3.12"
REPORTS = "reports"
"""Folder of what a job reports."""

_REPOSITORY = (
    r"((https|ssh)://([A-Za-z0-9_-]{1,64}@)?[A-Za-z0-9.:\[\]-]{1,255}/[A-Za-z0-9._/~-]{1,255}"
    r"|[A-Za-z0-9_-]{1,64}@[A-Za-z0-9.-]{1,255}:[A-Za-z0-9._/~-]{1,255})?"
)
_SHAPES = {
    "python": (r"3\.[0-9]{1,2}(\.[0-9]{1,2})?", "a version such as 3.12"),
    "image": (r"([A-Za-z0-9][A-Za-z0-9._/:@-]{0,255})?", "the name of an image, such as python:3.12-slim"),
    "branch": (r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", "the name of a branch"),
    "lock": (r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}", "a path below the repository, such as requirements.lock"),
    "workspace": (r"(https?://[A-Za-z0-9.:\[\]-]{1,255}(/[A-Za-z0-9._/-]{0,255})?)?", "an address, http:// or https://"),
    "role": (r"(arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512})?", "arn:aws:iam::123456789012:role/name"),
    "previews": (_REPOSITORY, "an address without a password, https://… or git@host:…"),
    "runner": (r"([A-Za-z0-9][A-Za-z0-9._-]{0,127})?", "a label of runners"),
}  # fmt: skip
"""Options stand in YAML, Groovy and shell alike, so nothing is let in that any of them would read in its own way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the jobs of a repository shall do.

    Attributes:
        name: The project's, and so of the workspace that a job makes.
        pipeline: The pipeline that is run; empty for the only one of the project's file.
        endpoints: What is proven after the run, in this order.
        environment: Where a release goes: the environment whose rules of approval a system asks.
        release: Whether there is a job that releases what is proven, after somebody approved.
        waits: Whether the pipeline waits for a person, whose case an approval in the CI decides.
        previews: The environment repository that a merge request has a preview in; empty for none.
        branch: The branch from which releases are made, and whose step cache others begin with.
        lock: The file from which packages are installed.
        hashes: Whether the lock names the hash of every file.
        image: The container; empty for the system's own runner, or the usual image of Python.
        runner: The label of the machines that do the work; empty for the usual ones.
        workspace: Address of a workspace; empty for one of the CI's own, in its cache.
        role: The AWS role that a job takes by its OIDC token, for data and remotes in buckets.
    """

    name: str
    pipeline: str = ""
    endpoints: tuple[str, ...] = ()
    environment: str = "production"
    release: bool = False
    waits: bool = False
    previews: str = ""
    branch: str = "main"
    lock: str = "requirements.lock"
    hashes: bool = False
    python: str = PYTHON
    image: str = ""
    runner: str = ""
    workspace: str = ""
    role: str = ""

    def __post_init__(self) -> None:
        for field, (shape, expected) in _SHAPES.items():
            value = getattr(self, field)
            if not re.fullmatch(shape, value) or "//" in value.partition("://")[2] or ".." in value:
                said = re.sub(r"(?<=://)[^/@\s]+@", "…@", value)[:60]  # a password is not said again
                raise Invalid(f"{field} is {said!r} (expected {expected})", code="invalid-ci-option")
        for field in ("name", "environment", *(("pipeline",) if self.pipeline else ())):
            checked_name(getattr(self, field), what=field)
        for endpoint in self.endpoints:
            checked_name(endpoint, what="endpoint")
        if (self.release or self.previews) and not self.endpoints:
            raise Invalid(
                f"there is nothing to {'release' if self.release else 'preview'}: no endpoint is declared",
                code="invalid-ci-option",
                hint="add [endpoint.NAME] to stellwerk.toml",
            )

    @property
    def keeps_red(self) -> bool:
        """Whether a job that fails leaves its workspace among its files, so that a step can be fetched from it.

        A shared workspace has it anyhow; what came by a role may be meant for fewer people than the files of a job.
        """
        return not self.workspace and not self.role

    @property
    def logs_in(self) -> bool:
        """Whether a token logs in at the environment repository; by ssh it is a key of the machine."""
        return self.previews.startswith("https://")
