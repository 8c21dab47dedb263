"""What is being recorded: a notebook or a script, what it is called, and where its file is, if that can be known."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stellwerk.core.names import slug


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where code comes from.

    Attributes:
        shell: IPython's shell, if there is one.
        path: The file of the notebook or script; None where nobody says it.
    """

    shell: Any = None
    path: Path | None = None

    @property
    def name(self) -> str:
        """A name for the experiment."""
        if self.path is not None:
            return slug(self.path.stem)
        return "notebook" if self.shell is not None else "session"

    @property
    def folder(self) -> Path:
        return self.path.parent if self.path is not None else Path.cwd()


def find(notebook_said: str = "") -> Origin:
    """What this process runs. The settings may say the path of its notebook."""
    shell = _shell()
    if shell is not None:
        return Origin(shell=shell, path=notebook(getattr(shell, "user_ns", {}), os.environ, said=notebook_said))
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Origin(path=Path(file).absolute() if file and Path(file).is_file() else None)


def _shell() -> Any:
    """IPython's shell, without importing IPython."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module is not None and hasattr(module, "get_ipython") else None


def notebook(
    names: Mapping[str, Any], environment: Mapping[str, str], here: Path | None = None, *, said: str = ""
) -> Path | None:
    """The file of the notebook that a kernel runs, as its front end says it; None where it says nothing that is true.

    VS Code sets a variable, Jupyter's server the session's name (which IPython repeats as `__session__`).

    Args:
        said: What the settings say, which comes first.
    """
    here = here or Path.cwd()
    told = (
        said,
        names.get("__vsc_ipynb_file__"),
        names.get("__session__"),
        environment.get("JPY_SESSION_NAME"),
    )
    for one in told:
        if not isinstance(one, str) or not one.endswith(".ipynb"):
            continue
        path = Path(one)
        # A server says the path as it stands below its own root, which the kernel does not know.
        places = [path] if path.is_absolute() else [folder / path for folder in (here, *here.parents)]
        places += [here / path.name]
        found = next((place for place in places if place.is_file()), None)
        if found is not None:
            return found.absolute()
    return None
