"""OAuth clients that ask people for access: how tests register them, and the requests that they send."""

import base64
import hashlib
from typing import Any
from urllib.parse import urlencode

from ostiary.core.model import OAuthClient
from ostiary.storage import clients
from ostiary.storage.store import Tx
from tests.cast import Answer, Front, House
from tests.visitors import Browser, Page

REDIRECT = "https://app.example/callback"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


def application(house: House, **facts: Any) -> OAuthClient:
    """Register a client of Acme that may use authorization codes and refresh tokens."""
    given: dict[str, Any] = {
        "id": f"app_{house.store.entropy(13).hex()}",
        "source": "organization",
        "organization_id": house.acme.id,
        "project_id": None,
        "access": "user",
        "name": "Reports",
        "redirect_uris": (REDIRECT,),
        "grant_types": ("authorization_code", "refresh_token"),
        "scopes": (),
        "auth_method": "none",
        "jwks": None,
        "jwks_uri": None,
        "client_uri": None,
        "created_at": house.clock(),
        "disabled_at": None,
    }
    client = OAuthClient(**given | facts)

    def insert(tx: Tx, _caller: Any) -> None:
        clients.insert(tx, client)

    house.store.write(insert, house.alice)
    return client


def request(client: OAuthClient, **members: str | None) -> str:
    """Return the authorization URL that a client opens in the browser. None omits a parameter."""
    usual: dict[str, str | None] = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": client.redirect_uris[0],
        "scope": "read:plugins offline_access",
        "state": "xyz",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    found = {name: value for name, value in (usual | members).items() if value is not None}
    return f"/oauth/authorize?{urlencode(found)}"


def allow(browser: Browser, target: str, **choices: Any) -> Page:
    """Allow the request on the consent page."""
    return browser.submit(browser.get(target), "/oauth/authorize", decision="allow", **choices)


def code_of(browser: Browser, client: OAuthClient, **members: str | None) -> str:
    """Return an authorization code for the client, after the person consents."""
    page = allow(browser, request(client, **members))
    assert page.status == 303, page.text
    return page.answer["code"]


def trade(front: Front, **members: str | None) -> Answer:
    """Send a form to the token endpoint."""
    found = {name: value for name, value in members.items() if value is not None}
    return front.ask(
        "POST",
        "/oauth/token",
        raw=urlencode(found).encode(),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )


def redeem(front: Front, client: OAuthClient, code: str | None, **members: str | None) -> Answer:
    """Exchange a code for tokens."""
    usual: dict[str, str | None] = {
        "grant_type": "authorization_code",
        "client_id": client.id,
        "code": code,
        "redirect_uri": client.redirect_uris[0] if client.redirect_uris else None,
        "code_verifier": VERIFIER,
    }
    return trade(front, **usual | members)


def refresh(front: Front, client: OAuthClient, token: str | None, **members: str | None) -> Answer:
    """Exchange a refresh token."""
    usual: dict[str, str | None] = {
        "grant_type": "refresh_token",
        "client_id": client.id,
        "refresh_token": token,
    }
    return trade(front, **usual | members)
