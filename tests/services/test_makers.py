"""A link gives only what its maker may still give, whatever the maker is and whatever it lost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ostiary.core.instant import DAY, MINUTE
from ostiary.core.model import RoleBinding
from ostiary.core.permission import Caller, Catalogue
from ostiary.core.problem import Problem
from ostiary.services import (
    credentials,
    imports,
    installation,
    joining,
    members,
    organizations,
    password_resets,
    roles,
    service_accounts,
)
from ostiary.services.callers import SYSTEM_CALLER
from ostiary.services.credentials import Created
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from tests.cast import Front, House, caller
from tests.services.questions import events, refused

ADMIN = [RoleSpec("organization-admin")]


@dataclass(frozen=True, slots=True)
class Links:
    """One of each kind, made in one organization by one caller."""

    house: House
    organization_id: str
    invitation: str
    reset: str

    def reasons(self) -> list[str]:
        """Why each link is refused; empty for a valid one."""
        return [
            _reason(self.house, joining.find_link, self.invitation),
            _reason(self.house, password_resets.find_link, self.reset),
        ]

    def good(self) -> bool:
        [good] = {not reason for reason in self.reasons()}
        if not good:  # and what changes something refuses as well
            on = (self.organization_id,)
            with refused("not-found"):
                self.house.store.write_on(on, joining.join, SYSTEM_CALLER, self.invitation, "hash")
            with refused("not-found"):
                self.house.store.write_on(on, password_resets.use, SYSTEM_CALLER, self.reset, "hash")
        return good


def _reason(house: House, look: Callable[..., object], token: str) -> str:
    try:
        house.store.read(look, SYSTEM_CALLER, token)
    except Problem as problem:
        return f"{problem.code}: {problem.reason}"
    return ""


def links(house: House, maker: Caller, asked: list[RoleSpec] = ADMIN) -> Links:
    """An invitation for an admin, and a reset link for a viewer."""
    organization_id = maker.organization_id
    viewer = house.store.write_on(
        (organization_id,),
        members.insert,
        replace(SYSTEM_CALLER, organization_id=organization_id),
        organization_id,
        "victim@acme.test",
        None,
        [RoleBinding("viewer", None)],
    )
    return Links(
        house,
        organization_id,
        house.store.write(members.invite, maker, "mallory@acme.test", asked).token.reveal(),
        house.store.write(password_resets.create, maker, viewer).token.reveal(),
    )


def mallory(house: House, role: str = "organization-admin", reaches: bool = False) -> Caller:
    reach = [RoleBinding("operator-admin", None)] if reaches else []
    user_id = house.store.write(
        members.insert,
        house.alice,
        house.acme.id,
        "mallory-admin@acme.test",
        None,
        [RoleBinding(role, None), *reach],
    )
    return caller(house.acme, user_id, "mallory-admin@acme.test", "organization-admin")


def presenting(who: Caller, created: Created) -> Caller:
    """The caller that presents this credential."""
    credential = created.listed.credential
    return replace(who, actor=replace(who.actor, id=credential.owner_id, credential_id=credential.id))


def by_key(house: House, **spec: Any) -> tuple[Caller, Created]:
    who = mallory(house)
    created = house.store.write(credentials.create_direct, who, CredentialSpec(**spec))
    return presenting(who, created), created


def by_account(house: House) -> tuple[Caller, str]:
    account = house.account("Bot", ("organization-admin",))
    return presenting(house.alice, house.key(account)), account.account.id


End = Callable[[], Any]


def _of_credential(work: Callable[..., Any]) -> Callable[[House], tuple[Caller, End]]:
    def prepare(house: House) -> tuple[Caller, End]:
        who, created = by_key(house)
        return who, lambda: house.store.write(work, house.alice, created.listed.credential.id)

    return prepare


def _expired(house: House) -> tuple[Caller, End]:
    who, _ = by_key(house, expires_at=house.clock() + MINUTE)
    return who, lambda: house.clock.advance(MINUTE)


def _narrowed(house: House) -> tuple[Caller, End]:
    who, created = by_key(house)
    narrow = {"access_level": "fine_grained", "scopes": ("read:members",)}
    return who, lambda: house.store.write(
        credentials.update, house.alice, created.listed.credential.id, narrow
    )


def _of_account(work: Callable[..., Any], *more: Any) -> Callable[[House], tuple[Caller, End]]:
    def prepare(house: House) -> tuple[Caller, End]:
        who, account_id = by_account(house)
        return who, lambda: house.store.write(work, house.alice, account_id, *more)

    return prepare


def _role_narrowed(house: House) -> tuple[Caller, End]:
    every = tuple(sorted(house.alice.scopes))
    house.store.write(roles.create_role, house.alice, "deputy", "", every)
    who = mallory(house, "deputy")
    left = {"scopes": tuple(scope for scope in every if scope != "write:members")}
    return who, lambda: house.store.write(roles.update_role, house.alice, "deputy", left)


def _operator_demoted(house: House) -> tuple[Caller, End]:
    """The caller in another organization, of which they are not a member."""
    who = mallory(house, reaches=True)
    there = house.store.read(organizations.enter, who, "umbrella")
    return there, lambda: house.store.write(members.set_roles, house.alice, who.actor.id, [])


def _operator_removed(house: House) -> tuple[Caller, End]:
    who = mallory(house, reaches=True)
    there = house.store.read(organizations.enter, who, "umbrella")
    return there, lambda: house.store.write(members.remove, house.alice, who.actor.id)


LOSSES: Mapping[str, tuple[Callable[[House], tuple[Caller, End]], str]] = {
    "key revoked": (_of_credential(credentials.revoke), "its credential is revoked"),
    "key deactivated": (_of_credential(credentials.deactivate), "its credential is deactivated"),
    "key expired": (_expired, "its credential is expired"),
    "key narrowed": (_narrowed, "lacks write:members"),
    "account disabled": (
        _of_account(service_accounts.set_disabled, True),
        "it is disabled, deleted or no member",
    ),
    "account deleted": (_of_account(service_accounts.delete), "it is disabled, deleted or no member"),
    "account without a role": (_of_account(service_accounts.set_role_bindings, []), "lacks write:members"),
    "role narrowed": (_role_narrowed, "lacks write:members"),
    "operator demoted, elsewhere": (_operator_demoted, "no such id in this organization"),
    "operator removed, elsewhere": (_operator_removed, "it or its credential is gone"),
}


@pytest.mark.promise("P2")
@pytest.mark.parametrize("loss", LOSSES)
def test_a_link_dies_with_what_its_maker_needed(house: House, loss: str) -> None:
    """P2 breaks: a link outlives the credential, the account, the role or the reach that it was made with."""
    prepare, reason = LOSSES[loss]
    maker, end = prepare(house)
    made = links(house, maker)
    assert made.good()
    end()
    assert not made.good()
    assert all(each.startswith("not-found: its maker may not make it any more: ") for each in made.reasons())
    assert all(each.endswith(reason) for each in made.reasons()), made.reasons()


def test_a_role_that_was_widened_is_more_than_its_maker_may_give(house: House) -> None:
    """P19 breaks: an invitation for a role gives more, after the role got scopes that the inviter does not hold."""
    house.store.write(roles.create_role, house.alice, "reader", "", ("read:agents",))
    house.store.write(roles.create_role, house.alice, "host", "", ("write:members", "read:agents"))
    host = replace(mallory(house, "host"), scopes=frozenset({"write:members", "read:agents"}))
    token = house.store.write(members.invite, host, "eve@acme.test", [RoleSpec("reader")]).token.reveal()
    assert house.store.read(joining.find_link, SYSTEM_CALLER, token)
    wider = {"scopes": ("read:agents", "write:credentials")}
    house.store.write(roles.update_role, house.alice, "reader", wider)
    with refused("not-found") as caught:
        house.store.read(joining.find_link, SYSTEM_CALLER, token)
    assert "beyond its own: write:credentials" in caught.value.reason


def test_what_its_maker_does_not_need_may_go(house: House) -> None:
    """An invitation breaks: any change of its maker ends it."""
    who = mallory(house)
    key = house.store.write(credentials.create_direct, who, CredentialSpec())
    made = links(house, who, [RoleSpec("viewer")])
    house.store.write(credentials.revoke, house.alice, key.listed.credential.id)
    house.store.write(roles.create_role, house.alice, "host", "", ("write:members", "read:agents"))
    viewer = tuple(sorted(Catalogue(frozenset({"read:agents", "read:plugins"})).role("viewer")))
    house.store.write(roles.update_role, house.alice, "host", {"scopes": ("write:members", *viewer)})
    house.store.write(members.set_roles, house.alice, who.actor.id, [RoleSpec("host")])
    assert made.good()
    user_id = house.store.write_on((house.acme.id,), joining.join, SYSTEM_CALLER, made.invitation, "hash")
    assert house.store.read(members.get, house.alice, user_id).bindings == (RoleBinding("viewer", None),)


def test_a_local_command_needs_nobody(house: House) -> None:
    """An invitation by the owner of the data directory breaks: it has no maker, and is refused."""
    custodian = house.store.read(installation.local_operator, SYSTEM_CALLER, "umbrella")
    assert links(house, custodian).good()


def test_an_operator_admin_makes_links_elsewhere(house: House) -> None:
    """Links break: an operator admin's links in a customer's organization are refused."""
    there = house.store.read(organizations.enter, house.alice, "umbrella")
    made = links(house, there)
    assert made.good()
    house.store.write(members.set_roles, house.alice, str(house.bob.actor.id), ADMIN)
    assert made.good()


def test_a_refused_link_says_why_in_the_log_alone(front: Front) -> None:
    """P5 breaks: the log does not say why a link was refused, or the page tells a stranger about the organization."""
    house = front.house
    old = links(house, mallory(house))
    house.clock.advance(8 * DAY)
    expired = front.ask("GET", f"/invitations/accept?invitation={old.invitation}")
    key = house.key(house.account("Bot", ("organization-admin",)))
    who = presenting(house.alice, key)
    token = house.store.write(members.invite, who, "eve@acme.test", ADMIN).token.reveal()
    house.store.write(credentials.revoke, house.alice, key.listed.credential.id)
    dead = front.ask("GET", f"/invitations/accept?invitation={token}")
    assert (dead.status, dead.body) == (expired.status, expired.body)
    found = [each for each in events(house) if each.action == "request.refused"]
    assert [each.reason for each in found] == [
        "used or expired",
        "its maker may not make it any more: its credential is revoked",
    ]
    assert token not in str(found)


# Other operations that run in parts, or repeat a response


def test_each_batch_of_an_import_is_judged_by_itself(front: Front) -> None:
    """P2 breaks: an import continues after its caller was revoked, or imported keys end with the caller."""
    house = front.house
    house.store.write(imports.register_prefix, house.alice, "sk_live_")
    account = house.account("Shop", ()).account.id
    _, created = by_key(house)
    key = created.secret.reveal()

    def batch(number: int) -> Any:
        body = {"prefix": "sk_live_", "owner": account, "keys": [{"sha256": f"{number:064x}"}]}
        return front.ask("POST", "/v1/credentials/import", body, key=key)

    first = batch(1)
    assert first.json()["imported"] == 1
    house.store.write(credentials.revoke, house.alice, created.listed.credential.id)
    assert batch(2).status == 401
    kept = house.store.read(credentials.get, house.alice, first.json()["credentials"][0])
    assert kept.credential.revoked_at is None


@pytest.mark.parametrize("loss", ["demoted", "narrowed"])
def test_an_answer_is_not_told_again_to_who_may_do_less(front: Front, loss: str) -> None:
    """P19 breaks: with an old Idempotency-Key, a demoted admin reads a response that they may no longer read."""
    house = front.house
    who, created = by_key(house)
    key, again = created.secret.reveal(), {"idempotency-key": "one"}
    body = {"display_name": "CI", "contact_email": "ops@acme.test"}
    assert front.ask("POST", "/v1/service-accounts", body, key=key, headers=again).status == 201
    assert front.ask("POST", "/v1/service-accounts", body, key=key, headers=again).status == 201
    if loss == "demoted":
        house.store.write(members.set_roles, house.alice, who.actor.id, [RoleSpec("viewer")])
    else:
        narrow = {"access_level": "fine_grained", "scopes": ("read:agents",)}
        house.store.write(credentials.update, house.alice, created.listed.credential.id, narrow)
    answer = front.ask("POST", "/v1/service-accounts", body, key=key, headers=again)
    assert (answer.status, answer.json()["code"]) == (403, "insufficient-permissions")
    assert b"ops@acme.test" not in answer.body
