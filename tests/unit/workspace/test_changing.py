"""What a change comes to, gathered from a real workspace: two runs of two branches, and everything that differs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import NotFound, StellwerkError
from stellwerk.governance.change.model import Change
from stellwerk.releases.model import Reason, Verdict
from stellwerk.releases.shelves import VERDICTS
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, ENDPOINT, World
from stellwerk.workspace.facade import Workspace, connect
from stellwerk.workspace.local import LocalCaller
from stellwerk.workspace.revision import BRANCH, COMMIT

ROWS = 900
PIPELINE = worlds.PIPELINE.replace(
    'late", exclude=["parcel"])\n    sw.gate', 'late", entity=["parcel"])\n    sw.gate'
)
"""Rows go where their parcel sends them, whatever columns they have."""
STEP = '''

@sw.step(kind="data")
def broken(table: pl.DataFrame) -> pl.DataFrame:
    """Fails, and says so."""
    print("reading", table.height, "rows")
    raise ValueError("<b>no</b> good")


@sw.pipeline
def doomed():
    """Its second step fails, and the third is not reached."""
    return sw.evaluate(train(broken(sw.dataset("parcels"))), sw.dataset("parcels"))
'''


def on(monkeypatch: pytest.MonkeyPatch, branch: str, commit: str) -> None:
    """What a CI says while it builds a branch."""
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_COMMIT_BRANCH", branch)
    monkeypatch.setenv("CI_COMMIT_SHA", commit * 40)


def judge(live: Workspace) -> None:
    """A verdict about the first model in the book; how one comes about is tested elsewhere."""
    caller = live._caller
    assert isinstance(caller, LocalCaller)
    rooms, now = caller.rooms, live.now()
    reasons = (
        Reason(check="floor:auroc", outcome="pass", text="AUROC 0.8"),
        Reason(check="slice:depot=West", outcome="unproven", text="too few", n_needed=300),
    )
    verdict = Verdict(
        id="01kc4v3n0w5x8y2z6q7r9s1t3v", endpoint=ENDPOINT, model=live.models.get("tardy@1").bytes(),
        plan=of_bytes(b"plan"), attempt=1, outcome="unproven", reasons=reasons, routed=(), n_needed=300, evidence=(),
        given_at=now, valid_until=now + timedelta(days=30),
    )  # fmt: skip
    with rooms.book.write() as tx:
        VERDICTS.insert(tx, verdict)
        tx.record("verdict.given", f"endpoint:{ENDPOINT}", {"outcome": "unproven"})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which main was proven, and a branch has another parameter, more rows and one more column."""
    folder = tmp_path_factory.mktemp("changing")
    with pytest.MonkeyPatch.context() as patch, worlds.workspace(folder) as live:
        (folder / "pipeline.py").write_text(PIPELINE + STEP, "utf-8")
        table = World().parcels(ROWS + 300, 1)
        live.data.add(DATASET, table.head(ROWS))
        live.data.confirm(DATASET)
        on(patch, "main", "a")
        live.run(worlds.plan(folder))
        live.declare(worlds.declared(folder))
        judge(live)
        on(patch, "same-data", "b")
        live.run(worlds.plan(folder, strength=0.001))
        import polars as pl

        grown = table.with_columns(fragile=pl.int_range(pl.len()) % 7 == 0)
        live.data.add(DATASET, grown, replace=True)
        live.data.confirm(DATASET)
        on(patch, "new-data", "c")
        live.run(worlds.plan(folder))
        from stellwerk.pipelines.loading import find_pipelines, load

        on(patch, "doomed", "d")
        with pytest.raises(StellwerkError):
            live.run(find_pipelines(load(folder / "pipeline.py"))["doomed"].plan())
    return folder


@pytest.fixture(scope="module")
def live(place: Path) -> Iterator[Workspace]:
    with connect(place, actor=worlds.OWNER) as workspace:
        yield workspace


@pytest.fixture(scope="module")
def same(live: Workspace) -> Change:
    return live.change(branch="same-data", base="main")


@pytest.fixture(scope="module")
def grown(live: Workspace) -> Change:
    return live.change(commit="c" * 40, base="main")


def test_runs_are_found_by_branch_and_by_commit(same: Change, grown: Change) -> None:
    """The newest of this commit or branch, against the newest of the other."""
    assert same.base is not None
    assert ("same-data", "b" * 40, "main", "a" * 40) == (
        same.head.branch, same.head.commit, same.base.branch, same.base.commit,
    )  # fmt: skip
    assert ("tardy@2", "tardy@1", "tardy@3") == (same.head.model, same.base.model, grown.head.model)


def test_both_models_answer_the_same_rows(same: Change) -> None:
    """All selection rows where the data is the same: differences with intervals, around what the runs measured."""
    known = {one.name: one for one in same.metrics}
    assert same.pairing.rows == same.pairing.of > 100
    assert {"auroc", "accuracy", "brier", "log_loss"} == set(known)
    for one in known.values():
        assert one.lower is not None
        assert one.upper is not None
        assert one.gain is not None
        assert one.lower <= one.gain <= one.upper
    assert "worse" == known["log_loss"].judgement, "a model that may hardly learn has a larger loss"


def test_what_was_measured_again_is_what_was_measured(live: Workspace, same: Change) -> None:
    """A model that is asked again answers the same."""
    runs = {run.id: run for run in live.runs("parent IS NULL")}
    base = same.base

    assert base is not None
    for one in same.metrics:
        assert one.after == pytest.approx(runs[same.head.run].metrics[one.name])
        assert one.before == pytest.approx(runs[base.run].metrics[one.name])


def test_rows_are_matched_where_the_data_changed(grown: Change) -> None:
    """Those that both runs kept for selection, by the columns that both tables have."""
    assert 50 <= grown.pairing.rows < grown.pairing.of
    assert 5 == grown.pairing.columns
    assert {"not distinguishable"} >= {one.judgement for one in grown.metrics} - {"better", "worse"}


def test_what_changed_is_told(same: Change, grown: Change) -> None:
    """Parameters, data down to columns, contracts, inputs; and nothing that did not change."""
    assert [("strength", "1", "0.001")] == [(one.name, one.before, one.after) for one in same.params]
    assert ((), (), (), ()) == (same.data, same.code, same.environment, same.inputs)
    (data,) = grown.data
    assert (DATASET, "1", "2", ("+ fragile",)) == (data.name, data.before, data.after, data.schema)
    assert ("900 → 1,200 rows (+300 −0)",) == data.lines
    assert any(line.startswith("+ fragile") for line in data.promises)
    assert ("+ fragile: boolean",) == grown.inputs
    assert () == grown.params


def test_nothing_missing_is_clear(same: Change, live: Workspace) -> None:
    """A model that nobody proved is unproven, and the command that would change it is told; main is what it is."""
    main = live.change(branch="main")

    assert ("unproven", "stellwerk prove tardy --model tardy@2") == (same.outcome, same.next)
    (verdict,) = main.verdicts
    assert (ENDPOINT, "unproven", 300, "unproven") == (
        verdict.endpoint, verdict.outcome, verdict.n_needed, main.outcome,
    )  # fmt: skip
    assert "1 unproven, 1 of 2 checks passed" == main.why
    assert "stellwerk prove tardy --model tardy@1" == main.next


def test_a_failed_step_is_a_stop(live: Workspace) -> None:
    """With its error, its log and the command that fetches it; what waited for it was not reached."""
    found = live.change(branch="doomed", base="main")

    (failed,) = found.failed
    assert ("stop", "step broken failed") == (found.outcome, found.why)
    assert ("broken", "pipeline:broken") == (failed.name, failed.function)
    assert "<b>no</b> good" in failed.error
    assert "reading 1200 rows" in failed.log
    assert f"stellwerk step fetch {failed.key}" == found.next
    assert {"train": "not reached", "evaluate": "not reached"} == {
        step.name: step.status for step in found.steps if step.status == "not reached"
    }
    assert "" != found.no_base, "no run of this pipeline is on main"
    against = live.change(branch="doomed", base="tardy@3")
    assert () == against.data, "what it did not come to is not gone"


def test_cached_steps_are_told(live: Workspace, same: Change) -> None:
    """What main had computed already."""
    statuses = {step.name: step.status for step in same.steps}

    assert ("ran", "cached") == (statuses["train"], statuses["split"])
    assert all(step.key.startswith("sha256:") for step in same.steps)


def test_what_is_compared_may_be_a_run_or_a_model(live: Workspace, same: Change) -> None:
    """All three words mean the same."""
    base = same.base
    assert base is not None
    for word in (base.run, base.model):
        found = live.change(branch="doomed", base=word)
        assert found.base is not None
        assert (base.run, base.model, word) == (found.base.run, found.base.model, found.base.asked)


def test_no_base_is_said_and_no_error(live: Workspace) -> None:
    """The first build of a repository has nothing to be compared with."""
    found = live.change(branch="main", base="nowhere")

    assert found.base is None
    assert "no finished run of tardy on branch nowhere is known" == found.no_base
    assert found.metrics


@pytest.mark.parametrize("branch", ["nowhere", "a' OR 'x' = 'x", "both ' and \"", "%", "`"])
def test_a_branch_that_nothing_ran_on(live: Workspace, branch: str) -> None:
    """Is not found, whatever it is called."""
    with pytest.raises(NotFound) as caught:
        live.change(branch=branch)

    assert "no-run-of-commit" == caught.value.code


def test_runs_keep_their_commit(live: Workspace) -> None:
    """As the tags in which MLflow's clients say it."""
    (run,) = live.runs(f"tags.`{BRANCH}` = 'same-data' AND parent IS NULL")

    assert "b" * 40 == run.tags[COMMIT]
