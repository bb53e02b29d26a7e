"""oauth4webapi: a JavaScript library that validates every response of a server strictly."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import javascript
from tests.clients.conftest import Robo
from tests.conftest import unavailable
from tests.servers import UnavailableError

pytestmark = pytest.mark.full

HERE = Path(__file__).parent
SECONDS = 30
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def run(robo: Robo) -> Run:
    """Run one task of `oauth4webapi.mjs` as Robo and return its result."""
    try:
        program, home = javascript.program("node"), javascript.installed(HERE / "package.json")
    except UnavailableError as error:
        unavailable(error)

    def task(name: str, **told: Any) -> dict[str, Any]:
        given = {"issuer": robo.issuer, "client_id": robo.client_id, "secret": robo.secret} | told
        done = subprocess.run(
            [program, str(HERE / "oauth4webapi.mjs"), str(home), name],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return task


def test_it_discovers_the_server_at_both_addresses(run: Run, robo: Robo) -> None:
    """RFC 8414 §3 breaks: oauth4webapi finds no metadata for an issuer, or finds two different documents."""
    found = run("discover")
    assert found["oauth2"] == found["oidc"]
    assert found["oauth2"]["token_endpoint"] == robo.token_endpoint


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_it_trades_asks_and_gives_back_with_a_secret(run: Run, robo: Robo, method: str) -> None:
    """RFC 6749, 7662, 7009 and 9068 break: a JavaScript client rejects our responses, or our token is not a valid JWT."""
    found = run("trade", method=method, scope="read:agents", introspects=True, revokes=True)
    claims = found["claims"]
    assert (claims["iss"], claims["aud"], claims["client_id"]) == (robo.issuer, robo.issuer, robo.client_id)
    assert (claims["sub"], claims["scope"]) == (robo.account["id"], "read:agents")
    assert (found["before"]["active"], found["after"]) == (True, {"active": False})
    assert not robo.good(found["granted"]["access_token"])


@pytest.mark.parametrize("algorithm", ["RS256", "Ed25519"])
def test_it_authenticates_with_a_key(run: Run, robo: Robo, algorithm: str) -> None:
    """RFC 7523 §2.2 breaks: a JavaScript client gets no token with the key of a key file."""
    file = robo.key_file
    if algorithm != "RS256":
        file = robo.credential(kind="key_file", algorithm="EdDSA")
    found = run("trade", method=algorithm, key_file=file, scope="read:agents")
    assert found["granted"]["scope"] == "read:agents"
    assert robo.good(found["granted"]["access_token"])


def test_it_exchanges_a_key_for_less(run: Run, robo: Robo) -> None:
    """RFC 8693 §2.1 breaks: a client that sends only its client id cannot exchange a key for a narrower token."""
    found = run("exchange", subject=robo.credential(kind="api_key"), scope="read:agents")
    assert robo.capable(found["access_token"]) == ["read:agents"]


def test_it_reads_refusals(run: Run, robo: Robo) -> None:
    """RFC 6749 §5.2 breaks: a JavaScript client does not recognize an error response."""
    wrong = run("refused", method="client_secret_basic", secret="secret_none", scope="api")
    assert wrong == {"status": 401, "schemes": ["basic"]}
    unheld = run("refused", method="client_secret_basic", scope="write:everything")
    assert unheld == {"status": 400, "error": "invalid_scope"}
