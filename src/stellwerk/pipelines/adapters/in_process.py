"""The executor that calls steps in this process, while somebody waits for them.

It keeps no limits, and refuses steps that declare any.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from stellwerk.core.clock import monotonic
from stellwerk.core.errors import NotFound, Refused, interrupt_behind
from stellwerk.pipelines import loading
from stellwerk.pipelines.adapters import endings, invocation
from stellwerk.pipelines.adapters.turns import Turns, here
from stellwerk.pipelines.model import BUILTIN, Attempt, Ended, Failure, Outcome, Resources
from stellwerk.pipelines.stock import Stock
from stellwerk.pipelines.values import STANDARD, Codecs


class InProcess:
    """Runs steps by calling them, one at a time, in the order in which they were started.

    An attempt that is already being called cannot be stopped: whoever could ask for it is waiting for its end.

    Args:
        builtins: The steps that come with Stellwerk by name, without the prefix `builtin:`.
        codecs: How values pass in and out.
        stock: What was declared of this machine.
    """

    def __init__(
        self,
        *,
        builtins: Mapping[str, Callable[..., Any]] | None = None,
        codecs: Codecs = STANDARD,
        stock: Stock | None = None,
    ) -> None:
        self._builtins = dict(builtins or {})
        self._codecs = codecs

        self._capacity = here(1, stock)
        self._waiting: deque[Attempt] = deque()
        self._stopped: set[str] = set()

    def capacity(self) -> Resources:
        return self._capacity

    def start(self, attempt: Attempt) -> None:
        if attempt.timeout is not None or attempt.memory is not None or attempt.environment is not None:
            raise Refused(
                f"step {attempt.node!r} declares limits or an environment, which cannot be kept in this process",
                code="limits-not-kept",
                hint="use an executor that starts processes",
            )
        Turns(self._capacity).check(attempt)
        self._waiting.append(attempt)

    def wait(self, timeout: float | None) -> Ended | None:
        """Run the next attempt to its end, however long that takes."""
        if not self._waiting:
            return None
        attempt = self._waiting.popleft()
        if attempt.id in self._stopped:
            self._stopped.remove(attempt.id)
            return Ended(attempt=attempt.id, outcome=endings.cancelled(attempt))
        return Ended(attempt=attempt.id, outcome=self._call(attempt))

    def stop(self, attempt: str) -> None:
        if any(waiting.id == attempt for waiting in self._waiting):
            self._stopped.add(attempt)

    def close(self) -> None:
        self._waiting.clear()
        self._stopped.clear()

    def _call(self, attempt: Attempt) -> Outcome | Failure:
        printed, started, spent = _Log(), monotonic(), time.process_time()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), _Folder() as folder:
            try:
                function = self._function(attempt)
                outputs = invocation.invoke(function, attempt, self._codecs, folder.fresh)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # a user's code raises anything
                stopped = interrupt_behind(error)
                if stopped is not None:
                    raise stopped from None
                failed = invocation.failure(error, attempt)
                return replace(failed, log=printed.text(), seconds=monotonic() - started)
        return Outcome(
            outputs=outputs,
            log=printed.text(),
            seconds=monotonic() - started,
            cpu_seconds=time.process_time() - spent,
            peak_memory=_peak(),
        )

    def _function(self, attempt: Attempt) -> Callable[..., Any]:
        if not attempt.function.startswith(BUILTIN):
            return loading.resolve(attempt.function, attempt.file)
        name = attempt.function.removeprefix(BUILTIN)
        if name not in self._builtins:
            raise NotFound(f"there is no built-in step {name!r} here", code="step-not-importable")
        return self._builtins[name]


def _peak() -> int:
    """The most memory that this process ever held, in bytes; 0 where the system does not say."""
    try:
        usage = import_module("resource").getrusage
    except ImportError:  # Windows
        return 0
    return int(usage(0).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)


class _Folder:
    """A private folder for file values, made when the first one comes and removed at the end."""

    def __init__(self) -> None:
        self._made: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._made is not None:
            self._made.cleanup()

    def fresh(self, name: str) -> Path:
        if self._made is None:
            self._made = tempfile.TemporaryDirectory(prefix="stellwerk-step-", ignore_cleanup_errors=True)
        path = Path(self._made.name) / name
        path.mkdir(mode=0o700)
        return path


class _Log(io.TextIOBase):
    """Keeps the end of what is printed."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._data = bytearray()
        self._dropped = False

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._data += text.encode("utf-8", "replace")
        if len(self._data) > 2 * invocation.MAX_LOG:
            del self._data[: -invocation.MAX_LOG]
            self._dropped = True
        return len(text)

    def text(self) -> str:
        return invocation.clip(bytes(self._data), self._dropped)
