"""The table and the commands are in step, and each command tells how it is used."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import click
import pytest

from stellwerk.cli.catalogue import COMMANDS
from stellwerk.cli.command import line
from stellwerk.cli.main import root
from stellwerk.cli.session import Session

HERE = [name for name, entry in COMMANDS.items() if find_spec(entry.target.partition(":")[0])]


def context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, obj=Session(), auto_envvar_prefix="STELLWERK")


def every() -> Iterator[tuple[str, click.Command, click.Context]]:
    """All commands with those below them, by what is typed."""
    top = root()
    above = context(top, "stellwerk")
    for name in HERE:
        command = top.get_command(above, name)
        assert command is not None
        mine = click.Context(command, info_name=name, parent=above)
        yield mine.command_path, command, mine
        if isinstance(command, click.Group):
            for inner in command.list_commands(mine):
                below = command.get_command(mine, inner)
                assert below is not None
                yield f"{mine.command_path} {inner}", below, click.Context(below, info_name=inner, parent=mine)


@pytest.mark.parametrize("name", HERE)
def test_the_short_help_is_the_commands_own(name: str) -> None:
    """The list of commands is made without importing any; it must not lie."""
    top = root()
    command = top.get_command(context(top, "stellwerk"), name)

    assert command is not None
    assert COMMANDS[name].short == line(command)
    assert name == command.name


def test_every_command_has_an_example() -> None:
    """Nobody should have to guess what a line looks like."""
    lacking = [
        path
        for path, command, _ in every()
        if "Example:" not in (command.help or "") or path not in (command.help or "")
    ]

    assert [] == lacking


def test_every_option_explains_itself() -> None:
    """An option without help is a riddle."""
    lacking = [
        f"{path} {option.opts[0]}"
        for path, command, _ in every()
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]

    assert [] == lacking


def test_every_option_has_a_twin_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be typed can be set, under a name that follows from the command."""
    lacking = []
    for path, command, mine in every():
        for option in command.params:
            shared = option.name in ("workspace", "json")
            if not isinstance(option, click.Option) or shared or option.is_eager:
                continue
            twin = f"{path} {option.name}".upper().replace(" ", "_").replace("-", "_")
            monkeypatch.setenv(twin, "1")
            if option.resolve_envvar_value(mine) != "1":
                lacking.append(f"{path} {option.opts[0]}")

    assert [] == lacking


def test_the_shared_options_are_on_every_command() -> None:
    """`--workspace` and `--json` may be typed before and after the command's name."""
    for path, command, _ in every():
        names = {text for option in command.params for text in option.opts}
        assert set() == {"--workspace", "-w", "--json"} - names, path
