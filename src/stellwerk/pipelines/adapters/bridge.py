"""How a process under another interpreter finds Stellwerk, and nothing else that is installed beside it here."""

from __future__ import annotations

import os
from pathlib import Path

from stellwerk.core.digest import hex_of, of_bytes
from stellwerk.pipelines.adapters.environments import cache_folder

_OTHERS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


def folder() -> Path:
    """A folder that holds nothing but a link to the package that runs here, made once per place it lies in."""
    package = Path(__file__).resolve().parents[2]
    where = cache_folder().with_name("bridges") / hex_of(of_bytes(str(package).encode()))[:16]
    link = where / "stellwerk"
    if not link.is_symlink():
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            link.symlink_to(package)
        except FileExistsError:  # another process made it
            pass
    return where


def environment(*, fresh: bool) -> dict[str, str]:
    """This process's environment for a child that imports Stellwerk.

    Args:
        fresh: Whether the child has another interpreter, and so must see no package of ours.
    """
    found = {name: text for name, text in os.environ.items() if not fresh or name not in _OTHERS}
    before = "" if fresh else found.get("PYTHONPATH", "")
    found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder()), before]))
    return found
