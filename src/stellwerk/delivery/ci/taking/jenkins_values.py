"""Texts, times and numbers of a Jenkinsfile as a shell and a step write them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stellwerk.delivery.ci.taking import expressions
from stellwerk.delivery.ci.taking.groovy import Call, Value


def pieces(value: Value) -> list[expressions.Piece]:
    """A text of Groovy as pieces: `${env.X}`, `$X` and `${params.X}` are variables of the shell."""
    if value.kind != "template":
        return [expressions.Piece(text=value.text)]
    return list(_split(value.text))


_PLACE = re.compile(r"\\\$|\$\{\s*([^}]*?)\s*\}|\$([A-Za-z_][A-Za-z0-9_.]*)")
_VARIABLE = re.compile(r"(?:env\.|params\.)?([A-Za-z_][A-Za-z0-9_]*)")


def _split(text: str) -> Iterator[expressions.Piece]:
    at = 0
    for match in _PLACE.finditer(text):
        if match.start() > at:
            yield expressions.Piece(text=text[at : match.start()])
        said = match[1] or match[2]
        if said is None:
            yield expressions.Piece(text="$")
        else:
            found = _VARIABLE.fullmatch(said)
            name = found[1] if found else "GROOVY_" + re.sub(r"[^A-Za-z0-9]+", "_", said).strip("_").upper()[:40]
            yield expressions.Piece(variable=name)
        at = match.end()
    if at < len(text):
        yield expressions.Piece(text=text[at:])


def shell_text(value: Value) -> str:
    """What Groovy would give the shell, with variables of the shell in place of Groovy's own."""
    if value.kind != "template":
        return value.text
    return "".join(f"${{{one.variable}}}" if one.variable else one.text for one in _split(value.text))


def dedented(text: str) -> str:
    """A script without the margin that all of its lines share."""
    lines = [line for line in text.splitlines() if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return "\n".join(line[margin:] for line in text.splitlines())


def word(step: Call) -> str:
    """The first argument of a step as a word of shell."""
    return expressions.quoted(pieces(step.values[0])) if step.values else "."


def duration(call: Call) -> str:
    """The time of a `timeout`; empty where it is computed."""
    time, unit = call.named.get("time") or (call.values[0] if call.values else None), call.named.get("unit")
    factor = {"SECONDS": 1, "MINUTES": 60, "HOURS": 3600, "DAYS": 86400}.get(unit.text if unit else "MINUTES")
    if time is None or not time.text.isdecimal() or factor is None:
        return ""
    return f"{int(time.text) * factor}s"


def tries(call: Call) -> int:
    """How often it is tried again: Jenkins counts the first time, too."""
    count = call.values[0].text if call.values else ""
    return max(0, min(100, int(count) - 1)) if count.isdecimal() and len(count) < 5 else 0
