"""Packages and their versions, out of what clients and pipelines write: locks, requirements, environments of conda.

Lines are read one by one, and nothing is resolved: an address, an option or a file to include is no package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

PYTHON = "python"
MAX_BYTES = 1 << 20
"""Of a file that is read for its packages."""
MAX_PACKAGES = 5000
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*((?:[=<>!~]=?=?)[^;#]*)?(?:[;#].*)?")
_AT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*@\s*(\S+)")
_ITEM = re.compile(r"\s*-\s+[\"']?([^\"']+)[\"']?\s*")
_KEY = re.compile(r"(\w+):\s*[\"']?([^\"'#]*)[\"']?\s*")
_EXACT = re.compile(r"={1,3}\s*([^,=<>!~\s]+)(?:=[^,\s]*)?")
"""One version; conda writes its build after it."""
LOCK = "stellwerk-environment/1"


def of_requirements(text: str) -> dict[str, str]:
    """What a `requirements.txt` asks for."""
    found: dict[str, str] = {}
    for line in text.splitlines()[: 4 * MAX_PACKAGES]:
        _note(found, line.strip())
    return found


def of_conda(text: str) -> dict[str, str]:
    """What a `conda.yaml` asks for, with what pip installs in it; channels are no packages."""
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines()[: 4 * MAX_PACKAGES]:
        if key := _KEY.fullmatch(line):
            section = key[1]
        elif section == "dependencies" and (item := _ITEM.fullmatch(line)):
            _note(found, item[1].strip())
    found.pop("pip", None)
    return found


def of_python(text: str) -> dict[str, str]:
    """The interpreter that a `python_env.yaml` names."""
    for line in text.splitlines()[:100]:
        key = _KEY.fullmatch(line)
        if key is not None and key[1] == PYTHON and key[2].strip():
            return {PYTHON: key[2].strip()}
    return {}


def of_lock(text: str) -> dict[str, str]:
    """Interpreter, platform and distributions of the lock of a pipeline."""
    try:
        lock = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(lock, dict) or lock.get("format") != LOCK:
        return {}
    found = {key: str(lock[key]) for key in (PYTHON, "implementation", "platform") if key in lock}
    listed = lock.get("distributions")
    for line in listed if isinstance(listed, list) else ():
        _note(found, str(line))
    return found


FILES: dict[str, Callable[[str], dict[str, str]]] = {
    "requirements.txt": of_requirements,
    "conda.yaml": of_conda,
    "python_env.yaml": of_python,
}
"""By the name of a file; what the first says of a package counts."""


def _note(found: dict[str, str], line: str) -> None:
    if not line or line.startswith(("#", "-")) or len(line) > 500 or len(found) >= MAX_PACKAGES:
        return
    match = _AT.match(line) or _LINE.fullmatch(line)
    if match is None:
        return
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    wanted = (match[2] or "").strip() or "any"
    exact = _EXACT.fullmatch(wanted)
    found.setdefault(name, exact[1] if exact else wanted)
