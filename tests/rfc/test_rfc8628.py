"""RFC 8628 (device authorization grant), clause by clause."""

from typing import Any

import pytest

from ostiary.core import secret
from ostiary.core.instant import MINUTE, SECOND
from ostiary.services import consents
from ostiary.storage import codes
from tests.cast import Answer, Front
from tests.console.test_device import client, insert
from tests.devices import AUTHORIZE, CLI, GRANT, VERIFY, ask, begin, decide, enter, fetch
from tests.machines import ISSUER, RESOURCE, TOKEN, Machine, name_resource, post, said, token_of
from tests.visitors import Browser, at_home


@pytest.fixture(autouse=True)
def _signing(front: Front) -> None:
    front.house.sign()


@pytest.fixture
def alice(front: Front) -> Browser:
    return at_home(front.house, front, front.house.alice)


def allow(front: Front, alice: Browser, asked: dict[str, Any]) -> None:
    assert enter(alice, asked["user_code"]).status == 200
    answer = decide(alice, asked["user_code"], "allow", front.house.acme.id)
    assert b"Your device is connected" in answer.body


def row(front: Front, asked: dict[str, Any]) -> codes.DeviceCode:
    found = front.house.store.read(codes.find_device, asked["device_code"][len("device_") :][:32])
    assert found is not None
    return found


def waited(front: Front, code: str, seconds: int) -> Answer:
    """Return the response to a device that polls after this time."""
    front.house.clock.advance(seconds * SECOND)
    return fetch(front, code)


@pytest.mark.parametrize("name", [CLI, "noorle-cli"])
def test_3_1_a_client_asks_by_its_id(front: Front, name: str) -> None:
    """RFC 8628 §3.1 breaks: the command line cannot start a device login, under one of its client ids."""
    assert ask(front, client_id=name).status == 200


def test_3_1_json_is_read_as_well(front: Front) -> None:
    """The documents' examples break: they send JSON."""
    answer = front.ask("POST", AUTHORIZE, {"client_id": CLI, "scope": "api"})
    assert answer.status == 200
    both = {**dict.fromkeys(("client_id", "scope"), "x")}
    assert front.ask("POST", f"{AUTHORIZE}?client_id={CLI}", both).status == 400


@pytest.mark.parametrize(
    "form, expected",
    [
        ({"client_id": ""}, "400 invalid_request"),
        ({"client_id": "app_nobody"}, "401 invalid_client"),
        ({"client_id": "nobody"}, "401 invalid_client"),
        ({"client_id": "x" * 9000}, "400 invalid_request"),
        ({"client_secret": "secret_x"}, "401 invalid_client"),
        ({"scope": ""}, "400 invalid_scope"),
        ({"scope": "read:nothing-of-ours"}, "400 invalid_scope"),
        ({"scope": "openid offline_access"}, "400 invalid_scope"),
        ({"scope": "api\u00e9"}, "400 invalid_scope"),
        ({"scope": "offline_access"}, "400 invalid_scope"),
        ({"resource": "https://unknown.test"}, "400 invalid_target"),
    ],
)
def test_3_1_what_is_wrong_is_refused_as_at_the_token_endpoint(
    front: Front, form: dict[str, str], expected: str
) -> None:
    """RFC 8628 §3.1 and RFC 6749 §5.2 break: the error does not tell a device what it did wrong."""
    answer = ask(front, **form)
    assert said(answer) == expected
    assert answer.headers["cache-control"] == "no-store"


def test_3_1_a_get_is_none(front: Front) -> None:
    """RFC 8628 §3.1 breaks: a GET request, such as a link, creates a code."""
    assert front.ask("GET", f"{AUTHORIZE}?client_id={CLI}").status == 405


def test_3_1_a_client_without_the_grant_asks_in_vain(front: Front, robo: Machine) -> None:
    """RFC 6749 §5.2 breaks: a client uses a grant that it did not register for."""
    insert(
        front.house.store,
        client("app_codes", grant_types=("authorization_code",)),
        client("app_off", disabled_at=1),
        client("app_keys", auth_method="private_key_jwt"),
        client("app_narrow", scopes=("read:agents",)),
    )
    assert said(ask(front, client_id="app_codes")) == "400 unauthorized_client"
    assert said(ask(front, client_id="app_off")) == "401 invalid_client"
    assert said(ask(front, client_id="app_keys")) == "401 invalid_client"
    assert said(post(front, AUTHORIZE, {}, client=robo.client)) == "400 unauthorized_client"
    assert said(ask(front, client_id="app_narrow", scope="api")) == "400 invalid_scope"
    narrow = begin(front, client_id="app_narrow", scope="read:agents offline_access")
    assert row(front, narrow).scopes == ("read:agents", "offline_access")


def test_3_2_what_a_device_is_told(front: Front) -> None:
    """RFC 8628 §3.2 breaks: the response lacks the verification URI, or the lifetime of the code."""
    answer = ask(front)
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert set(body) == {
        "device_code",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
    }
    assert (body["expires_in"], body["interval"]) == (1800, 5)
    assert body["verification_uri"] == f"{ISSUER}{VERIFY}"
    assert body["verification_uri_complete"] == f"{ISSUER}{VERIFY}?user_code={body['user_code']}"


def test_3_2_neither_code_is_stored(front: Front) -> None:
    """P7 breaks: a reader of the database can log in as another person's device."""
    asked = begin(front)
    found = row(front, asked)
    kept = repr(found)
    for text in (
        asked["device_code"],
        asked["device_code"][40:],
        asked["user_code"],
        asked["user_code"].replace("-", ""),
    ):
        assert text not in kept
    assert found.user_digest != found.digest


def test_3_3_nothing_is_issued_before_somebody_allows_it(front: Front, alice: Browser) -> None:
    """RFC 8628 §3.3 breaks: opening the page decides the request."""
    asked = begin(front)
    alice.get(f"{VERIFY}?user_code={asked['user_code']}")
    enter(alice, asked["user_code"])
    assert said(fetch(front, asked["device_code"])) == "400 authorization_pending"


def test_3_4_the_tokens_of_what_was_allowed(front: Front, alice: Browser) -> None:
    """RFC 8628 §3.4 breaks: an allowed device gets no token, or more scopes than the page showed."""
    asked = begin(front, scope="read:agents offline_access")
    allow(front, alice, asked)
    answer = fetch(front, asked["device_code"])
    assert answer.status == 200, answer.body
    body = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert body["scope"] == "offline_access read:agents"
    assert body["refresh_token"].startswith("refresh_")
    found = front.verify(body["access_token"])
    assert found["valid"]
    assert found["scopes"] == ["read:agents"]


def test_3_4_a_refresh_token_goes_on(front: Front, alice: Browser) -> None:
    """RFC 8628 §3.5 breaks: a login ends after an hour."""
    asked = begin(front, scope="api offline_access")
    allow(front, alice, asked)
    first = fetch(front, asked["device_code"]).json()
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "client_id": CLI}
    again = post(front, TOKEN, form)
    assert front.verify(token_of(again))["valid"]


def test_3_4_a_resource_is_that_of_the_question(front: Front, alice: Browser) -> None:
    """RFC 8707 §2.2 breaks: the token is for another resource than the one in the device's request."""
    name_resource(front.house)
    asked = begin(front, resource=RESOURCE)
    allow(front, alice, asked)
    assert said(fetch(front, asked["device_code"], resource=ISSUER)) == "400 invalid_target"
    assert fetch(front, asked["device_code"]).status == 200


def test_3_4_the_code_is_required(front: Front) -> None:
    """RFC 8628 §3.4 breaks: a request without a code gets the error of a wrong code."""
    assert said(post(front, TOKEN, {"grant_type": GRANT, "client_id": CLI})) == "400 invalid_request"


def test_3_4_a_code_is_the_clients_that_asked(front: Front, alice: Browser) -> None:
    """RFC 8628 §3.4 breaks: a client redeems another client's device code."""
    insert(front.house.store, client("app_tv"))
    asked = begin(front)
    allow(front, alice, asked)
    assert said(fetch(front, asked["device_code"], "app_tv")) == "400 invalid_grant"
    form = {"grant_type": GRANT, "device_code": asked["device_code"]}
    assert said(post(front, TOKEN, form)) == "401 invalid_client"
    # Both client ids of the command line are one client.
    assert fetch(front, asked["device_code"], "noorle-cli").status == 200


def test_3_4_the_public_half_of_a_code_opens_nothing(front: Front, alice: Browser) -> None:
    """P7 breaks: the values that are stored in clear text suffice to get a token."""
    asked, other = begin(front), begin(front)
    allow(front, alice, asked)
    code, head = asked["device_code"], len("device_") + 32
    forged = secret.assemble("device_", code[7:head], bytes(48)).secret.reveal()  # its checksum is right
    for text in (
        forged,
        code[:head] + other["device_code"][head:],
        code[:-1],
        code.replace("device_", "code_"),
        "x",
    ):
        assert said(fetch(front, text)) == "400 invalid_grant"
    assert fetch(front, code).status == 200


def test_3_5_a_device_that_waits_is_told_to_wait(front: Front) -> None:
    """RFC 8628 §3.5 breaks: a device takes a pending request for a denial, and stops."""
    asked = begin(front)
    assert said(fetch(front, asked["device_code"])) == "400 authorization_pending"
    assert said(waited(front, asked["device_code"], 5)) == "400 authorization_pending"


def test_3_5_slower_is_slower_for_good(front: Front) -> None:
    """RFC 8628 §3.5 breaks: a device that polls too often is not slowed down. "5 seconds for this and all subsequent"."""
    code = begin(front)["device_code"]
    assert said(fetch(front, code)) == "400 authorization_pending"
    assert said(waited(front, code, 4)) == "400 slow_down"
    assert said(waited(front, code, 9)) == "400 slow_down"
    assert said(waited(front, code, 14)) == "400 slow_down"
    assert said(waited(front, code, 20)) == "400 authorization_pending"
    assert said(waited(front, code, 19)) == "400 slow_down"


def test_3_5_a_denial_is_told(front: Front, alice: Browser) -> None:
    """RFC 8628 §3.5 breaks: a device keeps polling after a denial."""
    asked = begin(front)
    enter(alice, asked["user_code"])
    decide(alice, asked["user_code"], "deny")
    assert said(fetch(front, asked["device_code"])) == "400 access_denied"


@pytest.mark.parametrize("allowed", [True, False])
def test_3_5_a_code_expires(front: Front, alice: Browser, allowed: bool) -> None:
    """RFC 8628 §3.5 breaks: an old code still gives access."""
    asked = begin(front)
    if allowed:
        allow(front, alice, asked)
    front.house.clock.advance(30 * MINUTE)
    assert said(fetch(front, asked["device_code"])) == "400 expired_token"


def test_3_5_a_code_is_used_once_and_again_ends_what_came_of_it(front: Front, alice: Browser) -> None:
    """P8 breaks: a code gives two logins, or a thief of the code keeps the first (RFC 6749 §4.1.2)."""
    asked = begin(front)
    allow(front, alice, asked)
    first = fetch(front, asked["device_code"]).json()
    assert front.verify(first["access_token"])["valid"]
    assert said(fetch(front, asked["device_code"])) == "400 invalid_grant"
    assert not front.verify(first["access_token"])["valid"]
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "client_id": CLI}
    assert said(post(front, TOKEN, form)) == "400 invalid_grant"


def test_3_5_a_consent_that_was_withdrawn_gives_nothing(front: Front, alice: Browser) -> None:
    """P2 breaks: a device gets a token after its consent was withdrawn."""
    asked = begin(front)
    allow(front, alice, asked)
    store, caller = front.house.store, front.house.alice
    [listed] = store.read(consents.list_page, caller, None, 10)
    store.write(consents.withdraw, caller, listed.consent.id)
    assert said(fetch(front, asked["device_code"])) == "400 invalid_grant"


def test_5_1_guesses_of_a_user_code_are_few(front: Front, alice: Browser) -> None:
    """RFC 8628 §5.1 breaks: guesses of a user code, which has 34 bits, are not limited."""
    token = alice.token(VERIFY)
    tries = [alice.enter(VERIFY, {"user_code": "BBBBBBBB"}, token).status for _ in range(12)]
    assert tries == [422] * 10 + [429] * 2


def test_5_2_guesses_of_a_device_code_find_nothing(front: Front) -> None:
    """RFC 8628 §5.2 breaks: device codes can be guessed. They have 226 random bits, as every secret here."""
    seen = {begin(front, peer=f"198.51.100.{number}")["device_code"] for number in range(20)}
    assert len({code[-44:] for code in seen}) == 20
    assert {len(code) for code in seen} == {len("device_") + 32 + 44}


def test_6_1_letters_that_make_no_words(front: Front) -> None:
    """RFC 8628 §6.1 breaks: user codes are easily misread, or form offensive words."""
    for number in range(20):
        code = begin(front, peer=f"198.51.100.{number}")["user_code"]
        left, hyphen, right = code.partition("-")
        assert (len(left), hyphen, len(right)) == (4, "-", 4)
        assert set(left + right) <= set("BCDFGHJKLMNPQRSTVWXZ")


def test_4_the_metadata_names_the_endpoint(front: Front) -> None:
    """RFC 8628 §4 breaks: the metadata does not list the endpoint."""
    found = front.ask("GET", "/.well-known/oauth-authorization-server").json()
    assert found["device_authorization_endpoint"] == f"{ISSUER}{AUTHORIZE}"
    assert GRANT in found["grant_types_supported"]
    alias = front.ask("GET", "/.well-known/oauth-authorization-server/oauth2/ostiary").json()
    assert "device_authorization_endpoint" not in alias
