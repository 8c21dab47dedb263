"""The story of an endpoint in a few lines: what happened, when, with which numbers. Every number is in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from stellwerk.evidence.model import Evidence
from stellwerk.evidence.shelves import EVIDENCE
from stellwerk.ledger.model import Entry
from stellwerk.ledger.ports import Book
from stellwerk.releases.model import Release, Verdict
from stellwerk.releases.shelves import RELEASES, VERDICTS


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryLine:
    """One thing that happened."""

    sequence: int
    at: datetime
    what: str
    numbers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """Signed things that entries refer to."""

    verdicts: dict[str, Verdict]
    releases: dict[str, Release]
    evidence: dict[str, Evidence]
    metric: str


Teller = Callable[[Entry, _Facts], tuple[str, str] | None]


def story(book: Book, endpoint: str) -> tuple[StoryLine, ...]:
    """Everything that mattered to an endpoint, in the order of the ledger."""
    with book.read() as reader:
        verdicts = {item.id: item for item in VERDICTS.select(reader, endpoint=endpoint)}
        releases = {item.id: item for item in RELEASES.select(reader, endpoint=endpoint)}
        evidence = {item.statement or "": item for item in EVIDENCE.select(reader, kind="duel")}
    metric = next((name for item in verdicts.values() for name in item.metrics), "")
    facts = _Facts(verdicts=verdicts, releases=releases, evidence=evidence, metric=metric)
    lines = []
    for entry in book.entries(kinds=list(_TELLERS)):
        if _elsewhere(entry, endpoint, releases):
            continue
        told = _TELLERS[entry.kind](entry, facts)
        if told is not None:
            lines.append(StoryLine(sequence=entry.sequence, at=entry.at, what=told[0], numbers=told[1]))
    return tuple(lines)


def _elsewhere(entry: Entry, endpoint: str, releases: dict[str, Release]) -> bool:
    noun, _, rest = entry.subject.partition(":")
    return (noun == "endpoint" and rest != endpoint) or (noun == "release" and rest not in releases)


def _data(entry: Entry, _facts: _Facts) -> tuple[str, str]:
    name, body = entry.subject.partition(":")[2], entry.body
    if "rows" not in body:
        return f"{name} added", f"{body['files']:,} files"
    return f"{name} added ({body['partition']})", f"{body['rows']:,} rows"


def _refused(entry: Entry, _facts: _Facts) -> tuple[str, str]:
    body = entry.body
    return (
        f"{body['partition']} refused",
        f"{body['bad_rows']:,} of {body['rows']:,} rows; {', '.join(body['rules'])}",
    )


def _run(entry: Entry, facts: _Facts) -> tuple[str, str] | None:
    if entry.body.get("kind") != "pipeline" or not entry.body["metrics"]:  # what clients log says no kind
        return None
    values = {name: float(value) for name, value in entry.body["metrics"].items()}
    shown = [f"{name} {values[name]:.4f}" for name in (facts.metric, "brier", "log_loss", "mae") if name in values]
    return f"pipeline {entry.body['name']} run", ", ".join(shown) + " on the selection set"


def _verdict(entry: Entry, facts: _Facts) -> tuple[str, str]:
    verdict = facts.verdicts[entry.body["verdict"]]
    passed = sum(reason.outcome == "pass" for reason in verdict.reasons)
    text = f"{passed} of {len(verdict.reasons)} checks"
    for name, (estimate, lower, upper) in verdict.metrics.items():
        if estimate is not None and lower is not None and upper is not None:
            text += f"; {name} {estimate:.4g} ({lower:.4g} to {upper:.4g})"
    return f"verdict {verdict.outcome}, attempt {verdict.attempt}", text


def _granted(entry: Entry, facts: _Facts) -> tuple[str, str]:
    release = facts.releases[entry.subject.partition(":")[2]]
    return (
        f"{release.model_name}@{release.model_version} released",
        f"until {release.expires_at:%d %b %Y}; audit {release.audit_share:.2%}; "
        f"{len(release.routed)} slices to people",
    )


def _superseded(entry: Entry, facts: _Facts) -> tuple[str, str]:
    return f"{_model(entry, facts)} superseded", ""


def _stopped(entry: Entry, facts: _Facts) -> tuple[str, str]:
    return f"{_model(entry, facts)} stopped", str(entry.body["why"])


def _resumed(entry: Entry, facts: _Facts) -> tuple[str, str]:
    return f"fallback: {_model(entry, facts)} took over", f"until {entry.body['until'][:10]}"


def _renewed(entry: Entry, facts: _Facts) -> tuple[str, str]:
    return f"{_model(entry, facts)} renewed", f"until {entry.body['until'][:10]} by {entry.body['labels']:,} labels"


def _not_renewed(entry: Entry, facts: _Facts) -> tuple[str, str]:
    return f"{_model(entry, facts)} not renewed", "; ".join(entry.body["why"])


def _caution(entry: Entry, _facts: _Facts) -> tuple[str, str]:
    return "signal clear → caution", str(entry.body["why"])


def _assessed(entry: Entry, facts: _Facts) -> tuple[str, str] | None:
    measure = entry.body["measures"].get(facts.metric)
    risk = entry.body["risk"]
    if measure is None or risk["estimate"] is None or measure["lower"] is None:
        return None
    low, high = (float(measure[side]) for side in ("lower", "upper"))
    return (
        "production assessed",
        f"{facts.metric} {float(measure['estimate']):.4f} ({low:.4f} to {high:.4f}) on {measure['n']:,} labels; "
        f"mean loss {float(risk['estimate']):.4f}, limit {float(risk['limit']):.4f}",
    )


def _evidence(entry: Entry, facts: _Facts) -> tuple[str, str] | None:
    found = facts.evidence.get(entry.body["statement"])
    if entry.body["evidence"] != "duel" or found is None:
        return None
    result = found.results[0]
    return "both models on the same later cases", (
        f"{result.text} ({_signed(result.lower)} to {_signed(result.upper)}, n = {result.n:,})"
    )


def _signed(value: float | None) -> str:
    return "?" if value is None else f"{value:+.4f}"


def _model(entry: Entry, facts: _Facts) -> str:
    release = facts.releases[entry.subject.partition(":")[2]]
    return f"{release.model_name}@{release.model_version}"


_TELLERS: dict[str, Teller] = {
    "data.added": _data,
    "data.refused": _refused,
    "run.finished": _run,
    "verdict.given": _verdict,
    "release.granted": _granted,
    "release.superseded": _superseded,
    "release.stopped": _stopped,
    "release.resumed": _resumed,
    "release.renewed": _renewed,
    "release.not-renewed": _not_renewed,
    "signal.caution": _caution,
    "endpoint.assessed": _assessed,
    "evidence.signed": _evidence,
}
