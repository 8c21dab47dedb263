"""The table of runs and the charts in a real browser: keys, selection, live rows, the box, the slider."""

from __future__ import annotations

from collections.abc import Callable
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
    page.wait_for_selector(".stroke.before")

    assert "smooth=0.3" in page.url
    assert "smooth" == page.evaluate("document.activeElement.name")
    page.locator(".line-chart .plot").hover()
    assert "run 4" in page.locator(".readout").inner_text()


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
