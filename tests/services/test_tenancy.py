"""P19: an id of another tenant gives the same not-found as an unknown id; a member without a scope learns which one."""

from collections.abc import Callable
from typing import Any

import pytest

from ostiary.core.permission import Caller
from ostiary.services import access_rules, audit, credentials, service_accounts, usage
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.services.usage import UsageQuery
from ostiary.storage.audit import Filter
from tests.cast import House
from tests.services.questions import refused

pytestmark = pytest.mark.promise("P19")

OF_ACCOUNT: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
    ("read:service-accounts", service_accounts.get, ()),
    ("read:service-accounts", service_accounts.list_role_bindings, ()),
    ("write:service-accounts", service_accounts.update, ({"display_name": "Mine"},)),
    ("write:service-accounts", service_accounts.set_disabled, (True,)),
    ("write:service-accounts", service_accounts.set_disabled, (False,)),
    ("write:service-accounts", service_accounts.set_role_bindings, ([RoleSpec("viewer")],)),
    ("write:service-accounts", service_accounts.delete, ()),
    ("write:credentials", credentials.create, (CredentialSpec(),)),
    ("read:credentials", credentials.list_page, (None, 50)),
]
OF_CREDENTIAL: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = [
    ("read:credentials", credentials.get, ()),
    ("write:credentials", credentials.update, ({"name": "Mine"},)),
    ("write:credentials", credentials.deactivate, ()),
    ("write:credentials", credentials.activate, ()),
    ("write:credentials", credentials.revoke, ()),
    ("write:credentials", credentials.delete, ()),
]


def call(house: House, caller: Caller, service: Callable[..., Any], *args: Any) -> Any:
    reads = service.__name__.startswith(("get", "list", "page"))
    return (house.store.read if reads else house.store.write)(service, caller, *args)


def test_a_stranger_finds_nothing(house: House) -> None:
    """P19 breaks: Charlie, who may do everything at Umbrella, learns that an id of Acme exists."""
    robo = house.account()
    key = house.key(robo).listed.credential.id
    for name in (robo.account.id, robo.account.client_id, robo.channel_identifier):
        for _, service, args in OF_ACCOUNT:
            with refused("not-found") as foreign:
                call(house, house.charlie, service, name, *args)
            with refused("not-found") as unknown:
                call(house, house.charlie, service, "sa_01kavq0000000000000000000", *args)
            assert foreign.value == unknown.value, service.__name__
    for each in (key, str(house.alice.actor.credential_id)):
        for _, service, args in OF_CREDENTIAL:
            with refused("not-found") as foreign:
                call(house, house.charlie, service, each, *args)
            with refused("not-found") as unknown:
                call(house, house.charlie, service, "cred_01kavq00000000000000000", *args)
            assert foreign.value == unknown.value, service.__name__


def test_a_strangers_lists_are_its_own(house: House) -> None:
    """P19 breaks: a list shows another tenant's rows."""
    house.key(house.account())
    ours = (house.acme.id, str(house.alice.actor.id))
    shown = [
        call(house, house.charlie, service_accounts.list_page, None, None, 50),
        call(house, house.charlie, credentials.list_page, None, None, 50),
        call(house, house.charlie, audit.page, Filter(), None, 50),
    ]
    assert [len(each) for each in shown] == [0, 1, 3]
    for actor in (house.alice.actor.id, "usr_01kavq00000000000000000000"):
        with refused("validation-failed"):
            call(house, house.charlie, audit.page, Filter(actor=actor), None, 50)
    assert not any(each in repr(shown) for each in ours)


def test_what_belongs_to_the_installation_is_the_operators(house: House) -> None:
    """P19 breaks: an admin of a customer reads or changes the installation's access rules."""
    rule = {"match": [{"path": "/**"}]}
    house.store.write(access_rules.put_rule, house.alice, "web", rule)
    for service, args in (
        (access_rules.put_rule, ("web", rule)),
        (access_rules.list_rules, ()),
        (access_rules.get_rule, ("web",)),
        (access_rules.get_rule, ("nothing",)),
        (access_rules.delete_rule, ("web",)),
    ):
        with refused("insufficient-permissions"):
            call(house, house.charlie, service, *args)
    assert house.store.read(access_rules.list_rules, house.alice) == {"web": rule}


def test_a_member_without_the_scope_is_told_which(house: House) -> None:
    """P19 breaks: Bob, a viewer, does what his role does not say."""
    robo = house.account()
    key = house.key(robo).listed.credential.id
    cases = [(scope, service, (robo.account.id, *args)) for scope, service, args in OF_ACCOUNT]
    cases += [(scope, service, (key, *args)) for scope, service, args in OF_CREDENTIAL]
    cases += [
        ("write:service-accounts", service_accounts.create, (service_accounts.AccountSpec("Mine"),)),
        ("read:service-accounts", service_accounts.list_page, (None, None, 50)),
        ("read:audit", audit.page, (Filter(), None, 50)),
        ("read:usage", usage.report, (UsageQuery(),)),
        ("read:organization", access_rules.list_rules, ()),
        ("write:organization", access_rules.put_rule, ("web", {"match": []})),
        ("write:organization", access_rules.delete_rule, ("web",)),
    ]
    for scope, service, args in cases:
        if scope == "read:service-accounts":  # what a viewer may do
            call(house, house.bob, service, *args)
            continue
        with refused("insufficient-permissions") as caught:
            call(house, house.bob, service, *args)
        assert caught.value.members == {"scope": scope}, service.__name__
