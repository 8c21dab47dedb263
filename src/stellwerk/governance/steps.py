"""The one sensible next step of an endpoint, as a sentence and a command."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from stellwerk.monitoring.model import Assessment
from stellwerk.releases.model import EndpointSpec, Release, SignalState, Verdict
from stellwerk.releases.rules import due_for_renewal, permits, spent


def next_step(
    endpoint: EndpointSpec,
    active: Release | None,
    state: SignalState,
    verdicts: Sequence[Verdict],
    latest: Assessment | None,
    now: datetime,
    history: Sequence[Release] = (),
) -> tuple[str, str]:
    """What to do next, and the command for it. An empty command means: nothing."""
    name = endpoint.name
    verdict = verdicts[-1] if verdicts else None
    fresh = verdict is not None and not permits(verdict, now) and not any(spent(known, verdict) for known in history)
    if fresh:
        return "The newest verdict is clear: release it.", f"stellwerk release {name}"
    if active is None or state.signal == "stop":
        if verdict is None:
            return "Nothing has been proven yet: train a model and prove it.", f"stellwerk prove {name}"
        if verdict.outcome == "unproven" and verdict.n_needed:
            return (
                f"The last proof lacks about {verdict.n_needed:,} labelled cases: gather them, then prove again.",
                f"stellwerk prove {name}",
            )
        used = "used" if verdict.outcome == "clear" else verdict.outcome
        return f"The last verdict is {used}: train on newer data and prove the model.", "stellwerk run"
    if active.caution:
        return "Quality is falling: retrain on newer data, then prove the challenger.", "stellwerk run"
    if due_for_renewal(active.granted_at, active.expires_at, now):
        return "The lease is in its last fifth: renew it with fresh proof.", f"stellwerk renew {name}"
    if latest is not None and latest.coverage is not None and latest.coverage < 0.2:
        return "Few answers have a label yet; without labels the lease cannot be renewed.", f"stellwerk inbox {name}"
    if any(finding.material for finding in latest.drift) if latest else False:
        return "Inputs have shifted noticeably: look at the drift before the labels tell.", "stellwerk board"
    return "Nothing to do: the signal is clear and proof is fresh.", ""
