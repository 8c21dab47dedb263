"""Where the steps of a stage of Jenkins ask a person: what comes before the question, and what would run unasked."""

from __future__ import annotations

import re
from dataclasses import replace

from stellwerk.delivery.ci.taking.groovy import Call
from stellwerk.delivery.ci.taking.jenkins_words import AROUND

_IN_CODE = re.compile(r"(?<![\w.$-])input\b(?=\s*[('\"\[]|\s+[A-Za-z]+\s*:)")
_SECRET = re.compile(r"[A-Za-z]*[vV]ariable['\"]?\s*:\s*['\"]([A-Za-z_][A-Za-z0-9_]*)['\"]")


def leading(steps: tuple[Call, ...]) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """The questions that come before anything else, also within a `timeout`, and the steps after them."""
    asked: list[Call] = []
    while steps:
        first, rest = steps[0], steps[1:]
        if first.name == "input":
            asked.append(first)
            steps = rest
            continue
        if first.block is None or first.name not in ("timeout", *AROUND):
            break
        inner, left = leading(first.block)
        asked += inner
        steps = (replace(first, block=left), *rest) if left else rest if inner else steps
        if left or not inner:
            break
    return tuple(asked), steps


def asking(steps: tuple[Call, ...]) -> Call | None:
    """The first step that asks somebody, however deep, in code of Groovy too; None where nobody is asked."""
    for step in steps:
        given = (*step.values, *step.named.values())
        code = ["" if step.block else step.raw, *(one.text for one in given if one.kind == "code")]
        if step.name == "input" or any(_IN_CODE.search(text) for text in code):
            return step
        inner = asking(step.block or ())
        if inner is not None:
            return inner
    return None


def question(step: Call) -> str:
    """What an `input` step asks; empty where it does not say, or computes it."""
    said = step.named.get("message") or (step.values[0] if step.values else None)
    return said.text if step.name == "input" and said is not None and said.kind in ("text", "template") else ""


def secrets(step: Call) -> set[str]:
    """The variables that `withCredentials` sets."""
    return {name for value in (*step.values, *step.named.values()) for name in _SECRET.findall(value.text)}
