"""A serving stage for tests: real models in real blobs, real signatures, a real log; only time is moved by hand."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Unavailable
from stellwerk.ledger import documents
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.models.model import Column, Signature
from stellwerk.releases import signals
from stellwerk.releases.model import EndpointSpec, Release
from stellwerk.serving.adapters.spool import Spool
from stellwerk.serving.model import Scalar
from stellwerk.serving.ports import Log
from stellwerk.serving.service import EndpointServer
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.ports import Blobs

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORKSPACE, ENDPOINT, ENVIRONMENT = "ws", "delay", "production"

SIGNATURE = Signature(
    inputs=(
        Column(name="distance", kind="number"),
        Column(name="carrier", kind="category", vocabulary=("AA", "OO", "UA")),
        Column(name="weekend", kind="boolean"),
    ),
    target="late",
    task="binary",
    classes=("no", "yes"),
)
NUMERIC = Signature(
    inputs=(Column(name="x", kind="number"), Column(name="y", kind="number")),
    target="z",
    task="regression",
)
ROW: dict[str, list[Any]] = {"distance": [500.0], "carrier": ["AA"], "weekend": [False]}


class MovedClock:
    """Shows what it is set to."""

    def __init__(self, instant: datetime = START) -> None:
        self._instant = instant

    def now(self) -> datetime:
        return self._instant

    def move(self, by: timedelta) -> None:
        """Let time pass, or go back."""
        self._instant += by


class TinyModel:
    """A linear model that is a JSON file: one weight per input, categories by their place in the vocabulary."""

    def __init__(self, data: bytes, digest: Digest) -> None:
        document = json.loads(data)
        self.digest = digest
        self.signature = documents.load(Signature, document["signature"])
        self._weights: list[float] = document["weights"]
        self._bias: float = document["bias"]

    def predict(self, columns: Mapping[str, Sequence[Scalar]]) -> NDArray[np.float64]:
        total = self._bias + sum(
            weight * np.array([_encode(column, value) for value in columns[column.name]], dtype=np.float64)
            for column, weight in zip(self.signature.inputs, self._weights, strict=True)
        )
        if self.signature.task == "regression":
            return np.asarray(total, dtype=np.float64)
        scores = np.outer(np.asarray(total), np.arange(len(self.signature.classes)))
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), dtype=np.float64)


def _encode(column: Column, value: Scalar) -> float:
    if value is None:
        return 0.0
    if isinstance(value, str):
        return float(column.vocabulary.index(value)) if value in column.vocabulary else math.nan
    return float(value)


def tiny_model(signature: Signature = SIGNATURE, weights: Sequence[float] | None = None, bias: float = -1.0) -> bytes:
    """The file of a tiny model."""
    return json.dumps(
        {
            "signature": documents.dump(signature),
            "weights": list(weights or [0.001] * len(signature.inputs)),
            "bias": bias,
        }
    ).encode()


class BlobModels:
    """Loads tiny models from blobs, which verify every byte on reading."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.loads: list[Digest] = []

    def load(self, digest: Digest) -> TinyModel:
        self.loads.append(digest)
        return TinyModel(self._blobs.get(digest), digest)


class HeldTokens:
    """Tokens in memory; `down` makes the port unavailable."""

    def __init__(self) -> None:
        self.envelope: Mapping[str, Any] | None = None
        self.down = False

    def current(self, endpoint: str) -> Mapping[str, Any] | None:
        if self.down:
            raise Unavailable(f"the control plane does not answer about {endpoint}")
        return self.envelope


class Stage:
    """One endpoint with everything it needs, in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        signature: Signature = SIGNATURE,
        fallback: str = "refuse",
        context: Sequence[str] = (),
        draw: Callable[[], float] = lambda: 0.999,
        log: Log | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        create_key(folder / "key")
        self.folder = folder
        self.signer = FileSigner(folder / "key")
        self.clock, self.tokens = MovedClock(), HeldTokens()
        self.blobs = LocalFolder(folder / "blobs")
        self.models = BlobModels(self.blobs)
        self.spool = Spool(folder / "spool")
        self.model = self.blobs.put(tiny_model(signature))
        known = (self.signer.public_key,)
        self.server = EndpointServer(
            endpoint=ENDPOINT,
            environment=ENVIRONMENT,
            workspace=WORKSPACE,
            tokens=self.tokens,
            models=self.models,
            log=log or self.spool,
            clock=self.clock,
            verifier=Ed25519Verifier(),
            keys=lambda: known,
            fallback=fallback,
            context=context,
            draw=draw,
        )

    def token(self, **changes: Any) -> dict[str, Any] | None:
        """A token minted now, for a release with these changes."""
        facts: dict[str, Any] = {
            "id": "release-1", "endpoint": ENDPOINT, "environment": ENVIRONMENT, "model": self.model,
            "model_name": "delay", "model_version": 1, "verdict": "verdict-1", "status": "active",
            "granted_at": self.clock.now(), "granted_by": "anna",
            "expires_at": self.clock.now() + timedelta(days=30), "lease_method": "declared", "audit_share": 0.1,
            "routed": (), "risk_limit": None, "statement": self.model,
        }  # fmt: skip
        release = Release(**(facts | changes))
        spec = EndpointSpec(name=release.endpoint, purpose="test", owner="anna")
        return signals.mint(release, spec, WORKSPACE, self.clock.now(), self.signer)

    def release(self, **changes: Any) -> None:
        """Give the endpoint a token for a release with these changes."""
        self.tokens.envelope = self.token(**changes)


class CountedDraws:
    """The same numbers again and again, for tests that say who is drawn."""

    def __init__(self, *values: float) -> None:
        self._values, self._next, self._lock = values, 0, threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            self._next += 1
            return self._values[(self._next - 1) % len(self._values)]
