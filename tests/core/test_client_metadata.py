"""The metadata of OAuth clients: RFC 7591 §2 and §3.2, and client ID metadata documents."""

import json
from base64 import urlsafe_b64encode
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OKPKey, RSAKey

from ostiary.core import jws
from ostiary.core.client_metadata import (
    ClientMetadata,
    MetadataError,
    is_document_url,
    read_document,
    read_managed,
    read_registration,
)
from ostiary.core.oauth import DEVICE_CODE

URL = "https://app.example.com/client.json"
BACK = "https://app.example.com/cb"
ALL = (read_registration, read_managed, lambda members: read_document(URL, {"client_id": URL, **members}))


@cache
def keys() -> dict[str, Any]:
    return {
        "RS256": RSAKey.import_key(rsa.generate_private_key(65537, 2048)),
        "ES256": ECKey.import_key(ec.generate_private_key(ec.SECP256R1())),
        "EdDSA": OKPKey.import_key(ed25519.Ed25519PrivateKey.generate()),
    }


def jwk(name: str, **members: Any) -> dict[str, Any]:
    return {**keys()[name].as_dict(private=False), "kid": name, **members}


def without(members: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in names}


def number(value: int) -> str:
    return urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).rstrip(b"=").decode()


def registered(**members: Any) -> ClientMetadata:
    return read_registration({"redirect_uris": [BACK], **members})


def refused(read: Any, members: Any) -> MetadataError:
    with pytest.raises(MetadataError) as caught:
        read(members)
    return caught.value


def test_what_is_left_out_has_the_defaults_of_the_rfc() -> None:
    """RFC 7591 §2 breaks: a client that sends few fields is registered with other values than the RFC's defaults."""
    for read in ALL:
        assert read({"redirect_uris": [BACK]}) == ClientMetadata(
            "app.example.com", (BACK,), ("authorization_code",), ("code",), (), "none", None, None, None, None
        )


def test_everything_that_is_known_is_kept() -> None:
    """RFC 7591 §2 breaks: a field of the metadata is lost."""
    members = {
        "client_name": " Robo's app ",
        "redirect_uris": [BACK, "http://127.0.0.1/cb", "com.example.app:/cb", BACK],
        "grant_types": ["refresh_token", DEVICE_CODE, "authorization_code"],
        "response_types": ["code"],
        "scope": "read:agents  write:agents read:agents",
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks_uri": "https://app.example.com/keys",
        "client_uri": "https://app.example.com",
        "application_type": "native",
        "logo_uri": 5,
        "unknown": {"a": []},
        "client_name#ja": None,
    }
    for read in ALL:
        assert read(members) == ClientMetadata(
            "Robo's app",
            (BACK, "http://127.0.0.1/cb", "com.example.app:/cb"),
            ("authorization_code", "refresh_token", DEVICE_CODE),
            ("code",),
            ("read:agents", "write:agents"),
            "private_key_jwt",
            None,
            "https://app.example.com/keys",
            "https://app.example.com",
            "native",
        )


def test_null_is_nothing() -> None:
    """RFC 7591 §2 breaks: libraries that send null for absent fields cannot register."""
    names = [
        "client_name",
        "grant_types",
        "response_types",
        "scope",
        "token_endpoint_auth_method",
        "jwks",
        "jwks_uri",
        "client_uri",
    ]
    assert registered(**dict.fromkeys(names)) == registered()


def test_a_client_without_redirects_has_no_name_of_a_host() -> None:
    """RFC 8628 §3.1 breaks: a device cannot be registered without a redirect URI, which it does not need."""
    found = read_registration({"grant_types": [DEVICE_CODE]})
    assert (found.name, found.redirect_uris, found.response_types) == ("Unnamed client", (), ())


@pytest.mark.parametrize("method", [None, "client_secret_basic", "client_secret_post", "client_secret_jwt"])
def test_a_shared_secret_is_replaced_at_registration_only(method: str | None) -> None:
    """RFC 7591 §3.2.1 breaks: MCP clients that use the RFC's default method are refused, or a document with it is
    accepted."""
    members = {"redirect_uris": [BACK], "token_endpoint_auth_method": method}
    assert read_registration(members).auth_method == "none"
    for read in ALL[1:]:
        if method is None:
            assert read(members).auth_method == "none"
        else:
            assert "none or private_key_jwt" in refused(read, members).description


def test_grant_types_that_we_do_not_know() -> None:
    """RFC 7591 §2 breaks: a document for several authorization servers is refused, or a typing error goes unnoticed."""
    members = {
        "redirect_uris": [BACK],
        "grant_types": ["authorization_code", "implicit"],
        "response_types": ["code", "token"],
    }
    for read in (ALL[0], ALL[2]):
        assert read(members).grant_types == ("authorization_code",)
        assert read(members).response_types == ("code",)
    assert "grant_types" in refused(read_managed, members).description
    members["grant_types"] = ["authorization_code"]
    assert "response_types" in refused(read_managed, members).description


CONTRADICTORY: dict[str, dict[str, Any]] = {
    "code without authorization_code": {"grant_types": [DEVICE_CODE], "response_types": ["code"]},
    "authorization_code without code": {"grant_types": ["authorization_code"], "response_types": []},
    "authorization_code with token": {"grant_types": ["authorization_code"], "response_types": ["token"]},
    "default grant without code": {"response_types": []},
    "code in another form": {"response_types": ["code id_token"]},
    "no grant types": {"grant_types": []},
    "refresh alone": {"grant_types": ["refresh_token"], "response_types": []},
    "nothing known": {"grant_types": ["implicit", "password"]},
    "client credentials": {"grant_types": ["client_credentials"]},
    "keys and their address": {"jwks": {"keys": []}, "jwks_uri": "https://app.example.com/keys"},
    "no keys": {"token_endpoint_auth_method": "private_key_jwt"},
    "no keys, null": {"token_endpoint_auth_method": "private_key_jwt", "jwks": None},
}
WRONG: dict[str, dict[str, Any]] = {
    "unknown method": {"token_endpoint_auth_method": "tls_client_auth"},
    "method in another case": {"token_endpoint_auth_method": "None"},
    "keys over http": {"jwks_uri": "http://app.example.com/keys"},
    "keys in the address": {"jwks_uri": "data:application/json,{}"},
    "keys with userinfo": {"jwks_uri": "https://a@app.example.com/keys"},
    "home a script": {"client_uri": "javascript:alert(1)"},
    "kind unknown": {"application_type": "service"},
    "name blank": {"client_name": " "},
    "name empty": {"client_name": ""},
    "name long": {"client_name": "a" * 101},
    "name with a line break": {"client_name": "Robo\nfake"},
    "name turned round": {"client_name": "Robo\u202eobor"},
    "name invisible": {"client_name": "Ro\u200bbo"},
    "name half a character": {"client_name": "\ud800"},
    "scope with a quote": {"scope": 'read:"agents"'},
    "scope with a backslash": {"scope": "read\\agents"},
    "scope with a tab": {"scope": "a\tb"},
    "scope not ASCII": {"scope": "réad"},
    "scope long": {"scope": "a" * 2049},
    "grant types many": {"grant_types": ["authorization_code"] * 21},
    **{f"{name} a number": {name: 5} for name in (
        "client_name", "grant_types", "response_types", "scope", "token_endpoint_auth_method", "jwks", "jwks_uri",
        "client_uri",
        "application_type",
    )},
    **{f"{name} of numbers": {name: [5]} for name in ("grant_types", "response_types")},
    **{f"{name} a list": {name: [[]]} for name in ("client_name", "scope", "jwks", "token_endpoint_auth_method")},
    "scope a list": {"scope": ["read:agents"]},
}  # fmt: skip


@pytest.mark.parametrize("case", [*CONTRADICTORY, *WRONG])
def test_what_is_contradictory_or_wrong_is_refused(case: str) -> None:
    """RFC 7591 §3.2.2 breaks: contradictory metadata is accepted, or the error has the wrong code."""
    for read in ALL:
        error = refused(read, {"redirect_uris": [BACK], **{**CONTRADICTORY, **WRONG}[case]})
        assert error.code == "invalid_client_metadata"
        assert error.description.isprintable()


@pytest.mark.parametrize("members", [None, [], "a", 5, [{"redirect_uris": [BACK]}]])
def test_metadata_is_an_object(members: Any) -> None:
    """RFC 7591 §3.1 breaks: JSON that is not an object causes a server error."""
    for read in (read_registration, read_managed, lambda given: read_document(URL, given)):
        assert refused(read, members).code == "invalid_client_metadata"


@pytest.mark.promise("P13")
@pytest.mark.parametrize(
    "uris",
    [
        None, [], "https://app.example.com/cb", {BACK: BACK}, [5], [None], [[BACK]], [BACK,
        "http://app.example.com/cb"],
        [f"{BACK}#a"], ["https://*.example.com/"], ["https://a@app.example.com/"], ["javascript:alert(1)"],
        ["data:,x"], [""],
        [f"{BACK}/{n}" for n in range(11)], [BACK] * 11, [BACK + "a" * 2048], ["c:/cb"],
        ["urn:ietf:wg:oauth:2.0:oob"], ["/cb"],
    ],
)  # fmt: skip
def test_redirect_uris_are_refused_by_their_own_code(uris: Any) -> None:
    """P13 breaks: an authorization code may go to a URI that nobody owns; or RFC 7591 §3.2.2's code is another."""
    for read in ALL:
        error = refused(read, {} if uris is None else {"redirect_uris": uris})
        assert error.code == "invalid_redirect_uri"
        assert "example.com" not in error.description


def test_redirect_uris_are_checked_where_they_are_not_needed() -> None:
    """P13 breaks: a redirect URI is stored unchecked because no requested grant type uses it."""
    error = refused(
        read_registration, {"grant_types": [DEVICE_CODE], "redirect_uris": ["http://evil.example/"]}
    )
    assert error.code == "invalid_redirect_uri"


# Documents


@pytest.mark.parametrize(
    "said", [None, "", f"{URL}/", f"{URL}?a", URL.upper(), "https://app.example.com", [URL], 5, f"{URL}%20"]
)  # fmt: skip
def test_a_document_names_the_url_it_came_from(said: Any) -> None:
    """Client-id metadata documents break: a document on another host speaks for this client."""
    error = refused(lambda members: read_document(URL, members), {"client_id": said, "redirect_uris": [BACK]})
    assert error.code == "invalid_client_metadata"
    assert "client_id" in error.description


@pytest.mark.parametrize("name", ["client_secret", "client_secret_expires_at"])
def test_a_document_has_no_secret(name: str) -> None:
    """Client-id metadata documents break: a public document contains a client secret."""
    for value in ("hunter2", 0, None):
        error = refused(ALL[2], {"redirect_uris": [BACK], name: value})
        assert name in error.description
    assert registered(client_secret="hunter2") == registered()


@pytest.mark.parametrize(
    "client_id, expected",
    [
        (URL, True),
        ("https://app.example.com/a/b/", True),
        ("https://app.example.com:8443/client", True),
        ("https://app.example.com/" + "a" * (512 - 24), True),
        ("https://app.example.com/" + "a" * (513 - 24), False),
        ("https://app.example.com", False),
        ("https://app.example.com/", False),
        ("http://app.example.com/client", False),
        ("http://localhost/client", False),
        ("HTTPS://app.example.com/client", False),
        (f"{URL}?a=b", False),
        (f"{URL}?", False),
        (f"{URL}#a", False),
        (f"{URL}#", False),
        ("https://a@app.example.com/client", False),
        ("https://a:b@app.example.com/client", False),
        ("https://app.example.com/../client", False),
        ("https://app.example.com/./client", False),
        ("https://app.example.com/a/%2e%2E/client", False),
        ("https://app.example.com/a/..", False),
        (f"{URL}\n", False),
        (f" {URL}", False),
        ("https://app.example.com\\client", False),
        ("https://äpp.example.com/client", False),
        ("https://127.1/client", False),
        ("https:///client", False),
        ("//app.example.com/client", False),
        ("app_01H8", False),
        ("ostiary-cli", False),
        ("", False),
    ],
)
def test_which_client_ids_are_urls_of_documents(client_id: str, expected: bool) -> None:
    """Client-id metadata documents break: a URL that the draft forbids is fetched, or a valid one is not."""
    assert is_document_url(client_id) is expected


# Keys


@pytest.mark.parametrize("name", ["RS256", "ES256", "EdDSA"])
def test_what_a_key_of_the_set_signed_is_believed(name: str) -> None:
    """RFC 7517 §5 breaks: the stored key is not the one that signs."""
    for members in ({}, {"alg": name}, {"use": "sig"}, {"key_ops": ["verify"]}, {"unknown": 1}):
        found = registered(
            token_endpoint_auth_method="private_key_jwt", jwks={"keys": [jwk(name, **members)]}
        )
        assert found.jwks is not None
        (key,) = found.jwks
        token = jws.sign(keys()[name], key.algorithm, name, "JWT", {"iss": "me"}).encode()
        assert (key.id, key.algorithm) == (name, name)
        assert jws.verify(token, jws.read(token), key.algorithm, key.public_key) == {"iss": "me"}


def test_keys_and_their_address_are_not_both_there() -> None:
    """RFC 7591 §2 breaks: it is ambiguous which keys count."""
    members = {"redirect_uris": [BACK], "jwks": {"keys": [jwk("ES256")]}, "jwks_uri": f"{BACK}/keys"}
    for read in ALL:
        assert "both" in refused(read, members).description


def test_several_keys_have_names_that_differ() -> None:
    """RFC 7517 §4.5 breaks: it is ambiguous which key is meant."""
    several = [jwk("RS256"), jwk("ES256"), jwk("EdDSA", alg="Ed25519")]
    assert [key.id for key in registered(jwks={"keys": several}).jwks or ()] == ["RS256", "ES256", "EdDSA"]
    alone = registered(jwks={"keys": [without(jwk("ES256"), "kid"), jwk("RS256", use="enc")]}).jwks
    assert [key.id for key in alone or ()] == [None]


PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
BAD_KEYS: dict[str, Any] = {
    "none": list,
    "no list": lambda: {"a": jwk("ES256")},
    "no object": lambda: ["a"],
    "for encryption only": lambda: [jwk("RS256", use="enc")],
    "eleven": lambda: [jwk("ES256", kid=str(n)) for n in range(11)],
    "one of two without a kid": lambda: [jwk("ES256"), without(jwk("RS256"), "kid")],
    "two with the same kid": lambda: [jwk("ES256"), jwk("RS256", kid="ES256")],
    "kid a number": lambda: [jwk("ES256", kid=5)],
    "kid empty": lambda: [jwk("ES256", kid="")],
    "kid long": lambda: [jwk("ES256", kid="a" * 257)],
    "kid half a character": lambda: [jwk("ES256", kid="\ud800")],
    "private RSA": lambda: [keys()["RS256"].as_dict(private=True)],
    "private EC": lambda: [keys()["ES256"].as_dict(private=True)],
    "private Ed25519": lambda: [keys()["EdDSA"].as_dict(private=True)],
    "private beside": lambda: [jwk("ES256"), keys()["RS256"].as_dict(private=True)],
    "private and for encryption": lambda: [jwk("ES256"), {**keys()["RS256"].as_dict(private=True), "use": "enc"}],
    **{f"member {name}": lambda name=name: [jwk("RS256", **{name: None})] for name in PRIVATE},
    "shared": lambda: [{"kty": "oct", "k": "AAAA"}],
    "shared, without its secret": lambda: [{"kty": "oct"}],
    "kind unknown": lambda: [{"kty": "AKP"}],
    "kind a list": lambda: [jwk("ES256", kty=["EC"])],
    "kind missing": lambda: [without(jwk("ES256"), "kty")],
    "RSA 2047": lambda: [jwk("RS256", n=number((1 << 2046) + 1))],
    "RSA 1024": lambda: [{"kty": "RSA", "e": "AQAB", "n": number((1 << 1023) + 1)}],
    "RSA enormous": lambda: [jwk("RS256", n=number((1 << 8192) + 1))],
    "RSA exponent 1": lambda: [jwk("RS256", e="AQ")],
    "RSA exponent 3": lambda: [jwk("RS256", e="Aw")],
    "RSA exponent even": lambda: [jwk("RS256", e="AQAA")],
    "RSA exponent enormous": lambda: [jwk("RS256", e=number((1 << 40) + 1))],
    "RSA without a modulus": lambda: [without(jwk("RS256"), "n")],
    "RSA modulus a number": lambda: [jwk("RS256", n=5)],
    "RSA modulus padded": lambda: [jwk("RS256", n=jwk("RS256")["n"] + "=")],
    "RSA modulus with a line break": lambda: [jwk("RS256", n=jwk("RS256")["n"] + "\n")],
    "EC off the curve": lambda: [jwk("ES256", y=jwk("ES256")["x"])],
    "EC nowhere": lambda: [jwk("ES256", x="", y="")],
    "EC P-384": lambda: [ECKey.import_key(ec.generate_private_key(ec.SECP384R1())).as_dict(private=False)],
    "EC P-384 by name": lambda: [jwk("ES256", crv="P-384")],
    "EC secp256k1": lambda: [jwk("ES256", crv="secp256k1")],
    "EC number too large": lambda: [jwk("ES256", x=number(1 << 300))],
    "Ed25519 short": lambda: [jwk("EdDSA", x="AAAA")],
    "Ed448": lambda: [jwk("EdDSA", crv="Ed448")],
    "X25519": lambda: [jwk("EdDSA", crv="X25519")],
    "alg of another kind": lambda: [jwk("RS256", alg="ES256")],
    "alg none": lambda: [jwk("RS256", alg="none")],
    "alg by a secret": lambda: [jwk("RS256", alg="HS256")],
    "alg PS256": lambda: [jwk("RS256", alg="PS256")],
    "alg a list": lambda: [jwk("RS256", alg=["RS256"])],
    "use a list": lambda: [jwk("RS256", use=["sig"])],
    "use unknown": lambda: [jwk("RS256", use="tls")],
    "to sign, not to verify": lambda: [jwk("RS256", key_ops=["encrypt"])],
    "what it may do a text": lambda: [jwk("RS256", key_ops="verify")],
    "certificate only": lambda: [{"kty": "RSA", "x5c": ["AAAA"]}],
}  # fmt: skip


@pytest.mark.promise("P14")
@pytest.mark.parametrize("case", BAD_KEYS)
def test_private_weak_and_ambiguous_keys_are_refused(case: str) -> None:
    """P14 breaks: a client can authenticate with a key that is public, weak, or usable with two algorithms."""
    for method in ("private_key_jwt", "none"):
        for read in ALL:
            error = refused(
                read,
                {
                    "redirect_uris": [BACK],
                    "token_endpoint_auth_method": method,
                    "jwks": {"keys": BAD_KEYS[case]()},
                },
            )
            assert error.code == "invalid_client_metadata"
            assert error.description.startswith("jwks ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "redirect_uris", "grant_types", "response_types", "scope", "token_endpoint_auth_method", "jwks", "jwks_uri",
    "client_name", "client_uri",
    "application_type",
]  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(NAMES), JSON),
    st.dictionaries(
        st.sampled_from(["kty", "crv", "n", "e", "x", "y", "kid", "use", "alg", "key_ops"]), JSON
    ),
)
def test_nothing_but_a_refusal_is_raised(members: dict[str, Any], key: dict[str, Any]) -> None:
    """P20 breaks: unusual metadata causes a server error."""
    for given_members in (
        members,
        {"redirect_uris": [BACK], **members},
        {"redirect_uris": [BACK], "jwks": {"keys": [jwk("ES256") | key]}},
    ):
        for read in ALL:
            with suppress(MetadataError):
                json.dumps(asdict(read(given_members)), default=bytes.hex)
