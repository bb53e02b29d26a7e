"""Nobody ends or changes a principal that holds more than they do (decision 27)."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ostiary.core.model import RoleBinding
from ostiary.core.permission import API_SCOPES, Caller
from ostiary.services import consents, credentials, projects, roles, rotation, service_accounts, sessions
from ostiary.services.consents import ConsentRequest
from ostiary.services.issuance import CredentialSpec
from ostiary.services.projects import ProjectBinding
from ostiary.services.roles import RoleSpec
from ostiary.storage import roles as role_rows
from tests.applications import application
from tests.cast import House
from tests.services.questions import refused

pytestmark = pytest.mark.promise("P19")

Act = Callable[[House, Caller], object]

BOSS = ("organization-admin",)


@pytest.fixture
def house(sqlite_house: House) -> House:
    return sqlite_house


def bearing(house: House, *scopes: str) -> Caller:
    """Bob as a caller with these scopes."""
    return replace(house.bob, scopes=frozenset(scopes), fine_grained=True)


def on_boss(service: Callable[..., object], *rest: object) -> Act:
    """An operation on an account that is an organization admin."""
    return lambda house, caller: house.store.write(
        service, caller, house.account("Boss", roles=BOSS).account.id, *rest
    )


def on_its_key(service: Callable[..., object], *rest: object) -> Act:
    """An operation on a key of an admin account, however few scopes the key has."""

    def act(house: House, caller: Caller) -> object:
        key = house.key(
            house.account("Boss", roles=BOSS), scopes=("read:agents",), access_level="fine_grained"
        )
        return house.store.write(service, caller, key.listed.credential.id, *rest)

    return act


def end_session(house: House, caller: Caller) -> object:
    key_file = house.key_file(house.account("Boss", roles=BOSS))
    return house.store.write(sessions.revoke, caller, house.session(key_file).listed.session.id)


def withdraw(house: House, caller: Caller) -> object:
    asked = ConsentRequest(application(house), house.acme.id, ("read:agents",))
    return house.store.write(
        consents.withdraw, caller, house.store.write(consents.give, house.alice, asked).consent.id
    )


def delete_project(house: House, caller: Caller) -> object:
    house.store.write(projects.create, house.alice, "Alpha", "alpha", "")
    house.key(house.account("Boss", roles=BOSS), project="alpha")
    return house.store.write(projects.delete, caller, "alpha")


ADMINS: dict[str, tuple[str, Act]] = {
    "disabling": ("write:service-accounts", on_boss(service_accounts.set_disabled, True)),
    "enabling": ("write:service-accounts", on_boss(service_accounts.set_disabled, False)),
    "deleting": ("write:service-accounts", on_boss(service_accounts.delete)),
    "narrowing": ("write:service-accounts", on_boss(service_accounts.update, {"scopes": ("api",)})),
    "another contact": (
        "write:service-accounts",
        on_boss(service_accounts.update, {"contact_email": "eve@acme.test"}),
    ),
    "taking its roles": ("write:service-accounts", on_boss(service_accounts.set_role_bindings, [])),
    "revoking a key": ("write:credentials", on_its_key(credentials.revoke)),
    "deactivating a key": ("write:credentials", on_its_key(credentials.deactivate)),
    "addresses of a key": ("write:credentials", on_its_key(credentials.update, {"allowed_ips": ("::1",)})),
    "rotating a key": ("write:credentials", on_its_key(rotation.rotate, 0, None)),
    "deleting a key": ("write:credentials", on_its_key(credentials.delete)),
    "ending a session": ("write:sessions", end_session),
    "withdrawing a consent": ("write:clients", withdraw),
    "deleting a project that its key is bound to": ("write:projects", delete_project),
}


@pytest.mark.parametrize("what", ADMINS)
def test_who_holds_one_scope_ends_nothing_of_an_admins(house: House, what: str) -> None:
    """P19 breaks: one narrow permission is enough to lock out the organization's admins."""
    scope, act = ADMINS[what]
    helper = bearing(house, scope, "read:agents")
    with refused("scope-exceeds-grantor") as caught:
        act(house, helper)
    assert "write:members" in str(caught.value.members["scopes"])


@pytest.mark.parametrize("what", [each for each in ADMINS if each != "deleting a key"])
def test_an_admin_ends_everything(house: House, what: str) -> None:
    """P19 breaks the other way: an organization admin cannot stop another admin's credentials."""
    scopes = house.alice.scopes
    ADMINS[what][1](house, replace(house.bob, scopes=scopes, operator_admin=True))


def test_a_safety_act_needs_its_one_scope_for_all_others(house: House) -> None:
    """P1 breaks: a security team needs every scope of a leaked key to stop it."""
    robo = house.account()
    responder = bearing(house, "write:credentials", "write:sessions")
    session = house.session(house.key_file(robo)).listed.session.id
    house.store.write(sessions.revoke, responder, session)
    key = house.key(robo).listed.credential.id
    house.store.write(credentials.deactivate, responder, key)
    assert house.store.write(credentials.revoke, responder, key).credential.revoked_at == house.clock.now


def test_an_admin_by_two_roles_is_an_admin(house: House) -> None:
    """P19 breaks: `write:credentials` alone stops the credentials of an admin whose scopes come from several roles."""
    half = sorted(API_SCOPES)
    for name, scopes in (("first", half[:9]), ("second", half[9:])):
        house.store.write(roles.create_role, house.alice, name, "", tuple(scopes))
    key = house.key(house.account("Boss", roles=("first", "second"))).listed.credential.id
    with refused("scope-exceeds-grantor"):
        house.store.write(credentials.revoke, bearing(house, "write:credentials"), key)


def test_names_are_not_power(house: House) -> None:
    """P19 breaks the other way: a caller with the write scope cannot correct the name of an admin's account or key."""
    boss = house.account("Boss", roles=BOSS)
    key = house.key(boss).listed.credential.id
    helper = bearing(house, "write:service-accounts", "write:credentials")
    house.store.write(service_accounts.update, helper, boss.account.id, {"description": "The boss"})
    assert house.store.write(credentials.update, helper, key, {"name": "Boss's"}).credential.name == "Boss's"


def test_an_account_may_end_itself(house: House) -> None:
    """P19 breaks the other way: an account with a role on a project cannot disable itself, or a narrowed one can."""
    house.store.write(projects.create, house.alice, "Alpha", "alpha", "")
    house.store.write(
        projects.set_role_bindings,
        house.alice,
        "alpha",
        (ProjectBinding(robo := house.account("Self", roles=()).account.id, "developer"),),
    )
    own = replace(
        house.bob,
        actor=replace(house.bob.actor, type="service_account", id=robo),
        scopes=frozenset({"write:service-accounts"}),
    )
    for narrowed in (replace(own, granted=own.scopes), replace(own, fine_grained=True)):
        with refused("scope-exceeds-grantor"):
            house.store.write(service_accounts.set_disabled, narrowed, robo, True)
    house.store.write(service_accounts.set_disabled, own, robo, True)


def test_a_project_goes_with_roles_that_its_remover_holds(house: House) -> None:
    """P19 breaks: `write:projects` alone takes everybody's roles on a project."""
    house.store.write(projects.create, house.alice, "Alpha", "alpha", "")
    bob = str(house.bob.actor.id)
    house.store.write(projects.set_role_bindings, house.alice, "alpha", (ProjectBinding(bob, "developer"),))
    with refused("scope-exceeds-grantor"):
        house.store.write(projects.delete, bearing(house, "write:projects"), "alpha")
    developer = role_rows.catalogue_of
    held = house.store.read(developer, house.acme.id).role("developer")
    house.store.write(projects.delete, bearing(house, "write:projects", *held), "alpha")
    left = house.store.read(role_rows.list_role_bindings, house.acme.id, [bob])
    assert left == {bob: [RoleBinding("viewer", None)]}


def test_another_tenants_admin_is_not_found(house: House) -> None:
    """Tenancy breaks: a refusal reveals that an account of another organization exists."""
    boss = house.account("Boss", roles=BOSS).account.id
    with refused("not-found"):
        house.store.write(service_accounts.delete, house.charlie, boss)


def test_a_role_is_taken_by_who_holds_it(house: House) -> None:
    """P19 breaks: a caller takes roles from accounts that they do not hold themselves."""
    robo = house.account().account.id
    caller = bearing(house, "write:service-accounts", "read:agents", "read:plugins", "read:service-accounts")
    with refused("scope-exceeds-grantor"):
        house.store.write(service_accounts.set_role_bindings, caller, robo, [RoleSpec("viewer")])


def test_a_narrow_key_of_an_admin_ends_no_other_key_of_theirs(house: House) -> None:
    """P19 breaks: a leaked admin key that lists only `write:credentials` revokes the admin's other keys."""
    other = house.store.write(credentials.create_direct, house.alice, CredentialSpec()).listed.credential.id
    thief = replace(house.alice, fine_grained=True, scopes=frozenset({"write:credentials"}))
    with refused("scope-exceeds-grantor"):
        house.store.write(credentials.revoke, thief, other)
