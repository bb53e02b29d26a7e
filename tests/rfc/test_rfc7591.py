"""RFC 7591, clause by clause: dynamic client registration."""

from typing import Any

import pytest

from ostiary.core.instant import DAY, MINUTE, SECOND
from ostiary.services import clients, consents
from ostiary.services.consents import ConsentRequest
from ostiary.storage import clients as rows
from tests.applications import allow, code_of, redeem, request
from tests.cast import Answer, Front
from tests.services.questions import all_rows, events
from tests.visitors import at_home

LEAST = {"redirect_uris": ["https://app.test/callback"]}
KEYS = {
    "keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "foo": "y"}]
}


def register(front: Front, body: Any, **more: Any) -> Answer:
    return front.ask("POST", "/oauth/register", body, **more)


def test_3_2_1_everything_registered_is_told(front: Front) -> None:
    """§3.2.1 breaks: the response omits the client id, or the metadata that was registered in the end."""
    answer = register(
        front,
        LEAST
        | {
            "client_name": "Agent",
            "grant_types": ["authorization_code", "refresh_token", "implicit"],
            "scope": "read:agents offline_access",
            "token_endpoint_auth_method": "client_secret_post",
            "client_uri": "https://app.test/",
            "logo_uri": "https://app.test/logo.png",
            "software_id": "whatever",
        },
    )
    assert answer.status == 201, answer.body
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    client = front.house.store.read(rows.find, told["client_id"])
    assert client is not None
    assert told == {
        "client_id": client.id,
        "client_id_issued_at": front.house.clock() // SECOND,
        "client_name": "Agent",
        "redirect_uris": ["https://app.test/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": "read:agents offline_access",
        "client_uri": "https://app.test/",
    }
    assert (client.source, client.access, client.organization_id) == ("registration", "user", None)
    assert client.scopes == ("read:agents", "offline_access")
    [event] = [each for each in events(front.house) if each.action == "client.registered"]
    assert (event.actor_type, event.target_id, event.address) == ("unknown", client.id, "192.0.2.1")
    assert front.ask("GET", f"/v1/clients/{client.id}", key=front.house.alice_key).status == 404


@pytest.mark.parametrize(
    "scope, kept",
    [
        ("openid profile offline_access", None),
        ("openid", None),
        ("openid  read:agents profile offline_access ", "read:agents offline_access"),
        ("api", "api"),
    ],
)
def test_2_scopes_that_do_not_exist_are_left_out(front: Front, scope: str, kept: str | None) -> None:
    """§2 breaks: a client registers with scopes of other servers, and all its authorization requests fail."""
    told = register(front, LEAST | {"scope": scope}).json()
    assert told.get("scope") == kept
    client = front.house.store.read(rows.find, told["client_id"])
    assert client is not None
    assert client.scopes == tuple((kept or "").split())
    front.house.sign()
    alice = at_home(front.house, front, front.house.alice)
    assert allow(alice, request(client, scope=kept)).answer["code"]


def test_2_native_clients_register_with_their_schemes(front: Front) -> None:
    """RFC 8252 §7.1 breaks: a desktop program with several redirect URIs cannot register, or a page hides the scheme."""
    uris = [
        "cursor://anysphere.cursor-retrieval/oauth/user-tools/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "http://127.0.0.1:33418/",
        "https://vscode.dev/redirect",
    ]
    answer = register(front, {"redirect_uris": uris, "client_name": "Editor", "application_type": "native"})
    assert answer.status == 201, answer.body
    assert answer.json()["redirect_uris"] == uris
    client = front.house.store.read(rows.find, answer.json()["client_id"])
    assert client is not None
    front.house.sign()
    alice = at_home(front.house, front, front.house.alice)
    page = alice.get(request(client))
    assert b"<strong>cursor:</strong>" in page.body
    assert "form-action 'self' cursor:" in page.header("content-security-policy")
    code = code_of(alice, client)
    assert redeem(front, client, code).status == 200
    silent = alice.get(request(client, prompt="none"))
    assert silent.location.startswith(f"{uris[0]}?error=consent_required")
    keyed = {"token_endpoint_auth_method": "private_key_jwt", "jwks": KEYS}
    assert register(front, {"redirect_uris": uris} | keyed).json()["error"] == "invalid_redirect_uri"
    dotted = {"redirect_uris": ["com.example.app:/cb"]}
    assert register(front, dotted | keyed).status == 201


def test_2_keys_are_kept_as_they_are_read(front: Front) -> None:
    """§2 breaks: a client that signs is registered without its keys, or with invalid ones."""
    told = register(front, LEAST | {"token_endpoint_auth_method": "private_key_jwt", "jwks": KEYS}).json()
    assert told["token_endpoint_auth_method"] == "private_key_jwt"
    assert told["jwks"] == {"keys": [{name: KEYS["keys"][0][name] for name in ("kty", "crv", "x")}]}


@pytest.mark.promise("P18")
@pytest.mark.parametrize(
    "uri",
    ["https://127.0.0.1/k", "https://[::1]/k", "https://10.0.0.1/k", "https://169.254.169.254/k", "https://intranet/k",
     "https://localhost/k", "https://app.test:8443/k"],
)  # fmt: skip
def test_2_keys_are_not_inside(front: Front, uri: str) -> None:
    """P18 breaks: a stranger registers a URL to an internal host, or the error reveals what is there."""
    asked = LEAST | {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": uri}
    answer = register(front, asked)
    assert (answer.status, answer.json()) == (
        400,
        {
            "error": "invalid_client_metadata",
            "error_description": "jwks_uri: The metadata or keys of the client could not be fetched from its URL.",
        },
    )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "http": ({"redirect_uris": ["http://app.test/cb"]}, "invalid_redirect_uri"),
    "fragment": ({"redirect_uris": ["https://app.test/#x"]}, "invalid_redirect_uri"),
    "wildcard": ({"redirect_uris": ["https://*.app.test/"]}, "invalid_redirect_uri"),
    "userinfo": ({"redirect_uris": ["https://a@app.test/"]}, "invalid_redirect_uri"),
    "script": ({"redirect_uris": ["JavaScript:alert(1)"]}, "invalid_redirect_uri"),
    "eleven": ({"redirect_uris": [f"https://app.test/{n}" for n in range(11)]}, "invalid_redirect_uri"),
    "none": ({}, "invalid_redirect_uri"),
    "both keys": (
        LEAST | {"jwks": KEYS, "jwks_uri": "https://app.test/keys"},
        "invalid_client_metadata",
    ),
    "private": (LEAST | {"jwks": {"keys": [KEYS["keys"][0] | {"d": "x"}]}}, "invalid_client_metadata"),
    "no keys": (LEAST | {"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
    "contradiction": (LEAST | {"response_types": ["token"]}, "invalid_client_metadata"),
    "name": (LEAST | {"client_name": "a\u202eb"}, "invalid_client_metadata"),
}


@pytest.mark.parametrize("what", WRONG)
def test_3_2_2_errors(front: Front, what: str) -> None:
    """§3.2.2 breaks: unsupported metadata is accepted, or the error code does not fit the mistake."""
    body, code = WRONG[what]
    before = all_rows(front.house)
    answer = register(front, body)
    assert (answer.status, answer.json()["error"]) == (400, code)
    assert answer.headers["cache-control"] == "no-store"
    assert all_rows(front.house) == before


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"redirect_uris":[],"redirect_uris":[]}', "application/json"),
        (b"redirect_uris=https://app.test/", "application/x-www-form-urlencoded"),
        (b"{}", "text/plain"),
    ],
)
def test_3_1_metadata_is_one_json_object(front: Front, raw: bytes, content_type: str) -> None:
    """§3.1 breaks: a body that two parsers read differently registers a client."""
    answer = register(front, None, raw=raw, headers={"content-type": content_type})
    assert (answer.status, answer.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.promise("P7")
def test_a_secret_in_metadata_is_not_kept(front: Front) -> None:
    """P7 breaks: a key in the place of a name is stored in clear text and shown to people."""
    answer = register(
        front, LEAST | {"client_name": front.house.alice_key, "software_id": front.house.alice_key}
    )
    assert (answer.status, answer.json()["error"]) == (400, "invalid_client_metadata")
    assert front.house.alice_key[35:] not in answer.body.decode()


def test_5_registrations_are_limited(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """§5 breaks: one address fills the database with clients, or blocks registration for a neighbour."""
    statuses = [register(front, LEAST).status for _ in range(11)]
    assert statuses == [201] * 10 + [429]
    last = register(front, LEAST)
    assert (last.json()["error"], "retry-after" in last.headers) == ("temporarily_unavailable", True)
    assert register(front, LEAST, peer="198.51.100.7").status == 201
    crowd = [register(front, LEAST, peer=f"192.0.2.{each}").status for each in range(100, 130)]
    assert crowd == [201] * 20 + [429] * 10, "a network has a limit as well"


def test_5_who_registers_by_the_thousand_takes_their_own_places(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§5 breaks: a flood of registrations makes new ones of other people fail, or deletes them."""
    monkeypatch.setattr(clients, "MAX_UNUSED", 6)

    def registered(peer: str) -> str:
        answer = register(front, LEAST, peer=peer)
        assert answer.status == 201, answer.body
        front.house.clock.advance(MINUTE)
        return str(answer.json()["client_id"])

    def is_there(client_id: str) -> bool:
        return front.house.store.read(rows.find, client_id) is not None

    first = [registered("198.51.100.7"), registered("2001:db8::1")]
    flood = [registered(f"203.0.113.{number}") for number in range(20)]
    assert all(map(is_there, first))
    assert [is_there(each) for each in flood] == [False] * 16 + [True] * 4
    assert is_there(registered("198.51.101.7"))
    assert [is_there(each) for each in (*first, *flood)].count(True) == 5
    assert all(map(is_there, first))


def test_what_nobody_consented_to_is_forgotten_after_a_day(front: Front) -> None:
    """P20 breaks: unused registrations accumulate, or a client in use is deleted."""
    house = front.house
    used, unused = (register(front, LEAST).json()["client_id"] for _ in range(2))
    client = house.store.read(rows.find, used)
    assert client is not None
    asked = ConsentRequest(client, house.acme.id, ("read:agents",))
    given = house.store.write(consents.give, house.alice, asked)
    house.clock.advance(DAY)
    house.delete_old()
    assert house.store.read(rows.find, unused) is not None
    house.clock.advance(1)
    house.store.write(consents.withdraw, house.alice, given.consent.id)
    house.delete_old()
    assert house.store.read(rows.find, unused) is None
    assert house.store.read(rows.find, used) is not None


def test_registration_can_be_off(front: Front, tmp_path: Any) -> None:
    """P23 breaks: the operator disabled registration, but it works, or the metadata lists it."""
    name = "registration_endpoint"
    document = "/.well-known/oauth-authorization-server"
    assert front.ask("GET", document).json()[name].endswith("/oauth/register")
    closed = Front(front.house, tmp_path, registration="off")
    try:
        assert register(closed, LEAST).status == 404
        assert name not in closed.ask("GET", document).json()
    finally:
        closed.close()
