"""From a release to the signal: minting lease tokens, and judging them offline. Unknown is always stop (law 1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from stellwerk.core.errors import StellwerkError
from stellwerk.ledger import documents, rules
from stellwerk.ledger import keys as signing
from stellwerk.ledger.ports import Signer, Verifier
from stellwerk.releases.model import EndpointSpec, LeaseToken, Release, SignalState

PAYLOAD_TYPE = "application/vnd.stellwerk.lease-token+json"
TOKEN_LIFE = timedelta(minutes=15)


def holds(release: Release, now: datetime) -> bool:
    """Whether a release permits anything at this moment."""
    return release.status == "active" and release.granted_at <= now < release.expires_at


def mint(
    release: Release,
    endpoint: EndpointSpec,
    workspace: str,
    now: datetime,
    signer: Signer,
    life: timedelta = TOKEN_LIFE,
) -> dict[str, Any] | None:
    """A signed token for a release that holds, ending with the lease at the latest; None for one that does not."""
    if not holds(release, now):
        return None
    token = LeaseToken(
        workspace=workspace,
        endpoint=release.endpoint,
        environment=release.environment,
        release=release.id,
        model=release.model,
        mode="caution" if release.caution else "clear",
        why=release.caution,
        not_before=now,
        not_after=min(now + life, release.expires_at),
        audit_share=release.audit_share,
        routed=release.routed,
        proven=release.proven,
        steering={"fallback": endpoint.fallback, "queue": endpoint.steering.review_queue},
    )
    return rules.seal(documents.dump(token), signer, PAYLOAD_TYPE)


def judge(
    envelope: Mapping[str, Any] | None,
    *,
    workspace: str,
    endpoint: str,
    environment: str,
    now: datetime,
    keys: Sequence[bytes],
    verifier: Verifier,
) -> SignalState:
    """The signal that a token proves. Never raises: whatever cannot be checked is stop.

    Args:
        keys: The public keys of which one must have signed it.
    """
    if envelope is None:
        return SignalState(signal="stop", why="no lease token")
    try:
        if envelope.get("payloadType") != PAYLOAD_TYPE:
            return SignalState(signal="stop", why="not a lease token")
        token = documents.load(LeaseToken, signing.unseal(envelope, keys, verifier))
        if token.not_before.utcoffset() is None or token.not_after.utcoffset() is None:
            return SignalState(signal="stop", why="the lease token has a time without zone")
    except (StellwerkError, TypeError, ValueError, AttributeError) as cause:
        return SignalState(signal="stop", why=f"the lease token is not valid: {cause}")
    if (token.workspace, token.endpoint, token.environment) != (workspace, endpoint, environment):
        return SignalState(signal="stop", why="the lease token is for another endpoint")
    if not token.not_before <= now < token.not_after:
        return SignalState(
            signal="stop", why="the lease token has ended" if now >= token.not_after else "not yet valid"
        )
    if token.not_after - token.not_before > 4 * TOKEN_LIFE:
        return SignalState(signal="stop", why="the lease token lasts longer than any may")
    return SignalState(signal=token.mode, why=token.why or "released", token=token)


def encode(envelope: Mapping[str, Any]) -> bytes:
    """A token as it is kept in a file or sent over a wire."""
    return json.dumps(dict(envelope), sort_keys=True).encode()


def caution(release: Release, why: str) -> Release:
    """A release whose signal shows caution from now on."""
    return replace(release, caution=why)
