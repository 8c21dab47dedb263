"""What was found in a CI file: commands with what they need, and about every construct what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["taken", "changed", "left"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What became of one construct.

    Attributes:
        line: Where it stands, counted from 1.
        construct: What it is called there: `build.script`, `stage 'Test' › when`.
        outcome: `taken`, `changed` (means something a little different here) or `left`.
        why: What is different, or what cannot be.
        instead: What to do about it; empty where nothing is needed.
    """

    line: int
    construct: str
    outcome: Outcome
    why: str = ""
    instead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A step that runs a script.

    Attributes:
        name: Unique in the pipeline.
        script: Lines of shell; the first that fails fails the step.
        after: Names of steps that must have ended well before.
        takes: Names of steps whose files it gets.
        gives: Paths of the files that it leaves for others.
        image: The container that it asked for.
        python: The version of Python that it asked for.
        timeout: Such as `30m`.
        kind: What the step is for, as far as its name says so.
    """

    name: str
    script: str
    environment: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    image: str = ""
    python: str = ""
    retries: int = 0
    timeout: str = ""
    kind: str = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A person who says that it may go on."""

    name: str
    question: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What whoever starts it may say; a variable of the steps that read it."""

    name: str
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a CI file became.

    Attributes:
        source: The name of the file.
        system: Whose file it is.
        steps: In an order in which each comes after those that it names.
    """

    source: str
    system: str
    steps: tuple[Command | Wait, ...]
    findings: tuple[Finding, ...]
    parameters: tuple[Parameter, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """How many constructs became of that kind."""
        return sum(finding.outcome == outcome for finding in self.findings)


class Names:
    """Names of steps that are unique and speakable, for things that were called anything."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def new(self, text: str) -> str:
        """A name like the text that no other step has."""
        plain = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:60] or "step"
        name, number = plain, 1
        while name in self._given:
            number += 1
            name = f"{plain}-{number}"
        self._given.add(name)
        return name


_KINDS = {
    "test": ("test", "pytest", "check", "lint"),
    "train": ("train", "fit"),
    "evaluate": ("evaluate", "eval", "score"),
    "deploy": ("deploy", "release", "publish", "ship"),
    "build": ("build", "compile", "package"),
    "data": ("data", "download", "fetch", "ingest"),
    "features": ("feature", "features"),
    "tune": ("tune", "sweep"),
}


def kind(*texts: str) -> str:
    """What a step is for, by the words of its name or its stage; `step` where they do not say."""
    words = {word for text in texts for word in re.split(r"[^a-z]+", text.lower())}
    return next((one for one, said in _KINDS.items() if words & set(said)), "step")


def ordered(steps: Iterable[Command | Wait]) -> tuple[Command | Wait, ...]:
    """Steps so that each comes after those it names, otherwise as they came. Those in a circle are left out."""
    waiting, placed, result = list(steps), set[str](), list[Command | Wait]()
    while waiting:
        ready = [one for one in waiting if set(needed(one)) <= placed]
        if not ready:
            break
        for one in ready:
            placed.add(one.name)
            result.append(one)
        waiting = [one for one in waiting if one.name not in placed]
    return tuple(result)


def needed(step: Command | Wait) -> tuple[str, ...]:
    """The names of all steps that one waits for."""
    return tuple(dict.fromkeys((*step.after, *(step.takes if isinstance(step, Command) else ()))))
