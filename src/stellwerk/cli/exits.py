"""How a command ends: the one table of exit codes, and the one way in which errors are shown."""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from contextlib import suppress

import click

from stellwerk.core.errors import Bug, Conflict, Corrupt, Invalid, NotFound, Refused, StellwerkError, Unavailable

DONE, STOP, UNPROVEN, CONFLICT, REFUSED, CORRUPT, UNAVAILABLE = 0, 1, 3, 5, 6, 7, 8
SIGNALLED = 128
"""Plus the number of the signal, as shells count."""

BY_CLASS: tuple[tuple[type[StellwerkError], int], ...] = (
    (Invalid, 2),
    (NotFound, 4),
    (Conflict, CONFLICT),
    (Refused, REFUSED),
    (Corrupt, CORRUPT),
    (Unavailable, UNAVAILABLE),
    (Bug, 70),
    (StellwerkError, 70),
)

BY_OUTCOME = {"clear": DONE, "stop": STOP, "unproven": UNPROVEN}
"""Verdicts are results, not errors, but a script must be able to tell them apart."""

_ENVIRONMENT = {
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE,
}  # fmt: skip
"""What the machine refuses is no bug of ours."""


_EXTRAS = {
    "polars": "data", "numpy": "stats", "scipy": "stats", "sklearn": "sklearn", "skops": "sklearn",
    "fastapi": "server", "starlette": "server", "uvicorn": "server", "jinja2": "server", "msgspec": "server",
    "psycopg": "postgres", "cronsim": "triggers",
}  # fmt: skip
"""Packages that are installed only when asked for."""


def code_of(error: StellwerkError) -> int:
    """The exit code of an error."""
    return next(code for kind, code in BY_CLASS if isinstance(error, kind))


def described(error: BaseException) -> StellwerkError:
    """Any exception as an error that can be shown; what nobody foresaw is a `Bug`."""
    if isinstance(error, StellwerkError):
        return error
    if isinstance(error, click.UsageError):
        return Invalid(_message(error), code="usage", hint=_usage_hint(error))
    if isinstance(error, click.ClickException):
        return Invalid(_sentence(error.format_message()), code="usage")
    if isinstance(error, OSError) and error.errno in _ENVIRONMENT:
        return Unavailable(f"the machine refuses: {error.strerror}", code="machine-refuses")
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRAS:
        package = (error.name or "").partition(".")[0]
        return Unavailable(
            f"this needs the package {package!r}, which is not installed",
            code="missing-package",
            hint=f"`pip install 'stellwerk[{_EXTRAS[package]}]'`",
        )
    first = (str(error).splitlines() or [""])[0][:200]
    return Bug(
        f"unexpected {type(error).__name__}" + (f": {first}" if first else ""),
        hint="STELLWERK_DEBUG=1 shows where; please report it",
    )


def report(error: BaseException, *, as_json: bool) -> int:
    """Show an error on stderr, and answer the exit code. The trace is shown only with `STELLWERK_DEBUG=1`."""
    shown = described(error)
    with suppress(OSError):  # where nobody can be told, because the disk is full, the code still says it
        _tell(error, shown, as_json=as_json)
    return code_of(shown)


def _tell(error: BaseException, shown: StellwerkError, *, as_json: bool) -> None:
    from stellwerk.cli.output import paint, visible

    if os.environ.get("STELLWERK_DEBUG", "") == "1":
        traceback.print_exception(error)
    if as_json:
        document = {"error": shown.message, "code": shown.code, "hint": shown.hint}
        print(json.dumps(document, ensure_ascii=False), file=sys.stderr)
        return
    lines = [paint("error:", "bad", sys.stderr) + f" {visible(shown.message)}"]
    lines += [paint("hint:", "strong", sys.stderr) + f" {visible(shown.hint)}"] if shown.hint else []
    lines.append(paint(f"code: {shown.code}", "dim", sys.stderr))
    print("\n".join(lines), file=sys.stderr)


def _message(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption):
        return f"there is no option {error.option_name!r}"
    if isinstance(error, click.MissingParameter):
        what = (error.param_type or error.param.param_type_name) if error.param else "value"
        return f"missing {what}{_named(error)}"
    return _sentence(error.format_message())


def _named(error: click.MissingParameter) -> str:
    if error.param is None:
        return ""
    if isinstance(error.param, click.Option):
        return " " + max(error.param.opts, key=len)
    return " " + error.param.make_metavar(error.ctx or click.Context(click.Command("")))


def _usage_hint(error: click.UsageError) -> str:
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        return f"did you mean {' or '.join(sorted(error.possibilities))}?"
    return f"`{error.ctx.command_path} --help`" if error.ctx is not None else "`stellwerk --help`"


def _sentence(text: str) -> str:
    """Click speaks in sentences; our messages begin small and end without a stop."""
    text = text.strip().rstrip(".")
    return text[:1].lower() + text[1:]
