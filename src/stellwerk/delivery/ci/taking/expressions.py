"""`${{ … }}` of GitHub in text: what is known is put in its place, the rest becomes a variable that a shell must find."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_PATH = re.compile(r"(github|env|matrix|secrets|vars|inputs|runner|steps|needs|job|strategy)((?:\.[A-Za-z0-9_-]+)+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a text: as it is, or a variable.

    Attributes:
        unknown: The expression, where nobody here knows what it stands for.
    """

    text: str = ""
    variable: str = ""
    unknown: str = ""


def pieces(text: str, *, matrix: Mapping[str, str], given: Mapping[str, str]) -> list[Piece]:
    """A text with its expressions resolved.

    Args:
        matrix: The values of this copy.
        given: Inputs that are parameters here, by name, with the variable they are in.
    """
    found: list[Piece] = []
    at = 0
    for match in _EXPRESSION.finditer(text):
        found += [Piece(text=text[at : match.start()])] if match.start() > at else []
        found.append(_resolved(match[1], matrix, given))
        at = match.end()
    return found + ([Piece(text=text[at:])] if at < len(text) else [])


def _resolved(expression: str, matrix: Mapping[str, str], given: Mapping[str, str]) -> Piece:
    path = _PATH.fullmatch(expression)
    if path is None:
        return Piece(variable=_name(expression), unknown=expression)
    context, rest = path[1], path[2][1:]
    if context == "matrix" and rest in matrix:
        return Piece(text=matrix[rest])
    if context == "env":
        return Piece(variable=_name(rest))
    if context in ("github", "runner") and rest.partition(".")[0] == "event":
        return Piece(variable=_name(expression), unknown=expression)
    if context in ("github", "runner"):
        name = f"{context}_{_name(rest)}".upper()
        return Piece(variable=name, unknown=expression)
    if context in ("inputs",) and rest in given:
        return Piece(variable=given[rest])
    if context in ("secrets", "vars", "inputs"):
        return Piece(variable=_name(rest), unknown=expression)
    return Piece(variable=_name(expression), unknown=expression)


def _name(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:60] or "VALUE"
    plain = plain if plain.isupper() or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) else plain.upper()
    return f"_{plain}" if plain[0].isdigit() else plain


def script(found: list[Piece]) -> str:
    """A script in which every variable must be set: the shell stops where it is not."""
    return "".join(f"${{{one.variable}:?}}" if one.variable else one.text for one in found)


def quoted(found: list[Piece]) -> str:
    """One word of shell with the same value."""
    escaped = (f"${{{one.variable}:?}}" if one.variable else re.sub(r'([\\"$`])', r"\\\1", one.text) for one in found)
    return '"' + "".join(escaped) + '"'


def plain(found: list[Piece]) -> str | None:
    """The text, where no variable is in it."""
    return None if any(one.variable for one in found) else "".join(one.text for one in found)
