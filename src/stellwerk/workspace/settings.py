"""Everything the environment can set, read in one place into one frozen value. The table is the documentation."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stellwerk.core.errors import Invalid

CACHE_BYTES = 10 << 30
TRIGGER_BUDGET = 60
CAUSE_HEADER = "Stellwerk-Cause"
"""The twin of `STELLWERK_CAUSE` in requests to a server."""
LEAST_SECONDS = 0.1
"""Between looks at the machine."""
PARENT_RUN = "STELLWERK_PARENT_RUN"
PROFILES = "~/.aws/credentials"
ROLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
"""Variables that say that the machine we run on is given credentials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings with their environment variables (`STELLWERK_` and the name in capitals)."""

    actor: str = ""
    """Who is acting; the login name by default."""
    root: str = ""
    """Folder or URL of the workspace, for commands and scripts that are not told otherwise."""
    auto: bool = True
    """Whether `import stellwerk.auto` records; `off` or `0` says no."""
    notebook: str = ""
    """Path of the notebook that a kernel runs, for `import stellwerk.auto` where the front end does not say it."""
    within: str = ""
    """The run that `import stellwerk.auto` makes a child of; set by a recorded process for those that it starts."""
    offline: bool = False
    """What scripts log stays on this machine until `stellwerk runs --send`."""
    system_metrics: float = 0
    """Seconds between looks at the machine while a script logs a run: processors, memory, disk, network and GPUs become
    metrics `system/…`. 0 is off."""
    parent_run: str = ""
    """The run that runs of scripts become parts of: how a sweep finds what its programs logged."""
    state: str = ""
    """Folder in which this machine remembers the ledgers it has seen; `stellwerk` under `XDG_STATE_HOME`
    or `~/.local/state` by default."""
    allow_unsandboxed: bool = False
    """Judge models without a sandbox where the kernel has none. Each piece of quality evidence
    says which walls there were."""
    database_url: str = field(default="", repr=False)
    """Address of the PostgreSQL database, `postgresql://user:password@host/name`, for a workspace that keeps
    its book there. It is written nowhere."""
    cache_bytes: int = CACHE_BYTES
    """How much of a bucket is kept on this machine by a workspace whose blobs lie there."""
    s3_endpoint: str = ""
    """Address of the S3 service; else `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, else AWS. Plain `http://` is used
    only if it is said here or there."""
    s3_region: str = ""
    """Region; else `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, `us-east-1`."""
    s3_access_key_id: str = ""
    """Key of S3; else `AWS_ACCESS_KEY_ID`, else the profile's."""
    s3_secret_access_key: str = field(default="", repr=False)
    """Its secret; else `AWS_SECRET_ACCESS_KEY`, else the profile's."""
    s3_session_token: str = field(default="", repr=False)
    """Its token, if it is one for a while; else `AWS_SESSION_TOKEN`, else the profile's."""
    s3_profile: str = ""
    """Name of a profile; else `AWS_PROFILE`, else `default`."""
    s3_profiles: str = PROFILES
    """File of profiles; else `AWS_SHARED_CREDENTIALS_FILE`."""
    s3_credentials: str = ""
    """`role`: those that the machine or container we run on is given; `anonymous`: none. Else keys or a profile are
    needed."""
    source_folders: tuple[str, ...] = ()
    """Folders, separated like those of `PATH`, below which callers from elsewhere may refer to files of the server.
    Whoever sits at the machine may refer to every file."""
    source_hosts: tuple[str, ...] = ()
    """Hosts and networks inside our own network that sources may be fetched from, separated by commas:
    `lake.internal,10.2.0.0/16`."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts and networks inside our own network that webhooks may be sent to, also without encryption, separated by
    commas: `chat.internal,10.2.0.0/16`. All others must be public and have https."""
    source_buckets: tuple[str, ...] = ()
    """Buckets, or `bucket/prefix`, separated by commas, whose objects callers from elsewhere may refer to. Whoever sits
    at the machine may refer to whatever its credentials allow."""
    trigger_budget: int = TRIGGER_BUDGET
    """How many runs triggers may begin within an hour, all of them together. What is due beyond waits."""
    cause: str = ""
    """The firing of a trigger that this process works for; every entry that it writes names it, so that loops are
    noticed. `stellwerk triggers run` sets it."""
    sql: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`STELLWERK_SQL_WAREHOUSE` is the database URL that sources call `sql:warehouse`, and so for each other name."""
    forge_token: str = field(default="", repr=False)
    """Token that may comment on merge requests; else `GITHUB_TOKEN` or `GITLAB_TOKEN`. It goes to the address that the CI
    names and to no other."""
    git_author: str = ""
    """`Name <address>` of commits that `stellwerk promote` makes; else git's own `user.name` and `user.email`, else
    whoever is acting."""
    git_token: str = field(default="", repr=False)
    """Token by which `stellwerk promote` logs in where the environment repository has an `https://` address. It goes to
    that host and to no other; without one, logging in is git's own matter."""
    results_from: str = ""
    """Folder or URL of another workspace that is asked for results of steps which this one does not have; else `from`
    in `[results]` of `stellwerk.toml`."""
    results_token: str = field(default="", repr=False)
    """Token of the grant under which it is asked. Without one nobody is asked."""
    iceberg: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`STELLWERK_ICEBERG_LAKE` holds the properties of the catalogue that sources call `iceberg:lake/…`, as pyiceberg
    calls them: `type=rest&uri=https://…`. And so for each other name."""


def read(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of a process."""
    source = os.environ if environment is None else environment

    def said(name: str, *others: str) -> str:
        return next((source[key] for key in (f"STELLWERK_{name}", *others) if source.get(key)), "")

    # A secret and a token belong to the key beside which they were said.
    of = "STELLWERK_S3_" if source.get("STELLWERK_S3_ACCESS_KEY_ID") else "AWS_"
    has_role = not source.get(of + "ACCESS_KEY_ID") and any(source.get(name) for name in ROLES)
    return Settings(
        actor=source.get("STELLWERK_ACTOR", "") or _login(),
        root=source.get("STELLWERK_ROOT", ""),
        auto=source.get("STELLWERK_AUTO", "").lower() not in ("off", "0", "false", "no"),
        notebook=source.get("STELLWERK_NOTEBOOK", ""),
        within=source.get("STELLWERK_WITHIN", ""),
        offline=source.get("STELLWERK_OFFLINE", "") == "1",
        parent_run=source.get(PARENT_RUN, ""),
        system_metrics=_seconds(source.get("STELLWERK_SYSTEM_METRICS", "")),
        state=source.get("STELLWERK_STATE", "") or _state(source),
        allow_unsandboxed=source.get("STELLWERK_ALLOW_UNSANDBOXED", "") == "1",
        database_url=source.get("STELLWERK_DATABASE_URL", ""),
        cache_bytes=_bytes(source.get("STELLWERK_CACHE_BYTES", "")),
        s3_endpoint=said("S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        s3_region=said("S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
        s3_access_key_id=source.get(of + "ACCESS_KEY_ID", ""),
        s3_secret_access_key=source.get(of + "SECRET_ACCESS_KEY", ""),
        s3_session_token=source.get(of + "SESSION_TOKEN", ""),
        s3_profile=said("S3_PROFILE", "AWS_PROFILE"),
        s3_profiles=said("S3_PROFILES", "AWS_SHARED_CREDENTIALS_FILE") or PROFILES,
        s3_credentials=said("S3_CREDENTIALS") or ("role" if has_role else ""),
        source_folders=_listed(source.get("STELLWERK_SOURCE_FOLDERS", ""), os.pathsep),
        source_hosts=_listed(source.get("STELLWERK_SOURCE_HOSTS", ""), ","),
        webhook_hosts=_listed(source.get("STELLWERK_WEBHOOK_HOSTS", ""), ","),
        source_buckets=_listed(source.get("STELLWERK_SOURCE_BUCKETS", ""), ","),
        forge_token=said("FORGE_TOKEN"),
        git_author=said("GIT_AUTHOR"),
        git_token=said("GIT_TOKEN"),
        results_from=said("RESULTS_FROM"),
        results_token=said("RESULTS_TOKEN"),
        trigger_budget=_budget(source.get("STELLWERK_TRIGGER_BUDGET", "")),
        cause=named_cause(source.get("STELLWERK_CAUSE", "")),
        sql=_named(source, "STELLWERK_SQL_"),
        iceberg=_named(source, "STELLWERK_ICEBERG_"),
    )


def _listed(text: str, separator: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(separator) if item.strip())


def _named(source: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix).lower(): text for name, text in source.items() if name.startswith(prefix)}


def _state(source: Mapping[str, str]) -> str:
    base = source.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):  # the specification says to ignore others
        home = source.get("HOME", "")
        base = f"{home}/.local/state" if home else ""
    return f"{base}/stellwerk" if base else ""


def _bytes(text: str) -> int:
    if not text:
        return CACHE_BYTES
    if not (text.isascii() and text.isdigit() and len(text) < 18):
        raise Invalid(f"STELLWERK_CACHE_BYTES is {text[:20]!r} (expected a number of bytes)", code="invalid-setting")
    return int(text)


def _budget(text: str) -> int:
    if not text:
        return TRIGGER_BUDGET
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise Invalid(
            f"STELLWERK_TRIGGER_BUDGET is {text[:20]!r} (expected how many runs an hour may see)",
            code="invalid-setting",
        )
    return int(text)


def named_cause(text: str) -> str:
    """The id of a firing as somebody says it. Raises `Invalid`."""
    if not re.fullmatch(r"[0-9a-z]{0,64}", text):
        raise Invalid(f"STELLWERK_CAUSE is {text[:20]!r} (expected the id of a firing)", code="invalid-setting")
    return text


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{0,6}(\.[0-9]{1,3})?", text) or 0 < float(text or 0) < LEAST_SECONDS:
        raise Invalid(
            f"STELLWERK_SYSTEM_METRICS is {text[:20]!r} (expected seconds between looks at the machine, at least "
            f"{LEAST_SECONDS}, or 0 for none)",
            code="invalid-setting",
        )
    return float(text or 0)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"
