"""A declarative Jenkinsfile as a tree of calls. Only its form is read: no expression is computed, no code is run.

What has no place in the declarative form (`script` blocks, closures, operators) is kept as the text it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from stellwerk.core.errors import Invalid

MAX_BYTES = 1 << 20
MAX_DEPTH = 64

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\f]+|\\\n|\#![^\n]*)
  | (?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<newline>\n|;)
  | (?P<long>'''(?:\\.|[^\\])*?(?:'''|\Z)|\"\"\"(?:\\.|[^\\])*?(?:\"\"\"|\Z))
  | (?P<short>'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<word>[A-Za-z_$][A-Za-z0-9_$]*(?:\.[A-Za-z_$][A-Za-z0-9_$]*)*)
  | (?P<mark>[{}()\[\],:=])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One word of the language."""

    kind: str
    text: str
    line: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What is given to a call.

    Attributes:
        text: The text itself, or how a value is written.
        kind: `text`; `template` for a text in which Groovy puts values; `word` for a number, a truth or a name;
            `code` for everything else.
        items: Of a list.
        call: Of a value that is a call, such as `credentials('key')`.
    """

    text: str
    kind: str
    line: int
    items: tuple[Value, ...] = ()
    call: Call | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`name arguments { block }`, or `name = value`."""

    name: str
    line: int
    values: tuple[Value, ...] = ()
    named: dict[str, Value] = field(default_factory=dict)
    block: tuple[Call, ...] | None = None
    assigned: bool = False
    raw: str = ""
    """The block as it is written."""

    def inner(self, name: str) -> Call | None:
        """The first call of a name in the block."""
        return next((one for one in self.block or () if one.name == name), None)


CODE = "?"
"""The name of what is no call."""


def read(data: bytes, where: str) -> tuple[Call, ...]:
    """The statements of a file. Raises `Invalid` with the line and the reason."""
    if len(data) > MAX_BYTES:
        raise _bad(where, f"it is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise _bad(where, "it is not UTF-8") from cause
    return _Parser(_tokens(text, where), text, where).file()


def _tokens(text: str, where: str) -> list[Token]:
    found: list[Token] = []
    line = 1
    for match in _TOKEN.finditer(text):
        kind, said = str(match.lastgroup), match[0]
        if kind == "long" and (len(said) < 6 or said[-3:] != said[:3]):
            raise _bad(where, f"line {line}: a text is never closed")
        if kind not in ("space", "comment"):
            found.append(Token(kind=kind, text=said, line=line, at=match.start()))
        line += said.count("\n")
    return [*found, Token(kind="end", text="", line=line, at=len(text))]


def _string(token: Token) -> Value:
    quotes = 3 if token.kind == "long" else 1
    mark, body = token.text[0], token.text[quotes:-quotes]
    template = mark == '"' and re.search(r"(?<!\\)\$[{A-Za-z_]", body) is not None
    # A dollar that is no value stays marked in a template, so that it can be told from one that is.
    keep = r"\$" if template else "$"
    said = re.sub(
        r"\\(u[0-9a-fA-F]{4}|.)",
        lambda m: keep if m[1] == "$" else chr(int(m[1][1:], 16)) if len(m[1]) == 5 else _ESCAPES.get(m[1], m[1]),
        body,
        flags=re.DOTALL,
    )
    return Value(text=said, kind="template" if template else "text", line=token.line)


class _Parser:
    """Tokens to calls, by descent; how deep is bounded."""

    def __init__(self, tokens: list[Token], text: str, where: str) -> None:
        self._tokens, self._text, self._where = tokens, text, where
        self._at = 0
        self._depth = 0

    def file(self) -> tuple[Call, ...]:
        found = self._statements(until="end")
        if self._now.kind != "end":
            raise self._error("a bracket is closed that was never opened")
        return found

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._now
        self._at += token.kind != "end"
        return token

    def _is(self, mark: str) -> bool:
        return self._now.kind == "mark" and self._now.text == mark

    def _skip_lines(self) -> None:
        while self._now.kind == "newline":
            self._next()

    def _statements(self, until: str) -> tuple[Call, ...]:
        found: list[Call] = []
        while True:
            self._skip_lines()
            if self._now.kind == "end" or self._is("}"):
                return tuple(found)
            found.append(self._statement())

    def _statement(self) -> Call:
        token = self._now
        if token.kind != "word" or self._tokens[self._at + 1].kind == "other":
            return self._code(token)
        self._next()
        if token.text in ("def", "if", "for", "while", "try", "switch", "return", "import", "class"):
            return self._code(token)
        if self._is("="):
            self._next()
            value = self._value(until=("\n",))
            return Call(name=token.text, line=token.line, values=(value,), assigned=True)
        values: list[Value] = []
        named: dict[str, Value] = {}
        if self._is("("):
            self._next()
            self._arguments(values, named, closed_by=")")
        elif not self._ends() and not self._is("{"):
            self._arguments(values, named, closed_by="")
        if not self._ends() and not self._is("{"):
            return self._code(token)
        if self._is("{"):
            return self._block(token, values, named)
        return Call(name=token.text, line=token.line, values=tuple(values), named=named)

    def _ends(self) -> bool:
        return self._now.kind in ("newline", "end") or self._is("}")

    def _block(self, token: Token, values: list[Value], named: dict[str, Value]) -> Call:
        opened = self._next()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels")
        if token.text in ("script", "expression"):
            block: tuple[Call, ...] = ()
            self._balanced(stop=("}",))
        else:
            block = self._statements(until="}")
        closed = self._now
        if not self._is("}"):
            raise self._error("a block is never closed", opened)
        self._next()
        self._depth -= 1
        raw = self._text[opened.at + 1 : closed.at]
        return Call(name=token.text, line=token.line, values=tuple(values), named=named, block=block, raw=raw)

    def _arguments(self, values: list[Value], named: dict[str, Value], *, closed_by: str) -> None:
        while True:
            if closed_by:
                self._skip_lines()
                if self._is(closed_by):
                    self._next()
                    return
            if self._now.kind == "end":
                raise self._error("a bracket is never closed")
            key = self._now
            if key.kind in ("word", "short") and self._tokens[self._at + 1].text == ":":
                self._next(), self._next()
                name = _string(key).text if key.kind == "short" else key.text
                named[name] = self._value(until=(closed_by, ","))
            else:
                values.append(self._value(until=(closed_by, ",")))
            if closed_by:
                self._skip_lines()
            if self._is(","):
                self._next()
                self._skip_lines()
            elif not closed_by:
                return

    def _value(self, *, until: tuple[str, ...]) -> Value:
        """One value; one that goes on with an operator is code up to where it ends."""
        start = self._now
        found = self._simple()
        if found is not None and (self._ends() or self._now.text in until or self._is("{")):
            return found
        self._balanced(stop=(*until, "}", *(() if ")" in until or "]" in until else ("\n",))))
        said = self._text[start.at : self._now.at].strip()
        if not said:
            raise self._error(f"{self._now.text[:20]!r} stands where a value is expected")
        return Value(text=said, kind="code", line=start.line)

    def _simple(self) -> Value | None:
        token = self._now
        if token.kind in ("long", "short"):
            self._next()
            return _string(token)
        if token.kind == "number":
            self._next()
            return Value(text=token.text, kind="word", line=token.line)
        if token.kind == "word":
            self._next()
            if not self._is("("):
                return Value(text=token.text, kind="word", line=token.line)
            self._next()
            values: list[Value] = []
            named: dict[str, Value] = {}
            self._enter()
            self._arguments(values, named, closed_by=")")
            self._depth -= 1
            call = Call(name=token.text, line=token.line, values=tuple(values), named=named)
            said = self._text[token.at : self._tokens[self._at - 1].at + 1]
            return Value(text=said, kind="code", line=token.line, call=call)
        if self._is("["):
            self._next()
            items: list[Value] = []
            keyed: dict[str, Value] = {}
            self._enter()
            self._arguments(items, keyed, closed_by="]")
            self._depth -= 1
            said = self._text[token.at : self._tokens[self._at - 1].at + 1]
            return Value(text=said, kind="code" if keyed else "list", line=token.line, items=tuple(items))
        return None

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH} levels")

    def _balanced(self, *, stop: tuple[str, ...]) -> None:
        """Go on to one of these marks outside of any bracket that is opened here."""
        opened: list[Token] = []
        pairs = {")": "(", "]": "[", "}": "{"}
        while self._now.kind != "end":
            text = "\n" if self._now.kind == "newline" else self._now.text
            plain = self._now.kind in ("mark", "newline")
            if plain and not opened and text in stop:
                return
            if plain and text in ("(", "[", "{"):
                opened.append(self._now)
            elif plain and text in pairs and (not opened or opened.pop().text != pairs[text]):
                raise self._error(f"{text!r} closes what was never opened")
            self._next()
        if opened:
            raise self._error("a bracket is never closed", opened[0])

    def _code(self, token: Token) -> Call:
        """A statement of another form, as text up to the end of its line or of the block that it opens."""
        self._balanced(stop=("\n", "}"))
        if self._now is token:
            raise self._error(f"{token.text[:20]!r} stands where a statement is expected")
        return Call(name=CODE, line=token.line, raw=self._text[token.at : self._now.at].strip())

    def _error(self, reason: str, token: Token | None = None) -> Invalid:
        return _bad(self._where, f"line {(token or self._now).line}: {reason}")


def _bad(where: str, reason: str) -> Invalid:
    return Invalid(f"{where} cannot be read: {reason}", code="invalid-ci-file")
