"""One call of a step: decode its inputs, seed, call, encode its outputs. Shared by all executors.

Which process this happens in, and under which limits, is the executor's business.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stellwerk.core.errors import StellwerkError
from stellwerk.pipelines.model import BUILTIN, SINGLE, Attempt, Encoded, Failure
from stellwerk.pipelines.parameters import as_declared, gather
from stellwerk.pipelines.tracebacks import one_line, only_ours, user_traceback
from stellwerk.pipelines.values import FILE_MEDIA, Codecs, type_name

MAX_LOG = 1 << 20
"""Bytes of a step's prints that are kept: the last ones."""

_TIGHT = "if this is strange: it has a memory limit, and libraries that get too little may fail in odd ways"
_OUT_OF_MEMORY = (
    "memory allocation of",
    "Cannot allocate memory",
    "failed to map segment",
    "std::bad_alloc",
    "MemoryError",
    "Unable to allocate",
)


def invoke(
    function: Callable[..., Any], attempt: Attempt, codecs: Codecs, fresh: Callable[[str], Path]
) -> dict[str, Encoded]:
    """Call the step's function. What the step raises goes through, to be judged by `failure`.

    Args:
        fresh: Makes a private folder of this name, for a value that is a file; two files may have one name.
    """

    def read(value: Encoded, name: str) -> Any:
        if getattr(function, "raw_inputs", False):
            return value
        return codecs.decode(value, folder=fresh(name) if value.media.startswith(FILE_MEDIA) else None)

    decoded = {
        name: [read(value, f"{name}-{n}") for n, value in enumerate(values)]
        for name, values in attempt.inputs.items()
    }
    inputs = gather({name: many if name in attempt.listed else many[0] for name, many in decoded.items()})
    del decoded
    arguments = {**_params(function, attempt), **inputs}
    with _seeded(attempt.seed):
        returned = function(**arguments)
    if attempt.outputs == (SINGLE,):
        return {SINGLE: codecs.encode(returned, step=attempt.node)}
    if not isinstance(returned, Mapping) or set(returned) != set(attempt.outputs):
        got = f"the keys {', '.join(map(str, returned))}" if isinstance(returned, Mapping) else type_name(returned)
        raise WrongOutputs(
            f"step {attempt.node!r} returned {got} (expected a dict with the keys {', '.join(attempt.outputs)})"
        )
    return {name: codecs.encode(returned[name], step=f"{attempt.node}.{name}") for name in attempt.outputs}


class WrongOutputs(Exception):  # becomes a Failure
    """The step did not return the outputs that it declares."""


def failure(error: BaseException, attempt: Attempt) -> Failure:
    """What an exception of a step means, told with the user's own frames."""
    if isinstance(error, WrongOutputs):
        hint = "return all declared outputs, and only these"
        return Failure(code="wrong-outputs", message=str(error), hint=hint)
    if isinstance(error, StellwerkError) and error.code in {"unsupported-value", "step-not-importable"}:
        return Failure(code=error.code, message=error.message, hint=error.hint)  # type: ignore[arg-type]
    if isinstance(error, StellwerkError) and error.code == "pipeline-not-loadable" and error.__cause__:
        error = error.__cause__
    told = error if isinstance(error, StellwerkError) else None
    # What a step that comes with Stellwerk says is said in full; no frame of it is the user's.
    said = told.message if told and only_ours(told) else user_traceback(error)
    if isinstance(error, MemoryError) or (attempt.memory and out_of_memory(one_line(error))):
        return memory_failure(attempt, said)
    return Failure(
        code="step-failed",
        message=f"step {attempt.node!r} failed: {told.message if told else one_line(error)}",
        hint=told.hint if told else _TIGHT if attempt.memory else "",
        cause=told.code if told else "",
        traceback=said,
    )


def memory_failure(attempt: Attempt, traceback: str = "") -> Failure:
    """The step needed more memory than it may have, or than there is."""
    limit = f"its limit of {attempt.memory} bytes" if attempt.memory else "what this machine has"
    return Failure(
        code="step-memory",
        message=f"step {attempt.node!r} needed more memory than {limit}",
        hint="raise resources=Resources(memory=...); libraries and threads count, too",
        traceback=traceback,
    )


def out_of_memory(text: str) -> bool:
    """Whether a library's last words say that it got no memory."""
    return any(words in text for words in _OUT_OF_MEMORY)


def clip(log: bytes, dropped: bool = False) -> str:
    """What a step printed as text: at most the last `MAX_LOG` bytes, and a mark where some are missing."""
    text = log[-MAX_LOG:].decode("utf-8", "replace")
    return f"[... earlier output was dropped ...]\n{text}" if dropped or len(log) > MAX_LOG else text


def _params(function: Callable[..., Any], attempt: Attempt) -> dict[str, Any]:
    if attempt.function.startswith(BUILTIN):
        return attempt.params
    declared = inspect.signature(function).parameters
    params = {
        name: as_declared(declared[name].annotation, value) if name in declared else value
        for name, value in attempt.params.items()
    }
    return {**params, "seed": attempt.seed} if attempt.seed is not None and "seed" in declared else params


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Start the global generators from a seed, and put them back afterwards."""
    if seed is None:
        yield
        return
    before = random.getstate()
    random.seed(seed)
    numpy: Any = None
    if find_spec("numpy") is not None:
        import numpy

        numpy_before = numpy.random.get_state()
        numpy.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        if numpy is not None:
            numpy.random.set_state(numpy_before)
