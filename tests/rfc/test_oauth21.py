"""OAuth 2.1 (draft-ietf-oauth-v2-1): the MUSTs for this server that the tests of older RFCs do not cover."""

import pytest

from ostiary.core.instant import SECOND
from ostiary.core.model import OAuthClient
from tests.applications import REDIRECT, application, code_of, redeem, refresh, request, trade
from tests.cast import Front
from tests.machines import post, said
from tests.visitors import Browser

EVIL = "https://evil.example"


def test_1_5_no_redirect_repeats_a_form(front: Front, reports: OAuthClient, alice: Browser) -> None:
    """OAuth 2.1 §7.5.3 breaks: a 307 redirect forwards the person's form, with its token, to the client."""
    form = alice.get(request(reports)).form("/oauth/authorize")
    for decision in ("allow", "deny"):
        assert alice.post("/oauth/authorize", form.filled(decision=decision)).status == 303
    assert alice.get(request(reports, scope="")).status == 303
    nobody = front.ask("GET", request(reports))
    assert nobody.status == 303
    assert nobody.headers["location"].startswith("/sign-in?next=%2Foauth%2Fauthorize%3F")


@pytest.mark.parametrize("response_type", ["token", "id_token", "code token", "none", "id_token token"])
def test_10_1_no_implicit_grant(alice: Browser, reports: OAuthClient, response_type: str) -> None:
    """OAuth 2.1 §10.1 breaks: a redirect contains a token."""
    page = alice.get(request(reports, response_type=response_type))
    assert page.answer["error"] == "unsupported_response_type"
    assert "#" not in page.location


def test_10_no_password_grant(front: Front, reports: OAuthClient) -> None:
    """OAuth 2.1 §10 breaks: a client gets a token for a person's password."""
    answer = trade(
        front, grant_type="password", client_id=reports.id, username="alice@acme.test", password="x"
    )
    assert said(answer) == "400 unsupported_grant_type"
    found = front.ask("GET", "/.well-known/oauth-authorization-server").json()
    assert not {"password", "implicit"} & set(found["grant_types_supported"])
    assert found["response_types_supported"] == ["code"]


def test_4_1_1_a_challenge_is_needed_of_all(front: Front, alice: Browser) -> None:
    """OAuth 2.1 §4.1.1 breaks: a client can omit PKCE."""
    for facts in ({}, {"auth_method": "private_key_jwt", "jwks": {"keys": []}}, {"source": "registration"}):
        client = application(front.house, **facts)
        assert alice.get(request(client, code_challenge=None)).answer["error"] == "invalid_request"


def test_2_3_1_addresses_are_compared_as_they_are(front: Front, reports: OAuthClient, alice: Browser) -> None:
    """OAuth 2.1 §2.3.1 breaks: redirect URIs are normalized, or compared by prefix."""
    for uri in (f"{REDIRECT}?a", REDIRECT[:-1], REDIRECT.replace("app.", "APP."), f"{REDIRECT}#", EVIL):
        page = alice.get(request(reports, redirect_uri=uri))
        assert (page.status, page.location) == (400, "")


def test_4_1_3_a_code_is_good_once_and_its_reuse_ends_all(
    front: Front, reports: OAuthClient, alice: Browser
) -> None:
    """OAuth 2.1 §4.1.3 breaks: a code works twice, or its tokens stay valid after a reuse."""
    code, other = code_of(alice, reports), redeem(front, reports, code_of(alice, reports)).json()
    first = redeem(front, reports, code).json()
    second = refresh(front, reports, first["refresh_token"]).json()
    assert said(redeem(front, reports, code)) == "400 invalid_grant"
    for body in (first, second):
        assert not front.verify(body["access_token"])["valid"]
        assert said(refresh(front, reports, body["refresh_token"])) == "400 invalid_grant"
    assert front.verify(other["access_token"])["valid"]
    assert refresh(front, reports, other["refresh_token"]).status == 200


def test_4_1_3_a_wrong_try_ends_nothing(front: Front, reports: OAuthClient, alice: Browser) -> None:
    """OAuth 2.1 §4.1.3 breaks: a thief of a code, with another client or without the verifier, can invalidate it."""
    stranger = application(front.house)
    code = code_of(alice, reports)
    assert said(redeem(front, stranger, code)) == "400 invalid_grant"
    assert said(redeem(front, reports, code, code_verifier="A" * 43)) == "400 invalid_grant"
    token = redeem(front, reports, code).json()["access_token"]
    assert said(redeem(front, stranger, code)) == "400 invalid_grant"
    assert front.verify(token)["valid"]


def test_4_3_1_refresh_tokens_rotate_and_are_bound(
    front: Front, reports: OAuthClient, alice: Browser
) -> None:
    """OAuth 2.1 §4.3.1 breaks: a public client's refresh token never changes, or works for another client."""
    first = redeem(front, reports, code_of(alice, reports)).json()["refresh_token"]
    assert said(refresh(front, application(front.house), first)) == "400 invalid_grant"
    second = refresh(front, reports, first).json()["refresh_token"]
    assert second != first
    front.house.clock.advance(10 * SECOND)
    assert said(refresh(front, reports, first)) == "400 invalid_grant"
    assert said(refresh(front, reports, second)) == "400 invalid_grant"


def test_7_no_answer_is_kept(front: Front, reports: OAuthClient, alice: Browser) -> None:
    """OAuth 2.1 §3.2.3 breaks: a cache stores a token, a code or the consent page."""
    page = alice.get(request(reports))
    sent = alice.submit(page, "/oauth/authorize", decision="allow")
    answer = redeem(front, reports, sent.answer["code"])
    wrong = redeem(front, reports, "x")
    for fields in (dict(page.fields), dict(sent.fields), answer.headers, wrong.headers):
        assert fields["cache-control"] == "no-store"
    assert sent.header("referrer-policy") == "no-referrer"


def test_7_no_token_in_an_address(front: Front, reports: OAuthClient, alice: Browser) -> None:
    """OAuth 2.1 §5.1.1 and §7.4 break: a URL contains a token, or a token in a URL is accepted."""
    sent = alice.submit(alice.get(request(reports)), "/oauth/authorize", decision="allow")
    assert not {"access_token", "refresh_token", "id_token", "token_type"} & set(sent.answer)
    body = redeem(front, reports, sent.answer["code"]).json()
    assert front.ask("GET", f"/v1/capabilities?access_token={body['access_token']}").status in (400, 401)
    query = f"grant_type=refresh_token&client_id={reports.id}&refresh_token={body['refresh_token']}"
    assert said(post(front, f"/oauth/token?{query}", {})) == "400 invalid_request"
    assert (
        said(post(front, f"/oauth/token?code={body['refresh_token']}", {"grant_type": "x"}))
        == "400 invalid_request"
    )


def test_3_1_no_other_origin_reads_the_page(front: Front, reports: OAuthClient, alice: Browser) -> None:
    """OAuth 2.1 §3.1 breaks: the authorization endpoint supports CORS, or may be framed."""
    cookie = "; ".join(f"{name}={value}" for name, value in alice.cookies.items())
    for method in ("GET", "OPTIONS"):
        answer = front.ask(
            method,
            request(reports),
            headers={"origin": EVIL, "cookie": cookie, "access-control-request-method": "GET"},
        )
        assert not [name for name in answer.headers if name.startswith("access-control")]
    page = alice.get(request(reports))
    assert "frame-ancestors 'none'" in page.header("content-security-policy")
    assert page.header("x-frame-options") == "DENY"


def test_5_2_a_refresh_token_or_code_opens_nothing(
    front: Front, reports: OAuthClient, alice: Browser
) -> None:
    """OAuth 2.1 §1.3.2 breaks: a refresh token or a code is accepted as an access token."""
    code = code_of(alice, reports)
    token = redeem(front, reports, code_of(alice, reports)).json()["refresh_token"]
    for text in (code, token):
        assert not front.verify(text)["valid"]
        answer = front.ask("GET", "/v1/capabilities", headers={"authorization": f"Bearer {text}"})
        assert answer.status == 401
