"""Where on this machine a reader may look."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stellwerk.core.errors import Invalid, Refused
from stellwerk.data.sources.model import Source


class Places:
    """Folders that may be read.

    Args:
        folders: None allows every place that this process can read, which is right only for somebody who could read
            it without us.
    """

    def __init__(self, folders: Sequence[Path] | None = None) -> None:
        self._folders = None if folders is None else tuple(Path(os.path.realpath(folder)) for folder in folders)

    @property
    def everywhere(self) -> bool:
        """Whether every place may be read."""
        return self._folders is None

    def admit(self, path: Path) -> Path:
        """The path without links. Refuses what lies outside, without saying whether it exists."""
        real = Path(os.path.realpath(path))
        if self._folders is not None and not any(real.is_relative_to(folder) for folder in self._folders):
            raise Refused(
                "this path is not below a folder whose files may be referred to from elsewhere",
                code="local-source",
                hint="whoever runs the server can allow it with STELLWERK_SOURCE_FOLDERS",
            )
        return real


def path_of(source: Source) -> Path:
    """The absolute path of a source; `file:/x` and `file:///x` mean the same."""
    text = source.location.partition("?query=")[0] if source.kind == "sqlite" else source.location
    if text.startswith("//"):
        host, slash, rest = text[2:].partition("/")
        if host or not slash:
            raise Invalid("a path cannot name a host", code="invalid-source", hint=f"{source.kind}:/path/to/it")
        text = "/" + rest
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts:
        raise Invalid(
            f"a source of kind {source.kind} needs an absolute path without `..`",
            code="invalid-source",
            hint=f"{source.kind}:/path/to/it",
        )
    return path
