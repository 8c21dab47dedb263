"""The room of triggers over a database, and what happens in its workspace. For tests; promises are tested elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from stellwerk.core import failpoints
from stellwerk.core.digest import Digest
from stellwerk.data.model import ColumnRule, Contract, DatasetVersion
from stellwerk.data.shelves import CONTRACTS, DATASETS
from stellwerk.evidence.ports import Sealer
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.model import Entry
from stellwerk.testing.fakes import StandingClock
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.model import Run
from stellwerk.tracking.service import Runs
from stellwerk.triggers.adapters.cron import CronCalendar
from stellwerk.triggers.hooks import Hooks
from stellwerk.triggers.lookout import Lookout
from stellwerk.triggers.model import Firing, Limits, Made, Source
from stellwerk.triggers.queue import Queue
from stellwerk.triggers.service import Triggers
from stellwerk.triggers.tags import TAG
from stellwerk.workspace import operations as ops
from stellwerk.workspace.facade import connect
from stellwerk.workspace.layout import this_process

NOBODY = Digest("sha256:" + "0" * 64)


class Station:
    """The room of one workspace, and what happens in it."""

    def __init__(self, database: Database, clock: StandingClock, sealer: Sealer, *, cause: str = "") -> None:
        self.database, self.clock, self.sealer = database, clock, sealer
        self.calendar = CronCalendar()
        self.book = WorkspaceBook(database, "default", "anna", cause)
        self.triggers = Triggers(self.book, clock, self.calendar, sealer)
        self.lookout = Lookout(self.book, clock, self.calendar)
        self.queue = Queue(self.book, clock, budget=1000)
        self.hooks = Hooks(self.book, clock, self.calendar, self.triggers)
        self.runs = Runs(self.book, clock, SqlFinder(), SqlPoints())

    def add(self, name: str, on: Source, **more: Any) -> Made:
        limits = Limits(**{key: more.pop(key) for key in ("interval", "queue", "depth", "each") if key in more})
        return self.triggers.create(name, "delay", on, limits=limits, **more)

    def working_for(self, firing: Firing) -> Station:
        """The same as a process sees it that was begun for a firing."""
        return Station(self.database, self.clock, self.sealer, cause=firing.id)

    def happens(self, kind: str, subject: str, /, **body: Any) -> Entry:
        with self.book.write() as tx:
            entry: Entry = tx.record(kind, subject, body)
            return entry

    def contract(self, name: str = "flights", status: str = "confirmed") -> None:
        """The next version of a contract, of one column."""
        with self.book.write() as tx:
            version = len(CONTRACTS.select(tx, name=name)) + 1
            made = Contract(
                name=name,
                version=version,
                columns=(ColumnRule(name="late", kind="boolean", dtype="Boolean"),),
                status=status,  # type: ignore[arg-type]
            )
            CONTRACTS.insert(tx, made)
            tx.record(f"contract.{status}", f"contract:{name}@{version}")

    def data(self, name: str = "flights", **more: Any) -> Entry:
        """The next version of a dataset."""
        with self.book.write() as tx:
            version = len(DATASETS.select(tx, name=name)) + 1
            facts: dict[str, Any] = {
                "columns": (("late", "Boolean"),),
                "rows": 3,
                "source": "",
                "parent": None,
                **more,
            }
            made = DatasetVersion(
                workspace="default",
                name=name,
                version=version,
                digest=NOBODY,
                partitions=(),
                created_at=self.clock.now(),
                created_by="anna",
                **facts,
            )
            DATASETS.insert(tx, made)
            entry: Entry = tx.record("data.added", f"dataset:{name}@{version}", {"digest": NOBODY})
            return entry

    def begin(self, firing: Firing) -> Run:
        """The run of a firing that was claimed, as an operation begins it."""
        tag = f"{firing.id}.{firing.epoch}"
        return self.runs.start(
            experiment="delay", name="delay", kind="pipeline", tags={TAG: tag}, also=self.queue.beginning(tag)
        )

    def perform(self, runner: str = "here") -> list[Firing]:
        """Run everything that is due, as fast as a thought."""
        done = []
        while firing := self.queue.claim(runner):
            self.runs.finish(self.begin(firing).id)
            done.append(self.queue.settle(firing.id, firing.epoch))
        return done

    def told(self, *kinds: str) -> list[Entry]:
        return self.book.entries(kinds=[f"trigger.{kind}" for kind in kinds] or ["trigger."])

    def later(self, **by: float) -> None:
        self.clock.advance(timedelta(**by))


def live(folder: str, actor: str, fail: str, claim: str) -> None:
    """One life of a process of its own that may die at a failpoint: for `multiprocessing`, started by name.

    Args:
        claim: `id.epoch` of a firing whose run it is to begin; empty for a runner, which looks, takes all that is due,
            begins each run as a child would, ends it and settles it.
    """
    failpoints._HITS.clear()
    failpoints._PLAN.update(failpoints._parse(fail))
    with connect(folder, actor=actor) as workspace:
        caller = workspace._caller

        def run(tag: str) -> None:
            facts = {"experiment": "count", "name": "count", "kind": "pipeline", "tags": {TAG: tag}}
            begun = caller.call(ops.start_run, {**facts, "process": this_process()})
            caller.call(ops.finish_run, {"run": begun.id})

        if claim:
            run(claim)
            return
        caller.call(ops.close_runs, {})
        caller.call(ops.look_for_causes, {})
        while firing := caller.call(ops.claim_firing, {"runner": this_process()}):
            run(f"{firing.id}.{firing.epoch}")
            caller.call(ops.settle_firing, {"firing": firing.id, "epoch": firing.epoch})
