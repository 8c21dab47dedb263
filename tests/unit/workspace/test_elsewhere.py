"""Results of another workspace, in a folder and at an address: found under a grant, verified, and named as foreign."""

from __future__ import annotations

import json
import logging
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import NotFound, StellwerkError, Unavailable
from stellwerk.pipelines.lending import Lent, LentOutput
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.model import Origin, Plan, document
from stellwerk.testing import worlds
from stellwerk.testing.fakes import MemoryBlobs
from stellwerk.tracking.model import ORIGIN_RUN, ORIGIN_WORKSPACE
from stellwerk.workspace.elsewhere import Borrowing
from stellwerk.workspace.facade import connect
from stellwerk.workspace.layout import find
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.running import How
from stellwerk.workspace.settings import Settings, read
from stellwerk.workspace.steps.entry import Request

FLOW = """
    from pathlib import Path

    import stellwerk as sw


    @sw.step(kind="data")
    def rows(count: int) -> list[int]:
        note("rows")
        return list(range(count))


    @sw.step
    def total(numbers: list) -> int:
        note("total")
        return sum(numbers)


    @sw.step(kind="deploy")
    def put_live(number: int) -> str:
        note("put_live")
        return f"live: {number}"


    @sw.step
    def said(answer: str) -> str:
        note("said")
        return answer


    def note(name: str) -> None:
        with Path("NOTES").open("a") as file:
            file.write(name + " ")


    @sw.pipeline
    def sums(count: int = 4):
        return put_live(total(rows(count)))


    @sw.pipeline
    def others(count: int = 4):
        return total(rows(count))


    @sw.pipeline
    def asked():
        return said(sw.wait_for_person("May it?", options=["yes", "no"]))
"""


@dataclass
class Two:
    """Workspace A, which has computed something, and the project of B."""

    rooms: Rooms
    here: Path
    place: str

    def grant(self, pipeline: str = "sums") -> str:
        return self.rooms.lending.grant("B", pipeline=pipeline, lasting=timedelta(days=1)).token

    def executed(self) -> list[str]:
        """What was executed since somebody last looked."""
        notes = self.here / "NOTES"
        found = notes.read_text().split() if notes.is_file() else []
        notes.unlink(missing_ok=True)
        return found

    def plan(self, name: str = "sums", **parameters: Any) -> Plan:
        return find_pipelines(load(self.here / "pipeline.py"))[name].plan(**parameters)


@pytest.fixture(params=["folder", "server"])
def two(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        create(folder, Settings(actor="anna" if folder == a else "ben"))
    flow = textwrap.dedent(FLOW).replace('Path("NOTES")', f"Path({str(b / 'NOTES')!r})")
    (b / "pipeline.py").write_text(flow)
    monkeypatch.chdir(b)
    for name in ("STELLWERK_RESULTS_FROM", "STELLWERK_RESULTS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with connect(a, actor="anna") as workspace:
        plan = find_pipelines(load(b / "pipeline.py"))["sums"].plan()
        workspace.run(plan)
    (b / "NOTES").unlink()
    rooms = Rooms(find(a), Settings(actor="anna"))
    if request.param == "folder":
        yield Two(rooms, b, "../a")
    else:
        with worlds.served(rooms) as address:
            yield Two(rooms, b, address)
    rooms.close()
    sys.modules.pop("pipeline", None)


def run(two: Two, plan: Plan | None = None, **how: Any) -> tuple[dict[str, str], Any]:
    """Run in B; how each task ended."""
    with connect(two.here, actor="ben") as workspace:
        ran = workspace.run(plan or two.plan(), how=How(**how))
        return {task.task: task.status for task in ran.report.tasks}, ran


def test_what_another_workspace_computed_is_not_computed_again(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result travels with its bytes, and says in both books where it was from; what was deployed there was not here."""
    monkeypatch.setenv("STELLWERK_RESULTS_FROM", two.place)
    monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", two.grant())

    ended, ran = run(two)

    assert {"rows": "cached", "total": "cached", "put_live": "done"} == ended
    assert ["put_live"] == two.executed()
    with connect(two.here) as workspace:
        (total,) = [one for one in workspace.runs(parent=ran.run.id) if one.name == "total"]
        theirs = two.rooms.runs.get(total.tags[ORIGIN_RUN])
        assert (two.rooms.layout.identity, "total") == (total.tags[ORIGIN_WORKSPACE], theirs.name)
        assert total.outputs == theirs.outputs
        (line,) = [said for what, said in workspace.run_page(total.id).origin if what == "taken from"]
        assert theirs.id in line
        assert () == workspace.fsck()
    read = [one.body for one in two.rooms.book.entries(kinds=["results.read"])]
    assert {"B"} == {body["to"] for body in read}
    assert theirs.step_key in {body["step_key"] for body in read}


def test_without_a_grant_everything_is_computed(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token, a wrong one, another pipeline's, a revoked one: each step is executed, and nobody complains."""
    monkeypatch.setenv("STELLWERK_RESULTS_FROM", two.place)
    revoked = two.grant()
    two.rooms.lending.revoke("B")
    two.rooms.runs.start(experiment="unrelated", name="x", kind="x")
    for number, token in enumerate(("", "swg_wrong", two.grant("unrelated"), revoked), start=10):
        monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", token)
        with connect(two.rooms.layout.root, actor="anna") as workspace:
            workspace.run(two.plan(count=number))
        two.executed()

        run(two, two.plan(count=number))

        assert ["rows", "total", "put_live"] == two.executed()
    assert [] == two.rooms.book.entries(kinds=["results.read"])


def test_a_revoked_grant_ends_at_once(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is no result of this workspace: it is asked for again, and computed once nobody gives it."""
    monkeypatch.setenv("STELLWERK_RESULTS_FROM", two.place)
    monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", two.grant())
    assert "cached" == run(two)[0]["total"]
    assert "cached" == run(two)[0]["total"]
    taken = two.rooms.book.entries(kinds=["results.taken"])
    assert 2 == len(taken)  # the second time the bytes were there

    two.rooms.lending.revoke("B")
    two.executed()

    assert "done" == run(two)[0]["total"]
    assert ["rows", "total"] == two.executed()
    two.rooms.lending.grant("B", lasting=timedelta(days=1))
    ended, ran = run(two)
    assert "cached" == ended["total"]
    assert all(task.result.origin is None for task in ran.report.tasks)


def test_the_project_file_says_where(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place may stand in the project file; the token never does."""
    (two.here / "stellwerk.toml").write_text(f"[results]\nfrom = {json.dumps(two.place)}\n")
    assert "done" == run(two)[0]["total"]
    monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", two.grant())
    with connect(two.rooms.layout.root, actor="anna") as workspace:
        workspace.run(two.plan(count=5))

    assert "cached" == run(two, two.plan(count=5))[0]["total"]


def test_what_is_executed_anew_is_not_asked_for(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--rerun` means here."""
    monkeypatch.setenv("STELLWERK_RESULTS_FROM", two.place)
    monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", two.grant())

    ended, _ = run(two, again=("total",))

    assert {"rows": "cached", "total": "done", "put_live": "done"} == ended


def test_a_decision_does_not_travel(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person decided there is asked here again, whatever is granted."""
    with connect(two.rooms.layout.root, actor="anna") as workspace:
        waiting = workspace.run(two.plan("asked"))
        (case,) = workspace.inbox()
        workspace.decide(case.id, "yes")
        workspace.resume(waiting.run.id, two.plan("asked"))
    monkeypatch.setenv("STELLWERK_RESULTS_FROM", two.place)
    monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", two.grant(""))

    _, ran = run(two, two.plan("asked"))

    assert "waiting" == ran.status


def test_single_steps_find_them_too(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of a CI that executes one step finds its inputs, and its result, where the grant leads."""
    monkeypatch.setenv("STELLWERK_RESULTS_FROM", two.place)
    monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", two.grant())
    (two.here / "plan.json").write_text(json.dumps(document(two.plan())))

    with connect(two.here, actor="ben") as workspace:
        done = workspace.steps.execute(Request(plan="plan.json", node="total", folder=two.here))

    assert done.cached
    assert [] == two.executed()


def test_a_workspace_at_an_address_takes_them_too(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever executes asks, wherever the results are kept."""
    monkeypatch.setenv("STELLWERK_RESULTS_FROM", two.place)
    monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", two.grant())
    rooms = Rooms(find(two.here), Settings(actor="ben"))
    try:
        with worlds.served(rooms) as address, connect(address) as workspace:
            ran = workspace.run(two.plan())
            (total,) = [one for one in workspace.runs(parent=ran.run.id) if one.name == "total"]
    finally:
        rooms.close()

    assert total.cached
    assert two.rooms.layout.identity == total.tags[ORIGIN_WORKSPACE]
    assert ["put_live"] == two.executed()


def test_whoever_does_not_answer_is_asked_once(
    two: Two, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A place that is gone delays nothing but the first step, and is named once."""
    for number, gone in enumerate(
        ("../nowhere", "http://127.0.0.1:9", "http://example.com", "https://u:canary@[x"), start=20
    ):
        caplog.clear()
        monkeypatch.setenv("STELLWERK_RESULTS_FROM", gone)
        monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", two.grant())
        two.executed()

        with caplog.at_level(logging.WARNING, "stellwerk.workspace"):
            ended, _ = run(two, two.plan(count=number))

        assert {"done"} == set(ended.values())
        assert 1 == len([one for one in caplog.records if "no more results are asked" in one.message])
        assert "canary" not in caplog.text


# What a place that means no good may answer


class Liar:
    """Another workspace that answers what it is told to."""

    def __init__(self, lent: Lent, data: bytes, problem: StellwerkError | None = None) -> None:
        self.lent, self.data, self.problem, self.asked = lent, data, problem, 0

    def find(self, key: Digest) -> Lent:
        self.asked += 1
        if self.problem is not None:
            raise self.problem
        return self.lent

    def open(self, key: Digest, position: int) -> Iterator[bytes]:
        yield self.data

    def close(self) -> None:
        """Nothing is held."""


KEY, GOOD = of_bytes(b"key"), b"[1, 2]"


def lent(**changes: Any) -> Lent:
    output = {"name": "value", "digest": of_bytes(GOOD), "media": "application/json", "size": len(GOOD)}
    output |= {name: value for name, value in changes.items() if name in output}
    facts = {"key": KEY, "origin": Origin(workspace="stellwerk/0123456789abcdef", run="01k"), "outputs": None}
    facts |= {name: value for name, value in changes.items() if name in facts}
    facts["outputs"] = facts["outputs"] or (LentOutput(**output),)
    return Lent(**facts)  # type: ignore[arg-type]


def test_an_honest_answer_is_taken() -> None:
    """The bytes are here before anything names them."""
    blobs = MemoryBlobs()

    found = Borrowing(blobs, lambda: Liar(lent(), GOOD), "x").find(KEY, ("value",))

    assert found is not None
    assert GOOD == blobs.get(found.outputs["value"].digest)


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        (lent(), b"[6, 6]"),
        (lent(), GOOD + b" "),
        (lent(), b""),
        (lent(size=3), GOOD),
        (lent(size=1 << 60), GOOD),
        (lent(key=of_bytes(b"other")), GOOD),
        (lent(name="other"), GOOD),
        (lent(media="application/x-pickle"), GOOD),
        (lent(media="application/vnd.stellwerk.unheard"), GOOD),
        (lent(origin=Origin(workspace="<script>", run="01k")), GOOD),
        (lent(origin=Origin(workspace="stellwerk/0123456789abcdef", run="../../x")), GOOD),
        (lent(outputs=lent().outputs * 2), GOOD),
    ],
)
def test_what_does_not_fit_is_not_taken(answer: Lent, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Other bytes, other outputs, forms that nobody reads, odd names: nothing is kept, and the place is left alone."""
    blobs, liar = MemoryBlobs(), Liar(answer, data)
    asked = Borrowing(blobs, lambda: liar, "x")

    assert asked.find(KEY, ("value",)) is None
    assert asked.find(KEY, ("value",)) is None
    assert [] == list(blobs)
    assert 1 == liar.asked
    assert 1 == len(caplog.records)


def test_a_miss_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has one result not may have the next; whoever cannot be reached is not asked again."""
    missing = Liar(lent(), GOOD, NotFound("there is no such result"))
    gone = Liar(lent(), GOOD, Unavailable("no answer"))
    for liar, times in ((missing, 3), (gone, 1)):
        asked = Borrowing(MemoryBlobs(), lambda liar=liar: liar, "x")  # type: ignore[misc]
        assert [None] * 3 == [asked.find(KEY, ("value",)) for _ in range(3)]
        assert times == liar.asked
    assert 1 == len(caplog.records)


def test_nobody_is_asked_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is a secret: it is read from the environment alone and shown by nothing."""
    monkeypatch.setenv("STELLWERK_RESULTS_TOKEN", "swg_canary")

    assert "swg_canary" == read().results_token
    assert "swg_canary" not in repr(read())
