"""Identifiers: format and order."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core import identifier
from ostiary.core.identifier import ENTROPY, make
from tests.cast import NOON

INSTANTS = st.integers(0, (2**48 - 1) * 1000 + 999)
BYTES = st.binary(min_size=ENTROPY, max_size=ENTROPY)


@pytest.mark.parametrize(
    "prefix, instant, entropy, expected",
    [
        ("sa", 0, bytes(10), "sa_00000000000000000000000000"),
        ("sa", NOON, bytes(range(10)), "sa_01m7q5cqg0000g40r40m30e209"),
        ("org", (2**48 - 1) * 1000, b"\xff" * 10, "org_7zzzzzzzzzzzzzzzzzzzzzzzzz"),
    ],
    ids=["zeros", "noon", "ones"],
)
def test_ids_of_released_versions(
    prefix: identifier.Prefix, instant: int, entropy: bytes, expected: str
) -> None:
    """P21 breaks: new ids no longer sort after those of released versions."""
    assert make(prefix, instant, entropy) == expected


@given(INSTANTS, INSTANTS, BYTES, BYTES)
def test_ids_sort_by_their_creation(first: int, second: int, some: bytes, other: bytes) -> None:
    """Architecture breaks: lists in order of id are not in order of creation, or ids of one instant collide."""
    one, two = make("cred", first, some), make("cred", second, other)
    assert re.fullmatch("cred_[0-7][0-9a-hjkmnp-tv-z]{25}", one)
    if first // 1000 != second // 1000:
        assert (one < two) == (first < second)
    else:
        assert (one == two) == (some == other)


@pytest.mark.parametrize("length", [0, 9, 11])
def test_an_id_takes_exactly_its_entropy(length: int) -> None:
    """P19 breaks: ids can be guessed because they were made from too little randomness."""
    with pytest.raises(ValueError):
        make("sa", NOON, bytes(length))
