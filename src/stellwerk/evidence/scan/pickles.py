"""Pickles, read opcode by opcode and never loaded. The scanner's opinion is evidence, not a permission."""

from __future__ import annotations

import pickletools
from typing import Any

from stellwerk.evidence.scan.report import Scanned, Severity, executable

MAGIC = tuple(bytes((0x80, protocol)) for protocol in range(6))

_IMPORTS = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"})
_CALLS = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_TEXT_LIMIT = 1 << 20


def is_pickle(content: bytes) -> bool:
    """Whether content begins with the protocol mark that every pickle since protocol 2 has."""
    return content.startswith(MAGIC)


def scan_pickle(content: bytes) -> Scanned:
    """A pickle with what the scanner says about it."""
    return executable("a pickle", *verdict(content))


def verdict(content: bytes) -> list[tuple[Severity, str]]:
    """Everything that keeps the scanner from calling a pickle clean; empty for a clean one."""
    report = _scanned(content)
    if report.is_clean:
        return []
    against: list[tuple[Severity, str]] = [("critical", finding.message[:300]) for finding in report.findings[:10]]
    if not against or report.status.value != "complete":
        against.append(("critical", f"the pickle could not be read completely (verdict {report.verdict.value})"))
    return against


def hides_in_text(content: bytes) -> bool:
    """Whether text is a whole pickle of protocol 0 that imports and calls, or a broken one the scanner recognises."""
    seen: set[str] = set()
    try:
        for opcode, _, _ in pickletools.genops(content[:_TEXT_LIMIT]):
            seen.add(opcode.name)
    except (ValueError, IndexError, KeyError, OverflowError):
        # Loaders run a broken stream up to where it breaks; a list of words may begin like one.
        return bool(seen & _IMPORTS) and str(_scanned(content).verdict.value) == "malicious"
    return bool(seen & _IMPORTS and seen & _CALLS)


def _scanned(content: bytes) -> Any:
    from modelaudit_picklescan import scan_bytes

    # Without the call graph: that would read source files of this machine, and a pickle is executable either way.
    return scan_bytes(content, enrich_call_graph=False)
