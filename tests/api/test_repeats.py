"""Repeated requests, and requests that conflict with a concurrent change: Idempotency-Key, ETag, If-Match."""

import json

from ostiary.core.model import Standing
from ostiary.services.credentials import create_direct
from ostiary.services.issuance import CredentialSpec
from ostiary.storage import credentials
from ostiary.storage.store import Tx
from tests.api.bodies import least
from tests.api.routes import HOT, NO_CALLER
from tests.api.scene import Scene
from tests.api.test_matrix import table
from tests.api.test_recorded import ready
from tests.cast import Front
from tests.services.questions import all_rows

CREATE = ("POST", "/v1/service-accounts")
BODY = {"display_name": "CI", "credential": {"kind": "api_key"}}


def test_a_repeat_gets_the_first_answer_without_the_secret(front: Front) -> None:
    """API breaks: a request that is sent twice creates two objects, or shows the secret twice."""
    key, again = front.house.alice_key, {"idempotency-key": "one"}
    first = front.ask(*CREATE, BODY, key=key, headers=again)
    second = front.ask(*CREATE, BODY, key=key, headers=again)
    assert (first.status, second.status) == (201, 201)
    assert first.json()["secret"].startswith("ak-")
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json() == first.json() | {"secret": None}
    assert len(front.ask("GET", "/v1/service-accounts", key=key).json()["data"]) == 1


def test_a_key_is_for_one_request_of_one_caller(front: Front) -> None:
    """API breaks: the stored response is returned to another request, or to another caller."""
    house = front.house
    again = {"idempotency-key": "one"}
    assert front.ask(*CREATE, BODY, key=house.alice_key, headers=again).status == 201
    other = front.ask(*CREATE, {"display_name": "Other"}, key=house.alice_key, headers=again)
    assert (other.status, other.json()["code"]) == (422, "idempotency-mismatch")
    elsewhere = front.ask("POST", "/v1/api-keys", BODY | {}, key=house.alice_key, headers=again)
    assert elsewhere.status == 422
    charlie = front.ask(*CREATE, BODY, key=house.charlie_key, headers=again)
    assert charlie.status == 201
    assert "idempotency-replayed" not in charlie.headers
    house.clock.advance(24 * 3600 * 1_000_000)
    assert front.ask(*CREATE, {"display_name": "Other"}, key=house.alice_key, headers=again).status == 201


def test_an_answer_is_the_credentials_that_asked(front: Front) -> None:
    """P19, P1 break: a narrower key of the same user, or a key that has ended, reads a broader key's response."""
    house = front.house
    again = {"idempotency-key": "one"}
    boss = front.ask("POST", "/v1/api-keys", {}, key=house.alice_key).json()
    assert front.ask(*CREATE, BODY, key=boss["secret"], headers=again).status == 201
    narrow = {"access_level": "fine_grained", "scopes": ["read:agents"]}
    limited = front.ask("POST", "/v1/api-keys", narrow, key=house.alice_key).json()["secret"]
    assert front.ask(*CREATE, BODY, key=limited, headers=again).status == 403

    def revoke_unannounced(tx: Tx) -> None:
        credentials.update(tx, boss["credential"]["id"], {"revoked_at": house.clock.now})

    house.store.write_on((), revoke_unannounced)
    assert front.ask(*CREATE, BODY, key=boss["secret"], headers=again).status == 401


def test_no_write_ignores_a_tag(front: Front) -> None:
    """B8 breaks: If-Match is ignored, or the write happens although the condition failed."""
    house = front.house
    checked = 0
    stale = [("if-match", '"stale"')]
    for method, path in table():
        route = f"{method} {path}"
        if method in {"GET", "OPTIONS"} or path in HOT or route in NO_CALLER:
            continue
        scene, body = ready(front, route)
        before = all_rows(house)
        for fields in (stale, [*stale, ("if-match", 'W/"other", "third"')]):
            answer = scene.ask(route, body, headers=fields)
            assert (answer.status, answer.json()["code"]) == (412, "precondition-failed"), route
        assert all_rows(house) == before, route
        checked += 1
    assert checked > 30


def test_every_tag_that_is_told_fits(front: Front) -> None:
    """API breaks: a tag that was just read is refused as stale, in one header or in two."""
    scene = Scene(front)
    checked = 0
    for method, path in table():
        if method not in ("PATCH", "PUT"):
            continue
        for fields in (lambda tag: [tag], lambda tag: ['"old"', tag], lambda tag: [f'"old", W/{tag}']):
            tag = scene.ask(f"GET {path}").headers["etag"]
            tags = [("if-match", each) for each in fields(tag)]
            answer = scene.ask(f"{method} {path}", least(f"{method} {path}"), headers=tags)
            assert answer.status == 200, (path, answer.body)
        checked += 1
    assert checked > 8


def test_who_may_not_is_told_that_and_not_what_the_tag_says(front: Front) -> None:
    """RFC 9110 §13.2.1 breaks: a 412 tells a viewer that something changed, and the log has no refusal."""
    account = front.house.account().account.id
    bob = front.house.store.write(create_direct, front.house.bob, CredentialSpec()).secret.reveal()
    answer = front.ask("DELETE", f"/v1/service-accounts/{account}", key=bob, headers={"if-match": '"stale"'})
    assert answer.status == 403


def test_a_refusal_is_not_kept(front: Front) -> None:
    """API breaks: a request that was refused once stays refused for a day."""
    key, again = front.house.alice_key, {"idempotency-key": "one"}
    body = {"display_name": "CI", "roles": [{"role": "nobody"}]}
    assert front.ask(*CREATE, body, key=key, headers=again).status == 422
    front.ask("POST", "/v1/roles", {"name": "nobody", "scopes": []}, key=key)
    assert front.ask(*CREATE, body, key=key, headers=again).status == 201
    for keys in (["x" * 256], [""], ["é"], ["one", "two"], ["one", "one"]):
        fields = [("idempotency-key", each) for each in keys]
        assert front.ask(*CREATE, BODY, key=key, headers=fields).status == 400, keys


def test_a_stale_tag_changes_nothing(front: Front) -> None:
    """B8 breaks: two people edit concurrently, and one never learns that the other's change was overwritten."""
    key = front.house.alice_key
    made = front.ask("POST", "/v1/projects", {"name": "Alpha"}, key=key).json()
    address = f"/v1/projects/{made['id']}"
    tag = front.ask("GET", address, key=key).headers["etag"]
    changed = front.ask("PATCH", address, {"name": "Beta"}, key=key, headers={"if-match": tag})
    assert changed.status == 200
    stale = front.ask("PATCH", address, {"name": "Gamma"}, key=key, headers={"if-match": tag})
    assert (stale.status, stale.json()["code"]) == (412, "precondition-failed")
    assert front.ask("DELETE", address, key=key, headers={"if-match": tag}).status == 412
    assert front.ask("GET", address, key=key).json()["name"] == "Beta"
    assert front.ask("DELETE", address, key=key, headers={"if-match": "*"}).status == 204


def test_a_role_that_somebody_else_gave_meanwhile_is_not_lost(front: Front) -> None:
    """API breaks: two people add roles concurrently, and one of the roles is silently lost."""
    key, account = front.house.alice_key, front.house.account().account.id
    front.ask("POST", "/v1/projects", {"name": "Alpha", "code": "alpha"}, key=key)
    for address, member in (
        (f"/v1/service-accounts/{account}/role-bindings", {}),
        ("/v1/projects/alpha/role-bindings", {"principal": account}),
    ):
        tag = front.ask("GET", address, key=key).headers["etag"]

        def give(
            role: str, address: str = address, member: dict[str, str] = member, tag: str = tag
        ) -> tuple[int, int]:
            body = {"bindings": [member | {"role": role}]}
            done = front.ask("PUT", address, body, key=key, headers={"if-match": tag})
            return done.status, len(front.ask("GET", address, key=key).json()["bindings"])

        assert give("viewer")[0] == 200
        assert give("resource-server") == (412, 1)


def test_use_does_not_change_a_tag(front: Front) -> None:
    """API breaks: a key that is in use can never be edited with If-Match."""
    key = front.house.alice_key
    robo = front.house.key(front.house.account())
    address = f"/v1/credentials/{robo.listed.credential.id}"
    tag = front.ask("GET", address, key=key).headers["etag"]
    front.ask("GET", "/v1/capabilities", key=robo.secret.reveal())
    front.write_counts()
    seen = front.ask("GET", address, key=key)
    assert seen.json()["last_used_at"] is not None
    assert seen.headers["etag"] == tag


def test_the_operator_names_the_organization_it_acts_in(front: Front) -> None:
    """Tenancy breaks: the operator cannot help a customer, acts unseen, or a customer reaches another organization."""
    house = front.house
    there = f"organization={house.umbrella.id}"
    made = front.ask("POST", f"/v1/service-accounts?{there}", {"display_name": "Help"}, key=house.alice_key)
    assert made.json()["service_account"]["organization"] == house.umbrella.id
    log = front.ask("GET", "/v1/audit-events?limit=1", key=house.charlie_key).json()["data"][0]
    assert (log["action"], log["actor"]["display"]) == (
        "service_account.created",
        "alice@acme.test (API key)",
    )
    for path in (
        "/v1/service-accounts",
        "/v1/projects",
        "/v1/members",
        "/v1/audit-events",
        "/v1/credentials",
    ):
        refused = front.ask("GET", f"{path}?organization={house.acme.id}", key=house.charlie_key)
        assert (refused.status, refused.json()["code"]) == (404, "not-found"), path
    assert front.ask("GET", f"/v1/projects?{there}", key=house.charlie_key).status == 200
    # The slug works too. `-` is the organization in which the caller acts.
    for path in ("-", house.umbrella.slug, f"-?organization={house.umbrella.slug}"):
        key = house.alice_key if "?" in path else house.charlie_key
        found = front.ask("GET", f"/v1/organizations/{path}", key=key)
        assert found.json()["id"] == house.umbrella.id
    assert front.ask("GET", "/v1/organizations/acme", key=house.charlie_key).status == 404


def test_a_caller_that_ended_while_it_waited_changes_nothing(front: Front) -> None:
    """P1 breaks: a request is carried out although its credential was revoked while it waited."""
    house = front.house
    assert front.ask("GET", "/v1/capabilities", key=house.alice_key).status == 200
    standing = front.facts.standing(house.alice_key[3:35])
    assert isinstance(standing, Standing)

    def revoke_unannounced(tx: Tx) -> None:
        credentials.update(tx, standing.credential_id, {"revoked_at": house.clock.now})

    house.store.write_on((), revoke_unannounced)
    refused = front.ask(*CREATE, BODY, key=house.alice_key)
    assert refused.status == 401
    assert "ak-" not in json.dumps(refused.json())


def test_lists_refuse_filters_that_they_do_not_know(front: Front) -> None:
    """API breaks: an unknown filter is ignored, and the client takes the whole list for a part of it."""
    for path in ("/v1/credentials?state=revoked", "/v1/projects?name=x", "/v1/members?limit=1&name=a"):
        answer = front.ask("GET", path, key=front.house.alice_key)
        assert (answer.status, answer.json()["errors"][0]["code"]) == (422, "unknown-field"), path


def test_any_good_credential_may_ask_for_agents(front: Front) -> None:
    """System 5 breaks: an account without a role gets no response at the documented endpoint."""
    robo = front.house.key(front.house.account(roles=()), resources=("agents/1",)).secret.reveal()
    for headers in ({"x-api-key": robo}, {"api-key": robo}, {"authorization": f"ApiKey {robo}"}):
        answer = front.ask("GET", "/v1/agents", headers=headers)
        assert (answer.status, answer.json()) == (200, {"data": [], "next_cursor": None})
