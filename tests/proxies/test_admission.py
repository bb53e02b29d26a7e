"""Each shipped configuration in front of a real service: which requests pass, and what the others get as a response."""

import subprocess
import sys
from collections.abc import Iterator

import httpx2
import pytest

from tests import servers
from tests.conftest import unavailable
from tests.proxies import stage
from tests.proxies.stage import EXAMPLES, PROXIES, RULE, Door
from tests.servers import Ostiary, UnavailableError, accepts, free_port, wait_until

pytestmark = [pytest.mark.full, pytest.mark.promise("P15")]

IDENTITY = ["subject", "kind", "organization", "credential", "scopes", "assertion"]


def test_a_key_is_let_in_until_it_is_revoked(door: Door) -> None:
    """P1, P15 break: the first request after a revocation passes, or a valid one does not."""
    robo = door.account("Robo at the door")
    key = door.key(robo, scopes=["read:agents"])

    nobody, seen = door.ask("/v1/agents")
    assert (nobody.status, seen) == (401, [])
    assert nobody.value("www-authenticate") == "Bearer"
    assert nobody.value("x-auth-error") == "missing"

    let_in, seen = door.ask("/v1/agents", key)
    assert (let_in.status, let_in.body) == (200, b"served")
    assert seen[0].value("x-auth-subject") == robo
    assert seen[0].value("x-auth-scopes") == "read:agents"

    wrong_scope, seen = door.ask("/v1/agents", key, "POST")
    assert (wrong_scope.status, seen) == (403, [])
    assert wrong_scope.value("x-auth-error") == "insufficient_scope"

    elsewhere, seen = door.ask("/v1/agents", door.key(robo, allowed_ips=["203.0.113.0/24"]))
    assert (elsewhere.status, seen) == (403, [])
    assert elsewhere.value("x-auth-error") == "ip_not_allowed"

    found = door.ostiary.call("GET", f"/v1/service-accounts/{robo}/credentials").json()["data"]
    credential = next(each["id"] for each in found if each["last6"] == key[-6:])
    assert door.ostiary.call("POST", f"/v1/credentials/{credential}/revoke").status_code == 200
    refused, seen = door.ask("/v1/agents", key)
    assert (refused.status, seen) == (401, [])
    assert refused.value("www-authenticate") == 'Bearer error="invalid_token"'
    assert refused.value("x-auth-error") == "invalid_token"


def test_a_preflight_passes_where_the_rule_says_so(door: Door) -> None:
    """P15 breaks: browsers cannot reach a service behind this proxy, or a preflight names a caller to the service."""
    forged = "X-Auth-Subject: sa_1\r\nOstiary-Preflight: admitted\r\nOrigin: https://app.test"
    refused, seen = door.ask("/v1/agents", "", "OPTIONS", forged)
    assert (refused.status, seen) == (401, [])
    assert door.ostiary.call("PUT", "/v1/access-rules/agents", RULE | {"preflight": True}).is_success
    try:
        passed, seen = door.ask("/v1/agents", "", "OPTIONS", forged)
        assert (passed.status, [each.method for each in seen]) == (200, ["OPTIONS"])
        assert seen[0].values("x-auth-subject") in ([], [""])
        assert seen[0].value("origin") == "https://app.test"
        for method, path in (("GET", "/v1/agents"), ("OPTIONS", "/nowhere")):
            refused, seen = door.ask(path, "", method, forged)
            assert (refused.status, seen) == (401, []), (method, path)
    finally:
        door.ostiary.call("PUT", "/v1/access-rules/agents", RULE)


@pytest.mark.parametrize("line", ["API-Key: {}", "Authorization: ApiKey {}", "Authorization: Bearer {}"])
def test_a_key_is_read_where_the_api_reads_it(door: Door, robo: tuple[str, str], line: str) -> None:
    """API breaks: a proxy does not forward a credential that the API accepts."""
    answer, seen = door.ask("/v1/agents", "", "GET", line.format(robo[1]))
    assert answer.status == 200
    assert seen[0].value("x-auth-subject") == robo[0]


def test_different_credentials_at_once_are_refused(door: Door, robo: tuple[str, str]) -> None:
    """B2 breaks: of two credentials Ostiary checks one and the service sees the other."""
    other = door.key(robo[0])
    for lines in (f"API-Key: {other}", f"Authorization: Bearer {other}", f"X-API-Key: {other}"):
        answer, seen = door.ask("/v1/agents", robo[1], "GET", lines)
        assert seen == []
        assert answer.status in {400, 401, 403}


def test_the_example_service_says_who_calls(door: Door, robo: tuple[str, str]) -> None:
    """The demonstration of docs/proxies.md breaks."""
    port = free_port()
    process = subprocess.Popen([sys.executable, EXAMPLES / "service.py", str(port)])
    try:
        wait_until("the example service", lambda: accepts(port), process)
        with stage.proxy(door.name, door.ostiary.port, port) as its_door:
            answer = httpx2.get(f"http://127.0.0.1:{its_door}/v1/agents", headers={"x-api-key": robo[1]})
        assert answer.status_code == 200
        assert answer.json()["caller"]["x-auth-subject"] == robo[0]
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ostiary]:
    """An Ostiary that trusts no proxy."""
    with servers.ostiary(tmp_path_factory.mktemp("stranger") / "data") as found:
        assert found.call("PUT", "/v1/access-rules/agents", RULE).is_success
        yield found


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_that_is_not_trusted_describes_nothing(name: str, stranger: Ostiary) -> None:
    """P16 breaks: any client can choose the request that is checked, or the client address."""
    made = stranger.call(
        "POST",
        "/v1/service-accounts",
        {"display_name": f"Robo of {name}", "roles": [{"role": "developer"}],
         "credential": {"kind": "api_key", "name": "x", "allowed_ips": [stage.CLIENT]}},
    )  # fmt: skip
    assert made.status_code == 201, made.text
    try:
        with (
            stage.player(stage.serve) as service,
            stage.proxy(name, stranger.port, service.port) as port,
        ):
            answer = stage.exchange(port, stage.request("/v1/agents", made.json()["secret"]))
            assert service.seen == []
            expected = {"nginx": (403, "invalid_request"), "envoy": (403, "ip_not_allowed")}
            status = (answer.status, answer.value("x-auth-error"))
            assert status == expected.get(name, (400, "untrusted_proxy"))
    except UnavailableError as error:
        unavailable(error)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ostiary, str]]:
    """An Ostiary with a catalogue of maximum size, and a key with all its scopes."""
    with servers.ostiary(
        tmp_path_factory.mktemp("wide") / "data", OSTIARY_TRUSTED_PROXIES="127.0.0.1"
    ) as found:
        assert found.call("PUT", "/v1/access-rules/agents", RULE).is_success
        number = 0
        while found.call("POST", "/v1/scopes", {"scope": f"read:{'x' * 60}{number:03}"}).status_code == 201:
            number += 1
        assert number > 50
        made = found.call(
            "POST",
            "/v1/service-accounts",
            {
                "display_name": "Robo with all scopes",
                "roles": [{"role": "developer"}],
                "credential": {"kind": "api_key"},
            },
        )
        assert made.status_code == 201, made.text
        yield found, made.json()["secret"]


@pytest.mark.parametrize("name", PROXIES)
def test_a_caller_with_every_scope_and_large_cookies_is_let_in(name: str, wide: tuple[Ostiary, str]) -> None:
    """A shipped configuration breaks: a valid key gets 500 because of its scopes, or 403 because of cookies."""
    ostiary, key = wide
    cookies = [f"Cookie: c{number}={'c' * 5_700}" for number in range(3)]
    try:
        with stage.player(stage.serve) as service, stage.proxy(name, ostiary.port, service.port) as port:
            assert stage.exchange(port, stage.request("/v1/agents", key)).status == 200
            assert len(service.seen[-1].value("x-auth-scopes")) > 4_000
            answer = stage.exchange(port, stage.request("/v1/agents", key, "GET", *cookies))
            # HAProxy accepts 15 kB of headers by default.
            assert answer.status == (400 if name == "haproxy" else 200)
    except UnavailableError as error:
        unavailable(error)


# Traefik itself does not run here. The test sends the request that its documentation describes for ForwardAuth.


def ask_as_traefik(service: Ostiary, method: str, uri: str, key: str, **client: str) -> httpx2.Response:
    """Return the headers of a ForwardAuth request with `trustForwardHeader: false`: the client's, and those of Traefik."""
    fields = {name.replace("_", "-"): value for name, value in client.items()}
    fields |= {"X-API-Key": key} if key else {}
    fields |= {
        "X-Forwarded-Method": method,
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "agents.test",
        "X-Forwarded-Uri": uri,
        "X-Forwarded-For": stage.CLIENT,
    }
    return httpx2.get(f"{service.url}/v1/authorize/agents", headers=fields)


def test_the_request_that_traefik_sends_is_judged(service: Ostiary) -> None:
    """P15 breaks behind Traefik: the request that Ostiary checks differs from the one that Traefik forwards."""
    assert service.call("PUT", "/v1/access-rules/agents", RULE).is_success
    made = service.call(
        "POST",
        "/v1/service-accounts",
        {"display_name": "Robo behind Traefik", "roles": [{"role": "developer"}],
         "credential": {"kind": "api_key", "name": "x", "scopes": ["read:agents"],
                        "access_level": "fine_grained", "allowed_ips": [stage.CLIENT]}},
    )  # fmt: skip
    assert made.status_code == 201, made.text
    key = made.json()["secret"]
    good = ask_as_traefik(service, "GET", "/v1/agents?limit=1", key, X_Auth_Subject="admin")
    assert good.status_code == 200
    assert good.headers["x-auth-subject"] == made.json()["service_account"]["id"]
    assert {name for name in good.headers if name.startswith("x-auth-")} == {
        f"x-auth-{name}" for name in IDENTITY
    }
    assert ask_as_traefik(service, "POST", "/v1/agents", key).status_code == 403
    assert (
        ask_as_traefik(service, "GET", "/v1/public/../secrets", key).headers["x-auth-error"]
        == "ambiguous_path"
    )
    assert ask_as_traefik(service, "GET", "/v1/secrets", key, X_Original_URI="/v1/agents").status_code == 403
    missing = ask_as_traefik(service, "GET", "/v1/agents", "")
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")


SHIPPED = ["ostiary-nginx.conf", "Caddyfile", "ostiary-haproxy.lua", "envoy.yaml", "traefik.yml"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_sets_every_field_of_identity(name: str, service: Ostiary) -> None:
    """P15 breaks: Ostiary sends a new identity header that a shipped configuration does not remove from client requests."""
    text = (EXAMPLES / name).read_text("utf-8").lower()
    answer = service.call("GET", "/v1/authorize/-")
    told = {each for each in answer.headers if each.startswith("x-auth-")}
    assert told == {f"x-auth-{name}" for name in IDENTITY}
    assert {each for each in told if each not in text} == set()
