"""P5 (a): every change and refusal of the API is in the audit log before its response, or does not happen."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ostiary.core.instant import DAY
from ostiary.core.oauth import BUILT_IN
from ostiary.services import consents
from ostiary.services.consents import ConsentRequest
from ostiary.services.credentials import create_direct
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import sessions
from ostiary.storage.audit import Recorded
from tests.api.bodies import MEMBERS, least
from tests.api.routes import HOT, NO_CALLER, methods_of
from tests.api.scene import Scene
from tests.cast import Answer, Front, House
from tests.http.test_any_endpoint import is_problem
from tests.services.questions import all_rows, events

_numbers = itertools.count()
REVOKE_ALL = "POST /v1/sessions/revoke-all"

pytestmark = pytest.mark.promise("P5")

# The events of each write, in order, and the object of the last event: a name in the path, or the new object
RECORDED = """
POST   /v1/organizations                               organization.created              made
PATCH  /v1/organizations/{organization_id}             organization.updated              organization_id
PATCH  /v1/organizations/{organization_id}/policies    policies.updated                  organization_id
POST   /v1/projects                                    project.created                   made
PATCH  /v1/projects/{project}                          project.updated                   project
DELETE /v1/projects/{project}                          project.deleted                   project
PUT    /v1/projects/{project}/role-bindings            project.roles_changed             project
PATCH  /v1/members/{member}                            member.roles_changed              member
DELETE /v1/members/{member}                            member.removed                    member
POST   /v1/invitations                                 invitation.created                invitation
DELETE /v1/invitations/{invitation}                    invitation.deleted                invitation
POST   /v1/roles                                       role.created                      made
PATCH  /v1/roles/{role}                                role.updated                      role
DELETE /v1/roles/{role}                                role.deleted                      role
POST   /v1/scopes                                      scope.created                     made
DELETE /v1/scopes/{scope}                              scope.deleted                     scope
POST   /v1/service-accounts                            service_account.created           service_account
PATCH  /v1/service-accounts/{account}                  service_account.updated           account
DELETE /v1/service-accounts/{account}                  credential.revoked,service_account.deleted account
POST   /v1/service-accounts/{account}/disable          service_account.disabled          account
POST   /v1/service-accounts/{account}/enable           service_account.enabled           account
PUT    /v1/service-accounts/{account}/role-bindings    service_account.roles_changed     account
POST   /v1/service-accounts/{account}/credentials      credential.created                credential
POST   /v1/api-keys                                    credential.created                credential
PATCH  /v1/credentials/{credential}                    credential.updated                credential
DELETE /v1/credentials/{credential}                    credential.deleted                credential
POST   /v1/credentials/{credential}/deactivate         credential.deactivated            credential
POST   /v1/credentials/{credential}/activate           credential.activated              credential
POST   /v1/credentials/{credential}/revoke             credential.revoked                credential
POST   /v1/credentials/{credential}/rotate             credential.rotated                credential
POST   /v1/credentials/{credential}/rotation           credential.rotation_completed     credential
POST   /v1/credentials/import                          credentials.imported              account
POST   /v1/import-prefixes                             import_prefix.created             made
DELETE /v1/import-prefixes/{prefix}                    import_prefix.deleted             prefix
POST   /v1/members/{member}/password-reset             password_reset.created            member
POST   /v1/sessions/revoke-all                         session.revoked                   own
DELETE /v1/sessions/{session}                          session.revoked                  session
POST   /v1/clients                                     client.created                    made
PATCH  /v1/clients/{client}                            client.updated                    client
DELETE /v1/clients/{client}                            consent.withdrawn,client.deleted  client
POST   /v1/clients/{client}/disable                    client.disabled                   client
POST   /v1/clients/{client}/enable                     client.enabled                    client
DELETE /v1/grants/{grant}                              consent.withdrawn                 grant
PUT    /v1/access-rules/{name}                         access_rule.written               name
DELETE /v1/access-rules/{name}                         access_rule.deleted               name
"""

BEFORE = {
    "POST /v1/clients/{client}/enable": "POST /v1/clients/{client}/disable",
    "POST /v1/service-accounts/{account}/enable": "POST /v1/service-accounts/{account}/disable",
    "POST /v1/credentials/{credential}/activate": "POST /v1/credentials/{credential}/deactivate",
    "DELETE /v1/credentials/{credential}": "POST /v1/credentials/{credential}/revoke",
    "POST /v1/credentials/{credential}/rotation": "POST /v1/credentials/{credential}/rotate",
}
"""What has to be done first, so that there is something to do."""


def table() -> dict[str, tuple[list[str], str]]:
    lines = [line.split() for line in RECORDED.strip().splitlines()]
    return {f"{method} {path}": (actions.split(","), about) for method, path, actions, about in lines}


@pytest.fixture
def everywhere(house: House, tmp_path: Path) -> Iterator[Front]:
    """Return the application on each database."""
    found = Front(house, tmp_path)
    yield found
    found.close()


def ready(front: Front, route: str) -> tuple[Scene, object]:
    """Return objects to act on, and a body that changes one."""
    scene = Scene(front, username=None)
    scene.names["scope"] = "write:plugins"
    if route == REVOKE_ALL:
        scene.ask(REVOKE_ALL)  # what other routes began
        scene.names["own"] = _session(front.house)
    if (before := BEFORE.get(route)) is not None:
        assert scene.ask(before, least(before) if before in MEMBERS else None).status in (200, 201)
    if route == "DELETE /v1/credentials/{credential}":
        front.house.clock.advance(DAY)
    return scene, changing(scene, route)


def changing(scene: Scene, route: str) -> object:
    """Return a body that changes the object."""
    if route.startswith("PUT /v1/projects"):
        return {"bindings": [{"principal": scene.robo.account.id, "role": "viewer"}]}
    digest = f"{next(_numbers):064x}"
    return least(route, **scene.given(), digest=digest) if route in MEMBERS else None


def _session(house: House) -> str:
    """Return the id of a session of Alice."""
    asked = ConsentRequest(BUILT_IN["ostiary-cli"], house.acme.id, ("api",), kind="device")
    session = house.store.write(consents.give, house.alice, asked).session_id
    house.store.write_on((), sessions.begin, session, 1)
    return session


def undo(front: Front, route: str) -> None:
    """Restore the catalogue to the state that the cast expects."""
    key = front.house.alice_key
    if route == "DELETE /v1/scopes/{scope}":
        assert front.ask("POST", "/v1/scopes", {"scope": "write:plugins"}, key=key).status == 201
    elif route == "POST /v1/import-prefixes":
        assert front.ask("DELETE", "/v1/import-prefixes/sk_test_", key=key).status == 204
    elif route == "POST /v1/scopes":
        assert front.ask("DELETE", "/v1/scopes/read:new", key=key).status == 204


def made_in(answer: Answer, about: str) -> str:
    body: dict[str, Any] = answer.json()
    inside = body.get("service_account") if about == "service_account" else body.get(about)
    return str((inside or body).get("id") or body.get("scope") or body["prefix"])


def log(front: Front) -> list[Recorded]:
    return events(front.house) + events(front.house, front.house.umbrella.id)


def test_every_write_has_a_line(front: Front) -> None:
    """P5 breaks: a route that writes was added without an entry for its events."""
    writing = {
        f"{method} {path}"
        for path, methods in methods_of(front).items()
        for method in methods - {"GET", "HEAD", "OPTIONS"}
        if path not in HOT and f"{method} {path}" not in NO_CALLER
    }
    assert table().keys() == writing


def test_every_write_leaves_its_event(front: Front) -> None:
    """P5 breaks: a change has no event, or two; or the event lacks the actor, the object or the request."""
    house, alice = front.house, front.house.alice.actor
    for route, (actions, about) in table().items():
        scene, body = ready(front, route)
        before = {each.id for each in log(front)}
        answer = scene.ask(route, body, headers={"user-agent": "curl/8"})
        assert answer.status in (200, 201, 204), (route, answer.body)
        found = [each for each in log(front) if each.id not in before]
        found += [
            each
            for each in (events(house, answer.json()["id"]) if route == "POST /v1/organizations" else [])
            if each.id not in before
        ]
        assert [each.action for each in found] == actions, route
        for event in found:
            assert event.request_id == answer.headers["x-request-id"], route
            assert (event.actor_type, event.actor_id) == ("user", alice.id), route
            assert (event.actor_display, event.actor_credential_id) == (
                "alice@acme.test (API key)", alice.credential_id,
            )  # fmt: skip
            assert (event.outcome, event.reason, event.address) == ("success", "", "192.0.2.1")
            assert event.user_agent == "curl/8"
            assert event.time == house.clock.now
        is_known = about == "own" or "{" + about + "}" in route or about == "account"
        named = scene.names[about] if is_known else made_in(answer, about)
        assert found[-1].target_id == named, route
        undo(front, route)


def test_a_repeat_and_a_change_of_nothing_leave_no_event(front: Front) -> None:
    """P5 breaks: the log has an event for a request that changed nothing."""
    for route in table():
        if not route.startswith(("PATCH", "PUT")) or "access-rules" in route:
            continue  # a rule that is put again is a decision of its own
        scene, body = ready(front, route)
        assert scene.ask(route, body).status == 200
        before = len(log(front))
        assert scene.ask(route, body).status == 200, route
        assert len(log(front)) == before, route
    scene = Scene(front, username="another")
    again = {"idempotency-key": "one"}
    body = {"display_name": "Once"}
    assert scene.ask("POST /v1/service-accounts", body, headers=again).status == 201
    before = len(log(front))
    assert scene.ask("POST /v1/service-accounts", body, headers=again).status == 201
    assert len(log(front)) == before


def refusals(front: Front) -> Iterator[tuple[str, str, str, object, int]]:
    """Return key, route, target and body of requests that are refused with 403, 404 or 409."""
    house, scene = front.house, Scene(front, username=None)  # one for all: what is refused changes nothing
    scene.names["scope"] = "write:plugins"
    bob = house.store.write(create_direct, house.bob, CredentialSpec()).secret.reveal()
    for path, methods in sorted(methods_of(front).items()):
        if path in HOT or not path.startswith("/v1/"):
            continue
        for method in sorted(methods - {"HEAD"}):
            route = f"{method} {path}"
            if route in NO_CALLER:
                continue
            body = changing(scene, route)
            for key in (bob, house.charlie_key):
                yield key, route, scene.target(route), body, 0
            if "{" in path and "/access-rules" not in path:
                unknown = scene.target(route).replace(next(iter_names(scene, path)), "nobody")
                yield house.alice_key, route, unknown, body, 404
    conflicts = {
        "POST /v1/service-accounts": {"display_name": "x", "username": "taken"},
        "POST /v1/projects": {"name": "x", "code": "taken"},
        "POST /v1/roles": {"name": "viewer", "scopes": []},
        "POST /v1/scopes": {"scope": "read:agents"},
        "POST /v1/organizations": {"name": "x", "slug": "umbrella"},
        "POST /v1/invitations": {"email": "bob@acme.test", "roles": []},
        "PATCH /v1/organizations/{organization_id}": {"suspended": True},
        "DELETE /v1/credentials/{credential}": None,
    }
    scene = Scene(front, username="taken")
    assert scene.ask("POST /v1/projects", {"name": "x", "code": "taken"}).status == 201
    for route, body in conflicts.items():
        yield house.alice_key, route, scene.target(route), body, 409


def iter_names(scene: Scene, path: str) -> Iterator[str]:
    for part in path.split("/"):
        if part.startswith("{"):
            yield scene.names[part[1:-1]]


def test_every_refusal_is_in_the_log_before_its_answer(front: Front) -> None:
    """P5 breaks: a refusal has no event, or its response is sent before the event is recorded."""
    statuses = []
    for key, route, target, body, expected in refusals(front):
        organization = front.house.umbrella if key == front.house.charlie_key else front.house.acme
        before = {each.id for each in events(front.house, organization.id)}
        answer, at_start = watched(front, organization.id, route.partition(" ")[0], target, body, key)
        if not expected and answer.status < 400:
            continue  # Bob's or Charlie's to do
        assert answer.status in ((expected,) if expected else (403, 404, 409)), (route, answer.body)
        found = [each for each in at_start if each.id not in before]
        assert [each.action for each in found] == ["request.refused"], route
        [event] = found
        assert event.outcome == "refused"
        assert event.reason
        assert event.request_id == answer.headers["x-request-id"]
        assert event.target_id is None
        method, _, template = route.partition(" ")
        assert event.details == {
            "method": method,
            "route": template,
            "status": answer.status,
            "code": answer.json()["code"],
        }
        statuses.append(answer.status)
    assert {status: statuses.count(status) > 7 for status in set(statuses)} == {
        403: True,
        404: True,
        409: True,
    }


def watched(
    front: Front, organization_id: str, method: str, target: str, body: object, key: str
) -> tuple[Answer, list[Recorded]]:
    """Return the response, and the organization's log at the moment when the response was first sent."""
    door, seen = front.door, []

    class Watched:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def noting(message: Any) -> None:
                if message["type"] == "http.response.start":
                    seen.append(await asyncio.to_thread(events, front.house, organization_id))
                await send(message)

            await door(scope, receive, noting)

    front.door = Watched()  # type: ignore[assignment] # an application around the application
    try:
        return front.ask(method, target, body, key=key), seen[0]
    finally:
        front.door = door


DENY = {
    "sqlite": ["CREATE TRIGGER deny BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'denied'); END"],
    "postgresql": [
        "CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'denied'; END $$",
        "CREATE TRIGGER deny BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION deny()",
    ],
}
ALLOW = {
    "sqlite": ["DROP TRIGGER deny"],
    "postgresql": ["DROP TRIGGER deny ON audit_events", "DROP FUNCTION deny"],
}


def run(front: Front, statements: dict[str, list[str]]) -> None:
    engines = front.house.store.engines
    with engines.writer.begin() as connection:
        for statement in statements[engines.name]:
            connection.execute(sa.text(statement))


def test_without_its_event_no_write_happens(everywhere: Front) -> None:
    """P5 breaks: the audit log refuses the event, but the change is kept or confirmed."""
    front, house = everywhere, everywhere.house
    for route in table():
        scene, body = ready(front, route)
        number, before, seen = house.number.read(), all_rows(house), log(front)
        run(front, DENY)
        try:
            answer = scene.ask(route, body)
        finally:
            run(front, ALLOW)
        is_problem(answer, 503, "audit-unavailable")
        assert "retry-after" in answer.headers
        assert b"denied" not in answer.body
        assert all_rows(house) == before, route
        assert house.number.read() == number, route
        assert log(front) == seen
        again = scene.ask(route, body)
        assert again.status in (200, 201, 204), (route, again.body)
        undo(front, route)


def test_without_its_event_no_refusal_is_told(everywhere: Front) -> None:
    """P5 breaks: the audit log refuses the event, but the refusal is sent as if it were recorded."""
    front = everywhere
    checked = 0
    refused = list(refusals(front))
    run(front, DENY)
    try:
        for key, route, target, body, expected in refused:
            method = route.partition(" ")[0]
            answer = front.ask(method, target, body, key=key)
            if (method == "GET" or route == REVOKE_ALL) and answer.status == 200:
                continue  # Bob's or Charlie's to read, or to end
            is_problem(answer, 503, "audit-unavailable")
            checked += bool(expected)
    finally:
        run(front, ALLOW)
    assert checked > 30
