"""Authlib: applications that ask people for access, with and without a key."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey, OKPKey

from tests.clients.people import CALLBACK, REDIRECT, Alice

pytestmark = pytest.mark.full

SCOPE = "read:agents offline_access"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


def public(alice: Alice) -> OAuth2Session:
    return OAuth2Session(
        alice.application(),
        token_endpoint_auth_method="none",
        revocation_endpoint_auth_method="none",
        **_usual(alice),
    )


def registered(alice: Alice, key: Any, algorithm: str) -> OAuth2Session:
    """Register a client dynamically, with its public key."""
    told = alice.metadata()
    answer = httpx2.post(
        told["registration_endpoint"],
        json={
            "client_name": "Reports",
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [key.as_dict(private=False, kid="first", alg=algorithm)]},
        },
    )
    assert answer.status_code == 201, answer.text
    session = OAuth2Session(
        answer.json()["client_id"],
        key,
        token_endpoint_auth_method="private_key_jwt",
        revocation_endpoint_auth_method="private_key_jwt",
        **_usual(alice),
    )
    session.register_client_auth_method(
        PrivateKeyJWT(told["token_endpoint"], headers={"kid": "first"}, alg=algorithm)
    )
    return session


def _usual(alice: Alice) -> dict[str, Any]:
    endpoint = alice.metadata()["token_endpoint"]
    return {
        "scope": SCOPE,
        "redirect_uri": CALLBACK,
        "code_challenge_method": "S256",
        "token_endpoint": endpoint,
    }


CLIENTS: dict[str, Callable[[Alice], OAuth2Session]] = {
    "none": public,
    "Ed25519": lambda alice: registered(alice, OKPKey.generate_key("Ed25519"), "Ed25519"),
    "ES256": lambda alice: registered(alice, ECKey.generate_key("P-256"), "ES256"),
}


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_person_is_asked_and_the_access_is_used_kept_and_given_back(alice: Alice, kind: str) -> None:
    """RFC 6749 §4.1 and §6, RFC 7636, RFC 7591, RFC 7523 §2.2 break: Authlib cannot get, refresh or revoke access."""
    told = alice.metadata()
    kept: list[str] = []
    session = CLIENTS[kind](alice)
    session.update_token = lambda token, **_old: kept.append(token["refresh_token"])
    address, state = session.create_authorization_url(told["authorization_endpoint"], code_verifier=VERIFIER)
    back = alice.allows(address)
    first = session.fetch_token(authorization_response=back, state=state, code_verifier=VERIFIER)
    assert alice.capable(first["access_token"]) == ["read:agents"]
    session.token["expires_at"] = 1
    shown = session.get(f"{alice.issuer}/v1/capabilities")
    assert (shown.status_code, shown.json()["scopes"]) == (200, ["read:agents"])
    assert kept == [session.token["refresh_token"]]
    assert kept != [first["refresh_token"]]
    access = session.token["access_token"]
    answer = session.revoke_token(told["revocation_endpoint"], kept[0], "refresh_token")
    assert answer.status_code == 200, answer.text
    assert alice.capable(access) is None
    with pytest.raises(OAuthError) as refused:
        session.refresh_token()
    assert refused.value.error == "invalid_grant"


def test_a_key_that_is_not_the_clients_gets_nothing(alice: Alice) -> None:
    """RFC 7523 §3 breaks: a code is exchanged for a client that signs with a key that is not registered."""
    session = registered(alice, OKPKey.generate_key("Ed25519"), "Ed25519")
    address, state = session.create_authorization_url(
        alice.metadata()["authorization_endpoint"], code_verifier=VERIFIER
    )
    session.client_secret = OKPKey.generate_key("Ed25519")
    back = alice.allows(address)
    with pytest.raises(OAuthError) as refused:
        session.fetch_token(authorization_response=back, state=state, code_verifier=VERIFIER)
    assert refused.value.error == "invalid_client"
