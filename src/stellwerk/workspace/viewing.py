"""The views, furnished with what they read."""

from __future__ import annotations

from collections.abc import Iterator

from stellwerk.core.errors import Corrupt, NotFound
from stellwerk.governance import board as boards
from stellwerk.governance.model import Board, DatasetLine, Edge, FileLine, Graph, Node, RunLine, RunPage
from stellwerk.governance.shelf_of_models import made_by
from stellwerk.governance.trace import Tracer
from stellwerk.releases import signals
from stellwerk.releases.model import SignalState
from stellwerk.tracking.model import CONTEXT_TAG, Run
from stellwerk.tracking.rules import artifacts_of, spelled
from stellwerk.tracking.tables import standing
from stellwerk.workspace.rooms import Rooms

LOG_CHARACTERS = 100_000
FILES_SHOWN = 200
HERE = "mlflow-artifacts:/"
"""How addresses of artifacts begin that are kept in this workspace."""


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
        files=tuple(_files(rooms, run)),
        elsewhere="" if artifacts_of(run).startswith(HERE) else artifacts_of(run),
        deleted=found.deleted,
        started_by=run.started_by,
        ended_at=run.ended_at,
        error=run.error,
        parent=_parent(rooms, run),
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
        graph=_graph(children),
        models=models,
    )


def _files(rooms: Rooms, run: Run) -> Iterator[FileLine]:
    """The files that a run logged, with folders opened, as long as they are not many."""
    # Not every workspace has a tree of artifacts yet; where it does, it lists what is directly in a folder.
    tree = getattr(rooms, "artifacts", None)
    home = artifacts_of(run)
    if tree is None or not home.startswith(HERE):
        return
    waiting, left = [""], FILES_SHOWN
    while waiting and left > 0:
        folder = waiting.pop(0)
        for one in tree.list("/".join(filter(None, (home.removeprefix(HERE), folder))), limit=left):
            path = f"{folder}/{one.name}" if folder else one.name
            if one.digest is None:
                waiting.append(path)
            else:
                left -= 1
                yield FileLine(path=path, size=one.size, digest=one.digest)
    for folder in waiting:
        yield FileLine(path=f"{folder}/", size=0, digest="")


def _parent(rooms: Rooms, run: Run) -> RunLine | None:
    """What a run is part of, unless it names something that is not here."""
    if not run.parent:
        return None
    try:
        return boards.run_line(rooms.runs.get(run.parent))
    except NotFound:
        return None


def _graph(children: list[Run]) -> Graph:
    """Steps as nodes; an edge where one used what another made."""
    makers = {digest: child for child in children for digest in child.outputs.values()}
    nodes = tuple(
        Node(
            id=child.id,
            kind="run",
            title=child.name,
            detail="cached" if child.cached else f"{child.status}, {child.cost.wall_seconds:.1f} s",
            state="failed" if child.status == "failed" else "plain",
            link=f"/runs/{child.id}",
        )
        for child in children
    )
    edges = {
        (makers[digest].id, child.id): Edge(source=makers[digest].id, target=child.id, label=label)
        for child in children
        for label, digest in child.inputs.items()
        if digest in makers and makers[digest].id != child.id
    }
    return Graph(nodes=nodes, edges=tuple(edges.values()))
