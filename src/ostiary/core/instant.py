"""Points in time as integers, and as the RFC 3339 text that people and clients see.

An `Instant` is microseconds since 1970-01-01T00:00:00Z. It compares, stores and sorts alike in Python, SQLite and
PostgreSQL. A length of time is a `datetime.timedelta` in settings, and microseconds in calculations.
"""

import re
from datetime import UTC, datetime, timedelta

Instant = int

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DURATION = re.compile(r"([0-9]{1,7})(s|m|h|d)?")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


FIRST: Instant = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
"""The earliest instant that can be written as text: the beginning of the year 1."""


def to_text(instant: Instant) -> str:
    """Return RFC 3339 text in UTC with milliseconds: `2026-11-22T09:30:00.000Z`."""
    moment = _EPOCH + timedelta(microseconds=instant)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_or_none(instant: Instant | None) -> str | None:
    """Return the text of a time that may be None."""
    return None if instant is None else to_text(instant)


def from_text(text: str) -> Instant:
    """Parse an RFC 3339 time. Raises ValueError with the reason; a time without a zone is refused."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("must be an RFC 3339 time with a zone, such as 2027-01-31T00:00:00Z")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    zone = "+00:00" if zone in "Zz" else zone
    micro = (fraction or "").ljust(6, "0")[:6]
    try:
        if int(zone[-2:]) > 59:
            raise ValueError("no such zone")
        moment = datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}.{micro}{zone}")
        # Converting to UTC here refuses a time whose year in UTC would not be 1 to 9999.
        return from_datetime(moment.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise ValueError("is not a time that exists") from error


def expiry_from_text(text: str) -> Instant:
    """Parse an RFC 3339 time, or a date, which means 00:00 UTC of that day. Raises ValueError."""
    if _DATE.fullmatch(text):
        text += "T00:00:00Z"
    try:
        return from_text(text)
    except ValueError:
        raise ValueError(
            "must be a time such as 2027-01-31T00:00:00Z, or a date such as 2027-01-31"
        ) from None


def from_datetime(moment: datetime) -> Instant:
    """Return the instant of a timezone-aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def duration_from_text(text: str) -> int:
    """Return the microseconds of `90s`, `15m`, `24h`, `30d`, or a bare number of seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("must be a length of time such as 90s, 15m, 24h or 30d")
    return int(match[1]) * _UNITS[match[2] or "s"]


def duration_to_text(length: int) -> str:
    """Return the shortest exact text of a length in microseconds: 24 hours are `1d`."""
    for unit, size in reversed(_UNITS.items()):
        if length % size == 0:
            return f"{length // size}{unit}"
    return f"{length / SECOND}s"
