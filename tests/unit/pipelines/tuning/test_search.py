"""The loop of tuning: known answers, resuming, losing and taking over, pruning, budgets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.pipelines.tuning import rules
from stellwerk.pipelines.tuning.model import Budget, Ending, Objective, Pruning, Setup, Trial
from stellwerk.pipelines.tuning.ports import Advisor, Report
from stellwerk.pipelines.tuning.service import search
from stellwerk.pipelines.tuning.space import choice, real, size, whole
from stellwerk.testing.tuning import MemoryTrials
from stellwerk.workspace.tuning import advisor

optuna = pytest.importorskip("optuna", reason="needs the extra hpo")

SPACE = {
    "x": real(-10, 10),
    "n": whole(1, 64, log=True),
    "kind": choice({"a": {"k": real(0.1, 1, step=0.1)}, "b": {}}),
}


def value(params: dict[str, Any]) -> float:
    """The least is at x = 2 with kind b."""
    return float((params["x"] - 2) ** 2 + (params["kind"] == "a") + params.get("k", 0.0))


def run(trial: Trial, report: Report) -> Ending:
    """A trial that reports three times."""
    for step in (1, 2, 3):
        if report(step, value(trial.params) + 3 - step):
            return Ending(state="pruned")
    return Ending(state="done", values=(value(trial.params),), seconds=1.0)


def advise(setup: Setup) -> Callable[[Sequence[Trial]], Advisor]:
    return lambda known: advisor(setup, known)


def searched(setup: Setup, trials: int, kept: MemoryTrials | None = None, **options: Any) -> list[Trial]:
    return search(
        setup, Budget(trials=trials), trials=kept or MemoryTrials(), advise=advise(setup), run=run, **options
    )


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_the_least_of_a_parabola_is_found(kind: Any) -> None:
    """In eighty trials to two decimals of its value, which random points do not reach."""
    space = {"x": real(-10, 10), "y": real(-10, 10)}

    def parabola(trial: Trial, report: Report) -> Ending:
        params = trial.params
        return Ending(state="done", values=((params["x"] - 2) ** 2 + (params["y"] + 1) ** 2,))

    def best(search_by: Any) -> float:
        setup = Setup(space=space, search=search_by, seed=1)
        made = advise(setup)
        found = search(setup, Budget(trials=80), trials=MemoryTrials(), advise=made, run=parabola)
        first = rules.best(found, setup.objectives[0])
        assert first is not None
        return first.values[0]

    assert 0.3 > best(kind)
    assert best(kind) < best("random")


def test_a_grid_is_covered_and_then_over() -> None:
    """Every point once, and no more trials than points."""
    space = {"x": whole(1, 4), "n": whole(1, 3), "kind": choice(["a", "b"])}
    setup = Setup(space=space, search="grid")

    def grid(trial: Trial, report: Report) -> Ending:
        return Ending(state="done", values=(0.0,))

    found = search(setup, Budget(trials=99), trials=MemoryTrials(), advise=advise(setup), run=grid)

    assert 24 == len(found) == size(space)
    assert 24 == len({tuple(trial.params.values()) for trial in found})


@pytest.mark.parametrize(
    "setup",
    [
        Setup(space=SPACE, seed=3, pruning=Pruning(kind="median")),
        Setup(space=SPACE, seed=3, pruning=Pruning(kind="asha")),
        Setup(space=SPACE, seed=3, pruning=Pruning(kind="hyperband", most=3)),
        Setup(space=SPACE, seed=3, search="random", pruning=Pruning(kind="median")),
        Setup(space=SPACE, seed=3, search="random"),
        Setup(space=SPACE, seed=3, search="cmaes"),
        Setup(space=SPACE, seed=3, search="nsga2"),
    ],
    ids=lambda setup: f"{setup.search}-{setup.pruning.kind if setup.pruning else 'whole'}",
)
def test_a_resumed_search_goes_on_as_if_nothing_had_happened(setup: Setup) -> None:
    """However often it is interrupted: same seed and order, same trials."""
    whole_search = searched(setup, 40)
    kept = MemoryTrials()
    for trials in (1, 7, 8, 23, 40):
        searched(setup, trials, kept)

    assert [(one.params, one.state, one.values) for one in whole_search] == [
        (one.params, one.state, one.values) for one in kept.known()
    ]


def test_a_lost_trial_is_begun_again_with_its_number_and_parameters() -> None:
    """Whoever held it is gone in the middle; the next holder takes it first, and none is lost or repeated."""
    setup, kept = Setup(space=SPACE, seed=5), MemoryTrials()

    class Killed(BaseException):
        pass

    def dies(trial: Trial, report: Report) -> Ending:
        if trial.number == 4:
            raise Killed
        return run(trial, report)

    with pytest.raises(Killed):
        search(setup, Budget(trials=9), trials=kept, advise=advise(setup), run=dies)
    lost = kept.known()[4]
    after = searched(setup, 9, kept)

    assert ("running", 1, False) == (lost.state, lost.epoch, lost.held)
    assert ("done", 2, lost.params) == (after[4].state, after[4].epoch, after[4].params)
    assert list(range(9)) == [trial.number for trial in after]
    assert [trial.params for trial in searched(setup, 9)] == [trial.params for trial in after]


def test_whoever_was_given_up_cannot_end_a_trial() -> None:
    """An ending under an older epoch is forgotten, whatever it says."""
    kept = MemoryTrials()
    first = kept.claim(0, {"x": 1.0})
    kept.lose()
    second = kept.retake(kept.known()[0])

    assert second is not None
    assert not kept.finish(first, Ending(state="done", values=(9.0,)))
    assert kept.finish(second, Ending(state="done", values=(1.0,)))
    assert not kept.finish(second, Ending(state="done", values=(2.0,)))
    assert [(1.0,)] == [trial.values for trial in kept.known()]


def test_two_searches_share_one_study() -> None:
    """At the same time, each with two workers: every number once, and nobody waits for ever."""
    setup, shared = Setup(space=SPACE, seed=2), MemoryTrials()
    results: list[list[Trial]] = []
    both = [threading.Thread(target=lambda: results.append(searched(setup, 30, shared, workers=2))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()

    assert list(range(30)) == [trial.number for trial in shared.known()]
    assert {"done"} == {trial.state for trial in shared.known()}
    assert 2 == len(results)


def test_pruning_ends_what_is_worse_than_the_others() -> None:
    """The best is never pruned, and what is pruned was worse than the median."""
    found = searched(Setup(space=SPACE, seed=1, pruning=Pruning(kind="median", startup=5)), 40)
    ended = [trial for trial in found if trial.state == "pruned"]
    best = rules.best(found, Objective())

    assert best is not None
    assert 5 <= len(ended) < 40
    assert all(value(trial.params) > best.values[0] for trial in ended)
    assert all(trial.reports for trial in found)


def test_several_objectives_have_a_front() -> None:
    """No trial of the front is beaten by another in both."""
    objectives = (Objective(metric="near", goal="minimize"), Objective(metric="far", goal="maximize"))
    setup = Setup(space={"x": real(0, 1), "y": real(0, 1)}, search="nsga2", objectives=objectives)

    def both(trial: Trial, report: Report) -> Ending:
        x, y = trial.params["x"], trial.params["y"]
        return Ending(state="done", values=(x, x - y))

    found = search(setup, Budget(trials=40), trials=MemoryTrials(), advise=advise(setup), run=both)
    front = rules.front(found, objectives)

    assert 2 <= len(front) < 40
    for one in front:
        assert not any(o.values[0] < one.values[0] and o.values[1] > one.values[1] for o in found)


def test_a_budget_of_time_counts_what_was_spent_before() -> None:
    """Trials of a second each, and ten seconds: none begins where ten are known, whoever ran them."""
    setup, kept = Setup(space=SPACE, search="random"), MemoryTrials()
    searched(setup, 10, kept)
    again = search(setup, Budget(time="10s"), trials=kept, advise=advise(setup), run=run)

    assert 10 == len(again)


def test_where_everything_fails_the_search_ends() -> None:
    """After five failures, with what the last one said; one failure among others is no end."""
    setup = Setup(space=SPACE, search="random")

    def fails(trial: Trial, report: Report) -> Ending:
        return Ending(state="failed", error=f"no luck with {trial.number}")

    def sometimes(trial: Trial, report: Report) -> Ending:
        return fails(trial, report) if trial.number % 2 == 0 else run(trial, report)

    kept = MemoryTrials()
    with pytest.raises(Invalid, match="no luck with 4") as caught:
        search(setup, Budget(trials=50), trials=kept, advise=advise(setup), run=fails)
    found = search(setup, Budget(trials=20), trials=MemoryTrials(), advise=advise(setup), run=sometimes)

    assert "all-trials-failed" == caught.value.code
    assert 5 == len(kept.known())
    assert 10 == sum(trial.state == "failed" for trial in found)


def test_an_error_of_the_executor_ends_the_search() -> None:
    """And gives back what was under way."""
    setup, kept = Setup(space=SPACE, search="random"), MemoryTrials()

    def broken(trial: Trial, report: Report) -> Ending:
        raise Unavailable("no processes", code="no-process")

    for workers in (1, 3):
        with pytest.raises(Unavailable):
            search(setup, Budget(trials=9), trials=kept, advise=advise(setup), run=broken, workers=workers)

    assert not any(trial.held for trial in kept.known())


def test_importance_finds_what_matters() -> None:
    """The parameter that makes the value has nearly all of it, one that does nothing next to none."""
    found = searched(Setup(space=SPACE, search="random", seed=7), 120)
    shares = rules.importance(found, SPACE)

    assert "x" == next(iter(shares))
    assert 0.8 < shares["x"]
    assert 0.05 > shares["n"]
    assert 1e-9 > abs(1 - sum(shares.values()))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"value": 0.5}, 0.5),
        ({"value": {"value": 2}}, 2.0),
        ({"value": {"metrics": {"value": 3.5}}}, 3.5),
        ({"model": None, "scores": {"value": -1.0}}, -1.0),
    ],
)
def test_a_value_is_found_where_steps_put_it(outputs: dict[str, Any], expected: float) -> None:
    """As an output, in a dict, or among its metrics."""
    assert (expected,) == rules.values((Objective(),), outputs)


@pytest.mark.parametrize("outputs", [{"value": "high"}, {"value": True}, {"value": None}, {}, {"x": {"loss": 1.0}}])
def test_what_is_no_value_is_refused(outputs: dict[str, Any]) -> None:
    """With what there is instead."""
    with pytest.raises(Invalid, match="no number 'value'") as caught:
        rules.values((Objective(),), outputs)

    assert "no-objective" == caught.value.code


@pytest.mark.parametrize(
    "make",
    [
        lambda: Budget(),
        lambda: Budget(trials=0),
        lambda: Budget(trials=True),
        lambda: Budget(time="soon"),
        lambda: Budget(time="0s"),
        lambda: Pruning(kind="early"),  # type: ignore[arg-type]
        lambda: Pruning(eta=1),
        lambda: Setup(space=SPACE, search="annealing"),  # type: ignore[arg-type]
        lambda: Setup(space=SPACE, seed=-1),
        lambda: Setup(space=SPACE, objectives=(Objective(), Objective())),
        lambda: Setup(space=SPACE, objectives=(Objective(metric="a"), Objective(metric="b")), search="cmaes"),
        lambda: Setup(space=SPACE, objectives=(Objective(metric="a"), Objective(metric="b")), pruning=Pruning()),
        lambda: Setup(space=SPACE, objectives=(Objective(goal="least"),)),  # type: ignore[arg-type]
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    """Before anything runs."""
    with pytest.raises(Invalid) as caught:
        make()

    assert caught.value.code in {"invalid-tuning", "invalid-duration"}
