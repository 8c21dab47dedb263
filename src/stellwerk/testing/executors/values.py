"""What goes into a step and comes out: values, errors, prints, seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from stellwerk.pipelines.loading import load, resolve
from stellwerk.pipelines.model import Attempt, Encoded, Outcome
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.values import STANDARD
from stellwerk.testing.executors.trial import Trial


class Values(Trial):
    """The same in every executor, to the last word of a traceback."""

    def test_it_returns_the_value(self, executor: Executor, file: str) -> None:
        """What the step returns comes back encoded."""
        ended = self.run(executor, self.attempt(file, "double", params={"number": 21}))

        assert 42 == self.value(ended)

    def test_a_file_is_found_where_it_was_loaded(self, executor: Executor, file: str) -> None:
        """A reference to a loaded file means the same function everywhere."""
        module = load(file)

        ended = self.run(executor, self.attempt(file, "double", params={"number": 2}))

        assert resolve("contract_steps:double", file) is module.double.function
        assert 4 == self.value(ended)

    def test_a_float_stays_a_float(self, executor: Executor, file: str) -> None:
        """A parameter that is declared a float is one, although JSON writes 1.0 as 1."""
        ended = self.run(executor, self.attempt(file, "scale", params={"number": 1}))

        assert "float" == self.value(ended)

    def test_an_exception_is_a_failure(self, executor: Executor, file: str) -> None:
        """It is told with the frames of the user's code, and none of ours."""
        failed = self.failure(self.run(executor, self.attempt(file, "fails", params={"number": 7})))

        assert "step-failed" == failed.code
        assert "no flight 7" in failed.message
        assert "in fails" in failed.traceback
        assert "in inner" in failed.traceback
        assert failed.traceback.endswith("LookupError: no flight 7")
        assert "stellwerk/" not in failed.traceback
        assert failed.retryable

    def test_leaving_is_a_failure(self, executor: Executor, file: str) -> None:
        """A step that calls `sys.exit` fails; it does not take the executor with it."""
        failed = self.failure(self.run(executor, self.attempt(file, "leaves")))

        assert "step-failed" == failed.code

    def test_an_unknown_function_is_a_failure(self, executor: Executor, file: str) -> None:
        """It is not tried again."""
        failed = self.failure(self.run(executor, self.attempt(file, "missing")))

        assert "step-not-importable" == failed.code
        assert not failed.retryable

    def test_a_broken_file_is_a_failure(self, executor: Executor, tmp_path: Path) -> None:
        """What importing the user's file raises is told like what a step raises."""
        path = tmp_path / "broken_steps.py"
        path.write_text("import os\n\n1 / 0\n", "utf-8")

        failed = self.failure(
            self.run(executor, Attempt(node="any", id="a", function="broken_steps:any", file=str(path)))
        )

        assert "step-failed" == failed.code
        assert "line 3" in failed.traceback
        assert failed.traceback.endswith("ZeroDivisionError: division by zero")

    def test_an_unsupported_value_is_a_failure(self, executor: Executor, file: str) -> None:
        """The message names the type, the step and what is supported; it is not tried again."""
        failed = self.failure(self.run(executor, self.attempt(file, "strange")))

        assert "unsupported-value" == failed.code
        assert "'strange'" in failed.message
        assert "object" in failed.message
        assert all(name in failed.message for name in STANDARD.names)
        assert not failed.retryable

    def test_prints_are_returned(self, executor: Executor, file: str, capfd: pytest.CaptureFixture[str]) -> None:
        """Both streams are kept as the log, and none reaches the streams of this process."""
        ended = self.run(executor, self.attempt(file, "prints"))

        assert isinstance(ended, Outcome)
        assert "to standard output" in ended.log
        assert "to standard error" in ended.log
        assert ("", "") == capfd.readouterr()

    def test_a_long_log_keeps_its_end(self, executor: Executor, file: str) -> None:
        """Six megabytes of prints become one, with a mark where some are missing."""
        ended = self.run(executor, self.attempt(file, "chatters"))

        assert isinstance(ended, Outcome)
        assert ended.log.startswith("[... earlier output was dropped ...]")
        assert ended.log.endswith("the end\n")
        assert len(ended.log) < (1 << 20) + 100

    def test_a_big_frame_passes(self, executor: Executor, file: str) -> None:
        """A million rows come back, and go into the next step."""
        made = self.run(executor, self.attempt(file, "frame", params={"rows": 1_000_000}))
        assert isinstance(made, Outcome)

        summed = self.run(executor, self.attempt(file, "total", inputs={"table": (made.outputs["value"],)}))

        assert 1_000_000 == self.value(made).height
        assert 499_999_500_000 == self.value(summed)

    def test_a_seed_makes_it_repeatable(self, executor: Executor, file: str) -> None:
        """The seed is passed and starts the global generators: same seed, same numbers; other seed, others."""
        first, again, other = (self.run(executor, self.attempt(file, "draws", seed=seed)) for seed in (1, 1, 2))

        assert self.value(first) == self.value(again)
        assert 1 == self.value(first)[0]
        assert self.value(first)[1] != self.value(other)[1]
        assert self.value(first)[2] != self.value(other)[2]

    def test_several_outputs_are_named(self, executor: Executor, file: str) -> None:
        """Each declared output is encoded for itself."""
        ended = self.run(executor, self.attempt(file, "parts", params={"size": 2}, outputs=("train", "gate")))

        assert [0, 1] == self.value(ended, "train")
        assert b"gate" == self.value(ended, "gate")

    def test_wrong_outputs_are_a_failure(self, executor: Executor, file: str) -> None:
        """A step returns what it declares, or it fails for good."""
        failed = self.failure(self.run(executor, self.attempt(file, "mistaken", outputs=("train", "gate"))))

        assert "wrong-outputs" == failed.code
        assert "train, test" in failed.message
        assert not failed.retryable

    def test_lists_are_put_together(self, executor: Executor, file: str) -> None:
        """`tables[0]`, `tables[1]` are one list, in the order of their numbers."""
        inputs = {f"tables[{n}]": (STANDARD.encode("x" * n),) for n in (10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)}

        ended = self.run(executor, self.attempt(file, "joins", inputs=inputs))

        assert list(range(11)) == self.value(ended)

    def test_seeds_arrive_as_a_list(self, executor: Executor, file: str) -> None:
        """The output of a step with seeds is a list, also if there is only one."""
        one = self.attempt(file, "joins", inputs={"tables": (STANDARD.encode("abc"),)}, listed=frozenset({"tables"}))

        assert [3] == self.value(self.run(executor, one))

    def test_a_file_keeps_its_name_and_content(self, executor: Executor, file: str, tmp_path: Path) -> None:
        """A path passes as the content of its file."""
        source = tmp_path / "notes.txt"
        source.write_text("a\nb\n", "utf-8")

        ended = self.run(executor, self.attempt(file, "lines", inputs={"file": (STANDARD.encode(source),)}))

        assert ["notes.txt", ["a", "b"]] == self.value(ended)

    def test_an_unreadable_input_is_a_failure(self, executor: Executor, file: str) -> None:
        """Bytes that are not what their media type says never reach the step."""
        bad = Encoded(media="application/vnd.apache.parquet", data=b"not a table")

        failed = self.failure(self.run(executor, self.attempt(file, "total", inputs={"table": (bad,)})))

        assert "step-failed" == failed.code
        assert "unreadable-value" == failed.cause
