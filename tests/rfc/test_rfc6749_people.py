"""RFC 6749, clause by clause: codes (§4.1), refresh tokens (§6) and the attacks on both (§10)."""

from ostiary.core.instant import MINUTE
from ostiary.core.model import OAuthClient
from tests.applications import REDIRECT, VERIFIER, application, code_of, redeem, refresh, request, trade
from tests.cast import Front
from tests.machines import machine, post, said
from tests.visitors import Browser, at_home


def test_3_1_both_methods_and_unknown_parameters(front: Front, alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §3.1 breaks: GET is refused, an unknown parameter is an error, or an empty one counts as a value."""
    page = alice.get(f"{request(reports)}&x=1&prompt=&response_mode=&request=")
    assert page.status == 200


def test_3_1_2_3_one_address_need_not_be_named(front: Front, alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §3.1.2.3 and §4.1.3 break: a single redirect URI must be sent, or one that was sent need not be repeated."""
    page = alice.submit(alice.get(request(reports, redirect_uri=None)), "/oauth/authorize", decision="allow")
    assert page.location.startswith(f"{REDIRECT}?code=")
    assert redeem(front, reports, page.answer["code"], redirect_uri=None).status == 200
    named = code_of(alice, reports)
    assert said(redeem(front, reports, named, redirect_uri=None)) == "400 invalid_grant"


def test_3_1_2_the_query_of_an_address_is_kept(front: Front, alice: Browser) -> None:
    """RFC 6749 §3.1.2 breaks: the query of a registered redirect URI is lost, or hides the response parameters."""
    client = application(front.house, redirect_uris=(f"{REDIRECT}?tenant=1",))
    for page in (
        alice.submit(alice.get(request(client)), "/oauth/authorize", decision="allow"),
        alice.get(request(client, scope="")),
    ):
        assert page.location.startswith(f"{REDIRECT}?tenant=1&")
        assert page.answer["tenant"] == "1"
        assert page.answer["state"] == "xyz"


def test_4_1_2_a_code_lives_a_minute(front: Front, alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §4.1.2 breaks: a code lives longer than the recommended maximum."""
    code = code_of(alice, reports)
    front.house.clock.advance(MINUTE)
    assert said(redeem(front, reports, code)) == "400 invalid_grant"


def test_4_1_2_a_code_is_bound_to_client_and_address(front: Front, alice: Browser) -> None:
    """RFC 6749 §4.1.2 breaks: a code works for another client, or with another redirect URI of the same client."""
    both = (REDIRECT, "https://app.example/second")
    ours, theirs = (application(front.house, redirect_uris=both) for _ in range(2))
    front.house.sign()
    code = code_of(alice, ours)
    assert said(redeem(front, theirs, code)) == "400 invalid_grant"
    assert said(redeem(front, ours, code, redirect_uri=both[1])) == "400 invalid_grant"
    assert redeem(front, ours, code).status == 200


def test_4_1_2_1_a_refusal_is_told(alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §4.1.2.1 breaks: the client gets no response when the person denies."""
    page = alice.submit(alice.get(request(reports)), "/oauth/authorize", decision="deny")
    assert (page.answer["error"], page.answer["state"]) == ("access_denied", "xyz")


def test_4_1_4_what_is_answered(front: Front, alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §5.1 breaks: a required member is missing, or a refresh token is issued without a request for one."""
    body = redeem(front, reports, code_of(alice, reports)).json()
    assert body.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    assert body["scope"] == "offline_access read:plugins"
    assert front.verify(body["access_token"])["scopes"] == ["read:plugins"]
    online = redeem(front, reports, code_of(alice, reports, scope="read:plugins")).json()
    assert "refresh_token" not in online
    assert online["scope"] == "read:plugins"


def test_3_3_less_than_was_asked_is_said(front: Front, reports: OAuthClient) -> None:
    """RFC 6749 §3.3 breaks: a client gets less than the requested scope, and the response does not say so."""
    bob = at_home(front.house, front, front.house.bob)
    body = redeem(front, reports, code_of(bob, reports, scope="read:plugins write:plugins")).json()
    assert body["scope"] == "read:plugins"
    assert front.verify(body["access_token"])["scopes"] == ["read:plugins"]


def test_3_2_1_a_public_client_names_itself(front: Front, alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §3.2.1 breaks: a code works for any client, or a public client that sends Basic gets nothing."""
    code = code_of(alice, reports)
    assert said(redeem(front, reports, code, client_id=None)) == "401 invalid_client"
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    # RFC 6749 §2.3.1: an empty secret may be omitted. Many libraries send it in Basic, with the client id.
    wrong = post(front, "/oauth/token", form, client=(reports.id, "word"))
    assert said(wrong) == "401 invalid_client"
    assert "www-authenticate" in wrong.headers
    assert said(post(front, "/oauth/token", form, client=("app_nobody", ""))) == "401 invalid_client"
    mixed = post(front, "/oauth/token", form | {"client_id": "app_nobody"}, client=(reports.id, ""))
    assert said(mixed) == "400 invalid_request"
    token = post(front, "/oauth/token", form, client=(reports.id, ""))
    assert token.status == 200, token.body
    refreshed = {"grant_type": "refresh_token", "refresh_token": token.json()["refresh_token"]}
    last = post(front, "/oauth/token", refreshed, client=(reports.id, "")).json()["access_token"]
    assert front.verify(last)["valid"]
    assert post(front, "/oauth/revoke", {"token": last}, client=(reports.id, "")).status == 200
    assert not front.verify(last)["valid"]


def test_3_2_1_an_empty_password_proves_nothing(front: Front, alice: Browser) -> None:
    """RFC 6749 §3.2.1, P14 break: Basic without a password authenticates a service account, or a client with a key."""
    robo, asked = machine(front), {"grant_type": "client_credentials"}
    assert said(post(front, "/oauth/token", asked, client=(robo.client_id, ""))) == "401 invalid_client"
    keyed = application(front.house, auth_method="private_key_jwt", jwks_uri="https://app.test/keys")
    code = code_of(alice, keyed)
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    answer = post(front, "/oauth/token", form | {"code_verifier": VERIFIER}, client=(keyed.id, ""))
    assert said(answer) == "401 invalid_client"
    held = {"token": robo.api_key}
    assert said(post(front, "/oauth/introspect", held, client=(robo.client_id, ""))) == "401 invalid_client"


def test_5_2_a_client_without_the_grant(front: Front, alice: Browser) -> None:
    """RFC 6749 §5.2 breaks: a client that is not registered for refresh tokens gets or uses one."""
    client = application(front.house, grant_types=("authorization_code",))
    front.house.sign()
    body = redeem(front, client, code_of(alice, client)).json()
    assert "refresh_token" not in body
    assert said(refresh(front, client, "x")) == "400 unauthorized_client"


def test_6_a_refresh_asks_for_no_more(front: Front, alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §6 breaks: a refresh gets a scope that was not granted, or is refused one that was."""
    scope = "read:plugins read:agents offline_access"
    token = redeem(front, reports, code_of(alice, reports, scope=scope)).json()["refresh_token"]
    assert refresh(front, reports, token).json()["scope"] == "offline_access read:agents read:plugins"
    assert refresh(front, reports, token, scope="read:agents").json()["scope"] == "read:agents"
    told = refresh(front, reports, token, scope=scope).json()["scope"]
    assert told == "offline_access read:agents read:plugins"
    assert said(refresh(front, reports, token, scope="write:agents")) == "400 invalid_scope"


def test_10_3_and_10_4_tokens_cannot_be_guessed(front: Front, alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §10.10 breaks: codes or refresh tokens have fewer than 160 random bits, or share them."""
    codes = [code_of(alice, reports) for _ in range(3)]
    tokens = [redeem(front, reports, code).json()["refresh_token"] for code in codes]
    for texts in (codes, tokens):
        assert len({text[-44:-6] for text in texts}) == 3  # 38 of base64's characters: 228 bits
    successors = [refresh(front, reports, token).json()["refresh_token"] for token in tokens]
    assert not {text[-44:] for text in tokens} & {text[-44:] for text in successors}


def test_10_12_state_is_not_ours_to_read(alice: Browser, reports: OAuthClient) -> None:
    """RFC 6749 §10.12 and §10.14 break: the state is executed or shown as part of a page."""
    state = "<script>alert(1)</script>'\"&"
    page = alice.get(request(reports, state=state))
    assert "<script" not in page.text
    assert alice.submit(page, "/oauth/authorize", decision="deny").answer["state"] == state


def test_10_16_a_code_is_for_whom_it_was_asked(front: Front, reports: OAuthClient) -> None:
    """RFC 6749 §10.16 breaks: a token for one client acts for another person, or at another client."""
    bob = at_home(front.house, front, front.house.bob)
    told = front.verify(redeem(front, reports, code_of(bob, reports)).json()["access_token"])
    assert told["principal"]["id"] == front.house.bob.actor.id
    assert said(trade(front, grant_type="authorization_code", client_id=reports.id)) == "400 invalid_request"
