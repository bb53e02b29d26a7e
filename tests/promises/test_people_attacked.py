"""Attacks on people's access: an application, a stale link, a stale session or a huge form must not exceed a consent."""

import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Barrier, Event, Semaphore
from typing import Any

import pytest

from ostiary.auth.rates import Rates
from ostiary.core import check
from ostiary.core.model import Consent, OAuthClient, Project
from ostiary.core.permission import Caller
from ostiary.core.problem import Problem
from ostiary.http.client_documents import KEYS_AT_ONCE, ClientDocuments, DocumentError
from ostiary.http.links import INVITATION, RESET
from ostiary.http.outbound import Fetched, OutboundError
from ostiary.oauth.refusal import THREADS
from ostiary.ratelimit.mapped_store import MappedRateLimitStore
from ostiary.services import (
    authorization_codes,
    clients,
    consents,
    credentials,
    joining,
    members,
    own_account,
    password_resets,
    people,
    projects,
    sessions,
)
from ostiary.services.authorization_codes import CodeRequest
from ostiary.services.callers import RECENTLY
from ostiary.services.clients import ClientSpec
from ostiary.services.consents import ConsentRequest
from ostiary.services.execute import execute
from ostiary.services.issuance import CredentialSpec
from ostiary.services.passwords import hash_password, verify_password
from ostiary.services.roles import RoleSpec
from ostiary.storage import authorization_tables
from ostiary.storage import people as people_rows
from ostiary.storage.store import Tx
from tests.applications import CHALLENGE, REDIRECT, allow, application, code_of, redeem, refresh, request
from tests.cast import Answer, Front, House
from tests.devices import VERIFY, begin, fetch
from tests.machines import exchange, name_resource
from tests.servers import PATIENCE
from tests.visitors import at_home

RESOURCE = "https://api.example.test/"


@pytest.fixture
def front(house: House, tmp_path: Path) -> Iterator[Front]:
    house.sign()
    found = Front(house, tmp_path)
    yield found
    found.close()


def as_completed_few(futures: list[Future[Any]], number: int) -> list[Future[Any]]:
    """Return the results of the first calls that finish."""
    found = list(islice(as_completed(futures, timeout=PATIENCE), number))
    assert len(found) == number
    return found


def bearer(front: Front, method: str, target: str, token: str, body: object = None) -> Answer:
    return front.ask(method, target, body, headers={"authorization": f"Bearer {token}"})


def token_of(front: Front, person: Caller, client: OAuthClient, **asked: str | None) -> dict[str, str]:
    code = code_of(at_home(front.house, front, person), client, **asked)
    answer = redeem(front, client, code)
    assert answer.status == 200, answer.body
    found: dict[str, str] = answer.json()
    return found


# Limits of an application that acts for a person


def test_an_application_takes_nobody_over(front: Front) -> None:
    """P2 breaks: an application creates a link that outlives its consent and gives the access of the person."""
    house = front.house
    client = application(house, source="registration", organization_id=None)
    given = token_of(front, house.alice, client, scope="api offline_access")
    exchanged = exchange(front, given["access_token"]).json()["access_token"]
    for token in (given["access_token"], exchanged):
        for target, body in (
            (f"/v1/members/{house.alice.actor.id}/password-reset", None),
            (f"/v1/members/{house.bob.actor.id}/password-reset", None),
            ("/v1/invitations", {"email": "eve@evil.test", "roles": [{"role": "organization-admin"}]}),
            ("/v1/api-keys", {"name": "Eve's"}),
        ):
            answer = bearer(front, "POST", target, token, body)
            assert answer.status == 403, (target, answer.body)
            assert RESET not in answer.body.decode()
            assert INVITATION not in answer.body.decode()


def test_an_application_stays_where_it_was_let_in(front: Front) -> None:
    """P19 breaks: an operator admin allows an application in one organization, and it has access to all."""
    house = front.house
    client = application(house, source="registration", organization_id=None)
    for scope in ("api", "read:members"):
        token = token_of(front, house.alice, client, scope=scope)["access_token"]
        for umbrella in (house.umbrella.id, house.umbrella.slug):
            assert bearer(front, "GET", f"/v1/members?organization={umbrella}", token).status == 404
        assert bearer(front, "GET", f"/v1/organizations/{house.umbrella.id}", token).status == 404
        assert bearer(front, "GET", f"/v1/members?organization={house.acme.id}", token).status == 200


def test_a_narrow_application_ends_no_membership(front: Front) -> None:
    """P19 breaks: an application that may read plugins can make its person leave, which revokes their keys."""
    house = front.house
    client = application(house)
    given = token_of(front, house.bob, client, scope="read:plugins offline_access")
    answer = bearer(front, "DELETE", f"/v1/members/{house.bob.actor.id}", given["access_token"])
    assert answer.status == 403, answer.body
    assert house.store.read(members.get, house.alice, str(house.bob.actor.id))


def test_a_refresh_keeps_to_the_resources_of_the_consent(front: Front) -> None:
    """P14 breaks: a token for another API is refreshed into one for this API, or for a third (RFC 8707 §2.2)."""
    house = front.house
    name_resource(house, RESOURCE)
    name_resource(house, "https://third.example.test/", "third")
    client = application(house)
    browser = at_home(house, front, house.alice)
    code = code_of(browser, client, scope="api offline_access", resource=RESOURCE)
    first = redeem(front, client, code).json()
    assert bearer(front, "GET", "/v1/members", first["access_token"]).status == 401
    third = refresh(front, client, first["refresh_token"], resource="https://third.example.test/")
    assert (third.status, third.json()["error"]) == (400, "invalid_target")
    ours = refresh(front, client, first["refresh_token"]).json()
    assert bearer(front, "GET", "/v1/members", ours["access_token"]).status == 401
    assert front.verify(ours["access_token"], audience=RESOURCE)["valid"]


def test_two_narrow_consents_are_not_one_wide_one(front: Front) -> None:
    """P19 breaks: reading everywhere and writing in one project become, without consent, writing everywhere."""
    house = front.house
    shop = house.store.write(projects.create, house.alice, "Shop", "shop", "")
    client = application(house)
    browser = at_home(house, front, house.alice)
    assert allow(browser, request(client, scope="read:plugins")).status == 303
    narrow = allow(browser, request(client, scope="write:plugins"), reach="some", project=[shop.id])
    assert narrow.status == 303
    silent = browser.get(request(client, scope="write:plugins", prompt="none"))
    if "code" in silent.answer:
        token = redeem(front, client, silent.answer["code"]).json()["access_token"]
        assert not front.verify(token, scopes=["write:plugins"])["valid"]
        assert front.verify(token, scopes=["write:plugins"], project="shop")["valid"]
    wide = browser.get(request(client, scope="read:plugins write:plugins", prompt="none"))
    assert wide.answer.get("error") == "consent_required", wide.answer


# Stale links and sessions


def test_a_reset_link_does_not_reach_what_its_person_became(house: House) -> None:
    """P19 breaks: an admin keeps a member's link, and uses it after the member joins another organization."""
    frank = house.store.write(
        members.insert, house.charlie, house.umbrella.id, "frank@umbrella.test", hash_password("p" * 12), []
    )
    link = house.store.write(password_resets.create, house.charlie, frank).token.reveal()
    house.store.write(
        members.insert, house.alice, house.acme.id, "frank@umbrella.test", None, [members.ADMIN]
    )
    with pytest.raises(Problem) as refused:
        house.store.write(password_resets.use, house.charlie, link, hash_password("q" * 12))
    assert refused.value.code == "not-found"


def test_a_reset_link_does_not_reach_a_later_role(house: House) -> None:
    """P19 breaks: a link to reset a viewer's password works after the viewer becomes an admin."""
    house.store.write(password_resets.create, house.alice, str(house.bob.actor.id))
    link = house.store.write(password_resets.create, house.alice, str(house.bob.actor.id)).token.reveal()
    house.store.write(
        members.set_roles, house.alice, str(house.bob.actor.id), [RoleSpec("organization-admin")]
    )
    with pytest.raises(Problem) as refused:
        house.store.read(password_resets.find_link, house.alice, link)
    assert refused.value.code == "not-found"


def test_nobody_consents_by_a_session_that_has_ended(house: House) -> None:
    """P1 breaks: a session is revoked while its request waits, but an application gets access."""

    def begin(tx: Tx, caller: Caller) -> people.BrowserSession:
        found = people_rows.find(tx, str(caller.actor.id))
        assert found is not None
        return people.sign_in(tx, caller, people.VerifiedPassword(str(found.password_hash)))

    begun = house.store.write(begin, house.alice)
    visitor = replace(
        house.alice,
        access_id=begun.session_id,
        token_id=begun.session_id,
        expires_at=begun.expires_at,
    )
    client = application(house)
    asked = ConsentRequest(client, house.acme.id, ("read:plugins",))
    bound = CodeRequest(REDIRECT, True, CHALLENGE)
    execute(house.store, visitor, authorization_codes.allow, asked, bound)
    house.store.write(sessions.end_all, house.alice, str(house.alice.actor.id), "test")
    with pytest.raises(Problem) as refused:
        execute(house.store, visitor, authorization_codes.allow, asked, bound)
    assert refused.value.code == "invalid-credential"
    assert house.store.read(consents.list_page, house.alice, None, 9)


def on_behalf(house: House) -> tuple[Project, OAuthClient, Consent]:
    """A project of Umbrella, and an application of Acme with access to it, given by Charlie."""
    shop = house.store.write(projects.create, house.charlie, "Shop", "shop", "")
    spec = ClientSpec("Tracker", (REDIRECT,), scopes=("read:agents",), access="organization")
    client = house.store.write(clients.create, house.alice, spec)
    asked = ConsentRequest(client, house.umbrella.id, ("read:agents",), (shop.id,))
    given = house.store.write_on(
        sorted((house.acme.id, house.umbrella.id)), consents.give, house.charlie, asked
    )
    return shop, client, given.consent


def test_an_admin_elsewhere_withdraws_nothing_here(house: House) -> None:
    """P19 breaks: a role in the organization of the session gives permissions in another one."""
    _, _, consent = on_behalf(house)
    house.store.write(
        members.insert, house.charlie, house.umbrella.id, "dora@umbrella.test", None, [members.ADMIN]
    )
    house.store.write(
        members.insert, house.alice, house.acme.id, "charlie@umbrella.test", None, [members.ADMIN]
    )
    own = str(house.charlie.actor.id)
    house.store.write(members.set_roles, house.charlie, own, [RoleSpec("viewer")])
    elsewhere = replace(house.charlie, organization_id=house.acme.id)
    both = sorted((house.acme.id, house.umbrella.id))
    with pytest.raises(Problem) as refused:
        house.store.write_on(both, own_account.withdraw, elsewhere, consent.id)
    assert refused.value.code == "insufficient-permissions"
    # The opposite case: an admin here may, from a session of any organization.
    house.store.write(members.set_roles, house.alice, own, [])
    house.store.write(members.set_roles, house.charlie, own, [RoleSpec("organization-admin")])
    nobody = replace(elsewhere, scopes=frozenset())
    house.store.write_on(both, own_account.withdraw, nobody, consent.id)
    assert house.store.read(consents.get, house.charlie, consent.id).consent.revoked_at is not None


def test_keys_of_a_disabled_client_open_nothing(front: Front) -> None:
    """P2 breaks: a client is disabled, but the keys of its accounts stay valid."""
    house = front.house
    shop, client, consent = on_behalf(house)
    account = str(consent.service_account_id)
    key = house.store.write(credentials.create, house.alice, account, CredentialSpec()).secret.reveal()
    opens = [front.verify(key, project=shop.id, scopes=["read:agents"])["valid"]]
    for disabled in (True, False):
        house.store.write(clients.set_disabled, house.alice, client.id, disabled)
        opens.append(front.verify(key, project=shop.id, scopes=["read:agents"])["valid"])
    assert opens == [True, False, True]


# Expensive requests


def test_slow_hosts_of_keys_leave_threads(house: House, tmp_path: Path) -> None:
    """P20 breaks: clients whose key hosts never respond block every thread of the token endpoint."""
    go, entered = Event(), Semaphore(0)

    def fetch(url: str, **_: object) -> Fetched:
        entered.release()
        go.wait(10)
        raise OutboundError("time")

    permits = MappedRateLimitStore(tmp_path / "failures", b"k" * 32, 1024)
    limits = Rates(permits, house.clock)
    documents = ClientDocuments(house.store, limits, frozenset(), fetch)
    slow = [
        application(house, auth_method="private_key_jwt", jwks_uri=f"https://slow-{number}.test/keys")
        for number in range(THREADS)
    ]
    with ThreadPoolExecutor(THREADS) as threads:
        asked = [threads.submit(documents.jwks_of, each) for each in slow]
        try:
            for _ in range(KEYS_AT_ONCE):
                assert entered.acquire(timeout=PATIENCE)
            told = {type(each.exception(10)) for each in as_completed_few(asked, THREADS - KEYS_AT_ONCE)}
            assert told == {DocumentError}
            assert threads.submit(int).result(10) == 0
        finally:
            go.set()
    permits.close()


def test_a_password_of_marks_costs_no_more_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """P20 breaks: normalizing 64 kB of combining marks blocks the process for a second and a half."""
    normalize, lengths = unicodedata.normalize, []

    def counted(form: Any, text: str) -> str:
        lengths.append(len(text))
        return normalize(form, text)

    kept = hash_password("p" * 12)
    monkeypatch.setattr(unicodedata, "normalize", counted)
    assert not verify_password(kept, "p" * 12 + "\u0315" * 16_000 + "\u0300" * 16_000)
    assert max(lengths) <= 1_024


def test_strangers_that_register_search_no_sessions() -> None:
    """P20 breaks: each registration searches every session for each client without consent."""
    columns = [each.columns.keys() for each in authorization_tables.sessions.indexes]
    assert ["client_id"] in columns


@pytest.mark.parametrize("name", ["\u3164", "\u2800\u2800", "\u115f", "\u034f", "\ufe0f\u0301"])
def test_an_application_has_a_name_to_see(name: str) -> None:
    """B7 breaks: the consent page shows an application whose name is invisible."""
    with pytest.raises(ValueError, match="blank"):
        check.display_name(name)


# Concurrent requests


def at_once(house: House, work: Callable[[Caller], object]) -> None:
    """Run it for Alice and Charlie concurrently. Each is the only writer of their organization. Raises its errors."""
    go = Barrier(2)

    def one(who: Caller) -> None:
        go.wait(10)
        work(who)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(one, (house.alice, house.charlie)))


def test_the_first_two_who_know_a_document_both_consent(house: House) -> None:
    """P12 breaks: two organizations use an application for the first time concurrently, and one gets a 500."""
    for number in range(5):
        client = replace(
            application(house), id=f"https://app.test/{number}.json", source="document", organization_id=None
        )

        def consent(who: Caller, client: OAuthClient = client) -> None:
            house.store.write(
                consents.give, who, ConsentRequest(client, who.organization_id, ("read:plugins",))
            )

        at_once(house, consent)


def test_two_organizations_invite_the_same_stranger(house: House) -> None:
    """P12 breaks: a person who opens two invitations concurrently gets a 500."""
    for number in range(5):
        email = f"new-{number}@stranger.test"
        made = {
            who.organization_id: house.store.write(members.invite, who, email, []).token.reveal()
            for who in (house.alice, house.charlie)
        }

        def join(who: Caller, made: dict[str, str] = made) -> None:
            # The later request finds an account, and signs in.
            with suppress(Problem):
                house.store.write(joining.join, who, made[who.organization_id], "hash")

        at_once(house, join)


# An unattended screen


def test_a_screen_that_was_left_open_gives_nobody_everything(front: Front) -> None:
    """P19 breaks: a stranger at an open browser can allow an application everything, without a password."""
    house = front.house
    client = application(house, source="registration", organization_id=None)
    browser = at_home(house, front, house.alice)
    shown = browser.get(request(client, scope="api"))
    device = begin(front)
    house.clock.advance(RECENTLY)
    for asked in ("api", "write:members", "read:plugins m2m"):
        assert browser.get(request(client, scope=asked)).target.startswith("/sign-in?next=")
    assert browser.get(request(client, scope="read:plugins")).status == 200
    assert browser.submit(shown, "/oauth/authorize", decision="allow").target.startswith("/sign-in?next=")
    entered = browser.get("/oauth/device/verify")
    assert browser.submit(entered, VERIFY, user_code=device["user_code"]).target.startswith("/sign-in?next=")
    token = next(value for name, value in shown.form("/oauth/authorize").fields if name == "form_token")
    fields = [("user_code", device["user_code"]), ("decision", "allow"), ("form_token", token)]
    by_hand = browser.post(VERIFY, [*fields, ("organization", house.acme.id)])
    assert by_hand.target.startswith("/sign-in?next=")
    assert fetch(front, device["device_code"]).json()["error"] == "authorization_pending"
