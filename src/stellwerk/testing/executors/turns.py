"""Many attempts at once: how many run, who comes out first, and how they are stopped."""

from __future__ import annotations

import os
from pathlib import Path

from stellwerk.pipelines.model import Resources
from stellwerk.pipelines.ports import Executor
from stellwerk.testing.executors.trial import LONG, Trial, pipe


class Turns(Trial):
    """Every attempt comes out once, whatever becomes of it."""

    def test_nothing_under_way_is_nothing_to_wait_for(self, executor: Executor) -> None:
        """Who waits for nothing gets an answer at once."""
        assert executor.wait(None) is None

    def test_every_start_has_one_end(self, executor: Executor, file: str) -> None:
        """All attempts come out once, whatever the order."""
        attempts = [self.attempt(file, "double", params={"number": number}) for number in range(7)]
        for attempt in attempts:
            executor.start(attempt)

        ended = [executor.wait(LONG) for _ in attempts]

        values = {one.attempt: self.value(one.outcome) for one in ended if one is not None}
        assert {attempt.id: 2 * number for number, attempt in enumerate(attempts)} == values
        assert executor.wait(None) is None

    def test_as_many_run_at_once_as_there_is_room_for(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """The capacity is used, and never exceeded."""
        room = int(executor.capacity().cpus)
        place = tmp_path / "meeting"
        place.mkdir()
        for name in range(2 * room + 1):
            params = {"folder": str(place), "name": str(name), "count": room}
            executor.start(self.attempt(file, "meets", params=params))

        ended = [executor.wait(LONG) for _ in range(2 * room + 1)]

        assert room == max(self.value(one.outcome) for one in ended if one is not None)

    def test_of_what_is_scarce_no_more_is_taken_than_there_is(
        self, executor: Executor, file: str, tmp_path: Path
    ) -> None:
        """With two licences two steps that take one run at once, however many CPUs are free; then comes the next."""
        there = int(executor.capacity().custom.get("licence", 0))
        if not there or not self.keeps_limits:
            return
        place = tmp_path / "meeting"
        place.mkdir()
        takes = Resources(cpus=1 / 1024, custom={"licence": 1})
        for name in range(there + 1):
            params = {"folder": str(place), "name": str(name), "count": there + 1}
            executor.start(self.attempt(file, "meets", params=params, resources=takes))

        while len(list(place.glob("came-*"))) < there:
            assert executor.wait(0.01) is None
        more, came = executor.wait(0.3), len(list(place.glob("came-*")))
        (place / "came-gate").touch()  # what they wait for, instead of the one that must not come
        ended = [executor.wait(LONG) for _ in range(there + 1)]

        assert more is None
        assert there == came
        assert there == max(self.value(one.outcome) for one in ended if one is not None)

    def test_who_ends_first_comes_first(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A long attempt holds up nobody, where there is room for two."""
        if executor.capacity().cpus < 2:
            return
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        long, short = self.attempt(file, "waits", params={"gate": str(gate)}), self.attempt(file, "nothing")
        executor.start(long)
        executor.start(short)

        first, none = executor.wait(LONG), executor.wait(0.01)
        gate.write_text("go")
        second = executor.wait(LONG)

        assert first is not None
        assert second is not None
        assert none is None
        assert (short.id, long.id) == (first.attempt, second.attempt)
        assert "go" == self.value(second.outcome)

    def test_what_waits_can_be_stopped(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """An attempt that has not begun never does."""
        mark = tmp_path / "mark"
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        room = int(executor.capacity().cpus)
        before = [self.attempt(file, "waits", params={"gate": str(gate)}) for _ in range(room if room > 1 else 0)]
        last = self.attempt(file, "hangs", params={"mark": str(mark)})
        for attempt in [*before, last]:
            executor.start(attempt)

        executor.stop(last.id)
        ended = executor.wait(LONG)
        for attempt in before:
            executor.stop(attempt.id)
        others = [executor.wait(LONG) for _ in before]

        assert ended is not None
        assert last.id == ended.attempt
        assert "step-cancelled" == self.failure(ended.outcome).code
        assert not mark.exists()
        assert {"step-cancelled"} == {self.failure(one.outcome).code for one in [ended, *others] if one is not None}
        assert executor.wait(None) is None

    def test_what_runs_can_be_stopped(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """The attempt and all it started end, and it comes out as cancelled."""
        if not self.keeps_limits:
            return
        mark = pipe(tmp_path)
        attempt = self.attempt(file, "clings", params={"mark": str(mark)})
        executor.start(attempt)
        process = int(mark.read_text())

        executor.stop(attempt.id)
        ended = executor.wait(LONG)
        executor.stop(attempt.id)

        assert ended is not None
        assert "step-cancelled" == self.failure(ended.outcome).code
        assert self.ended(process)
        assert 4 == self.value(self.run(executor, self.attempt(file, "double", params={"number": 2})))

    def test_closing_leaves_nothing_running(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """What runs is ended, what waits never begins, and nothing comes out any more."""
        if not self.keeps_limits:
            return
        mark = pipe(tmp_path)
        executor.start(self.attempt(file, "clings", params={"mark": str(mark)}))
        for number in range(int(executor.capacity().cpus)):
            executor.start(self.attempt(file, "hangs", params={"mark": str(tmp_path / f"other-{number}")}))
        process = int(mark.read_text())

        executor.close()

        assert self.ended(process)
        assert executor.wait(None) is None
