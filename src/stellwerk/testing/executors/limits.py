"""What a step may use: time, memory, and what the machine has."""

from __future__ import annotations

from pathlib import Path

from stellwerk.pipelines.model import Outcome, Resources
from stellwerk.pipelines.ports import Executor
from stellwerk.testing.executors.trial import LONG, Trial, pipe

ROOMY = 4 << 30


class Limits(Trial):
    """A limit is kept, or refused by an executor that could not keep it."""

    def test_a_timeout_stops_the_step(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A step that hangs is stopped after its time, or refused by an executor that could not do that."""
        mark = pipe(tmp_path)
        attempt = self.attempt(file, "hangs", params={"mark": str(mark)}, timeout=2.0)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(self.run(executor, attempt))

        assert "step-timeout" == failed.code
        assert "2 seconds" in failed.message
        assert "it hangs" in failed.log
        assert self.left(mark)
        return None

    def test_a_timeout_stops_what_the_step_started(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """Nothing survives, not even processes that ignore being asked."""
        mark = pipe(tmp_path)
        attempt = self.attempt(file, "clings", params=self.clinging(mark), timeout=2.0)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(self.run(executor, attempt))

        assert "step-timeout" == failed.code
        assert "it clings" in failed.log
        assert self.left(mark)
        return None

    def test_a_memory_limit_stops_the_step(self, executor: Executor, file: str) -> None:
        """A step that takes more than its limit fails; one within it does not."""
        attempt = self.attempt(file, "eats", memory=ROOMY)
        if not self.keeps_limits:
            return self.refuses(executor, attempt)

        failed = self.failure(self.run(executor, attempt))
        within = self.run(executor, self.attempt(file, "double", params={"number": 1}, memory=ROOMY, timeout=LONG))

        assert "step-memory" == failed.code
        assert 2 == self.value(within)
        return None

    def test_a_killed_step_is_a_failure(self, executor: Executor, file: str) -> None:
        """A step that crashes, is killed, or ends its process, fails; only its own process is lost."""
        self.only(self.keeps_limits, "its steps have no processes of their own")

        crashed, killed, ended = (
            self.failure(self.run(executor, self.attempt(file, name))) for name in ("crashes", "dies", "ends")
        )

        assert "step-killed" == crashed.code
        assert "SIGSEGV" in crashed.message
        if self.walled:  # the kernel lets it signal nobody
            assert "PermissionError" in killed.traceback
        else:
            assert "step-killed" == killed.code
            assert "SIGKILL" in killed.message
        assert "step-failed" == ended.code
        assert "status 7" in ended.message

    def test_it_is_told_what_was_used(self, executor: Executor, file: str) -> None:
        """Time, processor time and memory of the attempt come with its outcome."""
        ended = self.run(executor, self.attempt(file, "frame", params={"rows": 1000}))

        assert isinstance(ended, Outcome)
        assert ended.seconds > 0
        assert ended.cpu_seconds > 0
        assert ended.peak_memory > 1 << 20

    def test_what_is_not_there_is_refused(self, executor: Executor, file: str) -> None:
        """A step that needs what the executor has not never waits for it in vain."""
        attempt = self.attempt(file, "nothing", resources=Resources(custom={"oscilloscope": 1}))

        self.refuses(executor, attempt)

    def test_more_cpus_than_there_are_is_all_there_are(self, executor: Executor, file: str) -> None:
        """A step that could use more CPUs runs with those there are."""
        attempt = self.attempt(file, "double", params={"number": 1}, resources=Resources(cpus=1000))

        assert 2 == self.value(self.run(executor, attempt))
