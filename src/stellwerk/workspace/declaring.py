"""What the project file of a folder declares, where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.core.errors import Invalid
from stellwerk.pipelines import stock
from stellwerk.pipelines.stock import Stock

if TYPE_CHECKING:
    from stellwerk.releases.declaration import Project

PROJECT = "stellwerk.toml"


def project(home: Path) -> Project | None:
    """What the project file says. Raises `Invalid` (`invalid-project`) for one that cannot be read."""
    file = home / PROJECT
    if not file.is_file():
        return None
    from stellwerk.releases.declaration import parse

    try:
        return parse(file.read_text("utf-8"))
    except UnicodeDecodeError as cause:
        raise Invalid(f"{PROJECT} is not UTF-8", code="invalid-project") from cause


def resources(home: Path) -> Stock:
    """What this machine has for steps, as far as the project file says it."""
    found = project(home)
    return Stock() if found is None else stock.parse(found.resources)
