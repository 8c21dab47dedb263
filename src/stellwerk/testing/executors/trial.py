"""What trying an executor takes: a file of steps, attempts, and a look at what came of them and their processes."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Refused
from stellwerk.pipelines.model import Attempt, Failure, Outcome
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.values import STANDARD
from stellwerk.testing.executors.steps import STEPS

LONG = 60.0


class Trial:
    """An executor on trial: what is known of its kind, and the words in which its promises are written."""

    keeps_limits = True
    """Whether the executor can stop a step that uses too much time or memory; it then has processes of its own."""

    source = ""
    """Python that makes such an executor under the name `executor`, in another process. Empty: it has none to lose."""

    takes_along = True
    """Whether folder and environment variables of this process are those of the steps, too."""

    at_once = True
    """Whether what was stopped is gone when the executor says so; otherwise it goes a moment later."""

    ids = itertools.count(1)

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        """The executor. With `custom={"licence": 2}` in its capacity, it is tried whether these are kept, too."""
        raise NotImplementedError("override the fixture `executor`")

    def lose(self, executor: Executor) -> bool:
        """Make the machine or process that runs attempts disappear. False if there is none besides the attempts'."""
        return False

    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        """The pipeline file with the steps of this suite."""
        path = tmp_path / "contract_steps.py"
        path.write_text(STEPS, "utf-8")
        return str(path)

    def attempt(self, file: str, name: str, **facts: Any) -> Attempt:
        label = "contract_steps"
        number = next(self.ids)
        return Attempt(node=name, id=f"a{number}", task=name, function=f"{label}:{name}", file=file, **facts)

    def run(self, executor: Executor, attempt: Attempt) -> Outcome | Failure:
        """Start one attempt and wait for its end."""
        executor.start(attempt)
        ended = executor.wait(LONG)
        assert ended is not None
        assert attempt.id == ended.attempt
        return ended.outcome

    def ended(self, process: int) -> bool:
        """Whether a process that was stopped is gone."""
        return not alive(process) if self.at_once else gone(process)

    def value(self, ended: Outcome | Failure, name: str = "value") -> Any:
        assert isinstance(ended, Outcome), ended
        return STANDARD.decode(ended.outputs[name])

    def failure(self, ended: Outcome | Failure) -> Failure:
        assert isinstance(ended, Failure), ended
        return ended

    def refuses(self, executor: Executor, attempt: Attempt) -> None:
        """A limit that cannot be kept is never silently ignored."""
        with pytest.raises(Refused) as refused:
            executor.start(attempt)

        assert "limits-not-kept" == refused.value.code


def alive(process: int) -> bool:
    """Whether a process runs; one that is dead but not yet collected does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def gone(process: int) -> bool:
    """Whether a process that should end does so; being told takes the system a moment."""
    return any(not alive(process) for _ in range(1_000_000))


def pipe(folder: Path) -> Path:
    """A named pipe through which a step says that it runs."""
    path = folder / "pipe"
    os.mkfifo(path)
    return path
