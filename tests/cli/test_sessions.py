"""`ostiary session …`: output as text and as JSON."""

import json
from typing import Any

import pytest

from tests.servers import Ostiary
from tests.signers import login

pytestmark = pytest.mark.full


def begin(service: Ostiary) -> Any:
    import time

    from ostiary.core.instant import SECOND

    body = {"display_name": "Session CLI", "credential": {"kind": "key_file", "algorithm": "EdDSA"}}
    file = service.call("POST", "/v1/service-accounts", body).json()["secret"]
    token = login(file["private_key"], file["key_id"], int(time.time()) * SECOND)
    return service.call("POST", "/v1/sessions", {"token": token}).json()["session"]


def test_sessions_are_listed_and_revoked(service: Ostiary) -> None:
    """CLI breaks: a session is not listed with what tells it from others, or several cannot be ended at once."""
    one, two = begin(service), begin(service)
    lines = service.command("session", "list", COLUMNS="200").stdout.splitlines()
    assert lines[0].split() == [
        "ID",
        "KIND",
        "OWNER",
        "CLIENT",
        "CREATED",
        "LAST",
        "USED",
        "EXPIRES",
        "ADDRESS",
    ]
    shown = next(line for line in lines if one["id"] in line)
    assert "key file" in shown
    assert "Session CLI" in shown
    assert one["address"] in shown
    ended = service.command("session", "revoke", one["id"], two["id"], "--json").stdout
    assert json.loads(ended) == {"revoked": [one["id"], two["id"]]}
    left = [each["id"] for each in json.loads(service.command("session", "list", "--json").stdout)]
    assert not {one["id"], two["id"]} & set(left)
    service.command("session", "revoke", one["id"])


def test_a_session_that_is_none(service: Ostiary) -> None:
    """CLI breaks: a mistyped id gives no hint where to look."""
    done = service.command("session", "revoke", "ses_nothing", code=1)
    assert "`ostiary session list` shows" in done.stderr
    service.command("session", "revoke", code=2)
    service.command("session", "revoke", "ses_nothing", "--all", code=2)
    service.command("session", "revoke", "--all")
    assert service.command("session", "revoke", "--all").stdout == "There was no session to revoke.\n"
