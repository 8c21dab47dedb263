"""`docs/errors.md` and the source are in step."""

from __future__ import annotations

import re
from pathlib import Path

from stellwerk.core.errors import CODES
from stellwerk.testing import error_codes

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"


def test_the_page_is_up_to_date() -> None:
    """The page is what the source says; to refresh it: python -m stellwerk.testing.error_codes > docs/errors.md"""
    assert PAGE.read_text("utf-8").splitlines() == error_codes.page().splitlines()


def test_every_code_in_the_source_is_documented() -> None:
    """A code found by plain text search stands on the page, as does every code of a class."""
    documented = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))

    assert set() == (error_codes.literals() | set(CODES)) - documented


def test_codes_are_kebab_case() -> None:
    """Codes are short lower-case words with hyphens."""
    found = {use.code for use in error_codes.uses()} | error_codes.literals()

    assert len(found) > 20
    assert set() == {code for code in found if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code)}


def test_the_lister_reads_what_is_written(tmp_path: Path) -> None:
    """Keywords, choices, f-strings, and helpers that hand a code on are all understood."""
    (tmp_path / "room.py").write_text(
        'raise Corrupt(f"blob {x} is | bad", code="one-code", hint=f"see {y}")\n'
        'raise errors.Invalid("a" if z else "b", code="two-code" if z else "three-code")\n'
        "def refuse(text, code):\n    raise Refused(text, code=code)\n"
        'refuse("no", "four-code")\n'
        'Failure(message="stopped", code="five-code")\n'
    )
    (tmp_path / "testing").mkdir()
    (tmp_path / "testing" / "kit.py").write_text('Bug("x", code="not-listed")\n')

    found = {use.code: (use.kind, use.message, use.hint) for use in error_codes.uses(tmp_path)}

    expected = {
        "one-code": ("Corrupt", "blob … is \\| bad", "see …"),
        "two-code": ("Invalid", "a", ""),
        "three-code": ("Invalid", "a", ""),
        "four-code": ("Refused", "", ""),
        "five-code": ("Failure", "stopped", ""),
    }
    assert expected == found
    assert {"one-code", "two-code", "five-code"} == error_codes.literals(tmp_path)
    assert "| `one-code` | `Corrupt` | blob … is \\| bad | see … |" in error_codes.page(tmp_path)
