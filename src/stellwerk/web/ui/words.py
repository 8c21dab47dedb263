"""How values are written for people: hostile text made visible, dates, figures, durations, links. No markup."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LOG_SHOWN = 200_000
"""Characters of a log that a page shows: its end, because that is where it stopped."""

# Control characters, direction overrides, invisible format characters, lone surrogates and non-characters.
# Zero-width joiner and non-joiner stay: several scripts cannot be written without them.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e0fff]"
)
_MARKED = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_LOGGED = re.compile(r"models:/(m-[0-9a-f]{32})")
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}")
_LOCAL_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,2000}")


def visible(text: str) -> str:
    """The same text with every character that could hide, reorder or break something replaced by a visible sign."""
    return _INVISIBLE.sub(_sign, text.replace("\r\n", "\n"))


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code in (0xFFFE, 0xFFFF):
        return "\ufffd"
    return f"⟨U+{code:04X}⟩"


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where something was left out."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


def columns(text: str) -> int:
    """How many character cells a text needs in a fixed-width font: wide scripts count twice, accents not at all."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def wrap(text: str, width: int, lines: int) -> tuple[str, ...]:
    """Break a text into at most `lines` lines of `width` cells, at spaces and separators where possible."""
    rest = " ".join(visible(text[: 4 * width * lines]).split())
    out: list[str] = []
    whole = len(text) <= 4 * width * lines
    while rest and len(out) < lines:
        line = _fitting(rest, width)
        rest = rest[len(line) :].lstrip()
        out.append(line.rstrip())
    if out and (rest or not whole):
        kept = out[-1]
        while kept and columns(kept) >= width:
            kept = kept[:-1]
        out[-1] = kept + "…"
    return tuple(out)


def _fitting(text: str, width: int) -> str:
    """The longest start of a text that fits into a line, ending at a separator unless that wastes the line."""
    cells, end = 0, 0
    while end < len(text) and cells + columns(text[end]) <= width:
        cells += columns(text[end])
        end += 1
    if end == len(text):
        return text
    cut = 1 + max(text.rfind(separator, 0, end) for separator in " -_/.@:=")
    return text[: cut if cut >= width // 3 else max(end, 1)]


def prose(text: str) -> tuple[tuple[Literal["text", "code", "strong"], str], ...]:
    """A sentence in parts: between backticks stands what can be typed, between double stars what matters."""
    parts: list[tuple[Literal["text", "code", "strong"], str]] = []
    end = 0
    for match in _MARKED.finditer(text):
        parts.append(("text", text[end : match.start()]))
        parts.append(("code", match[1]) if match[1] is not None else ("strong", match[2]))
        end = match.end()
    parts.append(("text", text[end:]))
    return tuple(part for part in parts if part[1])


def figure(value: float | None, extra: int = 0) -> str:
    """A number with about three telling digits, or some more; NaN and infinities are written as such."""
    if value is None:
        return "–"
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size and (size >= 1e12 or size < 5e-4):
        text = f"{value:.2e}"
    elif size >= 1000 or value == int(value):
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{extra + (3 if size < 10 else 2 if size < 100 else 1)}f}"
    return text.replace("-", "−")


def plain_sign(text: str) -> str:
    """A number with the sign that is as wide as its digits."""
    return text.replace("-", "−")


def number(value: float | str | None) -> str:
    """A metric's value with four telling digits, or a sign for one that is not finite; None is a dash."""
    return "–" if value is None else column([value])[0]


def column(values: Sequence[float | str | None]) -> list[str]:
    """Numbers of one column with equally many decimals, so that their points stand in line."""
    known = [abs(one) for one in values if isinstance(one, float | int) and math.isfinite(one)]
    most = max(known, default=0.0)
    if not known or most >= 1e6 or 0 < most < 1e-3:
        return ["" if one is None else figure(float(one)) for one in values]
    places = 0 if all(one == int(one) for one in known) else min(max(3 - math.floor(math.log10(most or 1.0)), 0), 6)
    return [_in_line(one, places) for one in values]


def _in_line(value: float | str | None, places: int) -> str:
    if value is None:
        return ""
    if isinstance(value, str) or not math.isfinite(value) or 0 < abs(value) < 10.0**-places:
        return figure(float(value))
    return plain_sign(f"{value:,.{places}f}")


def share(value: float | None) -> str:
    """A fraction as percent; None is a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    percent = 100 * value
    return f"{percent:.0f}%" if percent >= 10 or percent == 0 else f"{percent:.1f}%"


def day(instant: datetime) -> str:
    """`3 Sep 2013`, in UTC."""
    there = _utc(instant)
    return f"{there.day} {MONTHS[there.month - 1]} {there.year}"


def moment(instant: datetime) -> str:
    """`3 Sep 2013, 06:00`, in UTC."""
    return f"{day(instant)}, {_utc(instant):%H:%M}"


def stamp(instant: datetime) -> str:
    """The machine's form for a `datetime` attribute."""
    return _utc(instant).isoformat(timespec="seconds").replace("+00:00", "Z")


def took(seconds: float) -> str:
    """How long something lasted: `0.42 s`, `3 min 5 s`, `2 h 14 min`, `3 days`."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
    return f"{seconds / 86400:,.0f} days"


def left(days: float) -> str:
    """How much time remains, in the unit a person would use."""
    if not math.isfinite(days) or days <= 0:
        return "ended"
    for limit, unit, name in ((2, 1.0, "day"), (2 / 24, 24.0, "hour"), (0, 1440.0, "minute")):
        if days >= limit:
            count = max(1, math.floor(days * unit))
            return f"{count:,} {name}{'' if count == 1 else 's'} left"
    return "ended"


def size(count: int) -> str:
    """Bytes in binary units."""
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(amount) < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:,.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def count(number: int, one: str, many: str = "") -> str:
    """`1 run`, `3,204 runs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def tail(log: str) -> tuple[str, int]:
    """The end of a log in whole lines, and how many characters were left out before it."""
    if len(log) <= LOG_SHOWN:
        return log, 0
    cut = log.find("\n", len(log) - LOG_SHOWN) + 1 or len(log) - LOG_SHOWN
    return log[cut:], cut


def page(kind: str, identity: str) -> str:
    """The address of a page about something; empty where an id cannot be part of an address."""
    if identity in ("", ".", ".."):
        return ""
    return f"/{kind}/{quote(identity, safe=':@', errors='replace')}"


def logged_model(source: str) -> str:
    """The logged model that a version was made from, by the address of its source; empty for every other source."""
    found = _LOGGED.fullmatch(source)
    return found[1] if found else ""


_HOMES = {"run": "runs", "model": "logged-models"}


def below(kind: str, identity: str, path: str) -> str:
    """The address of the page of a file or folder of a run or logged model; of all of it where the path is empty."""
    home = page(_HOMES[kind], identity)
    return f"{home}/files/{_path(path)}" if path else f"{home}/files"


def picture(kind: str, identity: str, path: str) -> str:
    """The address of the bytes of a picture."""
    return f"{page(_HOMES[kind], identity)}/picture/{_path(path)}"


def download(kind: str, identity: str, path: str) -> str:
    """The address under which a file is given as a file, whatever it holds."""
    if kind == "run":
        return f"/get-artifact?run_uuid={urlpart(identity)}&path={urlpart(path)}"
    inner = f"logged-models/{urlpart(identity)}/artifacts/files?artifact_file_path={urlpart(path)}"
    return f"/ajax-api/2.0/mlflow/{inner}"


def _path(path: str) -> str:
    return quote(path, safe="/:@", errors="replace")


def urlpart(text: str) -> str:
    """A text as a value in the query of an address."""
    return quote(text, safe="", errors="replace")


def local(link: str) -> str:
    """A link if it stays on this host and is plain; otherwise nothing."""
    return link if _LOCAL_PATH.fullmatch(link) else ""


def embedded(address: str) -> str:
    """A picture inside of the page, if the address is one; otherwise nothing."""
    return address if _PICTURE.fullmatch(address) else ""


def _utc(instant: datetime) -> datetime:
    return instant if instant.tzinfo in (None, UTC) else instant.astimezone(UTC)
