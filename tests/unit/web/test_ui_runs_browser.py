"""The table of runs and the charts in a real browser: keys, selection, live rows, the box, the slider."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from stellwerk.tracking.model import Point
from stellwerk.workspace.rooms import Rooms

pytestmark = pytest.mark.browser
ROW = "document.activeElement.querySelector('[name=run]')"


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Any:
    return open_page(quiet="422")


@pytest.fixture
def experiment(shared_rooms: Rooms, request: pytest.FixtureRequest) -> str:
    """Five runs, the last of which goes on."""
    made = shared_rooms.experiments.create(request.node.name).id
    for index in range(5):
        run = shared_rooms.logbook.create(made, name=f"run {index}").run.id
        points = [Point("loss", 1 / (step + index + 1), 1000 * step, step) for step in range(20)]
        shared_rooms.logbook.log(run, points=points, params=[("depth", str(index))])
        if index < 4:
            shared_rooms.logbook.update(run, status="finished")
    return f"/experiments/{made}"


def test_runs_are_walked_selected_and_compared_by_keys(page: Any, address: str, experiment: str) -> None:
    """j and k move, x selects, c compares; Enter opens."""
    page.goto(address + experiment)
    assert page.locator("[data-compare-button]").is_disabled()
    for key in "jxjjkx":
        page.keyboard.press(key)

    assert "Compare 2 selected" in page.locator("[data-compare-button]").inner_text()
    page.keyboard.press("c")
    page.wait_for_url("**/compare?*")
    assert "2 runs compared" == page.locator("h1").inner_text()
    page.go_back()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*")


def test_all_of_a_page_are_selected_at_once(page: Any, address: str, experiment: str) -> None:
    """And not, with a second click."""
    page.goto(address + experiment)
    page.locator("[data-pick-all]").click()
    assert "Compare 5 selected" in page.locator("[data-compare-button]").inner_text()
    page.locator("[data-pick-all]").click()
    assert page.locator("[data-compare-button]").is_disabled()


def test_a_wrong_filter_loses_nothing(page: Any, address: str, experiment: str) -> None:
    """The rows stay while what is wrong is said; a right one is then in the address."""
    page.goto(address + experiment)
    page.keyboard.press("/")
    page.keyboard.type("metrics.loss > ")
    page.keyboard.press("Enter")
    page.wait_for_selector("#box-help [role=alert]")

    assert 5 == page.locator("[data-steady] tbody tr").count()
    assert "metrics.loss > " == page.locator("[data-box]").input_value()
    page.keyboard.type("0.045")
    page.keyboard.press("Enter")
    page.wait_for_url("**where=*")
    assert 3 == page.locator("[data-steady] tbody tr").count()


def test_rows_are_renewed_where_they_stand(page: Any, address: str, experiment: str, shared_rooms: Rooms) -> None:
    """What changed is shown in place, selected and focused rows stay so, and that others came is only said."""
    page.clock.install()
    page.goto(address + experiment)
    page.keyboard.press("j")
    page.keyboard.press("x")
    run = page.evaluate(f"{ROW}.value")
    shared_rooms.logbook.log(run, points=[Point("loss", 777.0, 99_000, 99)])
    shared_rooms.logbook.create(experiment.rpartition("/")[2], name="newcomer")

    page.clock.fast_forward(5100)
    page.wait_for_selector("text=777")

    assert run == page.evaluate(f"{ROW}.value")
    assert page.evaluate(f"{ROW}.checked")
    assert 5 == page.locator("[data-steady] tbody tr").count()
    assert "1 run came in" in page.locator("[data-changed]").inner_text()
    page.locator("[data-changed] button").click()
    page.wait_for_selector("text=newcomer")


def test_a_slider_draws_in_place(page: Any, address: str, experiment: str) -> None:
    """The chart follows, the address says it, and the slider stays in the hand."""
    page.goto(address + experiment)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*")
    page.locator("[name=smooth]").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    page.wait_for_url("**smooth=0.3*")  # while keys are pressed slowly, values on the way are drawn too
    page.wait_for_selector(".stroke.before")

    assert "smooth" == page.evaluate("document.activeElement.name")
    page.locator(".line-chart .plot").hover()
    assert "run 4" in page.locator(".readout").inner_text()


def test_an_answer_that_was_overtaken_changes_nothing(page: Any, address: str, experiment: str) -> None:
    """What was asked for last is shown and said, in whichever order answers come."""
    held: list[Any] = []
    page.goto(address + experiment)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*")
    page.route("**smooth=0.01*", lambda route: held.append(route))
    page.locator("[name=smooth]").focus()
    with page.expect_request("**smooth=0.01*"):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**smooth=0.02*")

    with page.expect_response("**smooth=0.01*") as late:
        held[0].continue_()
    late.value.finished()
    page.evaluate("() => new Promise((done) => setTimeout(done))")

    assert "smooth=0.02" in page.url


def test_forms_of_a_comparison_keep_each_other(page: Any, address: str, experiment: str) -> None:
    """What one form has chosen stays when another is used."""
    page.goto(f"{address}/compare?experiment={experiment.rpartition('/')[2]}")
    page.locator("[name=scale]").select_option("log")
    page.wait_for_url("**scale=log*")
    page.locator("[name=all]").check()
    page.wait_for_url("**all=1*")

    assert "scale=log" in page.url
    assert "experiment=" in page.url
    assert page.locator("h2", has_text="Everything").count()


@pytest.mark.parametrize("width", [320, 420, 1400])
def test_no_width_scrolls_sideways(page: Any, address: str, experiment: str, width: int) -> None:
    """Wide things scroll inside their frames; the page itself never does."""
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/experiments", experiment, f"/compare?experiment={experiment.rpartition('/')[2]}"):
        page.goto(address + path)
        assert width == page.evaluate("document.documentElement.scrollWidth"), path


@pytest.mark.parametrize("width", [400, 1300])
def test_a_page_ends_where_its_content_ends(page: Any, address: str, experiment: str, width: int) -> None:
    """Words for screen readers, which nobody sees, make no page longer."""
    page.set_viewport_size({"width": width, "height": 300})
    for path in ("/", experiment, f"/compare?experiment={experiment.rpartition('/')[2]}"):
        page.goto(address + path)
        end, height = page.evaluate(
            "[document.querySelector('footer').getBoundingClientRect().bottom + scrollY,"
            " document.documentElement.scrollHeight]"
        )
        assert height - end < 40, path


def test_tables_work_without_scripts(browser: Any, address: str, experiment: str) -> None:
    """Filtering, ordering, choosing columns and comparing are links and forms."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + experiment)
    page.locator("[name=where]").fill("metrics.loss < 0.045")
    page.locator("form.search button").click()
    assert 2 == page.locator("tbody tr").count()
    page.locator("thead a", has_text="loss").click()
    assert "order=metrics.loss" in page.url
    for box in page.locator("[name=run]").all():
        box.check()
    page.locator("[data-compare-button]").click()
    assert "2 runs compared" == page.locator("h1").inner_text()
    page.locator("form[data-auto=curves] [name=by]").select_option("time")
    page.locator("form[data-auto=curves] button").click()
    assert "by=time" in page.url
    assert 2 == page.url.count("run=")
    context.close()


def test_a_run_that_goes_on_is_renewed_while_its_form_is_in_use(
    page: Any, address: str, experiment: str, shared_rooms: Rooms
) -> None:
    """New points come in, the slider keeps the focus, and what was folded stays folded."""
    run = shared_rooms.logbook.create(experiment.rpartition("/")[2], name="long").run.id
    points = [Point(key, 1 / (step + 1), 1000 * step, step) for step in range(9) for key in ("loss", "system/cpu")]
    shared_rooms.logbook.log(run, points=points)
    page.clock.install()
    page.goto(f"{address}/runs/{run}")
    page.locator("details[data-keep=machine] summary").click()
    page.locator("[name=smooth]").focus()
    page.keyboard.press("ArrowRight")
    page.clock.fast_forward(200)
    page.wait_for_url("**smooth=0.01*")
    shared_rooms.logbook.log(run, points=[Point("loss", 321.0, 99_000, 99)])

    page.clock.fast_forward(15_100)
    page.wait_for_selector(".standing >> text=321")

    assert "smooth" == page.evaluate("document.activeElement.name")
    assert not page.locator("details[data-keep=machine]").evaluate("one => one.open")
    assert "smooth=0.01" in page.url


def test_a_curve_is_read_by_keys(page: Any, address: str, experiment: str) -> None:
    """From point to point, to both ends, and quiet again when it is left."""
    page.goto(address + experiment)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/*")
    page.locator("[data-chart]").first.focus()
    told = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "Home"):
        page.keyboard.press(key)
        told.append(page.locator(".readout p").first.inner_text())

    assert ["0", "1", "19", "19", "0"] == told
    page.keyboard.press("Tab")
    assert 0 == page.locator(".readout").count()


def test_rows_are_walked_by_arrows_and_the_help_says_so(page: Any, address: str, experiment: str) -> None:
    """Down and up work as j and k do once a row has the focus; the page is scrolled by them otherwise."""
    page.goto(address + experiment)
    page.keyboard.press("ArrowDown")
    assert "BODY" == page.evaluate("document.activeElement.tagName")
    page.keyboard.press("j")
    first = page.evaluate(f"{ROW}.value")
    page.keyboard.press("ArrowDown")
    assert first != page.evaluate(f"{ROW}.value")
    page.keyboard.press("ArrowUp")
    assert first == page.evaluate(f"{ROW}.value")

    page.keyboard.press("?")
    assert "read its points" in page.locator("#keys").inner_text()


SEEN = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgba(getComputedStyle(document.documentElement).backgroundColor);
  };
  const poor = [];
  let count = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const said = walker.currentNode.data.trim();
    if (!said || !element.checkVisibility({ opacityProperty: true })) continue;
    if (element.closest(".sr, .skip, dialog, option")) continue;
    const style = getComputedStyle(element);
    const text = rgba(element.closest("svg text") ? style.fill : style.color);
    const [one, other] = [light(text), light(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    count += 1;
    if (contrast < 4.5) poor.push(`${contrast.toFixed(2)} ${element.tagName} ${said.slice(0, 30)}`);
  }
  return [count, [...new Set(poor)]];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_themes(
    page: Any, address: str, experiment: str, shared_rooms: Rooms, scheme: str
) -> None:
    """Every text that is seen has a contrast of at least 4.5 against what it stands on."""
    rooms, home = shared_rooms, experiment.rpartition("/")[2]
    run = rooms.logbook.create(home, name="fit", tags=[("mlflow.note.content", "a note"), ("team", "risk")]).run.id
    points = [Point(key, float(step), 1000 * step, step) for step in range(9) for key in ("loss", "system/cpu")]
    rooms.logbook.log(run, points=points, params=[("depth", "3")])
    for path, data in (("output.log", b"one\ntwo\n"), ("rows.csv", b"a,b\n1,2\n"), ("x.bin", b"\x00")):
        rooms.artifacts.log(f"{home}/{run}/artifacts/{path}", rooms.blobs.put(data))
    page.emulate_media(color_scheme=scheme)
    files = f"/runs/{run}/files"
    paths = ["/", "/experiments", experiment, f"/runs/{run}", files, f"{files}/output.log", f"{files}/rows.csv"]
    for path in [*paths, f"/compare?experiment={home}", "/models"]:
        page.goto(address + path)
        count, poor = page.evaluate(SEEN)
        assert count > 5, path
        assert [] == poor, path


def test_headings_and_labels_are_in_order(page: Any, address: str, experiment: str, shared_rooms: Rooms) -> None:
    """One first heading, no level left out, a label for every control, and every part to scroll can be reached."""
    run = shared_rooms.logbook.create(experiment.rpartition("/")[2], name="fit").run.id
    shared_rooms.logbook.log(run, points=[Point("loss", float(step), 1000 * step, step) for step in range(9)])
    for path in (
        "/experiments",
        experiment,
        f"/runs/{run}",
        f"/compare{experiment.replace('/experiments/', '?experiment=')}",
    ):
        page.goto(address + path)
        levels = page.evaluate(
            "[...document.querySelectorAll('main h1, main h2, main h3')].map((one) => +one.tagName[1])"
        )
        assert 1 == levels[0]
        assert 1 == levels.count(1)
        assert all(after - before <= 1 for before, after in pairwise(levels)), path
        assert [] == page.evaluate(
            "[...document.querySelectorAll('main :is(input, select):not([type=hidden])')]"
            ".filter((one) => !one.labels.length && !one.ariaLabel).map((one) => one.name)"
        )
        assert [] == page.evaluate(
            "[...document.querySelectorAll('main .scroll, main pre')]"
            ".filter((one) => one.tabIndex < 0).map((one) => one.className)"
        )
