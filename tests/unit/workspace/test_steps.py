"""Steps that run by themselves: in pods, in jobs, and again on the machine of somebody who wants to know why."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
import yaml

from stellwerk.cli.main import main, root
from stellwerk.cli.session import Session
from stellwerk.core import canonical
from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused
from stellwerk.pipelines.loading import load
from stellwerk.pipelines.model import Plan, Stored, document, flat
from stellwerk.testing.kubeflow import PodFailed, Runner
from stellwerk.workspace.facade import Workspace, connect
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import read
from stellwerk.workspace.steps.emitting import Wish
from stellwerk.workspace.steps.entry import Request
from stellwerk.workspace.steps.past import Account

FLOW = """
    import numpy as np
    import polars as pl

    import stellwerk as sw
    from flow_helping import LIMIT, clipped


    @sw.step(kind="data")
    def month(number: int, rows: int) -> pl.DataFrame:
        return pl.DataFrame({"month": [number] * rows, "x": np.random.default_rng(number).normal(size=rows)})


    @sw.step
    def joined(tables: list) -> pl.DataFrame:
        return clipped(pl.concat(tables))


    @sw.step
    def height(table: pl.DataFrame) -> int:
        return table.height


    @sw.step(seeds=2)
    def draw(table: pl.DataFrame, seed: int) -> float:
        return float(table["x"].sample(5, seed=seed).sum())


    @sw.step
    def few(rows: int) -> str:
        return f"few: {rows}"


    @sw.step
    def many(rows: int) -> str:
        return f"many: {rows}"


    @sw.step
    def summed(draws: list, said: str) -> dict:
        return {"sum": sum(draws), "said": said}


    @sw.step
    def strict(rows: int, most: int) -> int:
        print("looking at", rows)
        if rows > most * LIMIT:
            raise ValueError(f"{rows} rows are too many")
        return rows


    @sw.pipeline
    def flow(rows: int = 10, months: int = 2):
        with sw.each(list(range(1, months + 1))) as number:
            table = month(number, rows)
        whole = joined(table)
        count = height(whole)
        with sw.when(count, above=30) as large:
            big = many(count)
        with sw.otherwise(large):
            small = few(count)
        return summed(draw(whole), sw.either(big, small))


    @sw.pipeline
    def counted(word: str = "b"):
        text = sw.command("count", "grep", "-c", "{word}", "words.txt", files=["words.txt"], word=word)
        return sw.command("shown", "cat", "{text}", inputs={"text": text}, timeout="1m")


    @sw.pipeline
    def drawn(rows: int = 10):
        return summed(draw(month(1, rows)), said="x")


    @sw.pipeline
    def staged():
        return sw.stages()["cut.txt"]


    @sw.pipeline
    def outer(rows: int = 10):
        return drawn(rows)


    @sw.pipeline
    def red(rows: int = 5, most: int = 3):
        return strict(height(month(1, rows)), most)
"""
HELPING = """
    LIMIT = 1


    def clipped(table):
        return table.head(10_000)
"""


def loaded() -> dict[str, ModuleType]:
    """The modules of projects; where other tests have loaded a `flow` too, that of a project has a longer name."""
    return {name: found for name, found in sys.modules.items() if name.partition("_")[0] == "flow"}


def forget() -> None:
    for name in loaded():
        del sys.modules[name]


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """As in a process of its own: no module of the project is there yet, and none stays."""
    kept, path = loaded(), list(sys.path)
    forget()
    try:
        yield
    finally:
        forget()
        sys.modules.update(kept)
        sys.path[:] = path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text), "utf-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a workspace; what it imported is forgotten afterwards."""
    folder = tmp_path / "project"
    folder.mkdir()
    write(folder, flow=FLOW, flow_helping=HELPING)
    create(folder, read())
    monkeypatch.chdir(folder)
    path = list(sys.path)
    yield folder
    sys.path[:] = path
    forget()


@pytest.fixture
def live(home: Path) -> Iterator[Workspace]:
    with connect(home) as found:
        yield found


@pytest.fixture
def module(home: Path) -> ModuleType:
    return load(home / "flow.py")


def request(plan: Plan, node: str, **facts: Any) -> Request:
    Path("plan.json").write_bytes(canonical.dumps(document(plan)))
    return Request(plan="plan.json", node=node, **facts)


def exported(
    live: Workspace, module: ModuleType, name: str = "flow", change: Callable[[Plan], Plan] = lambda plan: plan
) -> dict[str, Any]:
    pipeline = getattr(module, name)
    wish = Wish(image="python:3.11", address="http://stellwerk:8000", images={})
    text = live.steps.export(change(pipeline.plan()), pipeline, wish).text
    return next(iter(yaml.safe_load_all(text)))


def test_an_image_for_a_step_that_is_not_there_is_refused(live: Workspace, module: ModuleType) -> None:
    """Before anything is kept."""
    wish = Wish(image="python:3.11", address="http://stellwerk:8000", images={"nobody": "python:3.12"})

    with pytest.raises(NotFound) as caught:
        live.steps.export(module.flow.plan(), module.flow, wish)

    assert "unknown-step" == caught.value.code
    assert () == live.runs()


def test_an_address_that_no_pod_reaches_is_warned_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is written all the same: a runner of this machine reaches it."""
    words = ["kubeflow", "flow", "--file", str(home / "flow.py"), "--image", "python:3.11", "--out", "pipe.yaml"]

    codes, said = [], []
    for address in ("http://127.0.0.1:8000", "http://stellwerk.team.svc:8000"):
        codes.append(main(["-w", str(home), *words, "--address", address]))
        said.append("--address says where they do" in capsys.readouterr().err)

    assert ([0, 0], [True, False]) == (codes, said)


def pods(live: Workspace) -> Any:
    """Performs what pods would do, in this process."""

    def pod(words: list[str]) -> None:
        with alone():
            call(words)

    def call(words: list[str]) -> None:
        command = root().get_command(click.Context(root(), obj=Session()), words[0])
        assert isinstance(command, click.Group)
        context = click.Context(command, obj=Session())
        inner = command.get_command(context, words[1])
        assert inner is not None
        said = inner.make_context(words[1], words[2:], parent=context).params
        kubeflow = said.pop("kubeflow")
        if words[1] == "exec":
            said.pop("out")
            live.steps.execute(Request(kubeflow=kubeflow, **said))
        elif words[1] == "close":
            live.steps.close(said["group"], kubeflow=kubeflow)
        else:
            live.steps.register(said["plan"], said["node"], group=said["group"], kubeflow=kubeflow)

    return pod


def values(live: Workspace, run: str) -> dict[str, Any]:
    """By task what it gave, of the run that holds them together."""
    return {one.name: one.outputs.get("value") for one in live.runs(parent=run)}


# In pods


def test_pods_and_this_process_give_the_same_and_share_one_cache(
    live: Workspace, module: ModuleType, tmp_path: Path
) -> None:
    """The same plan as pods first, then in process: equal digests, and nothing is executed a second time."""
    runner = Runner(exported(live, module), pods(live), tmp_path / "pods")
    outputs = runner.run()

    ran = live.run(module.flow.plan())

    assert ran.cached
    assert ran.run.outputs["result"] == outputs["result"]["digest"]
    assert "few" in runner.ran
    assert "many" not in runner.ran
    assert "finished" == live.run_page("kfp-0123abcd").run.status


def test_pods_find_what_this_process_has_computed(live: Workspace, module: ModuleType, tmp_path: Path) -> None:
    """The other way round."""
    ran = live.run(module.flow.plan())

    outputs = Runner(exported(live, module), pods(live), tmp_path / "pods").run()

    assert ran.run.outputs["result"] == outputs["result"]["digest"]
    assert all(one.cached for one in live.runs(parent="kfp-0123abcd"))


def test_commands_and_files_are_the_same_in_pods(
    live: Workspace, module: ModuleType, home: Path, tmp_path: Path
) -> None:
    """A file of the project goes with the pipeline, as it was when the pipeline was written."""
    (home / "words.txt").write_text("a\nb\nb\n", "utf-8")
    spec = exported(live, module, "counted")
    (home / "words.txt").write_text("changed", "utf-8")
    outputs = Runner(spec, pods(live), tmp_path / "pods").run()
    (home / "words.txt").write_text("a\nb\nb\n", "utf-8")

    ran = live.run(module.counted.plan())

    assert ran.cached
    assert ran.run.outputs["result"] == outputs["result"]["digest"]


def test_a_run_in_kubeflow_may_have_other_parameters(live: Workspace, module: ModuleType, tmp_path: Path) -> None:
    """The pods plan again, and take the other branch."""
    runner = Runner(exported(live, module), pods(live), tmp_path / "pods")
    outputs = runner.run(rows=20.0)

    assert live.run(module.flow.plan(rows=20)).run.outputs["result"] == outputs["result"]["digest"]
    assert "many" in runner.ran


def test_stages_in_pods_find_the_files_of_which_only_named_parameters_count(
    live: Workspace, module: ModuleType, home: Path, tmp_path: Path
) -> None:
    """The keys are those of this process, where the rest of the file may be another one."""
    (home / "dvc.yaml").write_text(
        "stages:\n  cut:\n    cmd: sed -n 1,${rows}p params.yaml > cut.txt\n    params: [rows]\n    outs: [cut.txt]\n"
    )
    (home / "params.yaml").write_text("rows: 2\nwords: many\n")
    outputs = Runner(exported(live, module, "staged"), pods(live), tmp_path / "pods").run()
    (home / "params.yaml").write_text("rows: 2\nwords: few\n")
    ran = live.run(module.staged.plan())

    assert {"cached"} == {task.status for task in ran.report.tasks}
    assert (
        ran.run.outputs["result"] == outputs["result"]["digest"] == live._caller.blobs.put(b"rows: 2\nwords: many\n")
    )


@pytest.mark.parametrize("change", [lambda plan: plan, flat])
def test_a_run_of_pipelines_inside_a_pipeline_may_have_other_parameters(
    live: Workspace, module: ModuleType, tmp_path: Path, change: Callable[[Plan], Plan]
) -> None:
    """Also where the pipeline was written for Kubeflow before plans knew calls."""
    outputs = Runner(exported(live, module, "outer", change), pods(live), tmp_path / "pods").run(rows=20.0)

    assert live.run(module.outer.plan(rows=20)).run.outputs["result"] == outputs["result"]["digest"]


def test_parameters_that_make_another_graph_are_refused(live: Workspace, module: ModuleType, tmp_path: Path) -> None:
    """A file that was written for two months has two rounds in it."""
    with pytest.raises(PodFailed, match="another graph"):
        Runner(exported(live, module), pods(live), tmp_path / "pods").run(months=3)


def test_a_failed_pod_fails_the_run_that_holds_all_together(
    live: Workspace, module: ModuleType, tmp_path: Path
) -> None:
    """The last task of the pipeline runs whatever happened, and says so."""
    with pytest.raises(PodFailed):
        Runner(exported(live, module, "red"), pods(live), tmp_path / "pods").run()

    page = live.run_page("kfp-0123abcd")
    assert "failed" == page.run.status
    assert "too many" in page.error


def test_pods_bring_their_code(live: Workspace, module: ModuleType, home: Path, tmp_path: Path) -> None:
    """What was exported runs, whatever has become of the files since."""
    spec = exported(live, module)
    write(home, flow="raise ImportError('not this one')", flow_helping="")
    forget()

    assert "result" in Runner(spec, pods(live), tmp_path / "pods").run()


def test_an_image_with_other_code_is_refused(live: Workspace, module: ModuleType, home: Path) -> None:
    """The digest of the code that was exported is expected; the message says what is other."""
    expected = live.steps.show(_failed(live, module).id).said.code
    write(home, flow_helping=HELPING.replace("LIMIT = 1", "LIMIT = 22"))
    forget()
    count = live.steps.execute(request(module.red.plan(), "height", inputs=(_month(live, module),)))
    given = f"rows={count.outputs['value'].digest};{count.outputs['value'].media}"

    with pytest.raises(Conflict) as caught:
        live.steps.execute(request(module.red.plan(), "strict", inputs=(given,), expect=expected))

    assert "source-changed" == caught.value.code
    assert "flow_helping:LIMIT changed" in caught.value.message or "flow:LIMIT changed" in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[]", '{"inputs": 3}', '{"outputs": {"parameters": {"a": {}}}}'])
def test_what_is_no_envelope_is_refused(live: Workspace, module: ModuleType, text: str) -> None:
    """Whoever calls it by hand is told what belongs there."""
    with pytest.raises(Invalid) as caught:
        live.steps.execute(request(module.flow.plan(), "height", kubeflow=text or "x"))

    assert "invalid-executor-input" == caught.value.code


# In jobs


def _month(live: Workspace, module: ModuleType) -> str:
    made = live.steps.execute(request(module.red.plan(), "month")).outputs["value"]
    return f"table={made.digest};{made.media}"


def _failed(live: Workspace, module: ModuleType) -> Any:
    """The run of a step that failed in a job."""
    count = live.steps.execute(request(module.red.plan(), "height", inputs=(_month(live, module),), group="ci-1"))
    with pytest.raises(Invalid):
        live.steps.execute(request(module.red.plan(), "strict", inputs=(f"rows={count.key}",), group="ci-1"))
    return next(one for one in live.runs(parent="ci-1") if one.name == "strict")


def _rows(live: Workspace, failed: Any) -> str:
    said = live.steps.show(failed.id).said.inputs["rows"]
    assert isinstance(said, Stored)
    return f"{said.digest};{said.media}"


def test_a_job_takes_its_inputs_by_step_key(live: Workspace, module: ModuleType) -> None:
    """And what a job before it has computed is not computed again."""
    plan = module.red.plan(most=9)
    first = live.steps.execute(request(plan, "month"))
    second = live.steps.execute(request(plan, "height", inputs=(f"table={first.key}",)))

    assert not first.cached
    assert live.steps.execute(request(plan, "height", inputs=(f"table={first.key}",))).cached
    assert live.run(plan).report.count("cached") == 2
    assert second.outputs["value"].digest == live.run(plan).run.outputs["result"]


def test_inputs_that_nobody_names_are_found_by_key(live: Workspace, module: ModuleType) -> None:
    """What the steps before gave, whoever computed it; with seeds it is a list."""
    plan = module.drawn.plan()
    month = live.steps.execute(request(plan, "month"))
    for seed in (0, 1):
        assert not live.steps.execute(request(plan, "draw", seed=seed)).cached
    total = live.steps.execute(request(plan, "summed"))

    assert month.key
    assert live.run(plan).cached
    assert live.run(plan).run.outputs["result"] == total.outputs["value"].digest


def test_what_is_only_known_while_all_is_executed_must_be_named(live: Workspace, module: ModuleType) -> None:
    """A loop has as many rounds as it has items."""
    with pytest.raises(Invalid) as caught:
        live.steps.execute(request(module.flow.plan(), "joined"))

    assert "missing-argument" == caught.value.code


def test_a_group_has_failed_if_the_last_attempt_at_a_task_has(live: Workspace, module: ModuleType) -> None:
    """Nobody needs to say so. One that was tried again and done has not."""
    failed = _failed(live, module)
    rows = f"rows={_rows(live, failed)}"
    live.steps.execute(request(module.red.plan(most=9), "strict", inputs=(rows,), group="ci-2"))

    assert "failed" == live.steps.close("ci-1")
    assert "failed" == live.steps.close("ci-1")
    assert "finished" == live.steps.close("ci-2")
    assert "" == live.steps.close("ci-3")
    assert "too many" in live.run_page("ci-1").error


@pytest.mark.parametrize(
    ("node", "facts", "kind", "code"),
    [
        ("nobody", {}, NotFound, "unknown-step"),
        ("height", {}, NotFound, "not-computed"),
        ("height", {"inputs": ("tables=x",)}, Invalid, "usage"),
        ("height", {"inputs": ("table=nowhere.json",)}, NotFound, "no-such-file"),
        ("height", {"inputs": ("table=plan.json",)}, Invalid, "invalid-result"),
        ("height", {"inputs": (f"table=sha256:{'0' * 64}",)}, NotFound, "unknown-key"),
        ("month", {"seed": 0}, Invalid, "usage"),
        ("month", {"code": f"sha256:{'0' * 64}"}, NotFound, "not-found"),
    ],
)
def test_what_cannot_be_executed_is_told(
    live: Workspace, module: ModuleType, node: str, facts: dict[str, Any], kind: type[Exception], code: str
) -> None:
    """With the error that fits, before anything is started."""
    with pytest.raises(kind) as caught:
        live.steps.execute(request(module.red.plan(), node, **facts))

    assert code == caught.value.code  # type: ignore[attr-defined]
    assert () == live.runs()


# Afterwards


def test_a_step_key_is_the_digest_of_what_it_is_made_of(live: Workspace, module: ModuleType) -> None:
    """Nothing else is needed to know it."""
    failed = _failed(live, module)
    found = live.steps.show(failed.id)

    assert failed.step_key == found.key == found.said.key
    assert {"most": 3} == found.said.params
    assert "flow:strict" == found.function
    assert isinstance(found.said.inputs["rows"], Stored)
    assert found.failed is not None
    assert found.done is None
    assert found == live.steps.show(found.key)


def test_a_red_step_of_the_engine_is_known_as_well(live: Workspace, module: ModuleType) -> None:
    """`stellwerk run` keeps the same document."""
    with pytest.raises(Invalid):
        live.run(module.red.plan())
    failed = next(one for one in live.runs() if one.name == "strict")

    again = live.steps.again(live.steps.show(failed.id), Path.cwd())

    assert again.same
    assert "too many" in again.error


def test_every_key_of_the_engine_can_be_explained(live: Workspace, module: ModuleType) -> None:
    """What was not kept is put together again, and proven by the key: values, lists, seeds, items of loops."""
    live.run(module.flow.plan())

    steps = [one for one in live.runs() if one.step_key is not None]
    found = [live.steps.show(one.id) for one in steps]

    assert {"month[0]", "month[1]", "joined", "height", "few", "draw#0", "draw#1", "summed"} == {
        one.name for one in steps
    }
    assert [one.step_key for one in steps] == [one.said.key for one in found]
    assert all(live.steps.again(one, Path.cwd()).same for one in found)


def test_a_step_that_fails_in_the_same_way_is_told_so(live: Workspace, module: ModuleType, home: Path) -> None:
    """And with other code it is told what is other, and how it ends then."""
    found = live.steps.show(_failed(live, module).id)
    same = live.steps.again(found, home)
    write(home, flow_helping=HELPING.replace("LIMIT = 1", "LIMIT = 100"))
    forget()
    other = live.steps.again(found, home)

    assert same.same
    assert "looking at 5\n" == same.log
    assert not other.same
    assert "" == other.error
    assert 1 == len(live.steps.differences(found, home).code)
    assert () == live.steps.differences(found, home).environment


def test_a_step_is_fetched_with_ordinary_files_and_runs_from_them(
    live: Workspace, module: ModuleType, tmp_path: Path
) -> None:
    """The folder needs neither the workspace nor the project."""
    found = live.steps.show(_failed(live, module).id)
    folder = tmp_path / "red"
    fetched = live.steps.fetch(found, folder)

    ended = subprocess.run(
        [sys.executable, "rerun.py"], cwd=folder, capture_output=True, text=True, env=dict(os.environ), check=False
    )

    assert (("rows", "inputs/rows.json", "application/json"),) == fetched.inputs
    assert 5 == json.loads((folder / "inputs" / "rows.json").read_bytes())
    assert "looking at 5\n" == ended.stdout
    assert "ValueError: 5 rows are too many" in ended.stderr
    assert "ValueError: 5 rows are too many" in (folder / "README.md").read_text("utf-8")
    assert {"code/flow.py", "code/flow_helping.py", "log.txt", "environment.txt"} <= set(fetched.files)


def test_a_folder_that_is_there_is_left_alone(live: Workspace, module: ModuleType, home: Path) -> None:
    """Nobody's files are overwritten."""
    found = live.steps.show(_failed(live, module).id)

    with pytest.raises(Conflict):
        live.steps.fetch(found, home)


def test_what_nobody_knows_is_told(live: Workspace, module: ModuleType) -> None:
    """A key that was never executed here, and a run that is no step."""
    with pytest.raises(NotFound) as unknown:
        live.steps.show(f"sha256:{'0' * 64}")
    _failed(live, module)
    with pytest.raises(Invalid) as whole:
        live.steps.show("ci-1")

    assert "unknown-key" == unknown.value.code
    assert "no-step-key" == whole.value.code


def test_a_step_that_changes_the_workspace_is_not_run_just_to_look(live: Workspace, module: ModuleType) -> None:
    """Sealing a gate set is no experiment."""
    from dataclasses import replace

    found = live.steps.show(_failed(live, module).id)
    assert found.node is not None
    gate = replace(found, node=replace(found.node, function="builtin:gate"), function="builtin:gate")
    assert isinstance(gate, Account)

    with pytest.raises(Refused):
        live.steps.again(gate, Path.cwd())
