"""Promotions: which model belongs where, as a small file in an environment repository (`docs/formats/promotion.md`).

The repository says what should run; whether it may is still decided by the release and its lease.
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from stellwerk.core.digest import Digest
from stellwerk.core.digest import parse as parse_digest
from stellwerk.core.errors import Invalid
from stellwerk.core.names import name as checked_name
from stellwerk.releases import rules
from stellwerk.releases.model import Release, Verdict

FORMAT, DEMANDS_FORMAT = "stellwerk-promotion/1", "stellwerk-environment/1"
LARGEST = 8192
Demand = Literal["release", "verdict", "nothing"]
Standing = Literal["released", "clear", "stop", "unproven"]
DEMANDS: tuple[Demand, ...] = ("nothing", "verdict", "release")
"""From the least to the most."""
_TEXTS = (
    "format", "environment", "endpoint", "workspace", "model", "digest", "standing", "verdict", "release",
)  # fmt: skip
_ENVIRONMENT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Which model version belongs to an endpoint of an environment.

    Attributes:
        standing: What was known of it: a release that holds, or the newest verdict on the endpoint.
        verdict: Its id; empty where nobody proved it.
        release: Its id; empty where it has none.
    """

    environment: str
    endpoint: str
    workspace: str
    model: str
    version: int
    digest: Digest
    standing: Standing
    verdict: str = ""
    release: str = ""

    @property
    def named(self) -> str:
        """`delay@3`."""
        return f"{self.model}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What would be written, and what stands against it.

    Attributes:
        obstacle: Why the environment may not have it; empty where it may.
    """

    pointer: Pointer
    demand: Demand
    obstacle: str = ""


def environment_name(text: str) -> str:
    """Check the name of an environment, which becomes a folder and a part of branches."""
    if not _ENVIRONMENT.fullmatch(text):
        raise Invalid(
            f"{text[:60]!r} cannot be an environment (expected small letters, digits and '-' between them)",
            code="invalid-environment",
        )
    return text


def preview_name(number: int) -> str:
    """The environment of a merge request."""
    return f"pr-{number:d}"


def standing(release: Release | None, verdict: Verdict | None, now: datetime) -> Standing:
    """What may be said of a model. Expired evidence does not count (law 5)."""
    if release is not None:
        return "released"
    if verdict is None:
        return "unproven"
    if verdict.outcome == "clear" and rules.permits(verdict, now):
        return "unproven"
    return verdict.outcome


def obstacle(found: Standing, demand: Demand) -> str:
    """Why a model of this standing cannot have what demands so much; empty where it can."""
    if demand == "release" and found != "released":
        return f"the environment demands a release that holds, and the model is {_said(found)}"
    if demand == "verdict" and found not in ("released", "clear"):
        return f"the environment demands a clear verdict, and the model is {_said(found)}"
    return ""


def _said(found: Standing) -> str:
    return {"stop": "proven unfit (stop)", "clear": "clear, but not released"}.get(found, found)


def demanded(asked: Demand, *, own: bool) -> Demand:
    """What an environment demands: the one that the endpoint was declared for never less than a release (law 2)."""
    return "release" if own else asked


def text(pointer: Pointer) -> str:
    """The pointer as it is written; equal pointers have equal texts."""
    facts: dict[str, str | int] = {
        "format": FORMAT,
        "environment": pointer.environment,
        "endpoint": pointer.endpoint,
        "workspace": pointer.workspace,
        "model": pointer.model,
        "version": pointer.version,
        "digest": str(pointer.digest),
        "standing": pointer.standing,
        "verdict": pointer.verdict,
        "release": pointer.release,
    }
    head = "# Which model belongs here. `stellwerk promote` writes it; whether it may run, its release says.\n"
    return head + "".join(f"{key} = {_value(value)}\n" for key, value in facts.items())


def parse(data: bytes) -> Pointer:
    """The pointer of a text. Raises `Invalid` for anything that `text` would not have written."""
    facts = _document(data, "promotion")
    texts = {key: facts[key] for key in _TEXTS if isinstance(facts.get(key), str)}
    version = facts.get("version")
    if set(facts) != {*_TEXTS, "version"} or len(texts) != len(_TEXTS) or type(version) is not int or version < 1:
        raise _wrong("promotion", f"expected exactly {', '.join(sorted({*_TEXTS, 'version'}))}")
    if texts["format"] != FORMAT or texts["standing"] not in ("released", "clear", "stop", "unproven"):
        raise _wrong("promotion", f"expected the format {FORMAT}")
    found = Pointer(
        environment=environment_name(texts["environment"]),
        endpoint=checked_name(texts["endpoint"], what="endpoint"),
        workspace=texts["workspace"],
        model=texts["model"],
        version=version,
        digest=parse_digest(texts["digest"]),
        standing=texts["standing"],
        verdict=texts["verdict"],
        release=texts["release"],
    )
    if text(found).encode() != data:
        raise _wrong("promotion", "it is not written as `stellwerk promote` writes it")
    return found


def parse_demand(data: bytes | None) -> Demand:
    """What an environment says that it demands; without a file a clear verdict."""
    if data is None:
        return "verdict"
    facts = _document(data, "environment")
    if set(facts) != {"format", "demands"} or facts["format"] != DEMANDS_FORMAT or facts["demands"] not in DEMANDS:
        raise _wrong("environment", f'expected format = "{DEMANDS_FORMAT}" and demands = {" | ".join(DEMANDS)}')
    found: Demand = facts["demands"]
    return found


def _document(data: bytes, what: str) -> dict[str, Any]:
    if len(data) > LARGEST:
        raise _wrong(what, f"it has more than {LARGEST} bytes")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise _wrong(what, "it is no TOML") from cause


def _wrong(what: str, why: str) -> Invalid:
    return Invalid(
        f"the file of the {what} in the repository cannot be read: {why}",
        code="invalid-promotion",
        hint="docs/formats/promotion.md says what it holds; correct it by a commit",
    )


def _value(value: str | int) -> str:
    """A TOML value. JSON escapes text as TOML does, but for one character."""
    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
