"""RFC 7662 (token introspection), clause by clause."""

import pytest

from ostiary.core.instant import HOUR, SECOND
from ostiary.services import credentials
from tests.cast import Answer, Front
from tests.machines import (
    BY_ASSERTION,
    INTROSPECT,
    ISSUER,
    RESOURCE,
    REVOKE,
    Machine,
    name_resource,
    post,
    said,
    token_of,
)

INACTIVE = b'{"active":false}'


@pytest.fixture
def token(robo: Machine) -> str:
    return token_of(robo.by_secret(scope="api"))


def ask(front: Front, text: str, **how: object) -> Answer:
    """Introspect as a resource server: Alice's key has verify:credentials."""
    how.setdefault("bearer", front.house.alice_key)
    return post(front, INTROSPECT, {"token": text}, **how)  # type: ignore[arg-type]


def test_2_1_it_must_be_asked_with_post_and_a_form(front: Front, token: str) -> None:
    """RFC 7662 §2.1 breaks: a token in the URL is accepted, which logs contain."""
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        assert front.ask(method, f"{INTROSPECT}?token={token}").status == 405
    assert (
        said(post(front, f"{INTROSPECT}?token={token}", {}, bearer=front.house.alice_key))
        == "400 invalid_request"
    )
    answer = ask(front, token, content_type="text/plain")
    assert said(answer) == "400 invalid_request"


def test_2_1_the_token_is_required(front: Front, robo: Machine) -> None:
    """RFC 7662 §2.1 breaks: a request without a token gets a success response."""
    for form in ({}, {"token": ""}):
        assert said(post(front, INTROSPECT, form, client=robo.client)) == "400 invalid_request"


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense", ""])
def test_2_1_a_hint_does_not_matter(front: Front, token: str, hint: str) -> None:
    """RFC 7662 §2.1 breaks: a wrong hint makes a token inactive."""
    fields = {"token": token, "token_type_hint": hint}
    assert post(front, INTROSPECT, fields, bearer=front.house.alice_key).json()["active"]


def test_2_1_it_must_require_authorization(front: Front, robo: Machine, token: str) -> None:
    """RFC 7662 §2.1, §4 break: a thief of tokens can test here which of them are valid."""
    refusals = [
        post(front, INTROSPECT, {"token": token}),
        post(front, INTROSPECT, {"token": token}, bearer="ak-x"),
        post(front, INTROSPECT, {"token": token}, client=(robo.client_id, "x")),
        post(front, INTROSPECT, {"token": token, "client_id": robo.client_id}),
    ]
    for answer in refusals:
        assert said(answer) == "401 invalid_client"
        assert "www-authenticate" in answer.headers
    assert ask(front, token).json()["active"]
    assert post(front, INTROSPECT, {"token": token}, client=robo.client).json()["active"]
    assert ask(front, token, bearer=token).json()["active"]


def test_2_1_two_proofs_are_refused(front: Front, robo: Machine, token: str) -> None:
    """RFC 7662 §2.1 breaks: a request with two client authentications is accepted."""
    client_id, word = robo.client
    both = {"token": token, "client_id": client_id, "client_secret": word}
    assert said(post(front, INTROSPECT, both, bearer=front.house.alice_key)) == "400 invalid_request"
    assertion = {"client_assertion_type": BY_ASSERTION, "client_assertion": robo.assertion("client")}
    assert said(post(front, INTROSPECT, {"token": token, **assertion})) == "400 invalid_request"


def test_2_2_the_answer_of_an_active_token(front: Front, robo: Machine, token: str) -> None:
    """RFC 7662 §2.2 breaks: a member has another meaning or type than in the RFC."""
    answer = ask(front, token)
    told = answer.json()
    now = front.house.clock.now // SECOND
    account = robo.view.account
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert told["active"] is True
    expected = {
        "client_id": account.client_id,
        "sub": account.id,
        "aud": ISSUER,
        "iss": ISSUER,
        "iat": now,
        "exp": now + 86400,
        "token_type": "Bearer",
    }
    assert {name: told[name] for name in expected} == expected
    assert told["jti"].startswith("tok_")
    assert {"api", "read:agents"} <= set(told["scope"].split(" "))


def test_2_2_the_audience_is_the_tokens_own(front: Front, robo: Machine) -> None:
    """RFC 7662 §2.2 breaks: `aud` differs from the token's, and a resource accepts a token for another one."""
    name_resource(front.house)
    text = token_of(robo.by_secret(resource=RESOURCE))
    assert ask(front, text).json()["aud"] == RESOURCE


@pytest.mark.parametrize(
    "how", ["expired", "revoked", "credential revoked", "changed", "unknown", "malformed", "too long"]
)
def test_2_2_an_inactive_token_is_told_nothing_about(
    front: Front, robo: Machine, token: str, how: str
) -> None:
    """RFC 7662 §2.2 breaks: the response for an inactive token has more members than `active`, or is an error."""
    house = front.house
    match how:
        case "expired":
            house.clock.advance(24 * HOUR)
        case "revoked":
            assert post(front, REVOKE, {"token": token}, client=robo.client).status == 200
        case "credential revoked":
            house.store.write(credentials.revoke, house.alice, robo.word.listed.credential.id)
        case "changed":
            token = token[:-6] + "AAAAAA"
        case "unknown":
            token = robo.api_key[:-1]
        case "malformed":
            token = "x"
        case _:
            token = "x" * 8192
    for answer in (ask(front, token), front.ask("POST", INTROSPECT, {"token": token})):
        assert (answer.status, answer.body) == (200, INACTIVE)


def test_2_2_a_token_that_one_may_not_see_is_inactive(
    front: Front, robo: Machine, other: Machine, stranger: Machine, token: str
) -> None:
    """RFC 7662 §2.2, §4, P19 break: a caller without permission learns about a token."""
    for client in (stranger.client,):
        assert post(front, INTROSPECT, {"token": token}, client=client).body == INACTIVE
    assert ask(front, token, bearer=front.house.charlie_key).body == INACTIVE
    narrow = token_of(other.by_secret(scope="read:agents"))
    assert ask(front, token, bearer=narrow).body == INACTIVE
    # A client may always introspect its own tokens.
    own = token_of(other.by_secret())
    assert ask(front, own, bearer=narrow).json()["active"]


def test_2_3_errors_are_those_of_oauth(front: Front, robo: Machine, token: str) -> None:
    """RFC 7662 §2.3 breaks: an unknown client can introspect a token, or gets an error that it cannot read."""
    answer = post(front, INTROSPECT, {"token": token}, client=(robo.client_id, "x"))
    assert said(answer) == "401 invalid_client"
    assert answer.headers["cache-control"] == "no-store"


def test_4_all_checks_are_made(front: Front, robo: Machine, token: str) -> None:
    """RFC 7662 §4 breaks: a token with an invalid signature, expiry or origin is active. More in P2 and P14."""
    assert ask(front, token).json()["active"]
    house = front.house
    house.store.write(credentials.deactivate, house.alice, robo.word.listed.credential.id)
    assert ask(front, token).body == INACTIVE
    house.store.write(credentials.activate, house.alice, robo.word.listed.credential.id)
    assert ask(front, token).json()["active"]


@pytest.mark.promise("P7")
def test_4_the_token_is_not_in_the_answer(front: Front, token: str) -> None:
    """RFC 7662 §4, P7 break: the response contains the token."""
    assert token.encode() not in ask(front, token).body


def test_2_2_iss_is_who_issued_it(front: Front) -> None:
    """RFC 7662 §2.2 breaks: the issuer of an alias token is reported as the service itself."""
    house = front.house
    house.sign()
    robo = house.account("Alias")
    secret = house.key(robo, kind="client_secret").secret.reveal()
    body = {
        "grant_type": "client_credentials",
        "client_id": robo.account.client_id,
        "client_secret": secret,
    }
    for path, issuer in (
        ("/oauth2/ostiary/v1/token", "http://localhost:8080/oauth2/ostiary"),
        ("/oauth/token", "http://localhost:8080"),
    ):
        token = front.ask("POST", path, body).json()["access_token"]
        form = {"content-type": "application/x-www-form-urlencoded"}
        told = front.ask(
            "POST", "/oauth/introspect", raw=b"token=" + token.encode(), headers=form, key=house.alice_key
        )
        assert told.json()["iss"] == issuer
