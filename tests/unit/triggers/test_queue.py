"""Who takes a firing to run it: one at a time, and whoever lost their claim begins nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Conflict, Invalid
from stellwerk.testing.stations import Station
from stellwerk.triggers import rules
from stellwerk.triggers.model import Cause, Firing, Limits, OnEvent, Trigger
from stellwerk.triggers.queue import Queue

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def waiting(station: Station) -> Firing:
    """A firing that nobody has taken."""
    station.add("calm", OnEvent(event="caution"))
    return station.triggers.fire("calm")


def test_what_one_has_taken_no_other_takes(station: Station, waiting: Firing) -> None:
    """Until the lease runs out; then the next claim makes the first one void."""
    first = station.queue.claim("one")
    assert first is not None
    assert None is station.queue.claim("two")
    station.later(seconds=rules.LEASE.total_seconds())
    second = station.queue.claim("two")
    assert second is not None
    assert (waiting.id, 1, waiting.id, 2) == (first.id, first.epoch, second.id, second.epoch)

    with pytest.raises(Conflict) as caught:
        station.begin(first)
    run = station.begin(second)
    with pytest.raises(Conflict):
        station.begin(second)

    assert "firing-taken" == caught.value.code
    assert [run.id] == [entry.subject.removeprefix("run:") for entry in station.book.entries(kinds=["run.started"])]
    assert run.id == station.triggers.firing(waiting.id).run


def test_a_run_and_its_place_are_written_together(station: Station, waiting: Firing) -> None:
    """A run that may not begin leaves nothing behind, not even an experiment's entry."""
    claimed = station.queue.claim("one")
    assert claimed is not None
    before = station.database.size()

    for wrong in (replace(claimed, epoch=7), replace(claimed, id="0" * 26)):
        with pytest.raises(Conflict):
            station.begin(wrong)
    with pytest.raises(Invalid):
        station.queue.beginning("nothing")
    assert before == station.database.size()


def test_claims_that_come_to_nothing_end(station: Station, waiting: Firing) -> None:
    """A runner that dies again and again does not hold the queue for ever."""
    for _ in range(rules.ATTEMPTS):
        assert station.queue.claim("one") is not None
        station.later(seconds=rules.LEASE.total_seconds())

    assert None is station.queue.claim("one")
    assert "lost" == station.triggers.firing(waiting.id).outcome
    assert ["lost"] == [entry.body["outcome"] for entry in station.told("ended")]


def test_a_process_without_a_run_is_settled(station: Station, waiting: Firing) -> None:
    """What failed has failed; what lacked something is tried again later, a few times."""
    for wait in (30, 60):
        claimed = station.queue.claim("one")
        assert claimed is not None
        again = station.queue.settle(claimed.id, claimed.epoch, problem="no room", again=True)
        assert ("queued", timedelta(seconds=wait)) == (again.status, again.due_at - station.clock.now())
        assert None is station.queue.claim("one")
        station.later(seconds=wait)
    claimed = station.queue.claim("one")
    assert claimed is not None
    last = station.queue.settle(claimed.id, claimed.epoch, problem="no room", again=True)

    assert ("ended", "failed", "no room") == (last.status, last.outcome, last.problem)
    assert last == station.queue.settle(claimed.id, claimed.epoch, problem="twice")


def test_the_end_of_a_run_is_noticed_without_its_runner(station: Station, waiting: Firing) -> None:
    """Whoever looks next writes what became of it."""
    claimed = station.queue.claim("one")
    assert claimed is not None
    run = station.begin(claimed)
    assert "started" == station.queue.settle(claimed.id, claimed.epoch).status, "it goes on without its process"
    assert 0 == station.queue.reconcile()
    station.runs.finish(run.id, status="failed", error="no")

    assert [1, 0] == [station.queue.reconcile() for _ in range(2)]
    found = station.triggers.firing(waiting.id)
    assert ("failed", "no") == (found.outcome, found.problem)


def test_an_hour_sees_no_more_runs_than_its_budget(station: Station) -> None:
    """All triggers together; what is due beyond waits and is not lost."""
    station.queue = Queue(station.book, station.clock, budget=5)
    for number in range(4):
        station.add(f"t{number}", OnEvent(event="caution"), each=True)
        for _ in range(2):
            station.triggers.fire(f"t{number}")

    assert 5 == len(station.perform())
    station.later(minutes=59)
    assert [] == station.perform()
    station.later(minutes=1)
    assert 3 == len(station.perform())


def test_a_runner_takes_only_what_it_can_run(station: Station, waiting: Firing) -> None:
    """The others wait for somebody who can."""
    assert None is station.queue.claim("one", only=["other"])
    assert station.queue.claim("one", only=["other", "delay"]) is not None


TRIGGER = Trigger(
    name="t", id="t", pipeline="p", on=OnEvent(event="caution"), created_at=NOW, created_by="anna", since=NOW
)


@settings(deadline=None)
@given(
    gaps=st.lists(st.integers(0, 300), min_size=1, max_size=60),
    depths=st.lists(st.integers(0, 5), min_size=60, max_size=60),
    limits=st.builds(
        Limits, interval=st.integers(0, 600), queue=st.integers(1, 5), depth=st.integers(0, 4), each=st.booleans()
    ),
    takes=st.sets(st.integers(0, 60)),
)
def test_no_storm_exceeds_its_limits(gaps: list[int], depths: list[int], limits: Limits, takes: set[int]) -> None:
    """However causes come: each has one fate, the queue is bounded, firings keep their distance, loops end."""
    trigger, now = replace(TRIGGER, limits=limits), NOW
    waiting: list[Firing] = []
    taken: list[Firing] = []
    fates = {"fires": 0, "joins": 0, "drops": 0}
    for number, gap in enumerate(gaps):
        now += timedelta(seconds=gap)
        if number in takes and waiting:
            taken.append(waiting.pop(0))
        cause = Cause(key=f"entry:{number}", at=now, text="", depth=depths[number])
        last = max([*taken, *waiting], key=lambda one: one.due_at, default=None)
        placed = rules.place(trigger, cause, now=now, waiting=waiting, last=last)
        if isinstance(placed, rules.Drops):
            fates["drops"] += 1
            assert cause.depth > limits.depth or (limits.each and len(waiting) >= limits.queue)
        elif isinstance(placed, rules.Joins):
            fates["joins"] += 1
            assert not limits.each
            waiting[-1] = placed.firing
        else:
            fates["fires"] += 1
            assert placed.firing.due_at >= now
            waiting.append(placed.firing)
        assert len(waiting) <= (limits.queue if limits.each else 1)

    everything = [*taken, *waiting]
    assert len(gaps) == sum(fates.values())
    assert fates["fires"] == len(everything) == len({one.id for one in everything})
    assert fates["joins"] == sum(one.others for one in everything)
    due = sorted(one.due_at for one in everything)
    assert all((late - early).total_seconds() >= limits.interval for early, late in pairwise(due))
    assert all(one.cause.depth <= limits.depth for one in everything)
    assert all(len(one.joined) <= rules.JOINED for one in everything)
