"""Rebuilding a model from the ledger: what came out again, what did not and where that began."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import stellwerk as sw
from stellwerk.cli.main import main
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid, Refused
from stellwerk.evidence import rebuilds
from stellwerk.pipelines.model import Plan
from stellwerk.store import service as trees
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.workspace import operations as ops
from stellwerk.workspace import reachable
from stellwerk.workspace.rebuilding import keeping, original, tags

pytest.importorskip("sklearn")
pytest.importorskip("skops")

PIPELINES = """
import random
from pathlib import Path

import polars as pl
import stellwerk as sw
import stw_tool
from helper import widen


@sw.step(kind="train", seeds=3)
def train(table: pl.DataFrame, seed: int, loose: bool = False) -> sw.Model:
    from sklearn.ensemble import RandomForestClassifier

    chance = random.SystemRandom().randrange(1 << 30) if loose else seed
    return sw.fit(RandomForestClassifier(3, max_depth=4, random_state=chance), widen(table), target="late")


@sw.step(resources=sw.Resources(custom={"licence": 1}))
def scale(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.col("x") * stw_tool.FACTOR)


@sw.step
def read(table: pl.DataFrame) -> pl.DataFrame:
    return table.head(int(Path("undeclared.txt").read_text()))


@sw.pipeline
def steady():
    parts = sw.split(sw.contract("trips")(sw.dataset("trips")), target="late")
    sw.gate(parts["gate"], name="trips", target="late")
    return sw.evaluate(train(scale(parts["train"])), parts["select"])


@sw.pipeline
def loose():
    parts = sw.split(sw.dataset("trips"), target="late")
    return sw.evaluate(train(parts["train"], loose=True), parts["select"])


@sw.pipeline
def reads():
    parts = sw.split(read(sw.dataset("trips")), target="late")
    return sw.evaluate(train(parts["train"]), parts["select"])
"""
HELPER = "def widen(table):\n    return table\n"
RUN = """
import polars as pl
import stellwerk as sw
import pipelines

table = pl.DataFrame({"x": [(n * 37 % 101) / 101 for n in range(900)], "z": [(n * 53 % 97) / 97 for n in range(900)]})
table = table.with_columns(late=(pl.col("x") + pl.col("z") + pl.Series([(n * 71 % 89) / 89 for n in range(900)])) > 1.5)
table.write_csv("trips.csv")
with sw.connect() as workspace:
    workspace.data.add("trips", "trips.csv")
    workspace.data.confirm("trips")
    for plan in (pipelines.steady(), pipelines.loose(), pipelines.reads()):
        workspace.run(plan)
"""


def tool(folder: Path, version: str, factor: float) -> None:
    """An installed distribution of this version."""
    for old in folder.glob("stw_tool*"):
        old.rename(folder / f".{old.name}")
    (folder / "stw_tool.py").write_text(f"FACTOR = {factor}\n")
    (folder / f"stw_tool-{version}.dist-info").mkdir()
    (folder / f"stw_tool-{version}.dist-info" / "METADATA").write_text(f"Name: stw-tool\nVersion: {version}\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose three pipelines have run."""
    base = tmp_path_factory.mktemp("rebuilding")
    home, site = base / "project", base / "site-packages"
    home.mkdir()
    site.mkdir()
    tool(site, "1.0", 2.0)
    (home / "pipelines.py").write_text(PIPELINES)
    (home / "helper.py").write_text(HELPER)
    (home / "stellwerk.toml").write_text("[resources]\nlicence = 1\n")
    (home / "undeclared.txt").write_text("800")
    (home / "requirements.txt").write_text("stw-tool==1.0 --hash=sha256:" + "0" * 64 + "\n")
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), before]))
    try:
        for code in ("from stellwerk.cli.main import main; main(['init'])", RUN):
            done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True)
            assert 0 == done.returncode, done.stderr
        yield home
    finally:
        os.environ["PYTHONPATH"] = before


def test_what_a_run_keeps(project: Path) -> None:
    """All files that the pipelines need, the lock files, the machine; not what a step reads on the sly."""
    with sw.connect(project) as workspace:
        run = workspace.runs("kind = 'pipeline'", experiment="steady")[0]
        blobs = workspace._caller.blobs
        sources = trees.files(blobs, of_bytes(blobs.get(run.tags[tags.SOURCES])))
        locks = trees.files(blobs, of_bytes(blobs.get(run.tags[tags.LOCKS])))
        found = original.find(workspace._caller, "steady")
        wanted = reachable.wanted(workspace._caller.rooms)

    assert set(sources.values()) <= wanted
    assert {"helper.py": of_bytes(HELPER.encode()), "pipelines.py": of_bytes(PIPELINES.encode())} == sources
    assert {"requirements.txt"} == set(locks)
    assert found.machine is not None
    assert "blas" in {one["kind"] for one in found.machine.blas}
    assert ("confirmed", 3) == (found.contracts["trips"]["status"], len(found.evaluation["seeds"]))


def test_a_change_since_the_commit_is_named(tmp_path: Path) -> None:
    """By the digest of the patch: none where nothing was changed, and none outside of a repository."""
    plan = Plan(name="nothing")
    caller = SimpleNamespace(blobs=LocalFolder(tmp_path / "blobs"), home=tmp_path / "home")
    caller.home.mkdir()
    outside = keeping.before(caller, plan)  # type: ignore[arg-type]
    git = ["git", "-C", str(caller.home), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (caller.home / "a.txt").write_text("one\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    clean = keeping.before(caller, plan)  # type: ignore[arg-type]
    (caller.home / "a.txt").write_text("two\n")
    dirty = keeping.before(caller, plan)  # type: ignore[arg-type]
    patch = subprocess.run([*git, "diff", "HEAD", "--binary"], check=True, capture_output=True).stdout

    assert ({}, {}) == (outside, clean)
    assert {tags.PATCH: of_bytes(patch)} == dirty


def test_a_deterministic_run_comes_out_again(project: Path) -> None:
    """Bitwise, with every step; recorded as a run and as signed evidence, and nothing else is changed by it."""
    with sw.connect(project) as workspace:
        before = workspace.models.list()
        found = workspace.rebuild("steady@1", here=True)
        evidence = workspace.models.rebuilds("steady")[-1]
        run = workspace.runs(limit=1)[0]
        report = rebuilds.read(workspace._caller.blobs.get(found.report))
        after = workspace.models.list()
        book = workspace.verify()

    assert ("B", ()) == (found.grade.level, found.grade.differing)
    tasks = {"contract:trips", "split", "scale", "gate:trips", "train#0", "train#1", "train#2", "evaluate"}
    assert tasks == {pair.task for pair in report.steps}
    assert all(pair.same for pair in report.steps)
    assert (found.evidence, "B", "pass") == (evidence.id, evidence.facts["level"], evidence.results[0].outcome)
    assert (found.run, "rebuild", {"report": found.report}) == (run.id, run.kind, run.outputs)
    assert before == after
    assert () == book.findings


def test_a_random_step_is_named(project: Path) -> None:
    """The models differ, the data before them does not; where it begins is the first seed of the training step."""
    with sw.connect(project) as workspace:
        found = workspace.rebuild("loose", here=True)

    assert found.grade.level in ("M", "X")
    assert ("train#0", ("train#0", "train#1", "train#2")) == (found.grade.first, found.grade.differing)
    assert {"split": True, "evaluate": False}.items() <= {task: same for task, same, _ in found.tasks}.items()
    assert found.facts.probes is not None
    assert found.facts.probes.largest > 1e-6
    assert found.facts.probes.same_hardware


def test_an_undeclared_file_shows(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A step that reads what nobody keeps fails, and is where the difference begins; the command ends with 1."""
    code = main(["--workspace", str(project), "rebuild", "reads", "--here", "--level", "S"])
    shown = capfd.readouterr().out
    with sw.connect(project) as workspace:
        evidence = workspace.models.rebuilds("reads")[-1]

    assert 1 == code
    assert shown.startswith("X  reads@1  not reproducible")
    assert "The first step that differs is read." in shown
    assert "undeclared.txt" in shown
    assert ("X", "read", "fail") == (evidence.facts["level"], evidence.facts["first"], evidence.results[0].outcome)


def test_another_version_of_a_package_is_noted(project: Path) -> None:
    """And the first step that used it."""
    site = project.parent / "site-packages"
    tool(site, "2.0", 3.0)
    try:
        with sw.connect(project) as workspace:
            found = workspace.rebuild("steady", here=True)
    finally:
        tool(site, "1.0.0", 2.0)

    assert "stw-tool 1.0, now 2.0" in found.facts.notes
    assert "scale" == found.grade.first


def test_what_no_pipeline_made_cannot_be_rebuilt(project: Path) -> None:
    """It says so, before anything is executed; and so does a metric that nobody measured."""
    with sw.connect(project) as workspace:
        known = workspace.models.get("steady")
        run = workspace._caller.call(ops.start_run, {"experiment": "hand", "name": "hand", "kind": "train"})
        facts = {"digest": known.bytes(), "signature": known.signature, "layout": known.format, "run": run.id}
        workspace._caller.call(ops.register_model, {"name": "hand", **facts})
        with pytest.raises(Refused) as caught:
            workspace.rebuild("hand", here=True)
        with pytest.raises(Invalid) as unmeasured:
            workspace.rebuild("steady", here=True, metric="beauty")

    assert ("not-rebuildable", "unknown-metric") == (caught.value.code, unmeasured.value.code)


def test_a_report_about_another_model_is_refused(project: Path) -> None:
    """Evidence is about the digest that its report is about."""
    with sw.connect(project) as workspace:
        report = workspace.models.rebuilds("steady")[-1].facts["report"]
        with pytest.raises(Invalid) as caught:
            workspace._caller.call(ops.record_rebuild, {"model": "loose", "report": report})
        other = workspace._caller.blobs.put(b"{}")
        with pytest.raises(Invalid) as nonsense:
            workspace._caller.call(ops.record_rebuild, {"model": "loose", "report": other})

    assert ("invalid-report", "invalid-report") == (caught.value.code, nonsense.value.code)
