"""Variables that only the CI system sets, found in scripts: a step must not seem to have them."""

from __future__ import annotations

import re

from stellwerk.delivery.ci.taking.notes import Notes

SET_BY = {
    "gitlab": ("GitLab", re.compile(r"(?:CI|GITLAB|FF)_[A-Z0-9_]+|CI|CHAT_[A-Z]+|TRIGGER_PAYLOAD")),
    "github": ("GitHub", re.compile(r"(?:GITHUB|RUNNER|ACTIONS)_[A-Z0-9_]+|CI")),
    "jenkins": (
        "Jenkins",
        re.compile(
            r"(?:BUILD|JOB|JENKINS|CHANGE|GIT|RUN|HUDSON|STAGE|BRANCH|TAG|NODE|EXECUTOR)_[A-Z0-9_]+|WORKSPACE(?:_TMP)?|CI"
        ),
    ),
}
_USED = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)|([A-Za-z_][A-Za-z0-9_]*))")


def used(script: str) -> list[str]:
    """The variables that a script reads, each once."""
    return list(dict.fromkeys(first or second for first, second in _USED.findall(script)))


def tell(script: str, line: int, where: str, system: str, known: set[str], notes: Notes) -> None:
    """Note what a script reads that nobody sets here."""
    name, pattern = SET_BY[system]
    for variable in used(script):
        if variable not in known and pattern.fullmatch(variable):
            notes.left(
                line, f"{where}: ${variable}", f"{name} sets it, and nobody does here",
                f"set {variable} by `environ=` of the step, or make it a parameter",
            )  # fmt: skip
