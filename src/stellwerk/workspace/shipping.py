"""`ship`: from somebody's table to a governed endpoint, leaving a project folder that is theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.core import canonical
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.core.files import replace_text
from stellwerk.core.names import name as checked_name
from stellwerk.core.names import slug
from stellwerk.data.reading import read_table
from stellwerk.data.target import target_of, task_of
from stellwerk.ledger import documents
from stellwerk.models.model import ModelVersion
from stellwerk.models.tabular import infer_signature
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.model import Plan
from stellwerk.pipelines.tuning.authoring import budget_of
from stellwerk.pipelines.values import JSON_MEDIA
from stellwerk.releases.declaration import parse
from stellwerk.releases.model import Release, Verdict
from stellwerk.workspace import templates
from stellwerk.workspace.automl import REPORT
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.layout import FOLDER
from stellwerk.workspace.running import Ran, Watch

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.governance.model import EndpointCard

MIN_ROWS = 50
PROJECT, PIPELINE = "stellwerk.toml", "pipeline.py"
NOTE = "ship.json"
"""What was asked for last time, and what the files were when they were written."""


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
    search: dict[str, Any] | None
    """What a search for a model came to (`stellwerk-automl/1`), where there was one."""
    inputs: tuple[str, ...]
    left_out: tuple[str, ...]
    """Columns that are no inputs, each with the reason."""
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
    automl: str = "",
) -> templates.Order:
    """Look at the table and write the project's two files; files that somebody has edited are kept and win.

    Raises:
        Invalid: the table cannot be read, the target is not there, has gaps or one class only, or rows are too few; or
            the budget of the search is none.
        Unavailable: `needs-extra`, if there is nothing to search with.
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
        automl=automl,
    )
    if automl:
        from stellwerk.pipelines.adapters.optuna_search import load

        budget_of(order.budget)
        load()
    if folder.exists() and not folder.is_dir():
        raise Invalid(f"{str(folder)!r} is a file, not a folder", code="not-a-folder", hint="--into FOLDER")
    _must_know_it(folder / PROJECT, order)
    _write(folder, order)
    return order


def _must_know_it(project: Path, order: templates.Order) -> None:
    """A project that is already there must be the one of this endpoint."""
    declared = parse(project.read_text("utf-8")) if project.exists() else None
    if declared and order.name not in declared.endpoints:
        raise Conflict(
            f"the project here has no endpoint {order.name!r} (it has {', '.join(declared.endpoints) or 'none'})",
            code="other-project",
            hint="choose another folder, or the name of its endpoint",
        )


def _write(folder: Path, order: templates.Order) -> None:
    """Write the project's files. Edited ones win, but then other options than last time are refused, not ignored."""
    made = {PROJECT: templates.project(order), PIPELINE: templates.pipeline(order)}
    note = folder / FOLDER / NOTE
    last = json.loads(note.read_text("utf-8")) if note.is_file() else {"order": None, "files": {}}
    asked = {key: value for key, value in documents.dump(order).items() if key not in ("rows", "task")}
    if not order.automl:  # as it was written before there was a search
        del asked["automl"]
    present = [name for name in made if (folder / name).exists()]
    edited = [name for name in present if of_bytes((folder / name).read_bytes()) != last["files"].get(name)]
    if asked == last["order"] and set(present) == set(made):
        return
    if edited and asked != last["order"]:
        raise Conflict(
            f"for these options {' and '.join(edited)} would have to be written anew, but somebody has edited them",
            code="project-edited",
            hint="change them by hand and repeat the former options, delete them, or choose --into another folder",
        )
    (folder / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, text in made.items():
        if name not in edited:
            replace_text(folder / name, text)
    files = {name: of_bytes(text.encode()) for name, text in made.items()}
    replace_text(note, json.dumps({"order": asked, "files": files}, indent=1) + "\n")


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
        search=_search(workspace, ran),
        inputs=tuple(column.name for column in ran.model.interface().inputs),
        left_out=_left_out(read_table(file), order, ran.model),
        verdict=verdict,
        release=release,
        next_step=card.next_step if release is not None else _goes_on(card),
        next_command=card.next_command,
    )


def _search(workspace: Workspace, ran: Ran) -> dict[str, Any] | None:
    """The report of the search for a model, if the pipeline gives one."""
    given = ran.report.results.get("report", ())
    if len(given) != 1 or given[0].media != JSON_MEDIA:
        return None
    said = canonical.loads(workspace._caller.blobs.get(given[0].digest))
    return said if isinstance(said, dict) and said.get("format") == REPORT else None


def _goes_on(card: EndpointCard) -> str:
    """What an endpoint does while a newer model could not be released."""
    if card.release is None:
        return card.next_step
    return f"Not released; {card.release.model} goes on answering until {card.release.expires_at:%d %B %Y}."


def _left_out(table: pl.DataFrame, order: templates.Order, model: ModelVersion) -> tuple[str, ...]:
    """Which columns the model does not see, and why: what is dropped in silence is missed in vain."""
    used = {column.name for column in model.interface().inputs}
    said = {*order.exclude, *order.entity, order.time, order.target}
    _, unfit = infer_signature(table, order.target, model.interface().task, said - {order.target})
    reasons = {item.column: item.reason for item in unfit}
    missing = [name for name in table.columns if name not in used and name not in said]
    return tuple(f"{name} ({reasons.get(name, 'not chosen by the pipeline')})" for name in missing)
