"""RFC 8414, clause by clause: authorization server metadata, and the keys of `jwks_uri` (RFC 7517)."""

from pathlib import Path

import pytest

from ostiary.services import signing_keys
from tests.cast import Front, House, pair

ISSUER = "https://keys.example.com"
ALIAS = f"{ISSUER}/oauth2/ostiary"
ADDRESSES = {
    # path of the metadata: its issuer
    "/.well-known/oauth-authorization-server": ISSUER,
    "/.well-known/openid-configuration": ISSUER,
    "/.well-known/oauth-authorization-server/oauth2/ostiary": ALIAS,
    "/.well-known/openid-configuration/oauth2/ostiary": ALIAS,
    "/oauth2/ostiary/.well-known/oauth-authorization-server": ALIAS,
    "/oauth2/ostiary/.well-known/openid-configuration": ALIAS,
}
JWKS = ("/.well-known/jwks.json", "/oauth2/ostiary/v1/keys")


@pytest.fixture
def server(sqlite_house: House, tmp_path: Path):  # type: ignore[no-untyped-def] # a generator of Front
    found = Front(sqlite_house, tmp_path, issuer=f"{ISSUER}/")
    sqlite_house.sign()
    yield found
    found.close()


@pytest.mark.parametrize("address", ADDRESSES)
def test_2_the_required_members_are_there(server: Front, address: str) -> None:
    """RFC 8414 §2 breaks: an issuer has a slash or a query, a required member is missing, or a URL is relative."""
    found = server.ask("GET", address).json()
    assert found["issuer"] == ADDRESSES[address]
    assert found["response_types_supported"] == ([] if found["issuer"] == ALIAS else ["code"])
    for member in ("token_endpoint", "jwks_uri", "introspection_endpoint", "revocation_endpoint"):
        assert found[member].startswith(f"{ISSUER}/")
    assert found["token_endpoint"].startswith(ALIAS if found["issuer"] == ALIAS else f"{ISSUER}/oauth/token")


@pytest.mark.parametrize("address", ADDRESSES)
def test_2_the_keys_are_where_it_says(server: Front, address: str) -> None:
    """RFC 8414 §2 breaks: `jwks_uri` returns no keys, or for an alias the keys of another issuer."""
    uri = server.ask("GET", address).json()["jwks_uri"]
    kinds = {key["alg"] for key in server.ask("GET", uri.removeprefix(ISSUER)).json()["keys"]}
    assert kinds == ({"RS256"} if ADDRESSES[address] == ALIAS else {"ES256", "RS256"})


def test_2_what_does_not_work_is_not_named(server: Front) -> None:
    """RFC 8414 §2 breaks: the metadata lists an endpoint or a grant that does not exist."""
    found = server.ask("GET", "/.well-known/oauth-authorization-server").json()
    assert "implicit" not in found["grant_types_supported"]
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert server.ask("GET", found["authorization_endpoint"].removeprefix(ISSUER)).status == 400
    alias = server.ask("GET", "/.well-known/openid-configuration/oauth2/ostiary").json()
    assert not alias.keys() & {
        "authorization_endpoint",
        "device_authorization_endpoint",
        "registration_endpoint",
    }
    assert alias["grant_types_supported"] == ["client_credentials"]


def test_2_algorithms_are_listed_where_keys_authenticate(server: Front) -> None:
    """RFC 8414 §2 breaks: the algorithms of `private_key_jwt` are missing, or contain `none`."""
    found = server.ask("GET", "/.well-known/oauth-authorization-server").json()
    assert "private_key_jwt" in found["token_endpoint_auth_methods_supported"]
    assert found["token_endpoint_auth_signing_alg_values_supported"] == ["RS256", "EdDSA", "Ed25519", "ES256"]
    for endpoint in ("introspection", "revocation"):
        assert "private_key_jwt" not in found[f"{endpoint}_endpoint_auth_methods_supported"]


def test_2_scopes_are_those_of_the_catalogue(server: Front) -> None:
    """RFC 8414 §2 breaks: the metadata lists a new scope only after a restart."""
    path = "/.well-known/oauth-authorization-server"
    assert "read:weather" not in server.ask("GET", path).json()["scopes_supported"]
    added = server.ask("POST", "/v1/scopes", {"scope": "read:weather"}, key=server.house.alice_key)
    assert added.status == 201
    scopes = server.ask("GET", path).json()["scopes_supported"]
    assert {"read:weather", "read:agents", "api"} <= set(scopes)
    assert len(scopes) == len(set(scopes))


@pytest.mark.parametrize(
    "address, status",
    [
        *((address, 200) for address in ADDRESSES),
        ("/.well-known/oauth-authorization-server/", 404),
        ("/.well-known/oauth-authorization-server/oauth2", 404),
        ("/.well-known/oauth-authorization-server/oauth2/ostiary/", 404),
        ("/.well-known/oauth-authorization-server/oauth2/ostiary/x", 404),
        ("/.well-known/oauth-authorization-server/evil", 404),
        ("/.well-known/openid-configuration/evil", 404),
        ("/evil/.well-known/openid-configuration", 404),
        ("/oauth2/.well-known/openid-configuration", 404),
    ],
)
def test_3_1_path_is_inserted(server: Front, address: str, status: int) -> None:
    """RFC 8414 §3.1 breaks: the metadata of an issuer is not at the path of the RFC, or is at any path."""
    assert server.ask("GET", address).status == status


@pytest.mark.parametrize("address", [*ADDRESSES, *JWKS])
def test_3_1_it_is_read_with_get(server: Front, address: str) -> None:
    """RFC 8414 §3.1 breaks: the metadata accepts other methods than GET and HEAD, or requires authentication."""
    assert server.ask("GET", address).status == 200
    assert server.ask("HEAD", address).status == 200
    for method in ("POST", "PUT", "DELETE"):
        answer = server.ask(method, address)
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("address", [*ADDRESSES, *JWKS])
def test_3_2_it_is_json_with_200(server: Front, address: str) -> None:
    """RFC 8414 §3.2 breaks: the response has another content type or status, or cannot be cached for a while."""
    answer = server.ask("GET", address)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=300"
    known = {"if-none-match": answer.headers["etag"]}
    assert server.ask("GET", address, headers=known).status == 304


def test_3_3_the_issuer_is_not_the_callers_to_choose(server: Front) -> None:
    """RFC 8414 §3.3 breaks: a Host or Forwarded header changes the issuer."""
    headers = [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
    ]
    body = server.ask("GET", "/.well-known/oauth-authorization-server", headers=headers).body
    assert b"evil" not in body


@pytest.mark.promise("P14")
def test_the_published_keys_are_those_that_are_believed(server: Front) -> None:
    """P14 breaks: the published keys lack one, contain a revoked one, or mix the purposes."""
    house = server.house
    keys = house.sign()
    whole, machines = (
        {each["kid"]: each for each in server.ask("GET", address).json()["keys"]} for address in JWKS
    )
    assert whole.keys() == {key.kid for key in keys.keys}
    assert machines.keys() == {key.kid for key in keys.keys if key.purpose == "m2m"}
    assert {each["alg"] for each in machines.values()} == {"RS256"}
    assert not set().union(*whole.values()) & {"d", "p", "q", "dp", "dq", "qi", "k"}
    (kid,) = machines
    house.store.write(signing_keys.revoke, house.alice, kid, pair("RS256", "new"))
    (other,) = server.ask("GET", JWKS[1]).json()["keys"]
    assert other["kid"] != kid
