"""A trial that is a program: started with its arguments, watched, and ended where it is not worth going on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.pipelines.tuning.reporting import PRUNED, Pruned
from stellwerk.pipelines.tuning.trial import line_to

CALL = f"{__name__}:call"
"""How executors find `call`."""
LOOK_SECONDS = 1.0
"""Between questions whether to go on."""
GRACE_SECONDS = 5.0
LOOK = 0
"""What is asked instead of a step: whoever searches looks for himself at what the program has logged."""


def call(*, trial: Mapping[str, Any]) -> None:
    """Run a program to its end.

    Args:
        trial: `argv`, the `folder` to run in, `variables` of its environment, the `line` to ask on and the `number`
            to ask as; `asks` says whether it may be ended early.
    """
    environment = {**os.environ, **trial["variables"]}
    try:
        process = subprocess.Popen(
            trial["argv"],
            cwd=trial["folder"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # both are the log
        )
    except OSError as cause:
        raise Unavailable(
            f"{trial['argv'][0]!r} cannot be started: {cause.strerror}", code="no-such-command"
        ) from cause
    tell = line_to(trial["line"], trial["number"])
    while True:
        try:
            status = process.wait(LOOK_SECONDS if trial["asks"] else None)
            break
        except subprocess.TimeoutExpired:
            if tell(LOOK, 0.0):
                _end(process)
                raise Pruned("pruned by what it has logged", code=PRUNED) from None
    if status != 0:
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        raise Invalid(f"the program {how}", code="program-failed")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
