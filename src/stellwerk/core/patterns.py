"""Regular expressions whose search takes time linear in the text, for patterns that strangers write.

What Python's `re` does by trying again is done here by going through all possibilities at once (Thompson, 1968), so no
pattern is slow. Understood: literals, `.`, classes, `\\d`, `\\w`, `\\s`, `^`, `$`, groups, `|`, `*`, `+`, `?`, `{m,n}`,
and `(?i)` at the beginning. Everything else is refused, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stellwerk.core.errors import Invalid

MAX_LENGTH = 1000
MAX_STEPS = 2000
"""Steps of a program: repeats with numbers are written out."""
MAX_DEPTH = 50
MAX_REMEMBERED = 20_000

Test = Callable[[str], bool]
Step = tuple[Any, ...]
Node = tuple[Any, ...]

_CLASSES: dict[str, Test] = {
    "d": str.isdigit,
    "w": lambda letter: letter.isalnum() or letter == "_",
    "s": str.isspace,
    "D": lambda letter: not letter.isdigit(),
    "W": lambda letter: not (letter.isalnum() or letter == "_"),
    "S": lambda letter: not letter.isspace(),
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}


class Pattern:
    """A pattern that is sought anywhere in a text. Raises `Invalid` (`invalid-pattern`) for what is not understood."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise _invalid(f"it has {len(text):,} characters (expected at most {MAX_LENGTH:,})")
        self._folds = text.startswith("(?i)")
        body = text.removeprefix("(?i)")
        self._steps: list[Step] = []
        self._emit(_Reader(body, folds=self._folds).read())
        self._steps.append(("match",))
        self._again = self._closure([0], start=False)
        self._known: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def found_in(self, text: str) -> bool:
        """Whether it matches anywhere."""
        goal = len(self._steps) - 1
        current = self._closure([0], start=True) | self._again
        for letter in text.lower() if self._folds else text:
            if goal in current:
                return True
            current = self._next(current, letter)
        return goal in self._closure(current, start=not text, end=True)

    def _next(self, current: frozenset[int], letter: str) -> frozenset[int]:
        known = self._known.get((current, letter))
        if known is None:
            steps = self._steps
            reached = (at + 1 for at in current if steps[at][0] == "test" and steps[at][1](letter))
            known = self._closure(reached, start=False) | self._again
            if len(self._known) < MAX_REMEMBERED:
                self._known[current, letter] = known
        return known

    def _closure(self, places: Iterable[int], *, start: bool, end: bool = False) -> frozenset[int]:
        """Where one is without reading a letter. Those who wait for the end stay where they are."""
        found: set[int] = set()
        open_ = list(places)
        while open_:
            at = open_.pop()
            if at in found:
                continue
            found.add(at)
            step = self._steps[at]
            if step[0] == "go":
                open_ += step[1]
            elif (step[0] == "start" and start) or (step[0] == "end" and end):
                open_.append(at + 1)
        return frozenset(found)

    def _emit(self, node: Node) -> None:
        kind = node[0]
        if kind == "all":
            for one in node[1]:
                self._emit(one)
        elif kind == "any":
            self._either(node[1])
        elif kind == "repeat":
            self._repeat(*node[1:])
        else:
            self._add(node)

    def _either(self, branches: list[Node]) -> None:
        first = self._add(("go", []))
        ends = []
        for branch in branches:
            self._steps[first][1].append(len(self._steps))
            self._emit(branch)
            ends.append(self._add(("go", [])))
        for end in ends:
            self._steps[end][1].append(len(self._steps))

    def _repeat(self, node: Node, least: int, most: int | None) -> None:
        for _ in range(least):
            self._emit(node)
        if most is None:
            first = self._add(("go", []))
            self._steps[first][1].append(first + 1)
            self._emit(node)
            self._add(("go", [first]))
            self._steps[first][1].append(len(self._steps))
            return
        skips = []
        for _ in range(most - least):
            skips.append(self._add(("go", [len(self._steps) + 1])))
            self._emit(node)
        for skip in skips:
            self._steps[skip][1].append(len(self._steps))

    def _add(self, step: Step) -> int:
        if len(self._steps) >= MAX_STEPS:
            raise _invalid("it is too large when its repeats are written out")
        self._steps.append(step)
        return len(self._steps) - 1


class _Reader:
    """A pattern as nodes."""

    def __init__(self, text: str, *, folds: bool) -> None:
        self._text, self._folds, self._at = text, folds, 0

    def read(self) -> Node:
        found = self._branches(0)
        if self._at < len(self._text):
            raise _invalid("a ')' closes nothing")
        return found

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        letter = self._peek()
        if not letter:
            raise _invalid("it ends too early")
        self._at += 1
        return letter

    def _branches(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise _invalid(f"it is nested deeper than {MAX_DEPTH} levels")
        branches = [self._sequence(depth)]
        while self._peek() == "|":
            self._take()
            branches.append(self._sequence(depth))
        return branches[0] if len(branches) == 1 else ("any", branches)

    def _sequence(self, depth: int) -> Node:
        nodes: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            nodes.append(self._repeated(self._atom(depth)))
        return ("all", nodes)

    def _repeated(self, node: Node) -> Node:
        letter = self._peek()
        if letter not in ("*", "+", "?", "{") or not letter:
            return node
        if node[0] in ("start", "end"):
            raise _invalid("'^' and '$' cannot be repeated")
        self._take()
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(letter) or self._counts()
        if self._peek() == "?":
            self._take()  # the shortest match is one, too
        if self._peek() in ("*", "+", "{") and self._peek():
            raise _invalid("a repeat is repeated")
        return ("repeat", node, least, most)

    def _counts(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        inside = self._text[self._at : end] if end >= 0 else ""
        low, comma, high = inside.partition(",")
        if not all(part.isascii() and part.isdecimal() and len(part) < 4 for part in (low, high or "0")):
            raise _invalid("'{' begins no count (a literal one is written '\\{')")
        self._at = end + 1
        least = int(low)
        most = int(high) if high else None if comma else least
        if most is not None and most < least:
            raise _invalid(f"{{{inside}}} counts backwards")
        return least, most

    def _atom(self, depth: int) -> Node:
        letter = self._take()
        if letter == ".":
            return ("test", lambda other: other != "\n")
        if letter in "^$":
            return ("start",) if letter == "^" else ("end",)
        if letter == "(":
            if self._text.startswith("?:", self._at):
                self._at += 2
            elif self._peek() == "?":
                raise _invalid("groups that begin with '(?' are not understood")
            inner = self._branches(depth + 1)
            if self._take() != ")":
                raise _invalid("a '(' is not closed")
            return inner
        if letter == "[":
            return ("test", self._class())
        if letter == "\\":
            return ("test", self._escape())
        if letter in "*+?{":
            raise _invalid(f"{letter!r} repeats nothing")
        return ("test", self._is(letter))

    def _is(self, letter: str) -> Test:
        wanted = letter.lower() if self._folds else letter
        return lambda other: other == wanted

    def _escape(self) -> Test:
        letter = self._take()
        if letter in _CLASSES:
            return _CLASSES[letter]
        return self._is(self._plain(letter))

    def _plain(self, letter: str) -> str:
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter.isalnum():
            raise _invalid(f"'\\{letter}' is not understood")
        return letter

    def _class(self) -> Test:
        negated = self._peek() == "^"
        if negated:
            self._take()
        tests: list[Test] = []
        first = True
        while first or self._peek() != "]":
            low = self._take()
            if low == "\\":
                named = self._take()
                if named in _CLASSES:
                    tests.append(_CLASSES[named])
                    first = False
                    continue
                low = self._plain(named)
            first = False
            high = low
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._take()
                high = self._take()
                if high == "\\":
                    high = self._plain(self._take())
            tests.append(self._range(low, high))
        self._take()
        return lambda letter: any(test(letter) for test in tests) != negated

    def _range(self, low: str, high: str) -> Test:
        if high < low:
            raise _invalid(f"the range {low}-{high} is empty")
        if self._folds:
            return lambda letter: low <= letter <= high or low <= letter.upper() <= high
        return lambda letter: low <= letter <= high


def _invalid(problem: str) -> Invalid:
    return Invalid(f"the pattern is not understood: {problem}", code="invalid-pattern")
