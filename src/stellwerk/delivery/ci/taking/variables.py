"""Variables that only the CI system sets, found in scripts: a step must not seem to have them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from stellwerk.delivery.ci.taking.notes import Notes

SET_BY = {
    "gitlab": ("GitLab", re.compile(r"(?:CI|GITLAB|FF)_[A-Z0-9_]+|CI|CHAT_[A-Z]+|TRIGGER_PAYLOAD")),
    "github": ("GitHub", re.compile(r"(?:GITHUB|RUNNER|ACTIONS)_[A-Z0-9_]+|CI")),
    "jenkins": (
        "Jenkins",
        re.compile(
            r"(?:BUILD|JOB|JENKINS|CHANGE|GIT|RUN|HUDSON|STAGE|BRANCH|TAG|NODE|EXECUTOR|GROOVY)_[A-Z0-9_]+"
            r"|WORKSPACE(?:_TMP)?|CI"
        ),
    ),
}
_USED = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)|([A-Za-z_][A-Za-z0-9_]*))")


def used(script: str) -> list[str]:
    """The variables that a script reads, each once."""
    return list(dict.fromkeys(first or second for first, second in _USED.findall(script)))


def unset(script: str, system: str, known: set[str]) -> list[str]:
    """What a script reads that only its system sets."""
    pattern = SET_BY[system][1]
    return [variable for variable in used(script) if variable not in known and pattern.fullmatch(variable)]


def tell(script: str, line: int, where: str, system: str, known: set[str], notes: Notes) -> None:
    """Note what a script reads that nobody sets here."""
    for variable in unset(script, system, known):
        notes.left(
            line, f"{where}: ${variable}", f"{SET_BY[system][0]} sets it, and nobody does here",
            f"set {variable} by `environ=` of the step, or make it a parameter",
        )  # fmt: skip


def guards(script: str, names: Iterable[str]) -> list[str]:
    """Lines that stop a script where one of these variables is not set: `$X/build` must not come to mean `/build`."""
    return [f': "${{{name}:?}}"' for name in dict.fromkeys(names) if _read(script, name)]


def _read(script: str, name: str) -> bool:
    """Whether a script reads a variable without a default, before it sets it itself by a line of its own."""
    reading = re.search(rf"(?<!\\)(?:\\\\)*\$(?:{name}\b|\{{{name}\b(?!:?[-=?+]))", script)
    value = r"""(?:"[^"\n]*"|'[^'\n]*'|[^\s"'();&|<>]+)"""
    default = rf'"?\$\{{{name}:?=[^}}\n]+\}}"?'
    setting = re.search(rf"^(?:(?:export )?{name}={value}|: {default})[ ]*$", script, re.MULTILINE)
    return reading is not None and (setting is None or reading.start() < setting.end())
