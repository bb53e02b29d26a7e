"""Responses of the management API: secrets shown once, pages, filters and events of the audit log."""

import json
from typing import Any

import pytest

from ostiary.core.instant import HOUR, SECOND, to_text
from ostiary.services import credentials
from ostiary.storage import directory as directory_rows
from tests.cast import NOON, Answer, Front

ACCOUNTS = "/v1/service-accounts"


def ask(front: Front, method: str, target: str, body: object = None, **more: Any) -> Answer:
    return front.ask(method, target, body, key=front.house.alice_key, **more)


@pytest.mark.promise("P19")
def test_a_credential_of_one_target_does_not_manage_the_organization(front: Front) -> None:
    """P19 breaks: an admin's key that is limited to a project or resources acts on the whole organization."""
    house = front.house
    house.store.write_on((), directory_rows.insert_project, "prj_one", house.acme.id, "one", "One")
    admin = house.account(roles=("organization-admin",))
    for spec in ({"project": "one"}, {"resources": ("agents/*",)}):
        key = house.key(admin, **spec).secret.reveal()
        for method, target in (("GET", ACCOUNTS), ("POST", ACCOUNTS), ("POST", "/v1/verify")):
            answer = front.ask(method, target, {}, key=key)
            assert (answer.status, answer.json()["code"]) == (403, "insufficient-permissions"), spec
        assert front.ask("GET", "/v1/capabilities", key=key).status == 200


@pytest.mark.promise("P7")
def test_a_secret_is_in_the_one_answer_that_made_it(front: Front) -> None:
    """P7 breaks: a secret is shown again, or the response can be cached."""
    body = {"display_name": "Robo", "credential": {"kind": "api_key", "name": "CI"}}
    answer = ask(front, "POST", ACCOUNTS, body)
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert made.keys() == {"service_account", "credential", "secret"}
    random = made["secret"][35:-6]
    key, account = made["credential"]["id"], made["service_account"]["id"]
    assert made["credential"]["display"] == f"{made['secret'][:35]}…{made['secret'][-6:]}"
    for method, target in (
        ("GET", f"/v1/credentials/{key}"),
        ("GET", "/v1/credentials"),
        ("GET", "/v1/api-keys"),
        ("GET", f"{ACCOUNTS}/{account}/credentials"),
        ("GET", f"{ACCOUNTS}/{account}"),
        ("GET", "/v1/audit-events"),
        ("POST", f"/v1/credentials/{key}/revoke"),
    ):
        shown = ask(front, method, target)
        assert shown.status == 200
        assert shown.headers["cache-control"] == "no-store"
        assert random not in shown.body.decode()
    none = ask(front, "POST", ACCOUNTS, {"display_name": "Robo", "credential": None}).json()
    assert none.keys() == {"service_account"}


# Pages


def test_pages_of_a_list(front: Front) -> None:
    """API breaks: following `next_cursor` repeats or omits a row, or does not end."""
    for number in range(5):
        front.house.clock.advance(SECOND)
        front.house.account(f"Account {number}")
    names: list[str] = []
    target = f"{ACCOUNTS}?limit=2"
    cursor: str | None = ""
    sizes = []
    while cursor is not None:
        page = ask(front, "GET", target + (f"&cursor={cursor}" if cursor else "")).json()
        names += [each["display_name"] for each in page["data"]]
        sizes.append(len(page["data"]))
        cursor = page["next_cursor"]
    assert names == [f"Account {number}" for number in (4, 3, 2, 1, 0)]
    assert sizes == [2, 2, 1]
    assert ask(front, "GET", f"{ACCOUNTS}?limit=5").json()["next_cursor"] is None
    found = ask(front, "GET", f"{ACCOUNTS}?username=account-3").json()["data"]
    assert [each["display_name"] for each in found] == ["Account 3"]


# The audit log


def test_filters_of_the_audit_log(front: Front) -> None:
    """B9 breaks: a filter omits matching events, or shows others."""
    house = front.house
    robo = house.account()
    key = house.key(robo)
    key_id = key.listed.credential.id
    house.clock.advance(HOUR)
    house.store.write(credentials.revoke, house.alice, key_id)
    front.ask("GET", "/v1/capabilities", key=key.secret.reveal())
    front.write_counts()

    def actions(query: str) -> list[str]:
        answer = ask(front, "GET", f"/v1/audit-events?{query}")
        assert answer.status == 200
        return [each["action"] for each in answer.json()["data"]]

    alice = house.alice.actor
    everything = actions("order=oldest&limit=200")
    assert everything == actions("limit=200")[::-1]
    assert actions("filter=credentials") == ["credential.revoked", "credential.created", "credential.created"]
    assert actions("filter=auth") == ["credential.refused"]
    assert actions("filter=auth&action=credential.revoked") == []
    assert actions("filter=credentials&action=credential.revoked") == ["credential.revoked"]
    mine = ["credential.refused", "credential.revoked", "credential.created"]
    assert actions(f"target={key_id}") == mine
    for actor in (alice.id, alice.credential_id, "alice@acme.test%20(API%20key)"):
        found = actions(f"actor={actor}")
        assert "credential.revoked" in found
        assert "credential.refused" not in found
    assert actions(f"actor={robo.account.id}") == ["credential.refused"]
    later, end = to_text(NOON + HOUR), to_text(NOON + HOUR + 1000)
    assert actions(f"since={later}") == mine[:2]
    assert actions(f"until={later}") == [each for each in everything[::-1] if each not in mine[:2]]
    assert actions(f"since={later}&until={end}") == mine[:2]
    assert actions(f"since={later}&until={later}") == []


def test_the_form_of_an_event(front: Front) -> None:
    """API breaks: an event does not say who did what, to which object, and from where."""
    headers = {"user-agent": "curl/8"}
    made = ask(front, "POST", "/v1/api-keys", {"name": "CI"}, headers=headers)
    event = ask(front, "GET", "/v1/audit-events?limit=1").json()["data"][0]
    alice = front.house.alice.actor
    credential = made.json()["credential"]
    assert event.pop("id").startswith("evt_")
    assert event.pop("details")["last6"] == credential["last6"]
    assert event == {
        "time": to_text(NOON),
        "action": "credential.created",
        "actor": {
            "type": "user",
            "id": alice.id,
            "display": "alice@acme.test (API key)",
            "credential_id": alice.credential_id,
            "credential_kind": "api_key",
            "token_id": None,
        },
        "target": {"type": "credential", "id": credential["id"], "display": f"CI (…{credential['last6']})"},
        "outcome": "success",
        "reason": "",
        "address": "192.0.2.1",
        "user_agent": "curl/8",
        "request_id": made.headers["x-request-id"],
    }


@pytest.mark.promise("P7")
def test_a_user_agent_that_carries_a_key_is_not_kept(front: Front) -> None:
    """P7 breaks: a key in a user agent is stored in the audit log, in whole or in part."""
    key = front.house.alice_key
    random = key[35:-6]
    for padding in (0, 100, 130, 160, 190):
        fields = {"user-agent": "x" * padding + " " + key}
        assert ask(front, "POST", "/v1/api-keys", {}, headers=fields).status == 201
        log = json.dumps(ask(front, "GET", "/v1/audit-events?limit=1").json())
        assert not [n for n in range(len(random) - 11) if random[n : n + 12] in log], padding
