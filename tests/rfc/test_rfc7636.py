"""RFC 7636, clause by clause: PKCE. S256 is the only supported method."""

import string

import pytest

from ostiary.core.model import OAuthClient
from ostiary.oauth.person_grants import challenge_of
from tests.applications import CHALLENGE, VERIFIER, application, code_of, redeem, request
from tests.cast import Front
from tests.machines import said
from tests.visitors import Browser

UNRESERVED = string.ascii_letters + string.digits + "-._~"


@pytest.mark.parametrize("verifier", ["A" * 43, "z" * 128, UNRESERVED, "-._~" * 11, VERIFIER])
def test_4_1_every_verifier_of_the_grammar_is_taken(
    front: Front, reports: OAuthClient, alice: Browser, verifier: str
) -> None:
    """RFC 7636 §4.1 breaks: a verifier of 43 to 128 unreserved characters is refused."""
    code = code_of(alice, reports, code_challenge=challenge_of(verifier))
    assert redeem(front, reports, code, code_verifier=verifier).status == 200


@pytest.mark.parametrize(
    "verifier", ["A" * 42, "A" * 129, "A" * 43 + "+", "A" * 43 + "=", "A" * 43 + "ü", "A" * 42 + " A"]
)
def test_4_1_no_other_is(front: Front, reports: OAuthClient, alice: Browser, verifier: str) -> None:
    """RFC 7636 §4.1 breaks: a verifier that is too short, or has other characters, is accepted."""
    code = code_of(alice, reports, code_challenge=challenge_of(verifier))
    assert said(redeem(front, reports, code, code_verifier=verifier)) == "400 invalid_grant"


def test_4_2_the_example_of_appendix_b() -> None:
    """RFC 7636 §4.2 breaks: the challenge is computed differently from the RFC."""
    assert (
        challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
        == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


@pytest.mark.parametrize("method", ["plain", "S512", "none", None])
def test_4_3_and_4_4_1_a_method_that_is_not_ours(
    alice: Browser, reports: OAuthClient, method: str | None
) -> None:
    """RFC 7636 §4.4.1 breaks: `plain`, the default method, is accepted, or the error does not say why it is refused."""
    page = alice.get(request(reports, code_challenge_method=method))
    assert (page.status, page.answer["error"]) == (303, "invalid_request")
    assert "code_challenge_method" in page.answer["error_description"]


def test_4_4_the_challenge_stays_here(alice: Browser, reports: OAuthClient) -> None:
    """RFC 7636 §4.4 breaks: the response that contains the code reveals the challenge."""
    page = alice.submit(alice.get(request(reports)), "/oauth/authorize", decision="allow")
    assert set(page.answer) == {"code", "state", "iss"}
    assert CHALLENGE not in page.location


def test_4_4_1_a_client_without_a_challenge(alice: Browser, reports: OAuthClient) -> None:
    """RFC 7636 §4.4.1 breaks: the error for a request without a challenge does not say that one is required."""
    page = alice.get(request(reports, code_challenge=None))
    assert page.answer["error"] == "invalid_request"
    assert page.answer["error_description"].startswith("code_challenge")


@pytest.mark.parametrize("verifier", [None, "", CHALLENGE, VERIFIER[:-1] + "x", VERIFIER.swapcase()])
def test_4_6_a_verifier_that_does_not_match(
    front: Front, reports: OAuthClient, alice: Browser, verifier: str | None
) -> None:
    """RFC 7636 §4.6 breaks: a code works without its verifier."""
    code = code_of(alice, reports)
    assert said(redeem(front, reports, code, code_verifier=verifier)) == "400 invalid_grant"


def test_4_6_each_code_has_its_own(front: Front, reports: OAuthClient, alice: Browser) -> None:
    """RFC 7636 §4.6 breaks: a code works with the verifier of another request, so codes can be injected."""
    other = "B" * 43
    ours, theirs = code_of(alice, reports), code_of(alice, reports, code_challenge=challenge_of(other))
    assert said(redeem(front, reports, ours, code_verifier=other)) == "400 invalid_grant"
    assert said(redeem(front, reports, theirs)) == "400 invalid_grant"
    assert redeem(front, reports, theirs, code_verifier=other).status == 200


def test_7_2_a_client_with_a_key_needs_it_too(front: Front, alice: Browser) -> None:
    """RFC 7636 §7.2 breaks: a client with a key can omit PKCE, or use `plain`."""
    front.house.sign()
    keyed = application(front.house, auth_method="private_key_jwt", jwks={"keys": []})
    for members in ({"code_challenge": None}, {"code_challenge_method": "plain"}):
        assert alice.get(request(keyed, **members)).answer["error"] == "invalid_request"


def test_7_2_the_metadata_names_s256_alone(front: Front) -> None:
    """RFC 8414 §2 and RFC 7636 §7.2 break: the metadata lists `plain`."""
    found = front.ask("GET", "/.well-known/oauth-authorization-server").json()
    assert found["code_challenge_methods_supported"] == ["S256"]
