"""A process that lives the whole chain in a folder, round by round, and says so after each step: what kills aim at.

It imports what is expensive once, and then forks one life per order, a line of JSON: `folder`, `said` (the file to
which the life adds a line per acknowledged step), `rounds` to complete, `until` (a step after which it ends), `fail`
(failpoints). It prints `started <pid>`, and `ended <status>` when that life is over.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

PRELOADED = (
    "numpy", "scipy.stats", "sklearn.linear_model", "skops.io", "sqlalchemy", "pydantic", "msgspec",
    "stellwerk.workspace.facade", "stellwerk.workspace.rooms", "stellwerk.workspace.running",
    "stellwerk.workspace.watching", "stellwerk.workspace.serving", "stellwerk.releases.proving",
    "stellwerk.workspace.examining", "stellwerk.monitoring.service", "stellwerk.evidence.quality",
)  # fmt: skip
"""Not polars: it starts threads, which a fork would lose."""


class Over(Exception):
    """The step was said after which this life ends."""


class Life:
    """One life: it goes on where the last one on this folder ended."""

    def __init__(self, order: dict[str, Any]) -> None:
        from stellwerk.testing import worlds

        self.worlds = worlds
        self.folder = Path(order["folder"])
        self.rounds, self.until = int(order["rounds"]), str(order.get("until", ""))
        self._said = os.open(order["said"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def say(self, step: str, **facts: Any) -> None:
        """Acknowledge: one write of one line, before anything else happens."""
        os.write(self._said, json.dumps({"step": step, **facts}).encode() + b"\n")
        if step == self.until:
            raise Over

    def live(self) -> None:
        """Round after round until enough are complete."""
        import stellwerk as sw
        from stellwerk.workspace.rooms.making import create
        from stellwerk.workspace.settings import Settings

        worlds = self.worlds
        if not (self.folder / ".stellwerk" / "format.json").exists():
            worlds.project(self.folder)
            create(self.folder, Settings(actor=worlds.OWNER), clock="replay")
            self.say("created")
        with sw.connect(self.folder, actor=worlds.OWNER) as live:
            self.workspace, self.rooms = live, live._caller.rooms  # type: ignore[attr-defined]
            while (number := self.current()) < self.rounds:
                self.round(number)

    def current(self) -> int:
        """The round that is not complete: one more than those that were assessed."""
        judged = {item.release for item in self.rooms.monitoring.assessments(self.worlds.ENDPOINT)}
        done = {release.model_version for release in self.released() if release.id in judged}
        return max(done, default=0)

    def released(self) -> list[Any]:
        return list(self.rooms.interlocking.history(self.worlds.ENDPOINT))

    def moved(self, to: Any) -> None:
        clock = self.worlds.clock(self.folder)
        if not self.workspace.data.list() or clock.now() < to:
            clock.set(to)

    def round(self, number: int) -> None:
        worlds, live = self.worlds, self.workspace
        start = worlds.START + timedelta(days=2 * number)
        self.moved(start)
        if len([item for item in live.data.list() if item.name == worlds.DATASET]) <= number:
            rows = worlds.World().parcels(700, 100 + number, first=1000 * number)
            version = live.data.add(worlds.DATASET, rows, partition=f"round-{number}", replace=True)
            self.say("data", version=version.version, digest=version.digest)
        contract = live.data.confirm(worlds.DATASET)
        self.say("contract", version=contract.version)
        if not self.ran(number):
            ran = live.run(worlds.plan(self.folder, strength=1.0 / (number + 1)))
            self.say("run", run=ran.run.id, model=ran.model.digest if ran.model else "")
        live.declare(worlds.declared(self.folder))
        self.prove(number)
        self.answer(number)
        self.moved(start + timedelta(hours=36))
        found = live.assess(worlds.ENDPOINT)
        self.say("assessed", id=found.id, release=found.release, labelled=found.labelled)

    def ran(self, number: int) -> bool:
        """Whether the pipeline of a round came to its end."""
        runs = self.workspace.runs(experiment=self.worlds.ENDPOINT, limit=1000)
        return sum(run.parent is None and run.status == "finished" for run in runs) > number

    def prove(self, number: int) -> None:
        live, endpoint = self.workspace, self.worlds.ENDPOINT
        if any(release.model_version == number + 1 for release in self.released()):
            return
        verdict = live.prove(endpoint, model=f"{endpoint}@{number + 1}", reason="retrain" if number else "first")
        self.say("verdict", id=verdict.id, outcome=verdict.outcome)
        release = live.release(endpoint)
        self.say("release", id=release.id, model=release.model, until=release.expires_at.isoformat())

    def answer(self, number: int) -> None:
        worlds = self.worlds
        ask = worlds.in_process(self.rooms)
        for batch in range(2):
            asked = worlds.World().parcels(30, 1000 * number + batch)
            ids = [item["id"] for item in ask(worlds.questions(asked))]
            self.say("answers", ids=ids, model=self.released()[-1].model)
            report = self.workspace.outcomes(worlds.ENDPOINT, worlds.outcomes(ids, asked, self.workspace.now()))
            self.say("outcomes", ids=ids, accepted=report.accepted)


def fork(order: dict[str, Any]) -> int:
    """Begin a life."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        from stellwerk.core import failpoints

        failpoints._PLAN.update(failpoints._parse(order.get("fail", "")))
        Life(order).live()
        status = 0
    except Over:
        status = 0
    except BaseException:  # noqa: BLE001
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def main(say: Callable[..., None] = print) -> None:
    """Serve orders until there are no more."""
    for name in PRELOADED:
        importlib.import_module(name)
    say("ready", flush=True)
    for line in sys.stdin:
        child = fork(json.loads(line))
        say("started", child, flush=True)
        _, status = os.waitpid(child, 0)
        say("ended", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
