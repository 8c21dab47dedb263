"""Lists every error code in the source, as the page `docs/errors.md`.

Run `python -m stellwerk.testing.error_codes > docs/errors.md` after adding, changing or moving an error.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import stellwerk
from stellwerk.core.errors import CODES

SOURCE = Path(stellwerk.__file__).parent

HEAD = """\
# Error codes

Every error that Stellwerk raises has a class, which says what a handler can do about it, and a code, which says
what happened. Codes are kebab-case and append-only: one that was released keeps its meaning. Messages may change.
`…` stands for a value. Made by `python -m stellwerk.testing.error_codes`; a test holds it and the source in step.

| Class | A handler | Exit code |
|---|---|---|
| `Invalid` (also `ValueError`) | corrects the input | 2 |
| `NotFound` (also `KeyError`) | looks elsewhere; foreign and missing look the same | 4 |
| `Conflict` | reads again, then decides | 5 |
| `Refused` | asks somebody who may, or changes the rule | 6 |
| `Corrupt` | stops, and restores or repairs | 7 |
| `Unavailable` | tries again later | 8 |
| `Bug` | reports it | 70 |

`Failure` is no exception but a result, such as that of a step.

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One place in the source that gives a code."""

    code: str
    kind: str
    """The class that carries it: an error class, or a result such as `Failure`."""
    message: str
    hint: str


def literals(source: Path = SOURCE) -> set[str]:
    """Every code that the source spells out as a keyword argument, found by text alone."""
    return {
        code
        for file in _files(source)
        for code in re.findall(r"""\bcode=["']([^"']+)["']""", file.read_text("utf-8"))
    }


def uses(source: Path = SOURCE) -> list[Use]:
    """Every place that gives a code, found by syntax, in order of path and line."""
    return [use for file in _files(source) for use in _in_module(ast.parse(file.read_text("utf-8")))]


def page(source: Path = SOURCE) -> str:
    """The text of `docs/errors.md`."""
    found: dict[str, list[Use]] = {}
    for use in uses(source):
        found.setdefault(use.code, []).append(use)
    rows = ["| Code | Class | Meaning | Hint |", "|---|---|---|---|"]
    for code in sorted({*found, *CODES}):
        places = found.get(code, [])
        kinds = sorted({use.kind for use in places} | ({CODES[code].__name__} if code in CODES else set()))
        meaning = _first([use.message for use in places])
        hint = _first([use.hint for use in places])
        if code in CODES:
            meaning, hint = f"Any other: {(CODES[code].__doc__ or '').partition('.')[0]}.", ""
        rows.append(f"| `{code}` | {', '.join(f'`{kind}`' for kind in kinds)} | {meaning} | {hint} |")
    return HEAD + "\n".join(rows) + "\n"


def main() -> int:
    """Print the page."""
    sys.stdout.write(page())
    return 0


def _files(source: Path) -> Iterator[Path]:
    for file in sorted(source.rglob("*.py")):
        if file.relative_to(source).parts[0] != "testing":
            yield file


def _in_module(module: ast.Module) -> Iterator[Use]:
    passing = dict(_passing(module))
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        name = _name(node.func)
        kind, position = name, None
        if name in passing:
            kind, position = passing[name]
        given = keywords.get("code") or (
            node.args[position] if position is not None and position < len(node.args) else None
        )
        message = keywords.get("message") or (node.args[0] if node.args and name not in passing else None)
        for code in _constants(given):
            yield Use(code=code, kind=kind, message=_text(message), hint=_text(keywords.get("hint")))


def _passing(module: ast.Module) -> Iterator[tuple[str, tuple[str, int | None]]]:
    """Functions that hand a parameter `code` on to an error: name → (class of the error, position)."""
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names = [argument.arg for argument in function.args.args]
        if "code" not in names and "code" not in [argument.arg for argument in function.args.kwonlyargs]:
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and any(
                keyword.arg == "code" and _name(keyword.value) == "code" for keyword in node.keywords
            ):
                position = names.index("code") - (names[0] in {"self", "cls"}) if "code" in names else None
                yield function.name, (_name(node.func), position)


def _constants(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.expr | None) -> str:
    """The words of a string expression, with `…` for what is known only when it runs; safe in a table cell."""
    if isinstance(node, ast.Constant):
        text = str(node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.IfExp):
        text = _text(node.body) or _text(node.orelse)
    else:
        text = ""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _first(texts: list[str]) -> str:
    return next((text for text in texts if text.strip("…: ")), "")


if __name__ == "__main__":
    raise SystemExit(main())
