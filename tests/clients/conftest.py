"""A service account with a secret and a key file, and a person at her browser, of one service for all clients."""

import os
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.clients.people import Alice, alice_at
from tests.servers import Ostiary


@dataclass(frozen=True, slots=True)
class Robo:
    """A service account, with what its programs are configured with."""

    service: Ostiary
    account: dict[str, Any]
    client_id: str
    secret: str = field(repr=False)
    key_file: dict[str, Any] = field(repr=False)

    @property
    def issuer(self) -> str:
        """Where the service says it is."""
        return f"http://localhost:{self.service.port}"

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/oauth/token"

    def credential(self, **body: Any) -> Any:
        """The secret of one more credential: a text, or a key file's object."""
        made = self.service.call("POST", f"/v1/service-accounts/{self.account['id']}/credentials", body)
        assert made.status_code == 201, made.text
        return made.json()["secret"]

    def capable(self, token: str) -> list[str]:
        """What the token may do: it is good where things are managed."""
        fields = {"authorization": f"Bearer {token}"}
        shown = httpx2.get(f"{self.service.url}/v1/capabilities", headers=fields)
        assert shown.status_code == 200, shown.text
        assert shown.json()["principal"]["id"] == self.account["id"]
        return list(shown.json()["scopes"])

    def good(self, token: str) -> bool:
        return bool(self.service.call("POST", "/v1/verify", {"credential": token}).json()["valid"])


@pytest.fixture(scope="session")
def robo(service: Ostiary) -> Robo:
    return robo_at(service)


@pytest.fixture
def single(service: Ostiary) -> Robo:
    """An account that has one key file, so that its programs need not name the key."""
    return robo_at(service)


def robo_at(service: Ostiary) -> Robo:
    made = service.call(
        "POST",
        "/v1/service-accounts",
        {
            "display_name": "Robo's programs",
            "roles": [{"role": "developer"}],
            "credential": {"kind": "client_secret"},
        },
    )
    assert made.status_code == 201, made.text
    account = made.json()["service_account"]
    robo = Robo(service, account, account["client_id"], made.json()["secret"], {})
    return Robo(
        service, account, account["client_id"], made.json()["secret"], robo.credential(kind="key_file")
    )


@pytest.fixture(scope="session")
def alice(service: Ostiary) -> Alice:
    return alice_at(service)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the developer's own shell stands between a client and the service."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
