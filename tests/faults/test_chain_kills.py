"""Law 7 over the whole chain: killed anywhere between `init` and `assess`, nothing acknowledged is lost, no law breaks.

Seeds are printed; STELLWERK_KILLS says how many random kills there are, STELLWERK_SEED repeats them.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import pkgutil
import random
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stellwerk
import stellwerk as sw
from stellwerk.core import failpoints
from stellwerk.core.errors import NotFound
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, ENDPOINT
from stellwerk.workspace.local import LocalCaller

pytestmark = pytest.mark.faults

WRITER = Path(__file__).with_name("chain_writer.py")
KILLS = int(os.environ.get("STELLWERK_KILLS", "30"))
KILLS_PER_FOLDER = 5
STAGES = ("", "data", "run", "verdict", "release", "outcomes")
"""Where prepared folders begin: with nothing, or after this step."""
SWEEP = (
    "blob.open", "blob.write", "blob.fsync", "blob.link", "blob.dirsync",
    "ledger.record", "ledger.commit", "ledger.committed",
    "step-stored", "step-committed",
    "evidence.signed", "plan.frozen", "gate.opened", "verdict.given", "release.signed", "release.granted",
    "spool.write", "spool.sync", "spool.synced",
    "segment.rotate", "segment.rotated", "segment.blob", "segment.row", "segment.unlink",
)  # fmt: skip
"""All failpoints, in the order in which the chain passes them."""
OTHER_SWEEPS = {
    "keys.": "faults/test_key_kills.py",
    "vault.": "faults/test_vault_kills.py",
    "pack.": "faults/test_ground_kills.py",
    "remove.": "faults/test_ground_kills.py",
    "chunks.": "faults/test_ground_kills.py",
    "checkout.": "faults/test_copy_kills.py",
    "s3.": "faults/test_s3_large.py",
    "migrate.": "unit/ledger/test_migrations.py",
    "outbox.": "faults/test_logging_kills.py",
    "trigger.": "faults/test_trigger_kills.py",
    "task.": "faults/test_step_kills.py",
}
"""Failpoints of what no chain does by itself, and the tests that pass them."""
FRAMEWORKS = "stellwerk.workspace.adapters.frameworks."
"""Modules that import frameworks which are not installed here, and that keep nothing."""


class Mother:
    """The process that forks lives."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WRITER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "STELLWERK_FAIL": ""},
        )
        assert "ready" == self._hear()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def life(self, chain: Chain, *, after: float | None = None, **order: Any) -> int:
        """One life, killed after some seconds if it has not ended before; returns how it ended."""
        assert self._process.stdin is not None
        facts = {"folder": str(chain.folder), "said": str(chain.said), "rounds": 1000, **order}
        self._process.stdin.write(json.dumps(facts) + "\n")
        child = int(self._hear().removeprefix("started "))
        if after is not None and not select.select([self._process.stdout], [], [], after)[0]:
            os.kill(child, signal.SIGKILL)
        return int(self._hear().removeprefix("ended "))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


class Chain:
    """A workspace over which lives are lived, and what they acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, folder.with_suffix(".said")

    def copy(self, folder: Path) -> Chain:
        """The same, elsewhere."""
        other = Chain(folder)
        if self.folder.exists():
            shutil.copytree(self.folder, other.folder)
            shutil.copy(self.said, other.said)
        return other

    def acknowledged(self, step: str = "") -> list[dict[str, Any]]:
        """Whole lines; a line that was cut off was not said."""
        if not self.said.exists():
            return []
        lines = self.said.read_bytes().split(b"\n")[:-1]
        facts = [json.loads(line) for line in lines]
        return [fact for fact in facts if not step or fact["step"] == step]

    def check(self) -> None:
        """Reopened: everything acknowledged is there, what is there is whole, and the laws hold."""
        if not (self.folder / ".stellwerk" / "format.json").exists():
            assert [] == self.acknowledged()
            with pytest.raises(NotFound):
                sw.connect(self.folder)
            return
        with sw.connect(self.folder, actor=worlds.OWNER) as live:
            assert () == live.verify().findings
            assert [] == [item for item in live.fsck() if item.severity == "error"]
            self._facts(live)
            self._laws(live)

    def _facts(self, live: sw.Workspace) -> None:
        rooms = rooms_of(live)
        for fact in self.acknowledged("data"):
            assert fact["digest"] == live.data.get(DATASET, fact["version"]).digest
        for fact in self.acknowledged("run"):
            assert "finished" == rooms.runs.get(fact["run"]).status
            assert fact["model"] == live.models.get(fact["model"]).digest
        for fact in self.acknowledged("verdict"):
            assert fact["outcome"] == rooms.interlocking.verdict(fact["id"]).outcome
        for fact in self.acknowledged("release"):
            assert fact["model"] == rooms.interlocking.release_of(fact["id"]).model
        answered = self.acknowledged("answers")
        for fact in answered[-3:]:
            assert {fact["model"]} == {rooms.predictions.answered(name).model for name in fact["ids"]}
        logged = {batch.id for batch in rooms.predictions.batches(ENDPOINT, worlds.START, live.now() + worlds.YEAR)}
        assert {name.rpartition("-")[0] for fact in answered for name in fact["ids"]} <= logged
        known = rooms.monitoring.outcomes(ENDPOINT)
        assert {name for fact in self.acknowledged("outcomes") for name in fact["ids"]} <= set(known)
        for fact in self.acknowledged("assessed"):
            assert fact["release"] == rooms.monitoring.assessment(fact["id"]).release

    def _laws(self, live: sw.Workspace) -> None:
        rooms = rooms_of(live)
        if not live.endpoints():
            return
        releases = live.releases(ENDPOINT)
        active = [release for release in releases if release.status == "active"]
        state = live.signal(ENDPOINT)
        assert len(active) <= 1
        assert (state.signal == "stop") == (state.token is None)
        if state.token is not None:
            assert [state.token.release] == [release.id for release in active]
        for release in releases:
            assert () == live.trace(release.id).failed
            order = {
                kind: next(entry.sequence for entry in rooms.book.entries(kinds=[kind]) if about in str(entry.body))
                for kind, about in (
                    ("plan.frozen", rooms.interlocking.verdict(release.verdict).plan),
                    ("gate.opened", rooms.interlocking.verdict(release.verdict).plan),
                    ("verdict.given", release.verdict),
                    ("release.granted", release.verdict),
                )
            }
            assert sorted(order.values()) == list(order.values()), "frozen, opened, judged, granted"
            assert "clear" == rooms.interlocking.verdict(release.verdict).outcome
        granted = {entry.subject for entry in rooms.book.entries(kinds=["release.granted"])}
        assert granted == {f"release:{release.id}" for release in releases}


def rooms_of(live: sw.Workspace) -> Any:
    caller = live._caller
    assert isinstance(caller, LocalCaller)
    return caller.rooms


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    made = Mother()
    yield made
    made.close()


@pytest.fixture(scope="module")
def stages(mother: Mother, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Chain]:
    """A prepared workspace for each stage of the chain."""
    root = tmp_path_factory.mktemp("stages")
    made = {"": Chain(root / "nothing")}
    before = made[""]
    for stage in STAGES[1:]:
        chain = before.copy(root / stage)
        chain.folder.mkdir(exist_ok=True)
        assert 0 == mother.life(chain, until=stage)
        before = made[stage] = chain
    before.check()
    assert [1, 1, 1, 1] == [len(before.acknowledged(step)) for step in ("created", "data", "run", "release")]
    return made


def test_killed_at_random(mother: Mother, stages: dict[str, Chain], tmp_path: Path) -> None:
    """Killed at any moment, from any stage, again and again: whole each time; the same script then completes."""
    seed = int(os.environ.get("STELLWERK_SEED", random.SystemRandom().getrandbits(32)))
    print(f"STELLWERK_SEED={seed} STELLWERK_KILLS={KILLS}")
    chance = random.Random(seed)
    killed = 0
    for number in range(math.ceil(KILLS / KILLS_PER_FOLDER)):
        chain = stages[STAGES[number % len(STAGES)]].copy(tmp_path / f"chain-{number}")
        for _ in range(min(KILLS_PER_FOLDER, KILLS - killed)):
            # As often in the first milliseconds of a life as in its first second.
            after = math.exp(chance.uniform(math.log(0.01), math.log(2.5)))
            ended = mother.life(chain, after=after)
            assert -signal.SIGKILL == ended
            killed += 1
            chain.check()
        rounds = 1 + len(chain.acknowledged("assessed"))
        assert 0 == mother.life(chain, rounds=rounds)
        chain.check()
        assert chain.acknowledged("assessed")
        with sw.connect(chain.folder, actor=worlds.OWNER) as live:
            assert "clear" == live.signal(ENDPOINT).signal
            running = [run for run in live.runs(limit=1000) if run.status == "running"]
            assert [] == running, "runs of dead processes are closed by the next"
        shutil.rmtree(chain.folder)
    assert KILLS == killed


def test_killed_at_every_failpoint(mother: Mother, stages: dict[str, Chain], tmp_path: Path) -> None:
    """Each failpoint of the source lies on the chain, and dying there loses nothing; the next life goes on."""
    for module in pkgutil.walk_packages(stellwerk.__path__, "stellwerk."):
        if not module.name.startswith(("stellwerk.testing", "stellwerk.__main__", FRAMEWORKS)):
            importlib.import_module(module.name)
    for file in Path(stellwerk.__path__[0], "workspace", "adapters", "frameworks").glob("*.py"):
        assert "failpoints" not in file.read_text("utf-8"), f"{file.name} is not imported here"
    chain = stages[""].copy(tmp_path / "swept")

    passed = {name for name in failpoints.NAMES if not name.startswith(tuple(OTHER_SWEEPS))}
    for prefix, test in OTHER_SWEEPS.items():
        assert prefix in (Path(__file__).parents[1] / test).read_text("utf-8"), f"nobody passes {prefix}"
    assert set(SWEEP) == passed, "a failpoint is not passed by this sweep"
    for name in SWEEP:
        ended = mother.life(chain, fail=f"{name}:kill:1", rounds=1000)
        assert (name, -signal.SIGKILL) == (name, ended), "this failpoint was not hit"
        chain.check()
    assert 0 == mother.life(chain, rounds=1 + len(chain.acknowledged("assessed")))
    chain.check()
    LocalFolder(chain.folder / ".stellwerk" / "blobs").sweep()
    with sw.connect(chain.folder, actor=worlds.OWNER) as live:
        assert () == live.fsck()
        assert "clear" == live.signal(ENDPOINT).signal
