"""P5, P20: what waits to be written is bounded and complete, and no tenant displaces another's."""

import pytest

from ostiary.storage import usage_buffer as room
from ostiary.storage.usage_buffer import UsageBuffer, UsageEvent
from tests.cast import NOON

pytestmark = pytest.mark.promise("P20")


def refusal(number: int, organization: str | None = None, reason: str = "unknown") -> UsageEvent:
    return UsageEvent(False, reason, f"10.1.{number // 256}.{number % 256}", "verify", organization)


def use(number: int, organization: str, credential: str) -> UsageEvent:
    address = f"10.2.{number // 256}.{number % 256}"
    return UsageEvent(True, "valid", address, "verify", organization, credential, f"access of {credential}")


def test_what_is_given_back_stays_within_the_bounds() -> None:
    """P5, P20 break: while the database is down, memory grows without bound, or counts or times are lost."""
    counts = UsageBuffer()
    for round_ in range(5):
        for number in range(1000):
            counts.add(refusal(number, "umbrella"), round_)
        counts.give_back(counts.take())
    assert counts.totals() == {("verify", "unknown"): 5000}
    kept = counts.take()
    assert len(kept) == room.ADDRESSES_OF_REFUSALS + 1
    assert sum(count.number for count in kept.values()) == 5000
    assert {count.first for count in kept.values()} == {0}
    assert {count.last for count in kept.values()} == {4}


def test_a_flood_takes_nobody_elses_room() -> None:
    """P5c breaks: during a flood from one tenant, another tenant's uses and refusals lose credential or address."""
    counts = UsageBuffer()
    for number in range(40_000):
        counts.add(refusal(number, "umbrella", f"reason {number % 4000}"), NOON)
        counts.add(use(number, "umbrella", f"cred_{number % 30_000}"), NOON)
    theirs = use(1, "acme", "cred_victim"), refusal(1, "acme"), refusal(1)
    for each in theirs:
        for _ in range(300):
            counts.add(each, NOON)
    assert counts.waiting() < counts.uses + counts.refusals
    kept = counts.take()
    assert [kept[each].number for each in theirs] == [300, 300, 300]
    assert sum(count.number for count in kept.values()) == 80_900
    assert kept[UsageEvent(True, "valid", None, "verify", "umbrella", display="many")].number > 0


def test_a_use_without_room_for_its_address_keeps_its_credential() -> None:
    """P5c breaks: a key that is used from many addresses is not reported, or fills the log."""
    counts = UsageBuffer()
    for number in range(300):
        for key in range(20):
            counts.add(use(number, "acme", f"cred_{key}"), NOON + number)
    kept = counts.take()
    for key in range(20):
        of_key = {each: count for each, count in kept.items() if each.credential_id == f"cred_{key}"}
        assert sum(count.number for count in of_key.values()) == 300
        assert {each.access_id for each in of_key} == {f"access of cred_{key}"}
        assert 1 < len(of_key) <= room.ADDRESSES_OF_CREDENTIAL + 1
    # The first address of each key, some more of all keys, and one sum for each key's other addresses.
    assert len(kept) == 20 + room.MORE_ADDRESSES + 20


def test_the_neighbourhood_of_a_refusal() -> None:
    """P20 breaks: one IPv6 host counts as a new address with each request; or a use is recorded with another address."""
    counts = UsageBuffer()
    for number in range(10):
        address = f"2001:db8:1:2:{number + 1:x}::1"
        counts.add(UsageEvent(False, "unknown", address, "api"), NOON)
        counts.add(UsageEvent(True, "valid", address, "api", "acme", "cred_1", "access"), NOON)
    counts.give_back(counts.take())
    kept = counts.take()
    assert kept[UsageEvent(False, "unknown", "2001:db8:1:2::/64", "api")].number == 10
    assert len(kept) == 11


def test_a_mark_is_known_whatever_it_was_counted_as() -> None:
    """P5, P20 break: marks fill the memory or displace others, or uses that are counted by a mark are lost."""
    counts = UsageBuffer()
    for number in range(room.MAX_MARKS + 100):
        counts.add(refusal(number, "umbrella"), NOON, (str(number),))
        assert counts.again((str(number),), NOON + 1)
    assert len(counts._marked) <= room.MAX_MARKS
    counts.add(use(1, "acme", "cred_victim"), NOON, ("victim",))
    assert counts.again(("victim",), NOON + 1)
    kept = counts.take()
    assert sum(count.number for count in kept.values()) == 2 * (room.MAX_MARKS + 101)
    assert not counts.again(("victim",), NOON + 2)
