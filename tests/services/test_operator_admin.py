"""The role operator-admin: access to other organizations, who gives it, and what needs only scopes."""

from dataclasses import replace
from typing import Any

import pytest

from ostiary.core.permission import Caller
from ostiary.services import (
    callers,
    credentials,
    imports,
    members,
    organizations,
    password_resets,
    projects,
    roles,
    service_accounts,
)
from ostiary.services.issuance import CredentialSpec
from ostiary.services.projects import ProjectBinding
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec
from tests.applications import application, code_of, redeem
from tests.cast import Front, House
from tests.services.questions import refused
from tests.visitors import at_home

pytestmark = pytest.mark.promise("P19")

BOTH = [RoleSpec("organization-admin"), RoleSpec("operator-admin")]


def plain(house: House) -> Caller:
    """An admin of the operator's organization who is no operator admin."""
    house.store.write(
        members.set_roles, house.alice, str(house.bob.actor.id), [RoleSpec("organization-admin")]
    )
    return replace(house.alice, actor=house.bob.actor, operator_admin=False)


def test_a_partner_with_full_access_stays_in_the_operators_organization(front: Front) -> None:
    """Tenancy breaks: a credential that an operator admin gave to a partner reads other organizations."""
    house = front.house
    partner = house.key(house.account("Partner", roles=("organization-admin",))).secret.reveal()
    reached = [
        front.ask("GET", f"/v1/{path}?organization=umbrella", key=partner).status
        for path in ("members", "service-accounts", "audit-events", "organizations/umbrella/policies")
    ]
    assert reached == [404] * 4
    assert front.ask("GET", "/v1/organizations/umbrella", key=partner).status == 404
    listed = front.ask("GET", "/v1/organizations", key=partner).json()["data"]
    assert [each["id"] for each in listed] == [house.acme.id]
    assert front.ask("POST", "/v1/organizations", {"name": "New", "slug": "new"}, key=partner).status == 403
    operator = house.key(house.account("Operations", roles=("operator-admin",))).secret.reveal()
    assert front.ask("GET", "/v1/members?organization=umbrella", key=operator).status == 200
    listed = front.ask("GET", "/v1/organizations", key=operator).json()["data"]
    assert {each["id"] for each in listed} == {house.acme.id, house.umbrella.id}


def test_the_reach_goes_with_the_role(front: Front) -> None:
    """P1 breaks: a key acts in other organizations after its owner lost the role."""
    house = front.house
    account = house.account("Operations", roles=("organization-admin", "operator-admin"))
    key = house.key(account).secret.reveal()
    assert front.ask("GET", "/v1/members?organization=umbrella", key=key).status == 200
    house.store.write(
        service_accounts.set_role_bindings, house.alice, account.account.id, [RoleSpec("organization-admin")]
    )
    assert front.ask("GET", "/v1/members?organization=umbrella", key=key).status == 404


@pytest.mark.promise("P1")
def test_the_reach_is_judged_again_inside_the_transaction(house: House) -> None:
    """P1 breaks: a caller that loses the role while its request waits still acts in another organization."""
    account = house.account("Operations", roles=("organization-admin", "operator-admin"))
    key = house.key(account).listed.credential
    caller = replace(house.alice, access_id=key.access_id)
    inside = house.store.read(organizations.enter, caller, "umbrella")
    for each in (caller, inside):
        assert house.store.read(callers.refreshed, each).operator_admin
    asked = [RoleSpec("organization-admin")]
    house.store.write(service_accounts.set_role_bindings, house.alice, account.account.id, asked)
    assert not house.store.read(callers.refreshed, caller).operator_admin
    with refused("not-found"):
        house.store.read(callers.refreshed, inside)


def test_an_application_of_an_operator_admin_does_not_reach(front: Front) -> None:
    """Tenancy breaks: an application that an operator admin allowed sees, or acts in, other organizations."""
    house = front.house
    house.sign()
    client = application(house)
    told = redeem(front, client, code_of(at_home(house, front, house.alice), client, scope="api")).json()
    bearer = {"authorization": f"Bearer {told['access_token']}"}
    listed = front.ask("GET", "/v1/organizations", headers=bearer).json()["data"]
    assert [each["id"] for each in listed] == [house.acme.id]
    assert front.ask("GET", "/v1/members?organization=umbrella", headers=bearer).status == 404
    suspended = front.ask("PATCH", "/v1/organizations/umbrella", {"suspended": True}, headers=bearer)
    assert suspended.status == 404
    body = {"name": "New", "slug": "new"}
    assert front.ask("POST", "/v1/organizations", body, headers=bearer).status == 403


def test_only_an_operator_admin_gives_or_takes_the_role(house: House) -> None:
    """P19 breaks: an admin of the operator's organization makes an operator admin, or ends one."""
    admin = plain(house)
    alice, bob = str(house.alice.actor.id), str(house.bob.actor.id)
    acts: list[tuple[Any, ...]] = [
        (members.set_roles, bob, BOTH),
        (members.set_roles, alice, [RoleSpec("organization-admin")]),
        (members.remove, alice),
        (members.invite, "eve@acme.test", BOTH),
        (service_accounts.create, AccountSpec("Mine", roles=tuple(BOTH))),
        (service_accounts.set_role_bindings, house.account("Any").account.id, BOTH),
        (password_resets.create, alice),
    ]
    for service, *args in acts:
        with refused("scope-exceeds-grantor"):
            house.store.write(service, admin, *args)
    house.store.write(members.set_roles, house.alice, bob, BOTH)
    house.store.write(members.remove, house.alice, bob)


def test_an_account_that_holds_the_role_is_an_operator_admins_to_widen(house: House) -> None:
    """P19 breaks: a caller without the role widens or activates a credential of a holder."""
    admin = plain(house)
    account = house.account("Operations", roles=("operator-admin",), scopes=("read:agents",)).account.id
    acts: list[tuple[Any, ...]] = [
        (service_accounts.update, account, {"access_level": "full"}),
        (service_accounts.set_disabled, account, False),
        (credentials.create, account, CredentialSpec()),
    ]
    house.store.write(service_accounts.set_disabled, house.alice, account, True)
    for service, *args in acts[:2]:
        with refused("scope-exceeds-grantor"):
            house.store.write(service, admin, *args)
        house.store.write(service, house.alice, *args)
    with refused("scope-exceeds-grantor"):
        house.store.write(credentials.create, admin, account, CredentialSpec())


def test_the_role_is_the_operators_organizations_only(house: House) -> None:
    """Tenancy breaks: a customer sees the role, gives it, or makes one of its name; or it is held on a project."""
    operator = house.store.read(organizations.enter, house.alice, house.umbrella.id)
    for caller in (house.charlie, operator):
        assert "operator-admin" not in [each.name for each in house.store.read(roles.list_roles, caller)]
        with refused("validation-failed"):
            house.store.write(members.invite, caller, "eve@umbrella.test", BOTH)
        with refused("name-taken"):
            house.store.write(roles.create_role, caller, "operator-admin", "", ("read:agents",))
    assert "operator-admin" in [each.name for each in house.store.read(roles.list_roles, house.alice)]
    project = house.store.write(projects.create, house.alice, "Web", None, "")
    alice = str(house.alice.actor.id)
    with refused("validation-failed"):
        asked = (ProjectBinding(alice, "operator-admin"),)
        house.store.write(projects.set_role_bindings, house.alice, project.id, asked)
    with refused("validation-failed"):
        house.store.write(
            members.set_roles, house.alice, alice, [*BOTH, RoleSpec("operator-admin", project.id)]
        )


def test_the_last_operator_admin_stays(house: House) -> None:
    """An installation breaks: it loses its last operator admin."""
    alice, bob = str(house.alice.actor.id), str(house.bob.actor.id)
    house.store.write(members.set_roles, house.alice, bob, [RoleSpec("organization-admin")])
    for service, *args in (
        (members.set_roles, alice, [RoleSpec("organization-admin")]),
        (members.remove, alice),
    ):
        with refused("last-admin") as caught:
            house.store.write(service, house.alice, *args)
        assert "operator-admin" in caught.value.detail
    house.store.write(members.set_roles, house.alice, bob, BOTH)
    house.store.write(members.remove, house.alice, alice)


def test_what_only_an_operator_admin_may(house: House) -> None:
    """Tenancy breaks: an admin of the operator's organization suspends, or lifts the limits of, what is not its own."""
    admin = plain(house)
    inside = replace(admin, organization_id=house.umbrella.id, operator=False)
    acts: list[tuple[Caller, Any]] = [
        (admin, (organizations.create, "New", "new")),
        (inside, (organizations.update, None, True)),
        (admin, (organizations.update_policies, {}, {"rate_limit": 5000}, frozenset())),
        (admin, (imports.import_keys, house.account().account.id, "sk_live_", [], True)),
    ]
    for caller, (service, *args) in acts:
        with refused("insufficient-permissions"):
            house.store.write(service, caller, *args)
    # Objects of the installation need only scopes in the operator's organization.
    house.store.write(roles.create_scope, admin, "read:invoices")
    house.store.write(imports.register_prefix, admin, "sk_live_")
