"""Whatever stands in a field, it stays text."""

from __future__ import annotations

import dataclasses
import re
import runpy
import types
import typing
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.delivery.model import WebhookLine
from stellwerk.governance.dossier import Dossier
from stellwerk.governance.model import Board, FilePage, RunPage, Trace
from stellwerk.governance.shelf_of_models import ModelList, ModelPage
from stellwerk.reviews.model import Case
from stellwerk.tracking.curves import Curve
from stellwerk.tracking.tables import ColumnLine, Compared, ExperimentLine, Row, RunTable
from stellwerk.triggers.model import TriggerLine
from stellwerk.web.ui import drawing, listing, render, shelving, words

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("samples.py"))))

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus='alert(1)' x='",
    "</title></style></textarea></noscript><svg onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "]]><!--",
    "&lt;script&gt;&#60;b&#62;",
    "\u202e\u2066evil\x00\x1b[31m\r\n\x7f\ufeff",
    "עברית مرحبا",
    "\ud800\udfff\uffff",
    "W" * 5000,
    "a b " * 1250,
    "../../etc",
    "//evil.example/",
    "",
)
TEXT = st.sampled_from(ATTACKS) | st.text(alphabet=st.characters(exclude_categories=()), max_size=40)
_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    Digest: TEXT,
    int: st.integers(-10, 10**12),
    float: st.floats() | st.floats(0, 1),
    bool: st.booleans(),
    datetime: st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    type(None): st.none(),
    Any: TEXT,
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a view type, hostile in every text."""
    if kind in _LEAVES:
        return _LEAVES[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is dict:
        return st.dictionaries(*map(values_of, arguments), max_size=3)
    if origin in (types.UnionType, typing.Union):
        return st.one_of(*map(values_of, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(st.deferred(lambda: values_of(arguments[0])), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values_of, arguments))
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: values_of(hint) for name, hint in hints.items()})


_HTML = (
    "a b bdi body br button caption code dd details dialog div dl dt figcaption figure footer form h1 h2 h3 h4 head"
)
_HTML += (
    " header html input kbd label li link main meta nav noscript ol p pre script section span strong summary table"
)
_HTML += " tbody td th thead time title tr ul article option select fieldset legend i img"
_SVG = "g tspan svg rect circle line path polygon polyline text title a"
TAGS = set((_HTML + " " + _SVG).split())
VOID = {"br", "img", "input", "link", "meta"}
_ATTRIBUTES = (
    "class id href title lang charset name content rel type src tabindex role aria-label aria-labelledby aria-hidden "
    "aria-haspopup aria-live hidden datetime scope method placeholder autocomplete spellcheck checked http-equiv "
    "viewbox width height x y x1 x2 y1 y2 cx cy r rx d dx points text-anchor preserveaspectratio "
    "data-live data-keep data-row data-filter data-filter-input data-copy data-needs-script data-theme-button "
    "data-keys-button data-keys-switch data-since colspan data-graph data-node data-from data-to data-peek "
    "action for value min max step maxlength autocapitalize selected rel aria-sort aria-describedby aria-invalid "
    "data-search data-box data-swap data-auto data-compare data-compare-button data-changed data-steady data-pick-all "
    "data-no-script data-chart data-run data-name data-x data-y data-pointer download alt data-end "
    "dx required"
)
ATTRIBUTES = set(_ATTRIBUTES.split())


class Strict(HTMLParser):
    """Fails on any element, attribute, address or nesting that the templates do not contain."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.skeleton: list[tuple[str, tuple[str, ...]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        names = [name for name, _ in attrs]
        assert set() == set(names) - ATTRIBUTES
        assert len(names) == len(set(names))
        for name, value in attrs:
            if (
                name == "src"
                and tag == "img"
                and re.fullmatch(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", value or "")
            ):
                continue
            if name in ("href", "src"):
                assert re.fullmatch(r"#[a-z0-9-]+|/(?!/)[\x21-\x5b\x5d-\x7e]*", value or "")
            if name == "http-equiv":
                assert "refresh" == value
        if tag == "script":
            assert {"src"} == set(names)
        self.skeleton.append((tag, tuple(names)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        pytest.fail(f"a comment: {data[:40]}")

    def unknown_decl(self, data: str) -> None:
        pytest.fail(f"a declaration: {data[:40]}")

    handle_pi = unknown_decl


def check(page: str) -> Strict:
    assert page.encode("utf-8")
    assert [] == re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff]", page)
    return Strict(page)


# No shrinking: it takes minutes with values this large, and the small cases at the end of this file say the same.
PATIENT = settings(
    deadline=None,
    max_examples=40,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@PATIENT
@given(values_of(Board))
def test_no_board_breaks_out(board: Board) -> None:
    """Any board renders, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_board(board)).skeleton)


@PATIENT
@given(values_of(RunPage))
def test_no_run_breaks_out(page: RunPage) -> None:
    """Any run renders, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_run(page)).skeleton)


@PATIENT
@given(values_of(Case), st.text(max_size=40))
def test_no_case_breaks_out(case: Case, typed: str) -> None:
    """Any case renders, with whatever was typed into its forms; also in the list of all."""
    case = replace(case, facts={"options": (case.why, typed), "about": (case.subject,)})
    problem = Invalid(case.why, code="x", hint=typed)
    drawn = render.render_case(case, actor=case.asked, problem=problem, typed={"reason": typed, "to": typed})
    assert "script" in dict(check(drawn).skeleton)
    assert "script" in dict(check(render.render_cases([case], more=True)).skeleton)


@PATIENT
@given(values_of(FilePage))
def test_no_file_breaks_out(page: FilePage) -> None:
    """Any file or folder renders, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_files(page)).skeleton)


@PATIENT
@given(st.lists(values_of(WebhookLine), max_size=3))
def test_no_webhook_breaks_out(hooks: list[WebhookLine]) -> None:
    """Any webhooks render, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_webhooks(hooks)).skeleton)


@PATIENT
@given(st.lists(values_of(TriggerLine), max_size=3), st.text(max_size=40))
def test_no_trigger_breaks_out(triggers: list[TriggerLine], address: str) -> None:
    """Any triggers render, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_triggers(triggers, address)).skeleton)


@PATIENT
@given(values_of(Trace))
def test_no_trace_breaks_out(trace: Trace) -> None:
    """Any trace renders, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_trace(trace)).skeleton)


@PATIENT
@given(values_of(Dossier))
def test_no_dossier_breaks_out(dossier: Dossier) -> None:
    """Any dossier renders, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_dossier(dossier)).skeleton)


@PATIENT
@given(TEXT, TEXT)
def test_no_error_breaks_out(title: str, hint: str) -> None:
    """An error page shows what a stranger typed, as text."""
    assert "script" in dict(check(render.render_error(400, title, hint)).skeleton)


@st.composite
def tables(draw: st.DrawFn) -> RunTable:
    """A table whose rows are as wide as it says."""
    columns = draw(st.lists(TEXT.filter(bool) | st.just("metrics.auc"), max_size=4, unique=True))
    cell = st.none() | st.floats() | TEXT
    rows = [
        dataclasses.replace(row, cells=tuple(draw(cell) for _ in columns))
        for row in draw(st.lists(values_of(Row), max_size=3))
    ]
    return dataclasses.replace(draw(values_of(RunTable)), columns=tuple(columns), rows=tuple(rows))


@st.composite
def curves(draw: st.DrawFn, run: st.SearchStrategy[str], key: st.SearchStrategy[str]) -> Curve:
    """A curve whose columns are of one length."""
    whole = st.integers(-(2**63), 2**63 - 1)
    points = draw(st.lists(st.tuples(whole, whole, st.floats()), max_size=5))
    made = draw(values_of(Curve))
    at, step, value = (tuple(point[i] for point in points) for i in range(3))
    return dataclasses.replace(made, run=draw(run), key=draw(key), at=at, step=step, value=value)


@PATIENT
@given(st.lists(values_of(ExperimentLine), max_size=3), TEXT, TEXT)
def test_no_list_of_experiments_breaks_out(found: list[ExperimentLine], wanted: str, address: str) -> None:
    """Any experiments render, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_experiments(found, wanted, 3, address)).skeleton)


@PATIENT
@given(tables(), st.lists(st.tuples(st.sampled_from(["where", "order", "column", "page", "size"]), TEXT)), TEXT)
def test_no_table_of_runs_breaks_out(table: RunTable, pairs: list[tuple[str, str]], text: str) -> None:
    """Any runs in any columns render, whatever the address says, and with any problem."""
    asked = listing.read(pairs, "/experiments/1")
    shown = listing.listing(table, asked, [ColumnLine(name=f"tags.{text}", runs=1, chosen=True)], samples.NOW)
    for problem in (None, Invalid(text, hint=text)):
        page = render.render_experiment(table, asked, shown, problem=problem, address=text)
        assert "script" in dict(check(page).skeleton)


@PATIENT
@given(values_of(RunPage), st.lists(curves(TEXT, TEXT), max_size=4), TEXT, st.booleans())
def test_no_curve_breaks_out(page: RunPage, found: list[Curve], text: str, log: bool) -> None:
    """Any curves render, also such as no number can be drawn of."""
    look = drawing.read([("match", text), ("scale", "log" if log else ""), ("by", "time"), ("smooth", text)])
    panel = drawing.panel(look, found, found, names={curve.run: text for curve in found})

    assert "script" in dict(check(render.render_run(page, panel=panel)).skeleton)


@PATIENT
@given(st.lists(values_of(Compared), max_size=4, unique_by=lambda run: run.id), st.data())
def test_no_comparison_breaks_out(runs: list[Compared], data: st.DataObject) -> None:
    """Any runs side by side render, whatever the address says."""
    pairs = data.draw(
        st.lists(st.tuples(st.sampled_from(["curve", "axis", "x", "y", "all", "run"]), TEXT), max_size=4)
    )

    def draw(keys: tuple[str, ...]) -> tuple[list[Curve], list[Curve]]:
        one = curves(st.sampled_from([run.id for run in runs]), st.sampled_from(keys))
        return data.draw(st.lists(one, max_size=3)), []

    shown = drawing.comparison(drawing.read(pairs), runs, draw)
    assert "script" in dict(check(render.render_comparison(shown, pairs)).skeleton)


@PATIENT
@given(values_of(ModelList), TEXT, TEXT)
def test_no_list_of_models_breaks_out(found: ModelList, wanted: str, address: str) -> None:
    """Any models render, and only with the elements and attributes of the templates."""
    assert "script" in dict(check(render.render_models(found, wanted, address)).skeleton)


@PATIENT
@given(values_of(ModelPage), TEXT, st.lists(st.tuples(st.sampled_from(["as_of", "page"]), TEXT), max_size=3))
def test_no_model_breaks_out(model: ModelPage, text: str, pairs: list[tuple[str, str]]) -> None:
    """Any model renders, whatever the address says, and with any problem."""
    asked = shelving.read(pairs, text)
    for problem in (None, Invalid(text, hint=text)):
        assert "script" in dict(check(render.render_model(model, asked, problem=problem)).skeleton)


def twisted(value: Any, text: str) -> Any:
    """The same value with every free text replaced, ids of graphs kept so that the graph stays the same."""
    if isinstance(value, str):
        return text
    if isinstance(value, tuple):
        return tuple(twisted(item, text) for item in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    kept = {"signal", "state", "tone", "direction", "source", "target", "subject", "link"}
    kept |= {"id"} if type(value).__name__ == "Node" else set()
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return type(value)(**{n: v if n in kept else twisted(v, text) for n, v in fields.items()})


@pytest.mark.parametrize("attack", ["<b>", "<a>", '"">', "&lt;", "</p", "'='"])
@pytest.mark.parametrize("sample", ["board", "run_page", "trace"])
def test_text_never_changes_the_structure(sample: str, attack: str) -> None:
    """A page full of markup has exactly the elements of the same page full of letters."""
    draws: dict[str, Any] = {
        "board": render.render_board,
        "run_page": render.render_run,
        "trace": render.render_trace,
    }
    draw = draws[sample]
    value = getattr(samples, sample)()

    plain, hostile = draw(twisted(value, "abcd"[: len(attack)])), draw(twisted(value, attack))

    assert check(plain).skeleton == check(hostile).skeleton


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a and len(a) < 60])
def test_hostile_text_is_shown_as_it_is(attack: str) -> None:
    """Escaping loses nothing: the reader sees the attack."""
    shown = "".join(check(render.render_error(400, attack, "")).text)

    assert words.visible(attack) in shown
