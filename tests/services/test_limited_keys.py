"""The limits of a direct key also apply to every key that is created with it (decision 10)."""

from dataclasses import replace
from typing import Any

import pytest

from ostiary.core.address import parse_network
from ostiary.core.instant import DAY
from ostiary.core.permission import Caller
from ostiary.services import callers, credentials
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from tests.cast import House
from tests.services.questions import refused

pytestmark = pytest.mark.promise("P19")


def direct(house: House, who: Caller, **spec: Any) -> Created:
    return house.store.write(credentials.create_direct, who, CredentialSpec(**spec))


def presenting(house: House, who: Caller, created: Created, **limits: Any) -> Caller:
    """The user as a caller with this key."""
    return replace(who, actor=replace(who.actor, credential_id=created.listed.credential.id), **limits)


def test_a_fine_grained_key_reaches_itself_only(house: House) -> None:
    """P19 breaks: a narrow key that leaked revokes or frees its user's other keys, or makes siblings."""
    other = direct(house, house.bob).listed.credential.id
    narrow = direct(house, house.bob, scopes=("read:agents",))
    thief = presenting(house, house.bob, narrow, fine_grained=True, scopes=frozenset({"read:agents"}))
    for work in (credentials.revoke, credentials.deactivate, credentials.get):
        with refused("insufficient-permissions"):
            house.store.write(work, thief, other)
    with refused("insufficient-permissions"):
        house.store.write(credentials.create_direct, thief, CredentialSpec(scopes=("read:agents",)))
    with refused("insufficient-permissions"):
        house.store.read(credentials.list_page, thief, None, None, 10)
    ended = house.store.write(credentials.revoke, thief, narrow.listed.credential.id)
    assert ended.credential.revoked_at == house.clock.now


def test_a_key_makes_none_that_outlives_or_outreaches_it(house: House) -> None:
    """P19 breaks: a key removes its own expiry or IP allow-list, directly or through another key."""
    expires = house.clock.now + DAY
    key = direct(house, house.bob, expires_at=expires, allowed_ips=("10.0.0.0/8",))
    bob = presenting(house, house.bob, key, expires_at=expires, networks=(parse_network("10.0.0.0/8"),))
    for wider in (
        {},
        {"expires_at": expires},
        {"allowed_ips": ("10.1.0.0/16",)},
        {"expires_at": expires + 1, "allowed_ips": ("10.1.0.0/16",)},
        {"expires_at": expires, "allowed_ips": ("10.1.0.0/16", "192.0.2.1/32")},
        {"expires_at": expires, "allowed_ips": ("0.0.0.0/0",)},
    ):
        with refused("scope-exceeds-grantor"):
            house.store.write(credentials.create_direct, bob, CredentialSpec(**wider))
    for change in ({"expires_at": None}, {"allowed_ips": ()}, {"expires_at": expires + DAY}):
        with refused("scope-exceeds-grantor"):
            house.store.write(credentials.update, bob, key.listed.credential.id, dict(change))
    house.store.write(
        credentials.create_direct, bob, CredentialSpec(expires_at=expires, allowed_ips=("10.1.0.0/16",))
    )


def test_lifting_an_address_list_is_widening(house: House) -> None:
    """P19 breaks: a caller who may not create a key for an admin account removes the limits of its existing key."""
    boss = house.account("Boss", roles=("organization-admin",))
    key = house.key(boss, allowed_ips=("10.0.0.0/8",)).listed.credential.id
    helper = replace(house.alice, scopes=frozenset({"read:credentials", "write:credentials"}))
    with refused("scope-exceeds-grantor"):
        house.store.write(credentials.update, helper, key, {"allowed_ips": ()})
    renamed = house.store.write(credentials.update, helper, key, {"name": "Renamed"})
    assert renamed.credential.name == "Renamed"


@pytest.mark.promise("P1")
def test_what_holds_already_is_announced_before_it_is_acknowledged(house: House) -> None:
    """P1 breaks: a second revocation is confirmed while some cache has not seen the first."""
    key = house.key(house.account()).listed.credential.id
    for work in (credentials.deactivate, credentials.activate, credentials.revoke):
        house.store.write(work, house.alice, key)
        before = house.number.read()
        house.store.write(work, house.alice, key)
        assert house.number.read() != before, work


def test_a_key_that_is_narrowed_is_narrow_for_what_waits(house: House) -> None:
    """P19 breaks: a request that passed before its key was limited continues without the limits."""
    key = direct(house, house.bob)
    bob = presenting(house, house.bob, key, access_id=key.listed.credential.access_id)
    limits = {"scopes": ("read:agents",), "allowed_ips": ("10.0.0.0/8",), "expires_at": house.clock.now + DAY}
    house.store.write(credentials.update, house.bob, key.listed.credential.id, limits)
    now = house.store.read(callers.refreshed, bob)
    assert (now.fine_grained, now.expires_at) == (True, house.clock.now + DAY)
    assert now.networks == (parse_network("10.0.0.0/8"),)
