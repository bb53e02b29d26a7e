"""B5: a second person cannot use, or learn from, the link or the user code of the first person's device."""

import pytest

from ostiary.core.instant import MINUTE
from ostiary.storage import codes
from tests.cast import Front
from tests.conftest import PROVE
from tests.devices import VERIFY, begin, decide, enter, fetch
from tests.machines import said, token_of
from tests.visitors import at_home

pytestmark = pytest.mark.promise("P8")

LINKS = 200 if PROVE else 10


def test_a_second_person_with_a_first_ones_link_gets_nothing(front: Front) -> None:
    """P8 breaks: a person who opens another's link decides about the device, or learns whose it is."""
    front.house.sign()
    bob = at_home(front.house, front, front.house.bob)
    charlie = at_home(front.house, front, front.house.charlie)
    tried = opened = 0
    for number in range(LINKS):
        asked = begin(front, peer=f"198.51.100.{number}")
        code = asked["user_code"]
        alice = at_home(front.house, front, front.house.alice)  # she has just entered her password
        assert enter(alice, code).status == 200
        for thief in (bob, charlie):
            link = thief.get(f"{VERIFY}?user_code={code}")
            nothing = enter(thief, "BBBB-BBBB")
            organization = front.house.acme.id if thief is bob else front.house.umbrella.id
            found = [
                enter(thief, code),
                decide(thief, code, "allow", organization),
                decide(thief, code, "deny"),
            ]
            tried += len(found)
            opened += sum(each.status != nothing.status for each in found)
            assert link.status == 200
            for each in (link, *found):
                assert b"alice" not in each.body
            front.house.clock.advance(MINUTE)
        row = front.house.store.read(codes.find_device, asked["device_code"][7:39])
        assert row is not None
        assert (row.claimed_by, row.session_id, row.denied_at) == (front.house.alice.actor.id, None, None)
        assert b"connected" in decide(alice, code, "allow", front.house.acme.id).body
        token = token_of(fetch(front, asked["device_code"]))
        bearer = {"authorization": f"Bearer {token}"}
        who = front.ask("GET", "/v1/capabilities", headers=bearer).json()
        assert who["principal"]["id"] == row.claimed_by
        assert said(fetch(front, asked["device_code"])) == "400 invalid_grant"
    print(f"{LINKS} links, {tried} attempts by others, {opened} of them did something")
    assert opened == 0
