"""What is around a step: its file, randomness, environment, and the processes that it depends upon."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.loading import resolve
from stellwerk.pipelines.ports import Executor
from stellwerk.testing.executors.trial import LONG, Trial, let_go, pipe


class Surroundings(Trial):
    """What changes around a step is noticed, and what is lost is told."""

    def test_an_edited_file_is_refused(self, executor: Executor, file: str) -> None:
        """A result is never recorded under the key of other code."""
        self.only(self.keeps_limits, "its steps have no processes of their own")
        code = closure(resolve("contract_steps:double", file))
        before = self.run(executor, self.attempt(file, "double", params={"number": 4}, code=code))
        text = Path(file).read_text("utf-8")

        Path(file).write_text(text.replace("return 2 * number", "return 3 * number + 0"), "utf-8")
        failed = self.failure(self.run(executor, self.attempt(file, "double", params={"number": 4}, code=code)))

        assert 8 == self.value(before)
        assert "source-changed" == failed.code
        assert "contract_steps:double changed" in failed.message
        assert not failed.retryable

    def test_an_edited_file_is_loaded_anew(self, executor: Executor, file: str) -> None:
        """What was loaded for an earlier attempt is not used for a later one when the file is another."""
        self.only(self.keeps_limits, "its steps have no processes of their own")
        before = self.run(executor, self.attempt(file, "double", params={"number": 4}))
        text = Path(file).read_text("utf-8")

        Path(file).write_text(text.replace("return 2 * number", "return 3 * number + 0"), "utf-8")
        after = self.run(executor, self.attempt(file, "double", params={"number": 4}))

        assert [8, 12] == [self.value(before), self.value(after)]

    def test_attempts_do_not_share_randomness(self, executor: Executor, file: str) -> None:
        """Steps without a seed draw other numbers each time, whatever they were started from."""
        first, second = (self.value(self.run(executor, self.attempt(file, "random_numbers"))) for _ in range(2))

        assert first[0] != second[0]
        assert first[1] != second[1]

    def test_the_environment_is_that_of_now(
        self, executor: Executor, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Folder and environment variables are those at the time of the start, where they are taken along at all."""
        self.run(executor, self.attempt(file, "where"))

        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        monkeypatch.setenv("CONTRACT_TEST", "kept")
        ended = self.run(executor, self.attempt(file, "where"))

        folder, variable = self.value(ended)
        assert self.takes_folder == (folder == str(elsewhere))
        assert ("kept" if self.takes_variables else "") == variable

    def test_a_step_starts_others_unless_there_are_walls(self, executor: Executor, file: str) -> None:
        """Programs are started, or the kernel denies it; a step behind walls never starts one by chance."""
        ended = self.run(executor, self.attempt(file, "starts"))

        if self.walled:
            assert "PermissionError" in self.failure(ended).traceback
        else:
            assert 0 == self.value(ended)

    def test_a_lost_worker_is_told(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """What ran the attempt is gone: it comes out as such, may be run again, and the executor goes on."""
        mark = pipe(tmp_path)
        attempt = self.attempt(file, "hangs", params={"mark": str(mark)})
        self.only(self.keeps_limits, "its steps have no processes of their own")
        executor.start(attempt)
        os.close(os.open(mark, os.O_WRONLY))  # waits until the step runs
        if not self.lose(executor):
            executor.stop(attempt.id)
            self.only(False, "nothing runs attempts but their own processes")

        ended = executor.wait(LONG)
        again = self.run(executor, self.attempt(file, "double", params={"number": 2}))

        assert ended is not None
        assert "worker-lost" == self.failure(ended.outcome).code
        assert self.failure(ended.outcome).retryable
        assert let_go(mark)
        assert 4 == self.value(again)

    def test_nothing_outlives_a_killed_parent(self, file: str, tmp_path: Path) -> None:
        """When the process that has the executor is killed, its steps end, too."""
        self.only(bool(self.source), "its steps are in that process, or do not end with it")
        mark = pipe(tmp_path)
        script = f"""
            import os
            from stellwerk.pipelines.model import Attempt
            {self.source}
            function, params = "contract_steps:hangs", {{"mark": {str(mark)!r}}}
            attempt = Attempt(node="h", id="h", function=function, file={file!r}, params=params)
            executor.start(attempt)
            executor.wait(None)
        """
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)]) as running:
            os.close(os.open(mark, os.O_WRONLY))  # waits until the step runs
            running.send_signal(signal.SIGKILL)
            running.wait()

        assert let_go(mark)
