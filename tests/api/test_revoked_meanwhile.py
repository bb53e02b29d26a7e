"""A caller that is revoked between the first check and its transaction changes nothing, through any surface.

The first check reads cached facts. Here the credential is revoked only in its rows, and no cache is notified.
This is the state after a revocation is committed while the request waits to write.
"""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from ostiary.node.app import PAGES
from ostiary.storage import sessions as session_rows
from ostiary.storage.authorization_tables import sessions
from ostiary.storage.store import Tx
from ostiary.storage.tables import credentials
from tests.applications import application, code_of, request
from tests.cast import Front
from tests.console.browser import OTHER, PASSWORD, give_password
from tests.devices import begin, enter
from tests.machines import REVOKE, machine, post, token_of
from tests.services.questions import all_rows, events
from tests.visitors import Browser, at_home

pytestmark = pytest.mark.promise("P1")

Fields = dict[str, str]


def revoke_in_rows(front: Front, credential_id: str, revoked: bool = True) -> None:
    """Revoke a credential or session, or undo that, without notifying any cache."""

    def write(tx: Tx) -> None:
        table = sessions if credential_id.startswith("ses_") else credentials
        at = tx.now if revoked else None
        tx.execute(table.update().where(table.c.id == credential_id).values(revoked_at=at))

    front.house.store.write_on((), write)


def successes(front: Front) -> int:
    """Return the number of changes in the audit log."""
    return sum(each.outcome == "success" for each in events(front.house))


@dataclass
class Screen:
    """Alice's browser, with the objects that she can change through its pages."""

    front: Front
    browser: Browser
    session_id: str
    code: str
    """Of a device that asks, entered by her."""
    new_code: str
    """Of another one, entered by nobody."""
    other_session: str
    grant: str
    query: str
    """Of an application that asks her."""


@pytest.fixture
def screen(front: Front) -> Screen:
    house = front.house
    give_password(house, house.alice)
    browser = at_home(house, front, house.alice)
    (session,) = house.store.read(session_rows.list_of_owner, str(house.alice.actor.id), 9)
    code_of(browser, application(house))
    at_home(house, front, house.alice)
    own = house.store.read(session_rows.list_of_owner, str(house.alice.actor.id), 9)
    (granted,) = front.ask("GET", "/v1/grants", key=house.alice_key).json()["data"]
    code, new_code = (begin(front)["user_code"] for _ in range(2))
    enter(browser, code)
    return Screen(
        front,
        browser,
        session.id,
        code,
        new_code,
        next(each.id for each in own if each.id != session.id),
        granted["id"],
        urlsplit(request(application(house))).query,
    )


PAGE_WRITES: dict[str, tuple[str, Callable[[Screen], Fields]]] = {
    "end a session": ("/account/sessions/revoke", lambda it: {"session": it.other_session}),
    "sign out everywhere": ("/account/sign-out-everywhere", lambda _: {}),
    "withdraw access": ("/account/grants/withdraw", lambda it: {"grant": it.grant}),
    "change the password": ("/account/password", lambda _: {"current": PASSWORD, "new": OTHER}),
    "confirm the password": ("/sign-in", lambda _: {"password": PASSWORD}),
    "allow an application": ("/oauth/authorize", lambda it: {"request": it.query, "decision": "allow"}),
    "deny an application": ("/oauth/authorize", lambda it: {"request": it.query, "decision": "deny"}),
    "enter a device's code": ("/oauth/device/verify", lambda it: {"user_code": it.new_code}),
    "allow a device": (
        "/oauth/device/verify",
        lambda it: {
            "user_code": it.code,
            "decision": "allow",
            "organization": it.front.house.acme.id,
        },
    ),
    "deny a device": ("/oauth/device/verify", lambda it: {"user_code": it.code, "decision": "deny"}),
}
"""Each write by a page: where the form is sent, and its fields."""
BY_ANOTHER_PROOF = {
    "/sign-out": "whoever has the session may end it, see below",
    "/invitations/accept": "the link proves it, and a password",
    "/password/reset": "the link proves it",
}


@pytest.mark.parametrize("name", PAGE_WRITES)
def test_a_revoked_person_changes_nothing_by_a_page(screen: Screen, name: str) -> None:
    """P1 breaks: a person is signed out everywhere, but can still finish what they began in that session."""
    path, fields = PAGE_WRITES[name]
    house, token = screen.front.house, screen.browser.token("/account")
    revoke_in_rows(screen.front, screen.session_id)
    before, changes = all_rows(house), successes(screen.front)
    page = screen.browser.enter(path, fields(screen), token)
    assert page.status == 401, page.text
    assert (all_rows(house), successes(screen.front)) == (before, changes)
    # In an active session, the same form does change something.
    revoke_in_rows(screen.front, screen.session_id, revoked=False)
    assert screen.browser.enter(path, fields(screen), token).status < 400
    assert successes(screen.front) > changes or name == "enter a device's code"


def test_every_form_of_a_page_is_tried() -> None:
    """P1 breaks unseen: a new page writes, and no test tries it with an ended session."""
    posts = {each.path for each in PAGES if "POST" in (each.methods or ())}
    assert posts == {path for path, _ in PAGE_WRITES.values()} | BY_ANOTHER_PROOF.keys()


def test_an_ended_session_is_signed_out(screen: Screen) -> None:
    """Signing out breaks: a person who was signed out elsewhere keeps the cookie, and sees an error."""
    token = screen.browser.token("/account")
    revoke_in_rows(screen.front, screen.session_id)
    page = screen.browser.enter("/sign-out", {}, token)
    assert (page.status, page.target) == (200, "/sign-in?notice=out")
    assert screen.front.cookie_name not in screen.browser.cookies


def test_a_revoked_key_or_session_changes_nothing_by_the_api(screen: Screen) -> None:
    """P1 breaks: a key creates another key after its revocation was confirmed."""
    front, house = screen.front, screen.front.house
    account = house.account().account.id
    empty: dict[str, str] = {}
    make = ("POST", f"/v1/service-accounts/{account}/credentials", empty)
    own = {"cookie": f"{front.cookie_name}={screen.browser.cookies[front.cookie_name]}"}
    own["origin"] = screen.browser.issuer
    assert front.ask(*make, key=house.alice_key).status == 201
    assert front.ask(*make, headers=own).status == 201
    revoke_in_rows(front, str(house.alice.actor.credential_id))
    revoke_in_rows(front, screen.session_id)
    before = all_rows(house)
    for again in ({}, {"idempotency-key": "one"}):
        assert front.ask(*make, key=house.alice_key, headers=again).status == 401
        assert front.ask(*make, headers=own | again).status == 401
    assert all_rows(house) == before


def test_a_revoked_client_changes_nothing_by_oauth(front: Front) -> None:
    """P1 breaks: a client ends tokens after its secret was revoked. (Without a client, having the token is enough.)"""
    front.house.sign()
    robo = machine(front)
    token = token_of(robo.by_secret())
    revoke_in_rows(front, robo.word.listed.credential.id)
    before, changes = all_rows(front.house), successes(front)
    answer = post(front, REVOKE, {"token": token}, client=robo.client)
    assert (answer.status, answer.json()["error"]) == (401, "invalid_client")
    assert (all_rows(front.house), successes(front)) == (before, changes)
    assert front.ask("POST", REVOKE, {"token": token}).status == 200
    assert successes(front) == changes + 1
