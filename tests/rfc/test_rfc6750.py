"""RFC 6750 (bearer tokens), clause by clause, at the resources of this service: `/v1/*` and forward-auth.

§2.2 (form body) and §2.3 (query) are optional, and not supported.
"""

import re

import pytest

from tests.cast import Answer, Front
from tests.machines import RESOURCE, Machine, name_resource, token_of

RESOURCES = ("/v1/capabilities", "/v1/service-accounts", "/v1/authorize/-", "/v1/authorize-nginx/-")


@pytest.fixture
def token(robo: Machine) -> str:
    return token_of(robo.by_secret())


def ask(front: Front, path: str, *values: str) -> Answer:
    return front.ask("GET", path, headers=[("authorization", value) for value in values])


def challenge(answer: Answer) -> str:
    return answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", RESOURCES)
def test_2_1_the_authorization_field_must_be_supported(front: Front, token: str, path: str) -> None:
    """RFC 6750 §2.1 breaks: a resource does not accept the Authorization header, which every resource must support."""
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert ask(front, path, f"{scheme} {token}").status == 200


@pytest.mark.parametrize("path", RESOURCES)
def test_2_not_more_than_one_method_in_a_request(front: Front, robo: Machine, token: str, path: str) -> None:
    """RFC 6750 §2 breaks: a request with two tokens is accepted."""
    nginx = "nginx" in path
    for headers in (
        [("authorization", f"Bearer {token}"), ("x-api-key", robo.api_key)],
        [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {robo.api_key}")],
        [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")],
        [("authorization", f"Bearer {robo.api_key}"), ("x-api-key", robo.api_key)],
    ):
        # nginx handles 401 and 403 only.
        assert front.ask("GET", path, headers=headers).status == (403 if nginx else 400)


@pytest.mark.parametrize("path", RESOURCES)
def test_2_2_a_body_is_not_a_method(front: Front, token: str, path: str) -> None:
    """RFC 6750 §2.2 breaks: a token is accepted in a form, which a page of another site may send."""
    raw = f"access_token={token}".encode()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert front.ask("GET", path, raw=raw, headers=headers).status in (400, 401, 415)


@pytest.mark.parametrize("path", ["/v1/capabilities", "/v1/service-accounts"])
def test_2_3_the_address_is_not_a_method(front: Front, token: str, path: str) -> None:
    """RFC 6750 §2.3, §5.3 break: a token is accepted in the URL, which logs contain."""
    for name in ("access_token", "token", "api_key"):
        assert front.ask("GET", f"{path}?{name}={token}").status in (400, 401)
    # Beside a valid one it is a second method.
    assert ask(front, f"{path}?access_token={token}", f"Bearer {token}").status == 400


@pytest.mark.parametrize("path", RESOURCES)
def test_3_without_a_token_the_challenge_must_be_there_without_an_error(front: Front, path: str) -> None:
    """RFC 6750 §3, §3.1 break: the challenge for a request without a token contains an error code."""
    answer = front.ask("GET", path)
    assert answer.status == 401
    assert challenge(answer).startswith("Bearer")
    assert "error" not in challenge(answer)


@pytest.mark.parametrize("path", RESOURCES)
@pytest.mark.parametrize("text", ["x", "a.b.c", "eyJ.eyJ.x", "ak-x"])
def test_3_1_an_invalid_token_is_401(front: Front, path: str, text: str) -> None:
    """RFC 6750 §3.1 breaks: an invalid token gets another error than invalid_token."""
    answer = ask(front, path, f"Bearer {text}")
    assert answer.status == 401
    assert re.match(r'Bearer .*error="invalid_token"', challenge(answer))


@pytest.mark.parametrize("path", RESOURCES)
def test_3_1_an_expired_token_is_invalid(front: Front, token: str, path: str) -> None:
    """RFC 6750 §3.1 breaks: an expired token gets another error than invalid_token."""
    front.house.clock.advance(24 * 3600 * 1_000_000)
    answer = ask(front, path, f"Bearer {token}")
    assert (answer.status, 'error="invalid_token"' in challenge(answer)) == (401, True)


@pytest.mark.parametrize("path", RESOURCES)
def test_3_1_a_token_for_another_resource_is_invalid(front: Front, robo: Machine, path: str) -> None:
    """RFC 6750 §3.1, §5.2 break: a token for another service is accepted here."""
    name_resource(front.house)
    answer = ask(front, path, f"Bearer {token_of(robo.by_secret(resource=RESOURCE))}")
    assert (answer.status, 'error="invalid_token"' in challenge(answer)) == (401, True)


def test_3_1_a_scope_that_is_missing_is_403(front: Front, robo: Machine) -> None:
    """RFC 6750 §3.1 breaks: the response to a token with too few scopes does not name the required scope."""
    text = token_of(robo.by_secret(scope="read:agents"))
    answer = ask(front, "/v1/service-accounts", f"Bearer {text}")
    assert answer.status == 403
    assert 'error="insufficient_scope"' in challenge(answer)
    assert 'scope="read:service-accounts"' in challenge(answer)


@pytest.mark.parametrize("path", ["/v1/capabilities", "/v1/service-accounts", "/v1/authorize/-"])
def test_3_1_a_request_that_is_unclear_is_400(front: Front, robo: Machine, token: str, path: str) -> None:
    """RFC 6750 §3.1 breaks: a malformed request gets another error than invalid_request."""
    for values in (("Bearer",), ("Bearer ",), (f"Bearer {token}", f"Bearer {robo.api_key}")):
        answer = ask(front, path, *values)
        assert answer.status == 400
        assert 'error="invalid_request"' in challenge(answer)


@pytest.mark.parametrize("path", RESOURCES)
def test_3_no_attribute_stands_twice_or_holds_what_it_must_not(
    front: Front, robo: Machine, path: str
) -> None:
    """RFC 6750 §3 breaks: clients cannot parse the challenge."""
    text = token_of(robo.by_secret(scope="read:agents"))
    for value in (None, "Bearer x", f"Bearer {text}", "Bearer"):
        answer = ask(front, path) if value is None else ask(front, path, value)
        if "www-authenticate" not in answer.headers:
            continue
        names = re.findall(r'(\w+)="', challenge(answer))
        assert len(names) == len(set(names))
        for said in re.findall(r'="([^"]*)"', challenge(answer)):
            assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]*", said)


def test_5_3_tokens_are_not_in_answers_that_are_kept(front: Front, token: str) -> None:
    """RFC 6750 §5.3 breaks: a cache stores the response to a token."""
    for path in RESOURCES:
        answer = ask(front, path, f"Bearer {token}")
        assert answer.headers["cache-control"] == "no-store"
        assert token.encode() not in answer.body
