"""The environment lock: which interpreter and which distributions stand behind a result, as a value with a digest.

Code of the project itself is not here: it is in the code closure of each step.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stellwerk._version import __version__
from stellwerk.core import canonical
from stellwerk.core.digest import Digest, of_bytes

_FOLDER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>\d[^-]*)\.dist-info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment lock.

    Args:
        platform: System and processor, such as `linux-x86_64`; no kernel or machine names.
        distributions: `name==version`, sorted, names normalised.
    """

    python: str
    implementation: str
    platform: str
    distributions: tuple[str, ...]

    @property
    def document(self) -> bytes:
        """The canonical bytes of the lock, which its digest names."""
        return canonical.dumps(
            {
                "format": "stellwerk-environment/1",
                "python": self.python,
                "implementation": self.implementation,
                "platform": self.platform,
                "distributions": list(self.distributions),
            }
        )

    @property
    def digest(self) -> Digest:
        return of_bytes(self.document)


@functools.cache
def current() -> Environment:
    """The lock of this process, taken once: what is installed later is not what is running."""
    return take()


def packages(document: bytes) -> dict[str, str]:
    """What a lock says, by name: the version of each distribution, the interpreter's, and the platform."""
    lock = canonical.loads(document)
    named = (one.partition("==") for one in lock["distributions"])
    return {name: version for name, _, version in named} | {
        name: lock[name] for name in ("python", "implementation", "platform")
    }


def ground() -> dict[str, str]:
    """What every environment of this machine stands on, whatever is installed in it."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{sys.platform}-{platform.machine()}",
        "stellwerk": __version__,
    }


def take() -> Environment:
    """Read the lock anew."""
    found = {"stellwerk": __version__}
    for name, version in reversed(list(_distributions())):
        found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return Environment(
        python=platform.python_version(),
        implementation=sys.implementation.name,
        platform=f"{sys.platform}-{platform.machine()}",
        distributions=tuple(sorted(f"{name}=={version}" for name, version in found.items())),
    )


def _distributions() -> Iterator[tuple[str, str]]:
    # The names of the folders say it all; reading a hundred METADATA files would take ten times as long.
    others = []
    for entry in dict.fromkeys(sys.path):
        try:
            names = sorted(os.listdir(entry or "."))  # noqa: PTH208  # a Path for each of 400 names is slow
        except OSError:  # archives and folders that do not exist
            names = []
            others += [entry] if Path(entry).is_file() else []
        for name in names:
            if match := _FOLDER.fullmatch(name):
                yield match["name"], match["version"]
            elif name.endswith((".egg-info", ".dist-info")):
                others.append(entry)
    if others:
        from importlib import metadata

        for distribution in metadata.distributions(path=list(dict.fromkeys(others))):
            yield distribution.metadata["Name"], distribution.version
