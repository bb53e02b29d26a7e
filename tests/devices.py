"""A device without a browser, such as the command line: its device authorization requests and its polling."""

from typing import Any

from tests.cast import Answer, Front
from tests.machines import TOKEN, post
from tests.visitors import Browser, Page

AUTHORIZE = "/oauth/device/authorize"
VERIFY = "/oauth/device/verify"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLI = "ostiary-cli"


def ask(front: Front, peer: str = "203.0.113.7", **form: str) -> Answer:
    """Send a device authorization request as the command line."""
    return post(front, AUTHORIZE, {"client_id": CLI, **form}, peer=peer, user_agent="ostiary-cli/1")


def begin(front: Front, **form: str) -> dict[str, Any]:
    answer = ask(front, **form)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def fetch(front: Front, code: str, client_id: str = CLI, **form: str) -> Answer:
    """Poll the token endpoint with the device code."""
    return post(front, TOKEN, {"grant_type": GRANT, "device_code": code, "client_id": client_id, **form})


def enter(browser: Browser, code: str) -> Page:
    return browser.enter(VERIFY, {"user_code": code})


def decide(browser: Browser, code: str, decision: str, organization: str = "") -> Page:
    fields = {"user_code": code, "decision": decision, "organization": organization}
    return browser.enter(VERIFY, fields)
