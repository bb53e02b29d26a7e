"""Access on behalf: what another organization's consent gives, and everything that ends it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ostiary.core import key_file
from ostiary.core.model import Consent, OAuthClient, Project, RoleBinding
from ostiary.core.permission import Caller
from ostiary.services import (
    clients,
    consents,
    credentials,
    members,
    organizations,
    projects,
    service_accounts,
)
from ostiary.services.clients import ClientSpec
from ostiary.services.consents import ConsentRequest, StoredConsent
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.services.service_accounts import AccountSpec, AccountView
from ostiary.storage.authorization_tables import sessions
from ostiary.storage.store import Tx
from tests import signers
from tests.cast import Answer, Front, House, caller
from tests.services.questions import events, refused

CALLBACK = ("https://app.test/callback",)


@dataclass
class Two:
    """An integrator with an application, and another organization whose admin consented to it."""

    front: Front
    house: House
    home: Caller
    """The admin of the integrator's organization."""
    home_key: str
    giver: Caller
    """The admin of the organization that consents."""
    giver_key: str
    client: OAuthClient
    shop: Project
    """A project of the consenting organization, with consent."""
    other: Project
    """A project of the consenting organization, without consent."""
    own: Project
    """The integrator's own project."""

    def ask(self, who: Caller | None = None, **changes: Any) -> ConsentRequest:
        given: dict[str, Any] = {"scopes": ("read:agents", "offline_access"), "projects": (self.shop.id,)}
        giver = self.giver if who is None else who
        return ConsentRequest(self.client, giver.organization_id, **(given | changes))

    def give(self, who: Caller | None = None, **changes: Any) -> StoredConsent:
        who = who or self.giver
        both = (who.organization_id, str(self.client.organization_id))
        return self.house.store.write_on(both, consents.give, who, self.ask(who, **changes))

    def account(self, consent: Consent) -> AccountView:
        return self.house.store.read(service_accounts.get, self.home, str(consent.service_account_id))

    def key(self, consent: Consent, **spec: Any) -> str:
        made = self.house.store.write(
            credentials.create, self.home, str(consent.service_account_id), CredentialSpec(**spec)
        )
        return made.secret.reveal()

    def code(self, key: str, scope: str = "read:agents", project: str | None = None) -> str:
        """What `/v1/verify` tells a resource server of the operator."""
        named = {} if project is None else {"project": project}
        return str(self.front.verify(key, scopes=[scope], **named)["code"])

    def log(self, who: Caller) -> list[str]:
        return [each.action for each in events(self.house, who.organization_id)]


@pytest.fixture(params=["acme's application", "umbrella's application"])
def two(request: pytest.FixtureRequest, house: House, tmp_path: Path) -> Iterator[Two]:
    """The scenario on each database, with each of the two organizations as the integrator."""
    front = Front(house, tmp_path)
    people = [(house.alice, house.alice_key), (house.charlie, house.charlie_key)]
    if request.param.startswith("umbrella"):
        people.reverse()
    (home, home_key), (giver, giver_key) = people
    make = house.store.write
    shop = make(projects.create, giver, "Shop", "shop", "")
    other = make(projects.create, giver, "Other", "other", "")
    own = make(projects.create, home, "Own", "own", "")
    spec = ClientSpec(
        "Tracker",
        CALLBACK,
        scopes=("read:agents", "write:agents", "offline_access"),
        access="organization",
        project="own",
    )
    client = make(clients.create, home, spec)
    yield Two(front, house, home, home_key, giver, giver_key, client, shop, other, own)
    front.close()


def test_an_account_appears_with_exactly_that_access(two: Two) -> None:
    """System 5 breaks: the integrator gets nothing, or more than was consented to, or somewhere else."""
    given = two.give()
    view = two.account(given.consent)
    assert view.account.organization_id == two.home.organization_id
    assert view.account.display_name.startswith("Tracker for ")
    assert view.bindings == ()
    assert view.on_behalf is not None
    assert [each.code for each in view.on_behalf.projects] == ["shop"]
    assert (view.on_behalf.giver.id, view.on_behalf.project_id) == (two.giver.organization_id, two.own.id)
    key = two.key(given.consent)
    answers = {
        (scope, project): two.code(key, scope, project)
        for scope in ("read:agents", "write:agents", "read:credentials", "offline_access")
        for project in (two.shop.id, two.other.id, two.own.id, None, "own")
    }
    assert [each for each, code in answers.items() if code == "valid"] == [("read:agents", two.shop.id)]
    assert two.code(key, "read:agents", "shop") != "valid"
    assert two.code(key, "read:agents", "prj_01kavq00000000000000000000") != "valid"


def test_the_json_of_an_account_tells_what_it_is_for(two: Two) -> None:
    """System 5 breaks: the integrator cannot see whose projects an account may access, or others can."""
    given = two.give()
    account = given.consent.service_account_id
    told = two.front.ask("GET", f"/v1/service-accounts/{account}", key=two.home_key).json()
    giver = two.house.umbrella if two.giver is two.house.charlie else two.house.acme
    assert told["on_behalf"] == {
        "grant": given.consent.id,
        "client_id": two.client.id,
        "project": two.own.id,
        "organization": {"id": giver.id, "slug": giver.slug, "name": giver.name},
        "projects": [{"id": two.shop.id, "code": "shop", "name": "Shop"}],
        "scopes": ["read:agents", "offline_access"],
    }
    assert two.front.ask("GET", f"/v1/service-accounts/{account}", key=two.giver_key).status == 404
    for key in (two.home_key, two.giver_key):
        grant = two.front.ask("GET", f"/v1/grants/{given.consent.id}", key=key).json()
        assert grant["service_account"] == account
        assert grant["client"] == {
            "id": two.client.id, "name": "Tracker", "organization": two.home.organization_id
        }  # fmt: skip
    for key in (two.giver_key, two.home_key):
        listed = two.front.ask("GET", "/v1/grants", key=key).json()["data"]
        assert [each["id"] for each in listed] == [given.consent.id]


def test_roles_at_home_and_the_consent_stay_apart(two: Two) -> None:
    """P19 breaks: a role of the integrator's counts at the other organization, or the consent counts at home."""
    given = two.give()
    account = str(given.consent.service_account_id)
    two.house.store.write(service_accounts.set_role_bindings, two.home, account, [RoleSpec("developer")])
    key = two.key(given.consent)
    assert two.code(key, "write:agents") == "valid"
    assert two.code(key, "write:agents", "own") == "valid"
    assert two.code(key, "write:agents", two.shop.id) == "insufficient_scope"
    assert two.code(key, "read:agents", two.shop.id) == "valid"
    assert two.code(key, "read:agents", two.other.id) != "valid"
    two.house.store.write(
        service_accounts.set_role_bindings, two.home, account, [RoleSpec("resource-server")]
    )
    assert two.code(key, "read:agents") == "insufficient_scope"
    assert two.code(key, "read:agents", "own") == "insufficient_scope"
    assert two.code(key, "verify:credentials", two.shop.id) == "insufficient_scope"


def test_the_integrator_manages_the_accounts_credentials(two: Two) -> None:
    """System 5 breaks: the integrator cannot make, rotate, list or revoke keys under each of the account's names."""
    given = two.give()
    view = two.account(given.consent)
    names = (view.account.id, view.account.client_id, view.channel_identifier)
    for name in names:
        made = two.front.ask(
            "POST", f"/v1/service-accounts/{name}/credentials", {"kind": "api_key"}, key=two.home_key
        )
        assert made.status == 201, made.body
        first = made.json()["secret"]
        assert two.code(first, project=two.shop.id) == "valid"
        address = f"/v1/credentials/{made.json()['credential']['id']}"
        rotated = two.front.ask("POST", f"{address}/rotate", {"overlap": "0s"}, key=two.home_key)
        assert rotated.status == 201, rotated.body
        second = rotated.json()["secret"]
        assert (two.code(first, project=two.shop.id) == "valid", two.code(second, project=two.shop.id)) == (
            False,
            "valid",
        )
        assert two.front.ask("POST", f"{address}/revoke", key=two.home_key).status == 200
        assert two.code(second, project=two.shop.id) == "revoked"
    for name in names:
        listed = two.front.ask("GET", f"/v1/service-accounts/{name}/credentials", key=two.home_key).json()
        assert len(listed["data"]) == len(names)
        foreign = two.front.ask("GET", f"/v1/service-accounts/{name}/credentials", key=two.giver_key)
        assert foreign.status == 404


def test_minting_needs_none_of_the_consented_scopes(two: Two) -> None:
    """Minting breaks: the creator of a key must hold scopes that only the consent gave."""
    given = two.give()
    made = two.house.store.write(
        credentials.create_direct,
        two.home,
        CredentialSpec(access_level="fine_grained", scopes=("write:credentials",)),
    )
    address = f"/v1/service-accounts/{given.consent.service_account_id}/credentials"
    answer = two.front.ask("POST", address, {"kind": "api_key"}, key=made.secret.reveal())
    assert answer.status == 201, answer.body
    assert two.code(answer.json()["secret"], project=two.shop.id) == "valid"
    narrowed = two.key(given.consent, scopes=("write:agents",), access_level="fine_grained")
    assert two.code(narrowed, project=two.shop.id) == "insufficient_scope"


def test_who_may_consent(two: Two) -> None:
    """P19 breaks: a member who is not an admin gives access to projects, or the integrator gives it to itself."""
    house, organization = two.house, two.giver.organization_id
    member = house.store.write(
        members.insert, two.giver, organization, "dora@elsewhere.test", None, [RoleBinding("developer", None)]
    )
    where = house.umbrella if organization == house.umbrella.id else house.acme
    dora = caller(where, member, "dora@elsewhere.test", "developer")
    with refused("not-found"):
        two.give(dora)
    with refused("not-found"):
        two.give(two.home, projects=(two.own.id,))
    with refused("not-found"):  # an admin elsewhere, naming this organization
        house.store.write_on((), consents.give, two.home, two.ask(two.giver))
    for wrong in ((two.own.id,), (two.shop.id, two.own.id), ("prj_x",), ("shop",)):
        with refused("not-found"):
            two.give(projects=wrong)
    with refused("wrong-state"):
        two.give(projects=())
    with refused("wrong-state"):
        two.give(scopes=("read:agents", "write:credentials"))
    with refused("wrong-state"):
        two.give(scopes=("api",))
    with refused("wrong-state"):
        two.give(scopes=("offline_access",))
    assert "consent.granted" not in two.log(two.giver)
    assert "service_account.created" not in two.log(two.home)


def test_a_scope_that_the_client_did_not_register_is_not_given(two: Two) -> None:
    """P19 breaks: an application gets scopes by a consent that it never registered for."""
    with refused("wrong-state"):
        two.give(scopes=("write:plugins",))


ENDS: dict[str, Callable[[Two, StoredConsent], Answer]] = {
    "withdrawn": lambda two, given: two.front.ask(
        "DELETE", f"/v1/grants/{given.consent.id}", key=two.giver_key
    ),
    "given up": lambda two, given: two.front.ask(
        "DELETE", f"/v1/grants/{given.consent.id}", key=two.home_key
    ),
    "account deleted": lambda two, given: two.front.ask(
        "DELETE", f"/v1/service-accounts/{given.consent.service_account_id}", key=two.home_key
    ),
    "client deleted": lambda two, _given: two.front.ask(
        "DELETE", f"/v1/clients/{two.client.id}", key=two.home_key
    ),
    "project deleted": lambda two, _given: two.front.ask("DELETE", "/v1/projects/shop", key=two.giver_key),
}


@pytest.mark.promise("P2")
@pytest.mark.parametrize("end", ENDS)
def test_what_ends_it_ends_all_of_it_at_once(two: Two, end: str) -> None:
    """P2 breaks: a key or token outlives the consent that it came from, on the process that answered."""
    two.house.sign()
    given = two.give()
    account = str(given.consent.service_account_id)
    key = two.key(given.consent)
    secret = two.key(given.consent, kind="client_secret")
    form = {"grant_type": "client_credentials", "client_id": two.account(given.consent).account.client_id}
    answer = two.front.ask("POST", "/oauth/token", form | {"client_secret": secret})
    assert answer.status == 200, answer.body
    token = answer.json()["access_token"]
    assert [two.code(each, project=two.shop.id) for each in (key, token)] == ["valid", "valid"]
    before = {who.organization_id: len(two.log(who)) for who in (two.home, two.giver)}
    done = ENDS[end](two, given)
    assert done.status == 204, done.body
    for each in (key, token):
        for project in (two.shop.id, None):
            assert two.front.verify(each, project=project)["valid"] is False, end
    assert two.front.ask("POST", "/oauth/token", form | {"client_secret": secret}).status == 401
    assert two.front.ask("GET", f"/v1/service-accounts/{account}", key=two.home_key).status == 404
    for who in (two.home, two.giver):
        told = two.house.store.read(consents.get, who, given.consent.id)
        assert told.consent.revoked_at == two.house.clock.now
    gone = two.log(two.giver)[before[two.giver.organization_id] :]
    assert gone.count("consent.withdrawn") == 1, gone
    left = two.log(two.home)[before[two.home.organization_id] :]
    assert left.count("service_account.deleted") == 1, left
    assert left.count("credential.revoked") == 2, left
    [session] = two.house.store.read(sessions_of, given.consent.id)
    assert session.revoked_at == two.house.clock.now
    # The same again changes nothing.
    length = len(two.log(two.giver))
    assert two.front.ask("DELETE", f"/v1/grants/{given.consent.id}", key=two.giver_key).status == 204
    assert len(two.log(two.giver)) == length


def sessions_of(tx: Tx, grant_id: str) -> list[Any]:
    return list(tx.execute(sa.select(sessions).where(sessions.c.grant_id == grant_id)))


def test_one_of_several_projects_goes(two: Two) -> None:
    """P2 breaks: the access to a deleted project stays, or the access to the others goes with it."""
    given = two.give(projects=(two.shop.id, two.other.id))
    key = two.key(given.consent)
    assert [two.code(key, project=each.id) for each in (two.shop, two.other)] == ["valid", "valid"]
    two.house.store.write(projects.delete, two.giver, "shop")
    assert two.code(key, project=two.shop.id) != "valid"
    assert two.code(key, project=two.other.id) == "valid"
    view = two.account(given.consent)
    assert view.on_behalf is not None
    assert [each.code for each in view.on_behalf.projects] == ["other"]


def test_consenting_again_changes_what_the_same_account_has(two: Two) -> None:
    """System 5 breaks: a second consent makes a second account, or the first one's access stays beside it."""
    first = two.give()
    key = two.key(first.consent)
    assert two.code(key, project=two.shop.id) == "valid"
    second = two.give(scopes=("write:agents",), projects=(two.other.id,))
    assert second.consent.id == first.consent.id
    assert second.consent.service_account_id == first.consent.service_account_id
    assert two.code(key, project=two.shop.id) != "valid"
    assert two.code(key, "read:agents", two.other.id) == "insufficient_scope"
    assert two.code(key, "write:agents", two.other.id) == "valid"
    two.house.store.write(consents.withdraw, two.giver, first.consent.id)
    third = two.give()
    assert third.consent.service_account_id != first.consent.service_account_id
    assert two.code(key, project=two.shop.id) != "valid"


@pytest.mark.parametrize("two", ["acme's application"], indirect=True)
def test_a_suspended_giver_gives_nothing(two: Two) -> None:
    """P2 breaks: access to a suspended organization goes on; or does not come back with it."""
    given = two.give()
    key = two.key(given.consent)
    account = str(given.consent.service_account_id)
    two.house.store.write(service_accounts.set_role_bindings, two.home, account, [RoleSpec("viewer")])
    assert two.code(key, project=two.shop.id) == "valid"
    there = replace(two.house.alice, organization_id=two.giver.organization_id, operator=False)
    two.house.store.write(organizations.update, there, None, True)
    assert two.code(key, project=two.shop.id) != "valid"
    assert two.code(key, "read:agents") == "valid"
    two.house.store.write(organizations.update, there, None, False)
    assert two.code(key, project=two.shop.id) == "valid"


def test_whoever_consented_for_an_organization_has_no_say_by_that_alone(two: Two) -> None:
    """P19 breaks: a former admin withdraws or gives up a consent of the organization."""
    given = two.give()
    house, organization = two.house, two.giver.organization_id
    where = house.umbrella if organization == house.umbrella.id else house.acme
    demoted = caller(where, str(two.giver.actor.id), "x@elsewhere.test", "viewer")
    with refused("insufficient-permissions"):
        house.store.write(consents.withdraw, demoted, given.consent.id)
    assert two.code(two.key(given.consent), project=two.shop.id) == "valid"


@pytest.mark.parametrize("by", ["id", "code"])
def test_the_consented_project_may_be_the_default_one(two: Two, by: str) -> None:
    """System 1 breaks: a consented project cannot be the target of the account's credentials and sessions."""
    given = two.give()
    account = str(given.consent.service_account_id)
    name = two.shop.id if by == "id" else "shop"
    key = two.key(given.consent, project=name)
    assert two.code(key) == "valid"
    assert two.code(key, project=two.other.id) == "project_not_allowed"
    file = two.house.store.write(
        credentials.create,
        two.home,
        account,
        CredentialSpec(kind="key_file", project=name, key_pair=key_file.generate("RS256")),
    )
    assert file.file is not None
    assert (file.file.project_id, file.file.project_code) == (two.shop.id, "shop")
    two.house.sign()
    text = signers.login(file.secret.reveal(), file.listed.credential.access_id, two.house.clock())
    begun = two.front.ask("POST", "/v1/sessions", {"token": text, "default_project_code": name})
    assert begun.status == 201, begun.body
    told = two.front.ask(
        "GET", "/identity/v1/whoami", headers={"authorization": f"Bearer {begun.json()['token']}"}
    ).json()
    assert told["project"]["code"] == "shop"
    listed = two.front.ask("GET", f"/v1/service-accounts?project={two.shop.id}", key=two.home_key).json()[
        "data"
    ]
    assert [each["id"] for each in listed] == [account]
    assert two.front.ask("GET", "/v1/service-accounts?project=own", key=two.home_key).json()["data"] == []


def test_a_project_of_nobody_elses_consent_is_no_target(two: Two) -> None:
    """Tenancy breaks: a credential is bound to a project of another organization that did not consent to it."""
    given = two.give()
    for name in (two.other.id, "other"):
        with refused("not-found"):
            two.key(given.consent, project=name)
    plain = two.house.store.write(service_accounts.create, two.home, AccountSpec("Plain"))
    for name in (two.shop.id, "shop"):
        with refused("not-found"):
            two.house.store.write(
                credentials.create, two.home, plain.account.id, CredentialSpec(project=name)
            )


def test_what_is_bound_to_a_consented_project_dies_with_it(two: Two) -> None:
    """P2 breaks: a credential is good after its project was deleted by its owner."""
    given = two.give(projects=(two.shop.id, two.other.id))
    bound, free = two.key(given.consent, project="shop"), two.key(given.consent)
    two.house.store.write_on(
        (two.giver.organization_id, two.home.organization_id), projects.delete, two.giver, "shop"
    )
    assert two.code(bound) == "revoked"
    assert two.code(free, project=two.other.id) == "valid"


CLOSED: dict[str, Callable[[Two], object]] = {
    "narrowed": lambda two: two.give(projects=(two.other.id,)),
    "client disabled": lambda two: two.house.store.write(clients.set_disabled, two.home, two.client.id, True),
    "giver suspended": lambda two: two.house.store.write(
        organizations.update,
        replace(two.house.alice, organization_id=two.giver.organization_id, operator=False),
        None,
        True,
    ),
}


@pytest.mark.parametrize("two", ["acme's application"], indirect=True)
@pytest.mark.parametrize("closed", CLOSED)
def test_roles_at_home_never_open_a_project_whose_consent_is_closed(two: Two, closed: str) -> None:
    """P19 breaks: the integrator's own roles count on the giver's project, for what is bound to that project."""
    given = two.give(projects=(two.shop.id, two.other.id))
    account = str(given.consent.service_account_id)
    two.house.store.write(service_accounts.set_role_bindings, two.home, account, [RoleSpec("developer")])
    key = two.key(given.consent, project="shop")
    file = two.house.store.write(
        credentials.create,
        two.home,
        account,
        CredentialSpec(kind="key_file", key_pair=key_file.generate("EdDSA")),
    )
    two.house.sign()
    text = signers.login(file.secret.reveal(), file.listed.credential.access_id, two.house.clock())
    login = {"token": text, "default_project_code": "shop"}
    session = two.front.ask("POST", "/v1/sessions", login).json()["token"]
    assert [two.code(each) for each in (key, session)] == ["valid", "valid"]
    assert [two.code(each, "write:agents") for each in (key, session)] == ["insufficient_scope"] * 2
    CLOSED[closed](two)
    for each in (key, session):
        for named in ({}, {"project": two.shop.id}):
            told = two.front.verify(each, scopes=["write:agents"], **named)
            assert (told["valid"], told["code"]) == (False, "project_not_allowed"), told


@pytest.mark.parametrize("two", ["acme's application"], indirect=True)
def test_a_session_that_ends_with_the_givers_project_is_told_at_home(two: Two) -> None:
    """Tenancy breaks: the giver's audit log names a session of the integrator, and the integrator's own log does not."""
    given = two.give(projects=(two.shop.id, two.other.id))
    account = str(given.consent.service_account_id)
    pair = key_file.generate("EdDSA")
    file = two.house.store.write(
        credentials.create, two.home, account, CredentialSpec(kind="key_file", key_pair=pair)
    )
    two.house.sign()
    text = signers.login(file.secret.reveal(), file.listed.credential.access_id, two.house.clock())
    begun = two.front.ask("POST", "/v1/sessions", {"token": text, "default_project_code": "shop"}).json()
    assert two.code(begun["token"]) == "valid"
    two.house.store.write(projects.delete, two.giver, "shop")
    assert two.front.verify(begun["token"])["valid"] is False
    assert "session.revoked" not in two.log(two.giver)
    assert two.log(two.home).count("session.revoked") == 1
