"""Who we are to an object store: settings first, then the standard places of AWS. Nothing here is ever shown."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.workspace.settings import Settings

if TYPE_CHECKING:
    from stellwerk.store.adapters.objects import Access

HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or STELLWERK_S3_CREDENTIALS=role"


def access(settings: Settings) -> Access:
    """What reaches S3. Raises `Unavailable` where there are no credentials: none are looked for on the network."""
    from stellwerk.store.adapters.objects import Access

    endpoint = settings.s3_endpoint
    if endpoint and not endpoint.startswith(("https://", "http://")):
        raise Invalid("the endpoint of S3 must begin with https:// or http://", code="invalid-url")
    profile = _profile(settings)
    region = settings.s3_region or profile.get("region", "") or "us-east-1"
    options = _options(settings, profile)
    return Access(region=region, endpoint=endpoint.rstrip("/"), options=options)


def _options(settings: Settings, profile: dict[str, str]) -> dict[str, str]:
    if settings.s3_credentials == "anonymous":
        return {"skip_signature": "true"}
    if settings.s3_credentials == "role":
        return {}  # the client asks the machine it runs on
    if settings.s3_credentials:
        raise Invalid(
            f"STELLWERK_S3_CREDENTIALS is {settings.s3_credentials[:20]!r} (expected 'role', 'anonymous' or nothing)",
            code="invalid-setting",
        )
    found = {
        "access_key_id": settings.s3_access_key_id or profile.get("aws_access_key_id", ""),
        "secret_access_key": settings.s3_secret_access_key or profile.get("aws_secret_access_key", ""),
        "session_token": settings.s3_session_token or profile.get("aws_session_token", ""),
    }
    if not (found["access_key_id"] and found["secret_access_key"]):
        raise Unavailable("there are no credentials for S3", code="no-credentials", hint=HINT)
    return {key: value for key, value in found.items() if value}


def _profile(settings: Settings) -> dict[str, str]:
    """A profile of the file of credentials; nothing where keys are given, or nobody keeps such a file."""
    if settings.s3_access_key_id or settings.s3_credentials:
        return {}
    file = Path(settings.s3_profiles).expanduser()
    name = settings.s3_profile or "default"
    profiles = configparser.RawConfigParser()
    try:
        profiles.read_string(file.read_text("utf-8"))
    except OSError:
        profiles.clear()
    except (configparser.Error, UnicodeDecodeError) as cause:
        raise Invalid("the file of AWS profiles cannot be read", code="invalid-setting") from cause
    if profiles.has_section(name):
        return dict(profiles.items(name))
    if settings.s3_profile:
        raise Unavailable(f"there is no AWS profile {name[:60]!r}", code="no-credentials", hint=HINT)
    return {}
