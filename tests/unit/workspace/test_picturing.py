"""The graph of an execution: its loops and branches around their steps, and how far each has come."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import stellwerk as sw
from stellwerk.core.errors import NotFound
from stellwerk.governance.model import Frame, Graph, Node
from stellwerk.pipelines.loading import find_pipelines, load
from stellwerk.pipelines.replaying import Past, replay
from stellwerk.web.app import application
from stellwerk.workspace.facade import Workspace
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

FLOW = """
import stellwerk as sw


@sw.step(kind="data")
def months(count: int) -> list[int]:
    return list(range(count))


@sw.step(kind="clean")
def flights(month: int) -> int:
    if month == 3:
        raise ValueError("no such month")
    return 100 * month


@sw.step
def late(month: int) -> bool:
    return month > 0


@sw.step
def note(number: int) -> int:
    return number


@sw.step
def total(counts: list[int]) -> int:
    return sum(counts)


@sw.pipeline
def year(count: int = 3, enough: int = 0):
    listed = months(count)
    with sw.when(total(listed), above=enough) as many:
        with sw.each(listed) as month:
            found = flights(month)
            with sw.when(late(month)):
                kept = note(found)
        best = total(kept)
    with sw.otherwise(many):
        other = total(listed)
    return sw.either(best, other)


@sw.pipeline
def asked():
    return note(sw.wait_for_person("May it go?"))


@sw.pipeline
def wide(count: int = 200):
    with sw.each(months(1)) as month:
        inner = note(month)
    with sw.each(list(range(count))) as number:
        found = note(number)
    return total(found)
"""


PARTS = """


@sw.pipeline
def tidy(month: int):
    return note(flights(month))


@sw.pipeline
def checked(value: int):
    kept = tidy(value)
    with sw.when(late(kept)):
        kept = note(kept)
    return kept


@sw.pipeline
def parts(count: int = 3, one: int = 1):
    with sw.each(months(count)) as month:
        kept = tidy(month)
    return total(kept), checked(one)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Any:
    create(tmp_path, Settings(actor="anna"))
    (tmp_path / "pipeline.py").write_text(FLOW + PARTS)
    with sw.connect(tmp_path, actor="anna") as made:
        yield made


def plan(workspace: Workspace, name: str, **params: Any) -> Any:
    return find_pipelines(load(workspace._caller.home / "pipeline.py"))[name].plan(**params)


def drawn(workspace: Workspace, name: str, **params: Any) -> Graph:
    with suppress(sw.StellwerkError):  # what failed is drawn as well
        workspace.run(plan(workspace, name, **params))
    return workspace.run_page(workspace.runs("kind = 'pipeline'", limit=1)[0].id).graph


def nodes(graph: Graph) -> dict[str, Node]:
    return {node.id: node for node in graph.nodes}


def frames(graph: Graph) -> dict[str, Frame]:
    return {frame.title: frame for frame in graph.frames}


def test_loops_and_branches_stand_around_their_steps(workspace: Workspace) -> None:
    """A loop says how many items it came to, a branch whether it was taken, and how often inside a loop."""
    graph = drawn(workspace, "year")
    found, steps = frames(graph), nodes(graph)

    assert ("taken", "plain") == (found["when total > 0"].detail, found["when total > 0"].state)
    assert ("not taken", "omitted") == (found["unless total > 0"].detail, found["unless total > 0"].state)
    assert "3 items" == found["each of months"].detail
    assert "taken 2 of 3" == found["when late"].detail
    assert found["when total > 0"].id == found["each of months"].within
    assert found["when late"].id == steps["note"].within
    assert ("2 finished, 1 not taken", "plain") == (steps["note"].detail, steps["note"].state)
    assert "omitted" == steps["total-3"].state
    assert "finished" == steps["either"].detail
    assert {("months", found["each of months"].id), ("late", found["when late"].id), ("flights", "note")} <= {
        (edge.source, edge.target) for edge in graph.edges
    }


def test_a_loop_of_many_items_is_one_box_for_each_step(workspace: Workspace) -> None:
    """Two hundred items are a number, not two hundred boxes."""
    graph = drawn(workspace, "wide")
    client = TestClient(application(workspace._caller.rooms, {}), base_url="http://localhost")  # type: ignore[attr-defined]
    page = client.get(f"/runs/{workspace.runs('parent IS NULL')[0].id}").text

    assert {"1 item", "200 items"} == {frame.detail for frame in graph.frames}
    assert "200 finished" == nodes(graph)["note-2"].note
    assert 4 == len(graph.nodes)
    assert 4 == page.count('class="node ')
    assert 2 == page.count('class="frame each')


def test_pipelines_inside_the_pipeline_stand_around_their_steps(workspace: Workspace) -> None:
    """In the loop that calls them, around their own branches; each call is a frame with the number of its steps."""
    graph = drawn(workspace, "parts")
    found, steps = frames(graph), nodes(graph)
    client = TestClient(application(workspace._caller.rooms, {}), base_url="http://localhost")  # type: ignore[attr-defined]
    page = client.get(f"/runs/{workspace.runs('parent IS NULL')[0].id}").text

    assert {"each of months", "when late", "pipeline tidy", "pipeline checked", "pipeline tidy-2"} == set(found)
    assert found["each of months"].id == found["pipeline tidy"].within
    assert found["pipeline checked"].id == found["when late"].within == found["pipeline tidy-2"].within
    assert ("2 steps", "2 steps") == (found["pipeline tidy"].detail, found["pipeline tidy-2"].detail)
    assert "4 steps" == found["pipeline checked"].detail
    assert found["pipeline tidy"].id == steps["flights"].within
    assert found["when late"].id == steps["note-3"].within
    assert 3 == page.count('class="frame call plain')
    assert 'aria-label="pipeline checked, 4 steps"' in page
    assert 'aria-label="step note-3, in when late, in pipeline checked"' in page
    assert ", in pipeline tidy-2, in pipeline checked</div>" in page
    assert "A shaded frame is a pipeline that is called inside this one." in page


def test_a_pipeline_inside_the_pipeline_says_what_is_wrong_in_it(workspace: Workspace) -> None:
    """How many of its steps failed; it is grey where none of them was reached."""
    found = frames(drawn(workspace, "parts", one=3, count=1))

    assert ("2 steps, 1 failed", "failed") == (found["pipeline tidy-2"].detail, found["pipeline tidy-2"].state)
    assert ("4 steps, 1 failed", "failed") == (found["pipeline checked"].detail, found["pipeline checked"].state)
    assert "plain" == found["pipeline tidy"].state


def test_what_failed_waits_or_was_never_reached_says_so(workspace: Workspace) -> None:
    """A step in a loop fails as a whole, with how many; what needs it is skipped."""
    failed = nodes(drawn(workspace, "year", count=5))
    waiting = nodes(drawn(workspace, "asked"))

    assert ("failed", "1 failed of 5") == (failed["flights"].state, failed["flights"].note)
    assert "skipped" == failed["total-2"].detail
    assert ("waiting", "waiting") == (waiting["wait-for-person"].state, waiting["wait-for-person"].detail)
    assert "not yet" == waiting["note"].detail


def test_a_plan_that_never_ran_has_come_nowhere(workspace: Workspace) -> None:
    """What can be told from nothing is told: loops over lists that are written in the plan have their items."""
    state = replay(plan(workspace, "wide"), {}, _gone)

    assert {"each-2": 200} == state.counts
    assert {"ready"} == {task.status for task in state.tasks.values() if task.of == "note-2"}


def test_values_that_are_gone_are_told_from_what_ran(workspace: Workspace) -> None:
    """An erased list had at least the items that were worked on, and a branch in which something ran was taken."""
    past = {
        name: Past(status="done") for name in ("months", "total", "flights[0]", "flights[1]", "late[1]", "note[1]")
    }

    state = replay(plan(workspace, "year"), past, _gone)

    assert {"each": 2} == state.counts
    assert "done" == state.tasks["when"].status
    assert "done" == state.tasks["when-2[1]"].status
    assert "ready" == state.tasks["late[0]"].status


def _gone(digest: str) -> bytes:
    raise NotFound(f"{digest} is gone")
