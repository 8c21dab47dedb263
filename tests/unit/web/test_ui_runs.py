"""The pages of experiments, runs and comparisons, asked of the whole application."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from html import unescape
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from stellwerk.tracking.model import DatasetUse, ModelUse, Point
from stellwerk.tracking.tables import ColumnLine, Row, RunTable
from stellwerk.web.ui import comparing, drawing, lines, listing, words
from stellwerk.web.ui.scales import Scale
from stellwerk.workspace.rooms import Rooms

START = datetime(2020, 1, 1, tzinfo=UTC)
ATTACKS = (
    '"><img src=x onerror=alert(1)>',
    "<script>alert(1)</script>",
    "{{ 7*7 }}",
    "\u202e\u2066gnp.exe",
    "W" * 5000,
)


def log(rooms: Rooms, experiment: str, name: str, points: dict[str, list[float]], **facts: Any) -> str:
    """A run with some points of each metric; facts are its parameters."""
    run = rooms.logbook.create(experiment, name=name).run.id
    rooms.logbook.log(
        run,
        points=[
            Point(key, value, 1000 * step, step)
            for key, values in points.items()
            for step, value in enumerate(values)
        ],
        params=[(key, str(value)) for key, value in facts.items()],
    )
    return run


@pytest.fixture
def churn(rooms: Rooms) -> str:
    """An experiment of twelve runs."""
    made = rooms.experiments.create("churn").id
    for index in range(12):
        run = log(
            rooms, made, f"run {index:02}", {"auc": [0.5, index / 20], "loss": [1.0, 0.5]}, depth=index % 3, lr=0.1
        )
        if index % 2:
            rooms.logbook.update(run, status="finished")
    return made


def text(page: str) -> str:
    """What a page says, as one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def rows(page: str) -> list[str]:
    """Names of the runs in a table, as they stand."""
    return re.findall(r'<th scope="row" class="stem"><a [^>]*><bdi[^>]*>([^<]*)</bdi>', page)


def test_experiments_are_listed_with_their_runs(site: TestClient, churn: str) -> None:
    """By name, with how many there are, and found by a part of their name."""
    page = site.get("/experiments").text

    assert f'href="/experiments/{churn}"' in page
    assert "churn 12" in text(page)
    assert "churn" in text(site.get("/experiments?name=HUR").text)
    assert "No experiment has" in text(site.get("/experiments?name=x").text)


def test_an_empty_workspace_says_how_to_begin(site: TestClient, rooms: Rooms) -> None:
    """Two lines with this server's own address."""
    shown = text(site.get("/experiments").text)
    assert "export MLFLOW_TRACKING_URI=http://127.0.0.1:7700" in shown

    made = rooms.experiments.create('my "own" $(rm -rf) `x`').id
    shown = text(site.get(f"/experiments/{made}").text)
    assert "No run yet" in shown
    assert "export MLFLOW_TRACKING_URI=http://127.0.0.1:7700" in shown
    assert "MLFLOW_EXPERIMENT_NAME='my \"own\" $(rm -rf) `x`'" in shown


def test_runs_are_a_table_with_what_they_logged(site: TestClient, churn: str) -> None:
    """Newest first, with metrics, and those parameters that differ before others."""
    page = site.get(f"/experiments/{churn}").text

    assert [f"run {index:02}" for index in reversed(range(12))] == rows(page)
    assert "1–12 of 12" in text(page)
    assert re.search(r'title="metrics.auc">auc', page)
    assert "0.5500" in page
    assert "live" in page.split("<head>")[0]


def test_a_table_is_ordered_by_a_click(site: TestClient, churn: str) -> None:
    """Numbers begin with the largest, a second click turns it, and the head says so."""
    page = site.get(f"/experiments/{churn}?where=metrics.loss+%3E+0").text
    link = unescape(re.findall(r'<a href="([^"]*)" title="metrics.auc">', page)[0])
    assert "where=metrics.loss" in link

    turned = site.get(link).text
    assert ["run 11", "run 10"] == rows(turned)[:2]
    assert 'aria-sort="descending"' in turned
    again = site.get(unescape(re.findall(r'<a href="([^"]*)" title="metrics.auc">', turned)[0])).text
    assert ["run 00", "run 01"] == rows(again)[:2]
    assert 'aria-sort="ascending"' in again


def test_a_table_is_read_in_pages(site: TestClient, churn: str) -> None:
    """Links lead on and back, and keep everything else."""
    first = site.get(f"/experiments/{churn}?size=5&order=run_name").text
    assert [f"run {index:02}" for index in range(5)] == rows(first)
    assert 'rel="prev"' not in first

    second = site.get(unescape(re.findall(r'rel="next" href="([^"]*)"', first)[0])).text
    assert [f"run {index:02}" for index in range(5, 10)] == rows(second)
    third = site.get(unescape(re.findall(r'rel="next" href="([^"]*)"', second)[0])).text
    assert ["run 10", "run 11"] == rows(third)
    assert 'rel="next"' not in third
    assert rows(second) == rows(site.get(unescape(re.findall(r'rel="prev" href="([^"]*)"', third)[0])).text)


def test_columns_are_chosen_and_stay_in_the_address(site: TestClient, churn: str) -> None:
    """In the order chosen; none is a choice as well."""
    page = site.get(f"/experiments/{churn}?column=params.lr&column=user_id&column=metrics.none").text
    heads = re.findall(r'<a href="[^"]*" title="([^"]*)">', page.split("<tbody>")[0])

    assert ["run_name", "status", "start_time", "params.lr", "user_id", "metrics.none"] == heads
    assert 'name="column" value="params.lr" checked' in page
    none = site.get(f"/experiments/{churn}?column=").text
    assert ["run_name", "status", "start_time"] == re.findall(
        r'<a href="[^"]*" title="([^"]*)">', none.split("<tbody>")[0]
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("where=metrics.auc+%3E+high", "metrics.auc is compared with 'high' (expected a number)"),
        ("where=auc", "got 'auc'|no attribute 'auc'"),
        ("order=nothing", "cannot order by 'nothing'"),
        ("column=nothing", "'nothing' is no column"),
    ],
)
def test_what_cannot_be_read_is_said_at_the_box(site: TestClient, churn: str, asked: str, told: str) -> None:
    """In plain words, with what was typed still there; the page says that it is an error to programs, too."""
    answer = site.get(f"/experiments/{churn}?{asked}&size=100")

    assert 422 == answer.status_code
    assert re.search("|".join(re.escape(part) for part in told.split("|")), text(answer.text))
    assert 'role="alert"' in answer.text
    key, value = asked.split("=")
    assert f'name="{key}" value="{value.replace("+%3E+", " &gt; ")}"' in answer.text
    assert 'name="size" value="100"' in answer.text
    assert [] == rows(answer.text)


def test_unknown_things_are_not_found(site: TestClient) -> None:
    """As pages."""
    for path in ("/experiments/404", "/runs/nobody"):
        answer = site.get(path)
        assert 404 == answer.status_code
        assert "<!DOCTYPE html>" in answer.text


def test_a_run_shows_what_it_logged(site: TestClient, rooms: Rooms, churn: str) -> None:
    """Metrics as they stand with their bounds, curves, what is no number, data, its experiment."""
    run = log(rooms, churn, "last", {"loss": [3.0, 1.0, math.nan, 2.0], "once": [7.0]})
    rooms.logbook.use(run, datasets=[DatasetUse(name="flights", digest="ab12", source_type="local", source="/x.csv")])
    page = site.get(f"/runs/{run}").text

    shown = text(page)
    assert "loss 2 3 1 3" in shown
    assert "flights ab12 /x.csv" in shown
    assert "NaN once" in shown
    assert 1 == page.count('class="line-chart"')
    assert f'href="/experiments/{churn}"' in page
    assert 'data-x="0\t1\t3" data-y="3\t1\t2"' in page
    assert "data-live" in page.split("<head>")[0]


def test_a_run_shows_the_files_that_it_logged(site: TestClient, rooms: Rooms, churn: str) -> None:
    """Folders are opened, and each file can be had; what lies elsewhere is named."""
    run = log(rooms, churn, "last", {"loss": [1.0]})
    digest = "sha256:" + "a" * 64
    tree = {
        f"{churn}/{run}/artifacts": [("model", None), ("a b&.txt", digest)],
        f"{churn}/{run}/artifacts/model": [("MLmodel", digest)],
    }

    def listed(folder: str, limit: int) -> list[Any]:
        return [SimpleNamespace(name=name, digest=known, size=2048) for name, known in tree[folder]][:limit]

    rooms.artifacts = SimpleNamespace(list=listed)  # type: ignore[attr-defined]
    page = site.get(f"/runs/{run}").text

    assert "a b&.txt 2.0 KiB" in text(page)
    assert "model/MLmodel 2.0 KiB" in text(page)
    assert f'href="/get-artifact?run_uuid={run}&amp;path=a%20b%26.txt"' in page
    far = rooms.experiments.create("far", location="s3://there/x").id
    assert "s3://there/x" in text(site.get(f"/runs/{log(rooms, far, 'r', {'m': [1.0]})}").text)


def test_curves_are_drawn_as_asked(site: TestClient, rooms: Rooms, churn: str) -> None:
    """Over time, on a logarithmic axis, smoothed with what was before behind it, only some metrics."""
    run = log(rooms, churn, "last", {"loss": [1.0, 10.0, 100.0, 0.0], "auc": [0.1, 0.2]})
    page = site.get(f"/runs/{run}?by=time&scale=log&smooth=0.5&match=LO").text

    assert 1 == page.count('class="line-chart"')
    assert "1.00 s" in page
    assert "before" in page
    assert "logarithmic axis" in text(page)
    assert "No metric with more than one point" in text(site.get(f"/runs/{run}?match=zzz").text)
    assert 200 == site.get(f"/runs/{run}?smooth=nan&by=x&scale=y").status_code


def test_runs_are_compared(site: TestClient, rooms: Rooms, churn: str) -> None:
    """What differs, with what is the same on demand; unknown runs are told of."""
    runs = rooms.tables.ids(churn, limit=3)
    address = "/compare?" + "&".join(f"run={run}" for run in [*runs, "nobody"])
    page = site.get(address).text

    shown = text(page)
    assert "3 runs compared" in shown
    assert "1 run of the address is not known here" in shown
    assert "depth 2 1 0" in shown
    assert "lr" not in shown[shown.index("What differs") : shown.index("Metrics", shown.index("What differs"))]
    assert "lr 0.1" in text(site.get(address + "&all=1").text)
    assert 3 == len(set(re.findall(r'<polyline class="stroke s\d" points="[^"]*" data-run="([^"]*)"', page)))
    assert "Nothing to compare" in text(site.get("/compare").text)


def test_everything_that_a_filter_finds_is_compared(site: TestClient, churn: str) -> None:
    """Without naming each run; more than stand beside each other are told of by their spread."""
    page = site.get(f"/compare?experiment={churn}&where=metrics.auc+%3E%3D+0.4").text
    assert "4 runs compared" in text(page)

    many = text(site.get(f"/compare?experiment={churn}&order=run_name").text)
    assert "12 runs compared" in many
    assert 422 == site.get(f"/compare?experiment={churn}&where=wrong").status_code


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_names_stay_text_on_every_page(site: TestClient, rooms: Rooms, attack: str) -> None:
    """In names of experiments and runs, parameters, tags and addresses."""
    made = rooms.experiments.create(attack[:400]).id
    run = rooms.logbook.create(made, name=attack, tags=[("note", attack)]).run.id
    rooms.logbook.log(run, params=[("p", attack)], points=[Point("m", 1.0, 1, 0), Point("m", 2.0, 1, 1)])
    typed = quote(attack)

    for path in (
        "/experiments",
        f"/experiments?name={typed}",
        f"/experiments/{made}?column=tags.note&column=params.p",
        f"/experiments/{made}?where={typed}&order={typed}&column={typed}",
        f"/runs/{run}?match={typed}",
        f"/compare?run={run}&all=1&axis={typed}&curve={typed}&x={typed}",
    ):
        page = site.get(path).text
        assert "<img" not in page
        assert 1 == page.count("<script")
        assert [] == re.findall(r"[\u202a-\u202e\u2066-\u2069]", page)
        assert len(page) < 200_000


def test_programs_get_the_same(site: TestClient, rooms: Rooms, churn: str) -> None:
    """Rows, columns, curves and comparisons as JSON, which has no NaN."""

    def ask(operation: str, **arguments: Any) -> Any:
        answer = site.post(f"/api/v1/{operation}", json=arguments)
        assert 200 == answer.status_code, answer.text
        return json.loads(answer.text, parse_constant=pytest.fail)

    run = log(rooms, churn, "odd", {"auc": [0.5, math.inf], "loss": [math.nan]})

    assert "churn" in [one["name"] for one in ask("experiments.list")]
    assert "metrics.auc" in [one["name"] for one in ask("runs.columns", experiment=churn)]
    table = ask(
        "runs.table", experiment=churn, where="run_name = 'odd'", columns=["metrics.auc", "params.x"], limit=5
    )
    assert [["Infinity", None]] == [row["cells"] for row in table["rows"]]
    (curve,) = ask("runs.curves", runs=[run], keys=["auc"])
    assert ([0.5], [[1000, 1, "Infinity"]]) == (curve["value"], curve["odd"])
    assert "NaN" == ask("runs.compare", runs=[run])[0]["metrics"][1]["value"]
    assert "Infinity" == ask("views.run", run=run)["standing"][0]["value"]


# How it is drawn


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.91234, 0.5, None], ["0.9123", "0.5000", ""]),
        ([1000.5, 2.25], ["1,000", "2"]),
        ([3.0, 12.0], ["3", "12"]),
        ([-1.5, "NaN", "Infinity"], ["−1.500", "NaN", "∞"]),
        ([1.0, 1e-9], ["1.000", "1.00e−09"]),
        ([1e-9, 2e-9], ["1.00e−09", "2.00e−09"]),
        ([1e300, 1.0], ["1.00e+300", "1"]),
        ([], []),
    ],
)
def test_numbers_of_a_column_stand_in_line(values: list[float | str | None], shown: list[str]) -> None:
    """Equally many decimals, as many as the largest number needs."""
    assert shown == words.column(values)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3e5, 7.0), (5.0, 5.0), (1e-12, 2e-12), (-1e299, 1e299)])
@pytest.mark.parametrize("tight", [True, False])
def test_scales_have_round_marks_inside(low: float, high: float, tight: bool) -> None:
    """In order, from 0 to 1."""
    scale = Scale(low, high, tight=tight)
    marks = [mark.at for mark in scale.marks()]

    assert sorted(marks) == marks
    assert all(0 <= mark <= 1 for mark in marks)
    assert 0 <= scale(low) <= scale(high) <= 1


@pytest.mark.parametrize(
    ("low", "high"),
    [(1e-6, 1.0), (2.0, 3.0), (0.9, 1.1), (5.0, 5.0), (1e-300, 1e299), (5e-324, 1.0), (5e-324, 1e299)],
)
@pytest.mark.parametrize("pad", [0, 0.04])
def test_logarithmic_scales_have_marks(low: float, high: float, pad: float) -> None:
    """At least two, also within a decade."""
    marks = [mark.at for mark in Scale(low, high, log=True, tight=True, pad=pad).marks()]

    assert 2 <= len(marks) <= 12
    assert sorted(marks) == marks


def test_addresses_are_read_whatever_they_say() -> None:
    """What makes no sense is left out."""
    asked = listing.read([("page", "0"), ("size", "99999"), ("column", "a"), ("column", "a"), ("order", " ")])

    assert (1, 400, ("a",), ()) == (asked.page, asked.size, asked.columns, asked.order)
    assert "/x" == listing.Asked(path="/x").query()
    assert drawing.Look() == drawing.read([("smooth", "nan"), ("by", "?"), ("scale", "?"), ("other", "x")])


def test_parameters_that_are_numbers_are_axes_of_numbers() -> None:
    """Texts have places, too, where they are few."""
    runs = [
        comparing.Compared(
            id=str(index), name="", status="", experiment="", started_at=START,
            seconds=None, params={"n": str(index), "kind": "ab"[index % 2]}, tags={}, metrics=(), code={},
            environment={}, data={},
        )
        for index in range(4)
    ]  # fmt: skip
    found = comparing.quantities(runs)

    assert [0.0, 1.0, 2.0, 3.0] == list(found["params.n"].values())
    drawn = comparing.parallel(runs, found, ["params.n", "params.kind"], {str(i): i for i in range(4)})
    assert drawn is not None
    assert [["a", "b"]] == [[tick.text for tick in axis.ticks] for axis in drawn.axes[1:]]
    assert 4 == len(drawn.paths)


def test_a_listing_tells_numbers_from_texts() -> None:
    """Numbers end in line, texts begin in line."""
    row = Row(
        id="r", name="r", status="running", kind="", user="", started_at=START, ended_at=None, parent=None,
        cells=(0.5, "7", "adam"),
    )  # fmt: skip
    table = RunTable(
        experiment="1",
        name="x",
        columns=("metrics.auc", "params.depth", "params.by"),
        rows=(row,),
        more=False,
        total=1,
    )

    shown = listing.listing(table, listing.Asked(), [ColumnLine(name="tags.t", runs=1, chosen=False)], START)

    assert [True, True, False] == [head.numeric for head in shown.heads]
    assert (("Metrics", 1), ("Parameters", 2)) == shown.groups
    assert ["Metrics", "Parameters", "Tags", "Run"] == [title for title, _ in shown.choices]


def test_a_chart_of_nothing_is_none() -> None:
    """No points, no chart."""
    assert lines.chart("loss", [], names={}, tones={}) is None


def test_a_comparison_shows_code_packages_and_data(site: TestClient, rooms: Rooms) -> None:
    """Only what differs at first; what is the same on demand."""
    home = rooms.experiments.create("surroundings").id
    made = []
    for index in range(2):
        run = rooms.logbook.create(home, name=f"fit {index}", tags=[("mlflow.source.git.commit", f"c{index}")]).run.id
        use = DatasetUse(
            name="people", digest=f"d{index}", source_type="code", source="{}", profile='{"num_rows": 9}'
        )
        rooms.logbook.use(run, datasets=[use])
        lines = f"numpy==2.{index}.0\npolars==1.9\n".encode()
        rooms.artifacts.log(f"{home}/{run}/artifacts/requirements.txt", rooms.blobs.put(lines))
        made.append(run)
    address = f"/compare?run={made[0]}&run={made[1]}"

    shown = text(site.get(address).text)
    assert "commit c0 c1" in shown
    assert "numpy 2.0.0 2.1.0" in shown
    assert "people d0 d1" in shown
    assert "polars" not in shown
    whole = text(site.get(f"{address}&all=1").text)
    assert "polars 1.9 1.9" in whole
    assert "people: rows 9 9" in whole


def test_a_run_shows_its_note_origin_and_logs(site: TestClient, rooms: Rooms) -> None:
    """What people wrote, which code ran, and the end of each log; tags that clients keep are folded away."""
    kept = [("mlflow.note.content", "A <b>note</b>\nof two lines"), ("mlflow.source.git.commit", "c0ffee")]
    tags = [*kept, ("team", "risk")]
    run = rooms.logbook.create("0", name="fit", tags=tags).run.id
    log_text = "".join(f"line {number}\n" for number in range(9000)).encode()
    rooms.artifacts.log(f"0/{run}/artifacts/logs/output.log", rooms.blobs.put(log_text))
    page = site.get(f"/runs/{run}").text

    assert "Notes A <b>note</b> of two lines" in text(page)
    assert "<b>note" not in page
    assert "Commit c0ffee" in text(page)
    assert "line 8999" in page
    assert "line 100\n" not in page
    assert f'href="/runs/{run}/files/logs/output.log"' in page
    assert "Tags Tags team risk Tags that clients keep 3" in text(page)


def test_a_log_that_is_gone_takes_no_page_with_it(site: TestClient, rooms: Rooms) -> None:
    """Everything else of the run is shown; the file itself is not found."""
    run = rooms.logbook.create("0", name="fit").run.id
    digest = rooms.blobs.put(b"one\n")
    rooms.artifacts.log(f"0/{run}/artifacts/output.log", digest)
    rooms.blobs.remove([digest])

    page = site.get(f"/runs/{run}")
    assert 200 == page.status_code
    assert "output.log" in page.text
    assert 404 == site.get(f"/runs/{run}/files/output.log").status_code


def test_a_run_shows_what_it_read_and_made(site: TestClient, rooms: Rooms) -> None:
    """Data and its parent before it; logged models, versions and its own parts behind it."""
    parent = rooms.logbook.create("0", name="search").run.id
    run = rooms.logbook.create("0", name="fit", tags=[("mlflow.parentRunId", parent)]).run.id
    model = rooms.logged_models.create(experiment="0", name="tree", source_run=run)
    rooms.logbook.use(
        run,
        datasets=[DatasetUse(name="people", digest="d1", source_type="code", source="{}")],
        models=[ModelUse(model=model.id, role="made")],
    )
    page = site.get(f"/runs/{run}").text
    drawn = re.findall(r'data-node="(\d+)" aria-label="([^"]*)"', page)
    wires = re.findall(r'data-from="(\d+)" data-to="(\d+)"', page)
    names = dict(drawn)

    assert {("run search", "run fit"), ("dataset people", "run fit"), ("run fit", "model tree")} == {
        (names[source], names[target]) for source, target in wires
    }
    assert f'href="/logged-models/{model.id}/files"' in page
    assert "Lineage" in text(page)
    assert "Lineage" in text(site.get(f"/runs/{parent}").text)
    alone = rooms.logbook.create("0", name="alone").run.id
    assert "Lineage" not in text(site.get(f"/runs/{alone}").text)


def test_what_the_machine_did_is_a_group_of_its_own(site: TestClient, rooms: Rooms) -> None:
    """Curves and numbers of it come after those of what ran on it."""
    run = log(rooms, "0", "fit", {"zoom": [1.0, 2.0], "system/cpu": [50.0, 60.0]})
    shown = text(site.get(f"/runs/{run}").text)

    assert shown.index("zoom") < shown.index("The machine 1 curve") < shown.index("system/cpu")
    assert re.search("Metrics .* zoom .* The machine 1 ", shown)


def test_what_is_not_known_differs_in_nothing(site: TestClient, rooms: Rooms) -> None:
    """A run without packages and data beside two that have the same; a package that one of two lacks is a difference."""
    home = rooms.experiments.create("unknown").id
    made = []
    for index in range(3):
        run = rooms.logbook.create(home, name=f"fit {index}").run.id
        made.append(run)
        if index == 2:
            continue
        schema = '{"mlflow_colspec": [{"name": "age", "type": "long"}]}'
        use = DatasetUse(name="people", digest="d", source_type="code", source="{}", schema=schema)
        rooms.logbook.use(run, datasets=[use])
        lines = b"numpy==2.1.0\n" + (b"polars==1.9\n" if index else b"")
        rooms.artifacts.log(f"{home}/{run}/artifacts/requirements.txt", rooms.blobs.put(lines))
    shown = text(site.get("/compare?" + "&".join(f"run={run}" for run in made)).text)

    assert "Environment 1 the same" in shown
    assert "polars · 1.9 ·" in shown
    assert "Data 3 the same" in shown
    assert "column age" not in shown
