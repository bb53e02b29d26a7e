"""CLI: output on a terminal: tables that fit, ids that can be copied, confirmation of permanent changes."""

import itertools
import json
from typing import Any

import pytest

from tests.cli.edge import Stranger, on_terminal
from tests.servers import Ostiary

pytestmark = pytest.mark.full

LISTS = [
    ("service-account", "list"),
    ("credential", "list"),
    ("audit", "logs"),
    ("organization", "list"),
    ("project", "list"),
    ("member", "list"),
    ("invitation", "list"),
    ("role", "list"),
    ("scope", "list"),
]

_numbers = itertools.count(1)


def _environment(service: Ostiary) -> dict[str, str]:
    return {"OSTIARY_URL": service.url, "OSTIARY_API_KEY": service.key}


@pytest.fixture
def long_names(service: Ostiary) -> None:
    """Objects with names that are longer and wider than any terminal."""
    number = next(_numbers)
    for name in ("A long display name " * 12, "名前のとても長いアカウント" * 8):
        service.call(
            "POST", "/v1/service-accounts", {"display_name": name, "credential": {"kind": "api_key"}}
        )
        service.call("POST", "/v1/projects", {"name": name, "description": name})
    slug = f"{number}-" + "s" * 50
    service.call("POST", "/v1/organizations", {"name": name, "slug": slug})
    service.call("POST", "/v1/roles", {"name": slug, "description": name, "scopes": ["read:agents"]})
    roles = [{"role": slug}, {"role": "viewer"}]
    service.call("POST", "/v1/invitations", {"email": f"{'e' * 60}@{'acme.' * 20}test", "roles": roles})


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", LISTS, ids=" ".join)
@pytest.mark.usefixtures("long_names")
def test_a_table_fits_and_keeps_its_ids_whole(
    service: Ostiary, command: tuple[str, str], columns: int
) -> None:
    """CLI breaks: on a terminal of 80 or 120 columns a table wraps, a cell is cut, or an id cannot be copied."""
    from rich.cells import cell_len

    plain = _environment(service) | {"NO_COLOR": "1", "TERM": "dumb"}
    code, shown = on_terminal(*command, environment=plain, columns=columns)
    assert code == 0
    assert "…" not in shown.replace("  …", "").replace(" (…", "").replace(":  …", "")
    listed = json.loads(service.command(*command, "--json").stdout)
    own = {"role": "name", "scope": "scope", "audit": "time"}.get(command[0], "id")
    ids = [each[own][:19] if own == "time" else each[own] for each in listed]
    table, records = shown.splitlines(), shown.split("\n\n")
    if not table[0].startswith(f"{own.upper()}:"):
        assert [line for line in table if cell_len(line.rstrip()) > columns] == []
        records = [line for line in table[1:] if line.strip() and not line.startswith("Columns left out: ")]
    assert len(records) == len(ids)
    for identifier, record in zip(ids, records, strict=True):
        assert identifier in record.splitlines()[0]


def test_what_does_not_fit_a_table_is_a_record_each(stranger: Stranger) -> None:
    """CLI breaks: at 80 columns, the audit log does not show the reason of an event, or shows raw JSON."""
    event = {
        "id": "evt_1",
        "time": "2026-01-01T00:00:00.000Z",
        "action": "service_account.updated",
        "outcome": "success",
        "reason": None,
        "address": "203.0.113.9",
        "actor": {"display": "alice@acme.test (API key)"},
        "target": {"display": "A name that is long enough"},
        "details": {
            "changed": ["roles"],
            "before": {"roles": []},
            "after": {"roles": [{"role": "viewer", "on": "prj_1"}, {"role": "developer", "on": "org_1"}]},
            "first_use": True,
        },
    }
    body = {"data": [event, event | {"id": "evt_2", "details": {}}], "next_cursor": None}
    stranger.says((200, "application/json", json.dumps(body).encode()))
    environment = {"OSTIARY_URL": stranger.url, "OSTIARY_API_KEY": "ak-x", "NO_COLOR": "1"}
    code, shown = on_terminal("audit", "logs", environment=environment)
    second = """TIME:    2026-01-01T00:00:00Z
ACTION:  service_account.updated
OUTCOME: success
ACTOR:   alice@acme.test (API key)
TARGET:  A name that is long enough
DETAILS: """
    first = """roles none -> viewer on prj_1; developer on org_1, first_use yes, from
         203.0.113.9
"""
    assert (code, shown) == (0, f"{second}from 203.0.113.9\n\n{second}{first}")
    wide = on_terminal("audit", "logs", environment=environment, columns=200)[1]
    assert ("DETAILS" in wide, "DETAILS:" in wide) == (True, False)


def test_what_kind_it_is_outlasts_when_it_was_made(stranger: Stranger) -> None:
    """CLI breaks: a terminal shows when credentials were made, but has no room for what they are."""
    row = {"id": "cred_1", "name": "Bot", "kind": "client_secret", "last6": "abcdef", "status": "active"}
    times = {"created_at": "2026-01-01T00:00:00Z", "last_used_at": None, "expires_at": None}
    body = {"data": [row | times | {"owner": {"display_name": "Robo"}}], "next_cursor": None}
    stranger.says((200, "application/json", json.dumps(body).encode()))
    environment = {"OSTIARY_URL": stranger.url, "OSTIARY_API_KEY": "ak-x", "NO_COLOR": "1"}
    code, shown = on_terminal("credential", "list", environment=environment)
    assert (code, "client secret" in shown, "left out: CREATED." in shown) == (0, True, True)


@pytest.mark.parametrize("colour", [True, False])
def test_colour_is_for_terminals_that_want_it(service: Ostiary, key: tuple[str, str], colour: bool) -> None:
    """CLI breaks: NO_COLOR is ignored, or states have no colour."""
    environment = _environment(service) | ({} if colour else {"NO_COLOR": "1"})
    listed = on_terminal("credential", "list", environment=environment)[1]
    refused = on_terminal("credential", "show", "cred_nobody", environment=environment)[1]
    assert key[0] in listed
    for text in (listed, refused):
        assert ("\x1b[32m" in text or "\x1b[31m" in text) == colour


@pytest.mark.parametrize(
    "answer, code, status", [("n\n", 1, "active"), ("\x03", 1, "active"), ("y\n", 0, "revoked")]
)
def test_a_person_is_asked_before_a_revocation(
    service: Ostiary, robo: dict[str, Any], key: tuple[str, str], answer: str, code: int, status: str
) -> None:
    """CLI breaks: a key is revoked without confirmation, or the question does not name its owner."""
    asked = on_terminal("credential", "revoke", key[0], environment=_environment(service), answer=answer)
    assert asked[0] == code
    assert f"Revoke {robo['display_name']}'s API key (…{key[1][-6:]})" in asked[1].replace("\n", "")
    assert "Traceback" not in asked[1]
    found = json.loads(service.command("credential", "show", key[0], "--json").stdout)
    assert found["status"] == status


def test_with_yes_nobody_is_asked(service: Ostiary, robo: dict[str, Any], key: tuple[str, str]) -> None:
    """CLI breaks: a command with --yes waits for an answer."""
    code, shown = on_terminal("credential", "revoke", key[0], "--yes", environment=_environment(service))
    assert (code, "[y/N]" in shown) == (0, False)
    assert service.command("service-account", "delete", "--yes", robo["id"]).stdout.endswith("revoked.\n")


def test_an_empty_list_says_how_to_fill_it(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: an empty list shows nothing, or a command that cannot be copied."""
    code, shown = on_terminal(
        "credential", "list", "--service-account", robo["username"], environment=_environment(service)
    )
    assert code == 0
    assert f"\n  ostiary api-key generate --service-account {robo['username']}\n" in shown


def test_a_person_is_asked_before_a_rotation_without_overlap(service: Ostiary, key: tuple[str, str]) -> None:
    """Rotation breaks: a key in use is ended without confirmation."""
    rotate = ("credential", "rotate", key[0], "--overlap", "0")
    code, shown = on_terminal(*rotate, environment=_environment(service), answer="n\n")
    assert (code, "end the old key at once?" in shown.replace("\n", "")) == (1, True)
    assert "needs --yes" in service.command(*rotate, code=2).stderr
    service.command("whoami", OSTIARY_API_KEY=key[1])


def test_several_are_asked_about_in_one_question(service: Ostiary, robo: dict[str, Any]) -> None:
    """CLI breaks: a person confirms the revocation of a key that the question does not name."""
    ids = []
    for name in ("first", "second"):
        made = service.call(
            "POST", f"/v1/service-accounts/{robo['id']}/credentials", {"kind": "api_key", "name": name}
        )
        ids.append(made.json()["credential"]["id"])
    code, shown = on_terminal(
        "credential", "revoke", *ids, environment=_environment(service), columns=200, answer="y\n"
    )
    assert (code, shown.count("[y/N]")) == (0, 1)
    assert "Revoke these 2 credentials permanently?" in shown
    for identifier, name in zip(ids, ("first", "second"), strict=True):
        assert f"{identifier}  {name} (…" in shown
        assert f"{name} (…" in shown.partition("[y/N]")[2]
