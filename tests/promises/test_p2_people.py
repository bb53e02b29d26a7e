"""P2: what people let applications do dies with what it came from, at every door, from the next request on.

A parent is a consent, a client, a session, a membership, an organization, a project, the account that a consent made.
What came from it: access tokens, what was exchanged for them, refresh tokens, and keys of that account.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ostiary.core.model import Client
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
from ostiary.services.minting import CredentialSpec
from ostiary.storage import consents as consent_rows
from ostiary.storage.authorization_tables import clients
from ostiary.storage.store import Tx
from tests.applications import allow, application, redeem, refresh, request
from tests.cast import SEED, Front, House
from tests.conftest import PROVE
from tests.machines import exchange, post
from tests.promises.line import prove
from tests.promises.test_p2_parents import DOORS, peers
from tests.visitors import at_home

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
    """What one consent of Charlie's, or of Alice's, has come to."""

    name: str
    client: Client
    person: Caller
    texts: Mapping[str, str]
    refresh_token: str
    session_id: str
    consent_id: str
    account_id: str | None

    def refused(self, front: Front, addresses: Iterator[str]) -> Counter[str]:
        """Where it is, of all that there is."""
        found = Counter[str]()
        for name, text in self.texts.items():
            for door, ask in DOORS.items():
                if door == "management" or (door, name) == ("exchange", "exchanged"):
                    continue  # closed to scopes of the catalogue, and to what was exchanged before
                FIGURES["requests"] += 1
                found[f"{name} at {door}"] += not ask(front, text, next(addresses))
        FIGURES["requests"] += 1
        found["refresh"] += refresh(front, self.client, self.refresh_token).status != 200
        return found


def access(front: Front, name: str, client: Client, person: Caller, **choices: Any) -> Access:
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
    """Two consents to one application, one to another; and one of Umbrella's to Acme's."""

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
        # What concerns two organizations serializes on both.
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
    """P2 breaks: an application goes on after what it came from was ended; or one does not that is not concerned."""
    end, dying = PARENTS[parent]
    there, addresses = town(front), peers()
    for each in there.all:
        for name, text in each.texts.items():
            assert front.verify(text)["valid"], f"{each.name}: {name}"
    end(there)
    accepted, refused = Counter[str](), Counter[str]()
    for each in there.all:
        if (parent, each.name) == ("organization suspended", "on behalf"):
            # Its account is Acme's and goes on, without what Umbrella gave, which comes back with Umbrella.
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
