"""The audit event of an update: which fields it changed, with their values before and after."""

from typing import Any

import pytest

from ostiary.core.event import EVENTS
from ostiary.core.instant import DAY, to_text
from ostiary.services import (
    access_rules,
    clients,
    credentials,
    organizations,
    projects,
    roles,
    service_accounts,
)
from ostiary.services.clients import ClientSpec
from ostiary.services.issuance import CredentialSpec
from ostiary.services.service_accounts import AccountSpec
from tests.cast import House
from tests.services.questions import events, refused

CALLBACK = "https://app.acme.test/callback"


@pytest.mark.promise("P5")
def test_an_update_tells_before_and_after(house: House) -> None:
    """P5 breaks: the log says that a field changed, but not from which value to which."""
    store, alice, later = house.store, house.alice, house.clock() + DAY
    account = house.account(contact_email="ops@acme.test")
    key = house.key(account, name="CI").listed.credential.id
    project = store.write(projects.create, alice, "Web", None, "")
    store.write(roles.create_role, alice, "reader", "", ("read:agents",))
    client = store.write(clients.create, alice, ClientSpec("Reports", (CALLBACK,)))
    rule = {"match": [{"path": "/a", "scopes": ["read:agents"]}]}
    store.write(access_rules.put_rule, alice, "web", rule)
    acts: list[tuple[Any, ...]] = [
        (service_accounts.update, account.account.id, {"contact_email": "dev@acme.test", "description": ""}),
        (credentials.update, key, {"expires_at": later, "allowed_ips": ("192.0.2.0/24",), "name": "CI"}),
        (projects.update, project.id, {"name": "Site"}),
        (roles.update_role, "reader", {"scopes": ("read:agents", "read:plugins")}),
        (clients.update, client.id, {"redirect_uris": (f"{CALLBACK}/2",)}),
        (organizations.update, "Acme Inc", None),
        (organizations.update_policies, {"rate_limit": 50}, {"rate_limit": 60}, frozenset()),
        (access_rules.put_rule, "web", rule | {"assertion": True}),
    ]
    told: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"contact_email": "ops@acme.test"}, {"contact_email": "dev@acme.test"}),
        (
            {"allowed_ips": [], "expires_at": None},
            {"allowed_ips": ["192.0.2.0/24"], "expires_at": to_text(later)},
        ),
        ({"name": "Web"}, {"name": "Site"}),
        ({"scopes": ["read:agents"]}, {"scopes": ["read:agents", "read:plugins"]}),
        ({"redirect_uris": [CALLBACK]}, {"redirect_uris": [f"{CALLBACK}/2"]}),
        ({"name": "Acme"}, {"name": "Acme Inc"}),
        ({"ceilings": {}, "rate_limit": None}, {"ceilings": {"rate_limit": 60}, "rate_limit": 50}),
        ({"assertion": None}, {"assertion": True}),
    ]
    seen = set()
    for (service, *args), (before, after) in zip(acts, told, strict=True):
        store.write(service, alice, *args)
        event = events(house)[-1]
        assert event.details == {"changed": sorted(before), "before": before, "after": after}, event.action
        seen.add(event.action)
    # Every field that says what changed is there.
    assert seen == {name for name, kind in EVENTS.items() if "changed" in kind.details}
    assert seen == {name for name in EVENTS if name.endswith(".updated")} | {"access_rule.written"}


def test_a_new_account_tells_its_contact(house: House) -> None:
    """System 3 breaks: the log does not say to whom an account's alerts went before."""
    house.account(contact_email="ops@acme.test")
    assert events(house)[-1].details["contact_email"] == "ops@acme.test"


@pytest.mark.promise("P19")
def test_fine_grained_lists_a_scope(house: House) -> None:
    """System 3 breaks: an account or key is fine-grained without scopes, so it can never do anything."""
    store, alice = house.store, house.alice
    account = house.account()
    key = house.key(account, scopes=("read:agents",)).listed.credential.id
    listed = house.account("Listed", scopes=("read:agents",)).account.id
    nothing = CredentialSpec(access_level="fine_grained")
    acts: list[tuple[Any, ...]] = [
        (service_accounts.create, AccountSpec("x", access_level="fine_grained")),
        (service_accounts.update, account.account.id, {"access_level": "fine_grained"}),
        (service_accounts.update, listed, {"scopes": ()}),
        (credentials.create, account.account.id, nothing),
        (credentials.create_direct, nothing),
        (credentials.update, key, {"scopes": ()}),
    ]
    for service, *args in acts:
        with refused("validation-failed") as caught:
            store.write(service, alice, *args)
        assert [(each.pointer, each.code) for each in caught.value.errors] == [("/scopes", "missing")]
    with refused("validation-failed") as caught:
        store.write(credentials.create_account, alice, AccountSpec("x"), nothing)
    assert [each.pointer for each in caught.value.errors] == ["/credential/scopes"]
