"""One service for all client programs: a service account with a secret and a key file, and a person with a browser."""

import os
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.clients.people import Alice, alice_at
from tests.servers import Ostiary


@dataclass(frozen=True, slots=True)
class Robo:
    """A service account, with the configuration of its programs."""

    service: Ostiary
    account: dict[str, Any]
    client_id: str
    secret: str = field(repr=False)
    key_file: dict[str, Any] = field(repr=False)

    @property
    def issuer(self) -> str:
        """The issuer URL of the service."""
        return f"http://localhost:{self.service.port}"

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/oauth/token"

    def credential(self, **body: Any) -> Any:
        """Create another credential and return its secret: a string, or the object of a key file."""
        made = self.service.call("POST", f"/v1/service-accounts/{self.account['id']}/credentials", body)
        assert made.status_code == 201, made.text
        return made.json()["secret"]

    def capable(self, token: str) -> list[str]:
        """Return the scopes that the management API reports for the token."""
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
    """An account with only one key file, so that its programs need not name the key."""
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
    """Remove proxy settings of the developer's shell, so that clients connect directly."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
