"""The views, furnished with what they read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stellwerk.core.digest import parse
from stellwerk.core.errors import Corrupt, NotFound
from stellwerk.governance import board as boards
from stellwerk.governance.model import Board, DatasetLine, FileLine, LogLine, RunPage
from stellwerk.governance.shelf_of_models import made_by
from stellwerk.governance.trace import Tracer
from stellwerk.releases import signals
from stellwerk.releases.model import SignalState
from stellwerk.tracking import previews, surroundings
from stellwerk.tracking.model import CONTEXT_TAG, ORIGIN_RUN, ORIGIN_WORKSPACE, STUDY, Run
from stellwerk.tracking.rules import artifacts_of, spelled
from stellwerk.tracking.service import PIPELINE
from stellwerk.tracking.tables import standing
from stellwerk.workspace import awaiting, causing, lineage, picturing, studies
from stellwerk.workspace.filing import HERE
from stellwerk.workspace.rooms import Rooms

LOG_CHARACTERS = 100_000
FILES_SHOWN = 200
LOGS_SHOWN, LOG_BYTES = 3, 32 << 10
"""Logs among the files of a run of which its page shows the end, and how much of each."""
NOTE_TAG = "mlflow.note.content"
"""The tag in which MLflow's client keeps what people write about a run."""


def signal(rooms: Rooms, endpoint: str) -> SignalState:
    """What an endpoint's signal shows: judged from a token exactly as serving does."""
    declared = rooms.interlocking.endpoint(endpoint)
    try:
        token, keys = rooms.interlocking.token(endpoint, rooms.layout.workspace), rooms.token_keys()
    except Corrupt as problem:
        return SignalState(signal="stop", why=f"no lease token can be signed: {problem}")
    state = signals.judge(
        token,
        workspace=rooms.layout.workspace,
        endpoint=endpoint,
        environment=declared.environment,
        now=rooms.clock.now(),
        keys=keys,
        verifier=rooms.verifier,
    )
    if state.signal == "stop":
        history = rooms.interlocking.history(endpoint)
        if not history:
            return SignalState(signal="stop", why="nothing was released yet")
        last = history[-1]
        return SignalState(
            signal="stop", why=f"stopped: {last.ended_why}" if last.status == "stopped" else "the lease has ended"
        )
    return state


def board(rooms: Rooms) -> Board:
    """The board at this moment."""
    around = boards.Surroundings(
        now=rooms.clock.now(),
        simulated=rooms.layout.clock == "replay",
        entries=rooms.database.size(),
        signal=lambda endpoint: signal(rooms, endpoint),
        predictions=rooms.predictions.count,
    )
    return boards.board(rooms.book, around)


def tracer(rooms: Rooms) -> Tracer:
    """A tracer over this workspace."""
    return Tracer(
        book=rooms.book,
        blobs=rooms.blobs,
        runs=rooms.runs,
        verifier=rooms.verifier,
        keys=rooms.ring.of_statement,
        answered=rooms.predictions.answered,
        segments=rooms.predictions.segments_of,
    )


def run_page(rooms: Rooms, run_id: str) -> RunPage:
    """One run with its steps as a graph."""
    found = rooms.logbook.get(run_id)
    run = found.run
    children = sorted(rooms.runs.search(parent=run_id, limit=1000), key=lambda child: child.id)
    log = ""
    if run.log is not None:
        log = rooms.blobs.get(run.log)[-LOG_CHARACTERS:].decode("utf-8", "replace")
    with rooms.book.read() as reader:
        models = made_by(
            reader,
            run.id,
            [digest for one in (run, *children) if not one.cached for digest in one.outputs.values()],
        )
    parent, logged = _parent(rooms, run), rooms.logged_models.known(use.model for use in run.models)
    files = tuple(_files(rooms, run))
    return RunPage(
        run=boards.run_line(run),
        experiment=rooms.experiments.get(run.experiment).name,
        experiment_id=run.experiment,
        user=run.user,
        standing=tuple(map(standing, found.metrics)),
        datasets=tuple(
            DatasetLine(name=one.name, digest=one.digest, source=one.source, context=one.tags.get(CONTEXT_TAG, ""))
            for one in run.datasets
        ),
        files=files,
        logs=tuple(_logs(rooms, files)),
        logged=lineage.lines(run, logged),
        note=run.tags.get(NOTE_TAG, ""),
        origin=(
            *causing.told(rooms, run),
            *_taken(run),
            *((name, said) for name, said in surroundings.code(run).items() if name != "code"),
        ),
        elsewhere="" if artifacts_of(run).startswith(HERE) else artifacts_of(run),
        deleted=found.deleted,
        started_by=run.started_by,
        ended_at=run.ended_at,
        error=run.error,
        parent=None if parent is None else boards.run_line(parent),
        params=tuple((key, spelled(value)) for key, value in run.params.items()),
        tags=tuple(run.tags.items()),
        inputs=tuple(run.inputs.items()),
        outputs=tuple(run.outputs.items()),
        code=run.code or "",
        environment=run.environment or "",
        step_key=run.step_key or "",
        cpu_seconds=run.cost.cpu_seconds,
        peak_memory_bytes=run.cost.peak_memory_bytes,
        log=log,
        children=tuple(map(boards.run_line, children)),
        graph=(
            picturing.steps(rooms, run, children)
            if run.kind == PIPELINE
            else lineage.around(
                run, parent=parent, children=() if run.kind == STUDY else children, logged=logged, made=models
            )
        ),
        models=models,
        study=studies.view(rooms, run) if run.kind == STUDY else None,
        waits=tuple(awaiting.lines(rooms, run)) if run.kind == PIPELINE else (),
    )


def _files(rooms: Rooms, run: Run) -> Iterator[FileLine]:
    """The files that a run logged, with folders opened, as long as they are not many."""
    home = artifacts_of(run)
    if not home.startswith(HERE):
        return
    waiting, left = [""], FILES_SHOWN
    while waiting and left > 0:
        folder = waiting.pop(0)
        for one in rooms.artifacts.list("/".join(filter(None, (home.removeprefix(HERE), folder))), limit=left):
            path = f"{folder}/{one.name}" if folder else one.name
            if one.digest is None:
                waiting.append(path)
            else:
                left -= 1
                yield FileLine(path=path, size=one.size, digest=one.digest)
    for folder in waiting:
        yield FileLine(path=f"{folder}/", size=0, digest="")


def _logs(rooms: Rooms, files: Sequence[FileLine]) -> Iterator[LogLine]:
    """The ends of the first logs among some files."""
    for one in [file for file in files if file.digest and previews.is_log(file.path)][:LOGS_SHOWN]:
        try:
            found = previews.preview(rooms.blobs, parse(one.digest), one.path, most=LOG_BYTES)
        except (NotFound, Corrupt):
            continue  # the page tells of everything else, and `fsck` of this
        if found.shows == "text" and found.text:
            yield LogLine(path=one.path, size=one.size, text=found.text, skipped=found.skipped)


def _taken(run: Run) -> tuple[tuple[str, str], ...]:
    """Where a result is from that was not computed here."""
    if ORIGIN_WORKSPACE not in run.tags:
        return ()
    return (("taken from", f"{run.tags[ORIGIN_WORKSPACE]}, run {run.tags.get(ORIGIN_RUN, '')}"),)


def _parent(rooms: Rooms, run: Run) -> Run | None:
    """What a run is part of, unless it names something that is not here."""
    if not run.parent:
        return None
    try:
        return rooms.runs.get(run.parent)
    except NotFound:
        return None
