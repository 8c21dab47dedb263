"""Whatever comes in, and whatever breaks: a clear error with a code and what to do, nothing half done, a whole book."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import stellwerk as sw
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.models.model import Column, Signature
from stellwerk.pipelines.loading import load
from stellwerk.releases.model import Goal, SliceRule
from stellwerk.store import service as trees
from stellwerk.testing import worlds
from stellwerk.testing.worlds import DATASET, ENDPOINT, World
from stellwerk.workspace import operations as ops
from stellwerk.workspace import shipping
from stellwerk.workspace.facade import Workspace

WORLD = World()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one dataset under a confirmed contract."""
    made = tmp_path_factory.mktemp("bad-input")
    with worlds.workspace(made) as house:
        house.data.add(DATASET, WORLD.parcels(800, 1))
        house.data.confirm(DATASET)
    return made


@pytest.fixture
def house(folder: Path) -> Iterator[Workspace]:
    """The workspace, which must be as whole after the test as before, with nothing left running."""
    with sw.connect(folder, actor=worlds.OWNER) as opened:
        yield opened
        assert ((), ()) == (opened.verify().findings, opened.fsck())
        assert set() == {run.id for run in opened.runs(limit=1000) if run.status == "running"}


def error_of(act: Callable[[], Any], kind: type[StellwerkError] = Invalid) -> StellwerkError:
    """What was raised: of the right class, with words and a hint."""
    with pytest.raises(kind) as caught:
        act()
    assert caught.value.message
    assert caught.value.hint, f"{caught.value.code}: {caught.value.message}"
    return caught.value


# Files and tables


def table(**changes: Any) -> str:
    """Parcels as CSV text, with some columns changed."""
    return WORLD.parcels(300, 5).with_columns(**changes).write_csv()


def wide(columns: int) -> str:
    """A table of very many columns, the last of which is the target."""
    rng = np.random.default_rng(1)
    names = [f"c{k}" for k in range(columns - 1)]
    rows = rng.integers(0, 9, (60, columns - 1))
    lines = [",".join([*map(str, row), str(int(rng.random() < 0.5))]) for row in rows]
    return "\n".join([",".join([*names, "late"]), *lines]) + "\n"


FILES: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "late", "empty-table"),
    "only white space": (b" \n\n", "late", "empty-table"),
    "only a header": (b"distance,late\n", "late", "empty-table"),
    "unknown target": (table().encode(), "lat", "unknown-column"),
    "one class": (table(late=pl.lit(value=True)).encode(), "late", "one-class"),
    "missing target": (
        table(late=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("late")).encode(),
        "late",
        "target-null",
    ),
    "target not a number": (table(late=pl.col("distance").log()).encode(), "late", "target-null"),
    "duplicate columns": (b"a,a,late\n" + b"1,2,0\n3,4,1\n" * 60, "late", "duplicate-column"),
    "not UTF-8": ("größe,late\n".encode("latin-1") + b"1,0\n2,1\n" * 60, "late", "not-utf8"),
    "UTF-16": (table().encode("utf-16"), "late", "not-utf8"),
    "ragged": (b"a,late\n" + b"1,0\n2,1,9\n" * 60, "late", "ragged-rows"),
    "zipped": (b"PK\x03\x04" + bytes(100), "late", "unknown-format"),
    "too few rows": (b"a,late\n" + b"1,0\n2,1\n" * 20, "late", "too-few-cases"),
    "a class per row": (
        table(late=pl.int_range(pl.len()).cast(pl.String) + "x").encode(),
        "late",
        "too-many-classes",
    ),
    "too many columns": (wide(20_001).encode(), "late", "too-many-columns"),
}


@pytest.mark.parametrize("what", FILES)
def test_files_that_cannot_be_shipped(house: Workspace, tmp_path: Path, what: str) -> None:
    """Each is refused before anything is written: no project, no dataset, no run."""
    data, target, code = FILES[what]
    file = tmp_path / "parcels.csv"
    file.write_bytes(data)
    before = house.board().entries
    error = error_of(lambda: shipping.prepare(file, tmp_path / "project", target=target, owner="anna"))

    assert code == error.code
    assert not (tmp_path / "project").exists()
    assert before == house.board().entries


def test_files_that_are_not_there(house: Workspace, tmp_path: Path) -> None:
    """A missing file is not found, a folder is no file; the messages show no path of this machine."""
    missing = error_of(
        lambda: shipping.prepare(tmp_path / "no.csv", tmp_path / "p", target="late", owner="anna"), NotFound
    )
    with pytest.raises(Invalid) as caught:
        house.data.add("x", tmp_path)

    assert ("file-not-found", "not-a-file") == (missing.code, caught.value.code)
    assert str(tmp_path) not in missing.message + caught.value.message


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"time": "late"}, "target-twice"),
        ({"time": "whenever"}, "unknown-column"),
        ({"entity": ["nobody"]}, "unknown-column"),
        ({"slices": ["depots"]}, "unknown-column"),
        ({"exclude": ["late"]}, "target-twice"),
        ({"name": "no good name"}, "invalid-name"),
    ],
)
def test_options_that_make_no_sense(house: Workspace, tmp_path: Path, options: dict[str, Any], code: str) -> None:
    """Columns that are not there, and columns asked to be two things, are Invalid before anything is written."""
    file = tmp_path / "parcels.csv"
    file.write_text(table(), "utf-8")
    with pytest.raises(Invalid) as caught:
        shipping.prepare(file, tmp_path / "project", target="late", owner="anna", **options)

    assert code == caught.value.code
    assert not (tmp_path / "project").exists()


def test_ten_thousand_columns_are_carried(house: Workspace, tmp_path: Path) -> None:
    """A wide table is added, comes back, and is compared, without trouble."""
    file = tmp_path / "wide.csv"
    file.write_text(wide(10_000), "utf-8")
    order = shipping.prepare(file, tmp_path / "project", target="late", owner="anna")
    version = house.data.add("wide", file)

    assert "binary" == order.task
    assert (60, 10_000) == house.data.frame("wide").shape
    assert (1, 60) == (version.version, version.rows)


@pytest.mark.parametrize(
    ("changes", "code", "kind"),
    [
        ({"distance": pl.lit("far")}, "contract-broken", Refused),
        ({"distance": pl.lit(1e9)}, "contract-broken", Refused),
        ({"depot": pl.lit("Mars")}, "contract-broken", Refused),
        ({"distance": pl.lit(float("nan"))}, "contract-broken", Refused),
        ({"weight": pl.lit(None, dtype=pl.Float64)}, "contract-broken", Refused),
    ],
)
def test_parts_that_do_not_fit(house: Workspace, changes: dict[str, Any], code: str, kind: Any) -> None:
    """Wrong types and broken contracts add nothing."""
    versions = house.data.list()
    error = error_of(
        lambda: house.data.add(DATASET, WORLD.parcels(200, 6).with_columns(**changes), partition="next"), kind
    )

    assert code == error.code
    assert versions == house.data.list()


def test_shipping_into_another_project(house: Workspace, tmp_path: Path) -> None:
    """The files of the user's own project win; an endpoint that it does not have is a Conflict."""
    file = tmp_path / "other.csv"
    file.write_text(table(), "utf-8")
    worlds.project(tmp_path)
    error = error_of(lambda: shipping.prepare(file, tmp_path, target="late", owner="anna"), Conflict)

    assert "other-project" == error.code
    assert worlds.PROJECT == (tmp_path / "stellwerk.toml").read_text("utf-8")


# Steps

STEPS = '''
"""Pipelines whose steps misbehave."""

import polars as pl

import stellwerk as sw


@sw.step
def raises(table: pl.DataFrame) -> pl.DataFrame:
    return table.select("no such column")


@sw.step
def leaves(table: pl.DataFrame) -> pl.DataFrame:
    raise SystemExit(3)


@sw.step(timeout="1s")
def hangs(table: pl.DataFrame) -> pl.DataFrame:
    while True:
        pass


@sw.step
def answers_nonsense(table: pl.DataFrame):
    return object()


@sw.step(resources=sw.Resources(memory="1GiB"))
def eats(table: pl.DataFrame) -> pl.DataFrame:
    heap = []
    while True:
        heap.append(bytearray(64 << 20))


@sw.step(timeout="60s")
def dies(table: pl.DataFrame) -> pl.DataFrame:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


@sw.step(kind="train")
def one_class(table: pl.DataFrame) -> sw.Model:
    from sklearn.linear_model import LogisticRegression

    return sw.fit(LogisticRegression(), table.filter("late"), target="late")


def made(step):
    @sw.pipeline(name=step.name.replace("_", "-"))
    def chain():
        return step(sw.dataset("parcels"))

    return chain


CHAINS = {step.name: made(step) for step in (raises, leaves, hangs, answers_nonsense, eats, dies, one_class)}


@sw.pipeline(name="leaks")
def leaks():
    parts = sw.split(sw.dataset("leaky"), target="late")
    return sw.evaluate(one_class(parts["train"]), parts["select"])


@sw.pipeline(name="nowhere")
def nowhere():
    return raises(sw.dataset("no-such-dataset"))
'''


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("steps") / "misbehaving.py"
    file.write_text(STEPS, "utf-8")
    return load(file)


@pytest.mark.parametrize(
    ("step", "code", "words"),
    [
        ("raises", "step-failed", "no such column"),
        ("leaves", "step-failed", "SystemExit"),
        ("hangs", "step-timeout", "1 second"),
        ("answers_nonsense", "unsupported-value", "object"),
        ("eats", "step-memory", "memory"),
        ("dies", "step-killed", "SIGKILL"),
        ("one_class", "step-failed", "true"),
    ],
)
def test_steps_that_misbehave(house: Workspace, steps: Any, step: str, code: str, words: str) -> None:
    """The run fails with the step's own reason, everything is closed, nothing is registered or remembered."""
    models = house.models.list()
    with pytest.raises(StellwerkError) as caught:
        house.run(steps.CHAINS[step].plan())
    parent, *_ = [run for run in house.runs(experiment=step.replace("_", "-")) if run.parent is None]
    children = house.runs(parent=parent.id)

    assert code == caught.value.code
    assert words in caught.value.message
    assert "failed" == parent.status
    assert {"failed"} == {run.status for run in children if run.name == step}
    assert models == house.models.list()
    page = house.run_page(next(run.id for run in children if run.name == step))
    assert page.error
    with pytest.raises(StellwerkError):
        house.run(steps.CHAINS[step].plan())


def test_a_failed_step_shows_the_users_own_lines(house: Workspace, steps: Any) -> None:
    """The log of the failed step has the traceback in the user's file."""
    with pytest.raises(StellwerkError):
        house.run(steps.CHAINS["raises"].plan())
    parent = house.runs(experiment="raises")[-1]
    pages = [house.run_page(run.id) for run in house.runs(experiment="raises") if run.name == "raises" and run.parent]

    assert parent
    assert any('table.select("no such column")' in page.log for page in pages)


def test_a_certain_leak_is_refused(house: Workspace, steps: Any) -> None:
    """A copy of the target among the inputs stops the run at the split, by name."""
    leaky = WORLD.parcels(400, 9).with_columns(arrived_late=pl.col("late").cast(pl.Int8))
    house.data.add("leaky", leaky)
    error = error_of(lambda: house.run(steps.leaks.plan()), StellwerkError)

    assert "step-failed" == error.code
    assert "arrived_late" in error.message
    assert "--exclude" in error.hint


def test_a_dataset_that_is_not_there(house: Workspace, steps: Any) -> None:
    """The run ends as failed and says which dataset is missing."""
    error = error_of(lambda: house.run(steps.nowhere.plan()), NotFound)

    assert "no-such-dataset" in error.message
    assert {"failed"} == {run.status for run in house.runs(experiment="nowhere")}


# Models


class Bomb:
    """What unpickles into a file being made."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self._canary}",))


def hostile(canary: Path) -> dict[str, dict[str, bytes]]:
    """Model trees with a pickle in one of its disguises."""
    bomb = pickle.dumps(Bomb(canary))
    return {
        "bare": {"model.pkl": bomb},
        "beside": {"model.json": b"{}", "weights.bin": bomb},
        "renamed": {"model.json": bomb},
        "old protocol": {"model.pkl": pickle.dumps(Bomb(canary), protocol=0)},
    }


@pytest.fixture(scope="module")
def released(folder: Path) -> Path:
    """The workspace with an endpoint, a gate and a model."""
    with sw.connect(folder, actor=worlds.OWNER) as house:
        house.run(worlds.plan(folder))
        house.declare(worlds.declared(folder))
    return folder


SIGNATURE = Signature(
    inputs=(Column(name="distance", kind="number"),), target="late", task="binary", classes=("false", "true")
)


@pytest.mark.parametrize("disguise", ["bare", "beside", "renamed", "old protocol"])
def test_a_pickle_is_judged_and_never_loaded(released: Path, house: Workspace, tmp_path: Path, disguise: str) -> None:
    """Registered as a model it gets the verdict stop with the reason; its payload never runs; the gate stays shut."""
    canary = tmp_path / "canary"
    files = hostile(canary)[disguise]
    caller = house._caller
    version = caller.call(
        ops.register_model,
        {
            "name": f"hostile-{disguise.replace(' ', '-')}",
            "digest": trees.put_files(caller.blobs, files),
            "signature": SIGNATURE,
            "layout": "pickle",
            "run": "",
        },
    )
    opened = [event for event in house.board().events if event.kind == "gate.opened"]
    verdict = house.prove(ENDPOINT, model=version.digest)
    scan = next(reason for reason in verdict.reasons if reason.check == "file-scan")

    assert ("stop", "fail") == (verdict.outcome, scan.outcome)
    assert "executable" in scan.text or "refused" in scan.text
    assert not canary.exists()
    assert opened == [event for event in house.board().events if event.kind == "gate.opened"]
    assert "not-clear" == error_of(lambda: house.release(ENDPOINT), Refused).code
    assert verdict == house.prove(ENDPOINT, model=version.digest)


def test_a_model_that_is_nothing(released: Path, house: Workspace) -> None:
    """A registered tree whose bytes are no model, or not there at all, is never clear."""
    caller = house._caller
    empty = trees.put_files(
        caller.blobs, {"model.json": b'{"format": "?"}', "estimator.skops": b"PK\x05\x06" + bytes(18)}
    )
    facts = {"signature": SIGNATURE, "layout": "skops", "run": ""}
    caller.call(ops.register_model, {"name": "nothing", "digest": empty, **facts})

    assert "clear" != house.prove(ENDPOINT, model="nothing").outcome
    with pytest.raises(NotFound):
        caller.call(ops.register_model, {"name": "gone", "digest": "sha256:" + "0" * 64, **facts})


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"goals": (Goal(metric="aurok", floor=0.6),)}, "unknown-metric"),
        ({"goals": (Goal(metric="mae", ceiling=0.6),)}, "unknown-metric"),
        ({"slices": SliceRule(by=("dopot",), goals=(Goal(metric="auroc", floor=0.5),))}, "unknown-column"),
        ({"slices": SliceRule(by=("depot",), goals=(Goal(metric="rmse", floor=0.5),))}, "unknown-metric"),
        ({"policy": ("base@99",)}, "unknown-policy"),
    ],
)
def test_a_slip_of_the_pen_costs_no_attempt(
    released: Path, house: Workspace, changes: dict[str, Any], code: str
) -> None:
    """What a plan asks for is checked before the gate is opened."""
    right = worlds.declared(released)
    before = [entry for entry in gates(house) if entry == "gate.opened"]
    house.declare(replace(right, **changes))
    with pytest.raises(StellwerkError) as caught:
        house.prove(ENDPOINT, model=f"{ENDPOINT}@1")
    house.declare(right)

    assert code == caught.value.code
    assert before == [entry for entry in gates(house) if entry == "gate.opened"]


def gates(house: Workspace) -> list[str]:
    return [entry.kind for entry in house._caller.rooms.book.entries(kinds=["gate."])]  # type: ignore[attr-defined]


def test_what_was_missing_may_come_later(tmp_path: Path) -> None:
    """With a drafted contract the verdict is unproven; once it is confirmed, the same plan is clear at attempt 1."""
    with worlds.workspace(tmp_path) as house:
        house.data.add(DATASET, WORLD.parcels(1000, 1))
        (tmp_path / "pipeline.py").write_text(
            worlds.PIPELINE.replace('sw.contract("parcels")(sw.dataset("parcels"))', 'sw.dataset("parcels")'), "utf-8"
        )
        house.run(worlds.plan(tmp_path))
        house.declare(worlds.declared(tmp_path))
        first = house.prove(ENDPOINT)
        house.data.confirm(DATASET)
        second = house.prove(ENDPOINT)

        assert ("unproven", ["contract:data"]) == (
            first.outcome,
            [reason.check for reason in first.reasons if reason.outcome != "pass"],
        )
        assert ("clear", 1, first.plan) == (second.outcome, second.attempt, second.plan)
        assert second == house.prove(ENDPOINT)
        assert second.id == house.release(ENDPOINT).verdict


def test_missing_values_are_a_slice_like_any_other(tmp_path: Path) -> None:
    """Where nothing is proven about parcels without a depot, questions without a depot go to people (law 3)."""
    rows = WORLD.parcels(1200, 1).with_columns(
        depot=pl.when(pl.int_range(pl.len()) % 40 == 0).then(None).otherwise("depot")
    )
    patient = worlds.PIPELINE.replace(
        "sw.fit(LogisticRegression(C=strength, max_iter=500)",
        "from sklearn.impute import SimpleImputer\n    from sklearn.pipeline import make_pipeline\n\n"
        "    return sw.fit(make_pipeline(SimpleImputer(), LogisticRegression(C=strength, max_iter=500))",
    ).replace("return from", "from")
    with worlds.workspace(tmp_path) as house:
        (tmp_path / "pipeline.py").write_text(patient, "utf-8")
        house.data.add(DATASET, rows)
        house.data.confirm(DATASET)
        house.run(worlds.plan(tmp_path))
        house.declare(worlds.declared(tmp_path))
        verdict = house.prove(ENDPOINT)
        house.release(ENDPOINT)
        ask = worlds.in_process(house._caller.rooms)  # type: ignore[attr-defined]
        asked = {"distance": [0.1] * 3, "weight": [0.2] * 3, "depot": [None, worlds.RARE, "North"]}
        answers = ask(asked)

    assert 2 == len(verdict.routed)
    assert [True, True, False] == [item["prediction"] is None for item in answers]


# The machine


def run_cli(folder: Path, *words: str, fail: str = "") -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    return subprocess.run(
        worlds.command(folder, "--json", *words),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "STELLWERK_ACTOR": worlds.OWNER, "STELLWERK_FAIL": fail, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize(
    "fail",
    ["blob.open:full:1", "blob.write:full:1", "blob.fsync:full:1", "ledger.record:full:1", "ledger.commit:full:1"],
)
def test_a_full_disk(house: Workspace, folder: Path, tmp_path: Path, fail: str) -> None:
    """Exit code 8 with a hint, nothing added; with space again the same command succeeds."""
    file = tmp_path / "more.csv"
    name = f"full-{fail.partition(':')[0].replace('.', '-')}"
    file.write_text(WORLD.parcels(300, sum(map(ord, fail))).write_csv(), "utf-8")
    failed = run_cli(folder, "data", "add", name, str(file), fail=fail)
    told = json.loads(failed.stdout or failed.stderr.strip().splitlines()[-1])

    assert (8, "disk-full") == (failed.returncode, told["code"])
    assert told["hint"]
    assert name not in {version.name for version in house.data.list()}
    again = run_cli(folder, "data", "add", name, str(file))
    assert 0 == again.returncode, again.stderr
    assert name in {version.name for version in house.data.list()}


def test_a_second_server(folder: Path, house: Workspace) -> None:
    """Only one server runs on a workspace; the second says where the first one is, and does it no harm."""
    with worlds.server(folder) as url:
        second = run_cli(folder, "up", "--port", "0")
        status, _, _ = worlds.Client(url).post("/api/v1/views.board", {})

        assert 8 == second.returncode
        assert "server-running" in second.stdout + second.stderr
        assert url in second.stdout + second.stderr
        assert 200 == status
    assert not (folder / ".stellwerk" / "server.json").exists()


def test_requests_that_are_none(released: Path, house: Workspace) -> None:
    """Wrong bodies, unknown operations and unknown arguments are told apart; the server lives on."""
    with worlds.server(released) as url:
        client = worlds.Client(url)
        asked = [
            client.post("/api/v1/data.get", {"nam": DATASET}),
            client.post("/api/v1/data.get", {"name": 7}),
            client.post("/api/v1/data.get", []),
            client.post("/api/v1/no.such", {}),
            client.post(f"/predict/{ENDPOINT}", {"columns": {"distance": [1.0]}}),
            client.post("/predict/nobody", {"columns": {"distance": [1.0]}}),
        ]

        assert [422, 422, 422, 404, 403, 404] == [status for status, _, _ in asked]
        assert all(body["code"] and body["error"] for _, body, _ in asked)
        assert "name" in asked[0][1]["error"]


def test_damaged_workspaces_are_told(tmp_path: Path) -> None:
    """A folder that is none, a description that is none, a book that is gone: an error each, and no new book."""
    missing = error_of(lambda: sw.connect(tmp_path), NotFound)
    worlds.workspace(tmp_path).close()
    database = tmp_path / ".stellwerk" / "ledger.db"
    database.rename(tmp_path / "elsewhere.db")
    gone = error_of(lambda: sw.connect(tmp_path), NotFound)

    assert "no-workspace" == missing.code
    assert gone.code == "not-found"
    assert not database.exists()
    (tmp_path / "elsewhere.db").rename(database)
    (tmp_path / ".stellwerk" / "format.json").write_text("{}", "utf-8")
    with pytest.raises(StellwerkError) as caught:
        sw.connect(tmp_path)
    assert "corrupt-workspace" == caught.value.code
    with pytest.raises(Unavailable):
        sw.connect("http://127.0.0.1:9/")
