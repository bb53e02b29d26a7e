"""The parts of an organization: projects, own roles, members, invitations, policies; and access by the operator."""

from typing import Any

import pytest

from ostiary.core.instant import DAY, HOUR
from ostiary.core.limits import LIMITS
from ostiary.core.model import RoleBinding
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.services import credentials, members, organizations, projects, roles, service_accounts
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.issuance import CredentialSpec
from ostiary.services.projects import ProjectBinding
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec
from tests.cast import House
from tests.services.questions import events, verdict


def write(house: House, work: Any, *args: Any, who: Caller | None = None) -> Any:
    return house.store.write(work, who or house.alice, *args)


def refused(house: House, work: Any, who: Caller, *args: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        house.store.write(work, who, *args)
    return caught.value


def test_a_deleted_project_takes_its_keys_and_roles_along(house: House) -> None:
    """P2 breaks: a key outlives the project it is bound to."""
    project = write(house, projects.create, "Alpha", "alpha", "")
    robo = house.account(roles=())
    write(house, service_accounts.set_role_bindings, robo.account.id, [RoleSpec("developer", "alpha")])
    key = house.key(robo, project="alpha")
    assert verdict(house, key).code == "valid"
    write(house, projects.delete, "alpha")
    assert verdict(house, key).code == "revoked"
    assert house.store.read(service_accounts.list_role_bindings, house.alice, robo.account.id) == ()
    assert refused(house, projects.get, house.alice, project.id).code == "not-found"
    assert refused(house, projects.create, house.alice, "Alpha", "alpha", "").code == "name-taken"


def test_roles_on_a_project_are_set_from_its_side_too(house: House) -> None:
    """Target breaks: a role on a project applies elsewhere, or the account does not show it."""
    project = write(house, projects.create, "Alpha", None, "")
    robo = house.account(roles=())
    bound = write(house, projects.set_role_bindings, "alpha", (ProjectBinding(robo.account.id, "viewer"),))
    assert bound == [(robo.account.id, RoleBinding("viewer", project.id))]
    assert house.store.read(service_accounts.list_role_bindings, house.alice, robo.account.id) == (
        RoleBinding("viewer", project.id),
    )
    stranger = refused(
        house,
        projects.set_role_bindings,
        house.alice,
        "alpha",
        (ProjectBinding(str(house.charlie.actor.id), "viewer"),),
    )
    assert stranger.code == "not-found"


def test_an_own_role_grants_what_it_lists_and_loses_it_at_once(house: House) -> None:
    """P2 breaks: a scope taken out of a role is still granted by it."""
    write(house, roles.create_role, "reader", "", ("read:agents",))
    key = house.key(house.account(roles=("reader",)))
    assert verdict(house, key).scopes == {"read:agents"}
    write(house, roles.update_role, "reader", {"scopes": ("read:plugins",)})
    assert verdict(house, key).scopes == {"read:plugins"}
    write(house, roles.delete_role, "reader")
    assert verdict(house, key).scopes == frozenset()


def test_a_role_grants_no_more_than_its_maker_holds(house: House) -> None:
    """P19 breaks: a caller creates a role with scopes that they lack, and gives it to their own key."""
    limited = Caller(
        house.alice.actor, house.acme.id, frozenset({"write:roles", "read:roles", "read:agents"})
    )
    assert (
        refused(house, roles.create_role, limited, "boss", "", ("write:agents",)).code
        == "scope-exceeds-grantor"
    )
    write(house, roles.create_role, "reader", "", ("read:agents",))
    widened = refused(
        house, roles.update_role, limited, "reader", {"scopes": ("read:agents", "write:agents")}
    )
    assert widened.code == "scope-exceeds-grantor"
    assert refused(house, roles.create_role, house.alice, "viewer", "", ()).code == "name-taken"
    assert refused(house, roles.delete_role, house.alice, "viewer").code == "wrong-state"
    assert (
        refused(house, roles.create_role, house.alice, "odd", "", ("fly:moon",)).code == "validation-failed"
    )


def test_own_roles_are_one_organizations(house: House) -> None:
    """Tenancy breaks: a role means what another organization's role of the same name means."""
    write(house, roles.create_role, "reader", "", ("read:agents",))
    write(house, roles.create_role, "reader", "", ("read:plugins",), who=house.charlie)
    key = house.key(house.account(roles=("reader",)))
    assert verdict(house, key).scopes == {"read:agents"}


def test_the_catalogue_is_the_operators(house: House) -> None:
    """Tenancy breaks: a customer changes the installation's catalogue of scopes."""
    assert (
        refused(house, roles.create_scope, house.charlie, "read:invoices").code == "insufficient-permissions"
    )
    for scope in ("read:credentials", "write:audit", "Read:x", "api", "read"):
        assert refused(house, roles.create_scope, house.alice, scope).code == "validation-failed"
    write(house, roles.create_scope, "read:invoices")
    assert "read:invoices" in house.store.read(roles.list_scopes, house.charlie)
    key = house.key(house.account(roles=()))
    write(house, roles.delete_scope, "read:invoices")
    assert "read:invoices" not in verdict(house, key).scopes


def test_the_catalogue_has_room_for_what_fits_into_a_token(house: House) -> None:
    """P20 breaks: a token with every scope is larger than endpoints accept, and proxies respond with 500."""
    written = len(" ".join(house.store.read(roles.list_scopes, house.alice)))
    number = 0
    while written + 69 <= LIMITS["catalogue_characters"]:
        write(house, roles.create_scope, f"read:{number:063}".replace("read:0", "read:x"))
        number, written = number + 1, written + 69
    problem = refused(house, roles.create_scope, house.alice, f"read:{'y' * 63}")
    assert problem.code == "limit-reached"
    assert problem.members == {
        "limit": "catalogue_characters",
        "value": LIMITS["catalogue_characters"],
        "count": written,
    }


def test_the_last_admin_stays(house: House) -> None:
    """An organization breaks: it loses its last admin."""
    alice, bob = str(house.alice.actor.id), str(house.bob.actor.id)
    assert refused(house, members.set_roles, house.alice, alice, [RoleSpec("viewer")]).code == "last-admin"
    assert refused(house, members.remove, house.alice, alice).code == "last-admin"
    write(house, members.set_roles, bob, [RoleSpec("organization-admin"), RoleSpec("operator-admin")])
    write(house, members.set_roles, alice, [RoleSpec("viewer")])


def test_nobody_takes_from_members_what_they_do_not_hold(house: House) -> None:
    """P19 breaks: a manager of members takes the admins' roles."""
    manager = Caller(
        house.bob.actor, house.acme.id, frozenset({"write:members", "read:members", "read:agents"})
    )
    alice = str(house.alice.actor.id)
    assert refused(house, members.set_roles, manager, alice, []).code == "scope-exceeds-grantor"
    assert refused(house, members.remove, manager, alice).code == "scope-exceeds-grantor"
    invite = refused(house, members.invite, manager, "eve@acme.test", [RoleSpec("organization-admin")])
    assert invite.code == "scope-exceeds-grantor"


def test_a_member_who_leaves_takes_direct_keys_along(house: House) -> None:
    """P2 breaks: a former member's key still works."""
    key = write(house, credentials.create_direct, CredentialSpec(), who=house.bob)
    assert verdict(house, key).code == "valid"
    write(house, members.remove, str(house.bob.actor.id), who=house.bob)
    assert verdict(house, key).code == "revoked"


def test_an_invitation_is_accepted_once(house: House) -> None:
    """P8 breaks: two people become members by one token."""
    invited = write(house, members.invite, "eve@acme.test", [RoleSpec("viewer")])
    token = invited.token.reveal()
    assert token not in repr(events(house))
    user_id = house.store.write_on((house.acme.id,), members.accept_invitation, SYSTEM_CALLER, token, None)
    assert house.store.read(members.get, house.alice, user_id).bindings == (RoleBinding("viewer", None),)
    for bad in (token, token[:-1] + "0", "invite-nonsense", ""):
        with pytest.raises(Problem) as found:
            house.store.write_on((house.acme.id,), members.accept_invitation, SYSTEM_CALLER, bad, None)
        assert found.value.code == "not-found"


def test_an_invitation_that_is_withdrawn_or_old_is_worth_nothing(house: House) -> None:
    """An invitation breaks: a withdrawn or expired one still works."""
    withdrawn = write(house, members.invite, "eve@acme.test", [])
    write(house, members.delete_invitation, withdrawn.invitation.id)
    old = write(house, members.invite, "mallory@acme.test", [])
    house.clock.advance(members.INVITATION_LIFETIME)
    for each in (withdrawn, old):
        with pytest.raises(Problem) as found:
            house.store.write_on(
                (house.acme.id,), members.accept_invitation, SYSTEM_CALLER, each.token.reveal(), None
            )
        assert found.value.code == "not-found"


def test_an_organization_chooses_its_limits_up_to_its_ceilings(house: House) -> None:
    """Limits break: a customer exceeds the operator's ceilings, or the operator cannot."""
    raised = {"max_credentials_per_organization": 500}
    found = refused(house, organizations.update_policies, house.charlie, raised, {}, frozenset())
    assert [each.code for each in found.errors] == ["beyond-ceiling"]
    assert refused(house, organizations.update_policies, house.charlie, {}, raised, frozenset()).status == 403
    operator = Caller(house.alice.actor, house.umbrella.id, house.alice.scopes, operator_admin=True)
    write(house, organizations.update_policies, {}, raised, frozenset(), who=operator)
    write(house, organizations.update_policies, raised, {}, frozenset(), who=house.charlie)
    assert (
        house.store.read(organizations.policy_of, house.umbrella.id).max_credentials_per_organization == 500
    )
    assert house.store.read(organizations.policy_of, house.acme.id).max_credentials_per_organization == 100
    write(house, organizations.update_policies, {}, {}, frozenset(raised), who=house.charlie)
    assert (
        house.store.read(organizations.policy_of, house.umbrella.id).max_credentials_per_organization == 100
    )


def test_a_lowered_limit_removes_nothing_and_holds_for_new_ones(house: House) -> None:
    """Limits break: a changed policy ends a working key, or does not apply."""
    robo = house.account()
    first = [house.key(robo) for _ in range(3)]
    write(house, organizations.update_policies, {"max_credentials_per_service_account": 2}, {}, frozenset())
    assert (
        refused(house, credentials.create, house.alice, robo.account.id, CredentialSpec()).members["value"]
        == 2
    )
    assert all(verdict(house, each).code == "valid" for each in first)


def test_automatic_expiry_is_for_new_keys_only(house: House) -> None:
    """System 4 breaks: a policy ends keys that were made before it."""
    robo = house.account()
    old = house.key(robo)
    write(house, organizations.update_policies, {"default_credential_lifetime": DAY}, {}, frozenset())
    new = house.key(robo)
    assert (old.listed.credential.expires_at, new.listed.credential.expires_at) == (
        None,
        house.clock.now + DAY,
    )
    house.clock.advance(DAY)
    assert verdict(house, old).code == "valid"
    assert verdict(house, new).code == "expired"


def test_the_operator_acts_in_any_organization_and_is_seen_there(house: House) -> None:
    """Tenancy breaks: the operator acts without an event, or a customer does what only the operator may."""
    alice = Caller(house.alice.actor, house.acme.id, house.alice.scopes, operator=True, operator_admin=True)
    inside = house.store.read(organizations.enter, alice, house.umbrella.id)
    write(house, service_accounts.create, AccountSpec("Helping hand"), who=inside)
    assert [each.actor_display for each in events(house, house.umbrella.id)][-1] == house.alice.actor.display
    assert refused(house, organizations.enter, house.charlie, house.acme.id).code == "not-found"
    assert refused(house, organizations.enter, house.bob, house.umbrella.id).code == "not-found"
    assert refused(house, organizations.enter, alice, "org_x").code == "not-found"


def test_an_organization_is_named_by_its_slug_too(house: House) -> None:
    """Tenancy breaks: a slug and an id lead to different organizations, or `-` leads to another one."""
    alice = Caller(house.alice.actor, house.acme.id, house.alice.scopes, operator=True, operator_admin=True)
    there = house.store.read(organizations.enter, alice, house.umbrella.slug)
    assert there == house.store.read(organizations.enter, alice, house.umbrella.id)
    for name in ("-", house.umbrella.slug, house.umbrella.id):
        assert house.store.read(organizations.enter, house.charlie, name) == house.charlie
    assert refused(house, organizations.enter, house.charlie, house.acme.slug).code == "not-found"
    assert refused(house, organizations.enter, house.bob, house.umbrella.slug).code == "not-found"


def test_a_member_is_found_by_email_in_their_own_organization_only(house: House) -> None:
    """P19 breaks: a list filtered by one email shows others, or reveals members of other organizations."""

    def found(who: Caller, email: str) -> list[str]:
        return [each.member.id for each in house.store.read(members.list_page, who, email, None, 50)]

    assert found(house.alice, "bob@acme.test") == [house.bob.actor.id]
    assert found(house.alice, "bob@acme.tes") == []
    assert found(house.charlie, "bob@acme.test") == []


def test_a_suspended_organization_does_nothing(house: House) -> None:
    """P2 breaks: keys of a suspended organization work, or an organization suspends its operator or itself."""
    operator = Caller(house.alice.actor, house.umbrella.id, house.alice.scopes, operator_admin=True)
    key = write(house, credentials.create_direct, CredentialSpec(), who=house.charlie)
    assert verdict(house, key).code == "valid"
    assert refused(house, organizations.update, house.charlie, None, True).code == "insufficient-permissions"
    write(house, organizations.update, None, True, who=operator)
    assert verdict(house, key).code == "disabled"
    write(house, organizations.update, None, False, who=operator)
    assert verdict(house, key).code == "valid"
    own = Caller(house.alice.actor, house.acme.id, house.alice.scopes, operator=True, operator_admin=True)
    assert refused(house, organizations.update, own, None, True).code == "wrong-state"


def test_a_dry_run_checks_and_tells_and_changes_nothing(house: House) -> None:
    """Limits break: a dry run changes a limit, or its result differs from the real one."""

    def ask(changes: dict[str, Any], dry_run: bool) -> organizations.PolicyView:
        nothing: frozenset[str] = frozenset()
        view: organizations.PolicyView = write(
            house, organizations.update_policies, changes, {}, nothing, nothing, dry_run
        )
        return view

    before = house.store.read(organizations.get_policies, house.alice)
    told = ask({"deletion_delay": 2 * HOUR}, True)
    assert (told.policy.deletion_delay, told.own) == (2 * HOUR, frozenset({"deletion_delay"}))
    assert house.store.read(organizations.get_policies, house.alice) == before
    assert [each.action for each in events(house)].count("policies.updated") == 0
    with pytest.raises(Problem):
        ask({"deletion_delay": 40 * DAY}, True)
    assert ask({"deletion_delay": 2 * HOUR}, False) == told


def test_limits_contradict_nothing(house: House) -> None:
    """Limits break: the default lifetime is longer than the longest allowed one."""
    limits = {"default_credential_lifetime": 2 * DAY, "max_credential_lifetime": DAY}
    found = refused(house, organizations.update_policies, house.alice, limits, {}, frozenset())
    assert found.code == "validation-failed"
    late = refused(
        house, organizations.update_policies, house.alice, {"deletion_delay": 800 * HOUR}, {}, frozenset()
    )
    assert late.code == "validation-failed"


def test_a_ceiling_below_the_default_holds_where_nothing_was_chosen(house: House) -> None:
    """Limits break: an organization without choices of its own exceeds the operator's ceiling."""
    operator = Caller(house.alice.actor, house.umbrella.id, house.alice.scopes, operator_admin=True)
    ceilings = {"max_credentials_per_organization": 3, "max_credential_lifetime": 30 * DAY}
    found = house.store.write(organizations.update_policies, operator, {}, ceilings, frozenset())
    assert found.policy.max_credentials_per_organization == 3
    in_force = house.store.read(organizations.policy_of, house.umbrella.id)
    assert (in_force.max_credentials_per_organization, in_force.max_credential_lifetime) == (3, 30 * DAY)
    assert in_force.max_credentials_per_service_account == 10
    chosen = {"max_credentials_per_organization": 50}
    house.store.write(organizations.update_policies, operator, chosen, {}, frozenset())
    assert house.store.read(organizations.policy_of, house.umbrella.id).max_credentials_per_organization == 50
    assert house.store.read(organizations.policy_of, house.acme.id).max_credentials_per_organization == 100


def test_a_ceiling_goes_back_to_the_installations(house: House) -> None:
    """Limits break: null in `ceilings` is accepted and ignored, or a customer removes its own ceiling with it."""
    lowered = {"max_credentials_per_organization": 5}
    operator = Caller(house.alice.actor, house.umbrella.id, house.alice.scopes, operator_admin=True)
    again: tuple[Any, ...] = ({}, {}, frozenset(), frozenset(lowered))
    write(house, organizations.update_policies, {}, lowered, frozenset(), who=operator)
    assert refused(house, organizations.update_policies, house.charlie, *again).status == 403
    view = house.store.read(organizations.get_policies, house.charlie)
    assert view.ceiling.max_credentials_per_organization == 5
    write(house, organizations.update_policies, *again, who=operator)
    view = house.store.read(organizations.get_policies, house.charlie)
    assert view.ceiling.max_credentials_per_organization == view.default.max_credentials_per_organization
