"""B5: who may allow or deny a device, and how."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ostiary.console import device as pages_of_devices
from ostiary.console.device import GUESSES, NOT_VALID
from ostiary.core.instant import MINUTE
from ostiary.core.keyring import derive
from ostiary.core.model import OAuthClient
from ostiary.storage import clients, codes, sessions
from ostiary.storage.codes import DeviceCode
from ostiary.storage.sessions import Session
from ostiary.storage.store import Store, Tx
from tests.cast import MASTER_KEY, Front
from tests.devices import VERIFY, ask, begin, decide, enter
from tests.visitors import Browser, Page, at_home, browser

BAD = (
    "AEIO-AEIO",
    "WDJB-MJH",
    "WDJB-MJHTT",
    "12345678",
    "WDJB-MJH\u0422",
    "WDJB-MJ\u017f\u017f",
    "W" * 300,
    "",
    "'; --",
)
WELL_FORMED = "BBBB-BBBB"


@pytest.fixture
def alice(front: Front) -> Browser:
    return at_home(front.house, front, front.house.alice)


@pytest.fixture
def asked(front: Front) -> dict[str, Any]:
    return begin(front)


def device(front: Front, asked: dict[str, Any]) -> DeviceCode:
    """Return the row of a device code."""
    found = front.house.store.read(codes.find_device, asked["device_code"][len("device_") :][:32])
    assert found is not None
    return found


def events(front: Front, action: str) -> list[Any]:
    page = front.ask("GET", f"/v1/audit-events?action={action}", key=front.house.alice_key)
    assert page.status == 200, page.body
    found: list[Any] = page.json()["data"]
    return found


def says(answer: Page, sentence: str) -> bool:
    return sentence in answer.body.decode()


def refused(answer: Page) -> bool:
    """Return whether the page is the one response for every code that is not valid for the person."""
    return answer.status == 422 and says(answer, NOT_VALID)


@contextmanager
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the store's writes by the names of their functions."""
    seen: list[str] = []
    write = Store.write_on

    def watched(self: Store, organization_ids: Any, work: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(work.__name__)
        return write(self, organization_ids, work, *args, **kwargs)

    monkeypatch.setattr(Store, "write_on", watched)
    yield seen


def test_nobody_decides_before_they_sign_in(front: Front, asked: dict[str, Any]) -> None:
    """P13 breaks: a device gets access without a sign-in, or the code is lost on the way to the sign-in page."""
    answer = browser(front).get(f"{VERIFY}?user_code={asked['user_code']}")
    code = asked["user_code"]
    assert answer.target == f"/sign-in?next=%2Foauth%2Fdevice%2Fverify%3Fuser_code%3D{code}"
    key = front.ask("GET", VERIFY, key=front.house.alice_key)
    assert key.status == 303


def test_a_link_fills_in_the_code_and_does_no_more(
    front: Front, alice: Browser, asked: dict[str, Any]
) -> None:
    """B5 breaks: a link claims or allows a code without a decision on the page."""
    answer = alice.get(f"{VERIFY}?user_code={asked['user_code'].lower()}")
    assert answer.status == 200
    assert says(answer, f'value="{asked["user_code"]}"')
    assert device(front, asked).claimed_by is None
    assert not says(answer, "ostiary-cli")


@pytest.mark.parametrize("code", BAD)
def test_a_link_with_something_else_fills_in_nothing(alice: Browser, code: str) -> None:
    """P13 breaks: a link can put its own text on the page."""
    from urllib.parse import quote

    answer = alice.get(f"{VERIFY}?user_code={quote(code)}")
    assert answer.status == 200
    assert says(answer, 'name="user_code" value=""')


def test_who_asks_is_shown_before_anything_is_decided(
    front: Front, alice: Browser, asked: dict[str, Any]
) -> None:
    """RFC 8628 §3.3 breaks: a person allows access without seeing who requests it."""
    answer = enter(alice, asked["user_code"])
    assert answer.status == 200
    for text in (
        "Ostiary command line",
        "ostiary-cli",
        "203.0.113.7",
        asked["user_code"],
        "30 days",
        "Acme",
        "alice@acme.test",
    ):
        assert says(answer, text), text
    found = device(front, asked)
    assert (found.claimed_by, found.session_id) == (front.house.alice.actor.id, None)


@pytest.mark.parametrize(
    "change", [str.lower, lambda code: code.replace("-", ""), lambda c: f" {c[:2]} {c[2:]} "]
)
def test_a_code_is_taken_as_people_type_it(alice: Browser, asked: dict[str, Any], change: Any) -> None:
    """RFC 8628 §6.1 breaks: a correct code is refused because of its case or separators."""
    assert enter(alice, change(asked["user_code"])).status == 200


@pytest.mark.parametrize("code", BAD)
def test_what_is_no_code_is_refused_without_a_look(
    alice: Browser, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B5 breaks: malformed codes cause database queries."""
    token = alice.token(VERIFY)
    with looks(monkeypatch) as seen:
        assert refused(alice.enter(VERIFY, {"user_code": code}, token))
    assert seen == []


def test_to_allow_begins_a_session_of_the_device(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """RFC 8628 §3.3 breaks: the device's session differs from what the person allowed."""
    enter(alice, asked["user_code"])
    answer = decide(alice, asked["user_code"], "allow", front.house.acme.id)
    assert answer.status == 200
    assert says(answer, "Your device is connected")
    session_id = device(front, asked).session_id
    session: Session | None = front.house.store.read(sessions.find, front.house.acme.id, str(session_id))
    assert session is not None
    assert (session.kind, session.client_id, session.scopes) == (
        "device",
        "ostiary-cli",
        ("api", "offline_access"),
    )
    assert (session.address, session.user_agent) == ("203.0.113.7", "ostiary-cli/1")
    assert session.begun_at is None
    [event] = events(front, "consent.granted")
    assert event["details"]["session"] == session_id
    assert event["actor"]["id"] == front.house.alice.actor.id


def test_to_deny_is_final_and_recorded(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """B5 breaks: a denied device still gets access, or the denial is not in the audit log."""
    enter(alice, asked["user_code"])
    answer = decide(alice, asked["user_code"], "deny")
    assert answer.status == 200
    assert says(answer, "Nothing was allowed")
    assert refused(decide(alice, asked["user_code"], "allow", front.house.acme.id))
    found = device(front, asked)
    assert found.session_id is None
    assert found.denied_at is not None
    [event] = events(front, "device.denied")
    assert event["target"]["id"] == "ostiary-cli"
    assert events(front, "consent.granted") == []


def test_it_is_decided_once(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """P8 breaks: one code creates two sessions."""
    enter(alice, asked["user_code"])
    decide(alice, asked["user_code"], "allow", front.house.acme.id)
    for answer in (
        decide(alice, asked["user_code"], "allow", front.house.acme.id),
        decide(alice, asked["user_code"], "deny"),
        enter(alice, asked["user_code"]),
    ):
        assert refused(answer)
    assert len(events(front, "consent.granted")) == 1
    assert {event["reason"] for event in events(front, "device.refused")} == {"decided"}


def test_nothing_is_decided_that_was_not_shown(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """B5 breaks: a prepared form decides about a device that the person has not seen."""
    assert refused(decide(alice, asked["user_code"], "allow", front.house.acme.id))
    assert refused(decide(alice, asked["user_code"], "deny"))
    found = device(front, asked)
    assert (found.claimed_by, found.session_id, found.denied_at) == (None, None, None)


def test_the_organization_is_one_of_theirs(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """P19 breaks: a device gets access to an organization of which its person is no member."""
    enter(alice, asked["user_code"])
    for organization in (front.house.umbrella.id, "", "org_01m80q07epayqz1jx2aq5c980j"):
        answer = decide(alice, asked["user_code"], "allow", organization)
        assert answer.status == 422
        assert says(answer, "Choose an organization.")
    assert device(front, asked).session_id is None
    assert says(decide(alice, asked["user_code"], "allow", front.house.acme.id), "connected")


@pytest.mark.parametrize("decision", ["yes", "ALLOW", "allow "])
def test_a_decision_is_one_of_two_words(alice: Browser, asked: dict[str, Any], decision: str) -> None:
    """B5 breaks: an unknown decision counts as consent."""
    enter(alice, asked["user_code"])
    assert decide(alice, asked["user_code"], decision).status == 400


def test_every_wrong_code_reads_the_same(front: Front, alice: Browser) -> None:
    """B5 breaks: the page shows whether a code belongs to another person or does not exist."""
    bob = at_home(front.house, front, front.house.bob)
    theirs, used, expired = begin(front), begin(front), begin(front)
    enter(bob, theirs["user_code"])
    enter(bob, used["user_code"])
    decide(bob, used["user_code"], "deny")
    token = alice.token(VERIFY)

    def answers() -> list[tuple[int, bytes]]:
        typed = (WELL_FORMED, theirs["user_code"], used["user_code"], "nonsense")
        found = [alice.enter(VERIFY, {"user_code": code}, token) for code in typed]
        return [(each.status, each.body) for each in found]

    before = answers()
    front.house.clock.advance(31 * MINUTE)
    late = alice.enter(VERIFY, {"user_code": expired["user_code"]}, token)
    assert len({*before, (late.status, late.body)}) == 1
    assert before[0][0] == 422
    reasons = [event["reason"] for event in events(front, "device.refused")]
    assert sorted(reasons) == ["entered by somebody else", "entered by somebody else", "expired", "unknown"]


def test_who_entered_it_first_decides(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """B5 breaks: a person decides about a device that another person has claimed."""
    bob = at_home(front.house, front, front.house.bob)
    assert enter(alice, asked["user_code"]).status == 200
    assert refused(enter(bob, asked["user_code"]))
    assert refused(decide(bob, asked["user_code"], "allow", front.house.acme.id))
    assert refused(decide(bob, asked["user_code"], "deny"))
    assert enter(alice, asked["user_code"]).status == 200
    assert says(decide(alice, asked["user_code"], "allow", front.house.acme.id), "connected")


def test_a_get_decides_nothing(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """B5 breaks: a link or an image on a page allows a device."""
    enter(alice, asked["user_code"])
    query = f"user_code={asked['user_code']}&decision=allow&organization={front.house.acme.id}"
    answer = alice.get(f"{VERIFY}?{query}")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert device(front, asked).session_id is None


def test_a_form_of_somebody_else_is_refused(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """B5 breaks: another site's or another person's form decides in a person's name."""
    enter(alice, asked["user_code"])
    bobs = at_home(front.house, front, front.house.bob).token(VERIFY)
    again = at_home(front.house, front, front.house.alice).token(VERIFY)
    fields = {"user_code": asked["user_code"], "decision": "allow", "organization": front.house.acme.id}
    for token in ("", "x", bobs, again):
        assert alice.enter(VERIFY, fields, token).status == 403
    assert device(front, asked).session_id is None


def test_guesses_are_limited(front: Front, alice: Browser) -> None:
    """P10 breaks: other people's codes can be found by guessing from many addresses."""
    token = alice.token(VERIFY)
    for number in range(GUESSES):
        alice.peer = f"198.51.{number}.1"
        assert refused(alice.enter(VERIFY, {"user_code": WELL_FORMED}, token))
    asked = begin(front)
    answer = enter(alice, asked["user_code"])
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0
    assert decide(alice, asked["user_code"], "deny").status == 429
    assert device(front, asked).claimed_by is None
    front.house.clock.advance(MINUTE)
    assert enter(alice, asked["user_code"]).status == 200


def test_who_guesses_does_not_stop_their_colleagues(
    front: Front, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P10 breaks: one guessing person blocks a whole office, or many people can guess together without limit."""
    token = alice.token(VERIFY)
    for _ in range(GUESSES + 5):
        alice.enter(VERIFY, {"user_code": WELL_FORMED}, token)
    bob = at_home(front.house, front, front.house.bob)
    bob.peer = alice.peer
    assert enter(bob, begin(front)["user_code"]).status == 200
    front.house.clock.advance(MINUTE)
    monkeypatch.setattr(pages_of_devices, "GUESSES_FROM", 5)
    for _ in range(5):
        alice.enter(VERIFY, {"user_code": WELL_FORMED}, token)
    assert enter(bob, begin(front)["user_code"]).status == 429


def test_right_codes_cost_nothing(front: Front, alice: Browser) -> None:
    """P10 breaks: a person who connects many devices reaches the limit for wrong codes."""
    for number in range(GUESSES + 5):
        asked = begin(front, peer=f"198.51.100.{number}")
        assert enter(alice, asked["user_code"]).status == 200
        assert says(decide(alice, asked["user_code"], "deny"), "Nothing was allowed")


def test_a_disabled_client_is_not_shown(front: Front, alice: Browser) -> None:
    """P2 breaks: a disabled client still gets consents."""
    insert(front.house.store, client("app_x"))
    asked = begin(front, client_id="app_x")
    assert enter(alice, asked["user_code"]).status == 200

    def disable(tx: Tx) -> None:
        clients.update(tx, "app_x", {"disabled_at": tx.now})

    front.house.store.write_on((), disable)
    assert refused(enter(alice, asked["user_code"]))
    assert refused(decide(alice, asked["user_code"], "allow", front.house.acme.id))


def test_codes_outlive_a_new_master_key(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    """B5 breaks: a change of the master key invalidates codes that devices show."""
    store = front.house.store
    keyring = derive([bytes(32), MASTER_KEY])
    later = replace(store, installation=replace(store.installation, keyring=keyring))
    digests: list[bytes] = []

    def found(tx: Tx) -> DeviceCode | None:
        from ostiary.core import user_code

        code = user_code.read(asked["user_code"])
        assert code is not None
        digests.extend(user_code.digest(code, pepper) for pepper in tx.installation.keyring.peppers.values())
        return codes.find_device_by_user_code(tx, digests)

    assert later.read(found) is not None
    assert digests[0] != digests[1]


def client(client_id: str, **changed: Any) -> OAuthClient:
    """Register a client for devices, as the client itself does."""
    facts: dict[str, Any] = {
        "id": client_id,
        "source": "registration",
        "organization_id": None,
        "project_id": None,
        "access": "user",
        "name": "Television",
        "redirect_uris": (),
        "grant_types": ("urn:ietf:params:oauth:grant-type:device_code", "refresh_token"),
        "scopes": (),
        "auth_method": "none",
        "jwks": None,
        "jwks_uri": None,
        "client_uri": None,
        "created_at": 0,
        "disabled_at": None,
    }
    return OAuthClient(**(facts | changed))


def insert(store: Store, *found: OAuthClient) -> None:
    def work(tx: Tx) -> None:
        for each in found:
            clients.insert(tx, each)

    store.write_on((), work)


def test_devices_of_an_address_are_limited(front: Front) -> None:
    """P10 breaks: one address fills the table of device codes."""
    statuses = [ask(front, peer="198.51.100.1").status for _ in range(31)]
    assert statuses == [200] * 30 + [429]
    assert ask(front, peer="198.51.100.2").status == 200
    crowd = [ask(front, peer=f"198.51.100.{number}").status for number in range(3, 73)]
    assert crowd == [200] * 59 + [429] * 11, "a network has a limit as well"
    assert ask(front, peer="198.51.101.1").status == 200
