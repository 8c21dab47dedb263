"""The Python API: the same against a folder and against a URL."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from stellwerk.core.errors import Invalid
from stellwerk.data.model import Contract, DatasetVersion, TableDiff
from stellwerk.data.sources.model import SourceReport
from stellwerk.governance.comparing import Comparison, Duel
from stellwerk.governance.dossier import Dossier
from stellwerk.governance.model import Board, RunPage, Trace
from stellwerk.governance.story import StoryLine
from stellwerk.ledger.model import Head, KeyLink
from stellwerk.models.model import Alias, AliasMove, ModelVersion, ProtectedAlias, RegisteredModel
from stellwerk.monitoring.model import Assessment, Outcome, OutcomeReport
from stellwerk.releases.model import EndpointSpec, Release, SignalState, Verdict
from stellwerk.reviews.model import Case
from stellwerk.store.collecting import Collection
from stellwerk.store.model import Damage
from stellwerk.store.scrubbing import Scrub
from stellwerk.store.working.model import CheckedOut, Progress, silent
from stellwerk.tracking.curves import Axis, Curve
from stellwerk.tracking.model import Run
from stellwerk.tracking.tables import Compared, ExperimentLine, RunTable
from stellwerk.workspace import operations as ops
from stellwerk.workspace.calls import Operation
from stellwerk.workspace.checking import BookReport
from stellwerk.workspace.erasing import Erasure
from stellwerk.workspace.files import FileData
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.watching import Renewal

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.pipelines.model import Plan
    from stellwerk.store.working.model import Link
    from stellwerk.workspace.bundling import Exported
    from stellwerk.workspace.dvc.model import DvcExport, DvcImport
    from stellwerk.workspace.running import Ran, Watch

R = TypeVar("R")


class Data(FileData):
    """Datasets of a workspace: tables here, files in `FileData`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def add(
        self,
        name: str,
        table: pl.DataFrame | str | Path,
        *,
        partition: str = "all",
        source: str = "",
        replace: bool = False,
    ) -> DatasetVersion:
        """Add a table (or a CSV, Parquet or JSON-lines file) as a partition, and so make the next version.

        The first table of a name gets a drafted contract; once that is confirmed, tables that break it are refused.

        Raises:
            Refused: `contract-broken`, with the rows and the reasons.
            Invalid: the file cannot be read as a table, or has other columns than the versions before.
        """
        from stellwerk.data.reading import frame_to_parquet, read_table

        if isinstance(table, (str, Path)):
            source = source or Path(table).name
            table = read_table(Path(table))
        blob = self._caller.blobs.put(frame_to_parquet(table))
        return _call(
            self._caller, ops.add_data, name=name, blob=blob, partition=partition, source=source, replace=replace
        )

    def refer(self, name: str, source: str) -> DatasetVersion:
        """Make the rows that a source holds now the next version, without copying them: `file:`, `https:`, `s3:`, ….

        What is there is pinned by digest; reading compares with the pin and never gives other rows.

        Raises:
            Invalid: the source cannot be read as a table, or its name holds credentials.
            Refused: `contract-broken`; `local-source` or `private-address`: the reader must not look there.
        """
        return _call(self._caller, ops.refer_data, name=name, source=_placed(self._caller, source))

    def verify(self, name: str, version: int | None = None, *, as_of: datetime | None = None) -> SourceReport:
        """Compare a dataset that refers to a source with what is there now, part by part."""
        return _call(self._caller, ops.verify_data, name=name, version=version, as_of=as_of)

    def copy(self, name: str) -> DatasetVersion:
        """Copy the rows that a dataset refers to into the store, as its next version."""
        return _call(self._caller, ops.import_data, name=name)

    def export(self, dataset: str, to: str | Path, *, progress: Progress = silent) -> CheckedOut:
        """Write `name` or `name@version` as a plain folder, or, for a table, as one Parquet or CSV file."""
        from stellwerk.workspace.files import parse_reference, write_table

        found = self.get(*parse_reference(dataset))
        if found.kind == "reference":
            return write_table(Path(to), self.frame(found.name, found.version))
        return super().export(dataset, to, progress=progress)

    def list(self, *, as_of: datetime | None = None) -> tuple[DatasetVersion, ...]:
        """All versions, or those made by a time, by name."""
        return _call(self._caller, ops.list_data, as_of=as_of)

    def get(self, name: str, version: int | None = None, *, as_of: datetime | None = None) -> DatasetVersion:
        """A version: this one, or the newest at a time, or the newest of all."""
        return _call(self._caller, ops.get_data, name=name, version=version, as_of=as_of)

    def frame(self, name: str, version: int | None = None, *, as_of: datetime | None = None) -> pl.DataFrame:
        """All rows of a version. Those that live elsewhere are read there and compared with the pin.

        Raises:
            NotFound: `source-gone`: rows that live elsewhere are not there any more.
            Conflict: `source-changed`: they are others now.
        """
        import polars as pl

        found = self.get(name, version, as_of=as_of)
        if found.kind == "reference" and self._caller.local:
            return self._frame_elsewhere(found)  # nothing is copied
        blob = _call(self._caller, ops.table_of_data, name=name, version=found.version)
        return pl.read_parquet(io.BytesIO(self._caller.blobs.get(blob)))

    def _frame_elsewhere(self, found: DatasetVersion) -> pl.DataFrame:
        from stellwerk.data.sources import rules
        from stellwerk.data.sources.service import frame
        from stellwerk.workspace.settings import read
        from stellwerk.workspace.sourcing import Readers

        return frame(rules.read(self._caller.blobs.get(found.digest)), Readers(read(), local=True))

    def diff(
        self, name: str, old: int | None = None, new: int | None = None, *, as_of: datetime | None = None
    ) -> TableDiff:
        """What changed between two versions, or since a version or a time: the second one is by default the newest."""
        return _call(self._caller, ops.diff_data, name=name, old=old, new=new, as_of=as_of)

    def import_dvc(
        self,
        repository: str | Path = ".",
        *,
        all_history: bool = False,
        objects: str = "",
        prefix: str = "",
        paths: Iterable[str] = (),
        verify: bool = False,
        adopt: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> DvcImport:
        """Make dataset versions of what a DVC repository tracks; each object is read and kept once.

        Importing again reads nothing that is known. What cannot be imported is in `problems`; the rest is imported.

        Args:
            all_history: Every state that a commit of any branch or tag tells of, oldest first, and not only the present.
            objects: Name of a remote, or a folder, to take objects from; by default the cache and local remotes.
            prefix: Put before the names of the datasets, so that two repositories can share a workspace.
            paths: Only these outputs and what lies below these folders.
            verify: Read objects too whose MD5 is known, and refuse those that hold other bytes than are known by it.
            adopt: Keep large objects by linking DVC's own files instead of copying them.
            say: Told what is being done.

        Raises:
            NotFound: `no-dvc`: there is no DVC repository.
        """
        from stellwerk.workspace.dvc.importing import import_repository

        return import_repository(
            self._caller,
            Path(repository),
            every=all_history,
            objects=objects,
            prefix=prefix,
            paths=tuple(paths),
            verify=verify,
            adopt=adopt,
            say=say,
        )

    def forget(self, name: str, version: int | None = None, *, why: str) -> tuple[DatasetVersion, ...]:
        """Forget a version, or a dataset with all its versions. The ledger keeps that it was there, and why it went.

        Its bytes go with the next garbage collections, unless a run, a model or another version still needs them.

        Raises:
            Conflict: `newest-version`: only the dataset as a whole can lose its newest version.
        """
        return _call(self._caller, ops.forget_data, name=name, version=version, why=why)

    def export_dvc(
        self,
        name: str,
        version: int | None = None,
        repository: str | Path = ".",
        *,
        path: str = "",
        link: Link = "auto",
        checkout: bool = True,
        init: bool = False,
        force: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> DvcExport:
        """Write a version into a DVC repository: objects into its cache, a pointer, and the working files.

        Afterwards `dvc status` is clean. A pointer that exists is changed in place, and the rest of it stays.

        Args:
            version: The newest by default.
            path: From the repository's root; by default where the dataset came from, or its name.
            link: How large objects come into the cache: `auto` (`reflink` or `copy`), `reflink`, `hardlink`, `copy`.
            checkout: Put the working files in place too; otherwise `dvc checkout` does.
            init: Make a DVC repository where there is none.
            force: Overwrite and delete working files that are kept nowhere else.
            say: Told what is being done.

        Raises:
            Refused: `dvc-unsaved`: working files would be lost. `dvc-owned`: a pipeline or an import says what is there.
            Conflict: `dvc-overlap`: another tracked path is above or below.
        """
        from stellwerk.workspace.dvc.exporting import export_dataset

        return export_dataset(
            self._caller,
            name,
            version,
            Path(repository),
            path=path,
            link=link,
            checkout=checkout,
            init=init,
            force=force,
            say=say,
        )

    def contract(self, name: str) -> Contract | None:
        """The newest contract of a dataset, if any."""
        return _call(self._caller, ops.get_contract, name=name)

    def confirm(self, name: str, changes: Mapping[str, Mapping[str, Any]] | None = None, **table: Any) -> Contract:
        """Confirm the drafted contract, with changes by column: `{"origin": {"vocabulary": ["EWR"]}}`.

        Args:
            table: Changes to the table as a whole: `min_rows`, `extra_columns` (`refuse` or `allow`), `unique`.
        """
        plain = {column: dict(rule) for column, rule in (changes or {}).items()}
        return _call(self._caller, ops.confirm_contract, name=name, changes=plain, table=table)


class Models:
    """Registered models of a workspace."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> tuple[ModelVersion, ...]:
        """All versions, by name."""
        return _call(self._caller, ops.list_models)

    def get(self, model: str, *, as_of: datetime | None = None) -> ModelVersion:
        """What `name`, `name@3`, `name@alias` or a digest means, or meant at a time."""
        return _call(self._caller, ops.get_model, model=model, as_of=as_of)

    def alias(self, name: str, alias: str, version: int) -> Alias:
        """Point an alias at a version."""
        return _call(self._caller, ops.alias_model, name=name, alias=alias, version=version)

    def unalias(self, name: str, alias: str) -> Alias:
        """Take an alias away; the ledger keeps where it pointed."""
        return _call(self._caller, ops.unalias_model, name=name, alias=alias)

    def aliases(self, name: str | None = None) -> tuple[Alias, ...]:
        """Where aliases point now, of one model or of all."""
        return _call(self._caller, ops.list_aliases, name=name)

    def history(self, name: str, alias: str | None = None) -> tuple[AliasMove, ...]:
        """Who moved which alias when, oldest first."""
        return _call(self._caller, ops.history_of_model, name=name, alias=alias)

    def about(self, name: str) -> RegisteredModel:
        """What is said of a model: its description and its tags."""
        return _call(self._caller, ops.about_model, name=name)

    def describe(
        self,
        name: str,
        version: int | None = None,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
        untag: Iterable[str] = (),
    ) -> None:
        """Change the description and the tags of a model, or of one of its versions."""
        _call(
            self._caller,
            ops.describe_model,
            name=name,
            version=version,
            description=description,
            tags=dict(tags or {}),
            untag=tuple(untag),
        )

    def delete(self, name: str, version: int) -> ModelVersion:
        """Take a version away with the aliases that point at it; its number is not given again.

        Raises:
            Refused: `released-version`: it was released; `protected-alias`: such an alias points at it.
        """
        return _call(self._caller, ops.delete_model, name=name, version=version)

    def protect(self, alias: str) -> ProtectedAlias:
        """Let an alias, in every model, move only to versions that a release permits at that moment."""
        return _call(self._caller, ops.protect_alias, alias=alias)

    def unprotect(self, alias: str) -> ProtectedAlias:
        """Let a protected alias move freely again."""
        return _call(self._caller, ops.unprotect_alias, alias=alias)

    def protected(self) -> tuple[ProtectedAlias, ...]:
        """Aliases that move only to what is released."""
        return _call(self._caller, ops.list_protected)

    def compare(self, first: str, second: str) -> Comparison:
        """What two versions share and where they differ."""
        return _call(self._caller, ops.compare, first=first, second=second)


class Ledger:
    """The book of a workspace: what it proves, and the keys that sign it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def checkpoint(self, *, since: int = 0) -> Head:
        """The newest signed checkpoint, with proof that the book of `since` entries begins it."""
        return _call(self._caller, ops.newest_checkpoint, since=since)

    def entry(self, sequence: int) -> str:
        """The exact text of an entry."""
        return _call(self._caller, ops.entry_text, sequence=sequence)

    def inclusion(self, sequence: int, size: int) -> tuple[str, ...]:
        """Proof, in hex, that an entry is among the first `size`."""
        return _call(self._caller, ops.prove_inclusion, sequence=sequence, size=size)

    def consistency(self, old: int, new: int) -> tuple[str, ...]:
        """Proof, in hex, that the first `old` entries begin the first `new`."""
        return _call(self._caller, ops.prove_consistency, old=old, new=new)

    def export(self, file: str | Path) -> Exported:
        """Write the whole book up to its newest checkpoint into one file that is verified without the workspace."""
        from stellwerk.workspace.bundling import export

        return export(self._caller, Path(file))

    def keys(self) -> tuple[KeyLink, ...]:
        """All signing keys, oldest first."""
        return _call(self._caller, ops.list_keys)

    def rotate(self, *, why: str, compromised: bool = False) -> KeyLink:
        """Replace the signing key; with `compromised`, nothing that the old one signed shortly before counts."""
        return _call(self._caller, ops.rotate_key, why=why, compromised=compromised)


class Workspace:
    """A workspace, wherever it is. Close it, or use it in a `with` statement."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.data = Data(caller)
        self.models = Models(caller)
        self.ledger = Ledger(caller)

    def now(self) -> datetime:
        """The time of the workspace, simulated in a rehearsal."""
        return self._caller.clock.now()

    def run(self, plan: Plan, *, watch: Watch | None = None) -> Ran:
        """Execute a plan; steps whose key is known are not executed again. The model is registered under its name.

        Raises:
            StellwerkError: of the first step that failed, with the user's own traceback in the run's log.
        """
        from stellwerk.workspace.running import run

        return run(self._caller, plan, watch)

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
        return _call(self._caller, ops.search_runs, **asked, limit=limit, offset=offset)

    def experiments(self) -> tuple[ExperimentLine, ...]:
        """Experiments with how many runs they have; those in which something ran last come first."""
        return _call(self._caller, ops.list_experiments)

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
        return _call(self._caller, ops.table_of_runs, **asked, limit=limit, offset=offset)

    def curves(
        self, runs: Sequence[str], keys: Sequence[str], *, points: int = 200, axis: Axis = "step", smooth: float = 0.0
    ) -> tuple[Curve, ...]:
        """The curves of some metrics of some runs, thinned to so many points with the extremes of every stretch.

        Args:
            axis: What the points are ordered by, `step` or `time`.
            smooth: The weight of what was before, from 0 to below 1.
        """
        asked = {"runs": tuple(runs), "keys": tuple(keys)}
        return _call(self._caller, ops.curves_of_runs, **asked, points=points, axis=axis, smooth=smooth)

    def compare_runs(self, *runs: str) -> tuple[Compared, ...]:
        """Everything that up to 1,000 runs logged, with the code, packages and data they ran with."""
        return _call(self._caller, ops.compare_runs, runs=runs)

    def declare(self, endpoint: EndpointSpec) -> EndpointSpec:
        """Make an endpoint's declaration known."""
        return _call(self._caller, ops.declare_endpoint, endpoint=endpoint)

    def endpoints(self) -> tuple[EndpointSpec, ...]:
        """All declared endpoints."""
        return _call(self._caller, ops.list_endpoints)

    def signal(self, endpoint: str) -> SignalState:
        """What an endpoint's signal shows, and why."""
        return _call(self._caller, ops.signal, endpoint=endpoint)

    def prove(self, endpoint: str, *, model: str = "", reason: str = "") -> Verdict:
        """Compute the verdict about a model under a plan frozen beforehand: clear, stop or unproven."""
        return _call(self._caller, ops.prove, endpoint=endpoint, model=model, reason=reason)

    def release(self, endpoint: str) -> Release:
        """Release what the newest verdict permits. Raises `Refused` unless it is clear."""
        return _call(self._caller, ops.release, endpoint=endpoint)

    def renew(self, endpoint: str) -> Renewal:
        """Extend the lease if labels prove fitness."""
        return _call(self._caller, ops.renew, endpoint=endpoint)

    def stop(self, endpoint: str, *, why: str) -> tuple[Release, ...]:
        """End the active release; the answer's second item, if any, is the one that runs instead."""
        return _call(self._caller, ops.stop, endpoint=endpoint, why=why)

    def releases(self, endpoint: str) -> tuple[Release, ...]:
        """All releases of an endpoint, oldest first."""
        return _call(self._caller, ops.list_releases, endpoint=endpoint)

    def outcomes(self, endpoint: str, outcomes: Iterable[Outcome]) -> OutcomeReport:
        """Say what became true of predictions."""
        return _call(self._caller, ops.record_outcomes, endpoint=endpoint, outcomes=tuple(outcomes))

    def assess(self, endpoint: str) -> Assessment:
        """Judge production by the log and the labels."""
        return _call(self._caller, ops.assess, endpoint=endpoint)

    def duel(self, endpoint: str, first: str, second: str, *, since: datetime, until: datetime) -> Duel:
        """Ask two models the questions production was asked, and compare their answers with the labels, paired."""
        return _call(self._caller, ops.duel, endpoint=endpoint, first=first, second=second, since=since, until=until)

    def inbox(self, *, endpoint: str | None = None, limit: int = 50) -> tuple[Case, ...]:
        """Open cases, the most urgent first."""
        return _call(self._caller, ops.list_cases, status="open", endpoint=endpoint, limit=limit)

    def decide(self, case: str, decision: str, *, reason: str = "") -> Case:
        """Decide a case."""
        return _call(self._caller, ops.decide_case, case=case, decision=decision, reason=reason)

    def board(self) -> Board:
        """Every endpoint with its signal, lease, quality and next step."""
        return _call(self._caller, ops.board)

    def run_page(self, run: str) -> RunPage:
        """One run with everything that is known of it."""
        return _call(self._caller, ops.run_page, run=run)

    def trace(self, subject: str, *, down: bool = False) -> Trace:
        """From anything to its causes, or to everything it affects, re-verifying every digest."""
        return _call(self._caller, ops.trace, subject=subject, down=down)

    def story(self, endpoint: str) -> tuple[StoryLine, ...]:
        """What happened to an endpoint, when, with which numbers; all read from the ledger."""
        return _call(self._caller, ops.story, endpoint=endpoint)

    def dossier(self, release: str) -> Dossier:
        """Everything behind a release, as a document."""
        return _call(self._caller, ops.dossier, release=release)

    def verify(self, *, against: Iterable[str] = ()) -> BookReport:
        """Check the ledger by independent code, also against checkpoints that were kept elsewhere."""
        return _call(self._caller, ops.verify, against=tuple(against))

    def find_subject(self, subject: str) -> Erasure:
        """What is kept under a person's keys."""
        return _call(self._caller, ops.find_subject, subject=subject)

    def erase(self, subject: str, *, why: str) -> Erasure:
        """Destroy a person's keys, and with them what is encrypted under them. The reason stays in the ledger."""
        return _call(self._caller, ops.erase_subject, subject=subject, why=why)

    def fsck(self) -> tuple[Damage, ...]:
        """Check every blob by independent code."""
        return _call(self._caller, ops.fsck)

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
        return _call(self._caller, ops.collect, days=days, dry_run=dry_run, consent=consent)

    def empty_bin(self, *, days: float = 30.0) -> tuple[str, ...]:
        """Forget runs that were deleted so many days ago; returns their ids. Their bytes go with the next collections.

        Runs of pipelines stay, and runs whose models are registered.
        """
        return _call(self._caller, ops.empty_bin, days=days)

    def scrub(self, *, budget: int | None = None) -> Scrub:
        """Read on in the store until `budget` bytes were compared with their names; to the end by default."""
        return _call(self._caller, ops.scrub, budget=budget)

    def close(self) -> None:
        """Release what it holds."""
        self._caller.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _call(caller: Caller, operation: Operation[..., R], **arguments: Any) -> R:
    answer: R = caller.call(operation, arguments)
    return answer


def _placed(caller: Caller, source: str) -> str:
    """A source whose path begins at the current folder, for a workspace on this machine."""
    from stellwerk.workspace.sourcing import placed

    return placed(source, Path.cwd()) if caller.local else source


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
    from dataclasses import replace

    from stellwerk.workspace.settings import read

    if isinstance(place, str) and "://" in place:
        if not place.startswith(("http://", "https://")):
            raise Invalid(
                f"cannot connect to {place[:60]!r} (expected a folder, http:// or https://)", code="invalid-url"
            )
        from stellwerk.workspace.adapters.http import HttpCaller

        caller = HttpCaller(place)
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
        url, lambda since: _call(caller, ops.newest_checkpoint, since=since), several=is_loopback(url), once=True
    )
