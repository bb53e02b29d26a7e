"""§3.8 and §3.9: what the management API answers to input that it cannot take; pages; filters of the audit log."""

import json
from typing import Any

import pytest

from ostiary.core.instant import DAY, HOUR, SECOND, to_text
from ostiary.services import credentials
from ostiary.storage import directory as directory_rows
from tests.cast import NOON, Answer, Front

ACCOUNTS = "/v1/service-accounts"


def ask(front: Front, method: str, target: str, body: object = None, **more: Any) -> Answer:
    return front.ask(method, target, body, key=front.house.alice_key, **more)


def pointers(answer: Answer) -> list[tuple[str, str]]:
    return [(each["pointer"], each["code"]) for each in answer.json()["errors"]]


NOT_JSON = (
    b"", b"{", b'{"a":1,}', b"{'a':1}", b'{"a":1} {}', b'\xef\xbb\xbf{"a":1}',
    b'{"display_name":"a","display_name":"a"}', b'{"roles":[{"role":"a","role":"b"}]}',
    b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e999}', b'{"a":9007199254740993}',
    b'{"a":-9007199254740993}', b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", b"[" * 60_000,
)  # fmt: skip
NOT_TEXT = (b'{"a":"\\ud800"}', b'{"\\udfff":1}', b'{"a":"\\u0000"}')
NOT_OBJECTS = (b"null", b"[]", b'"x"', b"1")


@pytest.mark.parametrize("target", [ACCOUNTS, "/v1/api-keys", "/v1/verify"])
def test_json_that_two_parsers_could_read_differently(front: Front, target: str) -> None:
    """§3.8 breaks: a body is read in one of several ways, or is a fault of ours."""
    for raw in NOT_JSON:
        answer = ask(front, "POST", target, raw=raw)
        assert (answer.status, answer.json()["code"]) == (400, "invalid-json"), raw[:60]
    for raw in NOT_TEXT + NOT_OBJECTS:
        answer = ask(front, "POST", target, raw=raw)
        assert (answer.status, answer.json()["code"]) == (422, "validation-failed"), raw[:60]
    deep = b'{"credential":' + b"[" * 31 + b"]" * 31 + b"}"
    assert ask(front, "POST", target, raw=deep).status == 422
    # Brackets in text are no nesting.
    text = json.dumps({"description": '[{"\\' * 100, "credential": "[" * 100, "display_name": "x"})
    assert ask(front, "POST", target, raw=text.encode()).json().get("code") != "invalid-json"


ACCOUNT_ERRORS: list[tuple[dict[str, object], str, str]] = [
    ({"display_name": ""}, "/display_name", "invalid"),
    ({"display_name": "   "}, "/display_name", "invalid"),
    ({"display_name": "x" * 254}, "/display_name", "invalid"),
    ({"display_name": "a\x07b"}, "/display_name", "invalid"),
    ({"display_name": "a\nb"}, "/display_name", "invalid"),
    ({"display_name": "a\u202eb"}, "/display_name", "invalid"),
    ({"display_name": "a\u2066b"}, "/display_name", "invalid"),
    ({"display_name": "a\u200bb"}, "/display_name", "invalid"),
    ({"display_name": 5}, "/display_name", "wrong-type"),
    ({"display_name": None}, "/display_name", "wrong-type"),
    ({"display_name": ["x"]}, "/display_name", "wrong-type"),
    ({"username": "A"}, "/username", "invalid"),
    ({"username": "a"}, "/username", "invalid"),
    ({"username": "-ab"}, "/username", "invalid"),
    ({"username": "a" * 64}, "/username", "invalid"),
    ({"username": "ab\n"}, "/username", "invalid"),
    ({"username": "é́́b"}, "/username", "invalid"),
    ({"description": "x" * 2001}, "/description", "invalid"),
    ({"contact_email": "nobody"}, "/contact_email", "invalid"),
    ({"contact_email": "a@b@c"}, "/contact_email", "invalid"),
    ({"contact_email": "a@b.test\nBcc: c@d"}, "/contact_email", "invalid"),
    ({"contact_email": "a" * 65 + "@b.test"}, "/contact_email", "invalid"),
    ({"contact_email": ""}, "/contact_email", "invalid"),
    ({"access_level": "root"}, "/access_level", "invalid"),
    ({"scopes": ["fly:moon"]}, "/scopes/0", "unknown-scope"),
    ({"scopes": ["read:agents", ""]}, "/scopes/1", "unknown-scope"),
    ({"scopes": "read:agents"}, "/scopes", "wrong-type"),
    ({"scopes": [1]}, "/scopes/0", "wrong-type"),
    ({"scopes": ["read:agents"] * 101}, "/scopes", "invalid"),
    ({"access_level": "full", "scopes": ["read:agents"]}, "/scopes", "contradiction"),
    ({"resources": ["../x"]}, "/resources/0", "invalid"),
    ({"resources": ["*"]}, "/resources/0", "invalid"),
    ({"resources": ["agents/**"]}, "/resources/0", "invalid"),
    ({"roles": [{"role": "king"}]}, "/roles/0/role", "unknown-role"),
    ({"roles": [{}]}, "/roles/0/role", "missing"),
    ({"roles": [{"role": "viewer", "at": "x"}]}, "/roles/0/at", "unknown-member"),
    ({"roles": {}}, "/roles", "wrong-type"),
    ({"extra": 1}, "/extra", "unknown-member"),
    ({"id": "sa_mine"}, "/id", "unknown-member"),
    ({"credential": {}}, "/credential/kind", "missing"),
    ({"credential": {"kind": "password"}}, "/credential/kind", "invalid"),
    ({"credential": {"kind": "api_key", "expires_at": "tomorrow"}}, "/credential/expires_at", "invalid"),
]


@pytest.mark.parametrize(("wrong", "pointer", "code"), ACCOUNT_ERRORS, ids=lambda value: repr(value)[:40])
def test_wrong_fields_of_an_account(front: Front, wrong: dict[str, object], pointer: str, code: str) -> None:
    """§3.8 breaks: a value that means nothing is stored, or its refusal does not say where it stands."""
    answer = ask(front, "POST", ACCOUNTS, {"display_name": "Robo"} | wrong)
    assert answer.status == 422
    assert pointers(answer) == [(pointer, code)]
    assert ask(front, "GET", ACCOUNTS).json()["data"] == []


@pytest.mark.parametrize(
    ("wrong", "pointer", "code"),
    [
        ({"name": ""}, "/name", "invalid"),
        ({"name": "x" * 254}, "/name", "invalid"),
        ({"expires_at": to_text(NOON)}, "/expires_at", "past"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at", "past"),
        ({"expires_at": "2027-01-31T00:00:00"}, "/expires_at", "invalid"),
        ({"expires_at": "2027-02-31T00:00:00Z"}, "/expires_at", "invalid"),
        ({"expires_at": "2027-01-31"}, "/expires_at", "invalid"),
        ({"expires_at": "٢٠٢٧-01-31T00:00:00Z"}, "/expires_at", "invalid"),
        ({"expires_at": "9999-12-31T23:59:59Z"}, "/expires_at", "beyond-policy"),
        ({"expires_at": 1_800_000_000}, "/expires_at", "wrong-type"),
        ({"allowed_ips": ["10.0.0.0/33"]}, "/allowed_ips", "invalid"),
        ({"allowed_ips": ["010.0.0.1"]}, "/allowed_ips", "invalid"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "/allowed_ips", "invalid"),
        ({"allowed_ips": ["10.1"]}, "/allowed_ips", "invalid"),
        ({"allowed_ips": ["fe80::1%eth0"]}, "/allowed_ips", "invalid"),
        ({"allowed_ips": ["localhost"]}, "/allowed_ips", "invalid"),
        ({"allowed_ips": ["10.0.0.0/255.0.0.0"]}, "/allowed_ips", "invalid"),
        ({"allowed_ips": [f"10.0.0.{n}" for n in range(101)]}, "/allowed_ips", "invalid"),
        ({"allowed_ips": "10.0.0.1"}, "/allowed_ips", "wrong-type"),
        ({"scopes": ["fly:moon"]}, "/scopes/0", "unknown-scope"),
        ({"kind": "key_file"}, "/kind", "invalid"),
        ({"secret": "mine"}, "/secret", "unknown-member"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_wrong_fields_of_a_credential(
    front: Front, wrong: dict[str, object], pointer: str, code: str
) -> None:
    """§3.8 breaks: a restriction that is not understood is taken for another, or for none."""
    robo = front.house.account()
    target = f"{ACCOUNTS}/{robo.account.id}/credentials"
    answer = ask(front, "POST", target, {"kind": "api_key"} | wrong)
    assert answer.status == 422
    assert pointers(answer) == [(pointer, code)]
    assert ask(front, "GET", target).json()["data"] == []
    changed = {name: value for name, value in wrong.items() if name not in ("kind", "secret")}
    if changed:
        key = front.house.key(robo, scopes=("read:agents",)).listed.credential.id
        answer = ask(front, "PATCH", f"/v1/credentials/{key}", changed)
        assert answer.status == 422
        assert pointers(answer) == [(pointer, code)]


def test_every_wrong_field_at_once_and_no_value_back(front: Front) -> None:
    """§3 breaks: errors come one at a time, or give back what was sent."""
    body = {"display_name": "", "username": "CANARY", "contact_email": "CANARY", "extra-CANARY": 1}
    answer = ask(front, "POST", ACCOUNTS, body | {"access_level": "CANARY", "scopes": [{"CANARY": 1}]})
    assert {pointer for pointer, _ in pointers(answer)} == {
        "/display_name", "/username", "/contact_email", "/extra-CANARY", "/access_level", "/scopes/0",
    }  # fmt: skip
    assert "CANARY" not in answer.body.decode().replace("/extra-CANARY", "")


def test_a_long_query_value_is_refused_in_the_same_form(front: Front) -> None:
    """§3 breaks: a refusal is no problem document, or gives back the whole value that was sent."""
    value = "canary" * 11
    answer = ask(front, "GET", f"{ACCOUNTS}?username={value}")
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "validation-failed"
    assert value not in answer.body.decode()


def test_states_and_names_that_stand_in_the_way(front: Front) -> None:
    """§3.8 breaks: a conflict has another code, or does not say what to do about it."""
    house = front.house
    robo = house.account(username="robo")
    account = f"{ACCOUNTS}/{robo.account.id}"
    taken = ask(front, "POST", ACCOUNTS, {"display_name": "x", "username": "robo"})
    assert (taken.status, taken.json()["code"]) == (409, "name-taken")
    key = house.key(robo).listed.credential.id
    early = ask(front, "DELETE", f"/v1/credentials/{key}")
    assert (early.status, early.json()["code"]) == (409, "wrong-state")
    assert ask(front, "POST", f"/v1/credentials/{key}/revoke").json()["status"] == "revoked"
    early = ask(front, "DELETE", f"/v1/credentials/{key}")
    assert (early.status, early.json()["code"]) == (409, "too-early")
    assert early.json()["earliest"] == to_text(NOON + DAY)
    for act in ("activate", "deactivate"):
        final = ask(front, "POST", f"/v1/credentials/{key}/{act}")
        assert (final.status, final.json()["code"]) == (409, "wrong-state")
    for _ in range(10):
        assert ask(front, "POST", f"{account}/credentials", {"kind": "api_key"}).status == 201
    full = ask(front, "POST", f"{account}/credentials", {"kind": "api_key"})
    assert full.status == 409
    told = {name: full.json()[name] for name in ("code", "limit", "value", "count")}
    limit = "max_credentials_per_service_account"
    assert told == {"code": "limit-reached", "limit": limit, "value": 10, "count": 10}
    assert ask(front, "POST", f"{account}/disable").json()["status"] == "disabled"
    barred = ask(front, "POST", f"{account}/credentials", {"kind": "api_key"})
    assert (barred.status, barred.json()["code"]) == (409, "account-disabled")
    narrow = ask(
        front, "POST", "/v1/api-keys", {"scopes": ["write:credentials", "write:service-accounts"]}
    ).json()["secret"]
    beyond = front.ask("POST", ACCOUNTS, {"display_name": "x", "roles": [{"role": "viewer"}]}, key=narrow)
    assert (beyond.status, beyond.json()["code"]) == (403, "scope-exceeds-grantor")
    house.clock.advance(DAY)
    assert ask(front, "DELETE", f"/v1/credentials/{key}").status == 204
    assert ask(front, "GET", f"/v1/credentials/{key}").status == 404


@pytest.mark.promise("P19")
def test_a_credential_of_one_target_does_not_manage_the_organization(front: Front) -> None:
    """P19 breaks: a key bound to a project or to resources, though an admin's, acts on the whole organization."""
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
    """P7 breaks: a secret is shown again, or may be kept by a cache."""
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
    """interface.md §4 breaks: following `next_cursor` repeats or leaves out a row, or does not end."""
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


def test_a_cursor_holds_for_its_list_and_its_organization_only(front: Front) -> None:
    """§3.8 breaks: a forged cursor, or one of another list or tenant, is followed."""
    for number in range(3):
        front.house.account(f"Account {number}")
    good = ask(front, "GET", f"{ACCOUNTS}?limit=1").json()["next_cursor"]
    swapped = ("A" if good[0] != "A" else "B") + good[1:]
    forged = ("", "x", "!", good[:-2], good + "AAAA", swapped, "A" * 40)
    for cursor in forged:
        answer = ask(front, "GET", f"{ACCOUNTS}?cursor={cursor}")
        assert (answer.status, answer.json()["code"]) == (400, "invalid-cursor"), cursor
    for target in ("/v1/credentials", "/v1/audit-events", f"{ACCOUNTS}/x/credentials"):
        assert ask(front, "GET", f"{target}?cursor={good}").status == 400
    stranger = front.ask("GET", f"{ACCOUNTS}?cursor={good}", key=front.house.charlie_key)
    assert stranger.status == 400
    for limit in ("0", "201", "-1", "x", "1.5", "", "9" * 30, "%D9%A3"):
        answer = ask(front, "GET", f"{ACCOUNTS}?limit={limit}")
        assert answer.status == 422, limit
        assert pointers(answer) == [("/limit", "invalid")]


# The audit log


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("since=2026-11-22T00:00:01Z&until=2026-11-22T00:00:00Z", "/since"),
        ("since=yesterday", "/since"),
        ("until=2026-11-22T00:00:00", "/until"),
        ("filter=everything", "/filter"),
        ("filter=", "/filter"),
        ("action=credential.eaten", "/action"),
        ("order=random", "/order"),
        ("colour=red", "/colour"),
        ("Actor=x", "/Actor"),
    ],
)
def test_a_filter_that_is_not_understood_is_refused(front: Front, query: str, pointer: str) -> None:
    """§3.9 breaks: a filter that means nothing shows everything."""
    answer = ask(front, "GET", f"/v1/audit-events?{query}")
    assert answer.status == 422
    assert [each for each, _ in pointers(answer)] == [pointer]


def test_filters_of_the_audit_log(front: Front) -> None:
    """§3.9 breaks: a filter leaves out what it asks for, or shows what it does not."""
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
    """interface.md §4 breaks: an event does not say who did what to whom, from where."""
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
    """P7 breaks: a key that somebody put into their user agent stands in the audit log, in whole or in part."""
    key = front.house.alice_key
    random = key[35:-6]
    for padding in (0, 100, 130, 160, 190):
        fields = {"user-agent": "x" * padding + " " + key}
        assert ask(front, "POST", "/v1/api-keys", {}, headers=fields).status == 201
        log = json.dumps(ask(front, "GET", "/v1/audit-events?limit=1").json())
        assert not [n for n in range(len(random) - 11) if random[n : n + 12] in log], padding
