"""RFC 7523 §2.2 and §3 for clients to which people consent: private_key_jwt, with the keys of their metadata."""

from itertools import count
from typing import Any

import pytest

from ostiary.core.instant import SECOND
from ostiary.core.jws import Algorithm
from ostiary.core.model import OAuthClient
from tests.applications import application, code_of, redeem, refresh
from tests.cast import Answer, Front
from tests.machines import BY_ASSERTION, ISSUER, said
from tests.mutants import GONE, good, other_key
from tests.signers import key
from tests.visitors import Browser

INVALID = "401 invalid_client"
_numbers = count()


def jwk(algorithm: Algorithm, kid: str | None = None) -> dict[str, Any]:
    found = dict(key(algorithm).as_dict(private=False))
    found.pop("kid", None)
    return found if kid is None else found | {"kid": kid}


def keyed(front: Front, *keys: dict[str, Any]) -> OAuthClient:
    front.house.sign()
    return application(front.house, auth_method="private_key_jwt", jwks={"keys": list(keys)})


def assertion(
    front: Front,
    client: OAuthClient,
    algorithm: Algorithm = "EdDSA",
    kid: Any = GONE,
    by: Any = None,
    **changed: Any,
) -> str:
    now = front.house.clock.now // SECOND
    members = {
        "iss": client.id,
        "sub": client.id,
        "aud": ISSUER,
        "iat": now,
        "exp": now + 60,
        "jti": f"jti-{next(_numbers)}",
    } | changed
    header = {"alg": algorithm, "typ": "JWT"} | ({} if kid is GONE else {"kid": kid})
    claims = {name: value for name, value in members.items() if value is not GONE}
    return good(by or key(algorithm), claims, header)


def shown(text: str, **others: str | None) -> dict[str, str | None]:
    """Stands for the client's id."""
    return {"client_id": None, "client_assertion_type": BY_ASSERTION, "client_assertion": text} | others


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_2_2_a_whole_flow(front: Front, alice: Browser, algorithm: Algorithm) -> None:
    """RFC 7523 §2.2 breaks: a client with a key cannot redeem or refresh, with or without its client id in the form."""
    client = keyed(front, jwk(algorithm))
    code = code_of(alice, client)
    body = redeem(front, client, code, **shown(assertion(front, client, algorithm))).json()
    assert front.verify(body["access_token"])["valid"]
    proof = shown(assertion(front, client, algorithm, aud=f"{ISSUER}/oauth/token"), client_id=client.id)
    assert refresh(front, client, body["refresh_token"], **proof).status == 200


def test_2_2_without_an_assertion_it_is_nobody(front: Front, alice: Browser) -> None:
    """RFC 7523 §2.2 breaks: a client id alone, or with a secret, authenticates a client with a key."""
    client = keyed(front, jwk("EdDSA"))
    code = code_of(alice, client)
    assert said(redeem(front, client, code)) == INVALID
    assert said(redeem(front, client, code, client_secret="word")) == INVALID
    assert redeem(front, client, code, **shown(assertion(front, client))).status == 200


def test_3_a_client_without_keys_proves_nothing(front: Front, alice: Browser, reports: OAuthClient) -> None:
    """RFC 7523 §3 breaks: an assertion that cannot be verified is accepted."""
    code = code_of(alice, reports)
    assert said(redeem(front, reports, code, **shown(assertion(front, reports)))) == INVALID
    assert redeem(front, reports, code).status == 200


def test_3_what_is_wrong_with_an_assertion(front: Front, alice: Browser) -> None:
    """RFC 7523 §3 breaks: an assertion is accepted that is for another server, too old, or from another client."""
    client, other = keyed(front, jwk("EdDSA")), keyed(front, jwk("ES256"))
    now = front.house.clock.now // SECOND
    stranger = other_key(key("EdDSA"))
    wrong = {
        "aud of another": assertion(front, client, aud="https://other.example"),
        "aud missing": assertion(front, client, aud=GONE),
        "aud with two slashes": assertion(front, client, aud=f"{ISSUER}//"),
        "aud of the authorization endpoint": assertion(front, client, aud=f"{ISSUER}/oauth/authorize"),
        "expired": assertion(front, client, exp=now - 120, iat=now - 180),
        "exp missing": assertion(front, client, exp=GONE),
        "far ahead": assertion(front, client, exp=now + 86_400),
        "from the future": assertion(front, client, iat=now + 3600, exp=now + 3660),
        "jti missing": assertion(front, client, jti=GONE),
        "sub of another": assertion(front, client, sub=other.id),
        "iss of another": assertion(front, client, iss=other.id),
        "another's key": assertion(front, client, by=stranger),
        "another client's key": assertion(front, client, "ES256"),
        "both of another": assertion(front, other, "ES256"),
        "kid unknown": assertion(front, client, kid="nobody"),
        "none": assertion(front, client).rpartition(".")[0] + ".",
        "nothing": "x.y.z",
    }
    code = code_of(alice, client)
    for name, text in wrong.items():
        answer = redeem(front, client, code, **shown(text, client_id=client.id))
        assert said(answer) == INVALID, name
        assert "www-authenticate" in answer.headers
    assert redeem(front, client, code, **shown(assertion(front, client))).status == 200


def test_3_the_key_of_one_client_is_not_anothers(front: Front, alice: Browser) -> None:
    """RFC 7523 §3 breaks: an authenticated client redeems the code or refreshes the token of another."""
    ours, theirs = keyed(front, jwk("EdDSA")), keyed(front, jwk("ES256"))
    code = code_of(alice, ours)
    assert said(redeem(front, ours, code, **shown(assertion(front, theirs, "ES256")))) == "400 invalid_grant"
    token = redeem(front, ours, code, **shown(assertion(front, ours))).json()["refresh_token"]
    assert (
        said(refresh(front, ours, token, **shown(assertion(front, theirs, "ES256")))) == "400 invalid_grant"
    )
    assert refresh(front, ours, token, **shown(assertion(front, ours))).status == 200


def test_3_an_assertion_is_used_once(front: Front, alice: Browser) -> None:
    """RFC 7523 §3 breaks: a thief of an assertion can use it again, or makes the code that came with it invalid."""
    client = keyed(front, jwk("EdDSA"))
    text = assertion(front, client)
    first = redeem(front, client, code_of(alice, client), **shown(text)).json()
    code = code_of(alice, client)
    again: list[Answer] = [
        redeem(front, client, code, **shown(text)),
        refresh(front, client, first["refresh_token"], **shown(text)),
    ]
    assert {answer.status for answer in again} <= {400, 401}
    assert {answer.json()["error"] for answer in again} <= {"invalid_grant", "invalid_client"}
    assert redeem(front, client, code, **shown(assertion(front, client))).status == 200
    assert refresh(front, client, first["refresh_token"], **shown(assertion(front, client))).status == 200


def test_3_which_of_the_keys(front: Front, alice: Browser) -> None:
    """RFC 7515 §4.1.4 breaks: an assertion without `kid` is tried with several keys, or refused for a single key."""
    one, named = keyed(front, jwk("EdDSA")), keyed(front, jwk("EdDSA", "a"))
    several = keyed(front, jwk("EdDSA", "a"), jwk("ES256", "b"))

    def tried(client: OAuthClient, algorithm: Algorithm, kid: Any) -> str:
        answer = redeem(
            front, client, code_of(alice, client), **shown(assertion(front, client, algorithm, kid))
        )
        return "200" if answer.status == 200 else said(answer)

    assert tried(one, "EdDSA", GONE) == tried(named, "EdDSA", GONE) == tried(named, "EdDSA", "a") == "200"
    assert tried(several, "EdDSA", "a") == tried(several, "ES256", "b") == "200"
    for client, algorithm, kid in (
        (one, "EdDSA", "a"),
        (named, "EdDSA", "b"),
        (several, "EdDSA", GONE),
        (several, "EdDSA", "b"),
        (several, "ES256", "a"),
        (several, "EdDSA", "c"),
        (one, "ES256", GONE),
    ):
        assert tried(client, algorithm, kid) == INVALID, (algorithm, kid)  # type: ignore[arg-type]
