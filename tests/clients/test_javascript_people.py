"""openid-client and oauth4webapi: JavaScript applications that ask people for access and validate every response."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import javascript
from tests.applications import CHALLENGE, VERIFIER
from tests.clients.conversation import conversation
from tests.clients.people import CALLBACK, Alice
from tests.conftest import unavailable
from tests.servers import UnavailableError

pytestmark = pytest.mark.full

HERE = Path(__file__).parent
SCOPE = "read:agents offline_access"
Converse = Callable[..., Any]


@pytest.fixture(scope="module")
def converse(alice: Alice) -> Converse:
    """Run one task of a program and return its result, while Alice does what it asks of her."""
    try:
        program, home = javascript.program("node"), javascript.installed(HERE / "package.json")
    except UnavailableError as error:
        unavailable(error)

    def with_alice(name: str, **told: Any) -> Any:
        given = {"issuer": alice.issuer, "redirect_uri": CALLBACK, "scope": SCOPE} | told
        command = [program, str(HERE / name), str(home)]
        return conversation(command, given, alice.answer)

    return with_alice


@pytest.mark.parametrize("task", ["code", "device"])
def test_openid_client_registers_itself_asks_and_keeps_access(converse: Converse, task: str) -> None:
    """RFC 7591, RFC 6749 §4.1, RFC 8628, RFC 9207 break: openid-client cannot get, refresh or revoke access."""
    found = converse("openid-client.mjs", task=task)
    assert (found["before"], found["kept"], found["after"]) == (["read:agents"], ["read:agents"], None)
    assert (found["refused"], found["rotated"]) == ("invalid_grant", True)
    assert set(found["scope"].split(" ")) == set(SCOPE.split(" "))


def test_simple_oauth2_has_no_secret(alice: Alice, converse: Converse) -> None:
    """RFC 6749 §2.3.1, RFC 7009 break: simple-oauth2, which sends Basic with an empty password, cannot use the service."""
    told = {"client_id": alice.application(), "verifier": VERIFIER, "challenge": CHALLENGE}
    found = converse("simple-oauth2.mjs", task="code", **told)
    assert (found["before"], found["kept"], found["after"]) == (["read:agents"], ["read:agents"], None)
    assert set(found["scope"].split(" ")) == set(SCOPE.split(" "))


@pytest.mark.parametrize("algorithm", [None, "Ed25519", "ES256"])
def test_oauth4webapi_checks_what_it_gets(alice: Alice, converse: Converse, algorithm: str | None) -> None:
    """RFC 9068, RFC 9207, RFC 7591, RFC 7523 §2.2 break: a strict client rejects our response, token or registration."""
    told = {} if algorithm is None else {"algorithm": algorithm}
    found = converse("oauth4webapi-people.mjs", task="code", **told)
    claims = found["claims"]
    assert (claims["iss"], claims["aud"], claims["client_id"]) == (
        alice.issuer,
        alice.issuer,
        found["client_id"],
    )
    assert (claims["sub"], claims["scope"]) == (alice.service.first["admin"]["id"], "read:agents")
    assert (found["before"], found["kept"], found["after"]) == (["read:agents"], ["read:agents"], None)
    assert found["refused"] == "invalid_grant"
