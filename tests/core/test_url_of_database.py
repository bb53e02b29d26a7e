"""The URL of a database: characters in a password that would end it early."""

import pytest

from ostiary.core.url import check_userinfo


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://alice:pa@ss@db/ostiary", "@"),
        ("postgresql://alice:pa/ss@db:5432/ostiary", "/"),
        ("postgresql://alice:12/34@db/ostiary", "/"),
        ("postgresql://alice:pa#ss@db/ostiary", "#"),
        ("postgresql://alice:pa[ss@db/ostiary", "["),
        ("postgresql://alice:pa?ss@db/ostiary", "?"),
        ("postgresql://alice:pa%40%2F%3Fss@db/ostiary?options=a@b", None),
        ("postgresql://alice@[::1]:5432/ostiary", None),
        ("postgresql://db:5432/ostiary?user=alice@acme&password=x", None),
        ("postgresql:///ostiary?host=/run/db&user=alice@acme", None),
        ("postgresql://alice:secret@one:5432,two:5433/ostiary", None),
    ],
)
def test_a_password_that_must_be_encoded_is_told_from_one_that_is(url: str, found: str | None) -> None:
    """P23 breaks: part of a password is read as the host, or a valid URL is refused."""
    said = None
    try:
        check_userinfo(url)
    except ValueError as error:
        said = str(error).removeprefix("has a ")[0]
    assert said == found
