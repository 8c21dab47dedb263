"""The release dossier: everything behind one release on paper, every number read from the book."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stellwerk.core.clock import format_instant
from stellwerk.core.digest import short
from stellwerk.data.shelves import CONTRACTS, DATASETS
from stellwerk.evidence.model import Evidence
from stellwerk.evidence.provenance import Origin, origin
from stellwerk.evidence.shelves import EVIDENCE, GATES, OPENINGS
from stellwerk.governance.telling import tell
from stellwerk.ledger.ports import Book, Reader
from stellwerk.models.shelves import VERSIONS
from stellwerk.monitoring.shelves import ASSESSMENTS
from stellwerk.releases.model import EndpointSpec, Release, Verdict
from stellwerk.releases.shelves import ENDPOINTS, RELEASES, VERDICTS
from stellwerk.tracking.model import Run
from stellwerk.tracking.service import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the dossier: prose, then a table."""

    title: str
    text: str = ""
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """A document about one release."""

    release: str
    title: str
    subtitle: str
    made_at: datetime
    sections: tuple[Section, ...]


def dossier(book: Book, runs: Runs, release_id: str, now: datetime) -> Dossier:
    """Gather the dossier of a release. Raises `NotFound`."""
    with book.read() as reader:
        release = RELEASES.get(reader, release_id)
        endpoint = ENDPOINTS.get(reader, release.endpoint)
        verdict = VERDICTS.get(reader, release.verdict)
        evidence = [
            item for item in EVIDENCE.select(reader, subject=release.model) if item.statement in verdict.evidence
        ]
        datasets = {item.digest for item in DATASETS.select(reader)}
        behind = origin(release.model, runs.makers, datasets.__contains__)
        sections = (
            _decision(release, endpoint, verdict),
            _people(release, endpoint),
            _checks(verdict, evidence),
            _limits(release),
            _gate(reader, verdict, evidence),
            _data(reader, behind),
            _training(reader, release, behind),
            _reproduction(behind, _drills(reader, release)),
            _since(reader, release),
            _signatures(release, verdict, evidence),
        )
    events = [
        entry
        for entry in book.entries(kinds=["release.", "verdict.", "signal.", "alarm.", "gate.opened", "plan."])
        if release.endpoint in entry.subject or release.id in entry.subject or release.model in str(entry.body)
    ]
    return Dossier(
        release=release.id,
        title=f"Release dossier: {release.model_name}@{release.model_version} on {release.endpoint}",
        subtitle=endpoint.purpose,
        made_at=now,
        sections=(
            *sections,
            Section(
                title="What happened",
                header=("entry", "when", "who", "what"),
                rows=tuple(
                    (str(line.sequence), _when(line.at), line.actor, f"{line.subject}: {line.text}")
                    for line in map(tell, events)
                ),
            ),
        ),
    )


def markdown(document: Dossier) -> str:
    """The dossier as Markdown."""
    lines = [f"# {document.title}", "", f"*{document.subtitle}*", "", f"Made {_when(document.made_at)}.", ""]
    for number, section in enumerate(document.sections, 1):
        lines += [f"## {number}. {section.title}", ""]
        lines += [section.text, ""] if section.text else []
        if section.header:
            lines += ["| " + " | ".join(section.header) + " |", "|" + " --- |" * len(section.header)]
            lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in section.rows]
            lines += ["" if section.rows else "(none)\n"]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _decision(release: Release, endpoint: EndpointSpec, verdict: Verdict) -> Section:
    ended = f", ended {_when(release.ended_at)} ({release.ended_why})" if release.ended_at else ""
    return Section(
        title="Decision",
        text=f"The model may answer “{endpoint.purpose}” in {release.environment} from {_when(release.granted_at)} "
        f"until {_when(release.expires_at)}{ended}. The verdict was computed as **{verdict.outcome}** from "
        f"{len(verdict.reasons)} checks under a plan frozen before the gate set was opened "
        f"(attempt {verdict.attempt}).",
        header=("fact", "value"),
        rows=(
            ("release", release.id),
            ("status", release.status),
            ("model", f"{release.model_name}@{release.model_version}"),
            ("model digest", release.model),
            ("lease", release.lease_method),
            ("audit share", f"{release.audit_share:.2%} of answers go to people at random"),
            ("fallback after the lease", endpoint.fallback),
            ("supersedes", release.supersedes or "–"),
        ),
    )


def _people(release: Release, endpoint: EndpointSpec) -> Section:
    return Section(
        title="Responsible people",
        header=("role", "name"),
        rows=(
            ("owner", endpoint.owner),
            ("deputy", endpoint.deputy or "nobody named"),
            ("released by", release.granted_by),
            ("risk class", endpoint.risk),
            ("policies", ", ".join(endpoint.policy)),
        ),
    )


def _checks(verdict: Verdict, evidence: list[Evidence]) -> Section:
    results = [result for item in evidence for result in item.results]
    return Section(
        title="What was tested",
        text="Each bound holds with the confidence of this attempt; unproven is never counted as passed.",
        header=("check", "outcome", "finding", "method"),
        rows=tuple((r.name, r.outcome, r.text, r.method or "–") for r in results if r.kind != "slice")
        or tuple((reason.check, reason.outcome, reason.text, "–") for reason in verdict.reasons),
    )


def _limits(release: Release) -> Section:
    routed = ", ".join(f"{column} = {value}" for column, value in release.routed)
    return Section(
        title="Limits of the proof",
        text=f"For these slices nothing is proven, so their cases go to people: {routed}."
        if routed
        else "Every declared slice was proven.",
    )


def _gate(reader: Reader, verdict: Verdict, evidence: list[Evidence]) -> Section:
    openings = [item for item in OPENINGS.select(reader) if item.plan == verdict.plan]
    rows = []
    for opening in openings:
        gate = GATES.get(reader, opening.gate, opening.gate_version)
        rows.append(
            (
                f"{gate.name}@{gate.version}",
                f"{gate.rows:,}",
                str(opening.attempt),
                _when(opening.opened_at),
                gate.commitment,
            )
        )
    slices = [r for item in evidence for r in item.results if r.kind == "slice"]
    proven = sum(r.outcome == "pass" for r in slices)
    return Section(
        title="Gate set and slices",
        text=f"{proven} of {len(slices)} slice checks passed. The labels were encrypted until the plan was frozen.",
        header=("gate set", "cases", "attempt", "opened", "commitment to the labels"),
        rows=tuple(rows),
    )


def _data(reader: Reader, behind: Origin) -> Section:
    rows = []
    for version in DATASETS.select(reader):
        if version.digest not in behind.datasets:
            continue
        contracts = CONTRACTS.select(reader, name=version.name, order="-version", limit=1)
        contract = f"{contracts[0].status}, version {contracts[0].version}" if contracts else "none"
        rows.append(
            (
                f"{version.name}@{version.version}",
                f"{version.rows:,}",
                version.source or "–",
                contract,
                version.digest,
            )
        )
    return Section(title="Data", header=("dataset", "rows", "source", "contract", "digest"), rows=tuple(rows))


def _training(reader: Reader, release: Release, behind: Origin) -> Section:
    version = VERSIONS.select(reader, digest=release.model, limit=1)[0]
    signature = version.interface()
    inputs = ", ".join(column.name for column in signature.inputs)
    return Section(
        title="Training",
        text=f"{signature.task} model for `{signature.target}` from {len(signature.inputs)} "
        f"inputs: {inputs}. Format {version.format}"
        + (f", seed {version.seed}." if version.seed is not None else "."),
        header=("step", "kind", "run", "parameters", "metrics"),
        rows=tuple((run.name, run.kind, run.id, _pairs(run.params), _pairs(run.metrics)) for run in _ordered(behind)),
    )


def _drills(reader: Reader, release: Release) -> str:
    """What came of rebuilding the model, the newest first."""
    found = EVIDENCE.select(reader, subject=release.model, kind="rebuild")
    if not found:
        return "Nobody has rebuilt the model yet."
    newest = max(found, key=lambda item: (item.observed_at, item.id))
    said = "; ".join(result.text for result in newest.results)
    times = "once" if len(found) == 1 else f"{len(found)} times"
    return f"Rebuilt {times}, last on {_when(newest.observed_at)}: {said}."


def _reproduction(behind: Origin, drills: str) -> Section:
    return Section(
        title="Reproduction",
        text=f"Code and environment of each step by digest; equal digests give equal step keys on any machine. {drills}",
        header=("step", "code", "environment"),
        rows=tuple((run.name, short(run.code or "–"), short(run.environment or "–")) for run in _ordered(behind)),
    )


def _since(reader: Reader, release: Release) -> Section:
    rows = []
    for item in ASSESSMENTS.select(reader, release=release.id):
        risk = item.risk
        rows.append(
            (
                _when(item.at),
                f"{item.predictions:,}",
                f"{item.labelled:,}",
                "–" if risk.estimate is None else f"{risk.estimate:.4f} ({risk.lower:.4f} to {risk.upper:.4f})",
                f"{risk.limit:.4f}",
                "; ".join(alarm.text for alarm in item.alarms) or "–",
            )
        )
    return Section(
        title="Since the release",
        header=("assessed", "answers", "labelled", "mean loss", "limit", "alarms"),
        rows=tuple(rows),
    )


def _signatures(release: Release, verdict: Verdict, evidence: list[Evidence]) -> Section:
    return Section(
        title="Signed statements",
        text="In-toto statements in DSSE envelopes, kept in the store under these digests. They bind the plan "
        f"{verdict.plan}.",
        header=("statement", "digest"),
        rows=(
            ("release", release.statement),
            *((item.kind, item.statement or "–") for item in evidence),
        ),
    )


def _ordered(behind: Origin) -> list[Run]:
    return sorted(behind.runs, key=lambda run: run.id)


def _pairs(values: Mapping[str, object]) -> str:
    text = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in sorted(values.items()))
    return text or "–"


def _when(instant: datetime) -> str:
    return format_instant(instant)[:16].replace("T", " ") + " UTC"
