"""Notes about constructs while a CI file is read, each once."""

from __future__ import annotations

from stellwerk.delivery.ci.taking.model import Finding, Outcome

Advice = tuple[Outcome, str, str]
"""What becomes of a construct wherever it stands: outcome, why, and what to do instead."""


class Notes:
    """The findings about one file, in the order of its lines."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], Finding] = {}

    def taken(self, line: int, construct: str) -> None:
        """It means here what it means there."""
        self._add(Finding(line=line, construct=construct, outcome="taken"))

    def changed(self, line: int, construct: str, why: str, instead: str = "") -> None:
        """It is taken over, and means something a little different."""
        self._add(Finding(line=line, construct=construct, outcome="changed", why=why, instead=instead))

    def left(self, line: int, construct: str, why: str, instead: str = "") -> None:
        """It is not taken over."""
        self._add(Finding(line=line, construct=construct, outcome="left", why=why, instead=instead))

    def advise(self, line: int, construct: str, advice: Advice) -> None:
        """What a table says about a construct."""
        outcome, why, instead = advice
        self._add(Finding(line=line, construct=construct, outcome=outcome, why=why, instead=instead))

    def all(self) -> tuple[Finding, ...]:
        """All of them, by line."""
        return tuple(sorted(self._found.values(), key=lambda one: one.line))

    def _add(self, finding: Finding) -> None:
        # A construct that is read twice (an anchor, a matrix) is told of once; what is worse for it stays.
        key = (finding.line, finding.construct)
        known = self._found.get(key)
        order = ("taken", "changed", "left")
        if known is None or order.index(known.outcome) < order.index(finding.outcome):
            self._found[key] = finding
