"""The Python API: the same against a folder and against a URL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from stellwerk.core.errors import Invalid
from stellwerk.workspace import operations as ops
from stellwerk.workspace.nouns.asking import call

if TYPE_CHECKING:
    from stellwerk.governance.change.model import Change
    from stellwerk.governance.comparing import Duel
    from stellwerk.governance.dossier import Dossier
    from stellwerk.governance.model import Board, RunPage, Trace
    from stellwerk.governance.story import StoryLine
    from stellwerk.monitoring.model import Assessment, Outcome, OutcomeReport
    from stellwerk.pipelines.model import Execution, Plan, TaskState
    from stellwerk.pipelines.tuning.authoring import Question
    from stellwerk.pipelines.tuning.model import Trial
    from stellwerk.releases.model import EndpointSpec, Release, SignalState, Verdict
    from stellwerk.reviews.model import Case, CaseStatus
    from stellwerk.store.collecting import Collection
    from stellwerk.store.model import Damage
    from stellwerk.store.scrubbing import Scrub
    from stellwerk.tracking.curves import Axis, Curve
    from stellwerk.tracking.model import Run
    from stellwerk.tracking.tables import Compared, ExperimentLine, RunTable
    from stellwerk.workspace.checking import BookReport
    from stellwerk.workspace.erasing import Erasure
    from stellwerk.workspace.explaining import Reason
    from stellwerk.workspace.nouns.data import Data
    from stellwerk.workspace.nouns.grants import Grants
    from stellwerk.workspace.nouns.ledger import Ledger
    from stellwerk.workspace.nouns.models import Models
    from stellwerk.workspace.nouns.steps import Steps
    from stellwerk.workspace.nouns.triggers import Triggers
    from stellwerk.workspace.nouns.webhooks import Webhooks
    from stellwerk.workspace.ports import Caller
    from stellwerk.workspace.promotion import Order, Promoted
    from stellwerk.workspace.rebuilding.model import Rebuilt
    from stellwerk.workspace.running import How, Ran, Watch
    from stellwerk.workspace.searching import Tuned
    from stellwerk.workspace.watching import Renewal


class Workspace:
    """A workspace, wherever it is. Close it, or use it in a `with` statement."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    @cached_property
    def data(self) -> Data:
        from stellwerk.workspace.nouns.data import Data

        return Data(self._caller)

    @cached_property
    def models(self) -> Models:
        from stellwerk.workspace.nouns.models import Models

        return Models(self._caller)

    @cached_property
    def ledger(self) -> Ledger:
        from stellwerk.workspace.nouns.ledger import Ledger

        return Ledger(self._caller)

    @cached_property
    def triggers(self) -> Triggers:
        from stellwerk.workspace.nouns.triggers import Triggers

        return Triggers(self._caller)

    @cached_property
    def steps(self) -> Steps:
        from stellwerk.workspace.nouns.steps import Steps

        return Steps(self._caller)

    @cached_property
    def webhooks(self) -> Webhooks:
        from stellwerk.workspace.nouns.webhooks import Webhooks

        return Webhooks(self._caller)

    @cached_property
    def grants(self) -> Grants:
        from stellwerk.workspace.nouns.grants import Grants

        return Grants(self._caller)

    def now(self) -> datetime:
        """The time of the workspace, simulated in a rehearsal."""
        return self._caller.clock.now()

    def run(self, plan: Plan, *, watch: Watch | None = None, on: str = "", how: How | None = None) -> Ran:
        """Execute a plan; steps whose key is known are not executed again. The model is registered under its name.

        Args:
            on: Where steps run: `in-process` by default, `pool`, `pool:4`, `ray`, ...
            how: Further wishes; see `How`.

        Raises:
            StellwerkError: of the first step that failed, with the user's own traceback in the run's log.
        """
        from stellwerk.workspace.running import How, run

        how = how or How()
        return run(self._caller, plan, watch, replace(how, on=on) if on else how)

    def resume(self, execution: str, plan: Plan, *, watch: Watch | None = None, how: How | None = None) -> Ran:
        """Go on with an execution that waited, was paused, failed, or lost its engine, under the same code and plan.

        Raises:
            Conflict: `execution-running` or `execution-over`.
            Refused: `code-changed`.
        """
        from stellwerk.workspace.running import resume

        return resume(self._caller, execution, plan, watch, how)

    def explain(self, plan: Plan, *, step: str = "") -> tuple[Reason, ...]:
        """Why each step of a plan, or one of them, is known or would be executed. Nothing is executed."""
        from stellwerk.workspace.explaining import explain
        from stellwerk.workspace.running import project_of

        return explain(self._caller, plan, project_of(self._caller, plan), step)

    def execution(self, execution: str) -> Execution:
        """How an execution of a plan stands; its id is that of its run. Raises `NotFound`."""
        found: Execution = call(self._caller, ops.get_execution, execution=execution)[0]
        return found

    def tasks_of(self, execution: str) -> tuple[TaskState, ...]:
        """The tasks of an execution that have not simply been done: they run, wait, were tried in vain, or failed."""
        found: tuple[TaskState, ...] = call(self._caller, ops.get_execution, execution=execution)[1]
        return found

    def executions(
        self, *, status: str | None = None, pipeline: str | None = None, limit: int = 100
    ) -> tuple[Execution, ...]:
        """Executions of plans, the latest first."""
        return call(self._caller, ops.list_executions, status=status, pipeline=pipeline, limit=limit)

    def steer(self, execution: str, request: str) -> Execution:
        """Ask an execution to `pause`, to `cancel`, or with "" to go on with what it was asked to leave."""
        return call(self._caller, ops.ask_execution, execution=execution, request=request)

    def tune(self, order: Question, *, watch: Callable[[Trial], None] | None = None) -> Tuned:
        """Search for parameters of a step: what `sw.tune(..., workspace=...)` calls. `watch` hears of every trial."""
        from stellwerk.workspace.searching import ask

        return ask(self._caller, order, watch=watch)

    def rebuild(
        self,
        model: str,
        *,
        here: bool = False,
        offline: bool = False,
        metric: str = "",
        margin: float | None = None,
        say: Callable[[str], None] = lambda text: None,
        heard: Callable[[str, str], None] = lambda kind, task: None,
    ) -> Rebuilt:
        """Repeat the run that made a model version, from what the ledger kept, and record how much came out again.

        Args:
            model: A name, `name@3`, `name@alias` or a digest.
            here: In the environment of this process, instead of a fresh one made of the run's lock.
            offline: Packages come from the installer's cache.
            metric: What the seeds are compared by; the loss that the model was chosen by, unless said.
            margin: By how much the means of seeds may differ; the margin that the endpoint declares, unless said.
            say: Told what takes long.
            heard: Told of every task that starts (`node-started`) and ends (`node-finished`, `node-failed`).

        Raises:
            Refused: `not-rebuildable`: no pipeline made it, or its run kept too little.
            Unavailable: `packages-unreachable`, `no-python`: no fresh environment can be made.
        """
        from stellwerk.workspace.rebuilding.service import rebuild

        return rebuild(
            self._caller, model, here=here, offline=offline, metric=metric, margin=margin, say=say, heard=heard
        )

    def runs(
        self,
        where: str = "",
        *,
        order: Sequence[str] = (),
        experiment: str | None = None,
        parent: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[Run, ...]:
        """Runs that meet all conditions, in the order asked for, and then newest first.

        Args:
            where: Conditions on metrics, params, tags and attributes, joined by AND, in the language of MLflow's
                search: `metrics.auc > 0.9 AND params.depth = '6' AND status = 'finished' AND parent IS NULL`.
            order: Such as `metrics.auc DESC`, the most important first; what a run does not have comes last.
            experiment: The name of a pipeline.
            parent: The run whose steps are asked for.

        Raises:
            Invalid: `invalid-filter` or `invalid-order`, with what was expected.
        """
        asked = {"where": where, "order": tuple(order), "experiment": experiment, "parent": parent}
        return call(self._caller, ops.search_runs, **asked, limit=limit, offset=offset)

    def experiments(self) -> tuple[ExperimentLine, ...]:
        """Experiments with how many runs they have; those in which something ran last come first."""
        return call(self._caller, ops.list_experiments)

    def run_table(
        self,
        experiment: str,
        where: str = "",
        *,
        order: Sequence[str] = (),
        columns: Sequence[str] = (),
        limit: int = 100,
        offset: int = 0,
    ) -> RunTable:
        """Runs of an experiment with some columns, such as `metrics.auc` or `params.depth`; nothing else is read.

        Args:
            experiment: Its id, as `experiments` names it.
        """
        asked = {"experiment": experiment, "where": where, "order": tuple(order), "columns": tuple(columns)}
        return call(self._caller, ops.table_of_runs, **asked, limit=limit, offset=offset)

    def curves(
        self, runs: Sequence[str], keys: Sequence[str], *, points: int = 200, axis: Axis = "step", smooth: float = 0.0
    ) -> tuple[Curve, ...]:
        """The curves of some metrics of some runs, thinned to so many points with the extremes of every stretch.

        Args:
            axis: What the points are ordered by, `step` or `time`.
            smooth: The weight of what was before, from 0 to below 1.
        """
        asked = {"runs": tuple(runs), "keys": tuple(keys)}
        return call(self._caller, ops.curves_of_runs, **asked, points=points, axis=axis, smooth=smooth)

    def compare_runs(self, *runs: str) -> tuple[Compared, ...]:
        """Everything that up to 1,000 runs logged, with the code, packages and data they ran with."""
        return call(self._caller, ops.compare_runs, runs=runs)

    def declare(self, endpoint: EndpointSpec) -> EndpointSpec:
        """Make an endpoint's declaration known."""
        return call(self._caller, ops.declare_endpoint, endpoint=endpoint)

    def endpoints(self) -> tuple[EndpointSpec, ...]:
        """All declared endpoints."""
        return call(self._caller, ops.list_endpoints)

    def signal(self, endpoint: str) -> SignalState:
        """What an endpoint's signal shows, and why."""
        return call(self._caller, ops.signal, endpoint=endpoint)

    def prove(self, endpoint: str, *, model: str = "", reason: str = "") -> Verdict:
        """Compute the verdict about a model under a plan frozen beforehand: clear, stop or unproven."""
        return call(self._caller, ops.prove, endpoint=endpoint, model=model, reason=reason)

    def release(self, endpoint: str) -> Release:
        """Release what the newest verdict permits. Raises `Refused` unless it is clear."""
        return call(self._caller, ops.release, endpoint=endpoint)

    def promote(self, order: Order) -> Promoted:
        """Write which model belongs to an endpoint into an environment repository, by a commit, unless it says so.

        Raises:
            Refused: `not-promotable`: the environment demands more than is proven; `push-refused`.
            Conflict: `promotion-conflict`: somebody promoted there meanwhile.
        """
        from stellwerk.workspace.promotion import promote

        return promote(self._caller, order)

    def close_preview(self, repository: str, *, preview: int, branch: str = "") -> Promoted:
        """Take the preview of a merge request away from an environment repository, by a commit."""
        from stellwerk.workspace.promotion import close

        return close(self._caller, repository=repository, preview=preview, branch=branch)

    def renew(self, endpoint: str) -> Renewal:
        """Extend the lease if labels prove fitness."""
        return call(self._caller, ops.renew, endpoint=endpoint)

    def stop(self, endpoint: str, *, why: str) -> tuple[Release, ...]:
        """End the active release; the answer's second item, if any, is the one that runs instead."""
        return call(self._caller, ops.stop, endpoint=endpoint, why=why)

    def releases(self, endpoint: str) -> tuple[Release, ...]:
        """All releases of an endpoint, oldest first."""
        return call(self._caller, ops.list_releases, endpoint=endpoint)

    def outcomes(self, endpoint: str, outcomes: Iterable[Outcome]) -> OutcomeReport:
        """Say what became true of predictions."""
        return call(self._caller, ops.record_outcomes, endpoint=endpoint, outcomes=tuple(outcomes))

    def assess(self, endpoint: str) -> Assessment:
        """Judge production by the log and the labels."""
        return call(self._caller, ops.assess, endpoint=endpoint)

    def duel(self, endpoint: str, first: str, second: str, *, since: datetime, until: datetime) -> Duel:
        """Ask two models the questions production was asked, and compare their answers with the labels, paired."""
        return call(self._caller, ops.duel, endpoint=endpoint, first=first, second=second, since=since, until=until)

    def inbox(self, *, status: CaseStatus = "open", endpoint: str | None = None, limit: int = 50) -> tuple[Case, ...]:
        """Cases that are open, or that stand otherwise, the most urgent first."""
        return call(self._caller, ops.list_cases, status=status, endpoint=endpoint, limit=limit)

    def decide(self, case: str, decision: str, *, reason: str = "") -> Case:
        """Decide a case."""
        return call(self._caller, ops.decide_case, case=case, decision=decision, reason=reason)

    def delegate(self, case: str, to: str = "", *, queue: str = "", reason: str = "") -> Case:
        """Ask a person, and nobody else, to decide a case; or put it into another queue."""
        return call(self._caller, ops.delegate_case, case=case, to=to, queue=queue, reason=reason)

    def board(self) -> Board:
        """Every endpoint with its signal, lease, quality and next step."""
        return call(self._caller, ops.board)

    def run_page(self, run: str) -> RunPage:
        """One run with everything that is known of it."""
        return call(self._caller, ops.run_page, run=run)

    def change(self, *, run: str = "", base: str = "", commit: str = "", branch: str = "") -> Change:
        """What a run changes against a branch, a run or a model version: numbers, data, code, steps, verdict.

        Args:
            run: Its id; without one the newest run of the commit, of the branch, or of all.
            base: A branch, the id of a run, or a model version such as `delay@3`.
        """
        return call(self._caller, ops.change, run=run, base=base, commit=commit, branch=branch)

    def trace(self, subject: str, *, down: bool = False) -> Trace:
        """From anything to its causes, or to everything it affects, re-verifying every digest."""
        return call(self._caller, ops.trace, subject=subject, down=down)

    def story(self, endpoint: str) -> tuple[StoryLine, ...]:
        """What happened to an endpoint, when, with which numbers; all read from the ledger."""
        return call(self._caller, ops.story, endpoint=endpoint)

    def dossier(self, release: str) -> Dossier:
        """Everything behind a release, as a document."""
        return call(self._caller, ops.dossier, release=release)

    def verify(self, *, against: Iterable[str] = ()) -> BookReport:
        """Check the ledger by independent code, also against checkpoints that were kept elsewhere."""
        return call(self._caller, ops.verify, against=tuple(against))

    def find_subject(self, subject: str) -> Erasure:
        """What is kept under a person's keys."""
        return call(self._caller, ops.find_subject, subject=subject)

    def erase(self, subject: str, *, why: str) -> Erasure:
        """Destroy a person's keys, and with them what is encrypted under them. The reason stays in the ledger."""
        return call(self._caller, ops.erase_subject, subject=subject, why=why)

    def fsck(self) -> tuple[Damage, ...]:
        """Check every blob by independent code."""
        return call(self._caller, ops.fsck)

    def collect(self, *, days: float = 7.0, dry_run: bool = False, consent: bool = False) -> Collection:
        """Remove blobs to which nothing has referred for some days.

        Args:
            days: How long a blob must have been unreachable. Less than an hour needs the workspace to oneself.
            dry_run: Only say what would go.
            consent: Also remove more than half of all blobs.

        Raises:
            Refused: `too-much-garbage`: more than half of the blobs would go.
            Unavailable: `clock-backwards`: no time of grace can be trusted; `workspace-in-use`.
        """
        return call(self._caller, ops.collect, days=days, dry_run=dry_run, consent=consent)

    def empty_bin(self, *, days: float = 30.0) -> tuple[str, ...]:
        """Forget runs that were deleted so many days ago; returns their ids. Their bytes go with the next collections.

        Runs of pipelines stay, and runs whose models are registered.
        """
        return call(self._caller, ops.empty_bin, days=days)

    def scrub(self, *, budget: int | None = None) -> Scrub:
        """Read on in the store until `budget` bytes were compared with their names; to the end by default."""
        return call(self._caller, ops.scrub, budget=budget)

    def close(self) -> None:
        """Release what it holds."""
        self._caller.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(place: str | Path = ".", *, actor: str = "") -> Workspace:
    """Open the workspace of a folder (or of the nearest one above it), or at a URL.

    Args:
        place: A path, or `http://…` of a server started by `stellwerk up`.
        actor: Who is acting; by default `STELLWERK_ACTOR`, or the login name.

    Raises:
        NotFound: `no-workspace`: there is none.
        Corrupt: `ledger-forked`: the ledger is not the one that this machine saw there before, grown.
        Unavailable: the server does not answer.
    """

    from stellwerk.workspace.settings import read

    if isinstance(place, str) and "://" in place:
        if not place.startswith(("http://", "https://")):
            raise Invalid(
                f"cannot connect to {place[:60]!r} (expected a folder, http:// or https://)", code="invalid-url"
            )
        from stellwerk.workspace.adapters.http import HttpCaller

        caller = HttpCaller(place, read().cause)
        caller.clock.now()  # said now, and not at the first use
        try:
            _recognise(caller, place.rstrip("/"), read().state)
        except BaseException:
            caller.close()
            raise
        return Workspace(caller)
    from stellwerk.workspace.layout import find
    from stellwerk.workspace.local import LocalCaller
    from stellwerk.workspace.rooms import Rooms

    settings = read()
    settings = replace(settings, actor=actor) if actor else settings
    rooms = Rooms(find(Path(place)), settings)
    try:
        rooms.recognise()
    except BaseException:
        rooms.close()
        raise
    return Workspace(LocalCaller(rooms))


def _recognise(caller: Caller, url: str, state: str) -> None:
    """Compare the book at a URL with what this machine remembers of it: one request, once per process."""
    if not state:
        return
    from stellwerk.workspace.remembering import Memory, is_loopback

    memory = Memory(Path(state))
    memory.greet(
        url, lambda since: call(caller, ops.newest_checkpoint, since=since), several=is_loopback(url), once=True
    )
