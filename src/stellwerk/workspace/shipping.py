"""`ship`: from somebody's table to a governed endpoint, leaving a project folder that is theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.core.names import name as checked_name
from stellwerk.core.names import slug
from stellwerk.data.reading import read_table
from stellwerk.data.target import target_of, task_of
from stellwerk.models.model import ModelVersion
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.model import Plan
from stellwerk.releases.declaration import parse
from stellwerk.releases.model import Release, Verdict
from stellwerk.workspace import templates
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.running import Watch

MIN_ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """What came of it."""

    name: str
    folder: str
    task: str
    rows: int
    model: ModelVersion
    metrics: dict[str, float]
    baseline: dict[str, float]
    simpler_chosen: bool
    verdict: Verdict
    release: Release | None
    next_step: str
    next_command: str


def prepare(
    file: Path,
    folder: Path,
    *,
    target: str,
    owner: str,
    name: str = "",
    time: str = "",
    entity: Sequence[str] = (),
    slices: Sequence[str] = (),
    exclude: Sequence[str] = (),
    floor: float | None = None,
) -> templates.Order:
    """Look at the table and write the project's two files; files that exist already are kept and win.

    Raises:
        Invalid: the table cannot be read, the target is not there, has gaps or one class only, or rows are too few.
    """
    table = read_table(file)
    task = task_of(target_of(table, target))
    for column in (*([time] if time else []), *entity, *slices, *exclude):
        target_of(table, column)
        if column == target:
            raise Invalid(f"{target!r} is the target and cannot be anything else too", code="target-twice")
    if table.height < MIN_ROWS:
        raise Invalid(
            f"{table.height} rows are too few to train, select and prove (expected at least {MIN_ROWS})",
            code="too-few-cases",
            hint="gather more rows",
        )
    order = templates.Order(
        name=checked_name(name or slug(file.stem), what="endpoint"),
        target=target,
        task=task,
        owner=owner,
        rows=table.height,
        time=time,
        entity=tuple(entity),
        slices=tuple(slices),
        exclude=tuple(exclude),
        floor=floor,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in ((folder / "stellwerk.toml", templates.project), (folder / "pipeline.py", templates.pipeline)):
        if not path.exists():
            path.write_text(text(order), "utf-8")
    declared = parse((folder / "stellwerk.toml").read_text("utf-8"))
    if order.name not in declared.endpoints:
        raise Conflict(
            f"the project here has no endpoint {order.name!r} (it has {', '.join(declared.endpoints) or 'none'})",
            code="other-project",
            hint="choose another folder, or the name of its endpoint",
        )
    return order


def ship(
    workspace: Workspace,
    order: templates.Order,
    file: Path,
    folder: Path,
    *,
    say: Callable[[str], None],
    watch: Callable[[Plan], Watch] | None = None,
) -> Shipped:
    """Data, contract, pipeline, proof, and the release if the verdict is clear."""
    say(f"reading {file.name} as dataset {order.name}")
    version = workspace.data.add(order.name, file)
    workspace.data.confirm(order.name)
    declared = parse((folder / "stellwerk.toml").read_text("utf-8"))
    workspace.declare(declared.endpoint(order.name))
    pipelines = find_pipelines(load(folder / declared.pipeline))
    if order.name not in pipelines:
        raise NotFound(
            f"{declared.pipeline} defines no pipeline {order.name!r} (it has {', '.join(pipelines) or 'none'})",
            code="unknown-pipeline",
            hint=f"name a pipeline {order.name!r} in it, or remove the file and ship again",
        )
    say(f"training on {version.rows:,} rows")
    plan = pipelines[order.name].plan()
    ran = workspace.run(plan, watch=watch(plan) if watch is not None else None)
    if ran.model is None:
        raise Invalid("the pipeline evaluates no model", code="no-model", hint="return sw.evaluate(model, table)")
    say("proving")
    verdict = workspace.prove(order.name)
    release = None
    if verdict.outcome == "clear":
        known = [item for item in workspace.releases(order.name) if item.verdict == verdict.id]
        say("releasing")
        release = known[0] if known else workspace.release(order.name)
    card = next(card for card in workspace.board().endpoints if card.name == order.name)
    seeds = len(ran.evaluation["seeds"])
    return Shipped(
        name=order.name,
        folder=str(folder),
        task=order.task,
        rows=version.rows,
        model=ran.model,
        metrics=ran.evaluation["metrics"],
        baseline=ran.evaluation["baseline"],
        simpler_chosen=ran.evaluation["chosen"] >= seeds,
        verdict=verdict,
        release=release,
        next_step=card.next_step,
        next_command=card.next_command,
    )
