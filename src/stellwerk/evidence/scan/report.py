"""What a scan of model files says: a class of format, and findings. The parsers are beside this file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FormatClass = Literal["data-only", "executable", "refused"]
Severity = Literal["warning", "critical"]

DATA: FormatClass = "data-only"
EXECUTABLE: FormatClass = "executable"
REFUSED: FormatClass = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why one file is not plain data."""

    path: str
    severity: Severity
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """The worst class among the files, and everything found. `clean` only if every file was read as plain data."""

    format_class: FormatClass
    findings: tuple[Finding, ...]
    clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """One file: its class, what its content is, and what speaks against it (severity and reason)."""

    format_class: FormatClass
    kind: str
    against: tuple[tuple[Severity, str], ...] = ()


def data(kind: str) -> Scanned:
    """A file that was read completely and holds nothing but data."""
    return Scanned(format_class=DATA, kind=kind)


def refused(kind: str, reason: str) -> Scanned:
    """A file that was not read completely, or holds what it must not."""
    return Scanned(format_class=REFUSED, kind=kind, against=(("critical", reason),))


def executable(kind: str, *against: tuple[Severity, str], reason: str = "") -> Scanned:
    """A file that runs code when it is loaded; never clean, whatever else is found."""
    always: tuple[Severity, str] = ("warning", reason or f"{kind} runs code when it is loaded")
    return Scanned(format_class=EXECUTABLE, kind=kind, against=(always, *against))
