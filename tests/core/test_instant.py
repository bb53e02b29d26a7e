"""Times: RFC 3339 in exactly one reading, in microseconds, never without a zone."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core import instant
from ostiary.core.instant import DAY, HOUR, MINUTE, SECOND, duration_from_text, from_text, to_text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(timezones=ZONES)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


READ = {
    "1970-01-01T00:00:00Z": 0,
    "1970-01-01T00:00:00.000001Z": 1,
    "1970-01-01T00:00:00.0000019Z": 1,
    "1970-01-01T00:00:00.123456789Z": 123_456,
    "1970-01-01T00:00:01.5Z": 1_500_000,
    "1969-12-31T23:59:59Z": -SECOND,
    "1970-01-01t00:00:00z": 0,
    "1970-01-01T01:00:00+01:00": 0,
    "1969-12-31T19:30:00-04:30": 0,
    "1970-01-01T00:00:00-00:00": 0,
    "2024-02-29T00:00:00Z": 1_709_164_800 * SECOND,
    "2026-11-18T00:53:20Z": 1_794_963_200 * SECOND,
}


@pytest.mark.parametrize("text, expected", READ.items(), ids=READ)
def test_a_time_is_read_exactly(text: str, expected: int) -> None:
    """B8 breaks: a credential expires at another time than its owner entered."""
    assert from_text(text) == expected


REFUSED = [
    "",
    "now",
    "2027-01-31",
    "2027-01-31T00:00:00",
    "2027-01-31 00:00:00Z",
    "2027-01-31T00:00Z",
    "2027-1-31T00:00:00Z",
    "20270131T000000Z",
    "2027-W05-1T00:00:00Z",
    "2027-02-29T00:00:00Z",
    "2027-13-01T00:00:00Z",
    "2027-00-10T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "2027-01-31T24:00:00Z",
    "2027-01-31T23:60:00Z",
    "2016-12-31T23:59:60Z",
    "2027-01-31T00:00:00.Z",
    "2027-01-31T00:00:00,5Z",
    "2027-01-31T00:00:00.1234567890Z",
    "2027-01-31T00:00:00+24:00",
    "2027-01-31T00:00:00+01:99",
    "2027-01-31T00:00:00+0100",
    "2027-01-31T00:00:00+01",
    "2027-01-31T00:00:00 +01:00",
    "2027-01-31T00:00:00ZZ",
    "2027-01-31T00:00:00Z\n",
    " 2027-01-31T00:00:00Z",
    "+2027-01-31T00:00:00Z",
    "-2027-01-31T00:00:00Z",
    "２０２７-01-31T00:00:00Z",
    "2027-01-31T00:00:00−01:00",
    "1795000000",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text))
def test_a_time_that_could_be_misread_is_refused(text: str) -> None:
    """B8 breaks: an expiry is accepted that has no zone, does not exist, or cannot be shown."""
    with pytest.raises(ValueError):
        from_text(text)


@given(MOMENTS)
def test_every_moment_reads_as_it_was_written(moment: datetime) -> None:
    """B8 breaks: the zone or fraction of a time is lost."""
    expected = micros(moment)
    try:
        moment.astimezone(UTC)
    except OverflowError:
        with pytest.raises(ValueError):
            from_text(moment.isoformat())
        return
    assert from_text(moment.isoformat()) == expected == instant.from_datetime(moment)


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_shown_reads_back_to_the_millisecond(moment: datetime) -> None:
    """B8 breaks: a client that sends back a time from a response means another time."""
    shown = to_text(micros(moment))
    assert len(shown) == len("2026-11-22T09:30:00.000Z")
    assert from_text(shown) == micros(moment) // 1000 * 1000


@given(st.text(alphabet="0123456789-:.TtZz+ 年", max_size=32))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """P20 breaks: a crafted time raises an unexpected error, or gives a time that cannot be shown."""
    try:
        found = from_text(text)
    except ValueError:
        return
    assert to_text(found).endswith("Z")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0", 0),
        ("90", 90 * SECOND),
        ("90s", 90 * SECOND),
        ("15m", 15 * MINUTE),
        ("24h", DAY),
        ("30d", 30 * DAY),
        ("9999999d", 9_999_999 * DAY),
    ],
)
def test_a_length_of_time_is_read(text: str, expected: int) -> None:
    """P23 breaks: a setting is read as another length of time."""
    assert duration_from_text(text) == expected


@pytest.mark.parametrize(
    "text", ["", "s", "1.5h", "-1d", "+1d", "1 d", "1D", "1w", "1y", "1d12h", "99999999", "１d", "1d\n", "∞"]
)
def test_a_length_of_another_form_is_refused(text: str) -> None:
    """P23 breaks: a mistyped length of time is accepted."""
    with pytest.raises(ValueError):
        duration_from_text(text)


@given(st.integers(0, 9_999_999), st.sampled_from([SECOND, MINUTE, HOUR, DAY]))
def test_a_length_is_shown_exactly(number: int, unit: int) -> None:
    """P23 breaks: `ostiary config` shows another length than the one in effect."""
    length = number * unit
    shown = instant.duration_to_text(length)
    if len(shown) <= 8:  # the longest text that a setting accepts
        assert duration_from_text(shown) == length
