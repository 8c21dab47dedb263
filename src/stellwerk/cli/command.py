"""Click commands with what all of ours have: `--workspace`, `--json`, lazy loading, help in sections."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import click

from stellwerk.cli.catalogue import COMMANDS, SECTIONS
from stellwerk.core.errors import Bug, Invalid

EPILOG = """\
\b
Every option has a twin in the environment: --port of `up` is STELLWERK_UP_PORT.
Exit codes: 0 done or clear, 1 stop, 2 wrong input, 3 unproven, 4 not found,
5 conflict, 6 refused, 7 corrupt, 8 unavailable, 70 bug."""


def shared(*, envvars: bool = False) -> list[click.Parameter]:
    """The options that every command takes, before and after its name; what is said last counts.

    Args:
        envvars: Whether the environment sets them: only where they come first, so that it never overrides.
    """
    return [
        click.Option(
            ["-w", "--workspace"],
            metavar="PATH|URL",
            expose_value=False,
            callback=_note("place"),
            envvar="STELLWERK_ROOT" if envvars else None,
            allow_from_autoenv=False,
            help="Folder or address of the workspace; the current folder by default.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            default=None,
            expose_value=False,
            callback=_note("as_json"),
            envvar="STELLWERK_JSON" if envvars else None,
            allow_from_autoenv=False,
            help="Data on stdout as one JSON document.",
        ),
    ]


def _note(field: str) -> Any:
    def note(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context.obj, field, value)

    return note


class Command(click.Command):
    """A command with the shared options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += shared()


class Group(click.Group):
    """A command with commands below it; alone it shows its help."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "invoke_without_command": True, "no_args_is_help": False})
        self.callback = _help_if_alone
        self.params += shared()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        found = self.get_command(ctx, args[0])
        if found is None:
            raise unknown(ctx, args[0], self.list_commands(ctx))
        return args[0], found, args[1:]

    def lines(self, ctx: click.Context) -> list[tuple[str, str]]:
        """The commands below, with a line about each."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return [(name, line(command)) for name, command in found if command is not None]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.lines(ctx))


class Family(Group):
    """A group whose commands are imported when they are called.

    Args:
        table: Name to `module:attribute`.
    """

    def __init__(self, *args: Any, table: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(self.table[cmd_name]) if cmd_name in self.table else None


def _load(target: str) -> click.Command:
    module, _, attribute = target.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, click.Command):
        raise Bug(f"{target} is no command")
    return found


def line(command: click.Command) -> str:
    """The first sentence of a command's help, as it stands in a list."""
    first = command.short_help or " ".join((command.help or "").partition("\n\n")[0].split()).rstrip(".")
    return first[:1].lower() + first[1:]


@click.pass_context
def _help_if_alone(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def unknown(context: click.Context, name: str, known: Iterable[str]) -> Invalid:
    """The error for a command that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, list(known), n=2)
    path = context.command_path
    hint = " or ".join(f"`{path} {one}`" for one in near) if near else f"`{path} --help`"
    return Invalid(
        f"there is no command {name[:60]!r}", code="unknown-command", hint=f"did you mean {hint}?" if near else hint
    )


class PipeClosed(Exception):
    """Nobody reads our output any more. Not a `BrokenPipeError`, for which click has an end of its own."""


class Root(Group):
    """The whole command line. Help is made from the table alone; a command is imported when it is called."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(epilog=EPILOG, **kwargs)
        self.params = shared(envvars=True)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as cause:
            raise PipeClosed from cause

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _load(COMMANDS[cmd_name].target) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), entry.short) for name, entry in section.items()])
