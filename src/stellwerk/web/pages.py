"""The pages of runs: experiments, the table of one, a run, comparisons. All of them work without any script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from stellwerk.core.errors import Invalid, StellwerkError
from stellwerk.tracking.tables import MAX_COMPARED, Compared, RunTable
from stellwerk.web import errors
from stellwerk.web.routing import Guard, GuardedRoute, route
from stellwerk.web.ui import drawing, listing, render, words
from stellwerk.web.ui.drawing import Look
from stellwerk.workspace import operations as ops
from stellwerk.workspace.rooms import Rooms

CURVE_POINTS = 240
"""Of a curve on the page of its run."""
CROWD_POINTS = 60
"""Of a curve among many, at most."""
ALL_POINTS = 100_000
"""Of all curves of a page together."""
_OF_BOX = {"invalid-filter", "invalid-order", "invalid-column"}
"""What is wrong with what was typed, and so is told where it was typed."""


Draw = Callable[[Request], str | tuple[str, int]]
"""What a page is made by; it may say a status."""


def page(draw: Draw) -> Any:
    """An endpoint that draws a page in a thread, and the page of an error where it cannot."""

    async def drawn(request: Request) -> Response:
        try:
            answer = await run_in_threadpool(draw, request)
        except StellwerkError as error:
            status = errors.status_of(error)
            return HTMLResponse(render.render_error(status, error.message, error.hint), status)
        return HTMLResponse(answer) if isinstance(answer, str) else HTMLResponse(*answer)

    drawn.__name__ = draw.__name__.strip("_")
    return drawn


class RunPages:
    """The pages that show what was logged."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def routes(self, guard: Guard) -> list[GuardedRoute]:
        """Their routes; all need `runs:read`."""
        made: dict[str, Draw] = {
            "/experiments": self._experiments,
            "/experiments/{experiment}": self._experiment,
            "/runs/{run}": self._run,
            "/compare": self._compare,
        }
        return [route(path, page(draw), ["GET"], permission="runs:read", guard=guard) for path, draw in made.items()]

    def _experiments(self, request: Request) -> str:
        found = ops.list_experiments.perform(self._rooms, {})
        wanted = request.query_params.get("name", "").strip()
        shown = tuple(one for one in found if wanted.casefold() in one.name.casefold())
        return render.render_experiments(shown, wanted, len(found), address(request), simulated=self._simulated())

    def _experiment(self, request: Request) -> tuple[str, int]:
        experiment = request.path_params["experiment"]
        asked = listing.read(request.query_params.multi_items(), words.page("experiments", experiment))
        known = ops.columns_of_runs.perform(self._rooms, {"experiment": experiment})
        columns = asked.columns if asked.columns is not None else tuple(one.name for one in known if one.chosen)
        problem: Invalid | None = None
        try:
            table = self._table(experiment, asked, columns)
        except Invalid as error:
            if error.code not in _OF_BOX:
                raise
            problem, table = error, self._nothing(experiment, columns)
        shown = listing.listing(table, asked, known, self._rooms.clock.now())
        drawn = render.render_experiment(
            table, asked, shown, problem=problem, address=address(request), simulated=self._simulated()
        )
        return drawn, 200 if problem is None else errors.status_of(problem)

    def _table(self, experiment: str, asked: listing.Asked, columns: tuple[str, ...]) -> RunTable:
        return ops.table_of_runs.perform(
            self._rooms,
            {
                "experiment": experiment,
                "where": asked.where,
                "order": asked.order,
                "columns": columns,
                "limit": asked.size,
                "offset": (asked.page - 1) * asked.size,
            },
        )

    def _nothing(self, experiment: str, columns: tuple[str, ...]) -> RunTable:
        """The table while nobody can say which runs are meant: its columns, as far as they are any."""
        arguments = {"experiment": experiment, "limit": 0}
        try:
            return ops.table_of_runs.perform(self._rooms, {**arguments, "columns": columns})
        except Invalid:
            return ops.table_of_runs.perform(self._rooms, arguments)

    def _run(self, request: Request) -> str:
        run = request.path_params["run"]
        shown = ops.run_page.perform(self._rooms, {"run": run})
        look = drawing.read(request.query_params.multi_items())
        found = (one.key for one in shown.standing if look.match.casefold() in one.key.casefold())
        keys = tuple(sorted(found, key=drawing.is_system))
        curves, faint = self._curves((run,), keys[: drawing.MOST_CHARTS * 4], look, CURVE_POINTS)
        panel = drawing.panel(look, curves, faint, names={run: shown.run.name or run})
        return render.render_run(shown, panel=panel, simulated=self._simulated())

    def _compare(self, request: Request) -> str:
        pairs = request.query_params.multi_items()
        look = drawing.read(pairs)
        chosen = tuple(dict.fromkeys(value for key, value in pairs if key == "run" and value))
        experiment = request.query_params.get("experiment", "")
        if experiment:
            found = self._rooms.tables.ids(
                experiment,
                where=request.query_params.get("where", ""),
                order=request.query_params.getlist("order"),
                limit=MAX_COMPARED,
            )
            chosen = tuple(dict.fromkeys([*chosen, *found]))
        runs = ops.compare_runs.perform(self._rooms, {"runs": chosen})
        drawn = drawing.comparison(look, runs, lambda keys: self._curves_of(runs, keys, look))
        return render.render_comparison(drawn, pairs, missing=len(chosen) - len(runs), simulated=self._simulated())

    def _curves_of(self, runs: tuple[Compared, ...], keys: tuple[str, ...], look: Look) -> Any:
        each = max(ALL_POINTS // max(len(runs) * len(keys), 1), 12)
        points = min(CURVE_POINTS if len(runs) <= 20 else CROWD_POINTS, each)
        return self._curves(tuple(run.id for run in runs), keys, look, points)

    def _curves(self, runs: tuple[str, ...], keys: tuple[str, ...], look: Look, points: int) -> Any:
        arguments = {"runs": runs, "keys": keys, "points": points, "axis": look.axis}
        curves = ops.curves_of_runs.perform(self._rooms, {**arguments, "smooth": look.smooth})
        few = look.smooth and len(runs) <= 10
        return curves, ops.curves_of_runs.perform(self._rooms, arguments) if few else ()

    def _simulated(self) -> Any:
        return self._rooms.clock.now() if self._rooms.layout.clock == "replay" else None


def address(request: Request) -> str:
    """Where this server answers, as the one who asks sees it; the wall has checked the name."""
    return str(request.base_url).rstrip("/")
