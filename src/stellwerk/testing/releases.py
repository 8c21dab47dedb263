"""Plans, evidence and releases out of thin air, and an interlocking on a real book, for tests of permission."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.evidence.adapters.sealing import FileSealer, create_sealing_key
from stellwerk.evidence.model import CheckResult, Evidence, Plan, PlannedGoal
from stellwerk.evidence.service import MARK, Gates
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.models.model import Column, ModelVersion, Signature
from stellwerk.releases.model import EndpointSpec, Goal, Release, Verdict
from stellwerk.releases.service import Interlocking
from stellwerk.releases.shelves import VERDICTS
from stellwerk.testing.fakes import MemoryBlobs, StandingClock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL, OTHER = of_bytes(b"model"), of_bytes(b"another model")
PLAN_DIGEST, OTHER_PLAN = of_bytes(b"plan"), of_bytes(b"another plan")


def a_plan(**changes: Any) -> Plan:
    """A plan with one goal."""
    facts: dict[str, Any] = {
        "endpoint": "delay", "environment": "production", "model": MODEL, "champion": None, "gate": "delay",
        "gate_version": 1, "gate_features": of_bytes(b"features"), "gate_commitment": of_bytes(b"labels"),
        "goals": (PlannedGoal(metric="auroc", floor=0.6),), "slice_by": (), "slice_goals": (),
        "slice_unproven": "human", "policy": ("base@1",), "required": ("quality",),
        "groups": None, "reason": "first",
    }  # fmt: skip
    return Plan(**(facts | changes))


def a_result(name: str = "floor:auroc", **changes: Any) -> CheckResult:
    """One check that passed."""
    facts: dict[str, Any] = {"name": name, "kind": name.partition(":")[0], "outcome": "pass", "text": name}
    facts["kind"] = {"floor": "floor", "ceiling": "ceiling", "guardrail": "guardrail", "success": "success",
                     "slice": "slice"}.get(facts["kind"], "requirement")  # fmt: skip
    facts["metric"] = name.rpartition(":")[2] if facts["kind"] != "requirement" else ""
    return CheckResult(**(facts | changes))


def a_piece(kind: str, results: tuple[CheckResult, ...] | None = None, **changes: Any) -> Evidence:
    """A signed piece of evidence of yesterday, under the plan."""
    found = (a_result() if kind == "quality" else a_result(kind),) if results is None else results
    facts: dict[str, Any] = {
        "id": f"{kind}-1", "kind": kind, "subject": MODEL, "plan": PLAN_DIGEST, "results": found,
        "observed_at": NOW - timedelta(days=1), "max_age": timedelta(days=30), "statement": of_bytes(kind.encode()),
    }  # fmt: skip
    return Evidence(**(facts | changes))


def a_release(**changes: Any) -> Release:
    """A release that holds."""
    facts: dict[str, Any] = {
        "id": "r1", "endpoint": "delay", "environment": "production", "model": MODEL, "model_name": "delay",
        "model_version": 1, "verdict": "v1", "status": "active", "granted_at": NOW - timedelta(days=1),
        "granted_by": "anna", "expires_at": NOW + timedelta(days=20), "lease_method": "declared",
        "audit_share": 0.1, "routed": (("carrier", "OO"),), "risk_limit": None, "statement": of_bytes(b"statement"),
    }  # fmt: skip
    return Release(**(facts | changes))


def an_endpoint(**changes: Any) -> EndpointSpec:
    """A declared endpoint."""
    facts: dict[str, Any] = {
        "name": "delay", "purpose": "Late?", "owner": "anna", "fallback": "previous",
        "goals": (Goal(metric="auroc", floor=0.6),),
    }  # fmt: skip
    return EndpointSpec(**(facts | changes))


@dataclass
class Box:
    """An interlocking with its gates, on a book on disk."""

    interlocking: Interlocking
    gates: Gates
    clock: StandingClock
    database: Database
    book: WorkspaceBook
    blobs: MemoryBlobs
    signer: FileSigner
    verifier: Ed25519Verifier
    count: int = 0

    def model(self, number: int) -> ModelVersion:
        """A model version that was never trained; the interlocking only knows its name."""
        return ModelVersion(
            workspace="w",
            name="delay",
            version=number,
            digest=of_bytes(f"model {number}".encode()),
            signature=Signature(
                inputs=(Column(name="x", kind="number"),), target="y", task="binary", classes=("no", "yes")
            ),
            format="skops",
            run_id="run",
            seed=None,
            created_at=self.clock.now(),
        )

    def seal(self, cases: range, name: str = "delay", target: str = "y") -> Any:
        """A gate set of numbered cases."""
        marks = b"".join(of_bytes(f"case {case}".encode())[-MARK:].encode() for case in cases)
        return self.gates.seal(
            name=name,
            features=f"features of {name} {cases}".encode(),
            labels=f"labels of {name} {cases}".encode(),
            rows=len(cases),
            target=target,
            task="binary",
            marks=marks,
        )

    def opened(self, gate: Any, **changes: Any) -> tuple[Digest, Any]:
        """Freeze a plan and open the gate set under it."""
        self.count += 1
        plan = a_plan(gate=gate.name, gate_version=gate.version, **({"reason": f"try {self.count}"} | changes))
        digest = self.gates.freeze(plan)
        return digest, self.gates.open(gate, digest)[0]

    def verdict(self, number: int = 1, **changes: Any) -> Verdict:
        """A clear verdict about a model, given the honest way and kept in the book."""
        gate = self.seal(range(1000 * self.count, 1000 * self.count + 1000))
        model = self.model(number)
        plan, opening = self.opened(gate, model=model.digest)
        return self.keep(model=model.digest, plan=plan, attempt=opening.attempt, **changes)

    def keep(self, **changes: Any) -> Verdict:
        """Write a verdict into the book."""
        facts: dict[str, Any] = {
            "id": f"verdict-{self.count}", "endpoint": "delay", "outcome": "clear", "reasons": (),
            "routed": (("carrier", "OO"),), "n_needed": None, "evidence": (), "given_at": self.clock.now(),
            "valid_until": self.clock.now() + timedelta(days=30),
        }  # fmt: skip
        verdict = Verdict(**(facts | changes))
        with self.book.write() as tx:
            VERDICTS.insert(tx, verdict)
            tx.record("verdict.given", f"endpoint:{verdict.endpoint}", {"verdict": verdict.id})
        return verdict

    def grant(self, number: int = 1, **changes: Any) -> Release:
        """Release a model with a verdict of its own."""
        return self.interlocking.grant(self.verdict(number, **changes), self.model(number), labels_to_renew=500)

    def kinds(self, prefix: str = "release.") -> list[str]:
        """Kinds of the entries so far."""
        return [entry.kind for entry in self.book.entries(kinds=[prefix])]


def make_box(folder: Path) -> Box:
    """A new book with an endpoint that is declared."""
    clock, blobs = StandingClock(NOW), MemoryBlobs()
    create_key(folder / "signing.key")
    create_sealing_key(folder / "sealing.key")
    signer = FileSigner(folder / "signing.key")
    database = Database(folder / "book.db", clock)
    database.create("test")
    book = WorkspaceBook(database, "w", "anna")
    interlocking = Interlocking(book, blobs, clock, signer)
    interlocking.declare(an_endpoint())
    return Box(
        interlocking=interlocking,
        gates=Gates(book, blobs, clock, FileSealer(folder / "sealing.key")),
        clock=clock,
        database=database,
        book=book,
        blobs=blobs,
        signer=signer,
        verifier=Ed25519Verifier(),
    )
