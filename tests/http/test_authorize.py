"""`/v1/authorize/{rule}`, `/v1/authorize/{rule}/…` and `/v1/authorize-nginx/{rule}`: forward-auth for
proxies.
"""

import itertools
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from ostiary.core.permission import FIRST_CATALOGUE
from ostiary.services import access_rules, credentials, service_accounts
from ostiary.services.credentials import Created
from ostiary.services.roles import RoleSpec
from ostiary.storage import directory as directory_rows
from tests.cast import Answer, Front
from tests.http.test_verify import never_made

pytestmark = pytest.mark.promise("P15")

Family = Literal["forwarded", "own", "nginx"]
FAMILIES: tuple[Family, ...] = ("forwarded", "own", "nginx")
PROXY = "127.0.0.1"
IDENTITY = {
    f"x-auth-{each}" for each in ("subject", "kind", "organization", "credential", "scopes", "assertion")
}
RULE: dict[str, Any] = {
    "match": [
        {
            "methods": ["GET"],
            "path": "/v1/agents/{id}",
            "scopes": ["read:agents"],
            "resource": "agents/{id}",
        },
        {"methods": ["POST"], "path": "/v1/agents", "scopes": ["write:agents"]},
        {"methods": ["GET"], "path": "/admin/**", "scopes": ["read:audit"]},
        {"path": "/public/**", "scopes": []},
        {"path": "/", "scopes": []},
    ]
}
WHOM = {
    "forwarded": ("x-forwarded-method", "x-forwarded-uri"),
    "nginx": ("x-original-method", "x-original-uri"),
}


@pytest.fixture(autouse=True)
def rule(front: Front) -> None:
    answer = front.ask("PUT", "/v1/access-rules/web", RULE, key=front.house.alice_key)
    assert answer.status == 200
    assert answer.json() == {"name": "web"} | RULE


@pytest.fixture
def robo(front: Front) -> Created:
    return front.house.key(front.house.account())


def ask(
    front: Front,
    family: Family,
    method: str,
    target: str,
    key: str | None,
    rule: str = "web",
    headers: Mapping[str, str] | None = None,
    peer: str = PROXY,
) -> Answer:
    """Send a forward-auth request as one family of proxies does."""
    fields = list((headers or {}).items())
    if family == "own":
        return front.ask(method, f"/v1/authorize/{rule}{target}", key=key, headers=fields, peer=peer)
    its_method, its_target = WHOM[family]
    fields += [(its_method, method), (its_target, target)]
    address = "/v1/authorize-nginx/" if family == "nginx" else "/v1/authorize/"
    return front.ask("GET", f"{address}{rule}", key=key, headers=fields, peer=peer)


def check(answer: Answer, family: Family, status: int, error: str, about: object = None) -> None:
    """Return the expected status and error for one family. nginx accepts 200, 401 and 403 only."""
    if family == "nginx" and status not in (200, 401):
        status = 403
    assert (answer.status, answer.headers.get("x-auth-error", "")) == (status, error), about
    assert answer.headers["cache-control"] == "no-store"
    present = {name for name in answer.headers if name.startswith("x-auth-") and name != "x-auth-error"}
    assert present == (IDENTITY if status == 200 else set())
    challenged = status == 401 or (error in ("insufficient_scope", "invalid_request") and family != "nginx")
    assert ("www-authenticate" in answer.headers) == challenged


LINES = """
GET    /v1/agents/1             200
GET    /v1/agents/1?x=/../y     200
GET    /v1/%61gents/1           200
POST   /v1/agents               200
GET    /public/a/b              200
DELETE /public/a                200
GET    /public                  no_match
GET    /                        200
GET    /admin/x                 insufficient_scope
GET    /v1/agents               no_match
POST   /v1/agents/1             no_match
get    /v1/agents/1             no_match
GET    /V1/agents/1             no_match
GET    /v1/agents/              no_match
GET    /v1/agents/1/runs        no_match
GET    /v1/agents/1/            no_match
"""

AMBIGUOUS = (
    "/public/../admin/x", "/public/./x", "/public/%2e%2e/admin", "/public/.%2E/admin", "/public/%2e/x",
    "/public//x", "//public/x", "/public/a%2fb", "/public/a%2Fb", "/public/a%5cb", "/public/a\\b",
    "/public/a;b", "/public/..;/admin", "/public/a%3bb", "/public/%252e%252e/admin", "/public/a%25b",
    "/public/%ff", "/public/%c0%af", "/public/..", "/public/.", "/public/x#y",
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_line_that_fits_decides(front: Front, robo: Created, family: Family) -> None:
    """P15 breaks: a request is judged by another entry than the first matching one."""
    for line in LINES.strip().splitlines():
        method, target, outcome = line.split()
        status, error = (200, "") if outcome == "200" else (403, outcome)
        check(ask(front, family, method, target, robo.secret.reveal()), family, status, error, line)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_path_that_two_servers_could_read_differently_is_refused(
    front: Front, robo: Created, family: Family
) -> None:
    """P15 breaks: the path judged here differs from the path that the upstream serves."""
    for path in AMBIGUOUS:
        answer = ask(front, family, "GET", path, robo.secret.reveal())
        check(answer, family, 403, "ambiguous_path", path)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_path_with_controls_is_refused(front: Front, robo: Created, family: Family) -> None:
    """P15 breaks: a path with a control character or an incomplete escape is admitted."""
    for path in ("/public/a%00b", "/public/a%0ab", "/public/a%zz", "/public/%", "/public/a b"):
        answer = ask(front, family, "GET", path, robo.secret.reveal())
        if family == "own":
            assert answer.status == 400, path
        else:
            check(answer, family, 403, "ambiguous_path", path)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_good_credential_is_told_in_full_and_only_by_us(
    front: Front, robo: Created, family: Family
) -> None:
    """P15 breaks: an identity header is missing, or is taken from the client."""
    forged = dict.fromkeys((*IDENTITY, "x-auth-error"), "forged")
    answer = ask(front, family, "GET", "/public/x", robo.secret.reveal(), headers=forged)
    check(answer, family, 200, "")
    assert {name: answer.headers[name] for name in IDENTITY} == {
        "x-auth-subject": robo.listed.credential.owner_id,
        "x-auth-kind": "api_key",
        "x-auth-organization": front.house.acme.id,
        "x-auth-credential": robo.listed.credential.id,
        "x-auth-scopes": " ".join(sorted({*FIRST_CATALOGUE, "read:service-accounts"})),
        "x-auth-assertion": "",
    }
    assert answer.body == b""
    nothing = front.house.key(front.house.account(roles=()))
    assert ask(front, family, "GET", "/public/x", nothing.secret.reveal()).headers["x-auth-scopes"] == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_no_credential_and_a_bad_one_are_401_before_anything_is_told(front: Front, family: Family) -> None:
    """P15 breaks: a client without a credential learns which rules exist, or why they refuse."""
    names = ("web", "-", "nothing", "", "Web", "..", "a" * 200)
    for name, target in itertools.product(names, ("/public/x", "/admin/x", "/public/../x")):
        missing = ask(front, family, "GET", target, None, rule=name)
        check(missing, family, 401, "missing")
        assert missing.headers["www-authenticate"] == "Bearer"
        for key in (never_made(), "nonsense"):
            answer = ask(front, family, "GET", target, key, rule=name)
            check(answer, family, 401, "invalid_token")
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rule_that_does_not_exist_refuses(front: Front, robo: Created, family: Family) -> None:
    """P15 breaks: an unknown rule admits requests."""
    for name in ("nothing", "", "Web", "web.", "..", "web%2f"):
        check(ask(front, family, "GET", "/", robo.secret.reveal(), rule=name), family, 403, "no_such_rule")
    front.ask("DELETE", "/v1/access-rules/web", key=front.house.alice_key)
    check(ask(front, family, "GET", "/public/x", robo.secret.reveal()), family, 403, "no_such_rule")


@pytest.mark.promise("P16")
@pytest.mark.parametrize("family", ["forwarded", "nginx"])
def test_a_description_is_believed_whole_and_from_a_trusted_peer(
    front: Front, robo: Created, family: Family
) -> None:
    """P16 breaks: a description from an untrusted peer is believed, or an incomplete one is."""
    method, target = WHOM[family]
    verb, path, other = (method, "GET"), (target, "/public/x"), (target, "/admin/x")
    cases: list[tuple[str, list[tuple[str, str]], str]] = [
        (PROXY, [verb, path], ""),
        ("::1", [verb, path], ""),
        ("192.0.2.1", [verb, path], "untrusted_proxy"),
        ("127.0.0.2", [verb, path], "untrusted_proxy"),
        ("", [verb, path], "untrusted_proxy"),
        (PROXY, [], "not_described"),
        (PROXY, [verb], "not_described"),
        (PROXY, [path], "not_described"),
        (PROXY, [(method, ""), path], "not_described"),
        (PROXY, [verb, (target, "")], "not_described"),
        (PROXY, [verb, verb, path], "not_described"),
        (PROXY, [verb, path, path], "not_described"),
        (PROXY, [verb, path, other], "not_described"),
    ]
    address = "/v1/authorize-nginx/web" if family == "nginx" else "/v1/authorize/web"
    for peer, fields, error in cases:
        for key, status in ((robo.secret.reveal(), 200), (never_made(), 401)):
            answer = front.ask("GET", address, key=key, headers=fields, peer=peer)
            if error:
                told = "invalid_request" if family == "nginx" else error
                check(answer, family, 400, told, (peer, fields))
            else:
                assert answer.status == status, peer


@pytest.mark.promise("P16")
def test_each_address_has_one_source(front: Front, robo: Created) -> None:
    """P15 breaks: a client injects a description with the headers of another family of proxies."""
    key = robo.secret.reveal()
    for family in FAMILIES:
        for other in ("forwarded", "nginx"):
            if other == family:
                continue
            method, target = WHOM[other]
            harmless = {method: "GET", target: "/public/x"}
            answer = ask(front, family, "GET", "/admin/x", key, headers=harmless)
            check(answer, family, 403, "insufficient_scope")
    described = {"x-forwarded-method": "GET", "x-forwarded-uri": "/public/x"}
    own_query = front.ask(
        "GET", "/v1/authorize/web?access_token=x&token=y", key=key, headers=described, peer=PROXY
    )
    check(own_query, "forwarded", 200, "")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_any_verb_asks(front: Front, robo: Created, method: str) -> None:
    """API breaks: a proxy that forwards the client's method gets a 405."""
    for address in ("/v1/authorize/-", "/v1/authorize-nginx/-", "/v1/authorize/web/public/x"):
        assert front.ask(method, address, key=robo.secret.reveal()).status == 200
        refused = front.ask(method, address)
        assert refused.status == 401
        assert bool(refused.body) == (method != "HEAD" and "nginx" not in address)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rule_that_asks_for_a_credential_only(front: Front, robo: Created, family: Family) -> None:
    """API breaks: the rule `-` requires a description, or accepts an invalid credential."""
    for peer in (PROXY, "192.0.2.1"):
        answer = ask(front, family, "GET", "/any/../thing", robo.secret.reveal(), rule="-", peer=peer)
        check(answer, family, 200, "")
    narrow = front.house.key(front.house.account(), resources=("agents/*",))
    answer = ask(front, family, "GET", "/", narrow.secret.reveal(), rule="-")
    check(answer, family, 403, "resource_not_allowed")


@pytest.mark.parametrize("family", FAMILIES)
def test_different_credentials_at_once(front: Front, robo: Created, family: Family) -> None:
    """B2 breaks: a request with two credentials is judged by one of them."""
    for other in (front.house.alice_key, ""):
        answer = ask(front, family, "GET", "/public/x", robo.secret.reveal(), headers={"api-key": other})
        check(answer, family, 400, "invalid_request")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_resource_comes_from_the_path(front: Front, family: Family) -> None:
    """P15 breaks: a credential limited to one resource reaches another."""
    key = front.house.key(front.house.account(), resources=("agents/1",)).secret.reveal()
    check(ask(front, family, "GET", "/v1/agents/1", key), family, 200, "")
    check(ask(front, family, "GET", "/v1/agents/%31", key), family, 200, "")
    for path in ("/v1/agents/2", "/public/x"):
        check(ask(front, family, "GET", path, key), family, 403, "resource_not_allowed")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rule_may_limit_kinds_organizations_and_the_project(
    front: Front, robo: Created, family: Family
) -> None:
    """P15 breaks: a rule admits a kind, organization or project that it does not name."""
    house = front.house
    house.store.write_on((), directory_rows.insert_project, "prj_one", house.acme.id, "one", "One")
    worker = house.account("Worker", roles=())
    roles = [RoleSpec("developer", "one")]
    house.store.write(service_accounts.set_role_bindings, house.alice, worker.account.id, roles)
    keys = {
        "robo": robo.secret.reveal(),
        "worker": house.key(worker).secret.reveal(),
        "charlie": house.charlie_key,
    }
    line = {"match": [{"path": "/**", "scopes": ["write:agents"]}]}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"kinds": ["api_key"]}, "robo", ""),
        ({"kinds": ["client_secret"]}, "robo", "kind_not_allowed"),
        ({"organizations": [house.acme.id]}, "robo", ""),
        ({"organizations": [house.acme.id]}, "charlie", "organization_not_allowed"),
        ({"organizations": [house.umbrella.id]}, "robo", "organization_not_allowed"),
        ({}, "worker", "insufficient_scope"),
        ({"project": "one"}, "worker", ""),
        ({"project": "prj_one"}, "worker", ""),
        ({"project": "one"}, "charlie", "project_not_allowed"),
        ({"project": "nowhere"}, "robo", "project_not_allowed"),
    ]
    for limits, who, error in cases:
        # Through the service, because the endpoint accepts no kind that does not exist yet.
        house.store.write(access_rules.put_rule, house.alice, "web", line | limits)
        check(ask(front, family, "GET", "/x", keys[who]), family, 403 if error else 200, error)


@pytest.mark.promise("P1")
def test_a_rule_is_in_force_at_once(front: Front, robo: Created) -> None:
    """P1 breaks: a changed rule or a removed role still has effect."""
    key = robo.secret.reveal()
    check(ask(front, "nginx", "GET", "/v1/agents/1", key), "nginx", 200, "")
    front.ask("PUT", "/v1/access-rules/web", {"match": []}, key=front.house.alice_key)
    check(ask(front, "nginx", "GET", "/v1/agents/1", key), "nginx", 403, "no_match")
    front.ask("PUT", "/v1/access-rules/web", RULE, key=front.house.alice_key)
    front.ask(
        "PUT",
        f"/v1/service-accounts/{robo.listed.credential.owner_id}/role-bindings",
        {"bindings": []},
        key=front.house.alice_key,
    )
    check(ask(front, "nginx", "GET", "/v1/agents/1", key), "nginx", 403, "insufficient_scope")
    front.house.store.write(credentials.revoke, front.house.alice, robo.listed.credential.id)
    check(ask(front, "nginx", "GET", "/v1/agents/1", key), "nginx", 401, "invalid_token")


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({}, "/match"),
        ({"match": [{"path": "v1"}]}, "/match/0"),
        ({"match": [{"path": "/a"}, {"path": "/a/*"}]}, "/match/1"),
        ({"match": [{"path": "/**/a"}]}, "/match/0"),
        ({"match": [{"path": "/a/../b"}]}, "/match/0"),
        ({"match": [{"path": "/{a}/{a}"}]}, "/match/0"),
        ({"match": [{"path": "/x-{a}"}]}, "/match/0"),
        ({"match": [{"path": "/{a}", "resource": "agents/{b}"}]}, "/match/0"),
        ({"match": [{"path": "/a", "methods": ["get"]}]}, "/match/0"),
        ({"match": [{"path": "/a", "methods": []}]}, "/match/0/methods"),
        ({"match": [{"path": "/a", "scopes": ["everything"]}]}, "/match/0"),
        ({"match": [], "kinds": ["password"]}, "/kinds/0"),
        ({"match": [], "organizations": []}, "/organizations"),
        ({"match": [], "assertion": True}, "/assertion"),
        ({"match": [], "extra": 1}, "/extra"),
    ],
)
def test_a_rule_of_another_form_is_refused(front: Front, document: object, pointer: str) -> None:
    """B8 breaks: an ambiguous or malformed rule is accepted."""
    answer = front.ask("PUT", "/v1/access-rules/other", document, key=front.house.alice_key)
    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert front.ask("GET", "/v1/access-rules/other", key=front.house.alice_key).status == 404


@pytest.mark.parametrize("family", FAMILIES)
def test_a_preflight_passes_where_the_rule_says_so(front: Front, robo: Created, family: Family) -> None:
    """P15 breaks: browsers cannot reach the API behind a proxy, or more than a preflight passes without a
    credential.
    """
    read, own = (
        {"methods": [method], "path": "/admin/own", "scopes": ["read:audit"]} for method in ("GET", "OPTIONS")
    )
    document = {"match": [read, own, *RULE["match"]], "preflight": True}
    answer = front.ask("PUT", "/v1/access-rules/browsers", document, key=front.house.alice_key)
    assert answer.json() == {"name": "browsers"} | document

    def passes(method: str, target: str, rule: str = "browsers", key: str | None = None) -> Answer:
        return ask(front, family, method, target, key, rule=rule)

    for target in ("/v1/agents/1", "/v1/agents/1?x=y", "/public/a", "/admin/x", "/"):
        answer = passes("OPTIONS", target)
        check(answer, family, 200, "", target)
        assert {answer.headers[each] for each in IDENTITY} == {""}
        assert answer.headers["ostiary-preflight"] == "admitted"
        check(passes("OPTIONS", target, rule="web"), family, 401, "missing", target)
    for method, target in (
        ("GET", "/public/a"), ("options", "/public/a"), ("OPTIONS", "/nowhere"), ("OPTIONS", "/admin/own"),
        ("OPTIONS", "/public/../admin/own"), ("OPTIONS", "/public/%2e%2e/a"), ("OPTIONS", "/public//a"),
    ):  # fmt: skip
        check(passes(method, target), family, 401, "missing", (method, target))
    check(passes("OPTIONS", "/public/a", rule="-"), family, 401, "missing")
    check(passes("OPTIONS", "/public/a", key="ak-x"), family, 401, "invalid_token")


def test_a_description_of_a_stranger_is_no_preflight(front: Front) -> None:
    """P15 breaks: a client that reaches the service directly passes as a preflight by describing one."""
    front.ask("PUT", "/v1/access-rules/browsers", RULE | {"preflight": True}, key=front.house.alice_key)
    for family in ("forwarded", "nginx"):
        answer = ask(front, family, "OPTIONS", "/public/a", None, rule="browsers", peer="203.0.113.66")
        check(answer, family, 400, "untrusted_proxy" if family == "forwarded" else "invalid_request")


@pytest.mark.parametrize("rule", ["web", "nothing"])
def test_a_refusal_says_nothing_of_how_the_service_is_set_up(front: Front, robo: Created, rule: str) -> None:
    """Forward-auth breaks: clients of the upstream see rules and settings of the operator."""
    key = robo.secret.reveal()
    told = [
        ask(front, "forwarded", "GET", "/nowhere", key, rule=rule),
        ask(front, "forwarded", "GET", "/nowhere", key, rule=rule, peer="203.0.113.66"),
        front.ask("GET", f"/v1/authorize/{rule}", key=key, peer=PROXY),
    ]
    for answer in told:
        problem = answer.json()
        assert not any(each in problem["detail"] for each in ("rule", "line", "OSTIARY")), problem
        # The proxy's clients use another host than this service.
        assert problem["type"].startswith("http://localhost:8080/docs/troubleshooting#")
