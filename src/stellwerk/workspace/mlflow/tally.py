"""What came of an import so far, and what of it could not be kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stellwerk.core.errors import Invalid
from stellwerk.models import naming
from stellwerk.tracking import rules
from stellwerk.workspace.mlflow.model import Kind, Problem

T = TypeVar("T")


@dataclass
class Tally:
    """Counts by kind, as in `TrackerImport`."""

    kind: Kind
    made: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    remote: Counter[str] = field(default_factory=Counter)
    bare: int = 0
    problems: list[Problem] = field(default_factory=list)

    def origin(self) -> dict[str, Any]:
        """What the ledger is told of where something comes from."""
        return {"tracker": "wandb" if self.kind == "wandb" else "mlflow", "kind": self.kind}

    def time(self, milliseconds: int, where: str, name: str) -> int:
        """A time, or the beginning of all times where no calendar has it."""
        try:
            rules.instant(milliseconds)
        except Invalid as refused:
            self.problem("time", where, name, refused.message)
            return 0
        return milliseconds

    def fitting(
        self, pairs: Iterable[tuple[str, T]], kind: str, where: str, check: Callable[[str, T], None]
    ) -> list[tuple[str, T]]:
        """The pairs that are kept here; the others are named."""
        kept = []
        for key, value in pairs:
            try:
                check(key, value)
            except Invalid as refused:
                self.problem(kind, where, key, refused.message)
            else:
                kept.append((key, value))
        return kept

    def problem(self, kind: str, where: str, name: str, reason: str) -> None:
        """Note what was not kept."""
        self.problems.append(Problem(kind=kind, where=where, name=name, reason=reason))

    def described(self, text: str, where: str) -> str:
        """A description, or none where it cannot be kept."""
        try:
            return naming.description(text)
        except Invalid as refused:
            self.problem("description", where, "", refused.message)
            return ""


def elsewhere(location: str) -> bool:
    """Whether a location is at some other place than the machine or the server that it comes from."""
    scheme, mark, _ = location.partition(":")
    return bool(mark) and "/" not in scheme and scheme not in ("file", "mlflow-artifacts", "runs", "models")
