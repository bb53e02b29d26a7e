"""P2: an application's access on behalf of a person ends with its parent, at every endpoint, from the next request on.

A parent is a consent, a client, a session, a membership, an organization, a project, or the account of a consent. Its
children are access tokens, tokens exchanged for them, refresh tokens, and keys of that account. The last part tests
pending links and codes, whose parents are the person, their roles and their session.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ostiary.core.model import OAuthClient, RoleBinding
from ostiary.core.permission import Caller
from ostiary.services import (
    consents,
    credentials,
    members,
    organizations,
    projects,
    service_accounts,
    sessions,
)
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from ostiary.storage import consents as consent_rows
from ostiary.storage import sessions as session_rows
from ostiary.storage.authorization_tables import clients
from ostiary.storage.journal import Entry
from ostiary.storage.store import Tx
from ostiary.storage.tables import users
from tests import devices
from tests.applications import allow, application, code_of, redeem, refresh, request
from tests.cast import SEED, Front, House
from tests.conftest import PROVE
from tests.machines import exchange, post
from tests.promises.line import prove
from tests.promises.test_p2_parents import ENDPOINTS, peers
from tests.visitors import ISSUER, Browser, at_home, browser

pytestmark = pytest.mark.promise("P2")

SCOPE = "read:agents read:plugins offline_access"
FIGURES: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def proof() -> Iterator[None]:
    FIGURES.clear()
    yield
    if PROVE:
        prove("P2-people", "what people let applications do dies with what it came from", SEED, dict(FIGURES))


@pytest.fixture
def front(house: House, tmp_path: Path) -> Iterator[Front]:
    unlimited = house.with_policy(rate_limit=None, max_credentials_per_organization=None, deletion_delay=0)
    unlimited.sign()
    found = Front(unlimited, tmp_path)
    yield found
    found.close()


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that came from one consent of Charlie or Alice."""

    name: str
    client: OAuthClient
    person: Caller
    texts: Mapping[str, str]
    refresh_token: str
    session_id: str
    consent_id: str
    account_id: str | None

    def refused(self, front: Front, addresses: Iterator[str]) -> Counter[str]:
        """Return the tokens and endpoints that refuse, of all combinations."""
        found = Counter[str]()
        for name, text in self.texts.items():
            for endpoint, ask in ENDPOINTS.items():
                if endpoint == "management" or (endpoint, name) == ("exchange", "exchanged"):
                    continue  # closed to scopes of the catalogue, and to tokens that were exchanged before
                FIGURES["requests"] += 1
                found[f"{name} at {endpoint}"] += not ask(front, text, next(addresses))
        FIGURES["requests"] += 1
        found["refresh"] += refresh(front, self.client, self.refresh_token).status != 200
        return found


def access(front: Front, name: str, client: OAuthClient, person: Caller, **choices: Any) -> Access:
    house = front.house
    page = allow(at_home(house, front, person), request(client, scope=SCOPE), **choices)
    body = redeem(front, client, page.answer["code"]).json()
    token = str(body["access_token"])
    told = front.verify(token)
    session_id = str(told["credential_id"])
    texts = {"access token": token}
    account_id = body.get("service_account", {}).get("id")
    if account_id is not None:
        key = house.store.write(credentials.create, house.alice, account_id, CredentialSpec())
        texts["key"] = key.secret.reveal()
    exchanged = exchange(front, token)
    if exchanged.status == 200:
        texts["exchanged"] = exchanged.json()["access_token"]
    session = house.store.read(
        sessions.get, replace(house.alice, organization_id=told["organization"]), session_id
    )
    grant_id = str(session.session.grant_id)
    return Access(name, client, person, texts, body["refresh_token"], session_id, grant_id, account_id)


@dataclass(frozen=True, slots=True)
class Town:
    """Two consents to one application and one to another, and one consent of Umbrella to a client of Acme."""

    front: Front
    ours: Access
    same_client: Access
    same_person: Access
    on_behalf: Access
    project: str

    @property
    def all(self) -> tuple[Access, ...]:
        return self.ours, self.same_client, self.same_person, self.on_behalf


def town(front: Front) -> Town:
    house = front.house
    first, second = application(house), application(house)
    integration = application(house, access="organization", name="Connector")
    one = house.store.write(projects.create, house.charlie, "One", None, "")
    bob_there = house.store.write(
        members.insert, house.charlie, house.umbrella.id, "dora@umbrella.test", None, [members.ADMIN]
    )
    dora = replace(
        house.charlie, actor=replace(house.charlie.actor, id=bob_there, display="dora@umbrella.test")
    )
    return Town(
        front,
        access(front, "ours", first, dora),
        access(front, "same client", first, house.bob),
        access(front, "same person", second, dora),
        access(
            front, "on behalf", integration, house.charlie, organization=house.umbrella.id, project=[one.id]
        ),
        one.id,
    )


def _update_client(**values: Any) -> Callable[[Town], None]:
    def act(there: Town) -> None:
        def update(tx: Tx, caller: Caller) -> None:
            tx.execute(clients.update().where(clients.c.id == there.ours.client.id).values(**values))
            for each in consent_rows.of_client(tx, there.ours.client.id):
                consents.end(tx, caller, each, "client")

        there.front.house.store.write_on(
            sorted({there.front.house.acme.id, there.front.house.umbrella.id}),
            update,
            there.front.house.alice,
        )

    return act


def _write(act: Callable[..., object], who: str, *arguments: Callable[[Town], Any]) -> Callable[[Town], None]:
    def done(there: Town) -> None:
        house = there.front.house
        # A change that concerns two organizations serializes on both.
        both = sorted({house.acme.id, house.umbrella.id})
        house.store.write_on(both, act, getattr(house, who), *(each(there) for each in arguments))

    return done


def _suspend(there: Town) -> None:
    def act(tx: Tx, caller: Caller) -> None:
        organizations.update(tx, organizations.enter(tx, caller, "umbrella"), None, True)

    there.front.house.store.write(act, there.front.house.alice)


def _revoke_token(there: Town) -> None:
    answer = post(
        there.front,
        "/oauth/token/revoke",
        {"token": there.ours.refresh_token, "client_id": there.ours.client.id},
    )
    assert answer.status == 200


OURS, ON_BEHALF = ("ours",), ("on behalf",)
PARENTS: Mapping[str, tuple[Callable[[Town], None], tuple[str, ...]]] = {
    "consent withdrawn": (_write(consents.withdraw, "charlie", lambda there: there.ours.consent_id), OURS),
    "session revoked": (_write(sessions.revoke, "charlie", lambda there: there.ours.session_id), OURS),
    "refresh token revoked": (_revoke_token, OURS),
    "client disabled": (_update_client(disabled_at=1), ("ours", "same client")),
    "client deleted": (_update_client(deleted_at=1), ("ours", "same client")),
    "member removed": (
        _write(members.remove, "charlie", lambda there: there.ours.person.actor.id),
        ("ours", "same person"),
    ),
    "organization suspended": (_suspend, ("ours", "same person")),
    "project deleted": (_write(projects.delete, "charlie", lambda there: there.project), ON_BEHALF),
    "given access withdrawn": (
        _write(consents.withdraw, "charlie", lambda there: there.on_behalf.consent_id),
        ON_BEHALF,
    ),
    "given access given up": (
        _write(consents.withdraw, "alice", lambda there: there.on_behalf.consent_id),
        ON_BEHALF,
    ),
    "its account deleted": (
        _write(service_accounts.delete, "alice", lambda there: there.on_behalf.account_id),
        ON_BEHALF,
    ),
    "its account disabled": (
        _write(
            service_accounts.set_disabled, "alice", lambda there: there.on_behalf.account_id, lambda _: True
        ),
        ON_BEHALF,
    ),
}


@pytest.mark.parametrize("parent", PARENTS)
def test_what_came_of_a_consent_dies_with_its_parent(front: Front, parent: str) -> None:
    """P2 breaks: an application has access after its parent ended, or an unrelated one loses access."""
    end, dying = PARENTS[parent]
    there, addresses = town(front), peers()
    for each in there.all:
        for name, text in each.texts.items():
            assert front.verify(text)["valid"], f"{each.name}: {name}"
    end(there)
    accepted, refused = Counter[str](), Counter[str]()
    for each in there.all:
        if (parent, each.name) == ("organization suspended", "on behalf"):
            # Its account belongs to Acme and stays, without the permissions from Umbrella. They return with Umbrella.
            assert [front.verify(text)["scopes"] for text in each.texts.values()] == [[], [], []]
            assert [front.verify(text, project=there.project)["valid"] for text in each.texts.values()] == [
                False
            ] * 3
            assert refresh(front, each.client, each.refresh_token).status == 400
            continue
        told = each.refused(front, addresses)
        if each.name in dying:
            FIGURES["asked of what is dead"] += len(told)
            accepted.update({f"{each.name}: {name}": 1 for name, gone in told.items() if not gone})
        else:
            FIGURES["asked of what lives on"] += len(told)
            refused.update({f"{each.name}: {name}": 1 for name, gone in told.items() if gone})
    FIGURES["parents ended"] += 1
    FIGURES["accepted of what is dead"] += len(accepted)
    FIGURES["refused of what lives on"] += len(refused)
    print(f"{parent}: {len(accepted)} accepted of what is dead, {len(refused)} refused of what lives on")
    assert (accepted, refused) == ({}, {})


# Pending links and codes


@dataclass(frozen=True, slots=True)
class Waiting:
    """Dora administers Umbrella, as Charlie does. Frank is a viewer there."""

    front: Front
    dora: Caller
    frank: str
    browser: Browser
    session_id: str
    client: OAuthClient
    integration: OAuthClient
    project: str

    def made(self, path: str, body: Any = None) -> str:
        """Return the path of a link that Dora creates in her browser through the management API."""
        cookie = f"{self.front.cookie_name}={self.browser.cookies[self.front.cookie_name]}"
        answer = self.front.ask("POST", path, body, headers={"cookie": cookie, "origin": ISSUER})
        assert answer.status == 201, answer.body
        return str(answer.json()["link"]).removeprefix(ISSUER)

    def opens(self, link: str) -> bool:
        status = browser(self.front).get(link).status
        assert status in (200, 404)
        return status == 200


def waiting(front: Front) -> Waiting:
    house = front.house
    project = house.store.write(projects.create, house.charlie, "One", None, "")
    dora_id, frank = (
        house.store.write(members.insert, house.charlie, house.umbrella.id, email, None, [binding])
        for email, binding in (
            ("dora@umbrella.test", members.ADMIN),
            ("frank@umbrella.test", RoleBinding("viewer", None)),
        )
    )
    dora = replace(
        house.charlie, actor=replace(house.charlie.actor, id=dora_id, display="dora@umbrella.test")
    )
    at_browser = at_home(house, front, dora)
    [session] = house.store.read(session_rows.list_of_owner, dora_id, 2)
    client, integration = (
        application(house),
        application(house, access="organization", name="Connector"),
    )
    return Waiting(front, dora, frank, at_browser, session.id, client, integration, project.id)


def _invitation(there: Waiting) -> Callable[[], bool]:
    body = {"email": "mallory@umbrella.test", "roles": [{"role": "organization-admin"}]}
    link = there.made("/v1/invitations", body)
    return lambda: there.opens(link)


def _reset(there: Waiting) -> Callable[[], bool]:
    link = there.made(f"/v1/members/{there.frank}/password-reset")
    return lambda: there.opens(link)


def _code(there: Waiting) -> Callable[[], bool]:
    code = code_of(there.browser, there.client, scope=SCOPE)
    return lambda: redeem(there.front, there.client, code).status == 200


def _code_on_behalf(there: Waiting) -> Callable[[], bool]:
    page = allow(
        there.browser,
        request(there.integration, scope=SCOPE),
        organization=there.front.house.umbrella.id,
        project=[there.project],
    )
    return lambda: redeem(there.front, there.integration, page.answer["code"]).status == 200


def _device_code(there: Waiting) -> Callable[[], bool]:
    asked = devices.begin(there.front)
    devices.enter(there.browser, asked["user_code"])
    devices.decide(there.browser, asked["user_code"], "allow", there.front.house.umbrella.id)
    return lambda: devices.fetch(there.front, asked["device_code"]).status == 200


WAITS: Mapping[str, Callable[[Waiting], Callable[[], bool]]] = {
    "invitation": _invitation,
    "reset link": _reset,
    "code": _code,
    "code on behalf": _code_on_behalf,
    "device code": _device_code,
}
LINKS, ALL = {"invitation", "reset link"}, set(WAITS)


def _remove(there: Waiting) -> None:
    house = there.front.house
    house.store.write(members.remove, house.charlie, there.dora.actor.id)


def _demote(there: Waiting) -> None:
    house = there.front.house
    house.store.write(members.set_roles, house.charlie, there.dora.actor.id, [RoleSpec("viewer")])


def _disable(there: Waiting) -> None:
    """No service of ours can do this to a person yet."""

    def act(tx: Tx, caller: Caller) -> None:
        tx.execute(users.update().where(users.c.id == there.dora.actor.id).values(disabled_at=tx.now))
        tx.changed("organization", caller.organization_id)

    there.front.house.store.write(act, there.front.house.charlie)


def _end_session(there: Waiting) -> None:
    there.front.house.store.write(sessions.revoke, there.front.house.charlie, there.session_id)


def _sign_out(there: Waiting) -> None:
    signed_in = replace(there.dora, token_id=there.session_id)
    there.front.house.store.write(sessions.revoke, signed_in, there.session_id)


def _sign_out_everywhere(there: Waiting) -> None:
    there.front.house.store.write(sessions.revoke_all, there.dora)


def _nothing(there: Waiting) -> None:
    """Changes to other people do not affect her."""
    house = there.front.house
    other = house.store.write(
        members.insert, house.charlie, house.umbrella.id, "gina@umbrella.test", None, [members.ADMIN]
    )
    house.store.write(members.remove, house.charlie, other)


MAKERS: Mapping[str, tuple[Callable[[Waiting], None], set[str]]] = {
    "removed": (_remove, ALL),
    "demoted": (_demote, LINKS | {"code on behalf"}),
    "disabled": (_disable, ALL),
    "session ended from elsewhere": (_end_session, ALL),
    # After a person signs out, their invitations stay valid. A pending code is for one session only.
    "signed out": (_sign_out, ALL - LINKS),
    "signed out everywhere": (_sign_out_everywhere, ALL),
    "another admin removed": (_nothing, set()),
}


@pytest.mark.parametrize("parent", MAKERS)
def test_what_nobody_has_used_yet_dies_with_its_maker(front: Front, parent: str) -> None:
    """P2 breaks: a removed admin returns by an old link, or an application by an old code."""
    end, dying = MAKERS[parent]
    there = waiting(front)
    uses = {name: make(there) for name, make in WAITS.items()}
    end(there)
    dead = {name for name, use in uses.items() if not use()}
    FIGURES["makers ended"] += 1
    FIGURES["links and codes accepted of a maker who may not make them"] += len(dying - dead)
    FIGURES["links and codes refused of a maker who may"] += len(dead - dying)
    assert dead == dying


def test_a_code_is_judged_in_the_transaction_that_begins_its_session(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2 breaks: a session ends while its code waits for the database, but the code begins another for 30 days."""
    there, record = waiting(front), front.journal.record
    code = code_of(there.browser, there.client, scope=SCOPE)

    def too_late(entry: Entry) -> asyncio.Future[bool]:
        _end_session(there)
        return record(entry)

    monkeypatch.setattr(front.journal, "record", too_late)
    assert redeem(front, there.client, code).status == 400
    assert not front.house.store.read(session_rows.list_of_owner, str(there.dora.actor.id), 2)
