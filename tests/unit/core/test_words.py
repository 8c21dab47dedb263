"""Digests, names, times and errors: one spelling each, and everything else refused."""

from __future__ import annotations

import copy
import hashlib
import pickle
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core import clock, digest, names
from stellwerk.core.errors import (
    CODES,
    Bug,
    Conflict,
    Corrupt,
    Invalid,
    NotFound,
    Refused,
    StellwerkError,
    Unavailable,
)

ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
CLASSES = [StellwerkError, NotFound, Conflict, Invalid, Refused, Corrupt, Unavailable, Bug]

# Every hostile spelling of the threat model that is one line of text.
HOSTILE = """
../
../../../../etc/passwd
..\\..\\x
..%2f..%2fetc%2fpasswd
%2e%2e/
%2e%2e%2f
%252e%252e%252f
%c0%ae%c0%ae/
%e0%80%ae%e0%80%ae/
..%5c
..%255c
..;/..;/
....//....//
.%2e/
/%2e%2e/%2e%2e/
/etc/passwd
//etc/passwd
\\\\host\\share\\x
C:\\Windows\\x
~/x
$HOME/x
%00
a%00.txt
a/./b
a//b
a/b/..
a/../b
file:///etc/passwd
file://localhost/etc/passwd
FILE:/etc/passwd
file:%2f%2f%2fetc
file:/etc
etc/passwd?x
x#/../../y
s3://bucket/../../x
s3://b/%2e%2e/x
http://h/a/../b
mlflow-artifacts:/../../x
runs:/<id>/../../x
models:/m/1/../../2
models:/m@prod/../x
dbfs:/../x
hdfs://h/../x
ftp://h/%2e%2e/x
data:,x
javascript:alert(1)
'; DROP TABLE runs;--
" OR 1=1
<svg/onload=alert(1)>
{{7*7}}
${7*7}
{0.__class__}
$(id)
`id`
""".strip().splitlines()
HOSTILE += [
    "",
    " ",
    ".",
    "..",
    "a.",
    "a ",
    " a",
    "\uff0e\uff0e\uff0f",
    "\u2025",
    "\u2215",
    "a\u202etxt.exe",
    "a\u200bb",
    "e\u0301",
    "é",
    "İ",
    "ı",
    "\x1b[2J",
    "\r\nX: y",
    "a\n",
    "\x00",
    "a\x00.txt",
    "\ud800",
    "\uffff",
    "\ufdd0",
    "\U0001fffe",
    "a\u2028b",
    "a\u00a0",
    "x" * 256,
    "é" * 128,
    "x" * 100_000,
    ".git",
    "-rf",
    "__proto__",
]

# Those of them that are plain, if odd, file names in a tree: stored literally, never decoded, never a path.
PLAIN_FILES = {
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f",
    "%252e%252e%252f",
    "..%5c",
    "..%255c",
    "%00",
    "a%00.txt",
    "file:%2f%2f%2fetc",
    "data:,x",
    "javascript:alert(1)",
    "'; DROP TABLE runs;--",
    '" OR 1=1',
    "{{7*7}}",
    "${7*7}",
    "{0.__class__}",
    "$(id)",
    "`id`",
    "\u2025",
    "\u2215",
    "\uff0e\uff0e\uff0f",
    "é",
    "İ",
    "ı",
    ".git",
    "-rf",
    "__proto__",
}


def test_known_digests() -> None:
    """A digest is the SHA-256 of the bytes, however they arrive."""
    assert ABC == digest.of_bytes(b"abc") == digest.of_bytes(bytearray(b"abc")) == digest.of_bytes(memoryview(b"abc"))
    assert ABC == digest.of_chunks([b"a", b"", b"bc"])
    assert "ba7816bf8f01" == digest.short(digest.parse(ABC))


@given(data=st.binary(max_size=50))
def test_digests_parse_as_they_are(data: bytes) -> None:
    """Every digest we make is one, and its hex digits are those of any other tool."""
    made = digest.of_bytes(data)

    assert made == digest.parse(made)
    assert hashlib.sha256(data).hexdigest() == digest.hex_of(made)


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", ABC[:-1], ABC + "0", ABC.upper(), ABC + "\n", " " + ABC, "sha512" + ABC[6:], ABC[7:], *HOSTILE],
    ids=lambda text: repr(text)[:20],
)
def test_other_texts_are_no_digests(text: str) -> None:
    """No case, length, algorithm or white space is repaired."""
    with pytest.raises(Invalid) as caught:
        digest.parse(text)

    assert "invalid-digest" == caught.value.code


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_hostile_names_are_refused(text: str) -> None:
    """No hostile spelling is a name."""
    with pytest.raises(Invalid) as caught:
        names.name(text)

    assert "invalid-name" == caught.value.code
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text", ["a", "A1", "v2", "delay-model", "x_1.2", "None", "null", "latest", "constructor", "CON", "a" * 128, "0"]
)
def test_plain_names_are_kept_as_they_are(text: str) -> None:
    """Words that mean something elsewhere mean nothing here."""
    assert text == names.name(text)


@pytest.mark.parametrize("text", ["a" * 129, "a b", "ä", "a/b", "prod%2Dmodel", "_a", ".a", "a..", "a\u0661"])
def test_names_have_one_alphabet(text: str) -> None:
    """Letters and digits are those of ASCII; length and ends are limited."""
    with pytest.raises(Invalid, match="cannot be a model"):
        names.name(text, what="model")


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:20])
def test_hostile_file_names(text: str) -> None:
    """A hostile spelling is refused, or it is an odd but plain file name, kept literally."""
    if text in PLAIN_FILES:
        assert text == names.path_part(text)
        return
    with pytest.raises(Invalid) as caught:
        names.path_part(text)
    assert "invalid-path" == caught.value.code


@given(text=st.text(max_size=10))
def test_file_names_cannot_leave_a_folder_or_hide(text: str) -> None:
    """Whatever is accepted is one path component, is its own NFC, shows all its characters, and fits a disk."""
    try:
        part = names.path_part(text)
    except Invalid:
        return

    assert text == part == unicodedata.normalize("NFC", part)
    assert Path("folder", part).parent == Path("folder")
    assert part not in (".", "..")
    assert 1 <= len(part.encode()) <= 255
    assert part == part.strip()
    assert not {unicodedata.category(c) for c in part} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(text=st.text(max_size=200))
def test_slugs_are_names(text: str) -> None:
    """A suggestion can always be used."""
    assert names.slug(text) == names.name(names.slug(text))


@given(
    milliseconds=st.lists(st.integers(0, 2**47), min_size=2, max_size=5, unique=True),
)
def test_ids_sort_by_time(milliseconds: list[int]) -> None:
    """Ids made later sort later, have 26 characters, and are names."""
    start = datetime(1970, 1, 1, tzinfo=UTC)
    moments = sorted(start + timedelta(milliseconds=number) for number in milliseconds)
    ids = [names.new_id(moment) for moment in moments]

    assert sorted(ids) == ids
    assert {26} == set(map(len, ids))
    assert ids == [names.name(made) for made in ids]


def test_ids_differ_within_a_millisecond() -> None:
    """Eighty random bits keep ids of one moment apart."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)

    assert 1000 == len({names.new_id(moment) for _ in range(1000)})


aware = st.datetimes(
    timezones=st.timezones() | st.just(UTC), min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)
)


@given(instant=aware)
def test_instants_come_back(instant: datetime) -> None:
    """A time written and read is the same instant, in UTC, always 27 characters long."""
    text = clock.format_instant(instant)

    assert instant.astimezone(UTC) == clock.parse_instant(text)
    assert UTC == clock.parse_instant(text).tzinfo
    assert (27, "Z") == (len(text), text[-1])


@given(one=aware, other=aware)
def test_texts_of_instants_sort_as_instants(one: datetime, other: datetime) -> None:
    """The database may order times as text."""
    assert (one.astimezone(UTC) < other.astimezone(UTC)) == (clock.format_instant(one) < clock.format_instant(other))


def test_early_years_keep_four_digits() -> None:
    """The year 33 is written as 0033 on every platform."""
    assert "0033-04-03T15:00:00.000000Z" == clock.format_instant(datetime(33, 4, 3, 15, tzinfo=UTC))


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00",
        "2026-01-01",
        "yesterday",
        "",
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:30:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-01-01T00:00:00Z\x00",
        "2026-01-01\x0000:00:00Z",
        "２026-01-01T00:00:00Z",
        "1" * 5000,
    ],
)
def test_other_texts_are_no_instants(text: str) -> None:
    """A time without zone, or beyond the calendar, is refused; no other error escapes."""
    with pytest.raises(Invalid) as caught:
        clock.parse_instant(text)

    assert "invalid-time" == caught.value.code


def test_a_time_without_zone_is_not_written() -> None:
    """The zone of this machine is never assumed."""
    with pytest.raises(Invalid) as caught:
        clock.format_instant(datetime(2026, 1, 1))

    assert "invalid-time" == caught.value.code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("4h", timedelta(hours=4)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("36525d", timedelta(days=36525)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    """A duration is a whole number and one unit."""
    assert expected == clock.parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", "5", "d", "-1d", "+1d", "1.5h", "1 d", "1D", "1d ", "1d\n", "1h30m", "٣d", "²d", "36526d", "9999999999w"],
)
def test_other_texts_are_no_durations(text: str) -> None:
    """Only ASCII digits, only whole numbers, at most a hundred years."""
    with pytest.raises(Invalid) as caught:
        clock.parse_duration(text)

    assert "invalid-duration" == caught.value.code


@given(seconds=st.integers(0, 36_525 * 86_400))
def test_durations_come_back(seconds: int) -> None:
    """What was written is read back, in a text no longer than the seconds."""
    text = clock.format_duration(timedelta(seconds=seconds))

    assert timedelta(seconds=seconds) == clock.parse_duration(text)
    assert len(text) <= len(f"{seconds}s")


def test_a_replay_clock_says_what_was_set(tmp_path: Path) -> None:
    """Several processes agree on simulated time; a damaged file is `Unavailable`, not a wrong time."""
    moment = datetime(2013, 1, 2, 3, tzinfo=timezone(timedelta(hours=-5)))
    clock.ReplayClock(tmp_path / "clock.json").set(moment)

    assert moment == clock.ReplayClock(tmp_path / "clock.json").now()

    for text in ("", "{}", "[]", "5", '{"now": 5}', '{"now": "noon"}', '{"now": "2013-01-01"}'):
        (tmp_path / "clock.json").write_text(text)
        with pytest.raises(Unavailable) as caught:
            clock.ReplayClock(tmp_path / "clock.json").now()
        assert "clock-unreadable" == caught.value.code
    with pytest.raises(Unavailable):
        clock.ReplayClock(tmp_path / "missing.json").now()


def test_the_system_clock_is_aware() -> None:
    """Now is an instant in UTC between two looks at another clock."""
    before = datetime.now(UTC)
    now = clock.SystemClock().now()

    assert before <= now <= datetime.now(UTC)
    assert UTC == now.tzinfo
    assert clock.monotonic() <= clock.monotonic()


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_survive_the_way_between_processes(kind: type[StellwerkError]) -> None:
    """A worker's error arrives with its class, message, code and hint."""
    error = kind("what happened", code="some-code", hint="do this")

    for back in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert kind is type(back)
        assert ("what happened", "some-code", "do this") == (str(back), back.code, back.hint)


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_has_its_code(kind: type[StellwerkError]) -> None:
    """Without a code of its own an error carries that of its class; the table knows all of them."""
    assert kind("x").code == kind.default_code
    assert kind is CODES[kind.default_code]


def test_errors_are_also_what_python_users_expect() -> None:
    """`except KeyError` and `except ValueError` work, and messages are not quoted as `KeyError` does."""
    assert isinstance(NotFound("no run x"), KeyError)
    assert isinstance(Invalid("bad"), ValueError)
    assert "no run x" == str(NotFound("no run x"))


def test_the_tree_and_the_codes_are_in_step() -> None:
    """Every class below `StellwerkError` is in the table, and nothing else is."""
    below = {StellwerkError, *StellwerkError.__subclasses__()}

    assert {kind for kind in below if kind.__module__ == "stellwerk.core.errors"} == set(CODES.values())
    assert len(CODES) == len(set(CODES.values()))
