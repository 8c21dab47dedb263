"""Sealing gate sets, freezing plans before opening them, and signing evidence."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from stellwerk.core import canonical, failpoints
from stellwerk.core.clock import Clock, format_instant
from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Conflict, Corrupt, Refused
from stellwerk.core.names import name as checked_name
from stellwerk.core.names import new_id
from stellwerk.evidence.model import CheckResult, Evidence, GateSet, Opening, Plan
from stellwerk.evidence.ports import Sealer
from stellwerk.evidence.shelves import EVIDENCE, GATES, OPENINGS, PLANS, FrozenPlan
from stellwerk.ledger import documents, rules
from stellwerk.ledger.ports import Book, Reader, Signer
from stellwerk.store.ports import Blobs

failpoints.declare("plan.frozen", "gate.opened", "evidence.signed")

PREDICATE = "https://stellwerk.dev/evidence/v1"
SALT_BYTES = 32
MARK = 8
SHARED = 0.01
"""Gate sets that share more than this part of their cases wear out together."""


class Gates:
    """Gate sets: kept apart, encrypted labels, each opening counted."""

    def __init__(self, book: Book, blobs: Blobs, clock: Clock, sealer: Sealer) -> None:
        self._book, self._blobs, self._clock, self._sealer = book, blobs, clock, sealer

    def seal(
        self, *, name: str, features: bytes, labels: bytes, rows: int, target: str, task: Any, marks: bytes
    ) -> GateSet:
        """Keep gate cases under a name; equal cases are the version that exists already.

        Args:
            marks: `MARK` bytes of hash per case, so that shared cases of two versions show.
        """
        checked_name(name, what="gate set")
        salt = secrets.token_bytes(SALT_BYTES)
        commitment = of_bytes(salt + labels)
        kept = self._blobs.put(features)
        with self._book.read() as reader:
            versions = GATES.select(reader, name=name)
        for known in versions:
            if known.features == kept and self._open(known) == labels:
                return known
        sealed = self._blobs.put(self._sealer.seal(salt + labels))
        gate = GateSet(
            name=name,
            version=len(versions) + 1,
            target=target,
            task=task,
            features=kept,
            labels=sealed,
            commitment=commitment,
            rows=rows,
            marks=self._blobs.put(marks),
            sealed_at=self._clock.now(),
        )
        with self._book.write() as tx:
            GATES.insert(tx, gate)
            tx.record(
                "gate.sealed",
                f"gate:{name}@{gate.version}",
                {"features": kept, "labels": sealed, "commitment": commitment, "rows": rows},
            )
        return gate

    def get(self, name: str, version: int | None = None) -> GateSet:
        """A gate set; the newest version by default. Raises `NotFound`."""
        with self._book.read() as reader:
            versions = GATES.select(reader, name=name)
            if version is None and versions:
                return versions[-1]
            return GATES.get(reader, name, version or 1)

    def freeze(self, plan: Plan) -> Digest:
        """Write the plan into the ledger. Doing it again changes nothing."""
        document = documents.dump(plan)
        digest = self._blobs.put(canonical.dumps(document))
        with self._book.write() as tx:
            if PLANS.find(tx, digest) is not None:
                return digest
            entry = tx.record(
                "plan.frozen", f"plan:{digest}", {"endpoint": plan.endpoint, "model": plan.model, "plan": digest}
            )
            PLANS.insert(
                tx,
                FrozenPlan(
                    digest=digest,
                    endpoint=plan.endpoint,
                    model=plan.model,
                    frozen_at=entry.at,
                    sequence=entry.sequence,
                ),
            )
        failpoints.hit("plan.frozen")
        return digest

    def open(self, gate: GateSet, plan: Digest) -> tuple[Opening, bytes]:
        """Decrypt the labels for a frozen plan; raises the attempt counter unless this plan opened it before."""
        with self._book.write() as tx:
            if PLANS.find(tx, plan) is None:
                raise Refused(
                    "the gate set opens only for a plan that the ledger holds",
                    code="plan-not-frozen",
                    hint="run `prove`",
                )
            opening = OPENINGS.find(tx, gate.name, gate.version, plan)
            if opening is None:
                attempt = 1 + self._worn(tx, gate)
                opening = Opening(
                    gate=gate.name,
                    gate_version=gate.version,
                    plan=plan,
                    attempt=attempt,
                    opened_at=self._clock.now(),
                )
                OPENINGS.insert(tx, opening)
                tx.record("gate.opened", f"gate:{gate.name}@{gate.version}", {"plan": plan, "attempt": attempt})
        failpoints.hit("gate.opened")
        return opening, self._open(gate)

    def _worn(self, reader: Reader, gate: GateSet) -> int:
        """How often cases of this gate set were opened before, in this version or any set that shares cases with it.

        Sealing the same cases anew, or under another name, does not make them fresh (law 6).
        """
        sets = {
            (known.name, known.version): known
            for known in GATES.select(reader)
            if known.name == gate.name or known.target == gate.target
        }
        opened = [(opening.gate, opening.gate_version) for opening in OPENINGS.select(reader)]
        mine = _marks(self._blobs.get(gate.marks))
        shared = {key: len(mine & _marks(self._blobs.get(sets[key].marks))) for key in {*opened} & sets.keys()}
        return sum(shared.get(key, 0) > SHARED * len(mine) for key in opened)

    def _open(self, gate: GateSet) -> bytes:
        plain = self._sealer.open(self._blobs.get(gate.labels))
        if of_bytes(plain) != gate.commitment:
            raise Corrupt(f"the labels of gate set {gate.name!r} are not those committed to", code="corrupt-gate")
        return plain[SALT_BYTES:]


def _marks(data: bytes) -> set[bytes]:
    return {data[at : at + MARK] for at in range(0, len(data), MARK)}


class Notary:
    """Signs measurements into evidence and finds them again."""

    def __init__(self, book: Book, blobs: Blobs, clock: Clock, signer: Signer) -> None:
        self._book, self._blobs, self._clock, self._signer = book, blobs, clock, signer

    def sign(
        self,
        kind: str,
        subject: Digest,
        results: Sequence[CheckResult],
        *,
        max_age: timedelta,
        plan: Digest | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Evidence:
        """One piece of evidence: an in-toto statement in a DSSE envelope, a row, and a ledger entry."""
        now = self._clock.now()
        evidence = Evidence(
            id=new_id(now),
            kind=kind,
            subject=subject,
            plan=plan,
            results=tuple(results),
            observed_at=now,
            max_age=max_age,
            facts=dict(facts or {}),
        )
        statement = rules.statement({"model": subject}, PREDICATE, documents.dump(evidence))
        envelope = self._blobs.put(canonical.dumps(rules.seal(statement, self._signer)))
        evidence = documents.load(Evidence, {**documents.dump(evidence), "statement": envelope})
        failpoints.hit("evidence.signed")
        with self._book.write() as tx:
            EVIDENCE.insert(tx, evidence)
            tx.record(
                "evidence.signed",
                f"model:{subject}",
                {
                    "evidence": kind,
                    "statement": envelope,
                    "plan": plan,
                    "outcomes": {r.name: r.outcome for r in results},
                    "until": format_instant(now + max_age),
                },
            )
        return evidence

    def about(self, subject: Digest, *, plan: Digest | None = None) -> list[Evidence]:
        """All evidence about a digest, oldest first; with `plan`, only what was measured under it."""
        with self._book.read() as reader:
            found = EVIDENCE.select(reader, order="observed_at", subject=subject)
        return [item for item in found if plan is None or item.plan in (None, plan)]


def once(results: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """Check that names are unique, so that no result can hide another."""
    names = [result.name for result in results]
    if len(set(names)) != len(names):
        raise Conflict("two checks of a plan have the same name", code="duplicate-check")
    return tuple(results)
