"""Registered models as people look at them: all of them, and one with its versions, aliases, proofs and releases.

What is said of models and where aliases pointed comes from the room of models, as values. Drawing is above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from stellwerk.core.errors import Refused
from stellwerk.governance.model import RunModel
from stellwerk.ledger.parameters import position
from stellwerk.ledger.ports import Book, Reader
from stellwerk.models.catalogue import Page
from stellwerk.models.model import AliasMove, ModelVersion, Stage
from stellwerk.models.shelves import PROTECTED, VERSIONS
from stellwerk.releases.model import Outcome, Release, Signal, SignalState, Verdict
from stellwerk.releases.shelves import RELEASES, VERDICTS
from stellwerk.releases.signals import holds
from stellwerk.tracking.model import Run
from stellwerk.tracking.shelves import RUNS

SHOWN = 200
"""Moves of aliases, and verdicts and releases, that a page shows: the newest."""
ENDED = "lease ended"
"""What is said of a release that nobody ended and that permits nothing any more."""
Shows = Callable[[str], SignalState]
"""What the signal of an endpoint shows, judged as serving does."""
T = TypeVar("T", Verdict, Release)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """That a release, by its dates, permits a version to answer at this moment."""

    release: str
    endpoint: str
    version: int
    until: datetime
    signal: Signal
    """What the endpoint shows: a permission that cannot be proven is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """A model in the list of all."""

    name: str
    versions: int
    newest: int | None
    """The number of its newest version."""
    aliases: tuple[tuple[str, int], ...]
    description: str
    tags: tuple[tuple[str, str], ...]
    changed_at: datetime
    permits: tuple[Permit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelList:
    """Models that were found, by name."""

    models: tuple[ModelLine, ...]
    found: int
    """How many there are with this in their name, also those that are not listed."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictLine:
    """What was computed of a version's bytes."""

    id: str
    endpoint: str
    outcome: Outcome
    attempt: int
    given_at: datetime
    valid_until: datetime
    expired: bool
    """Its evidence does not count any more."""
    n_needed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionLine:
    """A release of a version's bytes, whether it still holds or not."""

    id: str
    endpoint: str
    status: str
    """active, lease ended, superseded or stopped."""
    granted_at: datetime
    granted_by: str
    until: datetime
    """When it ended, or will."""
    why: str
    signal: Signal | None
    """What the endpoint shows, where the release is active."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionLine:
    """A version with what stands behind it."""

    version: int
    made_at: datetime
    by: str
    run: str
    run_name: str
    run_known: bool
    """Its run was logged here, and so has a page."""
    digest: str
    format: str
    source: str
    stage: Stage
    aliases: tuple[str, ...]
    description: str
    tags: tuple[tuple[str, str], ...]
    unprovable: str
    """Why nothing can be proven of it; empty where something can."""
    verdict: VerdictLine | None
    """The newest."""
    release: PermissionLine | None
    """The newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasLine:
    """Where an alias points, and since when by whom."""

    alias: str
    version: int
    protected: bool
    at: datetime | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedLine:
    """That bytes of this model were judged, or released."""

    at: datetime
    version: int
    digest: str
    verdict: VerdictLine | None = None
    release: PermissionLine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPage:
    """One model with everything that is known of it.

    Attributes:
        versions: Some of them, the newest first.
        total: How many there are, or were at the time that was asked for.
        later: Versions that were made after that time.
        moves: Who moved which alias when, the newest first.
        older_moves: How many moves are not shown.
        judged: Verdicts on its bytes and releases of them, the newest first.
        older_judged: How many of them are not shown.
        protected: Aliases that move, in every model, only to what is released.
        as_of: The time that was asked for.
    """

    name: str
    description: str
    tags: tuple[tuple[str, str], ...]
    created_at: datetime
    changed_at: datetime
    versions: tuple[VersionLine, ...]
    total: int
    later: int
    aliases: tuple[AliasLine, ...]
    moves: tuple[AliasMove, ...]
    older_moves: int
    judged: tuple[JudgedLine, ...]
    older_judged: int
    protected: tuple[str, ...]
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Which part of a model is looked at, when, and what signals show."""

    now: datetime
    shows: Shows
    as_of: datetime | None = None
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """What versions are shown with, by digest, run and number."""

    now: datetime
    shows: Shows
    verdicts: Mapping[str, list[Verdict]] = field(default_factory=dict)
    releases: Mapping[str, list[Release]] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    aliases: Mapping[int, list[str]] = field(default_factory=dict)


def model_list(book: Book, pages: Sequence[Page], wanted: str, cut: Cut) -> ModelList:
    """Models whose name holds what is wanted, in the order in which they come, with what a release permits of them."""
    found = [page for page in pages if wanted.casefold() in page.model.name.casefold()]
    with book.read() as reader:
        permits = _permits(reader, cut)
    lines = tuple(
        ModelLine(
            name=page.model.name,
            versions=page.versions,
            newest=page.latest[-1].version if page.latest else None,
            aliases=tuple(sorted(page.aliases.items())),
            description=page.model.description,
            tags=tuple(sorted(page.model.tags.items())),
            changed_at=page.model.changed_at,
            permits=tuple(permits.get(page.model.name, ())),
        )
        for page in found[: position(cut.limit)]
    )
    return ModelList(models=lines, found=len(found), total=len(pages))


def model_page(book: Book, page: Page, moves: Sequence[AliasMove], cut: Cut) -> ModelPage:
    """One model. `moves` are all that its aliases made, the oldest first."""
    name, as_of = page.model.name, cut.as_of
    past = [move for move in moves if as_of is None or move.at <= as_of]
    points = dict(page.aliases) if as_of is None else _points(past)
    last = {move.alias: move for move in past}
    with book.read() as reader:
        every = VERSIONS.select(reader, name=name, order="-version")
        made = [one for one in every if as_of is None or one.created_at <= as_of]
        shown = made[position(cut.offset) :][: position(cut.limit)]
        protected = {one.alias for one in PROTECTED.select(reader)}
        digests = {one.digest for one in made if one.digest is not None}
        facts = _Facts(
            now=cut.now,
            shows=cut.shows,
            verdicts=_by_model(VERDICTS.among(reader, "model", digests)),
            releases=_by_model(RELEASES.among(reader, "model", digests)),
            runs={run.id: run for run in RUNS.among(reader, "id", {one.run_id for one in shown if one.run_id})},
            aliases=_by_number(points),
        )
    judged = _judged(made, facts)
    return ModelPage(
        name=name,
        description=page.model.description,
        tags=tuple(sorted(page.model.tags.items())),
        created_at=page.model.created_at,
        changed_at=page.model.changed_at,
        versions=tuple(_version(one, facts) for one in shown),
        total=len(made),
        later=len(every) - len(made),
        aliases=tuple(
            AliasLine(
                alias=alias,
                version=version,
                protected=alias in protected,
                at=last[alias].at if alias in last else None,
                by=last[alias].by if alias in last else "",
            )
            for alias, version in sorted(points.items())
        ),
        moves=tuple(reversed(past[-SHOWN:])),
        older_moves=max(len(past) - SHOWN, 0),
        judged=tuple(judged[:SHOWN]),
        older_judged=max(len(judged) - SHOWN, 0),
        protected=tuple(sorted(protected)),
        as_of=as_of,
    )


def made_by(reader: Reader, run: str, digests: Iterable[str]) -> tuple[RunModel, ...]:
    """Model versions that came from a run, by what was said when they were registered or by their bytes."""
    said = [one for one in VERSIONS.mentioning(reader, run) if one.run_id == run]
    found = {(one.name, one.version): one for one in (*said, *VERSIONS.among(reader, "digest", set(digests)))}
    return tuple(
        RunModel(name=one.name, version=one.version, digest=one.digest or "") for _, one in sorted(found.items())
    )


def _permits(reader: Reader, cut: Cut) -> dict[str, list[Permit]]:
    """What answers at this moment, by the name of its model; the same bytes may have several."""
    found: dict[str, list[Permit]] = {}
    holding = [one for one in RELEASES.select(reader, status="active", order="endpoint") if holds(one, cut.now)]
    bearers: dict[str, list[ModelVersion]] = {}
    for version in VERSIONS.among(reader, "digest", {release.model for release in holding}):
        bearers.setdefault(version.digest or "", []).append(version)
    for release in holding:
        for one in sorted(bearers.get(release.model, ()), key=lambda version: version.version):
            found.setdefault(one.name, []).append(
                Permit(
                    release=release.id,
                    endpoint=release.endpoint,
                    version=one.version,
                    until=release.expires_at,
                    signal=cut.shows(release.endpoint).signal,
                )
            )
    return found


def _points(moves: Iterable[AliasMove]) -> dict[str, int]:
    """Where aliases point after some moves."""
    here: dict[str, int | None] = {move.alias: move.version for move in moves}
    return {alias: version for alias, version in here.items() if version is not None}


def _version(one: ModelVersion, facts: _Facts) -> VersionLine:
    run = facts.runs.get(one.run_id)
    verdicts, releases = facts.verdicts.get(one.digest or "", ()), facts.releases.get(one.digest or "", ())
    newest_verdict = max(verdicts, key=lambda verdict: (verdict.given_at, verdict.id), default=None)
    newest_release = max(releases, key=lambda release: (release.granted_at, release.id), default=None)
    return VersionLine(
        version=one.version,
        made_at=one.created_at,
        by=one.user or (run.started_by if run else ""),
        run=one.run_id,
        run_name=run.name if run else "",
        run_known=run is not None,
        digest=one.digest or "",
        format=one.format,
        source=one.source,
        stage=one.stage,
        aliases=tuple(facts.aliases.get(one.version, ())),
        description=one.description,
        tags=tuple(sorted(one.tags.items())),
        unprovable=_unprovable(one),
        verdict=_verdict(newest_verdict, facts.now) if newest_verdict else None,
        release=_permission(newest_release, facts) if newest_release else None,
    )


def _unprovable(one: ModelVersion) -> str:
    try:
        one.bytes()
        one.interface()
    except Refused as problem:
        return problem.message
    return ""


def _verdict(verdict: Verdict, now: datetime) -> VerdictLine:
    return VerdictLine(
        id=verdict.id,
        endpoint=verdict.endpoint,
        outcome=verdict.outcome,
        attempt=verdict.attempt,
        given_at=verdict.given_at,
        valid_until=verdict.valid_until,
        expired=verdict.valid_until <= now,
        n_needed=verdict.n_needed,
    )


def _permission(release: Release, facts: _Facts) -> PermissionLine:
    active = holds(release, facts.now)
    return PermissionLine(
        id=release.id,
        endpoint=release.endpoint,
        status=ENDED if release.status == "active" and not active else release.status,
        granted_at=release.granted_at,
        granted_by=release.granted_by,
        until=release.ended_at or release.expires_at,
        why=release.ended_why,
        signal=facts.shows(release.endpoint).signal if active else None,
    )


def _judged(versions: Sequence[ModelVersion], facts: _Facts) -> list[JudgedLine]:
    """All verdicts and releases, each once: of versions with the same bytes at the newest."""
    numbers: dict[str, int] = {}
    for one in versions:
        if one.digest is not None:
            numbers.setdefault(one.digest, one.version)
    lines = [
        JudgedLine(at=verdict.given_at, version=numbers[digest], digest=digest, verdict=_verdict(verdict, facts.now))
        for digest, verdicts in facts.verdicts.items()
        for verdict in verdicts
    ]
    lines += [
        JudgedLine(at=release.granted_at, version=numbers[digest], digest=digest, release=_permission(release, facts))
        for digest, releases in facts.releases.items()
        for release in releases
    ]
    return sorted(lines, key=lambda line: (line.at, line.release is not None), reverse=True)


def _by_model(things: Iterable[T]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for thing in things:
        found.setdefault(thing.model, []).append(thing)
    return found


def _by_number(points: Mapping[str, int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for alias, version in sorted(points.items()):
        found.setdefault(version, []).append(alias)
    return found
