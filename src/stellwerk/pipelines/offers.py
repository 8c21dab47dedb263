"""Offering attempts to workers elsewhere, which pull them: leases with epochs, so that no result comes twice.

A worker that is not heard of in time has lost its lease: the engine takes the attempt for lost and offers it anew, and
what the first worker says afterwards is refused (`threats.md`, K1 and K2 of workers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stellwerk.core.errors import Conflict, NotFound
from stellwerk.core.names import new_id
from stellwerk.ledger.shelf import evolve
from stellwerk.pipelines.model import Offer
from stellwerk.pipelines.shelves import OFFERS
from stellwerk.pipelines.stock import SHARED

if TYPE_CHECKING:
    from stellwerk.core.clock import Clock
    from stellwerk.core.digest import Digest
    from stellwerk.ledger.ports import Book, Transaction

LEASE = timedelta(seconds=30)
"""For how long a worker has an attempt without being heard of."""


class Offers:
    """The attempts of one workspace that wait for workers, or are with one."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book, self._clock = book, clock

    def offer(
        self, execution: str, attempt: str, *, document: Digest, needs: Mapping[str, float], priority: int = 0
    ) -> Offer:
        """Let some worker do this."""
        made = Offer(
            id=new_id(self._clock.now()),
            execution=execution,
            attempt=attempt,
            document=document,
            needs=dict(needs),
            priority=priority,
        )
        with self._book.write() as tx:
            OFFERS.insert(tx, made)
            tx.record("attempt.offered", f"run:{execution}", {"attempt": attempt, "document": document})
        return made

    def claim(self, worker: str, capacity: Mapping[str, float]) -> Offer | None:
        """Give a worker the most urgent attempt that it has room for, the oldest first; None if there is none."""
        with self._book.read() as reader:
            fitting = [one for one in OFFERS.select(reader, status="open") if _fits(one, capacity)]
        for chosen in sorted(fitting, key=lambda one: (-one.priority, one.id)):
            with suppress(Conflict, NotFound):  # somebody was faster
                return self._claim(chosen.id, worker)
        return None

    def _claim(self, offer: str, worker: str) -> Offer:
        with self._book.write() as tx:
            chosen = OFFERS.get(tx, offer)
            if chosen.status != "open":
                raise Conflict(f"attempt {offer} was claimed by {chosen.worker!r}", code="lease-lost")
            claimed = evolve(
                chosen, status="claimed", worker=worker, epoch=chosen.epoch + 1, until=self._clock.now() + LEASE
            )
            OFFERS.put(tx, claimed)
            facts = {"attempt": chosen.attempt, "worker": worker, "epoch": claimed.epoch}
            tx.record("attempt.claimed", f"run:{chosen.execution}", facts)
        return claimed

    def beat(self, offer: str, epoch: int) -> Offer:
        """Say that the worker is alive. Raises `Conflict` (`lease-lost`) if the attempt is not with it any more."""
        with self._book.write() as tx:
            known = self._mine(tx, offer, epoch)
            beaten = evolve(known, until=self._clock.now() + LEASE)
            OFFERS.put(tx, beaten)
            tx.record("attempt.alive", f"run:{known.execution}", {"attempt": known.attempt, "epoch": epoch})
        return beaten

    def end(self, offer: str, epoch: int, outcome: Digest) -> Offer:
        """Say how it came out. Raises `Conflict` (`lease-lost`) if the attempt is not with this worker any more."""
        with self._book.write() as tx:
            known = self._mine(tx, offer, epoch)
            ended = evolve(known, status="ended", until=None, outcome=outcome)
            OFFERS.put(tx, ended)
            facts = {"attempt": known.attempt, "epoch": epoch, "outcome": outcome}
            tx.record("attempt.ended", f"run:{known.execution}", facts)
        return ended

    def collect(self, execution: str) -> list[Offer]:
        """What has ended of an execution, and what was lost with its worker (then it is withdrawn); each once."""
        now = self._clock.now()
        with self._book.read() as reader:
            mine = OFFERS.select(reader, execution=execution)
        found = [one for one in mine if one.status == "ended" or _lost(one, now)]
        if not found:
            return []
        with self._book.write() as tx:
            current = [OFFERS.get(tx, one.id) for one in found]
            collected = [one for one in current if one.status == "ended" or _lost(one, now)]
            for one in collected:
                OFFERS.remove(tx, one.id)
            names = [one.attempt for one in collected]
            tx.record("attempt.collected", f"run:{execution}", {"attempts": names})
        return [one if one.status == "ended" else evolve(one, status="withdrawn") for one in collected]

    def withdraw(self, execution: str, attempts: Sequence[str] | None = None) -> int:
        """Take back what nobody needs any more, all of it by default; how many. Workers hear of it when they beat."""
        with self._book.read() as reader:
            if not OFFERS.count(reader, execution=execution):
                return 0
        with self._book.write() as tx:
            mine = [
                one for one in OFFERS.select(tx, execution=execution) if attempts is None or one.attempt in attempts
            ]
            for one in mine:
                OFFERS.remove(tx, one.id)
            tx.record("attempt.withdrawn", f"run:{execution}", {"attempts": [one.attempt for one in mine]})
        return len(mine)

    def workers(self) -> list[str]:
        """Who has an attempt of any execution now, by name."""
        now = self._clock.now()
        with self._book.read() as reader:
            claimed = OFFERS.select(reader, status="claimed")
        return sorted({one.worker for one in claimed if not _lost(one, now)})

    def _mine(self, tx: Transaction, offer: str, epoch: int) -> Offer:
        known = OFFERS.find(tx, offer)
        if known is None or known.status != "claimed" or known.epoch != epoch:
            raise Conflict(
                f"attempt {offer} is not with this worker any more (epoch {epoch})",
                code="lease-lost",
                hint="what it made is kept under its digest, and is no result",
            )
        return known


def _fits(offer: Offer, capacity: Mapping[str, float]) -> bool:
    """Whether a worker has what an attempt needs; of processors and memory it may have less, and give all."""
    scarce = {name: amount for name, amount in offer.needs.items() if name not in SHARED}
    return all(capacity.get(name, 0.0) >= amount for name, amount in scarce.items())


def _lost(offer: Offer, now: datetime) -> bool:
    return offer.status == "claimed" and offer.until is not None and offer.until < now
