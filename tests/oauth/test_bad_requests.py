"""Responses of the OAuth endpoints to bad input: B3, B6, and the part of B2 about JWTs."""

from collections.abc import Callable
from typing import Any

import pytest

from ostiary.core.access_token import TYPE
from ostiary.core.instant import HOUR
from ostiary.services import credentials, service_accounts
from tests.cast import Answer, Front
from tests.machines import (
    ALIAS_TOKEN,
    CLIENT_CREDENTIALS,
    EXCHANGE,
    INTROSPECT,
    ISSUER,
    JWT_BEARER,
    RESOURCE,
    REVOKE,
    TOKEN,
    Machine,
    basic,
    machine,
    name_resource,
    post,
    said,
    session_of,
    token_of,
)
from tests.mutants import GONE, dumped, good, signed
from tests.promises.test_p14_tokens import parts, private

GRANTED = {"grant_type": CLIENT_CREDENTIALS}
Ask = Callable[[Machine], Answer]


@pytest.fixture
def robo(front: Front) -> Machine:
    front.house.sign()
    return machine(front)


def form(fields: Any, **how: Any) -> Ask:
    """Return a form that Robo sends with its secret."""
    return lambda robo: post(robo.front, TOKEN, fields, client=robo.client, **how)


def anybody(fields: Any, **how: Any) -> Ask:
    return lambda robo: post(robo.front, TOKEN, fields, **how)


def grant(**changed: Any) -> Ask:
    return lambda robo: robo.by_grant(robo.assertion("grant", **changed))


def client(**changed: Any) -> Ask:
    return lambda robo: robo.by_key(robo.assertion("client", **changed))


def _disabled(robo: Machine) -> Answer:
    house = robo.front.house
    house.store.write(service_accounts.set_disabled, house.alice, robo.view.account.id, True)
    return robo.by_secret()


def _revoked(robo: Machine) -> Answer:
    house = robo.front.house
    house.store.write(credentials.revoke, house.alice, robo.word.listed.credential.id)
    return robo.by_secret()


def _twice(show: Callable[[Machine, str], Answer], door: Any) -> Ask:
    def ask(robo: Machine) -> Answer:
        text = robo.assertion(door)
        token_of(show(robo, text))
        return show(robo, text)

    return ask


def _other_algorithm(show: Callable[[Machine, str], Answer], door: Any) -> Ask:
    def ask(robo: Machine) -> Answer:
        signed = good(private("m2m"), robo.claims(door), robo.header(alg="RS256"))
        return show(robo, signed)

    return ask


LATER = 4_000_000_000
CELLS: dict[str, tuple[str, Ask]] = {
    # B3, in its order
    "wrong content type": ("400 invalid_request", form(GRANTED, content_type="text/plain")),
    "multipart": ("400 invalid_request", form(GRANTED, content_type="multipart/form-data; boundary=x")),
    "no content type": ("400 invalid_request", form(GRANTED, content_type="")),
    "repeated parameter": ("400 invalid_request", form([*GRANTED.items(), *GRANTED.items()])),
    "parameter in the query": (
        "400 invalid_request",
        lambda robo: post(robo.front, f"{TOKEN}?scope=api", GRANTED, client=robo.client),
    ),
    "65 fields": ("400 invalid_request", form(GRANTED | {f"p{number}": "1" for number in range(64)})),
    "field over 8 KiB": ("400 invalid_request", form({**GRANTED, "x": "a" * 8193})),
    "grant_type missing": ("400 invalid_request", form({"scope": "api"})),
    "grant_type unknown": ("400 unsupported_grant_type", form({"grant_type": "password"})),
    "grant_type unknown, secret wrong": (
        "401 invalid_client",
        lambda robo: post(robo.front, TOKEN, {"grant_type": "password"}, client=(robo.client_id, "x")),
    ),
    "another grant at the alias": (
        "400 unsupported_grant_type",
        lambda robo: post(robo.front, ALIAS_TOKEN, {"grant_type": JWT_BEARER}, client=robo.client),
    ),
    "no client": ("401 invalid_client", anybody(GRANTED)),
    "unknown client": ("401 invalid_client", anybody(GRANTED, client=("nobody", "secret_x"))),
    "wrong secret": (
        "401 invalid_client",
        lambda robo: post(robo.front, TOKEN, GRANTED, client=(robo.client_id, robo.client[1][:-1] + "0")),
    ),
    "an API key as the secret": (
        "401 invalid_client",
        lambda robo: post(robo.front, TOKEN, GRANTED, client=(robo.client_id, robo.api_key)),
    ),
    "disabled client": ("401 invalid_client", _disabled),
    "revoked secret": ("401 invalid_client", _revoked),
    "Basic not base64": ("401 invalid_client", anybody(GRANTED, authorization="Basic !!!")),
    "Basic and body": (
        "400 invalid_request",
        lambda robo: post(
            robo.front, TOKEN, {**GRANTED, "client_secret": robo.client[1]}, client=robo.client
        ),
    ),
    "Basic twice": (
        "400 invalid_request",
        lambda robo: robo.front.ask(
            "POST",
            TOKEN,
            raw=b"grant_type=client_credentials",
            headers=[
                ("content-type", "application/x-www-form-urlencoded"),
                ("authorization", basic(*robo.client)),
                ("authorization", basic(*robo.client)),
            ],
        ),
    ),
    "grant expired": ("400 invalid_grant", grant(exp=1)),
    "grant in the future": ("400 invalid_grant", grant(nbf=LATER)),
    "grant issued in the future": ("400 invalid_grant", grant(iat=LATER, exp=LATER + 60)),
    "grant with wrong aud": ("400 invalid_grant", grant(aud="https://other.test")),
    "grant without aud": ("400 invalid_grant", grant(aud=GONE)),
    "grant whose jti was seen": (
        "400 invalid_grant",
        _twice(lambda robo, text: robo.by_grant(text), "grant"),
    ),
    "grant by another algorithm": (
        "400 invalid_grant",
        _other_algorithm(lambda robo, text: robo.by_grant(text), "grant"),
    ),
    "client expired": ("401 invalid_client", client(exp=1)),
    "client in the future": ("401 invalid_client", client(nbf=LATER)),
    "client with wrong aud": ("401 invalid_client", client(aud="https://other.test")),
    "client whose jti was seen": (
        "401 invalid_client",
        _twice(lambda robo, text: robo.by_key(text), "client"),
    ),
    "client by another algorithm": (
        "401 invalid_client",
        _other_algorithm(lambda robo, text: robo.by_key(text), "client"),
    ),
    "a grant's assertion as a client's": (
        "401 invalid_client",
        lambda robo: robo.by_key(robo.assertion("grant")),
    ),
    "scope unknown": ("400 invalid_scope", form({**GRANTED, "scope": "read:nothing"})),
    "scope not granted": ("400 invalid_scope", form({**GRANTED, "scope": "write:organization"})),
    "scope empty": ("400 invalid_scope", form({**GRANTED, "scope": ""})),
    "resource relative": ("400 invalid_target", form({**GRANTED, "resource": "/v1"})),
    "resource with a fragment": ("400 invalid_target", form({**GRANTED, "resource": f"{ISSUER}#x"})),
    "resource unknown": ("400 invalid_target", form({**GRANTED, "resource": "https://unknown.test"})),
    "bad percent-encoding": ("400 invalid_request", form(b"grant_type=client_credentials&x=%zz")),
    "not UTF-8": ("400 invalid_request", form(b"grant_type=client_credentials&x=%ff")),
    "NUL": ("400 invalid_request", form(b"grant_type=client_credentials&x=%00")),
    "no subject_token": ("400 invalid_request", anybody({"grant_type": EXCHANGE})),
    "an exchanged token exchanged": (
        "400 invalid_grant",
        lambda robo: robo.exchange(token_of(robo.exchange(token_of(robo.by_secret())))),
    ),
    "a session exchanged": (
        "400 invalid_grant",
        lambda robo: robo.exchange(session_of(robo.front.house, robo.file)),
    ),
}


@pytest.mark.parametrize("cell", CELLS)
def test_the_token_endpoint_refuses(robo: Machine, cell: str) -> None:
    """B3 breaks: bad input gets a token, or the wrong error."""
    expected, ask = CELLS[cell]
    answer = ask(robo)
    assert said(answer) == expected
    assert set(answer.json()) == {"error", "error_description"}
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert ("www-authenticate" in answer.headers) is (answer.status == 401)


def test_every_failed_client_is_refused_alike(front: Front) -> None:
    """B3 breaks: a refusal tells whether the name or the secret was wrong, or whether the account is disabled."""
    front.house.sign()
    bodies = set()
    for number, (expected, ask) in enumerate(CELLS.values()):
        if expected == "401 invalid_client":
            answer = ask(machine(front, f"Robo {number}"))
            bodies.add((answer.status, answer.body, answer.headers["www-authenticate"]))
    assert len(bodies) == 1


@pytest.mark.parametrize("path", [TOKEN, ALIAS_TOKEN, INTROSPECT, REVOKE, "/oauth/revoke"])
def test_each_is_asked_with_post(front: Front, path: str) -> None:
    """B3 breaks: a GET request gets a response other than 405."""
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
        answer = front.ask(method, path)
        assert (answer.status, answer.headers["allow"]) == (
            405,
            "POST" if path == INTROSPECT else "OPTIONS, POST",
        )


# B6


@pytest.mark.parametrize("path", [INTROSPECT, REVOKE, "/oauth/revoke"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"bearer": "ak-x"},
        {"client": ("nobody", "x")},
        {"authorization": "Basic !"},
        {"authorization": "Digest x"},
    ],
    ids=str,
)
def test_introspection_and_revocation_need_a_caller(robo: Machine, path: str, how: dict[str, Any]) -> None:
    """B6 breaks: an unauthenticated caller can introspect or revoke a token."""
    text = token_of(robo.by_secret())
    answer = post(robo.front, path, {"token": text}, **how)
    assert said(answer) == "401 invalid_client"
    assert "www-authenticate" in answer.headers
    assert robo.front.verify(text)["valid"]


def _unusable(robo: Machine) -> dict[str, str]:
    stranger = machine(robo.front, "Stranger", robo.front.house.charlie)
    token = token_of(robo.by_secret())
    return {
        "malformed": "x",
        "blank": " ",
        "not ASCII": "é",
        "a client secret": robo.client[1],
        "an assertion": robo.assertion("grant"),
        "foreign": token_of(stranger.by_secret()),
        "a foreign key": stranger.api_key,
        "changed": f"{token[:-8]}AAAAAAAA",
        "a whole line of it": f"Bearer {token}",
        "8 KiB": "x" * 8192,
        "8 KiB of a token": "eyJ" + "x" * 8189,
    }


def test_what_is_unusable_is_inactive(robo: Machine) -> None:
    """B6 breaks: introspection says more about an invalid token than `{"active":false}`."""
    for name, text in _unusable(robo).items():
        answer = post(robo.front, INTROSPECT, {"token": text}, client=robo.client)
        assert (answer.status, answer.body) == (200, b'{"active":false}'), name


@pytest.mark.parametrize("hint", ["refresh_token", "access_token", "nonsense"])
def test_a_hint_is_ignored(robo: Machine, hint: str) -> None:
    """B6 breaks: a wrong hint hides a token."""
    text = token_of(robo.by_secret())
    fields = {"token": text, "token_type_hint": hint}
    assert post(robo.front, INTROSPECT, fields, client=robo.client).json()["active"]
    assert post(robo.front, REVOKE, fields, client=robo.client).status == 200
    assert not post(robo.front, INTROSPECT, fields, client=robo.client).json()["active"]


def test_revoking_the_unknown_is_fine_and_revokes_nothing(robo: Machine) -> None:
    """B6 breaks: revocation shows which tokens exist, or ends another client's token."""
    front = robo.front
    stranger = machine(front, "Stranger", front.house.charlie)
    theirs = token_of(stranger.by_secret())
    for name, text in _unusable(robo).items():
        answer = post(front, REVOKE, {"token": text}, client=robo.client)
        if name in ("a client secret", "a foreign key"):
            assert said(answer) == "400 unsupported_token_type", name
        else:
            assert (answer.status, answer.body) == (200, b"{}"), name
    assert post(front, REVOKE, {"token": theirs}, client=robo.client).status == 200
    assert front.verify(theirs)["valid"]


# The part of B2 about JWTs

HEADERS: dict[str, dict[str, Any]] = {
    "alg none": {"alg": "none"},
    "alg HS256": {"alg": "HS256"},
    "alg RS256": {"alg": "RS256"},
    "jwk": {"jwk": {"kty": "oct", "k": "AA"}},
    "jku": {"jku": "https://keys.example"},
    "x5u": {"x5u": "https://keys.example"},
    "crit": {"crit": ["exp"]},
    "unknown kid": {"kid": "key_01"},
    "no kid": {"kid": GONE},
    "wrong typ": {"typ": "JWT"},
    "no typ": {"typ": GONE},
}
CLAIMS: dict[str, dict[str, Any]] = {
    "wrong iss": {"iss": "https://other.test"},
    "no iss": {"iss": GONE},
    "wrong aud": {"aud": "https://other.test"},
    "aud of another service": {"aud": RESOURCE},
    "no aud": {"aud": GONE},
}


@pytest.mark.promise("P14")
@pytest.mark.parametrize("how", [*HEADERS, *CLAIMS])
@pytest.mark.parametrize("path", ["/v1/capabilities", "/v1/service-accounts", "/v1/authorize/-"])
def test_a_bad_jwt_is_401(robo: Machine, how: str, path: str) -> None:
    """B2 breaks: a JWT from another issuer, or for another audience, gets a response other than for an
    invalid token.
    """
    name_resource(robo.front.house)
    header, claims = parts(token_of(robo.by_secret()))
    header, claims = header | HEADERS.get(how, {}), claims | CLAIMS.get(how, {})
    header, claims = (
        {name: value for name, value in members.items() if value is not GONE} for members in (header, claims)
    )
    text = signed(private("access_token"), "ES256", dumped(header), dumped(claims))
    answer = robo.front.ask("GET", path, headers={"authorization": f"Bearer {text}"})
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.json()["title"] == "Invalid API Key"


@pytest.mark.parametrize("path", ["/v1/capabilities", "/v1/service-accounts", "/v1/authorize/-"])
def test_only_an_expired_token_of_ours_is_told_so(robo: Machine, path: str) -> None:
    """B2 breaks: `Token Expired` is returned for a foreign token, or not returned for our own expired token."""
    header, claims = parts(token_of(robo.by_secret()))
    forged = good(private("assertion"), claims, header)
    robo.front.house.clock.advance(24 * HOUR)
    titles = []
    for text in (good(private("access_token"), claims, header), forged):
        answer = robo.front.ask("GET", path, headers={"authorization": f"Bearer {text}"})
        assert answer.status == 401
        titles.append(answer.json()["title"])
    assert titles == ["Token Expired", "Invalid API Key"]
    assert header["typ"] == TYPE


def test_a_jwt_over_8_kib_is_unparsed(robo: Machine) -> None:
    """B2 breaks: a token of any length is parsed."""
    header, claims = parts(token_of(robo.by_secret()))
    text = good(private("access_token"), {**claims, "x": "a" * 8192}, header)
    answer = robo.front.ask("GET", "/v1/capabilities", headers={"authorization": f"Bearer {text}"})
    assert answer.status == 401
