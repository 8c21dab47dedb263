"""Many attempts at once: how many run, who comes out first, and how they are stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stellwerk.pipelines.model import Ended, Resources
from stellwerk.pipelines.ports import Executor
from stellwerk.testing.executors.trial import LONG, Trial, entered, pipe


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
        """The capacity is used, and never exceeded: no more come in before one has gone."""
        room = self.room(executor)
        self.only(room > 1, "it runs one attempt at a time")

        assert room == self.most_inside(executor, file, tmp_path, room, 2 * room + 1)

    def test_of_what_is_scarce_no_more_is_taken_than_there_is(
        self, executor: Executor, file: str, tmp_path: Path
    ) -> None:
        """With two licences two steps that take one run at once, however many CPUs are free; then comes the next."""
        there = self.licences(executor)
        self.only(there > 0, "nothing was declared of this machine")
        self.only(self.room(executor) > 1, "it runs one attempt at a time")
        takes = Resources(cpus=1 / 1024, custom={"licence": 1})

        assert there == self.most_inside(executor, file, tmp_path, there, there + 2, resources=takes)

    def most_inside(self, executor: Executor, file: str, folder: Path, room: int, count: int, **facts: Any) -> int:
        """How many of so many attempts run at once, once there are as many as there should be room for."""
        gates = [pipe(folder, f"gate-{number}") for number in range(count)]
        for gate in gates:
            executor.start(self.attempt(file, "waits", params={"gate": str(gate)}, **facts))
        inside: dict[Path, int] = {}
        while len(inside) < room:
            assert executor.wait(0.01) is None
            inside |= entered(gate for gate in gates if gate not in inside)
        assert executor.wait(0.2) is None
        inside |= entered(gate for gate in gates if gate not in inside)
        most = len(inside)
        ended: list[Ended] = []
        while len(ended) < len(gates):
            for end in inside.values():
                os.close(end)
            ended += [one for one in [executor.wait(0.01)] if one is not None]
            inside = entered(gates)
        assert {""} == {self.value(one.outcome) for one in ended}
        return most

    def test_who_ends_first_comes_first(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A long attempt holds up nobody, where there is room for two."""
        self.only(self.room(executor) > 1, "it runs one attempt at a time")
        gate = pipe(tmp_path)
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
        mark, gate = pipe(tmp_path, "mark"), pipe(tmp_path, "gate")
        room = self.room(executor)
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
        assert self.left(mark)
        assert {"step-cancelled"} == {self.failure(one.outcome).code for one in [ended, *others] if one is not None}
        assert executor.wait(None) is None

    def test_what_runs_can_be_stopped(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """The attempt and all it started end, and it comes out as cancelled."""
        self.only(self.keeps_limits, "its steps have no processes of their own")
        mark = pipe(tmp_path)
        attempt = self.attempt(file, "clings", params=self.clinging(mark))
        executor.start(attempt)
        os.close(os.open(mark, os.O_WRONLY))  # waits until the step runs

        executor.stop(attempt.id)
        ended = executor.wait(LONG)
        executor.stop(attempt.id)

        assert ended is not None
        assert "step-cancelled" == self.failure(ended.outcome).code
        assert self.left(mark)
        assert 4 == self.value(self.run(executor, self.attempt(file, "double", params={"number": 2})))

    def test_closing_leaves_nothing_running(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """What runs is ended, what waits never begins, and nothing comes out any more."""
        self.only(self.keeps_limits, "its steps have no processes of their own")
        mark = pipe(tmp_path)
        executor.start(self.attempt(file, "clings", params=self.clinging(mark)))
        others = [pipe(tmp_path, f"other-{number}") for number in range(self.room(executor))]
        for other in others:
            executor.start(self.attempt(file, "hangs", params={"mark": str(other)}))
        os.close(os.open(mark, os.O_WRONLY))  # waits until the step runs

        executor.close()

        assert all(self.left(one) for one in [mark, *others])
        assert executor.wait(None) is None
