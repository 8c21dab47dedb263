"""The entry of the command line: one process, one answer on stdout, one exit code. Commands are in `catalogue`."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from stellwerk._version import __version__
from stellwerk.cli import exits
from stellwerk.cli.command import PipeClosed, Root
from stellwerk.cli.session import Session
from stellwerk.core.errors import interrupt_behind

SETTINGS = {"auto_envvar_prefix": "STELLWERK", "help_option_names": ["-h", "--help"], "max_content_width": 100}


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived. Like Ctrl-C it lets every open run be ended properly."""

    def __init__(self, number: int) -> None:
        super().__init__(f"terminated by {signal.Signals(number).name}")
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and answer its exit code."""
    # Before anything heavy is loaded: OpenMP threads that wait for each other spin by default, and two such programs
    # on a busy machine spin each other to a halt.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Trees of many files are many tuples and no cycles: looking for those every 700 objects is a tenth of the time.
    gc.set_threshold(50_000)
    _open_what_is_closed()
    arguments = list(sys.argv[1:] if argv is None else argv)
    session = Session()
    try:
        code = _perform(arguments, session)
        sys.stdout.flush()
        return code
    except (PipeClosed, BrokenPipeError):
        return _leave_pipe()
    except click.Abort as aborted:
        return _interrupted(aborted.__cause__)
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except Exception as error:  # noqa: BLE001 - the rim: every error becomes a message and an exit code here
        stopped = interrupt_behind(error)
        if stopped is not None:
            return _interrupted(stopped)
        code = exits.report(error, as_json=session.as_json or _wants_json(arguments))
        _let_go(OSError)  # a full disk, say: Python would try once more at its end, and answer with a code of its own
        return code


def root() -> Root:
    """The command line as click knows it."""
    found = Root(
        name="stellwerk",
        context_settings=SETTINGS,
        help="The whole ML software supply chain: from a data file to a model that may run, and until when.",
    )
    return click.version_option(__version__, message="%(prog)s %(version)s")(found)


def _perform(arguments: list[str], session: Session) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` and whoever embeds us decided otherwise
            signal.signal(number, _on_terminate)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a character gets a question mark
    answer: Any = root().main(arguments, prog_name="stellwerk", standalone_mode=False, obj=session)
    return answer if isinstance(answer, int) else exits.DONE


def _on_terminate(number: int, _frame: object) -> None:
    raise Terminated(number)


def _interrupted(cause: BaseException | None) -> int:
    print("interrupted", file=sys.stderr)
    return exits.SIGNALLED + (cause.number if isinstance(cause, Terminated) else signal.SIGINT)


def _leave_pipe() -> int:
    """Whoever read our output has seen enough; say nothing."""
    _let_go((PipeClosed, BrokenPipeError))
    return exits.SIGNALLED + signal.SIGPIPE


def _let_go(errors: type[BaseException] | tuple[type[BaseException], ...]) -> None:
    """Give what cannot be written to nobody, so that Python does not complain when it flushes at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except errors:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def _open_what_is_closed() -> None:
    """Whoever started us may have closed our streams (`>&-`). Then the next file would get their number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _wants_json(arguments: list[str]) -> bool:
    """Whether JSON was asked for on a line that could not be understood."""
    said = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in said or os.environ.get("STELLWERK_JSON", "").lower() in ("1", "true", "yes", "on")


if __name__ == "__main__":
    sys.exit(main())
