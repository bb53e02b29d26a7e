"""The token request of a partner's command line, and what it requires of the token, from its configuration file.

The program itself is not available. This module reproduces what it sends and checks.
"""

import base64
import json
import time
import tomllib
from typing import Any

import httpx2
import pytest
from joserfc import jws
from joserfc.jwk import KeySet

from tests.clients.conftest import Robo

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def context(robo: Robo) -> dict[str, Any]:
    """The default context in the output of `client-secret generate --format toml`."""
    printed = robo.service.command(
        "client-secret", "generate", "--service-account", robo.account["username"], "--format", "toml",
    )  # fmt: skip
    table = tomllib.loads(printed.stdout)
    found: dict[str, Any] = table["contexts"][table["defaultContext"]]
    return found


def server(context: dict[str, Any]) -> str:
    return f"{context['oktaOrgURL']}/oauth2/{context['oktaAuthServer']}"


def trade(context: dict[str, Any]) -> httpx2.Response:
    """Send the request of the command: the credentials unencoded in Basic, and a constant form."""
    pair = f"{context['clientId']}:{context['clientSecret']}".encode()
    return httpx2.post(
        f"{server(context)}/v1/token",
        content=b"grant_type=client_credentials&scope=m2m",
        headers={
            "Authorization": f"Basic {base64.b64encode(pair).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        },
    )


def test_it_logs_in_and_works(robo: Robo, context: dict[str, Any]) -> None:
    """Files break: a partner's command line rejects our token, or the service rejects its request."""
    answer = trade(context)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    assert (answer.json()["token_type"], answer.json()["scope"]) == ("Bearer", "m2m")
    published = httpx2.get(f"{server(context)}/v1/keys").json()
    header = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
    assert header["alg"] == "RS256"
    assert isinstance(header["kid"], str)
    assert [key["kty"] for key in published["keys"] if key["kid"] == header["kid"]] == ["RSA"]
    claims = json.loads(jws.deserialize_compact(token, KeySet.import_key_set(published), ["RS256"]).payload)
    assert claims["iss"] == server(context)
    assert claims["iat"] <= time.time() < claims["exp"]
    assert claims["cid"] == context["clientId"]
    profile = claims["m2mProfile"]
    assert set(profile) == {"user", "organization", "environment"}
    assert all(isinstance(value, str) and value for value in profile.values())
    assert profile["organization"] == context["organization"]
    shown = httpx2.get(f"{context['url']}/v1/capabilities", headers={"Authorization": f"Bearer {token}"})
    assert shown.status_code == 200
    assert shown.json()["principal"]["id"] == robo.account["id"]


def test_a_wrong_secret_is_refused(context: dict[str, Any]) -> None:
    """Files break: the alias issues tokens to clients without their secret."""
    answer = trade(context | {"clientSecret": "secret_none"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
