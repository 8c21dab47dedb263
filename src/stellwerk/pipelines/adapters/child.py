"""The child process of `subprocess.Subprocess`: runs one attempt of a step and answers in the folder it was given.

Start it with `python -P -m stellwerk.pipelines.adapters.child FOLDER`. What is in the folder is described in
`exchange`. The second half, `perform`, is also what a forked child does.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

from stellwerk.pipelines import loading
from stellwerk.pipelines.adapters import exchange, invocation
from stellwerk.pipelines.closure import closure, difference
from stellwerk.pipelines.model import Attempt, Closure, Failure, Outcome
from stellwerk.pipelines.values import FILE_MEDIA, STANDARD, codec_from

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read the request, run the step, answer, and end without waiting for threads that the step left behind."""
    folder = Path(sys.argv[1])
    request = exchange.receive(folder)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # nothing is lost when it is killed
    die_with(request.parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path[:] = [*request.path, *(sys.path if request.foreign else ())]
    loading.enter_child()
    end(perform(request, folder), folder)


def end(outcome: Outcome | Failure, folder: Path) -> None:
    """Answer, and leave without anything that happens at the end of a Python program."""
    exchange.answer(outcome, folder)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Be killed, or told, when the parent dies, where the system offers it."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def perform(request: exchange.Request, folder: Path, known: Closure | None = None) -> Outcome | Failure:
    """Run the attempt of a request under its memory limit. What goes wrong in it is a failure.

    Args:
        known: The closure of the step's function, if it was computed from the very modules that this process has.
    """
    attempt = request.attempt
    if attempt.memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        most = attempt.memory if hard == resource.RLIM_INFINITY else min(attempt.memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        codecs = STANDARD.with_first(*map(codec_from, request.codecs))
        function = loading.resolve(attempt.function, attempt.file)
        if attempt.code is not None and (changed := difference(attempt.code, known or closure(function))):
            return _changed(attempt, changed)
        outputs = invocation.invoke(function, attempt, codecs, lambda name: _fresh(folder, name))
        return Outcome(outputs=outputs)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # a user's code raises anything
        return _failed(error, attempt)


def _failed(error: BaseException, attempt: Attempt) -> Failure:
    try:
        return invocation.failure(error, attempt)
    except MemoryError:
        return invocation.memory_failure(attempt)


def _changed(attempt: Attempt, changed: tuple[str, ...]) -> Failure:
    """The key was made of other code than what would run here."""
    return Failure(
        code="source-changed",
        message=f"step {attempt.node!r} is other code in its own process: {', '.join(changed[:5])}",
        hint="its file was edited meanwhile, or a global was set after import, such as under `if __name__ == ...`",
    )


def _fresh(folder: Path, name: str) -> Path:
    path = folder / f"file-{name}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def prepare(attempt: Attempt, folder: Path) -> None:
    """Make the folders of file values, for a process that can make none later."""
    for name, values in attempt.inputs.items():
        for number, value in enumerate(values):
            if value.media.startswith(FILE_MEDIA):
                _fresh(folder, f"{name}-{number}")


if __name__ == "__main__":
    main()
