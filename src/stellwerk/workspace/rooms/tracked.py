"""What is recorded: runs, points, traces, models that were logged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stellwerk.core.errors import Invalid
from stellwerk.workspace import layout as folders
from stellwerk.workspace.rooms.built import built
from stellwerk.workspace.rooms.ground import Ground

if TYPE_CHECKING:
    from stellwerk.tracking.adapters.cells import SqlCells
    from stellwerk.tracking.adapters.finder import SqlFinder
    from stellwerk.tracking.adapters.points import SqlPoints
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

MAX_TRACE_FILE = 64 << 20
"""Bytes of a file of a trace that is shown as a whole."""


class Tracked(Ground):
    """The rooms in which is recorded."""

    @built
    def finder(self) -> SqlFinder:
        from stellwerk.tracking.adapters.finder import SqlFinder

        return SqlFinder()

    @built
    def points(self) -> SqlPoints:
        from stellwerk.tracking.adapters.points import SqlPoints

        return SqlPoints()

    @built
    def cells(self) -> SqlCells:
        from stellwerk.tracking.adapters.cells import SqlCells

        return SqlCells()

    @built
    def runs(self) -> Runs:
        from stellwerk.tracking.service import Runs

        return Runs(self.book, self.clock, self.finder, self.points)

    @built
    def trials(self) -> Trials:
        from stellwerk.tracking.trials import Trials

        return Trials(self.book, self.clock, self.runs, self.points, folders.process_alive)

    @built
    def experiments(self) -> Experiments:
        from stellwerk.tracking.experiments import Experiments

        return Experiments(self.book, self.clock)

    @built
    def logbook(self) -> Logbook:
        from stellwerk.tracking.logbook import Logbook

        return Logbook(self.book, self.blobs, self.clock, self.finder, self.points)

    @built
    def collector(self) -> Collector:
        from stellwerk.tracking.adapters.counts import SqlCounts
        from stellwerk.tracking.collector import Collector

        return Collector(self.book, self.blobs, SqlCounts())

    @built
    def traces(self) -> Traces:
        from stellwerk.tracking.adapters.traces import SqlTraces
        from stellwerk.tracking.traces import Traces

        return Traces(self.book, self.clock, self.collector, SqlTraces(), self._file_of_trace)

    @built
    def assessments(self) -> Assessments:
        from stellwerk.tracking.assessments import Assessments

        return Assessments(self.book, self.clock)

    @built
    def measuring(self) -> Measuring:
        from stellwerk.tracking.measuring import Measuring

        return Measuring(self.book, self.collector.spans)

    @built
    def adoption(self) -> Adoption:
        from stellwerk.tracking.adopting import Adoption

        return Adoption(self.book, self.blobs, self.clock, self.finder, self.points)

    @built
    def artifacts(self) -> Artifacts:
        from stellwerk.tracking.artifacts import Artifacts

        return Artifacts(self.book, self.blobs, self.clock)

    @built
    def logged_models(self) -> LoggedModels:
        from stellwerk.tracking.adapters.logged import SqlLogged
        from stellwerk.tracking.logged import LoggedModels

        return LoggedModels(self.book, self.clock, SqlLogged(), self.logbook.scores)

    @built
    def charting(self) -> Charting:
        from stellwerk.tracking.charting import Charting

        return Charting(self.book, self.logbook)

    @built
    def evaluations(self) -> Evaluations:
        from stellwerk.tracking.adapters.evaluations import SqlEvaluations
        from stellwerk.tracking.evaluations import Evaluations

        return Evaluations(self.book, self.clock, SqlEvaluations())

    @built
    def scorers(self) -> Scorers:
        from stellwerk.tracking.scorers import Scorers

        return Scorers(self.book, self.clock)

    @built
    def tables(self) -> Tables:
        from stellwerk.tracking.tables import Tables

        return Tables(self.book, self.finder, self.points, self.cells, self.blobs)

    @built
    def curves(self) -> Curves:
        from stellwerk.tracking.curves import Curves

        return Curves(self.book, self.blobs, self.points, self.cells)

    def _file_of_trace(self, trace: Trace, path: str) -> bytes | None:
        found = self.artifacts.find(f"{trace.experiment}/traces/{trace.id}/artifacts/{path}")
        if found is None or found.digest is None:
            return None
        if found.size > MAX_TRACE_FILE:
            raise Invalid(f"the file has more than {MAX_TRACE_FILE:,} bytes", code="too-large")
        return self.blobs.get(found.digest)
