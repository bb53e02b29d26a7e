"""RFC 7009 (token revocation), clause by clause. The tests of the authorization endpoint cover refresh tokens."""

import pytest

from tests.cast import Front
from tests.machines import INTROSPECT, REVOKE, Machine, post, said, session_of, token_of

ADDRESSES = (REVOKE, "/oauth/revoke")


@pytest.fixture
def token(robo: Machine) -> str:
    return token_of(robo.by_secret())


@pytest.mark.parametrize("path", ADDRESSES)
def test_2_a_client_can_revoke_its_access_token(front: Front, robo: Machine, token: str, path: str) -> None:
    """RFC 7009 §2 breaks: a client revokes its token, but the token stays valid."""
    assert front.verify(token)["valid"]
    answer = post(front, path, {"token": token}, client=robo.client)
    assert (answer.status, answer.body) == (200, b"{}")
    assert front.verify(token)["code"] == "revoked"


@pytest.mark.parametrize("path", ADDRESSES)
def test_2_1_the_token_is_required(front: Front, robo: Machine, path: str) -> None:
    """RFC 7009 §2.1 breaks: a request without a token gets a success response."""
    for form in ({}, {"token": ""}, {"token_type_hint": "access_token"}):
        assert said(post(front, path, form, client=robo.client)) == "400 invalid_request"


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense", ""])
def test_2_1_a_hint_does_not_matter(front: Front, robo: Machine, token: str, hint: str) -> None:
    """RFC 7009 §2.1 breaks: a wrong hint keeps a token valid. The server MUST then search all token types."""
    assert post(front, REVOKE, {"token": token, "token_type_hint": hint}, client=robo.client).status == 200
    assert not front.verify(token)["valid"]


@pytest.mark.parametrize("path", ADDRESSES)
def test_2_1_a_confidential_client_must_prove_who_it_is(
    front: Front, robo: Machine, token: str, path: str
) -> None:
    """RFC 7009 §2.1 breaks: a client id without authentication can revoke a token."""
    for fields in (
        {"token": token},
        {"token": token, "client_id": robo.client_id},
        {"token": token, "client_id": robo.client_id, "client_secret": "x"},
    ):
        answer = post(front, path, fields)
        assert said(answer) == "401 invalid_client"
        assert "www-authenticate" in answer.headers
    assert front.verify(token)["valid"]


def test_2_1_another_clients_token_is_not_revoked(
    front: Front, robo: Machine, other: Machine, stranger: Machine, token: str
) -> None:
    """RFC 7009 §2.1 breaks: a client revokes another client's token, or learns that it exists."""
    for client in (other.client, stranger.client):
        answer = post(front, REVOKE, {"token": token}, client=client)
        unknown = post(front, REVOKE, {"token": "nothing"}, client=client)
        assert (answer.status, answer.body) == (unknown.status, unknown.body) == (200, b"{}")
    assert front.verify(token)["valid"]


def test_2_1_the_invalidation_is_immediate_and_of_one_token(front: Front, robo: Machine, token: str) -> None:
    """RFC 7009 §2.1 breaks: a token is valid after the response, or other tokens of the client are not."""
    beside = token_of(robo.by_secret())
    assert post(front, REVOKE, {"token": token}, client=robo.client).status == 200
    bearer = {"authorization": f"Bearer {token}"}
    assert front.ask("GET", "/v1/capabilities", headers=bearer).status == 401
    assert front.ask("POST", INTROSPECT, {"token": token}).json() == {"active": False}
    assert front.verify(beside)["valid"]
    assert front.verify(robo.api_key)["valid"]
    token_of(robo.by_secret())


@pytest.mark.parametrize("text", ["", " ", "x", "eyJ", "a.b.c", "\u00e9", "session_x", "x" * 8000])
def test_2_2_an_invalid_token_is_200(front: Front, robo: Machine, text: str) -> None:
    """RFC 7009 §2.2 breaks: an invalid token is an error, which no client can handle."""
    answer = post(front, REVOKE, {"token": text}, client=robo.client)
    assert answer.status == (200 if text else 400)


def test_2_2_so_is_one_that_is_over(front: Front, robo: Machine, token: str) -> None:
    """RFC 7009 §2.2 breaks: revoking a token twice, or an expired one, is an error."""
    for _ in range(3):
        assert post(front, REVOKE, {"token": token}, client=robo.client).status == 200
    later = token_of(robo.by_secret())
    front.house.clock.advance(25 * 3600 * 1_000_000)
    assert post(front, REVOKE, {"token": later}, client=robo.client).status == 200


def test_2_2_1_what_is_no_token_is_said(front: Front, robo: Machine) -> None:
    """RFC 7009 §2.2.1 breaks: an API key gets a success response, but stays valid."""
    for text in (robo.api_key, robo.client[1]):
        assert said(post(front, REVOKE, {"token": text}, client=robo.client)) == "400 unsupported_token_type"
    assert front.verify(robo.api_key)["valid"]


@pytest.mark.parametrize("path", ADDRESSES)
def test_2_it_is_asked_with_post(front: Front, robo: Machine, token: str, path: str) -> None:
    """RFC 7009 §2 breaks: a GET request, such as a link, revokes a token."""
    for method in ("GET", "PUT", "DELETE"):
        assert front.ask(method, path).status == 405
    assert said(post(front, f"{path}?token={token}", {}, client=robo.client)) == "400 invalid_request"
    assert front.verify(token)["valid"]


def test_2_every_kind_of_token_can_be_revoked(front: Front, robo: Machine) -> None:
    """RFC 7009 §2 breaks: the tokens of some grant cannot be revoked."""
    texts = [
        token_of(robo.by_grant()),
        token_of(robo.by_key()),
        token_of(robo.exchange(robo.api_key)),
        token_of(robo.by_secret("/oauth2/ostiary/v1/token")),
        session_of(front.house, robo.file),
    ]
    for text in texts:
        assert front.verify(text)["valid"]
        assert post(front, REVOKE, {"token": text}, client=robo.client).status == 200
        assert not front.verify(text)["valid"]


def test_3_a_repeated_parameter_is_refused(front: Front, robo: Machine, token: str) -> None:
    """RFC 7009 §2.1, RFC 6749 §3.2 break: a request with two tokens revokes one of them."""
    pairs = [("token", token), ("token", "x")]
    assert said(post(front, REVOKE, pairs, client=robo.client)) == "400 invalid_request"
    answer = post(front, REVOKE, {"token": token}, client=robo.client, content_type="text/plain")
    assert said(answer) == "400 invalid_request"
