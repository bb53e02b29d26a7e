"""Attacks on tokens, sessions and their endpoints. Each test fails while its vulnerability is open."""

from dataclasses import replace
from typing import Any

import pytest

from ostiary.core.instant import SECOND
from ostiary.services import credentials, projects, service_accounts
from ostiary.services.issuance import CredentialSpec
from ostiary.services.roles import RoleSpec
from tests.api.test_sessions import begun, cookie, login
from tests.cast import Front, House
from tests.machines import (
    BY_ASSERTION,
    CLIENT_CREDENTIALS,
    INTROSPECT,
    REVOKE,
    TOKEN,
    exchange,
    machine,
    name_resource,
    post,
    said,
    token_of,
)
from tests.services.questions import events


def test_one_jwt_at_two_doors(front: Front) -> None:
    """P8 breaks: an assertion that authenticated a client is exchanged again, as a grant."""
    front.house.sign()
    robo = machine(front)
    text = robo.assertion("client")
    token_of(robo.by_key(text))
    assert said(robo.by_key(text)) == "401 invalid_client"
    assert said(robo.by_grant(text)) == "400 invalid_grant"


def test_a_client_assertion_beside_an_exchange_is_used_up(front: Front) -> None:
    """P8 breaks: one jti authenticates a client any number of times."""
    front.house.sign()
    robo = machine(front)
    text = robo.assertion("client")
    extra = {"client_assertion_type": BY_ASSERTION, "client_assertion": text}
    token_of(robo.exchange(robo.api_key, **extra))
    second = robo.exchange(robo.api_key, **extra)
    assert second.status != 200


@pytest.mark.parametrize("by", ["bound key", "session"])
def test_a_role_on_a_project_introspects_no_organization(front: Front, by: str) -> None:
    """P19 breaks: verify:credentials on one project reads every credential, for an operator those of all tenants."""
    house = front.house
    house.sign()
    house.store.write(projects.create, house.alice, "Shop", "shop", "")
    account = house.account(name="Shop server", roles=())
    house.store.write(
        service_accounts.set_role_bindings,
        house.alice,
        account.account.id,
        [RoleSpec("resource-server", "shop")],
    )
    if by == "bound key":
        asker = house.key(account, project="shop").secret.reveal()
    else:
        asker = begun(front, house.key_file(account), project="shop")
    bearer = {"authorization": f"Bearer {asker}"}
    verify = front.ask("POST", "/v1/verify", {"credential": house.charlie_key}, headers=bearer)
    assert verify.status == 403
    for victim in (house.alice_key, house.charlie_key):
        told = post(front, INTROSPECT, {"token": victim}, bearer=asker)
        assert told.json() == {"active": False}


def direct(front: Front, role: str = "viewer") -> tuple[str, str]:
    house = front.house
    who = house.bob if role == "viewer" else house.alice
    made = house.store.write(credentials.create_direct, who, CredentialSpec(name="direct"))
    return made.secret.reveal(), made.listed.credential.id


@pytest.mark.parametrize("what", ["revoke", "deactivate", "rotate", "rename", "delete", "get"])
def test_a_narrow_token_does_nothing_to_its_origin(front: Front, what: str) -> None:
    """P19 breaks: a token with read:agents can revoke or change the key that it came from."""
    house = front.house
    house.sign()
    key, key_id = direct(front)
    narrow = token_of(exchange(front, key, scope="read:agents"))
    bearer = {"authorization": f"Bearer {narrow}"}
    path = f"/v1/credentials/{key_id}"
    match what:
        case "rename":
            answer = front.ask("PATCH", path, {"name": "x"}, headers=bearer)
        case "delete":
            answer = front.ask("DELETE", path, headers=bearer)
        case "get":
            answer = front.ask("GET", path, headers=bearer)
        case "rotate":
            answer = front.ask("POST", f"{path}/rotate", {}, headers=bearer)
        case _:
            answer = front.ask("POST", f"{path}/{what}", headers=bearer)
    print(what, answer.status, answer.body[:300])
    assert answer.status == 403


def test_an_empty_scope_claim_means_nothing(front: Front) -> None:
    """P19 breaks: an assertion with an empty scope gets a token with every scope."""
    front.house.sign()
    robo = machine(front)
    answer = robo.by_grant(robo.assertion("grant", scope=""))
    assert said(answer) == "400 invalid_scope"


def test_a_form_does_not_widen_what_was_signed(front: Front) -> None:
    """P19 breaks: the sender of an assertion gets more than its signer signed."""
    front.house.sign()
    robo = machine(front)
    answer = robo.by_grant(robo.assertion("grant", scope="read:agents"), scope="api")
    assert said(answer) == "400 invalid_scope"


def bad_tokens(front: Front, robo: Any, peer: str, number: int = 60) -> list[int]:
    token = token_of(robo.by_secret())
    head, body, sign = token.split(".")
    found = []
    for each in range(number):
        wrong = sign[:10] + f"{each:04d}" + sign[14:]
        found.append(
            front.ask(
                "GET",
                "/v1/authorize/-",
                headers={"authorization": f"Bearer {head}.{body}.{wrong}"},
                peer=peer,
            ).status
        )
    return found


def test_a_neighbour_does_not_lock_out_fresh_tokens(front: Front) -> None:
    """R15 breaks: guesses from the same address lock out tokens of a credential that is known to be valid."""
    front.house.sign()
    robo, mallory = machine(front), machine(front, "Mallory")
    first = {"authorization": f"Bearer {token_of(robo.by_secret())}"}
    assert front.ask("GET", "/v1/authorize/-", headers=first, peer="198.51.100.7").status == 200
    bad_tokens(front, mallory, "198.51.100.7")
    assert front.ask("GET", "/v1/authorize/-", headers=first, peer="198.51.100.7").status == 200
    fresh = {"authorization": f"Bearer {token_of(robo.by_secret())}"}
    assert front.ask("GET", "/v1/authorize/-", headers=fresh, peer="198.51.100.7").status == 200


def test_a_neighbour_does_not_lock_out_known_tokens(front: Front) -> None:
    """R15 breaks: after any change to the installation all tokens are unknown, and a guesser locks them out."""
    house = front.house
    house.sign()
    robo, mallory = machine(front), machine(front, "Mallory")
    first = {"authorization": f"Bearer {token_of(robo.by_secret())}"}
    key = {"x-api-key": robo.api_key}
    for each in (first, key):
        assert front.ask("GET", "/v1/authorize/-", headers=each, peer="198.51.100.7").status == 200
    bad_tokens(front, mallory, "198.51.100.7")
    name_resource(house)
    assert front.ask("GET", "/v1/authorize/-", headers=key, peer="198.51.100.7").status == 200
    assert front.ask("GET", "/v1/authorize/-", headers=first, peer="198.51.100.7").status == 200


def test_a_neighbour_does_not_lock_out_a_known_key_file(front: Front) -> None:
    """R15 breaks: a change to a credential makes its key file unknown, and a guesser locks it out."""
    house = front.house
    house.sign()
    robo, mallory = machine(front), machine(front, "Mallory")
    token_of(robo.by_grant())
    bad_tokens(front, mallory, "192.0.2.1")
    house.store.write(credentials.update, house.alice, robo.file.listed.credential.id, {"description": "x"})
    token_of(robo.by_grant())


def test_a_cookie_that_a_subdomain_can_set(sqlite_house: House, tmp_path: Any) -> None:
    """Cookies break: on https a sibling site sets a session of its own, or a second cookie ends everyone's session."""
    installation = replace(sqlite_house.store.installation, issuer="https://id.acme.test")
    house = replace(sqlite_house, store=replace(sqlite_house.store, installation=installation))
    front = Front(house, tmp_path)
    try:
        mine, planted = (
            house.session(house.key_file(house.account(name))).secret.reveal() for name in ("A", "B")
        )
        assert front.ask("GET", "/identity/v1/whoami", headers=cookie(planted)).status == 401
        both = {"cookie": f"__Host-ostiary_session={mine}; ostiary_session={planted}"}
        assert front.ask("GET", "/identity/v1/whoami", headers=both).status == 200
    finally:
        front.close()


def test_a_cookie_carries_sessions_only(front: Front) -> None:
    """Cookies break: an API key is accepted from a cookie."""
    assert front.ask("GET", "/identity/v1/whoami", headers=cookie(front.house.alice_key)).status == 401


@pytest.mark.parametrize(
    "case",
    [
        "session exchanged",
        "exchanged again",
        "unreadable basic",
        "no grant type",
        "unknown grant",
    ],
)
def test_refusals_are_counted(front: Front, case: str) -> None:
    """P5 breaks: a presented credential is refused, but the audit log has no event."""
    house = front.house
    house.sign()
    robo = machine(front)
    session = begun(front, robo.file)
    token = token_of(robo.by_secret())
    again = token_of(robo.exchange(token))
    front.write_counts()
    before = len([e for e in events(house) if e.action.endswith(".refused")])
    match case:
        case "session exchanged":
            answer = robo.exchange(session)
        case "exchanged again":
            answer = robo.exchange(again)
        case "unreadable basic":
            answer = post(front, TOKEN, {"grant_type": CLIENT_CREDENTIALS}, authorization="Basic !!!!")
        case "no grant type":
            answer = post(front, TOKEN, {"x": "y"}, client=robo.client)
        case "unknown grant":
            answer = post(front, TOKEN, {"grant_type": "password"}, client=robo.client)
        case _:
            raise AssertionError(case)
    assert answer.status >= 400
    house.clock.advance(20 * SECOND)
    front.write_counts()
    after = [e for e in events(house) if e.action.endswith(".refused")]
    assert len(after) > before, (case, answer.status, answer.body)


def test_who_revoked_a_token(front: Front) -> None:
    """P5 breaks: the audit log names the credential of the token as the revoker, not the client that revoked it."""
    house = front.house
    house.sign()
    robo = machine(front)
    token = token_of(robo.exchange(robo.api_key))
    post(front, REVOKE, {"token": token}, client=robo.client)
    (found,) = [e for e in events(house) if e.action == "token.revoked"]
    assert found.actor_credential_id == robo.word.listed.credential.id


def test_a_narrow_token_lists_and_ends_no_sessions(front: Front) -> None:
    """P19 breaks: a token with read:agents can list and revoke the sessions of its key file."""
    house = front.house
    house.sign()
    robo = machine(front)
    begun(front, robo.file)
    (mine,) = front.ask("GET", "/v1/sessions", key=house.alice_key).json()["data"]
    narrow = token_of(robo.by_grant(scope="read:agents"))
    bearer = {"authorization": f"Bearer {narrow}"}
    listed = front.ask("GET", "/v1/sessions", headers=bearer)
    assert listed.status == 403, listed.body
    ended = front.ask("DELETE", f"/v1/sessions/{mine['id']}", headers=bearer)
    assert ended.status == 403


@pytest.mark.parametrize("limit", ["projects", "resources"])
def test_a_limited_asker_introspects_no_more_than_it_verifies(front: Front, limit: str) -> None:
    """P19 breaks: introspection reveals what /v1/verify refuses because of the caller's limits."""
    house = front.house
    house.sign()
    house.store.write(projects.create, house.alice, "Shop", "shop", "")
    spec: dict[str, Any] = {"projects": ("shop",)} if limit == "projects" else {}
    account = house.account(name="Server", roles=("resource-server",), **spec)
    made: dict[str, Any] = {"resources": ("agents/one",)} if limit == "resources" else {}
    asker = house.key(account, **made).secret.reveal()
    assert front.ask("POST", "/v1/verify", {"credential": house.charlie_key}, key=asker).status == 403
    told = post(front, INTROSPECT, {"token": house.charlie_key}, bearer=asker)
    assert told.json() == {"active": False}


def test_a_narrow_token_does_not_narrow_its_origin(front: Front) -> None:
    """P19 breaks: a token with read:agents permanently removes all other permissions of its origin."""
    front.house.sign()
    key, key_id = direct(front)
    bearer = {"authorization": f"Bearer {token_of(exchange(front, key, scope='read:agents'))}"}
    changed = {"access_level": "fine_grained", "scopes": ["read:agents"]}
    assert front.ask("PATCH", f"/v1/credentials/{key_id}", changed, headers=bearer).status == 403


def test_a_narrow_token_repeats_no_answer_of_its_origin(front: Front) -> None:
    """P19 breaks: with its origin's Idempotency-Key a narrow token reads responses that it may not read."""
    house = front.house
    house.sign()
    key, _ = direct(front, "admin")
    robo = house.account()
    path, again = f"/v1/service-accounts/{robo.account.id}/credentials", [("idempotency-key", "job-1")]
    assert front.ask("POST", path, {"name": "x"}, key=key, headers=again).status == 201
    bearer = [("authorization", f"Bearer {token_of(exchange(front, key, scope='read:agents'))}"), *again]
    answer = front.ask("POST", path, {"name": "x"}, headers=bearer)
    assert answer.status == 403, answer.body[:200]


def test_a_narrowed_operator_admin_elsewhere(front: Front) -> None:
    """P19: in another organization a narrow token of an operator admin may do what its scopes list, and no more."""
    house = front.house
    house.sign()
    key, _ = direct(front, "admin")
    bearer = {"authorization": f"Bearer {token_of(exchange(front, key, scope='read:agents'))}"}
    for method, path in (
        ("GET", "/v1/credentials"),
        ("GET", "/v1/members"),
        ("GET", "/v1/audit-events"),
        ("POST", "/v1/service-accounts"),
    ):
        body = {"display_name": "x"} if method == "POST" else None
        answer = front.ask(method, f"{path}?organization=umbrella", body, headers=bearer)
        assert answer.status in (403, 404), (path, answer.status, answer.body[:200])


def test_a_revoked_token_is_told_so(front: Front) -> None:
    """P1, R15 break: a client with a revoked token gets 429, and so do other clients of its address."""
    house = front.house
    house.sign()
    robo, other = machine(front), machine(front, "Other")
    token = token_of(robo.by_secret())
    assert front.ask("POST", REVOKE, {"token": token}).status == 200
    fresh = {"authorization": f"Bearer {token_of(other.by_secret())}"}
    bearer = {"authorization": f"Bearer {token}"}
    answers = [front.ask("GET", "/v1/authorize/-", headers=bearer).status for _ in range(60)]
    assert front.ask("GET", "/v1/authorize/-", headers=fresh).status == 200
    assert set(answers) == {401}


def test_an_act_of_a_token_names_the_token(front: Front) -> None:
    """P5 breaks: the audit log shows an act of a session or token as an act of the key itself."""
    house = front.house
    house.sign()
    key, _ = direct(front, "admin")
    token = token_of(exchange(front, key))
    bearer = {"authorization": f"Bearer {token}"}
    answer = front.ask("POST", "/v1/service-accounts", {"display_name": "Made"}, headers=bearer)
    assert answer.status == 201
    (made,) = [
        e for e in events(house) if e.action == "service_account.created" and e.target_display == "Made"
    ]
    issued = next(each for each in events(house) if each.action == "token.issued")
    assert made.actor_token_id == issued.details["token"]


@pytest.mark.parametrize("limit", ["project", "resources", "projects"])
def test_introspection_tells_the_limits_of_what_it_calls_active(front: Front, limit: str) -> None:
    """P19 breaks: an introspecting resource server treats a token for one project or resource as one for all."""
    house = front.house
    house.sign()
    house.store.write(projects.create, house.alice, "Shop", "shop", "")
    spec: dict[str, Any] = {"projects": ("shop",)} if limit == "projects" else {}
    account = house.account(**spec)
    made: dict[str, Any] = {"resources": ("agents/one",)} if limit == "resources" else {}
    if limit == "project":
        made = {"project": "shop"}
    key = house.key(account, **made).secret.reveal()
    told = post(front, INTROSPECT, {"token": key}, bearer=house.alice_key).json()
    assert not told["active"] or {"project", "projects", "resources"} & told.keys()


@pytest.mark.parametrize("state", ["session", "token"])
def test_what_stands_for_an_ended_key_is_refused_cheaply(front: Front, state: str) -> None:
    """A failure of a deactivated origin is never charged to the address, cached or not."""
    house = front.house
    house.sign()
    robo = machine(front)
    text = begun(front, robo.file) if state == "session" else token_of(robo.by_grant())
    house.store.write(credentials.deactivate, house.alice, robo.file.listed.credential.id)
    bearer = {"authorization": f"Bearer {text}"}
    assert {front.ask("GET", "/v1/authorize/-", headers=bearer).status for _ in range(60)} == {401}


def test_a_bad_proof_beside_json_is_refused(front: Front) -> None:
    """RFC 7662 breaks: a caller with a wrong secret gets a response, because the body is JSON."""
    house = front.house
    house.sign()
    robo = machine(front)
    from tests.machines import basic

    wrong = {"authorization": basic(robo.client_id, "secret_wrong")}
    assert front.ask("POST", INTROSPECT, {"token": robo.api_key}, headers=wrong).status == 401


def test_a_script_that_logs_in_again_and_again_ends_its_oldest_session(front: Front) -> None:
    """P20 breaks: one key file fills the database with sessions that last a month."""
    house = front.house
    robo = machine(front)
    first = login(front, robo.file).json()["session"]["id"]
    for _ in range(100):
        house.clock.advance(SECOND)
        assert login(front, robo.file).status == 201
    page = front.ask("GET", "/v1/sessions?limit=200", key=house.alice_key).json()["data"]
    assert len(page) == 100
    assert first not in {each["id"] for each in page}
    assert [e.target_id for e in events(house) if e.action == "session.revoked"] == [first]
