"""Results of steps for other workspaces: granted by an owner, read by key with a token, every reading in the ledger.

Whoever asks without a grant that covers the result gets the answer that a result which nobody computed gets. Asking
another workspace is in `workspace.elsewhere`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from stellwerk.access import rules as access
from stellwerk.access.model import Granted, ResultGrant
from stellwerk.access.shelves import RESULT_GRANTS
from stellwerk.core.clock import Clock, format_duration, format_instant
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.core.names import new_id
from stellwerk.ledger.ports import Book, Reader
from stellwerk.ledger.shelf import evolve
from stellwerk.pipelines.model import Origin
from stellwerk.pipelines.rules import LASTING
from stellwerk.store.ports import Blobs
from stellwerk.tracking import experiments
from stellwerk.tracking.model import Run, StepMemory
from stellwerk.tracking.shelves import RUNS, STEPS

FORMAT = "stellwerk-result/1"
"""What an answer over HTTP says that it is (`docs/formats/grant.md`)."""
PREFIX = "swg_"
"""How tokens begin, so that scanners for secrets find them where they should not be."""
SECRET_BYTES = 32
MAX_TOKEN = 200
LONGEST = timedelta(days=366)
"""No grant is for longer: who still wants it says so again."""
MAX_WORDS = 200
AT_HOME = LASTING | {"wait"}
"""Kinds of steps whose results are of this workspace alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LentOutput:
    """One output of a result: its bytes, how they are read, and how many they are."""

    name: str
    digest: Digest
    media: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A result as another workspace may see it."""

    key: Digest
    origin: Origin
    outputs: tuple[LentOutput, ...]
    """In the order of their names, by which their bytes are asked for."""


class Lending:
    """The grants of one workspace, and what is read under them.

    Args:
        name: The name of this workspace's book, by which others say where a result is from.
    """

    def __init__(self, book: Book, blobs: Blobs, clock: Clock, name: str) -> None:
        self._book, self._blobs, self._clock, self._name = book, blobs, clock, name

    # For owners

    def grant(self, to: str, *, pipeline: str = "", lasting: timedelta) -> Granted:
        """Let whoever has the token that this makes read results of a pipeline, or of all.

        Raises:
            NotFound: `unknown-pipeline`: no run was ever of this pipeline.
            Invalid: For a name or a time that can be none.
        """
        if not to.strip() or len(to) > MAX_WORDS or not to.isprintable():
            raise Invalid(
                f"{to[:60]!r} does not say who may read (expected up to {MAX_WORDS} characters)", code="invalid-name"
            )
        if not timedelta() < lasting <= LONGEST:
            raise Invalid(
                f"a grant cannot last {format_duration(lasting)} (expected up to {LONGEST.days} days)",
                code="invalid-duration",
            )
        now, token = self._clock.now(), PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        with self._book.write() as tx:
            found = experiments.by_name(tx, pipeline) if pipeline else None
            if pipeline and found is None:
                raise NotFound(
                    f"no run was ever of a pipeline {pipeline[:80]!r}",
                    code="unknown-pipeline",
                    hint="`stellwerk experiments` lists them",
                )
            made = ResultGrant(
                id=new_id(now),
                to=to.strip(),
                experiment=found.id if found is not None else "",
                pipeline=pipeline,
                token_hash=_hashed(token),
                granted_at=now,
                granted_by=tx.actor,
                until=now + lasting,
            )
            RESULT_GRANTS.insert(tx, made)
            until = format_instant(made.until)
            told = {"to": made.to, "pipeline": pipeline, "experiment": made.experiment, "until": until}
            tx.record("results.granted", f"grant:{made.id}", told)
        return Granted(grant=made, token=token)

    def all(self) -> list[ResultGrant]:
        """Every grant that was ever made, the oldest first."""
        with self._book.read() as reader:
            return RESULT_GRANTS.select(reader, order="granted_at")

    def revoke(self, grant: str) -> ResultGrant:
        """End a grant now, by its id, or by whom it was made to where that is one. Revoking twice changes nothing.

        Raises:
            NotFound: `unknown-grant`.
            Conflict: `ambiguous-grant`: several that hold were made to the same.
        """
        now = self._clock.now()
        with self._book.write() as tx:
            known = _named(tx, grant, now)
            if known.revoked_at is not None:
                return known
            revoked = evolve(known, revoked_at=now)
            RESULT_GRANTS.put(tx, revoked)
            tx.record("results.grant-revoked", f"grant:{known.id}", {"to": known.to, "pipeline": known.pipeline})
        return revoked

    # For others

    def find(self, token: str, key: Digest) -> Lent:
        """The result under a step key, for whoever has a token. Raises `NotFound` for every reason alike."""
        with self._book.read() as reader:
            _, memory = self._covered(reader, token, key)
        outputs = tuple(self._outputs(memory))
        with self._book.write() as tx:
            grant, memory = self._covered(tx, token, key)  # it may have ended meanwhile
            tx.record("results.read", f"grant:{grant.id}", {"to": grant.to, "step_key": key, "run": memory.run})
        return Lent(key=key, origin=Origin(workspace=self._name, run=memory.run), outputs=outputs)

    def open(self, token: str, key: Digest, position: int) -> tuple[LentOutput, Iterator[bytes]]:
        """The bytes of one output, by its place among the names. Raises `NotFound` for every reason alike."""
        with self._book.read() as reader:
            _, memory = self._covered(reader, token, key)
        outputs = list(self._outputs(memory))
        if not 0 <= position < len(outputs):
            raise nothing()
        chosen = outputs[position]
        with self._book.write() as tx:
            grant, _ = self._covered(tx, token, key)
            told = {"to": grant.to, "step_key": key, "run": memory.run, "output": chosen.name}
            tx.record("results.taken", f"grant:{grant.id}", {**told, "digest": chosen.digest})
        return chosen, self._blobs.stream(chosen.digest)

    def _covered(self, reader: Reader, token: str, key: Digest) -> tuple[ResultGrant, StepMemory]:
        """The grant and the result, if the one covers the other. The same questions are asked whatever is known."""
        given = RESULT_GRANTS.select(reader, token_hash=_hashed(token), limit=1)
        memory = STEPS.find(reader, key)
        run: Run | None = RUNS.find(reader, "" if memory is None else memory.run)
        grant = given[0] if given else None
        covered = run is not None and access.covers(grant, run.experiment, self._clock.now())
        gone = run is None or run.deleted_at is not None or run.kind in AT_HOME
        if grant is None or memory is None or run is None or not covered or gone:
            raise nothing()
        return grant, memory

    def _outputs(self, memory: StepMemory) -> Iterator[LentOutput]:
        for name, digest in sorted(memory.outputs.items()):
            try:
                size = self._blobs.size(digest)
            except NotFound as cause:
                raise nothing() from cause
            yield LentOutput(name=name, digest=digest, media=memory.media[name], size=size)


def nothing() -> NotFound:
    """The one answer to whoever may not know, or asks for what is not there (law 10)."""
    return NotFound("there is no such result")


def _hashed(token: str) -> str:
    return hashlib.sha256(token[:MAX_TOKEN].encode("utf-8", "replace")).hexdigest()


def _named(reader: Reader, grant: str, now: datetime) -> ResultGrant:
    known = RESULT_GRANTS.find(reader, grant)
    if known is not None:
        return known
    meant = [one for one in RESULT_GRANTS.select(reader, order="granted_at") if one.to == grant]
    holding = [one for one in meant if one.revoked_at is None and now < one.until] or meant[-1:]
    if len(holding) > 1:
        raise Conflict(
            f"{len(holding)} grants that hold were made to {grant[:80]!r}",
            code="ambiguous-grant",
            hint="name it by its id: " + ", ".join(one.id for one in holding[:3]),
        )
    if not holding:
        raise NotFound(f"no grant {grant[:80]!r}", code="unknown-grant", hint="`stellwerk grants list`")
    return holding[0]
