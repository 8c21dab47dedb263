"""The composition root: the one place where ports meet adapters. A page long, and everything is here."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Literal

from stellwerk.access.model import Grant
from stellwerk.access.shelves import GRANTS
from stellwerk.core.clock import ReplayClock, SystemClock
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound, StellwerkError
from stellwerk.core.files import append_line, replace_text
from stellwerk.core.names import name as checked_name
from stellwerk.core.outbound import Allowance
from stellwerk.data.foreign import ForeignDigests
from stellwerk.data.service import Datasets
from stellwerk.delivery import shelves as delivery_shelves
from stellwerk.evidence.adapters.sealing import FileSealer, create_sealing_key
from stellwerk.evidence.service import Gates, Notary
from stellwerk.ledger import proofs, rules
from stellwerk.ledger.adapters.ed25519 import CurrentSigner, Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.adapters.vault_key import FileKeyCipher
from stellwerk.ledger.database import WorkspaceBook
from stellwerk.ledger.keys import KeyRing, trusted
from stellwerk.ledger.model import Head
from stellwerk.ledger.vault import Vault
from stellwerk.models.adapters.finder import SqlModels
from stellwerk.models.adopting import Adoption as ModelAdoption
from stellwerk.models.catalogue import Catalogue
from stellwerk.models.service import Registry
from stellwerk.monitoring import shelves as monitoring_shelves
from stellwerk.pipelines.executions import Executions, Waits
from stellwerk.pipelines.lending import Lending
from stellwerk.pipelines.offers import Offers
from stellwerk.releases.ports import Progress
from stellwerk.releases.service import Interlocking
from stellwerk.reviews.service import Inbox
from stellwerk.serving import shelves as serving_shelves
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.tracking.adapters.cells import SqlCells
from stellwerk.tracking.adapters.counts import SqlCounts
from stellwerk.tracking.adapters.evaluations import SqlEvaluations
from stellwerk.tracking.adapters.finder import SqlFinder
from stellwerk.tracking.adapters.logged import SqlLogged
from stellwerk.tracking.adapters.points import SqlPoints
from stellwerk.tracking.adapters.traces import SqlTraces
from stellwerk.tracking.adopting import Adoption
from stellwerk.tracking.artifacts import Artifacts
from stellwerk.tracking.assessments import Assessments
from stellwerk.tracking.charting import Charting
from stellwerk.tracking.collector import Collector
from stellwerk.tracking.curves import Curves
from stellwerk.tracking.evaluations import Evaluations
from stellwerk.tracking.experiments import Experiments
from stellwerk.tracking.logbook import Logbook
from stellwerk.tracking.logged import LoggedModels
from stellwerk.tracking.measuring import Measuring
from stellwerk.tracking.scorers import Scorers
from stellwerk.tracking.service import Runs
from stellwerk.tracking.tables import Tables
from stellwerk.tracking.traced import Trace
from stellwerk.tracking.traces import Traces
from stellwerk.tracking.trials import Trials
from stellwerk.triggers import shelves as trigger_shelves
from stellwerk.workspace import layout as folders
from stellwerk.workspace.books import open_database
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.registering import Beside
from stellwerk.workspace.remembering import Memory
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.stores import check_address, open_bucket, open_store

if TYPE_CHECKING:
    from stellwerk.delivery.courier import Courier
    from stellwerk.delivery.ports import Sender
    from stellwerk.delivery.service import Webhooks
    from stellwerk.monitoring.service import Monitoring
    from stellwerk.releases.proving import Prover
    from stellwerk.triggers.hooks import Hooks
    from stellwerk.triggers.lookout import Lookout
    from stellwerk.triggers.ports import Calendar
    from stellwerk.triggers.queue import Queue
    from stellwerk.triggers.service import Triggers
    from stellwerk.workspace.examining import SandboxExaminer
    from stellwerk.workspace.predictions import Predictions


LOGGER = logging.getLogger("stellwerk.workspace")
MAX_TRACE_FILE = 64 << 20
"""Bytes of a file of a trace that is shown as a whole."""
LATE_SHELVES = (delivery_shelves, monitoring_shelves, serving_shelves, trigger_shelves)
"""Rooms that are built on first use still need their tables from the start."""


def _silent(text: str) -> None:
    """Say nothing."""


class Rooms:
    """All rooms of one workspace, furnished for one actor. Heavy ones are built on first use."""

    def __init__(self, layout: Layout, settings: Settings, say: Progress = _silent) -> None:
        self.layout, self.settings, self.say = layout, settings, say
        self._furniture = ExitStack()
        self.presence = self._furniture.enter_context(folders.presence(layout))
        self.clock = layout.make_clock()
        self.database = open_database(layout, settings, self.clock)
        if self.database.open() != layout.identity:
            raise Corrupt(
                "the database belongs to another workspace than the folder says",
                code="corrupt-workspace",
                hint="restore both from the same backup",
            )
        self.actor = checked_name(settings.actor, what="actor")
        self.book = WorkspaceBook(self.database, layout.workspace, self.actor, settings.cause)
        self.blobs = open_store(layout, settings)
        if isinstance(self.blobs, LocalFolder):
            self.blobs.sweep()
        self.verifier = Ed25519Verifier()
        self.ring = KeyRing(self.book, layout.identity, self.verifier)
        finder, points = SqlFinder(), SqlPoints()
        self.runs = Runs(self.book, self.clock, finder, points)
        self.executions = Executions(self.book, self.clock, self.runs)
        self.waits = Waits(self.book)
        self.offers = Offers(self.book, self.clock)
        self.lending = Lending(self.book, self.blobs, self.clock, layout.identity)
        self.trials = Trials(self.book, self.clock, self.runs, points, folders.process_alive)
        self.experiments = Experiments(self.book, self.clock)
        self.logbook = Logbook(self.book, self.blobs, self.clock, finder, points)
        self.collector = Collector(self.book, self.blobs, SqlCounts())
        self.traces = Traces(self.book, self.clock, self.collector, SqlTraces(), self._file_of_trace)
        self.assessments = Assessments(self.book, self.clock)
        self.measuring = Measuring(self.book, self.collector.spans)
        self.adoption = Adoption(self.book, self.blobs, self.clock, finder, points)
        self.artifacts = Artifacts(self.book, self.blobs, self.clock)
        self.logged_models = LoggedModels(self.book, self.clock, SqlLogged(), self.logbook.scores)
        self.charting = Charting(self.book, self.logbook)
        self.evaluations = Evaluations(self.book, self.clock, SqlEvaluations())
        self.scorers = Scorers(self.book, self.clock)
        cells = SqlCells()
        self.tables = Tables(self.book, finder, points, cells, self.blobs)
        self.curves = Curves(self.book, self.blobs, points, cells)
        self.datasets = Datasets(self.book, self.blobs, self.clock)
        self.foreign = ForeignDigests(self.book, self.blobs)
        self.registry = Registry(self.book, self.clock, _Releases(self))
        beside = Beside(self.blobs, self.logbook, self.artifacts, self.logged_models)
        self.catalogue = Catalogue(
            self.book,
            self.clock,
            SqlModels(),
            releases=_Releases(self),
            knows_run=self._knows_run,
            logged=beside,
            files=beside,
        )
        self.beside = beside
        self.model_adoption = ModelAdoption(self.book, _Releases(self))
        self.inbox = Inbox(self.book, self.clock)
        self._signed = self.database.size()
        self._known = True
        self.signing = RLock()
        """Held while a checkpoint is signed and while the key changes: both may be units of one transaction, and
        which key signs is asked of what was committed before."""
        self.grant = self._admit()

    @cached_property
    def signer(self) -> CurrentSigner:
        return CurrentSigner(self.layout.signing_key, self.ring.current)

    @cached_property
    def vault(self) -> Vault:
        return Vault(self.book, self.clock, lambda fresh: FileKeyCipher(self.layout.vault_key, fresh=fresh))

    @cached_property
    def gates(self) -> Gates:
        return Gates(self.book, self.blobs, self.clock, FileSealer(self.layout.sealing_key))

    @cached_property
    def notary(self) -> Notary:
        return Notary(self.book, self.blobs, self.clock, self.signer)

    @cached_property
    def interlocking(self) -> Interlocking:
        return Interlocking(self.book, self.blobs, self.clock, self.signer)

    @cached_property
    def examiner(self) -> SandboxExaminer:
        from stellwerk.workspace.examining import SandboxExaminer

        return SandboxExaminer(
            blobs=self.blobs,
            registry=self.registry,
            datasets=self.datasets,
            runs=self.runs,
            allow_unsandboxed=self.settings.allow_unsandboxed,
        )

    @cached_property
    def prover(self) -> Prover:
        from stellwerk.releases.proving import Prover

        return Prover(self.book, self.blobs, self.clock, self.gates, self.notary, self.examiner, self.say)

    @cached_property
    def predictions(self) -> Predictions:
        from stellwerk.workspace.predictions import Predictions

        return Predictions(
            folder=self.layout.predictions,
            book=self.book,
            blobs=self.blobs,
            clock=self.clock,
            inbox=self.inbox,
            interlocking=self.interlocking,
            vault=self.vault,
        )

    @cached_property
    def monitoring(self) -> Monitoring:
        from stellwerk.monitoring.service import Monitoring

        return Monitoring(self.book, self.blobs, self.clock, self.predictions)

    def _file_of_trace(self, trace: Trace, path: str) -> bytes | None:
        found = self.artifacts.find(f"{trace.experiment}/traces/{trace.id}/artifacts/{path}")
        if found is None or found.digest is None:
            return None
        if found.size > MAX_TRACE_FILE:
            raise Invalid(f"the file has more than {MAX_TRACE_FILE:,} bytes", code="too-large")
        return self.blobs.get(found.digest)

    def _knows_run(self, run_id: str) -> bool:
        try:
            self.runs.get(run_id)
        except NotFound:
            return False
        return True

    @cached_property
    def sender(self) -> Sender:
        from stellwerk.delivery.adapters.http import HttpSender

        return HttpSender(Allowance.of(self.settings.webhook_hosts))

    @cached_property
    def webhooks(self) -> Webhooks:
        from stellwerk.delivery.service import Webhooks

        return Webhooks(self.book, self.clock, self.sender, FileSealer(self.layout.sealing_key))

    @cached_property
    def courier(self) -> Courier:
        from stellwerk.delivery.adapters.registry import RegistryNow
        from stellwerk.delivery.courier import Courier

        return Courier(self.book, self.clock, self.webhooks, self.sender, RegistryNow(self.book))

    @cached_property
    def calendar(self) -> Calendar:
        from stellwerk.triggers.adapters.cron import CronCalendar

        return CronCalendar()

    @cached_property
    def triggers(self) -> Triggers:
        from stellwerk.triggers.service import Triggers

        return Triggers(self.book, self.clock, self.calendar, FileSealer(self.layout.sealing_key))

    @cached_property
    def lookout(self) -> Lookout:
        from stellwerk.triggers.lookout import Lookout

        return Lookout(self.book, self.clock, self.calendar)

    @cached_property
    def queue(self) -> Queue:
        from stellwerk.triggers.queue import Queue

        return Queue(self.book, self.clock, self.settings.trigger_budget)

    @cached_property
    def hooks(self) -> Hooks:
        from stellwerk.triggers.hooks import Hooks

        return Hooks(self.book, self.clock, self.calendar, self.triggers)

    def token_keys(self) -> tuple[bytes, ...]:
        """The public keys whose lease tokens count at this moment."""
        return trusted(self.ring.links(), self.clock.now()) or (self.signer.public_key,)

    def checkpoint(self) -> str:
        """Sign the ledger's present state and copy the note outside the database."""
        with self.signing:
            note = self.database.checkpoint(self.layout.identity, self.signer).note
        latest = self.layout.checkpoints / "latest.txt"
        if not latest.is_file() or latest.read_bytes() != note.encode():
            append_line(self.layout.checkpoints / "log.jsonl", json.dumps(note, ensure_ascii=False))
            replace_text(latest, note)
        return note

    def sign_off(self) -> None:
        """Sign what was written since these rooms last did, if anything. A failure is logged: the work itself is done."""
        try:
            size = self.database.size()
            if size > self._signed:
                self.checkpoint()
                self._signed = size
        except StellwerkError as problem:
            LOGGER.warning("no checkpoint was signed: %s (%s)", problem, problem.code)

    def recognise(self) -> None:
        """Compare the book with what this machine remembers of it. Raises `Corrupt` where it is another."""
        if not self.settings.state:
            return
        self._known = False
        Memory(Path(self.settings.state)).greet(str(self.layout.folder), self.head, origin=self.layout.identity)
        self._known = True

    def head(self, since: int = 0) -> Head:
        """What the book says of itself to somebody who remembers `since` entries. Raises `NotFound`."""
        with self.book.read() as reader:
            note = proofs.newest(reader)
        if note is None:
            raise NotFound("nothing of this book was signed yet", code="no-checkpoint", hint="`stellwerk verify`")
        size = rules.read_checkpoint(note).size
        proof = proofs.consistency(self.database, since, size) if 0 < since < size else ()
        return Head(note=note, keys=self.ring.links(), consistency=proof)

    def close(self) -> None:
        """Sign what was written, remember it, and release the database."""
        try:
            if self._known:  # else nothing was done here
                self.sign_off()
                self.recognise()
        except StellwerkError as problem:
            LOGGER.warning("%s (%s)", problem, problem.code)
        finally:
            self.database.close()
            self.blobs.close()
            self._furniture.close()

    def _admit(self) -> Grant:
        """Whoever can open the folder is an owner, and the ledger says so."""
        with self.book.read() as reader:
            known = GRANTS.find(reader, self.actor)
        if known is not None:
            return known
        grant = Grant(actor=self.actor, role="owner", granted_at=self.clock.now(), granted_by="file-system")
        with self.book.write() as tx:
            GRANTS.put(tx, grant)
            tx.record("access.granted", f"actor:{self.actor}", {"role": "owner", "by": "file-system"})
        return grant


class _Releases:
    """Releases as the registry asks about them: their room is only built where an alias is protected."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def clear(self, digest: Digest) -> bool:
        return self._rooms.interlocking.clear(digest)

    def named(self, digest: Digest) -> bool:
        return self._rooms.interlocking.named(digest)


def create(
    root: Path,
    settings: Settings,
    *,
    workspace: str = "default",
    clock: Literal["system", "replay"] = "system",
    server: Literal["sqlite", "postgresql"] = "sqlite",
    bucket: str = "",
) -> Layout:
    """Make a workspace in a folder. Killed half-way it is made again; an existing one is a `Conflict`."""
    checked_name(workspace, what="workspace")
    if (root / folders.FOLDER / "format.json").exists():
        raise Conflict("there is a workspace here already", code="already-exists")
    bucket = bucket and check_address(bucket)
    layout = folders.prepare(root, workspace=workspace, clock=clock, server=server, bucket=bucket)
    create_key(layout.signing_key)
    create_sealing_key(layout.sealing_key)
    if clock == "replay":
        ReplayClock(layout.folder / "clock.json").set(SystemClock().now())
    database = open_database(layout, settings, layout.make_clock())
    database.create(layout.identity)
    book = WorkspaceBook(database, workspace, checked_name(settings.actor, what="actor"))
    signer = FileSigner(layout.signing_key)
    begun = book.entries(kinds=["workspace.created"], limit=1)
    if begun and begun[0].body.get("key") != signer.public_key.hex():
        raise Conflict("this database holds the book of another workspace", code="already-exists")
    if not begun:
        with book.write() as tx:
            tx.record(
                "workspace.created",
                f"workspace:{workspace}",
                {"key": signer.public_key.hex(), "key_id": signer.key_id, "clock": clock},
            )
    origin = database.open()
    database.close()
    layout = replace(layout, identity=origin)
    if bucket:
        store = open_bucket(bucket, settings)
        store.claim(origin)
        store.close()
    folders.finish(layout)
    return layout
