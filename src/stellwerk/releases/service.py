"""Granting, renewing, stopping and superseding releases. Only this changes what an endpoint may run (R010)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from stellwerk.core import canonical, failpoints
from stellwerk.core.clock import Clock, format_instant
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound, Refused
from stellwerk.core.names import new_id
from stellwerk.evidence.shelves import GATES, OPENINGS, PLANS
from stellwerk.ledger import documents
from stellwerk.ledger import rules as ledger_rules
from stellwerk.ledger.ports import Book, Reader, Signer, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.models.model import ModelVersion
from stellwerk.releases import policies as catalogue
from stellwerk.releases import rules, signals, telling
from stellwerk.releases.model import EndpointSpec, Release, Verdict
from stellwerk.releases.shelves import ENDPOINTS, RELEASES, VERDICTS
from stellwerk.store.ports import Blobs

failpoints.declare("release.signed", "release.granted")

PREDICATE = "https://stellwerk.dev/release/v1"


class Interlocking:
    """The releases of one workspace."""

    def __init__(self, book: Book, blobs: Blobs, clock: Clock, signer: Signer) -> None:
        self._book, self._blobs, self._clock, self._signer = book, blobs, clock, signer

    def declare(self, endpoint: EndpointSpec) -> EndpointSpec:
        """Make an endpoint's declaration known. An equal one changes nothing, an unsound one is `Invalid`."""
        problem = rules.unsound(endpoint)
        if problem:
            raise Invalid(f"endpoint {endpoint.name!r}: {problem}", code="invalid-project")
        with self._book.write() as tx:
            if ENDPOINTS.find(tx, endpoint.name) == endpoint:
                return endpoint
            ENDPOINTS.put(tx, endpoint)
            tx.record("endpoint.declared", f"endpoint:{endpoint.name}", {"declaration": documents.text(endpoint)})
        return endpoint

    def endpoint(self, name: str) -> EndpointSpec:
        """What is declared of an endpoint. Raises `NotFound`."""
        with self._book.read() as reader:
            return ENDPOINTS.get(reader, name)

    def endpoints(self) -> list[EndpointSpec]:
        """All declared endpoints, by name."""
        with self._book.read() as reader:
            return ENDPOINTS.select(reader)

    def verdict(self, verdict_id: str) -> Verdict:
        """A verdict by its id. Raises `NotFound`."""
        with self._book.read() as reader:
            return VERDICTS.get(reader, verdict_id)

    def latest_verdict(self, endpoint: str) -> Verdict | None:
        """The newest verdict about an endpoint."""
        with self._book.read() as reader:
            found = VERDICTS.select(reader, endpoint=endpoint, order="-id", limit=1)
        return found[0] if found else None

    def release_of(self, release_id: str) -> Release:
        """A release by its id. Raises `NotFound`."""
        with self._book.read() as reader:
            return RELEASES.get(reader, release_id)

    def active(self, endpoint: str) -> Release | None:
        """The release an endpoint runs under, whether or not its lease still holds."""
        with self._book.read() as reader:
            return _active(reader, endpoint)

    def history(self, endpoint: str) -> list[Release]:
        """All releases of an endpoint, oldest first."""
        with self._book.read() as reader:
            return RELEASES.select(reader, endpoint=endpoint, order="granted_at")

    def clear(self, digest: Digest) -> bool:
        """Whether a release of these bytes holds now, at any endpoint."""
        now = self._clock.now()
        with self._book.read() as reader:
            active = RELEASES.select(reader, model=digest, status="active")
        return any(signals.holds(release, now) for release in active)

    def named(self, digest: Digest) -> bool:
        """Whether there ever was a release of these bytes."""
        with self._book.read() as reader:
            return RELEASES.count(reader, model=digest) > 0

    def untold(self) -> list[tuple[str, str]]:
        """(release, what is wrong) for every row that is not what the ledger tells, and every one that is missing."""
        found, before = self._untold(), None
        while found and found != before:  # a change between looking at rows and at entries is not seen twice
            found, before = self._untold(), found
        return found

    def _untold(self) -> list[tuple[str, str]]:
        with self._book.read() as reader:
            rows = {release.id: release for release in RELEASES.select(reader)}
        known = telling.told(self._book.entries(kinds=telling.KINDS))
        wrong = {name: telling.differences(row, known.get(name)) for name, row in rows.items()}
        missing = [(name, "it was granted, and is gone") for name in known if name not in rows]
        return [(name, ", ".join(fields)) for name, fields in sorted(wrong.items()) if fields] + sorted(missing)

    def grant(
        self, verdict: Verdict, model: ModelVersion, *, labels_to_renew: int, risk_limit: float | None = None
    ) -> Release:
        """Turn a clear verdict into a signed release with a lease; the former release is superseded (law 2)."""
        now = self._clock.now()
        endpoint = self.endpoint(verdict.endpoint)
        obstacle = rules.permits(verdict, now)
        if not obstacle and model.digest != verdict.model:
            obstacle = "the verdict is about another model"
        if obstacle:
            raise Refused(
                f"no release for endpoint {endpoint.name!r}: {obstacle}",
                code="not-clear",
                hint="`stellwerk prove` computes a verdict and says what is missing",
            )
        lease = rules.lease(endpoint, catalogue.find(endpoint.policy), labels_to_renew)
        release = Release(
            id=new_id(now),
            endpoint=endpoint.name,
            environment=endpoint.environment,
            model=model.bytes(),
            model_name=model.name,
            model_version=model.version,
            verdict=verdict.id,
            status="active",
            granted_at=now,
            granted_by=self._book.actor,
            expires_at=now + lease.length,
            lease_method=lease.method,
            audit_share=lease.audit_share,
            routed=verdict.routed,
            proven=verdict.proven,
            risk_limit=risk_limit,
            statement=verdict.plan,
        )
        for known in self.history(endpoint.name):
            # Coming back after a person's stop is no renewal: neither time nor doubt begins anew.
            if known.verdict == verdict.id:
                until = min(release.expires_at, known.expires_at)
                release = evolve(release, expires_at=until, caution=release.caution or known.caution)
        release = evolve(release, statement=self._sign(release, verdict))
        failpoints.hit("release.signed")
        with self._book.write() as tx:
            granted = self._grant(tx, release, verdict)
        failpoints.hit("release.granted")
        return granted

    def _grant(self, tx: Transaction, release: Release, verdict: Verdict) -> Release:
        if VERDICTS.get(tx, verdict.id) != verdict:
            raise Refused("the verdict is not the one that the book holds", code="not-clear", hint="prove again")
        _frozen_before_opened(tx, verdict)
        history = RELEASES.select(tx, endpoint=release.endpoint)
        if any(rules.spent(known, verdict) for known in history):
            raise Conflict("this verdict was used for a release already", code="verdict-used", hint="prove anew")
        harmed = [known.ended_at for known in history if known.harmful and known.model == release.model]
        if not all(ended is not None and _sealed_since(tx, verdict, ended) for ended in harmed):
            raise Refused(
                "production proved harm of this model after these gate cases were sealed; they cannot clear it again",
                code="not-clear",
                hint="prove another model, or this one on cases sealed since then",
            )
        former = _active(tx, release.endpoint)
        if former is not None:
            release = evolve(release, supersedes=former.id)
            ended = evolve(former, status="superseded", ended_at=release.granted_at, ended_why=f"by {release.id}")
            RELEASES.put(tx, ended)
            tx.record("release.superseded", f"release:{former.id}", {"by": release.id, "endpoint": release.endpoint})
        RELEASES.insert(tx, release)
        tx.record(
            "release.granted",
            f"release:{release.id}",
            {
                "endpoint": release.endpoint,
                "model": release.model,
                "verdict": verdict.id,
                "until": format_instant(release.expires_at),
                "statement": release.statement,
                "audit_share": repr(release.audit_share),
                "routed": [list(item) for item in release.routed],
                "lease": release.lease_method,
            },
        )
        return release

    def renew(
        self, endpoint: str, length: timedelta, why: str, facts: dict[str, Any], *, release: str | None = None
    ) -> Release:
        """Extend the active release's lease from now. Only a proof of fitness leads here (law 5)."""
        now = self._clock.now()
        with self._book.write() as tx:
            running = self._must(tx, endpoint, release)
            if not signals.holds(running, now):
                raise Refused(
                    f"the lease of {endpoint!r} has ended; an ended lease is not renewed",
                    code="lease-ended",
                    hint="`stellwerk prove` and `stellwerk release`",
                )
            declared = ENDPOINTS.get(tx, endpoint)
            longest = rules.longest(declared, catalogue.find(declared.policy))
            if not timedelta(0) < length <= longest:
                raise Invalid(
                    f"a lease of {length} is not allowed (above 0, at most {longest})", code="invalid-lease"
                )
            renewed = evolve(running, expires_at=max(running.expires_at, now + length), caution="")
            RELEASES.put(tx, renewed)
            tx.record(
                "release.renewed",
                f"release:{running.id}",
                {"endpoint": endpoint, "until": format_instant(renewed.expires_at), "why": why, **facts},
            )
        return renewed

    def not_renewed(self, endpoint: str, why: list[str], *, release: str | None = None) -> None:
        """Record that fitness was not proven; the lease simply runs on to its end."""
        with self._book.write() as tx:
            running = self._must(tx, endpoint, release)
            tx.record("release.not-renewed", f"release:{running.id}", {"endpoint": endpoint, "why": why})

    def caution(self, endpoint: str, why: str, *, release: str | None = None) -> Release:
        """Let the signal show caution until the release is renewed or superseded. A warning needs no proof."""
        with self._book.write() as tx:
            running = self._must(tx, endpoint, release)
            if running.caution:
                return running
            warned = signals.caution(running, why)
            RELEASES.put(tx, warned)
            tx.record("signal.caution", f"endpoint:{endpoint}", {"release": running.id, "why": why})
        return warned

    def stop(
        self, endpoint: str, why: str, *, harmful: bool = False, release: str | None = None
    ) -> tuple[Release, Release | None]:
        """End the active release now. With `fallback = "previous"` the one before takes over while its lease holds.

        Args:
            release: What the reason is about. Where another runs by now, that one is not touched; proven harm is noted.
            harmful: Harm was proven; otherwise the same verdict may be released again while its evidence is valid.

        Returns:
            The stopped release, and the one that runs instead, if any.
        """
        if not why.strip():
            raise Invalid("a stop needs a reason", code="missing-reason", hint="--why TEXT")
        now = self._clock.now()
        declared = self.endpoint(endpoint)
        with self._book.write() as tx:
            if harmful and release is not None:
                about = RELEASES.get(tx, release)
                if about.status != "active":
                    noted = evolve(about, harmful=True)
                    RELEASES.put(tx, noted)
                    tx.record("release.harmful", f"release:{release}", {"endpoint": endpoint, "why": why})
                    return noted, _active(tx, endpoint)
            running = self._must(tx, endpoint, release)
            stopped = evolve(running, status="stopped", ended_at=now, ended_why=why, harmful=harmful)
            RELEASES.put(tx, stopped)
            tx.record(
                "release.stopped", f"release:{running.id}", {"endpoint": endpoint, "why": why, "harmful": harmful}
            )
            previous = self._previous(tx, stopped, now) if declared.fallback == "previous" else None
            if previous is not None:
                RELEASES.put(tx, previous)
                tx.record(
                    "release.resumed",
                    f"release:{previous.id}",
                    {"endpoint": endpoint, "instead_of": stopped.id, "until": format_instant(previous.expires_at)},
                )
        return stopped, previous

    def token(self, endpoint: str, workspace: str) -> dict[str, Any] | None:
        """A signed lease token for the active release, or None: then the signal is stop.

        Raises `Corrupt` where the release is not what the ledger tells of it.
        """
        with self._book.read() as reader:
            release, declared = _active(reader, endpoint), ENDPOINTS.find(reader, endpoint)
        if release is None or declared is None:
            return None
        entries = self._book.entries(subject=f"release:{release.id}")
        warned = self._book.entries(kinds=["signal.caution"], subject=f"endpoint:{endpoint}")
        about = sorted((*entries, *warned), key=lambda entry: entry.sequence)
        wrong = telling.differences(release, telling.told(about).get(release.id))
        if wrong and release == self.active(
            endpoint
        ):  # else it was changed between the two looks: the next one decides
            raise Corrupt(
                f"the release of {endpoint!r} is not the one that the ledger tells of: {', '.join(wrong)}",
                code="corrupt-release",
                hint="`stellwerk verify` lists all such rows; restore the database from a backup",
            )
        return signals.mint(release, declared, workspace, self._clock.now(), self._signer)

    def _previous(self, reader: Reader, stopped: Release, now: datetime) -> Release | None:
        if stopped.supersedes is None:
            return None
        before = RELEASES.get(reader, stopped.supersedes)
        resumed = evolve(before, status="active", ended_at=None, ended_why="")
        fit = before.status == "superseded" and not before.harmful and signals.holds(resumed, now)
        return resumed if fit else None

    def _must(self, reader: Reader, endpoint: str, expected: str | None = None) -> Release:
        release = _active(reader, endpoint)
        if release is not None and expected not in (None, release.id):
            raise Conflict(
                f"another release of {endpoint!r} runs by now",
                code="release-changed",
                hint="look at it and try again",
            )
        if release is None:
            raise NotFound(
                f"endpoint {endpoint!r} has no active release",
                code="no-release",
                hint=f"`stellwerk prove {endpoint}`",
            )
        return release

    def _sign(self, release: Release, verdict: Verdict) -> Any:
        predicate = {"release": documents.dump(release), "verdict": documents.dump(verdict)}
        del predicate["release"]["statement"]
        statement = ledger_rules.statement({release.model_name: release.model}, PREDICATE, predicate)
        return self._blobs.put(canonical.dumps(ledger_rules.seal(statement, self._signer)))


def _active(reader: Reader, endpoint: str) -> Release | None:
    found = RELEASES.select(reader, endpoint=endpoint, status="active", order="-granted_at", limit=1)
    return found[0] if found else None


def _sealed_since(reader: Reader, verdict: Verdict, moment: datetime) -> bool:
    """Whether a verdict rests on a gate set that was sealed after a moment."""
    gates = [
        GATES.get(reader, opening.gate, opening.gate_version)
        for opening in OPENINGS.select(reader)
        if opening.plan == verdict.plan
    ]
    return bool(gates) and all(gate.sealed_at > moment for gate in gates)


def _frozen_before_opened(reader: Reader, verdict: Verdict) -> None:
    """Law 2: the plan was in the ledger before the gate set was opened under it."""
    plan = PLANS.find(reader, verdict.plan)
    opened = OPENINGS.select(reader, attempt=verdict.attempt) if plan else []
    if plan is None or not any(o.plan == plan.digest and o.opened_at >= plan.frozen_at for o in opened):
        raise Refused("the plan was not frozen before the gate set was opened", code="plan-not-frozen")
