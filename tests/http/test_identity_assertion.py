"""What access rules require of tokens: their audience, and the identity assertion for upstreams."""

from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from ostiary.core.instant import SECOND
from tests.cast import Answer, Front

AGENTS = "https://agents.example.com"
RULE: dict[str, Any] = {"match": [{"path": "/**"}], "audience": AGENTS, "assertion": True}
PROXY = "127.0.0.1"


@pytest.fixture
def ruled(front: Front) -> Front:
    """A front with the rule `agents`, and signing keys."""
    front.house.sign()
    answer = front.ask("PUT", "/v1/access-rules/agents", RULE, key=front.house.alice_key)
    assert answer.status == 200, answer.body
    assert answer.json()["assertion"]
    return front


def token(front: Front, **wanted: Any) -> Answer:
    """Return a token of Robo's with these parameters."""
    robo = front.house.account()
    secret = front.house.key(robo, kind="client_secret").secret.reveal()
    body = {"grant_type": "client_credentials", "client_id": robo.account.client_id, "client_secret": secret}
    return front.ask("POST", "/oauth/token", body | wanted)


def admitted(front: Front, bearer: str, peer: str = PROXY, rule: str = "agents") -> Answer:
    headers = {
        "authorization": f"Bearer {bearer}",
        "x-forwarded-method": "GET",
        "x-forwarded-uri": "/v1/agents",
        "x-forwarded-for": "192.0.2.7",
    }
    return front.ask("GET", f"/v1/authorize/{rule}", headers=headers, peer=peer)


def test_a_token_is_good_only_where_it_is_meant_for(ruled: Front) -> None:
    """P17 breaks: a token for one service is accepted by another."""
    ours = token(ruled).json()["access_token"]
    theirs = ruled.house.key(ruled.house.account("Other"), kind="client_secret")
    account = ruled.ask("GET", "/v1/service-accounts?username=other", key=ruled.house.alice_key).json()[
        "data"
    ][0]
    asked = {
        "grant_type": "client_credentials",
        "client_id": account["client_id"],
        "client_secret": theirs.secret.reveal(),
        "resource": AGENTS,
    }
    bound = ruled.ask("POST", "/oauth/token", asked).json()["access_token"]
    assert admitted(ruled, bound).status == 200
    assert admitted(ruled, ours).status == 401
    assert ruled.ask("GET", "/v1/capabilities", headers={"authorization": f"Bearer {bound}"}).status == 401
    assert ruled.verify(bound)["code"] == "wrong_audience"
    assert ruled.verify(bound, audience=AGENTS)["valid"]
    assert ruled.verify(ours, audience=AGENTS)["code"] == "wrong_audience"
    assert ruled.verify(ruled.house.charlie_key, audience=AGENTS)["valid"]  # a key has no audience


@pytest.mark.parametrize(
    "resource", ["https://evil.example.com", AGENTS + "/x", AGENTS + "#x", "agents", "/agents"]
)
def test_a_token_is_for_nobody_unknown(ruled: Front, resource: str) -> None:
    """RFC 8707 §2 breaks: a token is issued for a resource that is not registered."""
    answer = token(ruled, resource=resource)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_target")


def test_an_upstream_is_told_who_calls_by_a_signed_word(ruled: Front) -> None:
    """P15 breaks: an upstream cannot verify the assertion that a proxy forwards, or the assertion grants
    permissions.
    """
    house = ruled.house
    robo = house.account()
    key = house.key(robo)
    headers = {"x-forwarded-method": "GET", "x-forwarded-uri": "/x", "x-api-key": key.secret.reveal()}
    answer = ruled.ask("GET", "/v1/authorize/agents", headers=headers, peer=PROXY)
    text = answer.headers["x-auth-assertion"]
    keys = KeySet.import_key_set(ruled.ask("GET", "/.well-known/jwks.json").json())
    found = jwt.decode(text, keys, algorithms=["ES256"])
    assert found.header["typ"] == "ostiary-assertion+jwt"
    now = house.clock.now // SECOND
    assert found.claims == {
        "iss": "http://localhost:8080",
        "sub": robo.account.id,
        "aud": AGENTS,
        "iat": now,
        "exp": now + 60,
        "account_id": house.acme.id,
        "credential_id": key.listed.credential.id,
        "kind": "api_key",
    }
    # It is not an access token, here or at any upstream.
    assert ruled.ask("GET", "/v1/capabilities", headers={"authorization": f"Bearer {text}"}).status == 401
    assert not ruled.verify(text, audience=AGENTS)["valid"]


def test_a_word_is_used_again_for_half_a_minute(ruled: Front) -> None:
    """Speed breaks: every request pays for a signature, or an assertion is returned shortly before it
    expires.
    """
    house = ruled.house
    headers = {"x-original-method": "GET", "x-original-uri": "/x", "x-api-key": house.alice_key}

    def word() -> str:
        return ruled.ask("GET", "/v1/authorize-nginx/agents", headers=headers, peer=PROXY).headers[
            "x-auth-assertion"
        ]

    first = word()
    house.clock.advance(29 * SECOND)
    assert word() == first
    house.clock.advance(2 * SECOND)
    assert word() != first


def test_only_a_proxy_is_given_a_word(ruled: Front) -> None:
    """P15 breaks: a client gets an assertion and can present it to an upstream that trusts proxies."""
    headers = {"x-api-key": ruled.house.alice_key}
    answer = ruled.ask("GET", "/v1/authorize/agents/x", headers=headers, peer="192.0.2.9")
    assert (answer.status, answer.headers["x-auth-assertion"]) == (200, "")
    answer = ruled.ask("GET", "/v1/authorize/agents/x", headers=headers, peer=PROXY)
    assert answer.headers["x-auth-assertion"]
    answer = ruled.ask("GET", "/v1/authorize/-", headers=headers, peer=PROXY)
    assert (answer.status, answer.headers["x-auth-assertion"]) == (200, "")


def test_without_a_key_nothing_is_admitted_that_wants_a_word(front: Front) -> None:
    """P15 breaks: a request reaches an upstream without the assertion that its rule requires."""
    front.ask("PUT", "/v1/access-rules/agents", RULE, key=front.house.alice_key)
    headers = {"x-api-key": front.house.alice_key}
    assert front.ask("GET", "/v1/authorize/agents/x", headers=headers, peer=PROXY).status == 503


@pytest.mark.parametrize(
    "part, pointer",
    [
        ({"assertion": True}, "/assertion"),
        ({"audience": "agents"}, "/audience"),
        ({"audience": AGENTS + "#fragment"}, "/audience"),
        ({"audience": "https://"}, "/audience"),
        ({"audience": AGENTS + "/" + "x" * 512}, "/audience"),
        ({"audience": "https://a b"}, "/audience"),
        ({"kinds": ["client_secret"]}, "/kinds/0"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(front: Front, part: dict[str, Any], pointer: str) -> None:
    """B8 breaks: a rule is accepted that no request can satisfy, or that has an assertion without an
    audience.
    """
    answer = front.ask("PUT", "/v1/access-rules/agents", {"match": []} | part, key=front.house.alice_key)
    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


def test_a_rule_may_want_tokens_only(front: Front) -> None:
    """API breaks: a rule cannot distinguish a token from a key."""
    front.house.sign()
    rule = {"match": [{"path": "/**"}], "kinds": ["access_token"]}
    front.ask("PUT", "/v1/access-rules/tokens", rule, key=front.house.alice_key)
    bearer = token(front).json()["access_token"]
    assert admitted(front, bearer, rule="tokens").status == 200
    answer = front.ask("GET", "/v1/authorize/tokens/x", headers={"x-api-key": front.house.alice_key})
    assert (answer.status, answer.headers["x-auth-error"]) == (403, "kind_not_allowed")
