"""B8, B9: conflicts with existing names, states and limits; ids and queries without meaning."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ostiary.core.instant import DAY, to_text
from tests.api.bodies import MEMBERS, least
from tests.api.routes import methods_of, queries
from tests.api.scene import CANARY, Scene, is_refused
from tests.cast import NOON, Answer, Front
from tests.http.test_any_endpoint import is_problem

ACCOUNTS = "/v1/service-accounts"


@pytest.fixture
def scene(front: Front) -> Scene:
    return Scene(front)


# Conflicts with existing names, states and limits


def taken(route: str, pointer: str, value: str) -> Callable[[Scene], Answer]:
    return lambda scene: scene.send(route, pointer, value.format(**scene.names))


def after(*before: str, then: str, body: object = None, wait: int = 0) -> Callable[[Scene], Answer]:
    """Send these requests first, each a route, and then the tested request."""

    def act(scene: Scene) -> Answer:
        for route in before:
            done = scene.ask(route, least(route) if route in MEMBERS else None)
            assert done.status < 300, done.body
        scene.front.house.clock.advance(wait)
        return scene.ask(then, body)

    return act


def limited(scene: Scene) -> Answer:
    for _ in range(9):
        assert scene.ask(MAKE_KEY, {"kind": "api_key"}).status == 201
    return scene.ask(MAKE_KEY, {"kind": "api_key"})


def crowded(scene: Scene) -> Answer:
    policy = {"max_credentials_per_organization": 2}
    assert scene.ask("PATCH /v1/organizations/{organization_id}/policies", policy).status == 200
    return scene.ask("POST /v1/api-keys", {})


def last_admin(scene: Scene) -> Answer:
    scene.names["member"] = str(scene.front.house.alice.actor.id)
    return scene.ask("DELETE /v1/members/{member}")


def beyond(route: str, body: dict[str, Any]) -> Callable[[Scene], Answer]:
    """Send the request with a key of Alice that has only write access and `read:agents`."""

    def act(scene: Scene) -> Answer:
        writing = [
            f"write:{noun}" for noun in ("service-accounts", "credentials", "roles", "members", "projects")
        ]
        made = scene.ask("POST /v1/api-keys", {"scopes": [*writing, "read:agents"]}).json()["secret"]
        filled = json.loads(json.dumps(body).replace("ROBO", scene.robo.account.id))
        return scene.front.ask(route.partition(" ")[0], scene.target(route), filled, key=made)

    return act


KEY = "/v1/credentials/{credential}"
ACCOUNT = "/v1/service-accounts/{account}"
MAKE_KEY = f"POST {ACCOUNT}/credentials"
MORE = {"scopes": ["write:agents"]}
STATES: dict[str, tuple[Callable[[Scene], Answer], int, str, dict[str, object]]] = {
    "name taken: username": (taken(f"POST {ACCOUNTS}", "/username", "robo"), 409, "name-taken", {}),
    "name taken: username of a deleted account": (
        after(f"DELETE {ACCOUNT}", then=f"POST {ACCOUNTS}", body={"display_name": "x", "username": "robo"}),
        409, "name-taken", {}),
    "name taken: slug": (taken("POST /v1/organizations", "/slug", "umbrella"), 409, "name-taken", {}),
    "name taken: code": (taken("POST /v1/projects", "/code", "{code}"), 409, "name-taken", {}),
    "name taken: built-in role": (taken("POST /v1/roles", "/name", "viewer"), 409, "name-taken", {}),
    "name taken: own role": (taken("POST /v1/roles", "/name", "{role_name}"), 409, "name-taken", {}),
    "name taken: scope": (taken("POST /v1/scopes", "/scope", "read:agents"), 409, "name-taken", {}),
    "name taken: member": (taken("POST /v1/invitations", "/email", "bob@acme.test"), 409, "name-taken", {}),
    "limit reached": (limited, 409, "limit-reached",
                      {"limit": "max_credentials_per_service_account", "value": 10, "count": 10}),
    "limit reached: organization": (crowded, 409, "limit-reached",
                                    {"limit": "max_credentials_per_organization", "value": 2, "count": 2}),
    "account disabled": (after(f"POST {ACCOUNT}/disable", then=MAKE_KEY, body={"kind": "api_key"}),
                         409, "account-disabled", {}),
    "activate a revoked one": (after(f"POST {KEY}/revoke", then=f"POST {KEY}/activate"), 409, "wrong-state", {}),
    "deactivate a revoked one": (after(f"POST {KEY}/revoke", then=f"POST {KEY}/deactivate"),
                                 409, "wrong-state", {}),
    "change a revoked one": (after(f"POST {KEY}/revoke", then=f"PATCH {KEY}", body={"name": "x"}),
                             409, "wrong-state", {}),
    "delete before it is revoked": (after(then=f"DELETE {KEY}"), 409, "wrong-state", {}),
    "delete too early": (after(f"POST {KEY}/revoke", then=f"DELETE {KEY}"), 409, "too-early",
                         {"earliest": to_text(NOON + DAY)}),
    "delete too early: the last moment": (
        after(f"POST {KEY}/revoke", then=f"DELETE {KEY}", wait=DAY - 1), 409, "too-early",
        {"earliest": to_text(NOON + DAY)}),
    "deleted twice": (after(f"POST {KEY}/revoke", f"DELETE {ACCOUNT}", then=f"DELETE {ACCOUNT}"),
                      404, "not-found", {}),
    "last admin": (last_admin, 409, "last-admin", {}),
    "a built-in role is fixed": (lambda scene: scene.front.ask("PATCH", "/v1/roles/viewer", MORE,
                                 key=scene.front.house.alice_key), 409, "wrong-state", {}),
    "scope beyond one's own: account": (
        beyond(f"POST {ACCOUNTS}", {"display_name": "x", "roles": [{"role": "developer"}]}),
        403, "scope-exceeds-grantor", {}),
    "scope beyond one's own: role of an account": (
        beyond(f"PUT {ACCOUNT}/role-bindings", {"bindings": [{"role": "organization-admin"}]}),
        403, "scope-exceeds-grantor", {}),
    "scope beyond one's own: key": (beyond(MAKE_KEY, {"kind": "api_key"}), 403, "scope-exceeds-grantor", {}),
    "scope beyond one's own: own key": (beyond("POST /v1/api-keys", {}), 403, "scope-exceeds-grantor", {}),
    "scope beyond one's own: wider key": (beyond(f"PATCH {KEY}", MORE), 403, "scope-exceeds-grantor", {}),
    "scope beyond one's own: role": (beyond("POST /v1/roles", {"name": "more"} | MORE),
                                     403, "scope-exceeds-grantor", {"scopes": ["write:agents"]}),
    "scope beyond one's own: wider role": (beyond("PATCH /v1/roles/{role}", MORE),
                                           403, "scope-exceeds-grantor", {"scopes": ["write:agents"]}),
    "scope beyond one's own: member": (beyond("PATCH /v1/members/{member}", {"roles": [{"role": "developer"}]}),
                                       403, "scope-exceeds-grantor", {}),
    "scope beyond one's own: invitation": (
        beyond("POST /v1/invitations", {"email": "x@acme.test", "roles": [{"role": "developer"}]}),
        403, "scope-exceeds-grantor", {}),
    "scope beyond one's own: project": (
        beyond("PUT /v1/projects/{project}/role-bindings",
               {"bindings": [{"principal": "ROBO", "role": "developer"}]}),
        403, "scope-exceeds-grantor", {}),
}  # fmt: skip


@pytest.mark.parametrize("what", STATES)
def test_what_stands_in_the_way(scene: Scene, what: str) -> None:
    """B8 breaks: a conflict has another code, does not say how to resolve it, or repeats the request's values."""
    act, status, code, told = STATES[what]
    scene.names["code"] = scene.ask("GET /v1/projects/{project}").json()["code"]
    scene.names["role_name"] = scene.ask("GET /v1/roles/{role}").json()["name"]
    answer = act(scene)
    is_refused(answer, status, code)
    body = answer.json()
    assert {name: body[name] for name in told} == told
    if what.startswith("name taken: "):
        assert not {"robo", "umbrella", scene.names["code"], scene.names["role_name"], "read:agents",
                    "bob@acme.test"} & set(body["detail"].rstrip(".").replace(",", "").split())  # fmt: skip


def test_ids_of_another_form(scene: Scene) -> None:
    """B8 breaks: a malformed id causes a server error, or a response other than for an unknown id."""
    other = ("x", "0", "sa_", "cred_", "usr_", "null", "*", "x" * 4000, "sa_%F0%9F%98%80", "%E2%80%8B", "a@b", "@",
             "sa_01KAVQ00000000000000000000", "'", "1%20OR%201", "%FF", scene.robo.account.display_name)  # fmt: skip
    names, before = scene.names, scene.state()
    for path, methods in methods_of(scene.front).items():
        parameters = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        if not parameters or "authorize" in path:
            continue
        for method in sorted(methods):
            route = f"{method} {path}"
            if route == "PUT /v1/access-rules/{name}":
                continue  # makes the rule; its name is a field
            for each in other:
                scene.names = {**names, parameters[0]: each}
                is_refused(scene.ask(route, least(route) if route in MEMBERS else None), 404, "not-found")
    scene.names = names
    assert scene.state() == before


# Queries


def taking(member: str) -> list[str]:
    return [route for route, members in queries().items() if member in members]


def test_members_of_a_query_that_nobody_knows(scene: Scene) -> None:
    """B9 breaks: a misspelt filter is ignored, and the client takes the whole list for a part of it."""
    for route in queries():
        for query, pointer in (("colour=red", "/colour"), ("Limit=1", "/Limit"), ("a/b=", "/a~1b"), ("x", "/x"),
                               ("limit%5B%5D=1", "/limit[]")):  # fmt: skip
            answer = scene.ask(route, query=query)
            is_refused(answer, 422, "validation-failed", (pointer, "unknown-field"))
        both = scene.ask(route, query=f"{CANARY[:9]}=1&b={CANARY}")
        fields = [(f"/{name}", "unknown-field") for name in (CANARY[:9], "b")]
        is_refused(both, 422, "validation-failed", *fields)


@pytest.mark.promise("P7")
def test_a_secret_in_a_query(scene: Scene) -> None:
    """P7, B2 break: a key in a URL is accepted, or repeated in the response."""
    secret = scene.front.house.alice_key
    for route in queries():
        for query in (f"token={secret}", f"ACCESS_TOKEN={secret}", "api_key="):
            is_refused(scene.ask(route, query=query), 400, "invalid-request")
        for query in (f"{secret}=1", f"x={secret}", f"limit={secret}", f"cursor={secret}"):
            answer = scene.ask(route, query=query)
            assert answer.status in (400, 422)
            assert secret[35:-6] not in answer.body.decode()


def test_pages_of_no_size(scene: Scene) -> None:
    """B8 breaks: a page can have any size, or an invalid limit is interpreted."""
    assert len(taking("limit")) >= 9
    for route in taking("limit"):
        for limit in ("0", "201", "-1", "x", "1.5", "", "9" * 30, "%D9%A3", "1e2", "+1", "%201", "0x1"):
            answer = scene.ask(route, query=f"limit={limit}")
            is_refused(answer, 422, "validation-failed", ("/limit", "invalid"))
        assert scene.ask(route, query="limit=200").status == 200


def test_forged_cursors(scene: Scene) -> None:
    """B8 breaks: a forged cursor is accepted or causes a server error. `test_foreign_ids` tests stolen cursors."""
    house = scene.front.house
    house.account("Second")
    good = scene.ask(f"GET {ACCOUNTS}", query="limit=1").json()["next_cursor"]
    swapped = ("A" if good[0] != "A" else "B") + good[1:]
    for route in taking("cursor"):
        for cursor in (
            "",
            "x",
            "!",
            "A" * 40,
            "A" * 8000,
            "%C3%A9",
            "=",
            "==",
            good[:-2],
            good + "AAAA",
            swapped,
        ):
            is_refused(scene.ask(route, query=f"cursor={cursor}"), 400, "invalid-cursor")


FILTERS = {
    "since > until": ("since=2026-11-22T00:00:01Z&until=2026-11-22T00:00:00Z", ["/since"]),
    "since > until: by its zone": ("since=2026-11-22T00:00:00-01:00&until=2026-11-22T00:30:00Z", ["/since"]),
    "since no time": ("since=yesterday", ["/since"]),
    "since empty": ("since=", ["/since"]),
    "since a space for its plus": ("since=2026-11-22T00:00:00+01:00", ["/since"]),
    "until without a zone": ("until=2026-11-22T00:00:00", ["/until"]),
    "unknown filter": ("filter=everything-there-is", ["/filter"]),
    "empty filter": ("filter=", ["/filter"]),
    "unknown action": ("action=credential.eaten", ["/action"]),
    "unknown order": ("order=random-order", ["/order"]),
    "unknown filter field": ("colour=red", ["/colour"]),
    "filter field in another case": ("Actor=x", ["/Actor"]),
    "all at once": ("since=x&until=y&filter=z&action=a&order=o", ["/since", "/until", "/filter", "/action", "/order"]),
}  # fmt: skip


@pytest.mark.parametrize("what", FILTERS)
def test_filters_of_the_audit_log_that_mean_nothing(scene: Scene, what: str) -> None:
    """B9 breaks: a filter with an invalid value shows all events."""
    query, where = FILTERS[what]
    answer = scene.ask("GET /v1/audit-events", query=query)
    is_problem(answer, 422, "validation-failed")
    assert sorted(each["pointer"] for each in answer.json()["errors"]) == sorted(where)
    assert "everything-there-is" not in answer.body.decode()


def test_a_long_value_in_a_query(scene: Scene) -> None:
    """CLI breaks: the response is not a problem document, or repeats the whole value that was sent."""
    answer = scene.ask(f"GET {ACCOUNTS}", query=f"username={CANARY * 3}")
    is_refused(answer, 422, "validation-failed", ("/username", "invalid"))
