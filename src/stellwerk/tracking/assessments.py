"""Assessments: what people, judges and programs say of traces and their spans."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.ledger.ports import Book, Reader
from stellwerk.ledger.shelf import evolve
from stellwerk.tracking import rules
from stellwerk.tracking.trace_rules import ID, MAX_TEXT, known_trace
from stellwerk.tracking.traced import ASSESSMENTS, Assessment, Kind

MAX_ASSESSMENTS = 10_000
"""Of one trace."""


class Assessments:
    """Use cases of what is said of traces, for one workspace and actor."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book, self._clock = book, clock

    def say(self, said: Assessment) -> Assessment:
        """Say something of a trace; what it overrides is not valid any more. Saying the same again is once."""
        check(said)
        with self._book.write() as tx:
            known_trace(tx, said.trace)
            new = fresh(tx, said.trace, [said], rules.milliseconds(self._clock.now()))
            if not new:
                return next(one for one in ASSESSMENTS.select(tx, trace=said.trace) if _same(one, said))
            made = new[0]
            if made.overrides:
                ASSESSMENTS.put(tx, evolve(_assessment(tx, said.trace, made.overrides), valid=False))
            ASSESSMENTS.insert(tx, made)
            body = {"assessment": made.id, "kind": made.kind, "overrides": made.overrides}
            tx.record("trace.assessed", f"trace:{made.trace}", body)
        return made

    def get(self, trace: str, assessment: str) -> Assessment:
        """One assessment. Raises `NotFound`."""
        with self._book.read() as reader:
            return _assessment(reader, trace, assessment)

    def revise(self, trace: str, assessment: str, kind: Kind | None, **changes: Any) -> Assessment:
        """Change what was said; who said it of which span stays, and metadata is added to.

        Args:
            kind: Of the value, where it changes.
        """
        with self._book.write() as tx:
            known = _assessment(tx, trace, assessment)
            if kind is not None and kind != known.kind:
                article = "an" if known.kind[0] in "aeiou" else "a"
                raise Invalid(
                    f"Cannot update {kind} value on {article} {known.kind.capitalize()} assessment.",
                    code="wrong-assessment",
                )
            if "metadata" in changes:
                changes["metadata"] = {**known.metadata, **changes["metadata"]}
            changed = replace(known, **changes, changed=rules.milliseconds(self._clock.now()))
            check(changed)
            ASSESSMENTS.put(tx, changed)
            tx.record("trace.reassessed", f"trace:{trace}", {"assessment": assessment, "fields": sorted(changes)})
        return changed

    def withdraw(self, trace: str, assessment: str) -> None:
        """Take back what was said; what it overrode is valid again. Nothing happens where it is not there."""
        with self._book.write() as tx:
            known_trace(tx, trace)
            known = ASSESSMENTS.find(tx, trace, assessment) if ID.fullmatch(assessment) else None
            if known is None:
                return
            if known.overrides:
                before = ASSESSMENTS.find(tx, trace, known.overrides)
                if before is not None:
                    ASSESSMENTS.put(tx, evolve(before, valid=True))
            ASSESSMENTS.remove(tx, trace, assessment)
            tx.record("trace.unassessed", f"trace:{trace}", {"assessment": assessment})


def fresh(reader: Reader, trace: str, said: Sequence[Assessment], now: int) -> list[Assessment]:
    """Those that were not said yet, with an id each."""
    if not said:
        return []
    known = ASSESSMENTS.select(reader, trace=trace)
    new: list[Assessment] = []
    for one in said:
        if any(_same(other, one) for other in (*known, *new)):
            continue
        if any(one.id and other.id == one.id for other in (*known, *new)):
            raise Conflict(f"Assessment {one.id} exists already", code="already-exists")
        new.append(
            evolve(
                one,
                trace=trace,
                id=one.id or f"a-{secrets.token_hex(16)}",
                created=one.created or now,
                changed=one.changed or one.created or now,
                valid=True,
            )
        )
    if len(known) + len(new) > MAX_ASSESSMENTS:
        raise Invalid(f"a trace has at most {MAX_ASSESSMENTS:,} assessments", code="too-many")
    return new


def check(said: Assessment) -> None:
    """Raises `Invalid` for what cannot be kept."""
    if said.id and not ID.fullmatch(said.id):
        raise rules.wrong("assessment_id", said.id)
    if not said.name:
        raise Invalid("an assessment needs a name", code="invalid-name")
    for what, text, most in (
        ("assessment_name", said.name, 500),
        ("value", said.value, MAX_TEXT),
        ("rationale", said.rationale or "", MAX_TEXT),
        ("source_id", said.source, 500),
        ("span_id", said.span or "", 100),
        ("error", json.dumps(said.error or {}), MAX_TEXT),
        ("metadata", json.dumps(said.metadata), MAX_TEXT),
    ):
        if len(text) > most:
            raise rules.too_long(what, most)
    for at in (said.created, said.changed):
        rules.instant(at)


def _assessment(reader: Reader, trace: str, assessment: str) -> Assessment:
    known_trace(reader, trace)
    found = ASSESSMENTS.find(reader, trace, assessment) if ID.fullmatch(assessment) else None
    if found is None:
        raise NotFound(f"Assessment with ID '{assessment[:100]}' not found for trace '{trace}'")
    return found


def _same(known: Assessment, said: Assessment) -> bool:
    """Whether it was said before: by its id, or at the same moment in the same words."""
    if said.id and known.id != said.id:
        return False
    fields = ("name", "kind", "value", "error", "source_kind", "source", "span", "rationale", "metadata", "overrides")
    return bool(said.id or said.created == known.created) and all(
        getattr(known, one) == getattr(said, one) for one in fields
    )
