"""What trying an executor takes: a file of steps, attempts, and a look at what came of them and their processes.

A step says that it lives by having a named pipe open for reading, which it may also behind walls, and on the other side
of any number of processes: who holds the other end is told when the last reader is gone.
"""

from __future__ import annotations

import errno
import itertools
import os
import select
from collections.abc import Iterable, Iterator
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
    """Python that makes such an executor under the name `executor`, in another process, whose end ends the steps.

    Empty for an executor whose steps are in the very process that has it, or are somebody else's.
    """

    takes_folder = True
    """Whether steps work in the folder of this process; else they never do."""

    takes_variables = True
    """Whether the environment variables of this process are those of the steps; else what is set here is not there."""

    walled = False
    """Whether there are walls around a step: then it starts no processes, and signals none."""

    at_once = True
    """Whether what was stopped is gone when the executor says so; otherwise it goes a moment later."""

    ids = itertools.count(1)

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        """The executor. With `custom={"licence": 2}` in its capacity, it is tried whether these are kept, too."""
        raise NotImplementedError("override the fixture `executor`")

    def room(self, executor: Executor) -> int:
        """How many attempts run at the same time. Override it where the executor itself cannot know."""
        return int(executor.capacity().cpus)

    def licences(self, executor: Executor) -> int:
        """Of how many licences it knows; 0 where none were declared. As `room`."""
        return int(executor.capacity().custom.get("licence", 0))

    def lose(self, executor: Executor) -> bool:
        """Make the machine or process that runs attempts disappear. False if there is none besides the attempts'."""
        return False

    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        """The pipeline file with the steps of this suite."""
        path = tmp_path / "contract_steps.py"
        path.write_text(STEPS, "utf-8")
        return str(path)

    def only(self, promised: bool, why: str) -> None:
        """Leave a test out, and say why, where the executor does not promise what it is about."""
        if not promised:
            pytest.skip(why)

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

    def left(self, mark: Path) -> bool:
        """Whether nothing is left of a step that was stopped, or never began."""
        return not _close(entered([mark])) if self.at_once else let_go(mark)

    def clinging(self, mark: Path) -> dict[str, Any]:
        """The parameters of a step that ignores being asked to end, with all that it may start."""
        return {"mark": str(mark), "alone": self.walled}

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


def pipe(folder: Path, name: str = "pipe") -> Path:
    """A named pipe through which a step says that it runs."""
    path = folder / name
    os.mkfifo(path)
    return path


def entered(pipes: Iterable[Path]) -> dict[Path, int]:
    """Our ends of those pipes that somebody has open, or is about to open, for reading."""
    found = {}
    for path in pipes:
        try:
            found[path] = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as cause:
            if cause.errno != errno.ENXIO:
                raise
    return found


def let_go(mark: Path) -> bool:
    """Whether everybody who has a pipe open ends, which the system tells in its own time."""
    for end in entered([mark]).values():
        watch = select.poll()
        watch.register(end, 0)
        told = watch.poll(1000 * LONG)
        os.close(end)
        return bool(told)
    return True


def _close(ends: dict[Path, int]) -> int:
    """Close our ends; how many they were."""
    for end in ends.values():
        os.close(end)
    return len(ends)
