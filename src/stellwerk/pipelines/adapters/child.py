"""The child process of `subprocess.Subprocess`: runs one attempt of a step and answers with one line of JSON.

Start it with `python -P -m stellwerk.pipelines.adapters.child`. The request comes over standard input and the answer
goes to what was standard output; what the step prints goes to standard error. Values travel as files.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.pipelines import loading
from stellwerk.pipelines.adapters import invocation
from stellwerk.pipelines.closure import closure, difference
from stellwerk.pipelines.model import Attempt, Closure, Encoded, Failure
from stellwerk.pipelines.values import STANDARD, codec_from

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read the request, run the step, answer, and end without waiting for threads that the step left behind."""
    answer = _separate_streams()
    request = canonical.loads(sys.stdin.buffer.read())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _die_with(request["parent"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path[:] = request["path"]
    loading.enter_child()
    reply = canonical.dumps(_run(request)) + b"\n"
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(reply)
    os._exit(0)


def _separate_streams() -> int:
    """Keep standard output for the answer; let everything that prints, in any language, print to standard error."""
    answer = os.dup(1)  # not inherited by what the step starts
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # nothing is lost when it is killed
    return answer


def _die_with(parent: int) -> None:
    """Be killed when the parent dies, where the system offers it."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    folder = Path(request["folder"])
    attempt = _attempt(request, folder)
    if attempt.memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (attempt.memory, attempt.memory))
    try:
        codecs = STANDARD.with_first(*map(codec_from, request["codecs"]))
        function = loading.resolve(attempt.function, attempt.file)
        if attempt.code is not None and (changed := difference(attempt.code, closure(function))):
            return {"failure": _texts(_changed(attempt, changed))}
        outputs = invocation.invoke(function, attempt, codecs, lambda name: _fresh(folder, name))
        written = {name: _write(value, folder / f"out-{n}") for n, (name, value) in enumerate(outputs.items())}
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # a user's code raises anything
        return _failed(error, attempt)
    return {"outputs": written}


def _failed(error: BaseException, attempt: Attempt) -> dict[str, Any]:
    try:
        failed = invocation.failure(error, attempt)
    except MemoryError:
        failed = invocation.memory_failure(attempt)
    return {"failure": _texts(failed)}


def _texts(failed: Failure) -> dict[str, str]:
    texts = {name: getattr(failed, name) for name in ("code", "message", "hint", "cause", "traceback")}
    return {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}


def _attempt(request: dict[str, Any], folder: Path) -> Attempt:
    return Attempt(
        node=request["node"],
        function=request["function"],
        file=request["file"],
        code=_closure(request["code"]),
        inputs={
            argument: tuple(Encoded(media=media, data=(folder / name).read_bytes()) for media, name in values)
            for argument, values in request["inputs"].items()
        },
        listed=frozenset(request["listed"]),
        params=request["params"],
        seed=request["seed"],
        outputs=tuple(request["outputs"]),
        memory=request["memory"],
    )


def _closure(code: list[Any] | None) -> Closure | None:
    return None if code is None else Closure(digest=code[0], parts=tuple((name, digest) for name, digest in code[1]))


def _changed(attempt: Attempt, changed: tuple[str, ...]) -> Failure:
    """The key was made of other code than what would run here."""
    return Failure(
        code="source-changed",
        message=f"step {attempt.node!r} is other code in its own process: {', '.join(changed[:5])}",
        hint="its file was edited meanwhile, or a global was set after import, such as under `if __name__ == ...`",
    )


def _fresh(folder: Path, name: str) -> Path:
    path = folder / f"file-{name}"
    path.mkdir(mode=0o700)
    return path


def _write(value: Encoded, path: Path) -> list[str]:
    path.write_bytes(value.data)
    return [value.media, path.name]


if __name__ == "__main__":
    main()
