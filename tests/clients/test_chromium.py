"""A real browser on the pages: they work under the rules that the browser enforces."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.applications import CHALLENGE, VERIFIER
from tests.chromium import Chromium, chromium
from tests.clients.people import REDIRECT, Alice, returned
from tests.conftest import unavailable
from tests.devices import CLI, GRANT
from tests.far_side import FarSide, answer, far_side
from tests.servers import UnavailableError

pytestmark = pytest.mark.full

PICTURES = os.environ.get("OSTIARY_PICTURES")
"""The directory for screenshots of each page: wide and narrow, light and dark. Unset, none are taken."""


@contextmanager
def open_browser(script: bool = True) -> Iterator[Chromium]:
    try:
        with chromium(script) as found:
            yield found
    except UnavailableError as error:
        unavailable(error)


@pytest.fixture(params=[True, False], ids=["script", "no-script"])
def browser(request: pytest.FixtureRequest) -> Iterator[Chromium]:
    """Yield a browser. Fails if its console has a message, such as a violation of our own policy."""
    with open_browser(request.param) as found:
        yield found
        assert not found.complaints


@pytest.fixture
def listener() -> Iterator[FarSide]:
    """A program on this computer that listens for the redirect."""
    with far_side() as found:
        found.answer = answer(
            b"<!doctype html><title>Back</title>You may close this.", content_type="text/html"
        )
        yield found


def picture(browser: Chromium, name: str) -> None:
    if PICTURES is None:
        return
    for width in (1280, 390):
        for dark in (False, True):
            browser.shown_as(width, dark)
            shot = browser.picture()
            (Path(PICTURES) / f"{name}-{width}-{'dark' if dark else 'light'}.png").write_bytes(shot)
    browser.shown_as(1280, False)


def sign_in(browser: Chromium, email: str, password: str) -> None:
    picture(browser, "sign-in")
    browser.type("[name=email]", email)
    browser.type("[name=password]", password)
    browser.follow("form[action^='/sign-in'] button.main")


def test_a_person_is_sent_to_a_program_and_it_gets_tokens(
    alice: Alice, browser: Chromium, listener: FarSide
) -> None:
    """P8 and RFC 8252 §7.3 break: our policy blocks the redirect after the form, or a page requires scripts."""
    client_id = alice.application(name="Reports")
    back = f"http://127.0.0.1:{listener.port}/callback"
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": back,
        "scope": "read:agents read:plugins offline_access",
        "state": "xyz",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    browser.open(str(httpx2.URL(f"{alice.issuer}/oauth/authorize", params=asked)))
    sign_in(browser, alice.email, alice.password)
    assert "Reports" in browser.text
    picture(browser, "consent")
    browser.follow("button[value=allow]")
    assert browser.address.startswith(f"{back}?"), browser.address
    given = returned(browser.address)
    assert (given["state"], given["iss"]) == ("xyz", alice.issuer)
    assert listener.requests[0].startswith(b"GET /callback?code=")
    assert b"referer" not in listener.requests[0].lower()
    told = httpx2.post(
        f"{alice.issuer}/oauth/token",
        data={
            "grant_type": "authorization_code",
            "code": given["code"],
            "redirect_uri": back,
            "client_id": client_id,
            "code_verifier": VERIFIER,
        },
    )
    assert told.status_code == 200, told.text
    assert alice.capable(told.json()["access_token"]) == ["read:agents", "read:plugins"]
    # Deny the request, on the same page.
    browser.open(str(httpx2.URL(f"{alice.issuer}/oauth/authorize", params=asked)))
    browser.follow("button[value=deny]")
    assert returned(browser.address)["error"] == "access_denied"


def test_a_device_is_allowed_and_the_access_withdrawn(alice: Alice, browser: Chromium) -> None:
    """RFC 8628 §3.3 breaks: a person in a real browser cannot allow a device, or cannot withdraw the access."""
    shown = httpx2.post(f"{alice.issuer}/oauth/device/authorize", data={"client_id": CLI}).json()
    browser.open(shown["verification_uri"])
    sign_in(browser, alice.email, alice.password)
    picture(browser, "device")
    browser.type("[name=user_code]", shown["user_code"].lower())
    browser.follow("form[action='/oauth/device/verify'] button.main")
    assert shown["user_code"] in browser.text
    picture(browser, "device-confirm")
    browser.follow("button[value=allow]")
    picture(browser, "device-done")
    told = httpx2.post(
        f"{alice.issuer}/oauth/token",
        data={"grant_type": GRANT, "device_code": shown["device_code"], "client_id": CLI},
    )
    assert told.status_code == 200, told.text
    token = told.json()["access_token"]
    assert alice.capable(token)
    browser.open(f"{alice.issuer}/account")
    picture(browser, "account")
    (consent,) = (
        each["id"]
        for each in alice.service.call("GET", "/v1/grants").json()["data"]
        if each["client"]["id"] == CLI
    )
    browser.click(f"details:has([value={consent}]) summary")
    browser.follow(f"details:has([value={consent}]) button")
    assert alice.capable(token) is None


def test_an_application_without_a_server(alice: Alice) -> None:
    """Fetch §3.2 breaks: a page of another origin cannot discover us, register, or get, refresh and revoke a token."""
    with open_browser() as browser, far_side() as site:
        page = (Path(__file__).parent / "browser-only.html").read_bytes()
        site.answer = answer(page, content_type="text/html")
        browser.open(f"http://127.0.0.1:{site.port}/#{alice.issuer}")
        browser.wait_for("document.body.dataset.done")
        browser.follow("#ask")
        sign_in(browser, alice.email, alice.password)
        browser.follow("button[value=allow]")
        browser.wait_for("document.body.dataset.done")
        found = json.loads(browser.text)
        assert found == {
            "scope": "offline_access read:agents",
            "refused": [400, "invalid_grant", True],
            "signed": True,
            "revoked": 200,
            "closed": "TypeError",
        }


def test_access_on_behalf_is_asked_with_the_password(
    alice: Alice, browser: Chromium, listener: FarSide
) -> None:
    """Access on behalf breaks: in a browser an admin of another organization cannot join, choose projects and allow it."""
    call = alice.service.call
    name = f"umbrella-{secrets.token_hex(4)}"
    umbrella = call("POST", "/v1/organizations", {"name": "Umbrella", "slug": name}).json()["id"]
    there = f"?organization={umbrella}"
    for project in ("Research", "Logistics"):
        made = call("POST", f"/v1/projects{there}", {"name": project, "code": project.lower()})
        assert made.status_code == 201, made.text
    charlie, password = f"charlie@{name}.test", "a hive of many small words"
    invited = {"email": charlie, "roles": [{"role": "organization-admin"}]}
    link = call("POST", f"/v1/invitations{there}", invited).json()["link"]
    client_id = alice.application(
        name="Reports", access="organization", scopes=["read:agents"], redirect_uris=[REDIRECT]
    )
    browser.open(link)
    picture(browser, "invitation")
    browser.type("#new", password)
    browser.follow("form[action='/invitations/accept'] button")
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": f"http://127.0.0.1:{listener.port}/callback",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    browser.open(str(httpx2.URL(f"{alice.issuer}/oauth/authorize", params=asked)))
    sign_in(browser, charlie, password)
    picture(browser, "behalf")
    browser.click("input[name=project]")
    browser.follow("button[value=allow]")
    given = returned(browser.address)
    told = httpx2.post(
        f"{alice.issuer}/oauth/token",
        data={
            "grant_type": "authorization_code",
            "code": given["code"],
            "redirect_uri": asked["redirect_uri"],
            "client_id": client_id,
            "code_verifier": VERIFIER,
        },
    )
    assert told.status_code == 200, told.text
    assert told.json()["service_account"]["channel_identifier"]
    browser.open(f"{alice.issuer}/account")
    picture(browser, "account-behalf")
