"""Cron expressions by cronsim, with the semantics of Debian's cron, on zones of the machine's own database.

A job at fixed times runs once on the day on which clocks are put back, and right after the gap on the day on which they
are put forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from stellwerk.core.errors import Invalid, Unavailable

FIELDS = 5
LONGEST = 200
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)


class CronCalendar:
    """The `Calendar` port."""

    def check(self, cron: str, zone: str) -> None:
        next(self._times(cron, _SOME_DAY, _zone(zone)))

    def times(self, cron: str, zone: str, after: datetime) -> Iterator[datetime]:
        yield from self._times(cron, after, _zone(zone))

    def local(self, instant: datetime, zone: str) -> datetime:
        return instant.astimezone(_zone(zone))

    def _times(self, cron: str, after: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        from cronsim import CronSim, CronSimError

        if len(cron) > LONGEST or len(cron.split()) != FIELDS:
            raise _wrong(cron, "expected five fields: minute, hour, day of month, month, day of week")
        latest = after.astimezone(UTC)
        try:
            found = CronSim(cron, latest.astimezone(zone))
        except (CronSimError, AssertionError, ValueError, TypeError, IndexError) as cause:
            # cronsim says what is wrong only of what it foresaw.
            said = str(cause).lower() if isinstance(cause, CronSimError) else "it cannot be read"
            raise _wrong(cron, said) from cause
        started = False
        for local in found:
            instant = local.astimezone(UTC)
            # On the days on which clocks are changed cronsim names some instants twice, or one that has passed.
            if instant > latest:
                latest = instant
                started = True
                yield instant
        if not started:
            raise _wrong(cron, "it never comes true")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as cause:
        if not available_timezones():
            raise Unavailable(
                f"this machine has no database of time zones, so {name[:60]!r} cannot be read",
                code="no-time-zones",
                hint="install the package tzdata of the system, or `pip install tzdata`",
            ) from cause
        raise Invalid(
            f"there is no time zone {name[:60]!r} (expected a name such as Europe/Berlin or UTC)",
            code="unknown-zone",
            hint="https://en.wikipedia.org/wiki/List_of_tz_database_time_zones lists them",
        ) from cause


def _wrong(cron: str, why: str) -> Invalid:
    return Invalid(
        f"not a cron expression: {cron[:80]!r} ({why})", code="invalid-cron", hint='such as "30 2 * * 1-5"'
    )
