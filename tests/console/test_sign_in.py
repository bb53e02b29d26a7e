"""Signing in, confirming the password, signing out, and the account page."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from ostiary.core.instant import DAY, MINUTE
from ostiary.core.model import RoleBinding, SessionKind
from ostiary.core.oauth import BUILT_IN
from ostiary.services import consents, members, passwords
from ostiary.storage import people, tables
from ostiary.storage import sessions as session_rows
from ostiary.storage.store import Tx
from tests.cast import Front, House
from tests.conftest import FULL
from tests.console.browser import OTHER, PASSWORD, Browser, give_password, text_of
from tests.services.questions import all_rows, events
from tests.visitors import session_of

ALICE = "alice@acme.test"
WHOAMI = "/identity/v1/whoami"


@pytest.fixture
def front(house: House, tmp_path: Path) -> Iterator[Front]:
    """The application on both databases."""
    give_password(house, house.alice)
    found = Front(house, tmp_path)
    yield found
    found.close()


@pytest.fixture
def browser(front: Front) -> Browser:
    return Browser(front)


def whoami(front: Front, secret: str) -> int:
    return front.ask("GET", WHOAMI, headers={"cookie": f"ostiary_session={secret}"}).status


def begin(front: Front, client_id: str = "ostiary-cli", kind: SessionKind = "device") -> str:
    """Create a client's session for Alice. Return its id."""
    house = front.house
    asked = consents.ConsentRequest(BUILT_IN[client_id], house.acme.id, ("api",), kind=kind)
    given = house.store.write(consents.give, house.alice, asked)
    house.store.write_on((), session_rows.begin, given.session_id, 1)
    return given.session_id


def test_a_person_signs_in(browser: Browser) -> None:
    """Sign-in breaks: the correct password is refused, or scripts or other sites can use the cookie."""
    answer = browser.sign_in("  Alice@Acme.test ", onward="/oauth/device/verify?user_code=WDJB-MJHT")
    house = browser.front.house
    assert (answer.status, answer.headers["location"]) == (303, "/oauth/device/verify?user_code=WDJB-MJHT")
    attributes = answer.headers["set-cookie"].partition(";")[2]
    assert attributes == f" Path=/; HttpOnly; SameSite=Lax; Max-Age={30 * 86_400}"
    assert whoami(browser.front, browser.session) == 200
    assert not [name for name, rows in all_rows(house).items() if browser.session in str(rows)]
    (event,) = [each for each in events(house) if each.action == "session.created"]
    assert (event.actor_id, event.details["kind"]) == (house.alice.actor.id, "browser")
    page = text_of(browser.get("/account"))
    assert "This one" in page
    assert ALICE in page
    again = browser.get("/sign-in?next=/account/x")
    assert (again.status, again.headers["location"]) == (303, "/account/x")


@pytest.mark.parametrize(
    "headers, told",
    [
        ({"host": "127.0.0.1:8080", "origin": "http://127.0.0.1:8080"}, True),
        ({"host": "localhost:8080", "origin": "https://evil.example"}, False),
        ({"host": "evil.example", "origin": "null"}, False),
    ],
)
def test_a_page_at_another_address_names_its_own(
    browser: Browser, headers: dict[str, str], told: bool
) -> None:
    """Sign-in breaks: a page at another host name of the service does not say which URL to use."""
    browser.headers = headers
    answer = browser.sign_in(ALICE)
    assert answer.status == 403
    assert ("http://localhost:8080" in text_of(answer)) is told
    assert browser.session == ""


def test_a_password_may_be_typed_on_another_keyboard(browser: Browser) -> None:
    """Sign-in breaks: a letter with an accent has another Unicode form on another system."""
    give_password(browser.front.house, browser.front.house.alice, "cafe\u0301 cafe\u0301 cafe\u0301")
    assert browser.sign_in(ALICE, "caf\u00e9 caf\u00e9 caf\u00e9").status == 303


def test_an_old_hash_is_made_again(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign-in breaks: old password hashes are not renewed with the current parameters."""
    monkeypatch.setattr(passwords, "_HASHER", FULL)
    house = browser.front.house
    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    house.store.write_on((), people.set_password, str(house.alice.actor.id), old)
    assert browser.sign_in(ALICE).status == 303
    person = house.store.read(people.find_by_email, ALICE)
    assert person is not None
    assert "m=19456,t=2,p=1" in str(person.password_hash)
    assert Browser(browser.front).sign_in(ALICE).status == 303


def disable(tx: Tx, user_id: str) -> None:
    tx.execute(tables.users.update().where(tables.users.c.id == user_id).values(disabled_at=tx.now))


@pytest.mark.promise("P5")
def test_each_refusal_stands_in_the_log_with_its_reason(browser: Browser) -> None:
    """P5 breaks: a refused sign-in is not in the log, or the response shows which emails have an account."""
    house = browser.front.house
    store = house.store
    lonely = store.write(members.insert, house.charlie, house.umbrella.id, "eve@umbrella.test", None, [])
    store.write_on((), people.set_password, lonely, PasswordHasher().hash(PASSWORD))
    store.write(members.remove, house.charlie, lonely)
    gone = store.write(members.insert, house.alice, house.acme.id, "gone@acme.test", None, [])
    store.write_on((), disable, gone)
    tried = {
        "nobody@acme.test": "unknown email",
        "not an address": "unknown email",
        ALICE: "wrong password",
        "bob@acme.test": "no password chosen",
        "gone@acme.test": "disabled",
        "eve@umbrella.test": "no membership",
    }
    seen = set()
    browser.get("/sign-in")
    for email in tried:
        answer = browser.sign_in(email, PASSWORD if email != ALICE else OTHER)
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name not in ("x-request-id", "content-length")
        }
        seen.add((answer.status, str(headers), text_of(answer).replace(email, "EMAIL")))
    assert len(seen) == 1
    assert {status for status, _, _ in seen} == {401}
    found = [each for each in events(house) if each.action == "sign_in.refused"]
    assert [each.reason for each in found] == list(tried.values())
    assert [each.target_id is None for each in found] == [True, True, False, False, False, False]
    assert "nobody@acme.test" not in str(found)


def test_charlies_refusal_is_umbrellas(browser: Browser) -> None:
    """P5 breaks: an organization does not see refused sign-ins of its members."""
    house = browser.front.house
    give_password(house, house.charlie)
    assert browser.sign_in("charlie@umbrella.test", OTHER).status == 401
    assert [e.action for e in events(house, house.umbrella.id)][-1] == "sign_in.refused"
    assert "sign_in.refused" not in [e.action for e in events(house)]


def test_signing_out_ends_the_session(browser: Browser) -> None:
    """P1 breaks: a copied cookie still works after its owner signed out."""
    browser.sign_in(ALICE)
    before = browser.session
    answer = browser.submit("/account", "/sign-out", next="/oauth/device/verify")
    assert (answer.status, answer.headers["location"]) == (303, "/oauth/device/verify")
    assert browser.session == ""
    assert whoami(browser.front, before) == 401
    assert browser.get("/account").headers["location"] == "/sign-in?next=%2Faccount"


def test_a_session_lasts_so_long_and_no_longer(browser: Browser) -> None:
    """P1 breaks: using a session extends it."""
    browser.sign_in(ALICE)
    for _ in range(29):
        browser.front.house.clock.advance(DAY)
        assert browser.get("/account").status == 200
    browser.front.house.clock.advance(DAY)
    assert browser.get("/account").status == 303


def test_the_account_shows_and_ends_everything(browser: Browser) -> None:
    """The account page breaks: a session or an application is not shown, or still works after it was ended."""
    house = browser.front.house
    browser.sign_in(ALICE)
    second = Browser(browser.front)
    second.sign_in(ALICE)
    device = begin(browser.front)
    page = text_of(browser.get("/account"))
    assert page.count("Revoke</button>") == 3
    assert "Ostiary command line" in page
    listed = browser.front.ask("GET", "/v1/sessions", key=house.alice_key).json()["data"]
    assert sorted((each["kind"], each["client_name"]) for each in listed) == [
        ("browser", None), ("browser", None), ("device", "Ostiary command line")]  # fmt: skip
    assert browser.submit("/account", "/account/sessions/revoke", session=device).status == 303
    assert house.store.read(session_rows.is_live, device) is False
    device = begin(browser.front)
    (grant,) = house.store.read(consents.list_page, house.alice, None, 9)
    assert browser.submit("/account", "/account/grants/withdraw", grant=grant.consent.id).status == 303
    assert house.store.read(session_rows.is_live, device) is False
    assert second.get("/account").status == 200
    assert browser.submit("/account", "/account/sign-out-everywhere").status == 303
    assert (browser.get("/account").status, second.get("/account").status) == (303, 303)


@pytest.mark.promise("P19")
def test_nobody_ends_what_is_not_theirs(browser: Browser) -> None:
    """P19 breaks: a person ends another person's session by its id."""
    house = browser.front.house
    give_password(house, house.charlie)
    other = Browser(browser.front)
    other.sign_in("charlie@umbrella.test")
    device = begin(browser.front)
    (grant,) = house.store.read(consents.list_page, house.alice, None, 9)
    for path, name, value in (
        ("sessions/revoke", "session", device),
        ("sessions/revoke", "session", "ses_x"),
        ("grants/withdraw", "grant", grant.consent.id),
    ):
        assert other.submit("/account", f"/account/{path}", **{name: value}).status == 404
    assert house.store.read(session_rows.is_live, device) is True


def test_everywhere_is_every_organization_and_kind(browser: Browser) -> None:
    """P1 breaks: signing out everywhere keeps a session in another organization."""
    front, house = browser.front, browser.front.house
    house.store.write(
        members.insert, house.charlie, house.umbrella.id, ALICE, None, [RoleBinding("viewer", None)]
    )
    abroad = replace(house.alice, organization_id=house.umbrella.id)
    asked = consents.ConsentRequest(BUILT_IN["ostiary-cli"], house.umbrella.id, ("api",), kind="device")
    given = house.store.write(consents.give, abroad, asked)
    house.store.write_on((), session_rows.begin, given.session_id, 1)
    browser.sign_in(ALICE)
    assert front.ask("POST", "/v1/sessions/revoke-all", key=house.alice_key).json() == {"revoked": 2}
    assert house.store.read(session_rows.is_live, given.session_id) is False
    assert browser.get("/account").status == 303
    assert [e.action for e in events(house, house.umbrella.id)][-1] == "session.revoked"


@pytest.mark.parametrize("kind", ["browser", "device", "application"])
def test_a_session_of_each_kind_is_revoked_by_api(browser: Browser, kind: SessionKind) -> None:
    """P1 breaks: one kind of session cannot be revoked."""
    front, house = browser.front, browser.front.house
    if kind == "browser":
        browser.sign_in(ALICE)
        session = front.ask("GET", "/v1/sessions", key=house.alice_key).json()["data"][0]["id"]
    else:
        session = begin(front, kind=kind)
    path = f"/v1/sessions/{session}"
    assert front.ask("GET", path, key=house.alice_key).json()["kind"] == kind
    assert front.ask("DELETE", path, key=house.alice_key).status == 204
    assert front.ask("GET", path, key=house.alice_key).json()["status"] == "ended"
    if kind == "browser":
        assert browser.get("/account").status == 303


def test_a_password_is_changed(browser: Browser) -> None:
    """Passwords break: after a change the old sessions stay, or an invalid new password is accepted."""
    house = browser.front.house
    browser.sign_in(ALICE)
    second = Browser(browser.front)
    second.sign_in(ALICE)
    device = begin(browser.front)

    def change(current: str, new: str) -> int:
        return browser.submit("/account", "/account/password", current=current, new=new).status

    for new in ("short", "x" * 257, " " * 12, ALICE):
        assert change(PASSWORD, new) == 422, new
    assert change("wrong", OTHER) == 401
    assert second.get("/account").status == 200
    assert change(PASSWORD, OTHER) == 303
    assert browser.get("/account").status == 200
    assert second.get("/account").status == 303
    assert house.store.read(session_rows.is_live, device) is False
    assert second.sign_in(ALICE).status == 401
    assert second.sign_in(ALICE, OTHER).status == 303
    (event,) = [each for each in events(house) if each.action == "password.changed"]
    assert event.details == {"ended": 2}


def test_changes_by_api_want_the_password_of_a_browser(browser: Browser) -> None:
    """Pages break: an unattended browser is enough to create a key for another person."""
    front, house = browser.front, browser.front.house
    browser.sign_in(ALICE)

    def ask(method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        fields = {"cookie": f"ostiary_session={browser.session}"} | {
            k.replace("_", "-"): v for k, v in headers.items()
        }
        answer = front.ask(method, path, body, headers=fields)
        return answer.status, answer.json().get("type", "") if answer.body else ""

    own = {"origin": "http://localhost:8080"}
    make = ("POST", "/v1/projects", {"name": "New"})
    assert ask(*make, **own)[0] == 201
    assert ask(*make, sec_fetch_site="same-origin")[0] == 201
    for fields in ({}, {"sec_fetch_site": "none"}, {"origin": "null"}, {"sec_fetch_site": "cross-site"},
                   own | {"sec_fetch_site": "same-site"}):  # fmt: skip
        assert ask(*make, **fields)[0] == 401, fields
    house.clock.advance(15 * MINUTE)
    assert ask(*make, **own) == (403, "http://localhost:8080/docs/troubleshooting#reauthentication-required")
    assert ask("GET", "/v1/projects")[0] == 200
    device = begin(front)
    assert ask("DELETE", f"/v1/sessions/{device}", **own)[0] == 204
    assert browser.get("/sign-in?again=1").status == 200
    before = browser.session
    form = {
        "form_token": browser.token("/sign-in?again=1"),
        "password": PASSWORD,
        "email": "bob@acme.test",
        "next": "/x",
    }
    assert browser.post("/sign-in", form).headers["location"] == "/x"
    assert browser.session != before
    assert (whoami(front, before), whoami(front, browser.session)) == (401, 200)
    assert ask(*make, **own)[0] == 201
    assert [e.action for e in events(house)].count("session.confirmed") == 1


def test_anothers_session_is_not_ended_without_the_password(browser: Browser) -> None:
    """Pages break: an unattended browser is enough to sign out other people."""
    front, house = browser.front, browser.front.house
    browser.sign_in(ALICE)
    file = house.key_file(house.account())
    theirs = house.session(file).listed.session.id
    house.clock.advance(15 * MINUTE)
    fields = {"cookie": f"ostiary_session={browser.session}", "origin": "http://localhost:8080"}
    assert front.ask("DELETE", f"/v1/sessions/{theirs}", headers=fields).status == 403
    assert house.store.read(session_rows.is_live, theirs) is True


def test_old_links_are_forgotten(house: House) -> None:
    """P20 breaks: rows of expired links are never deleted."""
    row = people.StoredReset(
        "a" * 32, house.acme.id, str(house.alice.actor.id), b"x", "p", house.clock(), house.clock() + MINUTE
    )
    house.store.write_on((), people.insert_reset, row)
    house.clock.advance(DAY)
    house.delete_old()
    assert house.store.read(people.find_reset, "a" * 32) is not None
    house.clock.advance(2 * MINUTE)
    house.delete_old()
    assert house.store.read(people.find_reset, "a" * 32) is None


def test_a_person_has_a_hundred_browsers_at_most(browser: Browser) -> None:
    """P20 breaks: a script that signs in at each run fills the table of sessions."""
    house = browser.front.house
    made = []
    for _ in range(100):
        made.append(session_of(house, house.alice))
        house.clock.advance(MINUTE)
    oldest, second = made[:2]
    assert whoami(browser.front, oldest) == whoami(browser.front, second) == 200
    assert browser.sign_in(ALICE).status == 303
    assert (whoami(browser.front, oldest), whoami(browser.front, second)) == (401, 200)
    assert whoami(browser.front, browser.session) == 200
