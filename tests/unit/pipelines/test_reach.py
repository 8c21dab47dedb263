"""Which steps an edit reaches: exactly those that can call what was edited, however deep, and none for a comment."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

STEPS, HELPERS = 4, 6


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[set[int]], list[set[int]]]:
    """Which helpers each step calls, and which later helpers each helper calls."""
    of_steps = [draw(st.sets(st.integers(0, HELPERS - 1), max_size=2)) for _ in range(STEPS)]
    of_helpers = [
        draw(st.sets(st.integers(number + 1, HELPERS - 1), max_size=2)) if number < HELPERS - 1 else set()
        for number in range(HELPERS)
    ]
    return of_steps, of_helpers


def written(graph: tuple[list[set[int]], list[set[int]]], edited: int, edit: str) -> str:
    """A pipeline file with these calls, one helper of which is edited."""
    of_steps, of_helpers = graph
    lines = ["from stellwerk.pipelines.authoring import pipeline, step", ""]
    for number, others in enumerate(of_helpers):
        body = " + ".join([str(number), *(f"helper_{other}()" for other in sorted(others))])
        comment, change = ("  # a comment", "") if edit == "comment" else ("", " + 1")
        mine = number == edited
        lines += [
            f"def helper_{number}():",
            f"    return {body}{change if mine else ''}{comment if mine else ''}",
            "",
        ]
    for number, others in enumerate(of_steps):
        body = " + ".join([str(number), *(f"helper_{other}()" for other in sorted(others))])
        lines += ["@step", f"def step_{number}():", f"    return {body}", ""]
    lines += ["@pipeline", "def flow():", f"    return [{', '.join(f'step_{n}()' for n in range(STEPS))}]"]
    return "\n".join(lines)


def reached(graph: tuple[list[set[int]], list[set[int]]], helper: int) -> set[str]:
    """The steps that can call a helper, by the graph alone."""
    of_steps, of_helpers = graph
    callers = {helper}
    for number in reversed(range(HELPERS)):
        if of_helpers[number] & callers:
            callers.add(number)
    return {f"step_{number}" for number, others in enumerate(of_steps) if others & callers}


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=calls(), edited=st.integers(0, HELPERS - 1))
def test_an_edit_misses_exactly_the_steps_that_reach_it(
    write: Callable[..., ModuleType], desk: Any, graph: tuple[list[set[int]], list[set[int]]], edited: int
) -> None:
    """A comment keeps every hit; a changed helper executes what reaches it, through any number of calls."""
    fresh = type(desk)()
    fresh.execute(write(written(graph, -1, ""), name="reach").flow())

    commented = fresh.execute(write(written(graph, edited, "comment"), name="reach").flow())
    changed = fresh.execute(write(written(graph, edited, "change"), name="reach").flow())

    assert {"cached"} == {task.status for task in commented.tasks}
    assert reached(graph, edited) == {task.task for task in changed.tasks if task.status == "done"}
