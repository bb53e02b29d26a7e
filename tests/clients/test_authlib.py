"""Authlib: its session for clients with a secret or a key, and its session for assertions."""

from collections.abc import Callable
from typing import Any

import pytest
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import AssertionSession, OAuth2Session
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import OKPKey, RSAKey

from tests.clients.conftest import Robo

pytestmark = pytest.mark.full


def by_key(robo: Robo, key: Any, key_id: str, algorithm: str) -> OAuth2Session:
    session = OAuth2Session(robo.client_id, key, token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(
        PrivateKeyJWT(robo.token_endpoint, headers={"kid": key_id}, alg=algorithm)
    )
    return session


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_it_gets_a_token_for_a_secret_and_gives_it_back(robo: Robo, method: str) -> None:
    """RFC 6749 §2.3.1, RFC 7662, RFC 7009 break: Authlib cannot get, introspect or revoke a token."""
    session = OAuth2Session(
        robo.client_id, robo.secret, token_endpoint_auth_method=method, revocation_endpoint_auth_method=method
    )
    told = session.fetch_token(robo.token_endpoint, grant_type="client_credentials", scope="read:agents")
    token = told["access_token"]
    assert (told["token_type"], told["scope"]) == ("Bearer", "read:agents")
    assert robo.capable(token) == ["read:agents"]
    about = session.introspect_token(f"{robo.issuer}/oauth/introspect", token, "access_token").json()
    assert (about["active"], about["client_id"]) == (True, robo.client_id)
    revoked = session.revoke_token(f"{robo.issuer}/oauth/revoke", token, "access_token")
    assert revoked.status_code == 200
    assert not robo.good(token)
    about = session.introspect_token(f"{robo.issuer}/oauth/introspect", token).json()
    assert about == {"active": False}


def test_it_authenticates_with_an_rsa_key(robo: Robo) -> None:
    """RFC 7523 §2.2 breaks: Authlib gets no token by private_key_jwt with the key of a key file."""
    file = robo.key_file
    session = by_key(robo, file["private_key"], file["key_id"], "RS256")
    token = session.fetch_token(robo.token_endpoint, grant_type="client_credentials")["access_token"]
    assert "read:agents" in robo.capable(token)


def test_it_authenticates_with_an_ed25519_key(robo: Robo) -> None:
    """RFC 8037 §3.1 breaks: a client with an Ed25519 key gets no token when it uses the newer algorithm name."""
    file = robo.credential(kind="key_file", algorithm="EdDSA")
    session = by_key(robo, OKPKey.import_key(file["private_key"]), file["key_id"], "Ed25519")
    token = session.fetch_token(robo.token_endpoint, grant_type="client_credentials")["access_token"]
    assert robo.good(token)


def by_assertion(robo: Robo, client_id: str | None, kid: bool = True) -> AssertionSession:
    file = robo.key_file
    return AssertionSession(
        token_endpoint=robo.token_endpoint,
        issuer=file["client_email"],
        subject=file["client_email"],
        scope="read:agents",
        client_id=client_id,
        header={"alg": "RS256"} | ({"kid": file["key_id"]} if kid else {}),
        key=RSAKey.import_key(file["private_key"]),
    )


@pytest.mark.parametrize("named", [False, True])
def test_it_trades_an_assertion(robo: Robo, named: bool) -> None:
    """RFC 7523 §2.1 breaks: Authlib's assertion session gets no token, with or without a client id in the form."""
    session = by_assertion(robo, robo.client_id if named else None)
    shown = session.get(f"{robo.issuer}/v1/capabilities")
    assert shown.status_code == 200, shown.text
    assert shown.json()["scopes"] == ["read:agents"]


def test_it_need_not_name_the_only_key(single: Robo) -> None:
    """RFC 7515 §4.1.4 breaks: Authlib's sessions, which send no `kid` by default, get no token."""
    shown = by_assertion(single, None, kid=False).get(f"{single.issuer}/v1/capabilities")
    assert shown.json()["scopes"] == ["read:agents"]
    session = OAuth2Session(
        single.client_id, single.key_file["private_key"], token_endpoint_auth_method="private_key_jwt"
    )
    session.register_client_auth_method(PrivateKeyJWT(single.token_endpoint, alg="RS256"))
    token = session.fetch_token(single.token_endpoint, grant_type="client_credentials")["access_token"]
    assert single.good(token)


def test_it_is_told_to_name_one_of_several_keys(single: Robo) -> None:
    """The way out breaks: with a second key file Authlib gets no token, and the error does not say why."""
    single.credential(kind="key_file")
    with pytest.raises(OAuth2Error, match="kid"):
        by_assertion(single, None, kid=False).refresh_token()
    assert by_assertion(single, None).refresh_token()["access_token"]


def test_an_assertion_is_not_traded_in_the_name_of_another(robo: Robo) -> None:
    """RFC 7521 §4.1 breaks: a client other than the one in the assertion gets a token."""
    with pytest.raises(OAuth2Error) as refused:
        by_assertion(robo, "ostiary-sa-other").refresh_token()
    assert refused.value.error == "invalid_grant"


WRONG: dict[str, Callable[[Robo], OAuth2Session]] = {
    "another secret": lambda robo: OAuth2Session(robo.client_id, robo.secret[:-1] + "!"),
    "another client": lambda robo: OAuth2Session("ostiary-sa-other", robo.secret),
    "another key": lambda robo: by_key(
        robo, robo.credential(kind="key_file")["private_key"], robo.key_file["key_id"], "RS256"
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_refused_in_its_own_words(robo: Robo, wrong: str) -> None:
    """RFC 6749 §5.2 breaks: Authlib gets a token with wrong credentials, or cannot read the error."""
    with pytest.raises(OAuthError) as refused:
        WRONG[wrong](robo).fetch_token(robo.token_endpoint, grant_type="client_credentials")
    assert refused.value.error == "invalid_client"
