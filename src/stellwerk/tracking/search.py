"""The language in which runs are sought: MLflow's filter and order clauses, read into values. What finds is an adapter.

    metrics.auc > 0.9 AND params.depth = '6' AND tags.`my team` ILIKE 'risk%' AND status = 'FINISHED'

Clauses are joined by AND alone. A key with spaces or dots that mislead stands in backticks or double quotes, a text in
single or double quotes, where two quotes stand for one. Order clauses are `metrics.auc DESC`; what a run does not have
comes last, whichever the direction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from stellwerk.core.errors import Invalid

Entity = Literal["metric", "param", "tag", "attribute"]
Comparator = Literal["=", "!=", ">", ">=", "<", "<=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"]

ENTITIES: dict[str, Entity] = {
    "metric": "metric",
    "metrics": "metric",
    "param": "param",
    "params": "param",
    "parameter": "param",
    "parameters": "param",
    "tag": "tag",
    "tags": "tag",
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
}
TEXTS = ("run_id", "run_name", "status", "user_id", "kind", "experiment", "parent")
NUMBERS = ("start_time", "end_time")
"""In milliseconds since 1970."""
_ALIASES = {
    "id": "run_id",
    "name": "run_name",
    "run name": "run_name",
    "user": "user_id",
    "created": "start_time",
    "experiment_name": "experiment",
}
_STATUS = {"killed": "interrupted", "scheduled": "running"}
"""Words of MLflow for what is called otherwise here."""

_MEASURES: tuple[Comparator, ...] = ("=", "!=", ">", ">=", "<", "<=")
_MATCHES: tuple[Comparator, ...] = ("=", "!=", "LIKE", "ILIKE")
_ABSENCE: tuple[Comparator, ...] = ("IS NULL", "IS NOT NULL")
_LISTS: tuple[Comparator, ...] = ("IN", "NOT IN")
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

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers."""
        return self.entity == "metric" or (self.entity == "attribute" and self.key in NUMBERS)


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


def parse_filter(text: str) -> tuple[Clause, ...]:
    """The clauses of a filter; none for an empty one. Raises `Invalid` (`invalid-filter`)."""
    if len(text) > MAX_LENGTH:
        raise _invalid(f"it has {len(text):,} characters (expected at most {MAX_LENGTH:,})")
    if not text.strip():
        return ()
    tokens = _Tokens(text)
    clauses = [_clause(tokens)]
    while tokens.more:
        joined = tokens.word("AND")
        if not joined:
            raise _invalid(f"got {tokens.shown()} (expected AND, and then another condition)")
        clauses.append(_clause(tokens))
        if len(clauses) > MAX_CLAUSES:
            raise _invalid(f"it has more than {MAX_CLAUSES} conditions")
    return tuple(clauses)


def parse_order(clauses: Sequence[str]) -> tuple[Order, ...]:
    """The criteria of an order, the most important first. Raises `Invalid` (`invalid-order`)."""
    if len(clauses) > MAX_CLAUSES:
        raise Invalid(f"an order has at most {MAX_CLAUSES} criteria", code="invalid-order")
    return tuple(map(_order, clauses))


def _order(text: str) -> Order:
    try:
        if len(text) > MAX_LENGTH:
            raise _invalid("it is too long")
        tokens = _Tokens(text)
        subject = _subject(tokens)
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


def _clause(tokens: _Tokens) -> Clause:
    subject = _subject(tokens)
    comparator = _comparator(tokens)
    _check(subject, comparator)
    if comparator in _ABSENCE:
        return Clause(subject, comparator, None)
    if comparator in _LISTS:
        return Clause(subject, comparator, tuple(_meant(subject, text) for text in _listed(tokens)))
    kind, value = tokens.take()
    if subject.numeric:
        if kind != "number":
            raise _invalid(f"{_named(subject)} is compared with {value[:40]!r} (expected a number)")
        return Clause(subject, comparator, float(value))
    if kind != "text":
        raise _invalid(f"{_named(subject)} is compared with {value[:40]!r} (expected a text in quotes)")
    if comparator in ("LIKE", "ILIKE") and len(value) > MAX_PATTERN:
        raise _invalid(f"a pattern has {len(value):,} characters (expected at most {MAX_PATTERN:,})")
    return Clause(subject, comparator, _meant(subject, _unquoted(value)))


def _subject(tokens: _Tokens) -> Subject:
    kind, name = tokens.take()
    if kind not in ("name", "word", "text") or name.startswith("'"):
        raise _invalid(f"got {name[:40]!r} (expected a name such as metrics.auc, params.depth, tags.team or status)")
    if kind == "text":
        name = _unquoted(name)
    head, dot, rest = name.partition(".")
    entity = ENTITIES.get(head.lower()) if dot and kind != "text" else None
    if entity is None:
        if dot and kind != "text":
            raise _invalid(f"there is no {head[:40]!r} to ask for (expected metrics, params, tags or attributes)")
        entity, rest = "attribute", name
    key = rest[1:-1] if rest[:1] in ('"', "`") else rest
    if entity != "attribute":
        return Subject(entity, key)
    key = _ALIASES.get(key.lower(), key)
    if key not in TEXTS + NUMBERS:
        raise _invalid(f"a run has no attribute {key[:40]!r} (expected one of {', '.join(TEXTS + NUMBERS)})")
    return Subject(entity, key)


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
    for comparator in ("IN", "LIKE", "ILIKE"):
        if tokens.word(comparator):
            return comparator
    kind, sign = tokens.take()
    if kind != "sign" or sign not in _MEASURES:
        raise _invalid(f"got {sign[:40]!r} (expected a comparison such as =, >, LIKE, IN or IS NULL)")
    return sign


def _check(subject: Subject, comparator: Comparator) -> None:
    allowed = _MEASURES if subject.numeric else _MATCHES
    if subject.entity != "attribute":
        allowed = (*allowed, *_ABSENCE)
    elif subject.key in ("run_id", "run_name", "status", "experiment"):
        allowed = (*allowed, *_LISTS)
    elif subject.key in ("parent", "end_time"):
        allowed = (*allowed, *_ABSENCE)
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


def _meant(subject: Subject, text: str) -> str:
    if subject == Subject("attribute", "status"):
        return _STATUS.get(text.lower(), text.lower())
    return text


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


_BEFORE = "the filter is not understood: "


def _invalid(problem: str) -> Invalid:
    return Invalid(
        _BEFORE + problem,
        code="invalid-filter",
        hint="such as metrics.auc > 0.9 AND params.depth = '6' AND status = 'finished'",
    )
