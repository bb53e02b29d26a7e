"""The spelling of URLs in which audiences are compared."""

import pytest

from ostiary.core.url import normalized_audience


@pytest.mark.promise("P14")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://api.test@evil.test/", "https://api.test/@evil.test/"),
        ("https://\u212aing.test/", "https://king.test/"),
        ("https://api.test:444", "https://api.test"),
        ("https://api.test/A", "https://api.test/a"),
    ],
)
def test_two_audiences_are_not_taken_for_one(one: str, other: str) -> None:
    """P14 breaks: a token for one audience is accepted for another."""
    assert normalized_audience(one) != normalized_audience(other)
