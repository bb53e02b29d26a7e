"""An account's activity, on both databases: exactly its part of the audit log."""

import pytest

from ostiary.services import credentials, service_accounts
from ostiary.services.issuance import CredentialSpec
from tests.cast import House
from tests.services.questions import refused


def actions(house: House, account: str) -> list[str]:
    return [
        each.action for each in house.store.read(service_accounts.activity, house.alice, account, None, 50)
    ]


def test_activity_is_what_it_did_and_what_was_done_to_it(house: House) -> None:
    """Account page breaks: an account's own page leaves out a change, or shows another's."""
    robo, other = house.account("Robo"), house.account("Other")
    key = house.key(robo)
    house.key(other)
    house.store.write(credentials.revoke, house.alice, key.listed.credential.id)
    house.store.write(service_accounts.set_disabled, house.alice, robo.account.id, True)
    expected = [
        "service_account.disabled",
        "credential.revoked",
        "credential.created",
        "service_account.created",
    ]
    assert actions(house, robo.account.id) == expected
    assert actions(house, robo.account.client_id) == expected
    assert actions(house, other.account.id) == ["credential.created", "service_account.created"]
    second = house.store.read(service_accounts.activity, house.alice, robo.account.id, None, 2)[-1]
    rest = house.store.read(service_accounts.activity, house.alice, robo.account.id, second.seq, 50)
    assert [each.action for each in rest] == expected[2:]


@pytest.mark.promise("P19")
def test_who_may_see_it(house: House) -> None:
    """P19 breaks: a caller without access to the audit log reads it through an account's activity."""
    robo = house.account()
    house.store.write(credentials.create, house.alice, robo.account.id, CredentialSpec())
    for caller, code in ((house.bob, "insufficient-permissions"), (house.charlie, "not-found")):
        with refused(code):
            house.store.read(service_accounts.activity, caller, robo.account.id, None, 50)
