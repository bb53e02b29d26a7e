"""Device codes on both databases: who may decide, once, and what a request stores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ostiary.core import user_code
from ostiary.core.instant import MINUTE, SECOND
from ostiary.core.oauth import BUILT_IN, CLI
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.services import devices
from ostiary.services.devices import IssuedDeviceCode
from ostiary.storage.codes import DeviceCode
from tests.cast import House

ASKED = devices.DeviceRequest(CLI, ("api",), (), "203.0.113.7", "ostiary-cli/1")


def begin(house: House) -> tuple[IssuedDeviceCode, str]:
    """The codes that a device receives, and the user code in the form of look-ups."""
    begun = house.store.write_on((), devices.begin, ASKED)
    code = user_code.read(begun.user_code)
    assert code is not None
    return begun, code


def approve(house: House, person: Caller, code: str) -> bool:
    home = person.organization_id
    return house.store.write_on((home,), devices.approve, human(person), code, BUILT_IN[CLI], home)


def human(person: Caller) -> Caller:
    """A person in a browser session, not with a direct key."""
    return replace(person, access_id=None)


def poll(house: House, begun: IssuedDeviceCode) -> str:
    return house.store.write_on((), devices.poll, begun.device_code.reveal().encode(), CLI).step


def test_one_person_decides(house: House) -> None:
    """B5 breaks: two people decide about one device."""
    begun, code = begin(house)
    assert isinstance(house.store.write(devices.claim, house.bob, code), DeviceCode)
    assert house.store.write(devices.claim, house.alice, code) == "entered by somebody else"
    assert not approve(house, house.alice, code)
    assert not house.store.write(devices.deny, house.alice, code)
    assert poll(house, begun) == "authorization_pending"
    assert approve(house, house.bob, code)
    assert poll(house, begun) == "approved"


def test_of_many_who_enter_a_code_at_once_one_has_it(house: House) -> None:
    """B5 breaks: in a race two people decide about one device."""
    people = [house.alice, house.bob, house.charlie] * 4
    with ThreadPoolExecutor(len(people)) as pool:
        for _ in range(5):
            _, code = begin(house)

            def claimed(person: Caller, code: str = code) -> str | None:
                found = house.store.write(devices.claim, person, code)
                return person.actor.id if isinstance(found, DeviceCode) else None

            found = set(pool.map(claimed, people)) - {None}
            assert len(found) == 1


def test_of_many_decisions_at_once_one_counts(house: House) -> None:
    """P8 breaks: a device is allowed and denied, or allowed twice."""
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            begun, code = begin(house)
            house.store.write(devices.claim, house.alice, code)

            def allowed(code: str = code) -> bool:
                try:
                    return approve(house, house.alice, code)
                except Problem:  # decided in that very moment
                    return False

            def denied(code: str = code) -> bool:
                return house.store.write(devices.deny, house.alice, code)

            work: list[Callable[[], bool]] = [allowed, denied] * 4
            won = list(pool.map(lambda each: each(), work))
            assert sum(won) == 1
            expected = "approved" if work[won.index(True)] is allowed else "access_denied"
            assert poll(house, begun) == expected


@pytest.mark.parametrize("decide", ["claim", "approve", "deny"])
def test_a_code_expires_for_people_too(house: House, decide: str) -> None:
    """B5 breaks: what expired can be decided about."""
    begun, code = begin(house)
    house.store.write(devices.claim, house.alice, code)
    house.clock.advance(30 * MINUTE)
    if decide == "claim":
        assert house.store.write(devices.claim, house.alice, code) == "expired"
    elif decide == "approve":
        assert not approve(house, house.alice, code)
    else:
        assert not house.store.write(devices.deny, house.alice, code)
    assert poll(house, begun) == "expired_token"


def test_an_early_question_is_remembered(house: House) -> None:
    """RFC 8628 §3.5 breaks: slow_down is returned, but the interval does not grow."""
    begun, _ = begin(house)
    assert [poll(house, begun) for _ in range(3)] == ["authorization_pending", "slow_down", "slow_down"]
    house.clock.advance(15 * SECOND)
    assert poll(house, begun) == "authorization_pending"
