"""Times of cron expressions on the clocks of zones, above all on the days on which clocks are changed."""

from __future__ import annotations

import sys
import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid, StellwerkError, Unavailable
from stellwerk.triggers.adapters.cron import CronCalendar

CALENDAR = CronCalendar()


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(cron: str, zone: str, after: str, count: int) -> list[str]:
    """The next times as the clock of the zone shows them, with its distance from UTC."""
    times = islice(CALENDAR.times(cron, zone, at(after)), count)
    return [CALENDAR.local(instant, zone).strftime("%m-%d %H:%M %z") for instant in times]


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # Berlin puts its clocks back on 25 October 2026 at 03:00 CEST: 02:00 to 03:00 comes twice, a job of it once.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
        # Every hour is every hour, also the one that comes twice.
        ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30", ["10-25 02:00 +0200", "10-25 02:00 +0100"]),
        # Asked between the two 02:30, the one of that day has passed.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10", ["10-26 02:30 +0100"]),
        # Clocks are put forward on 29 March 2026 at 02:00: a job within the gap runs right after it, once.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:30 +0200"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 02:00 +0200"]),
        ("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 03:00 +0200", "03-30 03:00 +0200"]),
        ("30 * * * *", "Europe/Berlin", "2026-03-29T00:00", ["03-29 01:30 +0100", "03-29 03:30 +0200"]),
        # Elsewhere: half an hour on Lord Howe Island, New York, and a zone without changes.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00", ["10-04 02:30 +1100", "10-05 02:15 +1100"]),
        ("30 1 * * *", "America/New_York", "2026-10-31T12:00", ["11-01 01:30 -0400", "11-02 01:30 -0500"]),
        ("30 2 * * *", "Asia/Tokyo", "2026-10-24T12:00", ["10-25 02:30 +0900", "10-26 02:30 +0900"]),
        # Debian: where day of month and day of week are both said, one of them is enough.
        ("0 0 13 * 5", "UTC", "2026-11-01T00:00", ["11-06 00:00 +0000", "11-13 00:00 +0000", "11-20 00:00 +0000"]),
        ("30 2 * * 1-5", "UTC", "2026-11-20T12:00", ["11-23 02:30 +0000"]),
        ("0 12 29 2 *", "UTC", "2026-11-20T12:00", ["02-29 12:00 +0000"]),
    ],
)  # fmt: skip
def test_times_on_the_clocks_of_zones(cron: str, zone: str, after: str, expected: list[str]) -> None:
    """As Debian's cron has it: nothing runs twice because clocks are put back, nothing is left out in the gap."""
    assert expected == local(cron, zone, after, len(expected))


_FIELD = st.sampled_from(["*", "*/15", "0", "30", "0,30", "7-9"])
_HOUR = st.sampled_from(["*", "1", "2", "2,3", "*/2", "0-3", "23"])


@settings(max_examples=150, deadline=None)
@given(
    minute=_FIELD,
    hour=_HOUR,
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"]),
    after=st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
)
def test_times_ascend_from_wherever_one_looks(minute: str, hour: str, zone: str, after: datetime) -> None:
    """Whoever looks from any of the times on sees exactly those that follow: no look loses one or sees one twice."""
    cron, since = f"{minute} {hour} * * *", after.replace(tzinfo=UTC)
    times = list(islice(CALENDAR.times(cron, zone, since), 30))

    assert all(early < late for early, late in pairwise([since, *times]))
    for place in (0, 7, 19):
        assert times[place + 1 :][:5] == list(islice(CALENDAR.times(cron, zone, times[place]), 29 - place))[:5]
        between = times[place] + (times[place + 1] - times[place]) / 2
        assert times[place + 1] == next(CALENDAR.times(cron, zone, between))


@pytest.mark.parametrize(
    "cron",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "0 0 31 2 *", "0 0 * * 8", "*/0 * * * *", "a * * * *",
        "@daily", "0 0 * * 1#1/2", "0 0 * * ²L", "1" * 300 + " * * * *", "0 0 30 2 */1", "5-1 * * * *",
        "9" * 190 + " * * * *",
    ],
)  # fmt: skip
def test_what_is_no_cron_expression(cron: str) -> None:
    """It is refused in words, whatever the library says of it."""
    with pytest.raises(Invalid) as caught:
        CALENDAR.check(cron, "UTC")

    assert "invalid-cron" == caught.value.code


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("0123456789*/,-#L SUNMONJAN?@\0²"), max_size=40))
def test_any_text_is_an_expression_or_invalid(cron: str) -> None:
    """Nothing that is typed breaks out as another error."""
    found = ""
    try:
        CALENDAR.check(cron, "Europe/Berlin")
    except Invalid as problem:
        found = problem.code

    assert found in ("", "invalid-cron")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime", "Europe", "x\0y", "CET?"])
def test_what_is_no_zone(zone: str) -> None:
    """It is refused in words; no path is followed."""
    with pytest.raises(Invalid) as caught:
        CALENDAR.check("0 0 * * *", zone)

    assert "unknown-zone" == caught.value.code


def test_a_machine_without_zones_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that the zone is unknown: it is the machine that lacks something."""
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    monkeypatch.setattr("stellwerk.triggers.adapters.cron.available_timezones", lambda: set())
    monkeypatch.setitem(sys.modules, "tzdata.zoneinfo.Asia", None)
    try:
        with pytest.raises(StellwerkError) as caught:
            CALENDAR.check("0 0 * * *", "Asia/Tokyo")
    finally:
        zoneinfo.reset_tzpath(to=before)
        zoneinfo.ZoneInfo.clear_cache()

    assert isinstance(caught.value, Unavailable)
    assert "no-time-zones" == caught.value.code


def test_a_time_is_never_now() -> None:
    """What is asked for after a time comes later than it, also by less than a second."""
    noon = at("2026-11-20T12:00")

    assert noon + timedelta(minutes=1) == next(CALENDAR.times("* * * * *", "UTC", noon))
    assert noon == next(CALENDAR.times("* * * * *", "UTC", noon - timedelta(microseconds=1)))
