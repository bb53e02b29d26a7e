"""Alice at her browser, while client programs request access and use it."""

import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.devices import VERIFY
from tests.servers import PATIENCE, Ostiary
from tests.visitors import Browser, browser_at, sign_in

REDIRECT = "http://127.0.0.1/callback"
"""The redirect URI of programs on her computer. They listen on any port (RFC 8252 §7.3)."""
CALLBACK = "http://127.0.0.1:49152/callback"


@dataclass(frozen=True, slots=True)
class Alice:
    """The first admin, signed in."""

    service: Ostiary
    browser: Browser
    email: str
    password: str = field(repr=False)

    @property
    def issuer(self) -> str:
        """The issuer URL of the service."""
        return self.browser.issuer

    def metadata(self) -> dict[str, Any]:
        """The discovery document."""
        found = httpx2.get(f"{self.issuer}/.well-known/oauth-authorization-server")
        assert found.status_code == 200, found.text
        return dict(found.json())

    def allows(self, address: str, decision: str = "allow") -> str:
        """Follow the client's authorization URL and decide. Returns the redirect to the client."""
        assert address.startswith(f"{self.issuer}/"), address
        asked = self.browser.get(address.removeprefix(self.issuer))
        if asked.location:  # the service did not ask her
            return asked.location
        page = self.browser.submit(asked, "/oauth/authorize", decision=decision)
        assert page.status == 303, page.text
        return page.location

    def approves(self, address: str, user_code: str) -> None:
        """Enter the user code of a device on its verification page, and allow the request."""
        page = self.browser.get(address.removeprefix(self.issuer))
        shown = self.browser.submit(page, VERIFY, user_code=user_code.lower().replace("-", " "))
        done = self.browser.submit(shown, VERIFY, decision="allow")
        assert done.status == 200, done.text

    def answer(self, question: dict[str, str]) -> Any:
        """Do what a program asks of her (`conversation.py`), and return the result."""
        match question:
            case {"allow": address}:
                return self.allows(address)
            case {"approve": address, "user_code": code}:
                self.approves(address, code)
                return True
            case {"capable": token}:
                return self.capable(token)
        raise AssertionError(question)

    def application(self, **facts: Any) -> str:
        """Register an application in her organization and return its client id."""
        body = {"name": f"Reports {secrets.token_hex(4)}", "redirect_uris": [REDIRECT]} | facts
        made = self.service.call("POST", "/v1/clients", body)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def capable(self, token: str) -> list[str] | None:
        """Return the scopes that the management API reports for the token, or None if it is refused."""
        fields = {"authorization": f"Bearer {token}"}
        shown = httpx2.get(f"{self.issuer}/v1/capabilities", headers=fields, timeout=PATIENCE)
        if shown.status_code == 401:
            return None
        assert shown.status_code == 200, shown.text
        assert shown.json()["principal"]["id"] == self.service.first["admin"]["id"]
        return list(shown.json()["scopes"])


def alice_at(service: Ostiary) -> Alice:
    """Sign in through the page."""
    email, password = (service.first["admin"][each] for each in ("email", "password"))
    browser = browser_at(f"http://localhost:{service.port}")
    assert sign_in(browser, email, password).status == 200
    return Alice(service, browser, email, password)


def returned(address: str) -> dict[str, str]:
    """The query parameters of the redirect to the client."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
