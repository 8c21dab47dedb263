"""What the emitter is told besides the plan, and how values are named on their way between tasks of Kubeflow.

The bytes of values never pass through Kubeflow: what passes are descriptors, small JSON objects that name them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from stellwerk.core.digest import Digest, parse
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.model import Stored

_IMAGE = re.compile(r"[a-z0-9][a-z0-9._/:@-]{0,500}", re.IGNORECASE)
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY = re.compile(r"[-._A-Za-z0-9]{1,253}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
RESERVED = "STELLWERK_ROOT"
"""The variable in which a pod finds the address of the workspace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A key of a secret of the cluster that becomes a variable of every pod. Its content is never known here."""

    variable: str
    secret: str
    key: str

    def __post_init__(self) -> None:
        fits = _VARIABLE.fullmatch(self.variable) and _SECRET.fullmatch(self.secret) and _KEY.fullmatch(self.key)
        if not fits or self.variable == RESERVED:
            raise Invalid(
                f"{self.variable}={self.secret}/{self.key} is no secret (expected VARIABLE=SECRET/KEY)",
                code="invalid-secret",
                hint="--secret API_TOKEN=stellwerk/token",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and with what the pods run.

    Args:
        image: The container image of steps that name none.
        address: Where the pods reach the workspace: a URL, or a folder that is mounted in all of them.
        code: The digest of a source tree in the workspace; empty if the code is in the image.
        pipeline: `module:name` of the pipeline, with which a pod plans again if a run has other parameters.
        expected: The closure digest that a function must have in the pod, by function reference.
        images: Images of single nodes by their id.
        secrets: What pods find in their environment besides.
    """

    image: str
    address: str
    code: str = ""
    pipeline: str = ""
    expected: Mapping[str, Digest] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()

    def __post_init__(self) -> None:
        for image in (self.image, *self.images.values()):
            if not _IMAGE.fullmatch(image):
                raise Invalid(
                    f"{image[:60]!r} is no image (expected such as ghcr.io/team/steps:1)", code="invalid-image"
                )
        if not self.address:
            raise Invalid(
                "nobody says where the pods reach the workspace",
                code="no-address",
                hint="--address http://stellwerk.team.svc:8000",
            )
        if "@" in urlsplit(self.address).netloc:
            raise Invalid(
                "the address of the workspace holds credentials, which everybody could read in the pipeline",
                code="secret-in-address",
                hint="put them into a secret of the cluster: --secret VARIABLE=SECRET/KEY",
            )


def descriptor(stored: Stored, key: str = "") -> dict[str, str]:
    """What stands for a stored value between tasks: its digest, how to read it, and the step key that made it."""
    return {"digest": stored.digest, "media": stored.media, **({"key": key} if key else {})}


def literal(value: Any) -> dict[str, Any]:
    """What stands for a JSON value that nobody has stored yet: an item that is written in the plan."""
    return {"json": value}


def read_descriptor(body: Any) -> Stored | None:
    """The stored value of a descriptor; None if it is a literal. `Invalid` for anything else."""
    if isinstance(body, Mapping) and set(body) == {"json"}:
        return None
    if isinstance(body, Mapping) and {"digest", "media"} <= set(body) and isinstance(body["media"], str):
        return Stored(digest=parse(str(body["digest"])), media=body["media"])
    raise Invalid(
        f"{str(body)[:80]!r} does not name a value (expected an object with digest and media)",
        code="invalid-descriptor",
    )


def within_reach(address: str) -> bool:
    """Whether a pod may reach an address: not where it means the machine that says it."""
    host = urlsplit(address).hostname or ""
    try:
        at = ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")
    return not (at.is_loopback or at.is_unspecified)
