"""The language in which things are sought: MLflow's filter and order clauses, read into values.

What finds is an adapter, or `matches` where there are few. What may be asked for is a `Grammar`; that of runs is here.

    metrics.auc > 0.9 AND params.depth = '6' AND tags.`my team` ILIKE 'risk%' AND status = 'FINISHED'

Clauses are joined by AND alone. A key with spaces or dots that mislead stands in backticks or double quotes, a text in
single or double quotes, where two quotes stand for one. Order clauses are `metrics.auc DESC`; what a run does not have
comes last, whichever the direction.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeVar

from stellwerk.core.errors import Invalid
from stellwerk.core.patterns import Pattern

Entity = Literal[
    "metric", "param", "tag", "attribute", "dataset", "metadata", "span", "feedback", "expectation", "issue"
]
Comparator = Literal[
    "=", "!=", ">", ">=", "<", "<=", "LIKE", "ILIKE", "RLIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What can be asked of one kind of thing.

    Attributes:
        of: The kind, with its article, for people.
        entities: How its parts are spelled.
        texts: Attributes that are texts.
        numbers: Attributes that are numbers; times are in milliseconds since 1970.
        listed: Attributes that are asked with IN.
        missing: Attributes that a thing may lack.
        spellings: Other spellings of attributes.
        words: Other words for the values of attributes; a value of such an attribute has no upper case.
        asked: How parts are asked, where not as tags are.
        keys: The only keys that a part has; one that ends with a dot begins further ones.
        patterns: Whether attributes that are texts are asked with RLIKE, which takes a regular expression.
    """

    of: str
    entities: Mapping[str, Entity]
    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    listed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    spellings: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    asked: Mapping[Entity, tuple[Comparator, ...]] = field(default_factory=dict)
    keys: Mapping[Entity, tuple[str, ...]] = field(default_factory=dict)
    patterns: bool = False


TAGS: Mapping[str, Entity] = {"tag": "tag", "tags": "tag"}
ATTRIBUTES: Mapping[str, Entity] = {"attribute": "attribute", "attributes": "attribute", "attr": "attribute"}
LOGGED: Mapping[str, Entity] = {
    "metric": "metric",
    "metrics": "metric",
    "param": "param",
    "params": "param",
    "parameter": "param",
    "parameters": "param",
}
OF_DATASETS = ("name", "digest", "context")
"""What is asked of the datasets that a run used."""

RUNS = Grammar(
    of="a run",
    entities={**LOGGED, **TAGS, **ATTRIBUTES, "run": "attribute", "dataset": "dataset", "datasets": "dataset"},
    texts=("run_id", "run_name", "status", "user_id", "artifact_uri", "kind", "experiment", "parent"),
    numbers=("start_time", "end_time"),
    listed=("run_id", "run_name", "status", "experiment"),
    missing=("parent", "end_time"),
    spellings={
        "id": "run_id",
        "name": "run_name",
        "run name": "run_name",
        "user": "user_id",
        "created": "start_time",
        "experiment_name": "experiment",
        "experiment_id": "experiment",
    },
    words={"status": {"killed": "interrupted"}},
)

_MEASURES: tuple[Comparator, ...] = ("=", "!=", ">", ">=", "<", "<=")
_MATCHES: tuple[Comparator, ...] = ("=", "!=", "LIKE", "ILIKE")
_ABSENCE: tuple[Comparator, ...] = ("IS NULL", "IS NOT NULL")
_LISTS: tuple[Comparator, ...] = ("IN", "NOT IN")
_JUDGED: tuple[Entity, ...] = ("feedback", "expectation")
"""Parts whose values are numbers or texts."""
MAX_LENGTH = 20_000
MAX_CLAUSES = 100
"""Each is a look into an index; nobody types more."""
MAX_LISTED = 1000
MAX_PATTERN = 5000

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<name>[^\W\d][\w/:@+-]*(?:\.[\w/:@+-]+)*\.(?:`[^`]+`|"[^"]+")|`[^`]+`)
    | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<word>[\w/:@+-]+(?:\.[\w/:@+-]+)*)
    | (?P<sign>!=|>=|<=|=|>|<|\(|\)|,)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a clause is about: a metric, parameter or tag of a name, or an attribute of the run itself."""

    entity: Entity
    key: str
    number: bool = field(default=False, compare=False)
    """Whether it is an attribute that is a number."""

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return self.entity == "metric" or self.number


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition. `value` is a number, a text, several texts, or None for those about absence."""

    subject: Subject
    comparator: Comparator
    value: float | str | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Order:
    """One criterion of an order."""

    subject: Subject
    descending: bool


T = TypeVar("T")
Value = float | str | None
Read = Callable[[T, Subject], Value | tuple[Value, ...]]
"""What something has under a subject: a value, none, or several of which one is enough."""


def parse_filter(text: str, grammar: Grammar = RUNS) -> tuple[Clause, ...]:
    """The clauses of a filter; none for an empty one. Raises `Invalid` (`invalid-filter`)."""
    if len(text) > MAX_LENGTH:
        raise _invalid(f"it has {len(text):,} characters (expected at most {MAX_LENGTH:,})")
    if not text.strip():
        return ()
    tokens = _Tokens(text)
    clauses = [_clause(tokens, grammar)]
    while tokens.more:
        joined = tokens.word("AND")
        if not joined:
            raise _invalid(f"got {tokens.shown()} (expected AND, and then another condition)")
        clauses.append(_clause(tokens, grammar))
        if len(clauses) > MAX_CLAUSES:
            raise _invalid(f"it has more than {MAX_CLAUSES} conditions")
    return tuple(clauses)


def parse_order(clauses: Sequence[str], grammar: Grammar = RUNS) -> tuple[Order, ...]:
    """The criteria of an order, the most important first. Raises `Invalid` (`invalid-order`)."""
    if len(clauses) > MAX_CLAUSES:
        raise Invalid(f"an order has at most {MAX_CLAUSES} criteria", code="invalid-order")
    return tuple(_order(text, grammar) for text in clauses)


def _order(text: str, grammar: Grammar) -> Order:
    try:
        if len(text) > MAX_LENGTH:
            raise _invalid("it is too long")
        tokens = _Tokens(text)
        subject = _subject(tokens, grammar)
        descending = tokens.word("DESC")
        if not descending:
            tokens.word("ASC")
        if tokens.more:
            raise _invalid(f"got {tokens.shown()} (expected ASC, DESC or nothing)")
    except Invalid as cause:
        raise Invalid(
            f"cannot order by {text[:80]!r}: {cause.message.removeprefix(_BEFORE)}",
            code="invalid-order",
            hint="such as `metrics.auc DESC` or `start_time`",
        ) from cause
    return Order(subject, descending)


def matches(thing: T, clauses: Iterable[Clause], read: Read[T]) -> bool:
    """Whether something meets all conditions; what it does not have meets none but IS NULL."""
    return all(holds(clause, read(thing, clause.subject)) for clause in clauses)


def arranged(things: Iterable[T], order: Sequence[Order], read: Read[T]) -> list[T]:
    """Things in an order, and where that says nothing as they come; what is missing is last."""
    result = list(things)
    for criterion in reversed(order):
        there = [thing for thing in result if read(thing, criterion.subject) is not None]
        rest = [thing for thing in result if read(thing, criterion.subject) is None]

        def measure(thing: T, subject: Subject = criterion.subject) -> Value:
            found = read(thing, subject)
            return found[0] if isinstance(found, tuple) else found

        result = sorted(there, key=measure, reverse=criterion.descending) + rest  # type: ignore[arg-type]
    return result


def holds(clause: Clause, found: Value | tuple[Value, ...]) -> bool:
    """Whether what something has meets a condition about it; of several values one is enough."""
    if isinstance(found, tuple):
        return any(holds(clause, one) for one in found)
    wanted = clause.value
    if clause.comparator in _ABSENCE:
        return (found is None) == (clause.comparator == "IS NULL")
    if found is None:
        return False
    match clause.comparator:
        case "IN":
            return found in wanted  # type: ignore[operator]
        case "NOT IN":
            return found not in wanted  # type: ignore[operator]
        case "LIKE" | "ILIKE":
            return _pattern(str(wanted), clause.comparator == "ILIKE").fullmatch(str(found)) is not None
        case "RLIKE":
            return _expression(str(wanted)).found_in(str(found))
        case _:
            return bool(_COMPARED[clause.comparator](found, wanted))


_COMPARED: Mapping[str, Callable[[Any, Any], object]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@lru_cache(maxsize=64)
def _pattern(text: str, any_case: bool) -> re.Pattern[str]:
    """`%` for any characters and `_` for one; runs of `%` are one, so that no pattern takes long."""
    parts = (
        ".*" if part == "%" else "." if part == "_" else re.escape(part)
        for part in re.split(r"(%|_)", _RUNS.sub("%", text))
    )
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE | re.ASCII if any_case else 0))


_RUNS = re.compile("%+")


@lru_cache(maxsize=64)
def _expression(text: str) -> Pattern:
    return Pattern(text)


def _clause(tokens: _Tokens, grammar: Grammar) -> Clause:
    subject = _subject(tokens, grammar)
    comparator = _comparator(tokens)
    _check(subject, comparator, grammar)
    if comparator in _ABSENCE:
        return Clause(subject, comparator, None)
    if comparator in _LISTS:
        return Clause(subject, comparator, tuple(_meant(subject, text, grammar) for text in _listed(tokens)))
    kind, value = tokens.take()
    if subject.numeric or (subject.entity in _JUDGED and (kind == "number" or comparator in _MEASURES[2:])):
        if kind != "number":
            raise _invalid(f"{_named(subject)} is compared with {value[:40]!r} (expected a number)")
        return Clause(subject, comparator, float(value))
    if kind != "text":
        raise _invalid(f"{_named(subject)} is compared with {value[:40]!r} (expected a text in quotes)")
    if comparator in ("LIKE", "ILIKE") and len(value) > MAX_PATTERN:
        raise _invalid(f"a pattern has {len(value):,} characters (expected at most {MAX_PATTERN:,})")
    text = _meant(subject, _unquoted(value), grammar)
    if comparator == "RLIKE":
        _expression(text)  # raises for one that is not understood
    return Clause(subject, comparator, text)


def _subject(tokens: _Tokens, grammar: Grammar) -> Subject:
    kind, name = tokens.take()
    if kind not in ("name", "word", "text") or name.startswith("'"):
        raise _invalid(f"got {name[:40]!r} (expected a name such as metrics.auc, params.depth, tags.team or status)")
    if kind == "text":
        name = _unquoted(name)
    head, dot, rest = name.partition(".")
    entity = grammar.entities.get(head.lower()) if dot and kind != "text" else None
    if entity is None:
        if dot and kind != "text":
            raise _invalid(f"there is no {head[:40]!r} to ask for (expected one of {', '.join(grammar.entities)})")
        entity, rest = "attribute", name
    key = rest[1:-1] if rest[:1] in ('"', "`") else rest
    if entity == "dataset" and key not in OF_DATASETS:
        raise _invalid(f"a dataset has no {key[:40]!r} (expected one of {', '.join(OF_DATASETS)})")
    known_keys = grammar.keys.get(entity)
    if known_keys and not any(key == one or (one.endswith(".") and key.startswith(one)) for one in known_keys):
        raise _invalid(f"a {entity} has no {key[:40]!r} (expected one of {', '.join(known_keys)})")
    if entity != "attribute":
        return Subject(entity, key)
    key = grammar.spellings.get(key.lower(), key)
    if key not in grammar.texts + grammar.numbers:
        known = ", ".join(grammar.texts + grammar.numbers)
        raise _invalid(f"{grammar.of} has no attribute {key[:40]!r} (expected one of {known})")
    return Subject(entity, key, number=key in grammar.numbers)


def _comparator(tokens: _Tokens) -> Comparator:
    if tokens.word("IS"):
        absent = not tokens.word("NOT")
        if not tokens.word("NULL"):
            raise _invalid(f"got {tokens.shown()} after IS (expected NULL or NOT NULL)")
        return "IS NULL" if absent else "IS NOT NULL"
    if tokens.word("NOT"):
        if not tokens.word("IN"):
            raise _invalid(f"got {tokens.shown()} after NOT (expected IN)")
        return "NOT IN"
    for comparator in ("IN", "LIKE", "ILIKE", "RLIKE"):
        if tokens.word(comparator):
            return comparator
    kind, sign = tokens.take()
    if kind != "sign" or sign not in _MEASURES:
        raise _invalid(f"got {sign[:40]!r} (expected a comparison such as =, >, LIKE, IN or IS NULL)")
    return sign


def _check(subject: Subject, comparator: Comparator, grammar: Grammar) -> None:
    allowed = _MEASURES if subject.numeric else _MATCHES
    if subject.entity in grammar.asked:
        allowed = grammar.asked[subject.entity]
    elif subject.entity == "attribute":
        allowed += ("RLIKE",) if grammar.patterns and not subject.numeric else ()
        allowed += _LISTS if subject.key in grammar.listed else ()
        allowed += _ABSENCE if subject.key in grammar.missing else ()
    else:
        allowed += _LISTS if subject.entity == "dataset" else _ABSENCE
    if comparator not in allowed:
        raise _invalid(f"{_named(subject)} cannot be asked with {comparator} (expected one of {', '.join(allowed)})")


def _listed(tokens: _Tokens) -> Iterator[str]:
    tokens.sign("(")
    for count in range(MAX_LISTED):
        kind, text = tokens.take()
        if kind != "text":
            raise _invalid(f"got {text[:40]!r} in a list (expected texts in quotes)")
        yield _unquoted(text)
        if not tokens.try_sign(","):
            tokens.sign(")")
            return
        if count == MAX_LISTED - 1:
            raise _invalid(f"a list has more than {MAX_LISTED} texts")


def _meant(subject: Subject, text: str, grammar: Grammar) -> str:
    words = grammar.words.get(subject.key) if subject.entity == "attribute" else None
    return text if words is None else words.get(text.lower(), text.lower())


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


def _named(subject: Subject) -> str:
    return subject.key[:40] if subject.entity == "attribute" else f"{subject.entity}s.{subject.key[:40]}"


class _Tokens:
    """The words of a text, one after the other."""

    def __init__(self, text: str) -> None:
        self._found = list(_split(text))
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._found)

    def take(self) -> tuple[str, str]:
        """Kind and spelling of the next one. Raises `Invalid` at the end."""
        if not self.more:
            raise _invalid("it ends too early")
        self._at += 1
        return self._found[self._at - 1]

    def word(self, wanted: str) -> bool:
        """Whether the next one is this word, which is then taken."""
        kind, spelling = self._found[self._at] if self.more else ("", "")
        here = kind == "word" and spelling.upper() == wanted
        self._at += here
        return here

    def try_sign(self, wanted: str) -> bool:
        """Whether the next one is this sign, which is then taken."""
        here = self.more and self._found[self._at] == ("sign", wanted)
        self._at += here
        return here

    def sign(self, wanted: str) -> None:
        if not self.try_sign(wanted):
            raise _invalid(f"got {self.shown()} (expected {wanted!r})")

    def shown(self) -> str:
        """The next one, for people."""
        return repr(self._found[self._at][1][:40]) if self.more else "its end"


def _split(text: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise _invalid(f"it cannot be read from {text[at : at + 30].strip()!r} on")
        at = found.end()
        yield found.lastgroup, found[found.lastgroup]


_BEFORE = "Invalid filter: "


def _invalid(problem: str) -> Invalid:
    return Invalid(
        _BEFORE + problem,
        code="invalid-filter",
        hint="such as metrics.auc > 0.9 AND params.depth = '6' AND status = 'finished'",
    )
