"""Pages from view values: board, runs, models, trace, dossier and error, and the static files that they load.

Pure: the same value gives the same page. Every text passes `words.visible` and Jinja's escaping; no markup is built
in Python. The pages need no inline script or style and so work under the strictest content security policy.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stellwerk.core.clock import format_instant
from stellwerk.core.digest import short
from stellwerk.core.errors import Invalid, StellwerkError
from stellwerk.delivery.model import WebhookLine
from stellwerk.governance.model import Board, EndpointCard, FilePage, Graph, Node, RunPage, StudyView, Trace
from stellwerk.pipelines.tuning import rules
from stellwerk.pipelines.tuning.model import Setup
from stellwerk.pipelines.tuning.plots import pictures
from stellwerk.reviews.model import Case
from stellwerk.tracking.previews import is_log
from stellwerk.tracking.tables import MAX_COMPARED, ExperimentLine, RunTable
from stellwerk.triggers.model import TriggerLine
from stellwerk.web.ui import charts, drawing, frames, gauges, shelving, words
from stellwerk.web.ui.drawing import Comparison, Panel
from stellwerk.web.ui.frames import HEAD, lay_out
from stellwerk.web.ui.graph import HEIGHT, WIDTH
from stellwerk.web.ui.listing import SIZES, Asked, Listing

if TYPE_CHECKING:  # the rooms behind it are heavy, and drawing needs only the value
    from stellwerk.governance.dossier import Dossier
    from stellwerk.governance.shelf_of_models import ModelList, ModelPage

_HERE = Path(__file__).parent
_MEDIA = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FAMILIES = {
    "data": ("dataset", "file", "artifact", "segment", "data", "clean", "features"),
    "work": ("run", "step", "code", "environment", "trigger", "train", "tune", "test", "build", "split", "select"),
    "model": ("model",),
    "proof": ("plan", "gate", "evidence", "verdict", "evaluate"),
    "permit": ("release", "deploy", "publish", "promote", "register"),
    "answer": ("prediction",),
}
_FAMILY = {kind: family for family, kinds in _FAMILIES.items() for kind in kinds}
_STATUS = {
    "finished": "good", "running": "busy", "failed": "bad", "interrupted": "warn", "waiting": "warn", "paused": "warn",
}  # fmt: skip
_OUTCOME = {"pass": "good", "clear": "good", "fail": "bad", "stop": "bad", "unproven": "warn"}
_SIGNAL = {"clear": "good", "caution": "warn", "stop": "bad"}
_RELEASE = {"active": "good", "superseded": "plain", "stopped": "bad", "lease ended": "warn"}


def render_board(board: Board) -> str:
    """The first page: every endpoint with its signal and why, recent runs, recent ledger entries."""
    signals = [card.signal for card in board.endpoints]
    counts = [(name, signals.count(name)) for name in ("stop", "caution", "clear") if name in signals]
    return _page("board.html", board=board, counts=counts, simulated=board.now if board.simulated else None)


def render_run(page: RunPage, *, panel: Panel | None = None, simulated: datetime | None = None) -> str:
    """One run with all that is known of it. `simulated` is the workspace's time where it replays history."""
    log, left_out = words.tail(page.log)
    return _page(
        "run.html",
        **_study(page.study),
        page=page,
        run=page.run,
        panel=panel,
        log=log,
        left_out=left_out,
        tags=[tag for tag in page.tags if not tag[0].startswith("mlflow.")],
        kept_tags=[tag for tag in page.tags if tag[0].startswith("mlflow.")],
        simulated=simulated,
    )


def _study(study: StudyView | None) -> dict[str, Any]:
    """What the pictures and the table of a search need."""
    if study is None or "space" not in study.setup:  # a setup is always there with its space, or is none
        return {"pictures": (), "objectives": (), "best": None}
    setup = Setup.read(study.setup)
    best = rules.best(study.trials, setup.objectives[0])
    return {
        "pictures": pictures(setup, study.trials, study.shares, study.by),
        "objectives": [one.metric for one in setup.objectives],
        "best": None if best is None else best.number,
    }


def render_experiments(
    shown: Sequence[ExperimentLine], wanted: str, total: int, address: str, *, simulated: datetime | None = None
) -> str:
    """The experiments whose names hold what is wanted, out of all."""
    return _page(
        "experiments.html", experiments=shown, wanted=wanted, total=total, server=address, simulated=simulated
    )


def render_experiment(
    table: RunTable,
    asked: Asked,
    listing: Listing,
    *,
    problem: Invalid | None = None,
    address: str = "",
    simulated: datetime | None = None,
) -> str:
    """The runs of an experiment as a table; `problem` is what is wrong with what was typed."""
    return _page(
        "experiment.html",
        table=table,
        asked=asked,
        listing=listing,
        problem=problem,
        server=address,
        sizes=SIZES,
        most=MAX_COMPARED,
        simulated=simulated,
    )


def render_comparison(
    comparison: Comparison,
    asked: Sequence[tuple[str, str]],
    *,
    missing: int = 0,
    simulated: datetime | None = None,
) -> str:
    """Runs side by side. `asked` is the address, which the forms of the page carry on."""
    return _page("compare.html", shown=comparison, asked=asked, missing=missing, simulated=simulated)


def render_files(page: FilePage, *, simulated: datetime | None = None) -> str:
    """A file or a folder of a run, or of a logged model."""
    parts = page.path.split("/") if page.path else []
    steps = [(part, "/".join(parts[: place + 1])) for place, part in enumerate(parts)]
    return _page("files.html", page=page, steps=steps, log=is_log(page.path), simulated=simulated)


def render_models(found: ModelList, wanted: str, address: str, *, simulated: datetime | None = None) -> str:
    """The registered models whose names hold what is wanted, out of all."""
    return _page("models.html", found=found, wanted=wanted, server=address, simulated=simulated)


def render_model(
    model: ModelPage, asked: shelving.Asked, *, problem: Invalid | None = None, simulated: datetime | None = None
) -> str:
    """One model; `problem` is what is wrong with the time that was typed."""
    return _page("model.html", model=model, asked=asked, problem=problem, size=shelving.SIZE, simulated=simulated)


def render_webhooks(hooks: Sequence[WebhookLine], *, simulated: datetime | None = None) -> str:
    """Who elsewhere is told what happens to models."""
    return _page("webhooks.html", hooks=hooks, simulated=simulated)


def render_triggers(triggers: Sequence[TriggerLine], address: str, *, simulated: datetime | None = None) -> str:
    """What begins runs by itself; `address` is that of this server, for whoever sends webhooks."""
    return _page("triggers.html", triggers=triggers, server=address, simulated=simulated)


def render_cases(cases: Sequence[Case], *, more: bool, simulated: datetime | None = None) -> str:
    """The open cases, the most urgent first; `more` where there are others."""
    return _page("cases.html", cases=cases, more=more, simulated=simulated)


def render_case(
    case: Case,
    *,
    actor: str,
    problem: StellwerkError | None = None,
    typed: Mapping[str, str] = MappingProxyType({}),
    simulated: datetime | None = None,
) -> str:
    """One case for whoever looks; `problem` is what was wrong with what was typed."""
    mine = actor not in case.handed_by and case.asked in ("", actor)
    kind, _, about = case.subject.partition(":")
    return _page(
        "case.html", case=case, actor=actor, mine=mine, problem=problem, typed=typed, simulated=simulated,
        run=about if kind == "run" else "",
    )  # fmt: skip


def render_trace(trace: Trace, *, simulated: datetime | None = None) -> str:
    """The graph from a thing to its causes or effects, what was verified, and what could not be proven."""
    return _page("trace.html", trace=trace, subject=_subject(trace), simulated=simulated)


def render_dossier(dossier: Dossier, *, simulated: datetime | None = None) -> str:
    """The release dossier as a page that prints well."""
    return _page("dossier.html", dossier=dossier, simulated=simulated)


def render_error(status: int, title: str, hint: str) -> str:
    """A small page for a refusal or a missing thing: what happened and what to do next."""
    return _page("error.html", status=status, title=title, hint=hint, simulated=None)


@cache
def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Name to bytes and media type of everything served below `/static/`."""
    files = sorted((_HERE / "static").iterdir())
    return MappingProxyType({f.name: (f.read_bytes(), _MEDIA[f.suffix]) for f in files if f.suffix in _MEDIA})


def _page(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        clip=words.clip,
        count=words.count,
        day=words.day,
        exact=format_instant,
        figure=words.figure,
        left=words.left,
        local=words.local,
        moment=words.moment,
        number=words.number,
        prose=words.prose,
        quoted=shlex.quote,
        share=words.share,
        short=short,
        size=words.size,
        stamp=words.stamp,
        took=words.took,
        urlpart=words.urlpart,
        wrap=words.wrap,
    )
    environment.tests.update(machine=drawing.is_system)
    environment.globals.update(
        address=words.page,
        below=words.below,
        download=words.download,
        logged_model=words.logged_model,
        picture=words.picture,
        embedded=words.embedded,
        asset=_asset,
        quality_chart=_quality_chart,
        quantity=drawing.label,
        lease_bar=gauges.lease,
        risk_gauge=gauges.risk,
        drift_bars=gauges.drift,
        timeline=gauges.timeline,
        graph_layout=lay_out,
        box=(WIDTH, HEIGHT),
        frame_head=HEAD,
        frame_title=frames.title,
        frames_said=frames.said,
        causes=_causes,
        family=lambda kind: _FAMILY.get(kind, "plain"),
        status_tone=lambda status: _STATUS.get(status, "plain"),
        cell_tone=lambda cell: _OUTCOME.get(cell, ""),
        signal_tone=lambda signal: _SIGNAL.get(signal, "bad"),
        release_tone=lambda status: _RELEASE.get(status, "plain"),
    )
    return environment


def _shown(value: object) -> object:
    """What an expression in a template becomes before it is escaped: nothing invisible, `None` as nothing."""
    if value is None:
        return ""
    if hasattr(value, "__html__"):
        return value
    return words.visible(str(value))


@cache
def _asset(name: str) -> str:
    """The address of a static file, changing with its content so that caches never show an old one."""
    return f"/static/{name}?v={hashlib.sha256(static_files()[name][0]).hexdigest()[:12]}"


def _quality_chart(card: EndpointCard) -> charts.QualityChart | None:
    names = {line.id: line.model for line in card.history}
    return charts.quality(card.quality, names) if card.quality else None


def _subject(trace: Trace) -> Node | None:
    """The node that was asked about, however it was named: by id, by id without its kind, or by title."""
    nodes, asked = trace.graph.nodes, trace.subject
    ids = [node for node in nodes if node.id == asked] or [node for node in nodes if node.id.endswith(f":{asked}")]
    return next(iter(ids or [node for node in nodes if node.title == asked]), None)


def _causes(graph: Graph) -> dict[str, list[str]]:
    """For each node the titles of what it was made from, for readers of the list instead of the drawing."""
    titles = {node.id: node.title for node in graph.nodes}
    result: dict[str, list[str]] = {}
    for edge in graph.edges:
        source = titles.get(edge.source, edge.source)
        result.setdefault(edge.target, []).append(f"{source} ({edge.label})" if edge.label else source)
    return result
