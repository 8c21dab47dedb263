"""Ledger entries in plain words, and a tone for the eye."""

from __future__ import annotations

from typing import Any, Literal

from stellwerk.core.digest import short
from stellwerk.governance.model import EventLine
from stellwerk.ledger.model import Entry

Tone = Literal["neutral", "good", "warn", "bad"]

_SAYINGS: dict[str, tuple[str, Tone]] = {
    "workspace.created": ("workspace created", "neutral"),
    "access.granted": ("access granted as {role}", "neutral"),
    "data.added": ("dataset version added, now {rows} rows ({partition})", "neutral"),
    "data.refused": ("{partition} refused: {bad_rows} of {rows} rows break the contract", "bad"),
    "contract.drafted": ("contract drafted with {columns} columns", "neutral"),
    "contract.confirmed": ("contract confirmed with {columns} columns", "good"),
    "run.started": ("{kind} {name} started", "neutral"),
    "run.finished": ("{kind} {name} finished", "neutral"),
    "run.failed": ("{kind} {name} failed", "bad"),
    "run.interrupted": ("{kind} {name} was interrupted", "warn"),
    "run.imported": ("run {name} imported", "neutral"),
    "experiment.imported": ("experiment {name} imported", "neutral"),
    "model.imported": ("model {name}@{version} imported", "neutral"),
    "model.registered": ("model {name}@{version} registered", "neutral"),
    "model.alias-moved": ("alias {alias} now points at version {version}", "neutral"),
    "model.alias-removed": ("alias {alias} no longer points at version {version}", "neutral"),
    "model.created": ("model created", "neutral"),
    "model.described": ("what is said of the model changed", "neutral"),
    "model.renamed": ("model renamed to {to}", "neutral"),
    "model.deleted": ("model deleted with its versions", "warn"),
    "model.version-deleted": ("version {version} deleted", "warn"),
    "model.staged": ("version {version} moved to stage {stage}", "neutral"),
    "model.alias-protected": ("alias {alias} moves only to what is released", "good"),
    "model.alias-unprotected": ("alias {alias} moves freely", "warn"),
    "gate.sealed": ("gate set sealed with {rows} cases", "neutral"),
    "plan.frozen": ("plan frozen for {endpoint}", "neutral"),
    "gate.opened": ("gate set opened, attempt {attempt}", "warn"),
    "evidence.signed": ("{evidence} evidence signed", "neutral"),
    "verdict.given": ("verdict {outcome} (attempt {attempt})", "neutral"),
    "endpoint.declared": ("endpoint declared", "neutral"),
    "release.granted": ("released until {until}", "good"),
    "release.superseded": ("superseded by {by}", "neutral"),
    "release.renewed": ("renewed until {until}: {why}", "good"),
    "release.not-renewed": ("not renewed: {why}", "warn"),
    "release.stopped": ("stopped: {why}", "bad"),
    "release.resumed": ("resumed instead of {instead_of}, until {until}", "warn"),
    "promotion.begun": ("{model} goes to {environment} ({standing})", "neutral"),
    "promotion.committed": ("promoted to {environment} by commit {commit}", "good"),
    "promotion.failed": ("not promoted to {environment}: {why}", "warn"),
    "promotion.closed": ("preview {environment} taken away by commit {commit}", "neutral"),
    "signal.caution": ("signal at caution: {why}", "warn"),
    "results.granted": ("{to} may read results of steps until {until}", "neutral"),
    "results.grant-revoked": ("{to} may no longer read results of steps", "warn"),
    "results.read": ("{to} found the result of run {run}", "neutral"),
    "results.taken": ("{to} read {output} of run {run}", "neutral"),
    "predictions.sealed": ("{predictions} predictions sealed", "neutral"),
    "outcomes.recorded": ("{count} outcomes recorded", "neutral"),
    "endpoint.assessed": ("assessed", "neutral"),
    "alarm.raised": ("alarm: {text}", "bad"),
    "alarm.cleared": ("alarm over: {kind}", "good"),
    "trigger.added": ("trigger of {pipeline} added", "neutral"),
    "trigger.changed": ("trigger of {pipeline} changed", "neutral"),
    "trigger.paused": ("trigger paused", "warn"),
    "trigger.resumed": ("trigger goes on", "neutral"),
    "trigger.removed": ("trigger taken away", "neutral"),
    "trigger.fired": ("{pipeline} is to be run: {text}", "neutral"),
    "trigger.joined": ("{count} more causes joined what waits", "neutral"),
    "trigger.dropped": ("{count} causes led to nothing: {why}", "warn"),
    "trigger.claimed": ("{runner} takes it, attempt {epoch}", "neutral"),
    "trigger.put-back": ("to be tried again: {problem}", "warn"),
    "trigger.started": ("run {run} began", "neutral"),
    "execution.taken": ("goes on, was {was}: {cause}", "neutral"),
    "execution.passed-over": ("left to people: {why}", "warn"),
    "trigger.ended": ("ended: {outcome}", "neutral"),
    "cases.opened": ("{count} cases opened", "neutral"),
    "case.opened": ("case opened in the queue {queue}", "neutral"),
    "case.delegated": ("case handed to {to}", "neutral"),
    "case.decided": ("case decided", "neutral"),
    "case.withdrawn": ("case withdrawn, as nothing waits for it any more", "neutral"),
    "case.expired": ("nobody decided the case by its deadline", "warn"),
}


def tell(entry: Entry) -> EventLine:
    """One entry as a line that a person understands without knowing its kind."""
    template, tone = _SAYINGS.get(entry.kind, (entry.kind.replace(".", " "), "neutral"))
    if entry.kind == "verdict.given":
        tone = {"clear": "good", "stop": "bad"}.get(str(entry.body.get("outcome")), "warn")  # type: ignore[assignment]
    return EventLine(
        sequence=entry.sequence,
        at=entry.at,
        actor=entry.actor,
        kind=entry.kind,
        subject=_subject(entry.subject),
        text=template.format_map(_Words(entry.body)),
        tone=tone,
    )


class _Words(dict[str, Any]):
    """Values as words: lists joined, times shortened, numbers grouped, unknown names as a dash."""

    def __getitem__(self, key: str) -> str:
        value = self.get(key)
        if value is None:
            return "–"
        if isinstance(value, list):
            return "; ".join(map(str, value))
        if isinstance(value, int) and not isinstance(value, bool):
            return f"{value:,}"
        text = str(value)
        return text[:16].replace("T", " ") if key == "until" else text


def _subject(subject: str) -> str:
    noun, _, rest = subject.partition(":")
    return f"{noun} {short(rest)}" if rest.startswith("sha256:") else f"{noun} {rest}"
