"""Which files of a folder are no part of it: `.stellwerkignore`, written as git's ignore files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.store.working.model import TEMPORARY

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".stellwerkignore"
DVC_IGNORE_FILE = ".dvcignore"
NEVER = frozenset({".git", ".hg", ".dvc", ".stellwerk"})
"""Folders in which other programs, and Stellwerk, keep their own affairs."""
_LARGEST = 1 << 20


class Ignoring:
    """The rules in force in one folder: its own and those of the folders above, of which the nearest wins."""

    def __init__(self, rules: tuple[tuple[str, GitIgnoreSpec], ...] = ()) -> None:
        self._rules = rules
        """Pairs of the rules and the path from the folder that has them to this one, empty or with a `/` at its end."""

    def __bool__(self) -> bool:
        return bool(self._rules)

    def below(self, name: str) -> Ignoring:
        """What these rules say in the folder `name` in here."""
        return Ignoring(tuple((f"{way}{name}/", spec) for way, spec in self._rules)) if self._rules else self

    def joined(self, own: GitIgnoreSpec | None) -> Ignoring:
        """These rules with those that this folder has itself."""
        return self if own is None else Ignoring((*self._rules, ("", own)))

    def ignores(self, name: str) -> bool:
        """Whether a file in here is left out; the name of a folder ends in `/`."""
        for way, spec in reversed(self._rules):
            include = spec.check_file(way + name).include
            if include is not None:
                return include
        return False


def never(name: str) -> bool:
    """Whether a name is left out wherever it stands."""
    return name in NEVER or name.startswith(TEMPORARY)


def parse(text: str, *, where: str) -> GitIgnoreSpec:
    """Read the lines of an ignore file."""
    from pathspec import GitIgnoreSpec  # takes 40 ms, and most folders have no such file
    from pathspec.patterns.gitignore import GitIgnorePatternError

    try:
        return GitIgnoreSpec.from_lines(text.splitlines())
    except (GitIgnorePatternError, ValueError) as cause:
        raise Invalid(f"{where} has a pattern that cannot be read: {cause}", code="invalid-ignore-file") from cause


def read(folder: Path, files: Sequence[str]) -> GitIgnoreSpec | None:
    """The rules that a folder has itself, if any."""
    lines: list[str] = []
    for name in files:
        try:
            with (folder / name).open("rb") as file:
                data = file.read(_LARGEST + 1)
            if len(data) > _LARGEST:
                raise Invalid(f"{name} is larger than {_LARGEST:,} bytes", code="invalid-ignore-file")
            lines += data.decode().splitlines()
        except FileNotFoundError:
            continue
        except UnicodeDecodeError as cause:
            raise Invalid(f"{name} is not UTF-8", code="invalid-ignore-file") from cause
        except OSError as cause:
            raise Unavailable(f"{name} cannot be read: {cause.strerror}", code="unreadable-file") from cause
    return parse("\n".join(lines), where=" and ".join(files)) if lines else None


def inherited(root: Path, folder: Path, files: Sequence[str]) -> Ignoring:
    """The rules in force in a folder because of those between it and the project's folder, its own not among them."""
    rules = Ignoring()
    if root != folder and folder.is_relative_to(root):
        here = root
        for part in folder.relative_to(root).parts:
            rules = rules.joined(read(here, files)).below(part)
            here /= part
    return rules
